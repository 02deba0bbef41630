"""How time and memory grow with the data: dimensions, classes, items, gallery.

    python benchmarks/growth.py                                    all four tables
    python benchmarks/growth.py --parts=items --sizes=8000,64000   one, at other sizes
    python benchmarks/growth.py --json=numbers.json

  dimensions  a training step against the dimensions of image and text features alike
  classes     a training step against the classes of the A-softmax, 1280-D images and 1000-D texts
  items       an epoch on so many pairs, and every measure of as many pairs in both directions
  search      exact search against the items of the gallery: 50 nearest of 100-D embeddings, queries
              one at a time and 64 together

Training is that of `training.loop.train` with its defaults, batches of 64 and no input maps,
on generated features; the first epoch, which compiles, does not count. Every figure comes from a
process of its own, whose memory is the most that it held at any time beyond what it held before:
Python, TensorFlow and the features or embeddings.

The exponent of a column is the slope of the straight line that fits its logarithms best over the
logarithms of the sizes: 1 where ten times the size take ten times as much. What does not grow (the
other layers of a step, the runtime's own memory) weighs on small sizes, so that between the last
two sizes stands beside it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TQDM_DISABLE": "1"}

import numpy as np
from arguments import Parser, sizes, some_of
from machine import described, machine
from process_memory import forget_peak, memory, peak_memory

IMAGE_DIM, TEXT_DIM, CLASSES, CODE = 1280, 1000, 10, 100
BATCH, STEPS, EPOCHS = 64, 20, 5
QUERIES, K, SECONDS = 64, 50, 2.0

Row = dict[str, float]


def step_at_dimensions(size: int) -> Row:
    seconds, held = training(STEPS * BATCH, size, size, CLASSES, EPOCHS)
    return {"step, ms": 1e3 * seconds / STEPS, "memory, MiB": held}


def step_at_classes(size: int) -> Row:
    seconds, held = training(STEPS * BATCH, IMAGE_DIM, TEXT_DIM, size, EPOCHS)
    return {"step, ms": 1e3 * seconds / STEPS, "memory, MiB": held}


def epoch(size: int) -> Row:
    seconds, held = training(size, IMAGE_DIM, TEXT_DIM, CLASSES, epochs=3)
    return {"epoch, s": seconds, "memory of the epoch, MiB": held}


def evaluation(size: int) -> Row:
    from xgacmn_tf.evaluation.retrieval import evaluate_retrieval

    generator = np.random.default_rng(0)
    image, text = (unit_vectors(generator, size) for _ in range(2))
    targets = np.eye(CLASSES, dtype=np.float32)[generator.integers(CLASSES, size=size)]
    held = held_beyond_now()
    started = time.perf_counter()
    evaluate_retrieval(image, text, targets)
    seconds = time.perf_counter() - started
    return {"evaluation, s": seconds, "memory of the evaluation, MiB": held()}


def search(size: int) -> Row:
    from xgacmn_tf.search import make_index

    generator = np.random.default_rng(0)
    gallery, queries = unit_vectors(generator, size), unit_vectors(generator, QUERIES)
    index = make_index("exact", size)
    held = held_beyond_now()
    started = time.perf_counter()
    index.index(gallery)
    built = time.perf_counter() - started
    single = seconds_a_call(lambda: index.query(queries[:1], K))
    together = seconds_a_call(lambda: index.query(queries, K))
    return {
        "build, s": built,
        "a query alone, ms": 1e3 * single,
        f"of {QUERIES} together, ms": 1e3 * together / QUERIES,
        "memory, MiB": held(),
    }


# Part → what is varied, the sizes, and what is measured at each.
PARTS: dict[str, tuple[str, tuple[int, ...], tuple[Callable[[int], Row], ...]]] = {
    "dimensions": ("dimensions", (256, 512, 1024, 2048, 4096, 8192), (step_at_dimensions,)),
    "classes": ("classes", (10, 100, 1000, 10_000), (step_at_classes,)),
    "items": ("pairs", (2000, 4000, 8000, 16_000, 32_000), (epoch, evaluation)),
    "search": ("gallery", (4000, 16_000, 64_000, 256_000, 1_024_000), (search,)),
}


def training(
    rows: int, image_dim: int, text_dim: int, classes: int, epochs: int
) -> tuple[float, float]:
    """Median seconds of an epoch after the first; memory on top of the features, in MiB."""
    from epoch_clock import Clock

    from xgacmn_tf.datasets.paired import PairedDataset, Split
    from xgacmn_tf.runs.folder import RunFolder
    from xgacmn_tf.runs.xgacmn import train_model
    from xgacmn_tf.settings.config import Config

    def generate(part: str, rows: int) -> Split:
        return Split(
            image=generator.standard_normal((rows, image_dim), np.float32),
            text=generator.standard_normal((rows, text_dim), np.float32),
            label=generator.integers(classes, size=rows),
            id=np.array([f"{part} {row}" for row in range(rows)]),
        )

    generator = np.random.default_rng(0)
    names = tuple(map(str, range(classes)))
    dataset = PairedDataset("generated", generate("train", rows), generate("test", 1), names)
    config = Config.of(
        dataset="generated", image_map="none", text_map="none", epochs=epochs, batch_size=BATCH
    )
    clock, held = Clock(), held_beyond_now()
    with tempfile.TemporaryDirectory() as temporary:
        folder = RunFolder(temporary)
        folder.claim(config, dataset.fingerprint)
        train_model(config, dataset, folder, [clock])
    return statistics.median(clock.seconds[1:]), held()


def held_beyond_now() -> Callable[[], float]:
    """Returns what tells the most MiB held from now on, beyond what is held now."""
    forget_peak()
    before = memory()
    return lambda: (peak_memory() - before) / 2**20


def unit_vectors(generator: np.random.Generator, rows: int) -> np.ndarray:
    vectors = generator.standard_normal((rows, CODE), np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def seconds_a_call(function: Callable[[], object]) -> float:
    """Median over calls that take SECONDS together, and at least three, after one that compiles."""
    function()
    found: list[float] = []
    while len(found) < 3 or sum(found) < SECONDS:
        started = time.perf_counter()
        function()
        found.append(time.perf_counter() - started)
    return statistics.median(found)


def measure_apart(part: str, size: int) -> Row:
    """All that is measured at one size, each in a process of its own."""
    found: Row = {}
    for index, _ in enumerate(PARTS[part][2]):
        command = [sys.executable, __file__, "--measure", part, str(index), str(size)]
        done = subprocess.run(command, stdout=subprocess.PIPE)
        if done.returncode:
            sys.exit(f"error: {part} of {size} failed")
        found |= json.loads(done.stdout.splitlines()[-1])
    if part == "items":
        found["both, s"] = found["epoch, s"] + found["evaluation, s"]
    return found


def exponent(sizes: list[int], values: list[float]) -> float:
    """Of the power of the size that fits best, by least squares in logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def shown(value: float) -> str:
    """Three digits that count, without powers of ten."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def table(part: str, sizes: list[int], rows: list[Row]) -> str:
    columns = list(rows[0])
    lines = [
        "| " + " | ".join([PARTS[part][0], *columns]) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for size, row in zip(sizes, rows, strict=True):
        lines.append("| " + " | ".join([f"{size:,}", *(shown(row[c]) for c in columns)]) + " |")
    for name, last in (("exponent, all sizes", 0), ("exponent, last two", -2)):
        slopes = [exponent(sizes[last:], [row[c] for row in rows[last:]]) for c in columns]
        lines.append("| " + " | ".join([name, *(f"{slope:.2f}" for slope in slopes)]) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--parts", type=some_of(PARTS), default=",".join(PARTS), help="which, comma-separated"
    )
    parser.add_argument("--sizes", type=sizes, help="of a single part, ascending, comma-separated")
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        part, index, size = arguments.measure
        print(json.dumps(PARTS[part][2][int(index)](int(size))))
        return
    parts = arguments.parts
    if arguments.sizes and len(parts) > 1:
        parser.error("--sizes: expected a single part in --parts")
    about = machine()
    print(described(about), end="\n\n")
    found = {}
    for part in parts:
        measured = arguments.sizes or list(PARTS[part][1])
        rows = [measure_apart(part, size) for size in measured]
        print(table(part, measured, rows), end="\n\n", flush=True)
        found[part] = [{"size": size, **row} for size, row in zip(measured, rows, strict=True)]
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": about, **found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
