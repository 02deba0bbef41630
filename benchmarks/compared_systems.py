"""Training of the compared systems at NUS-WIDE-10k's size: time and peak memory.

    python benchmarks/compared_systems.py                      every system, 8,000 training pairs
    python benchmarks/compared_systems.py --models=cca,jrl --pairs=16000 --json=numbers.json

The pairs are generated: image features like a ReLU layer's, non-negative and dense, and sparse word
counts, both different from class to class. A system trains on them with its default settings as
`--model=NAME` does, in a process of its own that has imported everything and read the data before;
its peak memory is what it took on top. The yardstick comes first, scikit-learn's PCA of the images
by the eigenvectors of their covariance; ratios are to its CPU time. `raw` has nothing to train and
is not among the systems; X-GACMN with its defaults is.

Threads are as the libraries choose; OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 in front gives each
system one core.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from arguments import Parser, some_of
from machine import described, machine
from process_memory import memory, peak_memory

from xgacmn_tf.datasets.paired import PairedDataset
from xgacmn_tf.io.files import write_json
from xgacmn_tf.names import SYSTEMS, XGACMN
from xgacmn_tf.settings.config import Config

CLASSES = 10
# Directions in which pictures differ from each other; real features have few as well.
FACTORS = 100
WORDS_A_TEXT = 8
SYSTEMS = (*(name for name in SYSTEMS if name != "raw"), XGACMN)
YARDSTICK = "PCA"


def generate(path: Path, pairs: int, image_dim: int, text_dim: int, seed: int = 0) -> None:
    """Writes a file of features with `pairs` for training, an eighth for validation and test."""
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((CLASSES, FACTORS), np.float32)
    mixing = generator.standard_normal((FACTORS, image_dim), np.float32) / FACTORS**0.5
    # Words that are common everywhere, and a class's own.
    words = generator.dirichlet(np.full(text_dim, 0.1), CLASSES + 1)
    words = (words[:CLASSES] + words[CLASSES]) / 2
    arrays = {}
    for split, rows in (("train", pairs), ("validation", pairs // 8), ("test", pairs // 8)):
        label = generator.permutation(np.arange(rows) % CLASSES)
        factors = centres[label] + 2 * generator.standard_normal((rows, FACTORS), np.float32)
        noise = generator.standard_normal((rows, image_dim), np.float32)
        arrays[f"image_{split}"] = np.maximum(factors @ mixing + 0.5 * noise, 0)
        counts = generator.poisson(WORDS_A_TEXT * words[label])
        arrays[f"text_{split}"] = counts.astype(np.float32)
        arrays[f"label_{split}"] = label
    np.savez(path, **arrays)


def measure(name: str, path: Path) -> dict:
    """One system's time and memory, in this process."""
    from xgacmn_tf import datasets

    with tempfile.TemporaryDirectory() as temporary:
        config = Config.of(
            model=XGACMN if name == YARDSTICK else name, dataset=str(path), output_dir=temporary
        )
        dataset = datasets.for_config(config)
        training = pca_of(dataset) if name == YARDSTICK else training_of(config, dataset)
        before, wall, cpu = memory(), time.perf_counter(), time.process_time()
        training()
        return {
            "seconds": time.perf_counter() - wall,
            "cpu_seconds": time.process_time() - cpu,
            "peak_memory": peak_memory() - before,
            "load": os.getloadavg()[0],
        }


def pca_of(dataset: PairedDataset) -> Callable[[], object]:
    """The yardstick, ready to run."""
    from sklearn.decomposition import PCA

    return partial(PCA(svd_solver="covariance_eigh").fit, dataset.train.image)


def training_of(config: Config, dataset: PairedDataset) -> Callable[[], object]:
    """A system's training, ready to run."""
    from xgacmn_tf import baselines
    from xgacmn_tf.runs.folder import RunFolder
    from xgacmn_tf.runs.systems import train_system
    from xgacmn_tf.runs.xgacmn import train_model

    folder = RunFolder.for_config(config)
    folder.claim(config, dataset.fingerprint)
    if config.system.model == XGACMN:
        return partial(train_model, config, dataset, folder)
    return partial(train_system, baselines.system(config.system.model), config, dataset, folder)


def measure_apart(name: str, path: Path) -> dict:
    """The same in a process of its own, whose progress shows."""
    print(f"training {name}", file=sys.stderr)
    command = [sys.executable, __file__, "--measure", name, str(path)]
    done = subprocess.run(command, stdout=subprocess.PIPE)
    if done.returncode:
        sys.exit(f"error: {name} failed")
    return {"model": name, **json.loads(done.stdout.splitlines()[-1])}


def table(results: list[dict]) -> str:
    yardstick = results[0]["cpu_seconds"]
    lines = [
        "| model | wall, s | CPU, s | CPU ÷ PCA's | peak memory, GiB |",
        "|---|---|---|---|---|",
    ]
    for r in results:
        lines.append(
            f"| {r['model']} | {r['seconds']:.0f} | {r['cpu_seconds']:.0f} "
            f"| {r['cpu_seconds'] / yardstick:.2f} | {r['peak_memory'] / 2**30:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--models", type=some_of(SYSTEMS), default=",".join(SYSTEMS), help="which, comma-separated"
    )
    parser.add_argument("--pairs", type=int, default=8000, help="of the training split")
    parser.add_argument("--image_dim", type=int, default=4096)
    parser.add_argument("--text_dim", type=int, default=1000)
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if arguments.measure:
        name, path = arguments.measure
        print(json.dumps(measure(name, Path(path))))
        return
    least = 8 * CLASSES
    if arguments.pairs < least:
        parser.error(f"--pairs={arguments.pairs}: expected at least {least}")
    shape = {name: getattr(arguments, name) for name in ("pairs", "image_dim", "text_dim")}
    about = machine()
    print(described(about), end="\n\n")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.npz"
        generate(path, **shape)
        results = []
        for name in (YARDSTICK, *arguments.models):
            results.append(measure_apart(name, path))
            if arguments.json:
                # All may take an hour: what is measured stays if a later system fails.
                write_json(arguments.json, {"machine": about, **shape, "results": results})
    print(table(results))
    load = ", ".join(f"{r['model']} {r['load']:.1f}" for r in results)
    print(f"load average of the last minute of each: {load}")


if __name__ == "__main__":
    main()
