"""Training from files beside training from memory: time a step, and memory.

    python benchmarks/streaming.py                          all shapes, 8,000 pairs
    python benchmarks/streaming.py --shapes=nuswide --pairs=8000,32000 --json=numbers.json

Generated pairs are written as a TFDS data set, in TFRecord files of at most 64 MB. A process of its
own then trains on them, once in memory and once with --streaming, through the training loop that
the command takes: three epochs, of which the last two count; dropout is on, features are z-scored.
Memory is what the process took on top of its imports, at its peak, and what the features alone
take as float32. The page cache holds the files, as it does on a machine with memory to spare.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TQDM_DISABLE": "1"}

import numpy as np
from arguments import Parser, sizes, some_of
from machine import described, machine
from process_memory import memory, peak_memory

SHAPES = {"wikipedia": (128, 10), "openclipart": (1280, 1000), "nuswide": (4096, 1000)}
CLASSES, EPOCHS = 10, 3
FILE_BYTES = 64 * 2**20


def write(folder: str, image_dim: int, text_dim: int, pairs: int) -> None:
    import tensorflow as tf
    import tensorflow_datasets as tfds

    def examples(rows: int, seed: int):
        def generate():
            generator = np.random.default_rng(seed)
            for row in range(rows):
                yield {
                    "image": generator.standard_normal(image_dim, np.float32),
                    "text": generator.standard_normal(text_dim, np.float32),
                    "label": row % CLASSES,
                }

        signature = {
            "image": tf.TensorSpec((image_dim,), tf.float32),
            "text": tf.TensorSpec((text_dim,), tf.float32),
            "label": tf.TensorSpec((), tf.int64),
        }
        return tf.data.Dataset.from_generator(generate, output_signature=signature)

    size = 4 * pairs * (image_dim + text_dim)
    features = {
        "image": tfds.features.Tensor(shape=(image_dim,), dtype=np.float32),
        "text": tfds.features.Tensor(shape=(text_dim,), dtype=np.float32),
        "label": tfds.features.ClassLabel(num_classes=CLASSES),
    }
    tfds.dataset_builders.store_as_tfds_dataset(
        name="generated",
        version="1.0.0",
        data_dir=folder,
        features=tfds.features.FeaturesDict(features),
        split_datasets={"train": examples(pairs, 0), "test": examples(100, 1)},
        download_config=tfds.download.DownloadConfig(num_shards=-(-size // FILE_BYTES)),
        disable_shuffling=True,
    )


def train(folder: str, streaming: bool) -> dict[str, float]:
    """Seconds a step and bytes, of one process."""
    from epoch_clock import Clock

    from xgacmn_tf import datasets
    from xgacmn_tf.runs.xgacmn import build_model
    from xgacmn_tf.settings.config import Config
    from xgacmn_tf.training import automatic

    config = Config.of(
        dataset="generated", data_dir=folder, streaming=streaming, image_map="zscore",
        text_map="zscore", validation_fraction=0.0,
    )  # fmt: skip
    before = memory()
    started = time.perf_counter()
    dataset = datasets.for_config(config)
    opened = time.perf_counter() - started
    automatic.choose_threads(max(dataset.image_dim, dataset.text_dim))
    model = build_model(config, dataset)
    batches, clock = dataset.train.batches(config.training.batch_size), Clock()
    model.fit(batches, epochs=EPOCHS, verbose=0, callbacks=[clock])
    return {
        "open_s": opened,
        "step_ms": 1e3
        * min(clock.seconds[1:])
        / (len(dataset.train) // config.training.batch_size),
        "peak_bytes": peak_memory() - before,
        "feature_bytes": len(dataset.train) * 4 * (dataset.image_dim + dataset.text_dim),
    }


def measure(folder: str, streaming: bool) -> dict[str, float]:
    """`train` in a process of its own."""
    command = [sys.executable, __file__, f"--folder={folder}", f"--streaming={int(streaming)}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", type=some_of(SHAPES), default=",".join(SHAPES))
    parser.add_argument("--pairs", type=sizes, default="8000")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--streaming", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.folder:
        print(json.dumps(train(arguments.folder, bool(arguments.streaming))))
        return
    about = machine()
    print(described(about), end="\n\n")
    rows = []
    print("| shape | pairs | features GiB | from | open s | ms a step | × memory | peak GiB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for shape in arguments.shapes:
        for pairs in arguments.pairs:
            with tempfile.TemporaryDirectory() as folder:
                write(folder, *SHAPES[shape], pairs)
                found = {name: measure(folder, name == "files") for name in ("memory", "files")}
            for name, row in found.items():
                ratio = row["step_ms"] / found["memory"]["step_ms"]
                print(
                    f"| {shape} | {pairs} | {row['feature_bytes'] / 2**30:.2f} | {name} | "
                    f"{row['open_s']:.1f} | {row['step_ms']:.1f} | {ratio:.2f} | "
                    f"{row['peak_bytes'] / 2**30:.2f} |",
                    flush=True,
                )
                rows.append({"shape": shape, "pairs": pairs, "from": name, **row})
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": about, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
