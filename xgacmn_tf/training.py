"""From settings and paired features to trained encoders: the model, its epochs, the best one."""

from __future__ import annotations

import time
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from xgacmn_tf.angular_softmax import AngularSoftmax, ClassLayer, MarginAnnealing, PlainSoftmax
from xgacmn_tf.automatic import choose_threads, dropout, most_epochs, patience
from xgacmn_tf.config import Config
from xgacmn_tf.datasets.paired import PairedDataset, Split
from xgacmn_tf.devices import Devices
from xgacmn_tf.encoders import CommonSpaceEncoder
from xgacmn_tf.epoch import EpochRunner, prepared
from xgacmn_tf.evaluation import mean_average_precision
from xgacmn_tf.files import atomic_path
from xgacmn_tf.input_maps import fit_map
from xgacmn_tf.model import XGACMN
from xgacmn_tf.networks import Encoder
from xgacmn_tf.optimizers import FusedAdam
from xgacmn_tf.progress import Checkpoints, Progress
from xgacmn_tf.run_folder import RunFolder


def build_model(config: Config, dataset: PairedDataset) -> XGACMN:
    """An untrained, compiled model; input maps are fitted on the training split."""
    keras.utils.set_random_seed(config.seed)
    maps = {
        modality: fit_map(
            getattr(config, f"{modality}_map"),
            getattr(dataset.train.to_fit(), modality),
            modality,
            gamma=config.chi2_gamma,
            components=config.chi2_components,
        )
        for modality in ("image", "text")
    }
    # bfloat16 has float32's range, so no loss needs scaling.
    dtype = "float32" if config.precision == "float32" else f"mixed_{config.precision}"
    encoders = {
        modality: Encoder(
            hidden=config.encoder_hidden,
            code_dim=config.code_dim,
            code_activation=config.code_activation,
            dropout=dropout(
                getattr(config, f"{modality}_dropout"), getattr(dataset, f"{modality}_dim")
            ),
            dtype=dtype,
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
        dtype=dtype,
    )
    model.compile(
        d_optimizer=FusedAdam(config.discriminator_learning_rate),
        g_optimizer=FusedAdam(config.generator_learning_rate),
    )
    return model


class Validation:
    """What the averaged encoders reach on the validation split, by the names that logs have.

    "validation/mAP/i2t", "…/t2i" and "…/avg" are of the full gallery, at the run's headline
    similarity. "validation/spread/image" and "…/text" tell how far the codes' directions differ:
    one less the length of their mean, 0 where all codes point the same way.

    The chief computes it for all workers: machines that round differently must not disagree about
    which epoch is the best.
    """

    NAMES = ("mAP/i2t", "mAP/t2i", "mAP/avg", "spread/image", "spread/text")

    def __init__(
        self, model: XGACMN, split: Split, num_classes: int, similarity: str, devices: Devices
    ):
        self.encoder, self.similarity, self.devices = model.averaged, similarity, devices
        self.features = prepared(model, split)
        self.targets = split.targets(num_classes)

    def __call__(self) -> dict[str, float]:
        """The numbers by name; NaN where the encoders have diverged."""
        own = self._scores() if self.devices.is_chief else [0.0] * len(self.NAMES)
        scores = self.devices.from_chief(own)
        return {f"validation/{name}": x for name, x in zip(self.NAMES, scores, strict=True)}

    def _scores(self) -> list[float]:
        image, text, *spreads = self._look()
        if not all(np.isfinite(x).all() for x in (image, text)):
            return [float("nan")] * len(self.NAMES)
        scores = mean_average_precision(image, text, self.targets)
        return [*(scores[way] for way in ("i2t", "t2i", "avg")), *map(float, spreads)]

    @tf.function(autograph=False)
    def _look(self) -> tuple[tf.Tensor, ...]:
        """Representations of images and texts, and the spreads of their codes."""
        codes = (
            self.encoder.image_encoder(self.features["image"]),
            self.encoder.text_encoder(self.features["text"]),
        )
        directions = [tf.math.l2_normalize(tf.cast(code, tf.float32), axis=-1) for code in codes]
        return (
            *(self.encoder.represent(code, self.similarity) for code in codes),
            *(1.0 - tf.norm(tf.reduce_mean(each, axis=0)) for each in directions),
        )


def train(
    config: Config,
    dataset: PairedDataset,
    folder: RunFolder,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    refit_epochs: int | None = None,
    devices: Devices | None = None,
) -> Progress:
    """Trains from where the folder's checkpoint left off, and leaves `folder.selected`.

    The best epoch is the one with the highest validation mAP (mean of both directions, headline
    similarity, and of the last `EVALUATIONS`); without a validation split it is the last one.
    Keras callbacks get `on_train_begin`, `on_epoch_end` for every epoch (those of before a resume
    are replayed, so that curves are whole) and `on_train_end`.

    Args:
      config: the settings.
      dataset: its training split is learned from, its validation split chooses the epoch.
      folder: of the run; several workers need one that all of them see.
      callbacks: watch the epochs, and may refuse one.
      refit_epochs: train for so many epochs instead of `config.epochs`, and leave the encoders as
        `folder.refitted`, beside those of the training that found the number.
      devices: where to train; by default this machine's first device.

    Raises:
      callbacks.DivergenceError: from `StopOnNonFinite`, before anything of that epoch is saved.
      InputError: the batch cannot be shared among the devices, or workers see different folders.
    """
    tf.config.experimental.enable_op_determinism()
    choose_threads(dataset)
    devices = devices or Devices()
    resume, kept = folder.resume, folder.selected
    if refit_epochs is not None:
        resume, kept = folder.refit, folder.refitted
    progress = Progress()
    with devices.strategy.scope():
        model = build_model(config, dataset)
        runner = EpochRunner(model, dataset.train, dataset.num_classes, config, devices)
        checkpoints = Checkpoints(model, progress, resume, writes=devices.is_chief)
        devices.agree(
            "checkpoints",
            f"{checkpoints.newest:x}",
            f"--output_dir={folder.path} must be on storage that all workers share",
        )
        checkpoints.restore()
    validate = None
    if dataset.validation is not None:
        validate = Validation(
            model, dataset.validation, dataset.num_classes, config.headline(), devices
        )
    epochs = refit_epochs or most_epochs(config, runner.steps)
    waiting = patience(config, epochs)

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
        **({} if devices.is_chief else {"disable": True}),
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
                "learning_rate/G": float(model.g_optimizer.learning_rate.value.numpy()),
                "learning_rate/D": float(model.d_optimizer.learning_rate.value.numpy()),
            }
            if validate is not None and (epoch % config.evaluate_every == 0 or epoch == epochs):
                logs |= validate()
            # Before anything of this epoch is kept, so that a callback can refuse it.
            watchers.on_epoch_end(epoch, logs)
            progress.history.append(logs)
            progress.seconds += seconds
            if _is_best(progress, is_last=epoch == epochs) and devices.is_chief:
                with atomic_path(kept) as temporary:
                    model.averaged.save(temporary)
            bar.set_postfix_str(_summary(progress))
            checkpoints.save(is_last=progress.is_over(epochs, waiting))
    watchers.on_train_end()
    return progress


def _is_best(progress: Progress, is_last: bool) -> bool:
    """Whether the newest epoch is the best so far, or the last without validation; notes it."""
    score = progress.score()
    # The last epoch is always evaluated, so one without a score has no validation split.
    best = is_last if score is None else score > progress.best_score
    if best:
        progress.best_score = -1.0 if score is None else score
        progress.best_epoch = progress.epoch
    return best


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
