"""Validation mAP of variants of X-GACMN's training beside its defaults.

    python benchmarks/training_variants.py --parts=losses --data=digits,emoji --seeds=2
    python benchmarks/training_variants.py --parts=ensembles --data=features.npz --json=numbers.json

  losses          pair term, class term and average of the weights, one change at a time
  ensembles       mean posteriors of 3 and 5 models, and one model that learns from those of 3
  discriminators  D_I, D_T and D_C, their weight, and the form of the generated features
  unpaired        the same, with half of the training pairs split into an image and a text without
                  a category
  temperature     temperature scaling, fitted on one half of the validation split, scored on the
                  other

Data sets are `digits`, whose upper and lower halves from scikit-learn are the two modalities, and
any data set of `xgacmn_tf.load_dataset` with one category per pair. The test split is not read. The
base is X-GACMN without discriminators, which take most of the time of a step.

The score is full-gallery mAP by posterior on the validation split, mean of both directions, at ten
evaluations in a training of 1,000 steps: the mean of the last five, the best, and the last. A
difference is that to the base with the same data and seed, in units of 0.001, mean ± standard
deviation; its p-value is that of a paired t-test over data sets and seeds.
"""

import json
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TQDM_DISABLE": "1"}

import keras
import numpy as np
import tensorflow as tf
from arguments import Parser, some_of
from keras import ops
from public_views import DATASETS
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from scipy.stats import ttest_rel
from sklearn.model_selection import train_test_split

import xgacmn_tf as xg
from xgacmn_tf.evaluation.retrieval import mean_average_precision
from xgacmn_tf.model.angular_softmax import ClassTerms
from xgacmn_tf.model.optimizers import FusedAdam
from xgacmn_tf.names import MODALITIES

STEPS, EVALUATIONS, BATCH = 1000, 10, 64
# Models of an ensemble have seeds this far apart, so that no two cells share one.
SEEDS_APART = 100
POOL = 4000


class Data(NamedTuple):
    """A training split, a validation split, and the arguments of `XGACMN` that suit them."""

    train: xg.Split
    validation: xg.Split
    num_classes: int
    arguments: dict[str, Any]
    learning_rate: float


def load(name: str, seed: int, data_dir: str | None) -> Data:
    """Return a data set with the validation split of a seed."""
    kernel = {"image_dropout": 0.5, "text_dropout": 0.5}
    if name == "digits":
        read = DATASETS["digits"].read
        assert read is not None
        upper, lower, digits = read()
        label = digits.astype(np.int32)
        split = xg.Split(
            upper.astype(np.float32),
            lower.astype(np.float32),
            label,
            np.arange(len(label)).astype(str),
        )
        train, validation = train_test_split(
            np.arange(len(label)), test_size=0.5, stratify=label, random_state=seed
        )
        maps = {"image_map": "chi2", "text_map": "chi2"}
        return Data(split.take(train), split.take(validation), 10, maps | kernel, 1e-3)
    dataset = xg.load_dataset(name, seed=seed, **({"data_dir": data_dir} if data_dir else {}))
    maps = {} if name == "wikipedia" else {"image_map": "rbf", "text_map": "rbf"} | kernel
    assert dataset.validation is not None
    return Data(dataset.train, dataset.validation, dataset.num_classes, maps, 3e-4)


@keras.saving.register_keras_serializable("training_variants")
def contrastive(image: tf.Tensor, text: tf.Tensor, rows: tf.Tensor | None = None) -> tf.Tensor:
    """InfoNCE between unit-length codes with a temperature of 0.1, both directions."""
    del rows
    image, text = (ops.normalize(ops.cast(code, "float32"), axis=-1) for code in (image, text))
    logits = ops.matmul(image, ops.transpose(text)) / 0.1
    own = ops.arange(ops.shape(logits)[0])
    ways = (logits, ops.transpose(logits))
    return sum(
        ops.mean(keras.losses.sparse_categorical_crossentropy(own, way, from_logits=True))
        for way in ways
    )


@keras.saving.register_keras_serializable("training_variants")
class Smoothed(xg.AngularSoftmax):
    """A-softmax whose loss gives a share to the mean over all classes, without margin."""

    share = 0.1

    def terms(self, *args: Any, **kwargs: Any) -> ClassTerms:
        terms = super().terms(*args, **kwargs)
        even = -ops.mean(ops.log_softmax(terms.logits, axis=-1), axis=(-2, -1))
        return terms._replace(loss=(1 - self.share) * terms.loss + self.share * even)


class Mixup(xg.XGACMN):
    """Training on mapped features that are mixed with those of another row of the batch."""

    alpha = 1.0

    def alternate(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        other = tf.random.shuffle(tf.range(tf.shape(batch["mapped_image"])[0]))
        gammas = tf.random.gamma([2], self.alpha)
        self.share = gammas[0] / tf.reduce_sum(gammas)
        mixed = {
            name: self.share * values + (1 - self.share) * tf.gather(values, other)
            for name, values in batch.items()
            if name != "label"
        }
        labels = {"label": batch["label"], "other_label": tf.gather(batch["label"], other)}
        return super().alternate(mixed | labels)

    def _generator_loss(
        self, batch: dict[str, tf.Tensor], generated: dict[str, tf.Tensor]
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        # Of all terms the class term alone reads the labels, and the loss is linear in it.
        loss, terms = super()._generator_loss(batch, generated)
        other, _ = super()._generator_loss(batch | {"label": batch["other_label"]}, generated)
        return self.share * loss + (1 - self.share) * other, terms


class WeakMixup(Mixup):
    """Mixup with shares near 0 and 1."""

    alpha = 0.2


class SecondHalfMean(xg.XGACMN):
    """Stochastic weight averaging: `averaged` is the mean over the second half of the steps.

    It needs an `average_decay` of 0.
    """

    def alternate(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        pairs = self._averaged_pairs()
        before = [tf.identity(average) for _, average in pairs]
        terms = super().alternate(batch)
        steps = tf.cast(self.g_optimizer.iterations, tf.float32) - STEPS // 2
        for (weight, average), old in zip(pairs, before, strict=True):
            average.assign(old + (weight - old) / tf.maximum(steps, 1.0))
        return terms


class ScaledTargets(xg.XGACMN):
    """Real features scaled to [−1, 1] for the discriminators, by their range in training."""

    def adapt(self, data: Any, *, batch_size: int | None = None) -> None:
        super().adapt(data, batch_size=batch_size)
        self.ranges = {}
        for modality in MODALITIES:
            features = getattr(data, modality)[data.has(modality)]
            targets = getattr(self.encoder, f"{modality}_map").target(features)
            self.ranges[modality] = tf.reduce_min(targets, 0), tf.reduce_max(targets, 0)

    def alternate(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        scaled = {}
        for modality, (low, high) in self.ranges.items():
            targets = batch.get(f"{modality}_target", batch[f"mapped_{modality}"])
            scaled[f"{modality}_target"] = 2 * tf.math.divide_no_nan(targets - low, high - low) - 1
        return super().alternate(batch | scaled)


class Distilled(xg.XGACMN):
    """Training with a term on a pool of mapped features with class posteriors of a teacher.

    The pool is set after `adapt`: (features (p, d), posteriors (p, c)) of each modality.
    """

    pool: tuple[tuple[tf.Tensor, tf.Tensor], ...]

    def _generator_loss(
        self, batch: dict[str, tf.Tensor], generated: dict[str, tf.Tensor]
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        loss, terms = super()._generator_loss(batch, generated)
        encoder = self.encoder
        networks = (encoder.image_encoder, encoder.text_encoder)
        for network, (features, posteriors) in zip(networks, self.pool, strict=True):
            rows = tf.random.uniform([BATCH], 0, len(features), tf.int32)
            logits = encoder.class_layer(network(tf.gather(features, rows), training=True))
            targets = tf.gather(posteriors, rows)
            extra = tf.nn.softmax_cross_entropy_with_logits(targets, logits)
            loss += self.settings["lambda_3"] * tf.reduce_mean(extra)
        return loss, terms


WITHOUT = {"feature_discriminator_hidden": None, "common_discriminator_hidden": None}
FEATURES = {"feature_discriminator_hidden": 2000}
CODES = {"common_discriminator_hidden": 50}
Variant = tuple[type[xg.XGACMN], dict[str, Any]]
BASE: Variant = (xg.XGACMN, {})
# Part → variant → the class and what differs from the base. "smoothed" stands for its layer, which
# needs the number of classes.
PARTS: dict[str, dict[str, Variant]] = {
    "losses": {
        "base": BASE,
        "InfoNCE, λ1 = 10": (xg.XGACMN, {"pair_loss": contrastive}),
        "InfoNCE, λ1 = 1": (xg.XGACMN, {"pair_loss": contrastive, "lambda_1": 1.0}),
        "mixup, α = 1": (Mixup, {}),
        "mixup, α = 0.2": (WeakMixup, {}),
        "label smoothing 0.1": (xg.XGACMN, {"class_layer": "smoothed"}),
        "average of the second half": (SecondHalfMean, {"average_decay": 0.0}),
        "average decay 0.999": (xg.XGACMN, {"average_decay": 0.999}),
        "average decay 0": (xg.XGACMN, {"average_decay": 0.0}),
        "margin 1": (xg.XGACMN, {"margin": 1}),
        "plain softmax": (xg.XGACMN, {"class_layer": "softmax"}),
    },
    "discriminators": {
        "base": BASE,
        "D_I, D_T and D_C": (xg.XGACMN, FEATURES | CODES),
        "D_I, D_T and D_C, λ2 = 50": (xg.XGACMN, FEATURES | CODES | {"lambda_2": 50.0}),
        "D_C alone": (xg.XGACMN, CODES),
        "D_I and D_T": (xg.XGACMN, FEATURES),
        "D_I and D_T, linear": (xg.XGACMN, FEATURES | {"output_activation": "linear"}),
        "D_I and D_T, scaled": (ScaledTargets, FEATURES),
        "D_I and D_T, scaled, λ2 = 50": (ScaledTargets, FEATURES | {"lambda_2": 50.0}),
    },
    "unpaired": {
        "base": BASE,
        "D_I, D_T and D_C": (xg.XGACMN, FEATURES | CODES),
        "D_C alone": (xg.XGACMN, CODES),
        "D_C alone, λ2 = 50": (xg.XGACMN, CODES | {"lambda_2": 50.0}),
        "D_I and D_T, scaled": (ScaledTargets, FEATURES),
    },
}


def half_unpaired(split: xg.Split, seed: int) -> xg.Split:
    """Return a split in which half of the pairs are an image and a text apart, unlabeled."""
    hidden, kept = np.array_split(np.random.default_rng(seed).permutation(len(split)), 2)
    alone = split.take(hidden)
    unlabeled = np.full(len(alone), -1, np.int32)
    has_not = np.zeros(len(alone), bool)
    images = xg.Split(alone.image, 0 * alone.text, unlabeled, alone.id, has_text=has_not)
    texts = xg.Split(0 * alone.image, alone.text, unlabeled, alone.id, has_image=has_not)
    return split.take(kept).followed_by(images).followed_by(texts)


class Evaluations(keras.callbacks.Callback):
    """Class posteriors of the validation split at evenly spaced epochs, the last included."""

    def __init__(self, validation: xg.Split, epochs: int):
        super().__init__()
        self.validation = validation
        self.due = set(np.linspace(0, epochs, EVALUATIONS + 1).astype(int)[1:].tolist())
        # (2, n, c) each, of images and of texts.
        self.posteriors: list[np.ndarray] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if epoch + 1 in self.due:
            image = self.model.encode_image(self.validation.image, output="posterior")
            text = self.model.encode_text(self.validation.text, output="posterior")
            self.posteriors.append(np.stack([image, text]))


def train(
    data: Data, seed: int, variant: Variant, pool: Any = None
) -> tuple[xg.XGACMN, np.ndarray]:
    """Train a variant; return the model and (evaluations, 2, n, c) validation posteriors."""
    keras.utils.set_random_seed(seed)
    kind, changes = variant
    arguments = WITHOUT | data.arguments | changes
    if arguments.get("class_layer") == "smoothed":
        arguments["class_layer"] = Smoothed(data.num_classes, dtype="float32")
    model = kind(num_classes=data.num_classes, **arguments)
    model.adapt(data.train)
    if pool is not None:
        model.pool = pool
    steps = max(len(data.train) // BATCH, 1)
    model.compile(g_optimizer=FusedAdam(data.learning_rate), steps_per_execution=steps)
    epochs = -(-STEPS // steps)
    evaluations = Evaluations(data.validation, epochs)
    batches = data.train.batches(BATCH, seed)
    model.fit(batches, epochs=epochs, verbose=0, callbacks=[evaluations])
    return model, np.array(evaluations.posteriors)


def scores(posteriors: np.ndarray, label: np.ndarray) -> list[float]:
    """Return the mAP at each evaluation."""
    return [mean_average_precision(image, text, label)["avg"] for image, text in posteriors]


def ensembles(data: Data, seed: int) -> dict[str, list[float]]:
    """Return the scores at each evaluation of ensembles, and of models that learn from one."""
    label = data.validation.label
    models, runs = zip(
        *(train(data, seed + SEEDS_APART * member, BASE) for member in range(5)), strict=True
    )
    curves = {"base": np.mean([scores(run, label) for run in runs], axis=0).tolist()}
    for count in (3, 5):
        curves[f"{count} models"] = scores(np.mean(runs[:count], axis=0), label)
    random = np.random.default_rng(seed)
    for name, mixed in (("training pairs", False), ("mixed training pairs", True)):
        pool = tuple(
            _pool(models[:3], modality, getattr(data.train, modality), mixed, random)
            for modality in MODALITIES
        )
        _, run = train(data, seed, (Distilled, {}), pool)
        curves[f"one model, {name}"] = scores(run, label)
    return curves


def _pool(
    teachers: Sequence[xg.XGACMN],
    modality: str,
    features: np.ndarray,
    mixed: bool,
    random: np.random.Generator,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return mapped features and the mean posteriors of teachers, whose input maps are equal."""
    mapped = np.asarray(getattr(teachers[0].encoder, f"{modality}_map")(features))
    if mixed:
        first, second = random.integers(len(mapped), size=(2, POOL))
        share = random.uniform(size=(POOL, 1)).astype(np.float32)
        mapped = share * mapped[first] + (1 - share) * mapped[second]
    encoders = [teacher.averaged for teacher in teachers]
    means = [e.class_layer.posterior(getattr(e, f"{modality}_encoder")(mapped)) for e in encoders]
    return tf.constant(mapped), tf.reduce_mean(tf.stack(means), axis=0)


def temperature(data: Data, seed: int) -> dict[str, list[float]]:
    """Return scores on half of the validation split without and with temperature scaling."""
    _, run = train(data, seed, BASE)
    label = data.validation.label
    fitted, scored = train_test_split(np.arange(len(label)), test_size=0.5, random_state=seed)
    logits = np.log(np.maximum(run, 1e-30))
    factors = [[_factor(x[fitted], label[fitted]) for x in pair] for pair in logits]
    scaled = softmax(np.array(factors)[..., np.newaxis, np.newaxis] * logits, axis=-1)
    return {
        "base": scores(run[:, :, scored], label[scored]),
        "temperature scaling": scores(scaled[:, :, scored], label[scored]),
    }


def _factor(logits: np.ndarray, label: np.ndarray) -> float:
    """Return the factor of the logits with the lowest negative log-likelihood."""

    def loss(log_factor: float) -> float:
        likelihood = log_softmax(np.exp(log_factor) * logits, axis=1)
        return -float(likelihood[np.arange(len(label)), label].mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))


def measure(part: str, data: Data, seed: int) -> dict[str, list[float]]:
    """Return variant → the scores at each evaluation."""
    if part == "ensembles":
        return ensembles(data, seed)
    if part == "temperature":
        return temperature(data, seed)
    if part == "unpaired":
        data = data._replace(train=half_unpaired(data.train, seed))
    return {
        name: scores(train(data, seed, variant)[1], data.validation.label)
        for name, variant in PARTS[part].items()
    }


def table(records: list[dict[str, Any]]) -> str:
    """Return Markdown of the means, and of the differences to the base, in units of 0.001."""
    summaries = {
        "mean of last five": lambda curve: np.mean(curve[-5:]),
        "best": np.max,
        "last": lambda curve: curve[-1],
    }
    curves: dict[str, list[list[float]]] = defaultdict(list)
    for record in records:
        curves[record["variant"]].append(record["curve"])
    lines = [f"| variant | {' | '.join(summaries)} |", "|---" * (1 + len(summaries)) + "|"]
    for variant in curves:
        cells = []
        for summary in summaries.values():
            own, base = (np.array([summary(c) for c in curves[n]]) for n in (variant, "base"))
            difference = 1e3 * (own - base)
            cells.append(
                f"{own.mean():.4f}"
                if variant == "base"
                else f"{difference.mean():+.1f} ± {difference.std(ddof=1):.1f} "
                f"(p = {ttest_rel(own, base).pvalue:.3f})"
            )
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = Parser(description=__doc__.splitlines()[0])
    names = [*PARTS, "ensembles", "temperature"]
    parser.add_argument("--parts", type=some_of(names), default=names, help="comma-separated")
    parser.add_argument("--data", default="digits,emoji", help="data sets, comma-separated")
    parser.add_argument("--data_dir", help="folder of data sets that are not bundled")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--json", type=Path, help="file to write the scores to")
    arguments = parser.parse_args()
    tf.config.experimental.enable_op_determinism()
    records = []
    for part in arguments.parts:
        own = []
        for name in arguments.data.split(","):
            for seed in range(arguments.seeds):
                curves = measure(part, load(name, seed, arguments.data_dir), seed)
                about = {"part": part, "data": name, "seed": seed}
                own += [{**about, "variant": v, "curve": curve} for v, curve in curves.items()]
                records += own[-len(curves) :]
                if arguments.json:
                    arguments.json.write_text(json.dumps(records, indent=1) + "\n")
        print(f"{part}\n\n{table(own)}\n", flush=True)


if __name__ == "__main__":
    main()
