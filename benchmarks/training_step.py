"""One training step of X-GACMN beside the same step in other frameworks.

    python benchmarks/training_step.py                          every peer installed, all shapes
    python benchmarks/training_step.py --shapes=wikipedia --systems=xgacmn,keras --json=numbers.json

A step is one turn of Algorithm 1 with K = 1 at the paper's sizes and Adam, on generated features;
dropout and input maps are off, because the peers have none. X-GACMN trains through
`runs.xgacmn.train_model` as the command does, with TensorBoard and averaged weights; what it keeps
between epochs (checkpoints, at most 5 % of the time) falls outside of the turns, as with the peers.
Item embeddings are trained afterwards and apart, so neither step nor floor includes them; "items"
is their own step, of three networks for each modality, with its own floor. The peers are PyTorch
(eager with fused Adam, torch.compile, and bfloat16 by autocast), plain Keras `fit` and JAX; one
that is not installed is left out (pip install torch jax).

Every system has a process of its own that has compiled and warmed up before, and they take turns,
ROUNDS times; the median counts. Floors: the step's matrix products over the measured rate of large
ones, and the bytes of weights, gradients and Adam's moments over the measured rate of copying,
first what Algorithm 1 needs at least, with what it allows to share shared, then as written down
line by line.
"""

import argparse
import importlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TQDM_DISABLE": "1"}

import numpy as np
from arguments import Parser, some_of
from machine import described, machine

# Shape → image dimensions, text dimensions, batch.
SHAPES = {
    "wikipedia": (128, 10, 64),
    "openclipart": (1280, 1000, 64),
    "nuswide": (4096, 1000, 64),
    "large": (4096, 4096, 1024),
}
# System → the package it needs beside TensorFlow.
SYSTEMS: dict[str, str | None] = {
    "xgacmn": None,
    "xgacmn_xla": None,
    "xgacmn_bfloat16": None,
    "items": None,
    "keras": None,
    "torch": "torch",
    "torch_compile": "torch",
    "torch_bfloat16": "torch",
    "jax": "jax",
}
ROUNDS, SECONDS = 5, 2.0
CLASSES = 10
HIDDEN, CODE, D_HIDDEN, DC_HIDDEN = (512, 100), 100, 2000, 50
MEMBERS, ITEM_HIDDEN, ITEM_DIM = 3, 512, 100


def products(image_dim: int, text_dim: int, batch: int) -> dict[str, float]:
    """Floating-point operations of a step's matrix products, at least and line by line."""

    def forward(*units: int) -> float:
        return 2.0 * batch * sum(a * b for a, b in zip(units, units[1:], strict=False))

    encoders, decoders, entries = 0.0, 0.0, 0.0
    for dim, other in ((image_dim, text_dim), (text_dim, image_dim)):
        encoders += forward(dim, *HIDDEN, CODE)
        decoders += forward(CODE, *HIDDEN[::-1], other)
        entries += forward(dim, HIDDEN[0])
    discriminators = [(image_dim, D_HIDDEN, 2), (text_dim, D_HIDDEN, 2), (CODE, DC_HIDDEN, 2)]
    judged = sum(forward(*units) for units in discriminators)
    tops = sum(forward(*units[1:]) for units in discriminators)
    classes = 2 * forward(CODE, CLASSES)
    # D: real and generated, forward and for its weights; its inputs need no gradient.
    d_step = 2 * (judged + judged + tops)
    # G: the discriminators' judgement forward and for their inputs; the generators backward.
    backward = 2 * (encoders + decoders) - entries + 2 * classes
    g_step = 2 * judged + classes + backward
    least = encoders + decoders + d_step + g_step
    return {"least": least, "line by line": least + encoders + decoders}


def weights(image_dim: int, text_dim: int) -> int:
    """Numbers that a step moves."""

    def stack(*units: int) -> int:
        return sum((a + 1) * b for a, b in zip(units, units[1:], strict=False))

    count = CODE * CLASSES + stack(CODE, DC_HIDDEN, 2)
    for dim, other in ((image_dim, text_dim), (text_dim, image_dim)):
        count += stack(dim, *HIDDEN, CODE) + stack(CODE, *HIDDEN[::-1], other)
        count += stack(dim, D_HIDDEN, 2)
    return count


def item_step(image_dim: int, text_dim: int, batch: int) -> tuple[float, int]:
    """Operations of the products of an item step, and the numbers that it moves."""
    operations, count = 0.0, 0
    for dim in (image_dim, text_dim):
        entry, last = dim * ITEM_HIDDEN, ITEM_HIDDEN * ITEM_DIM
        # Forward, for the weights, and for the hidden layer; the cosines, forward and twice back.
        operations += MEMBERS * 2.0 * batch * (2 * entry + 3 * last)
        count += MEMBERS * (entry + last + ITEM_HIDDEN + ITEM_DIM)
    return operations + MEMBERS * 3 * 2.0 * batch * batch * ITEM_DIM, count


def rates() -> tuple[float, float]:
    """Floating-point operations a second of large matrix products; bytes a second of copying."""
    import tensorflow as tf

    size, copied = 2048, 2**26
    a = tf.random.normal((size, size))
    multiply = tf.function(lambda x, y: tf.reduce_sum(tf.matmul(x, y)[0]))
    source, target = np.ones(copied, np.float32), np.empty(copied, np.float32)
    rates, widths = [], []
    multiply(a, a)
    for _ in range(10):
        started = time.perf_counter()
        float(multiply(a, a))
        rates.append(2 * size**3 / (time.perf_counter() - started))
        started = time.perf_counter()
        np.copyto(target, source)
        widths.append(2 * source.nbytes / (time.perf_counter() - started))
    return max(rates), max(widths)


def generate(image_dim: int, text_dim: int, rows: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {
        "image": generator.standard_normal((rows, image_dim), np.float32),
        "text": generator.standard_normal((rows, text_dim), np.float32),
        "label": generator.integers(CLASSES, size=rows),
    }


def train_items(arrays: dict[str, np.ndarray], batch: int) -> None:
    """Trains item towers as a run does, each epoch a turn; never returns."""
    from xgacmn_tf.model.encoders import CommonSpaceEncoder
    from xgacmn_tf.model.input_maps import Identity
    from xgacmn_tf.model.item_towers import TowerSettings
    from xgacmn_tf.model.networks import Encoder
    from xgacmn_tf.training import items

    settings = TowerSettings(
        hidden=(ITEM_HIDDEN,), dim=ITEM_DIM, dropout=0.0, temperature=0.1, learning_rate=5e-4,
        average_decay=0.99, members=MEMBERS,
    )  # fmt: skip
    image_map, text_map = (Identity(arrays[name].shape[1]) for name in ("image", "text"))
    encoder = CommonSpaceEncoder(image_map, text_map, Encoder(), Encoder(), class_layer=None)
    started = None

    def turn(epoch: int, terms: dict[str, float]) -> None:
        nonlocal started
        if started is not None:
            print(time.perf_counter() - started, flush=True)
        wait()
        started = time.perf_counter()

    items.train_items(
        dataset_of(arrays), encoder, settings, batch_size=batch, seed=0, epochs=10**6, log=turn
    )


def dataset_of(arrays: dict[str, np.ndarray]):
    """A data set of generated pairs, with one to test on."""
    from xgacmn_tf.datasets.paired import PairedDataset, Split

    def names(part: str, rows: int) -> np.ndarray:
        return np.array([f"{part} {row}" for row in range(rows)])

    split, test = (
        Split(**{k: v[:rows] for k, v in arrays.items()}, id=names(part, rows))
        for part, rows in (("train", len(arrays["label"])), ("test", 1))
    )
    return PairedDataset("generated", split, test, tuple(map(str, range(CLASSES))))


def train_ours(arrays: dict[str, np.ndarray], batch: int, variant: str) -> None:
    """Trains as the command does, each epoch a turn; never returns."""
    import keras

    from xgacmn_tf.runs.folder import RunFolder
    from xgacmn_tf.runs.xgacmn import train_model
    from xgacmn_tf.settings.config import Config
    from xgacmn_tf.training.callbacks import ScalarBoard, StopOnNonFinite

    class Turns(keras.callbacks.Callback):
        """Waits for the turn before an epoch, and says how long it and its records took."""

        started = 0.0

        def on_epoch_begin(self, epoch, logs=None):
            wait()
            self.started = time.perf_counter()

        def on_epoch_end(self, epoch, logs=None):
            print(time.perf_counter() - self.started, flush=True)

    with tempfile.TemporaryDirectory() as temporary:
        config = Config.of(
            dataset="generated", image_map="none", text_map="none", image_dropout=0.0,
            text_dropout=0.0, feature_discriminator_hidden=D_HIDDEN, epochs=10_000,
            batch_size=batch, jit_compile=variant == "xla",
            precision="bfloat16" if variant == "bfloat16" else "float32",
        )  # fmt: skip
        folder = RunFolder(temporary)
        train_model(
            config,
            dataset_of(arrays),
            folder,
            [StopOnNonFinite(), ScalarBoard(folder.tensorboard), Turns()],
        )


def work(system: str, shape: str, steps: int) -> None:
    """A system's process: a turn of `steps` steps for every line of input, seconds on output."""
    image_dim, text_dim, batch = SHAPES[shape]
    arrays = generate(image_dim, text_dim, steps * batch)
    peer, _, variant = system.partition("_")
    if peer == "xgacmn":
        train_ours(arrays, batch, variant)
    if peer == "items":
        train_items(arrays, batch)
    settings = {"variant": variant} if peer == "torch" else {}
    run = importlib.import_module(f"training_peers.{peer}_peer").run
    train = run(arrays, batch, steps, **settings)
    while True:
        wait()
        print(train(), flush=True)


def wait() -> None:
    """Returns at the next line of input; ends the process after the last."""
    if not sys.stdin.readline():
        os._exit(0)


class Worker:
    """A system's process at one shape."""

    def __init__(self, system: str, shape: str, steps: int):
        command = [sys.executable, __file__, f"--work={system},{shape},{steps}"]
        started = time.perf_counter()
        self.steps = steps
        # Its last words are shown only where it fails.
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True
        )
        self.turn()  # Compiles.
        self.first = time.perf_counter() - started
        self.turn()  # Warms up.

    def turn(self) -> float:
        """Seconds a step."""
        assert self.process.stdin is not None and self.process.stdout is not None
        print(file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            raise SystemExit(f"{self.errors.read()}\n{self.process.args} ended before its turn")
        return float(line) / self.steps

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def compare(shape: str, systems: list[str], rate: float, width: float) -> list[dict]:
    """One row for each system."""
    image_dim, text_dim, batch = SHAPES[shape]
    operations = products(image_dim, text_dim, batch)
    # Adam reads a weight, its gradient and two moments and writes all but the gradient, which the
    # product before has written.
    moved = 8 * 4 * weights(image_dim, text_dim)
    floor = operations["least"] / rate + moved / width
    item_operations, item_count = item_step(image_dim, text_dim, batch)
    # Averages read themselves and a weight and write themselves.
    item_floor = item_operations / rate + (8 + 3) * 4 * item_count / width
    steps = max(4, int(SECONDS / max(floor * 2, 1e-3)))
    workers = {system: Worker(system, shape, steps) for system in systems}
    times: dict[str, list[float]] = {system: [] for system in systems}
    for _ in range(ROUNDS):
        for system, worker in workers.items():
            times[system].append(worker.turn())
    for worker in workers.values():
        worker.end()
    ours = statistics.median(times.get("xgacmn", [float("nan")]))
    return [
        {
            "shape": shape,
            "system": system,
            "ms": 1e3 * statistics.median(found),
            "ms_min": 1e3 * min(found),
            "ms_max": 1e3 * max(found),
            "times_ours": statistics.median(found) / ours,
            "share_of_floor": (item_floor if system == "items" else floor)
            / statistics.median(found),
            "first_turn_s": workers[system].first,
            "floor_ms": 1e3 * floor,
            "item_floor_ms": 1e3 * item_floor,
            "floor_products_ms": 1e3 * operations["least"] / rate,
            "floor_products_line_by_line_ms": 1e3 * operations["line by line"] / rate,
            "floor_bytes_ms": 1e3 * moved / width,
        }
        for system, found in times.items()
    ]


def main() -> None:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", type=some_of(SHAPES), default=",".join(SHAPES))
    parser.add_argument("--systems", type=some_of(SYSTEMS), default=",".join(SYSTEMS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        system, shape, steps = arguments.work.split(",")
        work(system, shape, int(steps))
    missing = {s for s, needs in SYSTEMS.items() if needs and not importlib.util.find_spec(needs)}
    systems = [system for system in arguments.systems if system not in missing]
    about = machine()
    print(described(about), end="\n\n")
    rate, width = rates()
    print(f"{rate / 1e9:.0f} GFLOP/s, {width / 1e9:.1f} GB/s")
    for system in sorted(missing & set(arguments.systems)):
        print(f"{system}: {SYSTEMS[system]} is not installed")
    found = []
    print("| shape | system | ms a step (min – max) | × X-GACMN | of the floor | first turn (s) |")
    print("| --- | --- | --- | --- | --- | --- |")
    for shape in arguments.shapes:
        rows = compare(shape, systems, rate, width)
        found += rows
        first = rows[0]
        print(
            f"| {shape} | floor: products {first['floor_products_ms']:.1f}, line by line "
            f"{first['floor_products_line_by_line_ms']:.1f}, bytes {first['floor_bytes_ms']:.1f} | "
            f"{first['floor_ms']:.1f} | | 1 | |"
        )
        for row in rows:
            print(
                f"| {shape} | {row['system']} | {row['ms']:.1f} ({row['ms_min']:.1f} – "
                f"{row['ms_max']:.1f}) | {row['times_ours']:.2f} | {row['share_of_floor']:.2f} | "
                f"{row['first_turn_s']:.1f} |",
                flush=True,
            )
    if arguments.json:
        record = {
            "machine": about | {"flops_per_s": rate, "bytes_per_s": width},
            "rows": found,
        }
        arguments.json.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
