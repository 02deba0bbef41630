"""Evaluation of whole galleries beside what the field uses instead: time, and equal numbers.

    python benchmarks/evaluation.py                       10,000 × 10,000, and ours at 100,000
    python benchmarks/evaluation.py --items=5000 --large=0 --json=numbers.json

Random unit vectors of 100 dimensions with ten categories. "NumPy" is the loop that is handed down
from repository to repository: an argsort for each query, then its precisions. torchmetrics'
`RetrievalMAP` takes part where it is installed (pip install torch torchmetrics); it takes queries
one after another, so its time is that of a share of the queries, scaled. All three give the mean
average precision, ours also everything else that a run reports. Rows take turns, ROUNDS times; the
median counts. The floor is the matrix product in double precision and one sort of as many integers.
"""

import argparse
import importlib.util
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from process_memory import memory, peak_memory

from xgacmn_tf.evaluation import evaluate_retrieval, mean_average_precision

DIM, CLASSES = 100, 10
ROUNDS = 3
SHARE = 200  # Queries that torchmetrics answers.


def generate(items: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, texts and labels; texts stand near their image and their category."""
    generator = np.random.default_rng(seed)
    label = generator.integers(CLASSES, size=items)
    centre = generator.standard_normal((CLASSES, DIM), np.float32)
    image, text = (
        centre[label] + 3 * generator.standard_normal((items, DIM), np.float32) for _ in range(2)
    )
    return *(x / np.linalg.norm(x, axis=1, keepdims=True) for x in (image, text)), label


def numpy_map(query: np.ndarray, gallery: np.ndarray, label: np.ndarray) -> float:
    similarity = query @ gallery.T
    found = []
    for row, own in zip(similarity, label, strict=True):
        relevant = label[np.argsort(-row)] == own
        precision = np.cumsum(relevant) / np.arange(1, len(relevant) + 1)
        found.append((precision * relevant).sum() / relevant.sum())
    return float(np.mean(found))


def torchmetrics_map(query: np.ndarray, gallery: np.ndarray, label: np.ndarray) -> float:
    import torch
    from torchmetrics.retrieval import RetrievalMAP

    measure = RetrievalMAP()
    similarity = query[:SHARE] @ gallery.T
    measure.update(
        torch.from_numpy(similarity.ravel()),
        torch.from_numpy((label[:SHARE, np.newaxis] == label).ravel()),
        torch.arange(SHARE).repeat_interleave(len(label)),
    )
    return float(measure.compute())


def seconds_of(function: Callable) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def floor(query: np.ndarray, gallery: np.ndarray) -> tuple[float, float]:
    """Seconds of the product, and of sorting as many 64-bit integers on all cores."""
    rows = min(len(query), 1000)
    one, other = query.astype(float), gallery.astype(float)
    one @ other[:1000].T

    def multiply() -> None:
        for first in range(0, len(one), rows):
            one[first : first + rows] @ other.T

    product = seconds_of(multiply)
    keys = np.random.default_rng(0).integers(2**62, size=(rows, len(gallery)))
    sort = seconds_of(lambda: keys.sort(axis=1)) * len(query) / rows / (os.cpu_count() or 1)
    return product, sort


def compare(items: int) -> list[dict]:
    """One row for each system, both directions; also checks that they agree."""
    image, text, label = generate(items)
    targets = np.eye(CLASSES)[label]
    ours = mean_average_precision(image, text, targets)
    assert abs(numpy_map(image, text, label) - ours["i2t"]) < 1e-6  # It ranks in single precision.
    systems: dict[str, tuple[Callable, float]] = {
        "mAP": (lambda: mean_average_precision(image, text, targets), 1),
        "every measure": (lambda: evaluate_retrieval(image, text, targets), 1),
        "NumPy, argsort": (lambda: numpy_map(image, text, label), 2),
    }
    if importlib.util.find_spec("torchmetrics"):
        systems["torchmetrics"] = (
            lambda: torchmetrics_map(image, text, label),
            2 * items / min(SHARE, items),
        )
    else:
        print("torchmetrics is not installed")
    times: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(ROUNDS):
        for name, (function, scale) in systems.items():
            times[name].append(seconds_of(function) * scale)
    product, sort = floor(image, text)
    seconds = {name: statistics.median(found) for name, found in times.items()}
    seconds["floor"] = 2 * (product + sort)
    return [
        {
            "items": items,
            "system": name,
            "seconds": value,
            "times_ours": value / seconds["mAP"],
            "min": min(times.get(name, [value])),
            "max": max(times.get(name, [value])),
        }
        for name, value in seconds.items()
    ]


def large(items: int) -> dict:
    """Ours alone: seconds and memory of the mean average precision in both directions."""
    image, text, label = generate(items)
    targets = np.eye(CLASSES, dtype=np.float32)[label]
    before = memory()
    seconds = seconds_of(lambda: mean_average_precision(image, text, targets))
    return {
        "items": items,
        "system": "mAP",
        "seconds": seconds,
        "peak_memory": peak_memory() - before,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=100_000, help="0: leave it out")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = compare(arguments.items)
    print("| both directions | items | seconds (min – max) | × mAP |\n| --- | --- | --- | --- |")
    for row in rows:
        print(
            f"| {row['system']} | {row['items']} | {row['seconds']:.2f} ({row['min']:.2f} – "
            f"{row['max']:.2f}) | {row['times_ours']:.1f} |"
        )
    if arguments.large:
        row = large(arguments.large)
        rows.append(row)
        print(
            f"| mAP, {row['peak_memory'] / 2**30:.2f} GiB | {row['items']} | "
            f"{row['seconds']:.0f} | |"
        )
    if arguments.json:
        machine = {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
        }
        arguments.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
