"""Training of the compared systems at NUS-WIDE-10k's size: time and peak memory.

    python benchmarks/compared_systems.py                      every system, 8,000 training pairs
    python benchmarks/compared_systems.py --models=cca,jrl --pairs=16000 --json=numbers.json

The pairs are generated: image features like a ReLU layer's, non-negative and dense, and sparse word
counts, both different from class to class. A system trains on them with its default settings as
`--model=NAME` does, in a process of its own that has imported everything and read the data before;
its peak memory is what it took on top. X-GACMN with its defaults always comes first, and ratios are
to its CPU time. `raw` has nothing to train and is not among them.

Threads are as the libraries choose; OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 in front gives each
system one core.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from process_memory import memory, peak_memory

from xgacmn_tf.baselines import NAMES
from xgacmn_tf.config import XGACMN
from xgacmn_tf.files import write_json

CLASSES = 10
# Directions in which pictures differ from each other; real features have few as well.
FACTORS = 100
WORDS_A_TEXT = 8
SYSTEMS = tuple(name for name in NAMES if name != "raw")


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
    import keras  # noqa: F401

    from xgacmn_tf import baselines, datasets
    from xgacmn_tf.baselines.training import train_system
    from xgacmn_tf.config import Config
    from xgacmn_tf.run_folder import RunFolder
    from xgacmn_tf.training import train

    with tempfile.TemporaryDirectory() as temporary:
        config = Config(model=name, dataset=str(path), output_dir=temporary)
        dataset = datasets.for_config(config)
        folder = RunFolder.for_config(config)
        folder.claim(config, dataset.fingerprint)
        system = None if name == XGACMN else baselines.system(name)
        before, wall, cpu = memory(), time.perf_counter(), time.process_time()
        if system is None:
            train(config, dataset, folder)
        else:
            train_system(system, config, dataset, folder)
        return {
            "seconds": time.perf_counter() - wall,
            "cpu_seconds": time.process_time() - cpu,
            "peak_memory": peak_memory() - before,
            "load": os.getloadavg()[0],
        }


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
        "| model | wall, s | CPU, s | CPU ÷ X-GACMN's | peak memory, GiB |",
        "|---|---|---|---|---|",
    ]
    for r in results:
        lines.append(
            f"| {r['model']} | {r['seconds']:.0f} | {r['cpu_seconds']:.0f} "
            f"| {r['cpu_seconds'] / yardstick:.2f} | {r['peak_memory'] / 2**30:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default=",".join(SYSTEMS), help="which, comma-separated")
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
    models = arguments.models.split(",")
    if unknown := {*models} - {*SYSTEMS}:
        parser.error(f"--models: {', '.join(unknown)}: expected some of {', '.join(SYSTEMS)}")
    least = 8 * CLASSES
    if arguments.pairs < least:
        parser.error(f"--pairs={arguments.pairs}: expected at least {least}")
    shape = {name: getattr(arguments, name) for name in ("pairs", "image_dim", "text_dim")}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.npz"
        generate(path, **shape)
        results = []
        for name in (XGACMN, *models):
            results.append(measure_apart(name, path))
            if arguments.json:
                # All may take an hour: what is measured stays if a later system fails.
                about = {"python": platform.python_version(), "cores": os.cpu_count()}
                write_json(arguments.json, {**about, **shape, "results": results})
    print(table(results))
    load = ", ".join(f"{r['model']} {r['load']:.1f}" for r in results)
    print(f"{os.cpu_count()} CPU cores; load average of the last minute of each: {load}")


if __name__ == "__main__":
    main()
