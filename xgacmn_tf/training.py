"""From settings and paired features to trained encoders: the epoch loop, checkpoints, resuming.

The training split lives on the device and many steps run inside one compiled call. Batches are a
pure function of (seed, epoch, step), so a resumed run sees the batches it would have seen.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from xgacmn_tf.angular_softmax import AngularSoftmax, ClassLayer, MarginAnnealing, PlainSoftmax
from xgacmn_tf.config import Config
from xgacmn_tf.datasets.paired import PairedDataset, Split
from xgacmn_tf.encoders import CommonSpaceEncoder
from xgacmn_tf.evaluation import mean_average_precision
from xgacmn_tf.files import atomic_path
from xgacmn_tf.input_maps import fit_map
from xgacmn_tf.model import XGACMN
from xgacmn_tf.networks import Encoder
from xgacmn_tf.optimizers import FusedAdam
from xgacmn_tf.run_folder import RunFolder

# A resumed run repeats what came after its checkpoint and reaches the same numbers, so saving less
# often than every epoch costs nothing but repeated seconds.
SECONDS_BETWEEN_CHECKPOINTS = 5.0
# Nor more often than this many times what one takes: large models spend 5 % of the time on it.
SAVES_BETWEEN_CHECKPOINTS = 20.0
# Where --epochs is not given: with 1,000 steps of Adam at 3e-4 openclipart and both protocols of
# Wikipedia are past their best validation epoch, which is then kept.
STEPS = 1_000
LEAST_EPOCHS = 24
# Where epochs are compared by one evaluation each, the highest is an accident of the validation
# pairs, and mostly too early: the mean of the last few is compared.
EVALUATIONS = 5
SCORE = "validation/mAP/avg"
# Where --image_dropout or --text_dropout is not given.
DROPOUT = 0.5
# With ten topics, dropping half of the hidden units costs .002 to .006 of validation mAP.
FEW_DIMENSIONS = 64
# Up to here a matrix product costs less than sharing it among cores: 4.8 rather than 7 ms a step on
# two cores at 128 and 10 dimensions. The results are the same bit by bit.
SMALL_DIMENSIONS = 256


def build_model(config: Config, dataset: PairedDataset) -> XGACMN:
    """An untrained, compiled model; input maps are fitted on the training split."""
    keras.utils.set_random_seed(config.seed)
    maps = {
        modality: fit_map(
            getattr(config, f"{modality}_map"),
            getattr(dataset.train, modality),
            modality,
            gamma=config.chi2_gamma,
            components=config.chi2_components,
        )
        for modality in ("image", "text")
    }
    encoders = {
        modality: Encoder(
            hidden=config.encoder_hidden,
            code_dim=config.code_dim,
            code_activation=config.code_activation,
            dropout=_dropout(
                getattr(config, f"{modality}_dropout"), getattr(dataset, f"{modality}_dim")
            ),
            name=f"{modality}_encoder",
        )
        for modality in ("image", "text")
    }
    class_layer: ClassLayer | None = None
    if config.classifier == "angular":
        class_layer = AngularSoftmax(dataset.num_classes, m=config.margin, name="angular_softmax")
    elif config.classifier == "softmax":
        class_layer = PlainSoftmax(dataset.num_classes, name="softmax")
    model = XGACMN(
        CommonSpaceEncoder(
            maps["image"], maps["text"], encoders["image"], encoders["text"], class_layer
        ),
        decoder_hidden=config.encoder_hidden[::-1],
        output_activation=config.generated_activation,
        feature_discriminator_hidden=(
            config.feature_discriminator_hidden if config.discriminate_features else None
        ),
        common_discriminator_hidden=(
            config.common_discriminator_hidden if config.discriminate_codes else None
        ),
        lambda_1=config.lambda_1,
        lambda_2=config.lambda_2,
        lambda_3=config.lambda_3,
        distillation=config.distillation,
        generator_steps=config.generator_steps,
        annealing=MarginAnnealing(**config.annealing_config),
        average_decay=config.average_decay,
    )
    model.compile(
        d_optimizer=FusedAdam(config.discriminator_learning_rate),
        g_optimizer=FusedAdam(config.generator_learning_rate),
    )
    return model


def _dropout(given: float | None, dim: int) -> float:
    if given is not None:
        return given
    return DROPOUT if dim > FEW_DIMENSIONS else 0.0


def _choose_threads(dataset: PairedDataset) -> None:
    """One thread for each product of a small network; independent ones still run side by side."""
    small = max(dataset.image_dim, dataset.text_dim) <= SMALL_DIMENSIONS
    chosen = tf.config.threading.get_intra_op_parallelism_threads()
    if small and not chosen and "TF_NUM_INTRAOP_THREADS" not in os.environ:
        # Too late where TensorFlow has run something in this process already.
        with contextlib.suppress(RuntimeError):
            tf.config.threading.set_intra_op_parallelism_threads(1)


def most_epochs(config: Config, steps: int) -> int:
    """How many epochs of so many steps a run has at most."""
    return config.epochs or max(LEAST_EPOCHS, math.ceil(STEPS / steps))


def patience(config: Config, epochs: int) -> int:
    """After how many epochs without a better one a run of at most `epochs` stops."""
    return config.patience or max(10, epochs // 4)


class EpochRunner:
    """Runs `XGACMN.alternate` over the training split, many steps in one compiled call.

    A batch that would be smaller than the others is dropped: each epoch shuffles anew, so no pair
    is left out for good. A split smaller than one batch is one batch.
    """

    def __init__(self, model: XGACMN, split: Split, num_classes: int, config: Config):
        self.model, self.seed = model, config.seed
        self.data = model.prepare(split.image, split.text, split.targets(num_classes))
        self.rows = len(split)
        self.batch_size = min(config.batch_size, self.rows)
        self.steps = self.rows // self.batch_size
        self.steps_per_call = config.steps_per_call
        self._run = tf.function(self._steps, jit_compile=config.jit_compile)

    def order(self, epoch: int) -> tf.Tensor:
        """Rows of each batch of an epoch, (steps, batch_size) int32."""
        rows = tf.random.experimental.stateless_shuffle(
            tf.range(self.rows), seed=[self.seed, epoch]
        )
        return tf.reshape(rows[: self.steps * self.batch_size], (self.steps, self.batch_size))

    def run(self, epoch: int, on_progress) -> dict[str, float]:
        """One epoch; calls `on_progress(steps)` after each compiled call. Returns mean terms."""
        order = self.order(epoch)
        totals = np.zeros(len(self.model.term_names()))
        for first in range(0, self.steps, self.steps_per_call):
            last = min(first + self.steps_per_call, self.steps)
            totals += self._run(order, tf.constant(first), tf.constant(last)).numpy()
            on_progress(last - first)
        return {
            name: float(total) / self.steps
            for name, total in zip(self.model.term_names(), totals, strict=True)
        }

    def _steps(self, order, first, last):
        totals = tf.zeros(len(self.model.term_names()))
        for step in tf.range(first, last):
            batch = {name: tf.gather(values, order[step]) for name, values in self.data.items()}
            totals += tf.stack(list(self.model.alternate(batch).values()))
        return totals


class Validation:
    """mAP on the validation split, with the averaged encoders, at the run's headline similarity."""

    def __init__(self, model: XGACMN, split: Split, num_classes: int, similarity: str):
        self.encoder, self.similarity = model.averaged, similarity
        self.data = model.prepare(split.image, split.text, split.targets(num_classes))

    def __call__(self) -> dict[str, float]:
        """{"i2t", "t2i", "avg"} of full-gallery mAP; NaN where the encoders have diverged."""
        image, text = self._representations()
        if not all(np.isfinite(x).all() for x in (image, text)):
            return dict.fromkeys(("i2t", "t2i", "avg"), float("nan"))
        return mean_average_precision(image, text, self.data["label"])

    @tf.function
    def _representations(self):
        codes = (
            self.encoder.image_encoder(self.data["image"]),
            self.encoder.text_encoder(self.data["text"]),
        )
        return tuple(self.encoder.represent(code, self.similarity) for code in codes)


@dataclasses.dataclass
class Progress:
    """How far a run has come."""

    history: list[dict[str, float]] = dataclasses.field(default_factory=list)
    best_score: float = -1.0
    best_epoch: int = 0
    seconds: float = 0.0

    @property
    def epoch(self) -> int:
        """Epochs that are done."""
        return len(self.history)

    def score(self) -> float | None:
        """Mean validation mAP of the last evaluations; None where the newest epoch has none."""
        if SCORE not in self.history[-1]:
            return None
        evaluated = [record[SCORE] for record in self.history if SCORE in record]
        return float(np.mean(evaluated[-EVALUATIONS:]))

    def is_over(self, epochs: int, patience: int) -> bool:
        """Whether all epochs are done, or so many have passed without a better one."""
        waited = self.epoch - self.best_epoch if self.best_score >= 0 else 0
        return self.epoch >= epochs or waited >= patience


class _ProgressState(tf.train.experimental.PythonState):
    """Keeps a `Progress` inside the checkpoint, so that the two cannot disagree."""

    def __init__(self, progress: Progress):
        self.progress = progress

    def serialize(self):
        return json.dumps(dataclasses.asdict(self.progress))

    def deserialize(self, string_value):
        self.progress.__dict__.update(json.loads(string_value))


def train(
    config: Config,
    dataset: PairedDataset,
    folder: RunFolder,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    refit_epochs: int | None = None,
) -> Progress:
    """Trains from where the folder's checkpoint left off, and leaves `folder.selected`.

    The best epoch is the one with the highest validation mAP (mean of both directions, headline
    similarity, and of the last `EVALUATIONS`); without a validation split it is the last one.
    Keras callbacks get `on_train_begin`, `on_epoch_end` for every epoch (those of before a resume
    are replayed, so that curves are whole) and `on_train_end`.

    Args:
      config: the settings.
      dataset: its training split is learned from, its validation split chooses the epoch.
      folder: of the run.
      callbacks: watch the epochs, and may refuse one.
      refit_epochs: train for so many epochs instead of `config.epochs`, and leave the encoders as
        `folder.refitted`, beside those of the training that found the number.

    Raises:
      callbacks.DivergenceError: from `StopOnNonFinite`, before anything of that epoch is saved.
    """
    tf.config.experimental.enable_op_determinism()
    _choose_threads(dataset)
    model = build_model(config, dataset)
    runner = EpochRunner(model, dataset.train, dataset.num_classes, config)
    epochs = refit_epochs or most_epochs(config, runner.steps)
    waiting = patience(config, epochs)
    validation = None
    if dataset.validation is not None:
        validation = Validation(model, dataset.validation, dataset.num_classes, config.headline())

    progress = Progress()
    variables = [*model.variables, *model.d_optimizer.variables, *model.g_optimizer.variables]
    checkpoint = tf.train.Checkpoint(
        # A plain list, because following the model's attributes misses the random state of dropout.
        variables=[variable.value for variable in variables],
        progress=_ProgressState(progress),
    )
    resume, kept = folder.resume, folder.selected
    if refit_epochs is not None:
        resume, kept = folder.refit, folder.refitted
    manager = tf.train.CheckpointManager(checkpoint, str(resume), max_to_keep=1)
    if manager.latest_checkpoint:
        checkpoint.restore(manager.latest_checkpoint).assert_consumed()
    next_save = time.monotonic() + SECONDS_BETWEEN_CHECKPOINTS

    watchers = keras.callbacks.CallbackList(list(callbacks), model=model)
    watchers.on_train_begin()
    for record in progress.history:
        watchers.on_epoch_end(int(record["epoch"]), record)
    title = "epoch" if refit_epochs is None else "all pairs, epoch"
    with tqdm(
        total=epochs * runner.steps,
        initial=progress.epoch * runner.steps,
        unit="step",
        dynamic_ncols=True,
    ) as bar:
        while not progress.is_over(epochs, waiting):
            epoch = progress.epoch + 1
            bar.set_description(f"{title} {epoch}/{epochs}")
            watchers.on_epoch_begin(epoch)
            started = time.perf_counter()
            terms = runner.run(epoch, bar.update)
            seconds = time.perf_counter() - started
            logs = {
                "epoch": float(epoch),
                "step": float(epoch * runner.steps),
                **terms,
                "learning_rate/G": float(model.g_optimizer.learning_rate),
                "learning_rate/D": float(model.d_optimizer.learning_rate),
            }
            if validation is not None and (epoch % config.evaluate_every == 0 or epoch == epochs):
                logs |= {f"validation/mAP/{way}": v for way, v in validation().items()}
            # Before anything of this epoch is kept, so that a callback can refuse it.
            watchers.on_epoch_end(epoch, logs)
            progress.history.append(logs)
            progress.seconds += seconds
            _keep_if_best(model, logs, progress, kept, is_last=epoch == epochs)
            bar.set_postfix_str(_summary(progress))
            over = progress.is_over(epochs, waiting)
            began = time.monotonic()
            if over or began > next_save:
                manager.save(checkpoint_number=epoch)
                took = time.monotonic() - began
                pause = max(SECONDS_BETWEEN_CHECKPOINTS, SAVES_BETWEEN_CHECKPOINTS * took)
                next_save = time.monotonic() + pause
    watchers.on_train_end()
    return progress


def _keep_if_best(
    model: XGACMN, logs: dict[str, float], progress: Progress, path: Path, is_last: bool
) -> None:
    """Writes `path` where this epoch is the best so far, or the last without validation."""
    score = progress.score()
    # The last epoch is always evaluated, so one without a score has no validation split.
    if is_last if score is None else score > progress.best_score:
        progress.best_score = -1.0 if score is None else score
        progress.best_epoch = int(logs["epoch"])
        with atomic_path(path) as temporary:
            model.averaged.save(temporary)


def _summary(progress: Progress) -> str:
    """The newest losses by name and the newest validation mAP, for the progress bar."""
    logs = progress.history[-1]
    parts = [
        f"{label} {logs[key]:.3g}"
        for label, key in (
            ("D", "D/loss"),
            ("G", "G/loss"),
            ("pair", "G/pair"),
            ("image class", "G/image_classification"),
            ("text class", "G/text_classification"),
        )
        if key in logs
    ]
    scored = [record for record in progress.history if "validation/mAP/avg" in record]
    if scored:
        i2t, t2i = (scored[-1][f"validation/mAP/{way}"] for way in ("i2t", "t2i"))
        parts.append(f"val mAP {i2t:.3f}/{t2i:.3f}, best {progress.best_score:.3f}")
    return ", ".join(parts)
