"""Checks of a machine for `xgacmn doctor --check`: arithmetic, training, determinism, export."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from xgacmn_tf.datasets.loading import load_dataset
from xgacmn_tf.datasets.paired import Split
from xgacmn_tf.model.xgacmn import XGACMN

MATRIX_SIDE = 1024
# Relative errors that float32 and TensorFloat-32, which many GPUs use in its place, may make.
FLOAT32_ERROR, TF32_ERROR = 1e-5, 2e-3
# Of losses after a few steps, on another device.
FLOAT32_LOSS, TF32_LOSS = 1e-3, 2e-2
EXPORT_ERROR = 1e-3
PAIRS, BATCH_SIZE, EPOCHS = 512, 64, 2


class Check(NamedTuple):
    """The result of one check.

    Attributes:
      name: what was checked, and on which device.
      passed: whether the machine may be used.
      detail: measured values and what was allowed, or the error.
    """

    name: str
    passed: bool
    detail: str


class _Training(NamedTuple):
    """A short training: its model, last losses by name, and milliseconds per step."""

    model: XGACMN
    losses: dict[str, float]
    step_ms: float


def checks() -> Iterator[Check]:
    """Run all checks, each as it is requested; an error of a check is its result.

    Deterministic operations are switched on for this process.
    """
    tf.config.experimental.enable_op_determinism()
    names = [d.name for d in tf.config.list_logical_devices() if d.device_type in ("CPU", "GPU")]
    devices = {name.removeprefix("/device:"): name for name in names}
    for short, device in devices.items():
        yield _caught(f"matrix product on {short}", _matrix_product, device)
    dataset = load_dataset("emoji")
    train = dataset.train.to_fit().take(np.arange(PAIRS))
    trained: dict[str, _Training] = {}

    def training(short: str, device: str) -> tuple[bool, str]:
        trained[short] = _train(train, dataset.num_classes, device)
        return _same_losses(trained, short)

    def determinism(short: str, device: str) -> tuple[bool, str]:
        first, second = trained[short], _train(train, dataset.num_classes, device)
        pairs = zip(first.model.get_weights(), second.model.get_weights(), strict=True)
        different = sum(not np.array_equal(one, two) for one, two in pairs)
        same = first.losses == second.losses and not different
        return same, "equal losses and weights" if same else f"{different} weights differ"

    # The CPU and the first GPU, so that many GPUs do not take long.
    examined = {short.partition(":")[0]: short for short in reversed(devices)}.values()
    for short, device in devices.items():
        yield _caught(f"training on {short}", training, short, device)
        if short in trained and short in examined:
            yield _caught(f"two equal trainings on {short}", determinism, short, device)
            yield _caught(f"export from {short} and reload", _export, trained[short].model, train)


def _caught(name: str, check: Callable[..., tuple[bool, str]], *arguments: Any) -> Check:
    try:
        passed, detail = check(*arguments)
    except Exception as error:  # Whatever fails on a machine belongs into its report.
        reason = (str(error).strip() or "no message").splitlines()[0]
        return Check(name, False, f"{type(error).__name__}: {reason}")
    return Check(name, passed, detail)


def _uses_tf32(device: str) -> bool:
    return "GPU" in device and tf.config.experimental.tensor_float_32_execution_enabled()


def _matrix_product(device: str) -> tuple[bool, str]:
    """Compare a float32 product with NumPy's in float64, by the Frobenius norm."""
    generator = np.random.default_rng(0)
    left, right = (generator.normal(size=(MATRIX_SIDE, MATRIX_SIDE)) for _ in range(2))
    with tf.device(device):
        factors = [tf.constant(array, tf.float32) for array in (left, right)]
        tf.linalg.matmul(*factors).numpy()
        started = time.perf_counter()
        product = tf.linalg.matmul(*factors).numpy()
        milliseconds = 1000 * (time.perf_counter() - started)
    exact = left @ right
    error = float(np.linalg.norm(product - exact) / np.linalg.norm(exact))
    allowed = TF32_ERROR if _uses_tf32(device) else FLOAT32_ERROR
    return (
        error <= allowed,
        f"relative error {error:.1e} (at most {allowed:.0e}), {milliseconds:.0f} ms",
    )


def _train(train: Split, num_classes: int, device: str) -> _Training:
    """Train the default networks for a few steps; the step time leaves the first epoch out."""
    keras.utils.set_random_seed(0)
    times: list[float] = []
    clock = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: times.append(time.perf_counter()),
        on_epoch_end=lambda epoch, logs: times.append(time.perf_counter()),
    )
    with tf.device(device):
        model = XGACMN(
            num_classes=num_classes, image_map="zscore", text_map="zscore",
            image_dropout=0.0, text_dropout=0.0,
        )  # fmt: skip
        model.adapt(train)
        model.compile(steps_per_execution=PAIRS // BATCH_SIZE)
        history = model.fit(train.batches(BATCH_SIZE), epochs=EPOCHS, verbose=0, callbacks=[clock])
    losses = {name: float(history.history[name][-1]) for name in ("G/loss", "D/loss")}
    seconds = times[-1] - times[-2]
    return _Training(model, losses, 1000 * seconds / (PAIRS // BATCH_SIZE))


def _same_losses(trained: dict[str, _Training], short: str) -> tuple[bool, str]:
    """Compare the losses of a training with those of the first device, which is a CPU."""
    losses, reference = trained[short].losses, next(iter(trained))
    shown = ", ".join(f"{name} {value:.5g}" for name, value in losses.items())
    shown = f"{trained[short].step_ms:.1f} ms per step, {shown}"
    if short == reference:
        return bool(np.isfinite(list(losses.values())).all()), shown
    others = trained[reference].losses
    difference = max(abs(losses[name] / others[name] - 1) for name in losses)
    allowed = TF32_LOSS if _uses_tf32(short) else FLOAT32_LOSS
    return (
        difference <= allowed,
        f"{shown}; relative difference to {reference} {difference:.1e} (at most {allowed:.0e})",
    )


def _export(model: XGACMN, train: Split) -> tuple[bool, str]:
    """Export a SavedModel, load it again and compare embeddings of 32 images."""
    image = train.image[:32]
    with tempfile.TemporaryDirectory() as folder:
        model.export(Path(folder) / "1", verbose=False)
        loaded = tf.saved_model.load(str(Path(folder) / "1"))
        served = loaded.encode_image(tf.constant(image, tf.float32))["search"].numpy()
    error = float(np.abs(served - np.asarray(model.encode_image(image))).max())
    return error <= EXPORT_ERROR, f"largest difference {error:.1e} (at most {EXPORT_ERROR:.0e})"
