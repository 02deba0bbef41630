"""Evaluation of whole galleries beside what the field uses instead: time, and equal numbers.

    python benchmarks/evaluation.py                       10,000 × 10,000, and ours at 100,000
    python benchmarks/evaluation.py --items=5000 --large=0 --json=numbers.json

Random unit vectors of 100 dimensions with ten categories. The peers are what is handed down from
repository to repository:

  NumPy, argsort      an argsort for each query, then its precisions by cumulative sums
  NumPy, Python loop  SciPy's cosine distances, an argsort, then a loop over every query's ranks in
                      Python, as in the published code of ACMR and DSCMR
  torchmetrics        `RetrievalMAP`, where it is installed (pip install torch torchmetrics)

The last two take queries one after another, so their time is that of a share of the queries,
scaled. All give the mean average precision, ours ("mAP") also everything else that a run reports
("every measure"). Before any timing each peer ranks what ours ranks, inner products in double
precision rounded to single, ties in the order of the rows, and must find the same mean: to 1e-9, or
to 1e-5 for torchmetrics, which sums in single precision and breaks ties its own way.

Rows take turns, ROUNDS times; the median counts. The floor is the matrix product in double
precision and one sort of as many 32-bit integers, both on all cores. The large gallery is scored in
a process of its own, and its memory is what came on top of the representations.

NumPy sorts with AVX-512 where it can. On AMD's Zen 4 that is three to four times slower than with
AVX2, which NPY_DISABLE_CPU_FEATURES=X86_V4 in front of the command asks for.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from machine import described, machine
from process_memory import forget_peak, memory, peak_memory
from scipy.spatial.distance import cdist

from xgacmn_tf.evaluation.retrieval import evaluate_retrieval, mean_average_precision

Sort = Literal["stable"] | None

DIM, CLASSES = 100, 10
ROUNDS = 3
SHARE = 200  # Queries that the slow ones answer.
DOUBLE, SINGLE = 1e-9, 1e-5  # How far from ours a peer may be.


def generate(items: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, texts and labels; texts stand near their image and their category."""
    generator = np.random.default_rng(seed)
    label = generator.integers(CLASSES, size=items)
    centre = generator.standard_normal((CLASSES, DIM), np.float32)
    image, text = (
        centre[label] + 3 * generator.standard_normal((items, DIM), np.float32) for _ in range(2)
    )
    return *(x / np.linalg.norm(x, axis=1, keepdims=True) for x in (image, text)), label


def numpy_map(similarity: np.ndarray, label: np.ndarray, kind: Sort = None) -> float:
    found = []
    for row, own in zip(similarity, label[: len(similarity)], strict=True):
        relevant = label[np.argsort(-row, kind=kind)] == own
        precision = np.cumsum(relevant) / np.arange(1, len(relevant) + 1)
        found.append((precision * relevant).sum() / relevant.sum())
    return float(np.mean(found))


def python_loop_map(distance: np.ndarray, label: np.ndarray, kind: Sort = None) -> float:
    found = []
    for i, order in enumerate(distance.argsort(kind=kind)):
        hits, total = 0, 0.0
        for j in range(len(order)):
            if label[order[j]] == label[i]:
                hits += 1
                total += hits / (j + 1)
        found.append(total / hits if hits else 0.0)
    return float(np.mean(found))


def torchmetrics_map(similarity: np.ndarray, label: np.ndarray) -> float:
    import torch
    from torchmetrics.retrieval import RetrievalMAP

    measure = RetrievalMAP()
    queries = len(similarity)
    measure.update(
        # It takes items whose score is not above 0 for irrelevant.
        torch.from_numpy((1 + similarity).ravel()),
        torch.from_numpy((label[:queries, np.newaxis] == label).ravel()),
        torch.arange(queries).repeat_interleave(len(label)),
    )
    return float(measure.compute())


def seconds_of(function: Callable) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def floor(query: np.ndarray, gallery: np.ndarray) -> tuple[float, float]:
    """Seconds of the product, and of sorting as many 32-bit integers on all cores."""
    rows = min(len(query), 1000)
    one, other = query.astype(float), gallery.astype(float)
    one @ other[:1000].T

    def multiply() -> None:
        for first in range(0, len(one), rows):
            one[first : first + rows] @ other.T

    product = seconds_of(multiply)
    keys = np.random.default_rng(0).integers(2**31, size=(rows, len(gallery)), dtype=np.int32)
    sort = seconds_of(lambda: keys.sort(axis=1)) * len(query) / rows / (os.cpu_count() or 1)
    return product, sort


def compare(items: int) -> list[dict]:
    """One row for each system, both directions; also checks that they agree."""
    image, text, label = generate(items)
    targets = np.eye(CLASSES)[label]
    systems: dict[str, tuple[Callable, float]] = {
        "mAP": (lambda: mean_average_precision(image, text, targets), 1),
        "every measure": (lambda: evaluate_retrieval(image, text, targets), 1),
        "NumPy, argsort": (lambda: numpy_map(image @ text.T, label), 2),
    }
    share = image[:SHARE]
    scale = 2 * items / len(share)
    systems["NumPy, Python loop"] = (
        lambda: python_loop_map(cdist(share, text, "cosine"), label),
        scale,
    )
    ours = evaluate_retrieval(image, text, targets).per_query["i2t"]["AP"]
    ranked = (image.astype(float) @ text.astype(float).T).astype(np.float32).astype(float)
    part, ours_of_part = ranked[: len(share)], ours[: len(share)].mean()
    gap = {
        "NumPy, argsort": abs(numpy_map(ranked, label, "stable") - ours.mean()),
        "NumPy, Python loop": abs(python_loop_map(-part, label, "stable") - ours_of_part),
    }
    assert max(gap.values()) < DOUBLE, gap
    if importlib.util.find_spec("torchmetrics"):
        systems["torchmetrics"] = (lambda: torchmetrics_map(share @ text.T, label), scale)
        gap["torchmetrics"] = abs(torchmetrics_map(part, label) - ours_of_part)
        assert gap["torchmetrics"] < SINGLE, gap
    else:
        print("torchmetrics is not installed")
    del ranked, part
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
            "differs_by": gap.get(name),
            "min": min(times.get(name, [value])),
            "max": max(times.get(name, [value])),
        }
        for name, value in seconds.items()
    ]


def large(items: int) -> dict:
    """Ours alone in this process: seconds and memory of the mean average precision both ways."""
    image, text, label = generate(items)
    targets = np.eye(CLASSES, dtype=np.float32)[label]
    forget_peak()
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
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(large(arguments.measure)))
        return
    about = machine()
    print(described(about), end="\n\n")
    rows = compare(arguments.items)
    print("| both directions | items | seconds (min – max) | × mAP | differs by |")
    print("| --- | --- | --- | --- | --- |")
    for row in rows:
        gap = "" if row["differs_by"] is None else f"{row['differs_by']:.0e}"
        print(
            f"| {row['system']} | {row['items']} | {row['seconds']:.2f} ({row['min']:.2f} – "
            f"{row['max']:.2f}) | {row['times_ours']:.1f} | {gap} |",
            flush=True,
        )
    if arguments.large:
        command = [sys.executable, __file__, f"--measure={arguments.large}"]
        row = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        rows.append(row)
        print(
            f"| mAP, {row['peak_memory'] / 2**30:.2f} GiB | {row['items']} | "
            f"{row['seconds']:.0f} | | |"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": about, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
