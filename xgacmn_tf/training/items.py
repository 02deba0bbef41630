"""Training of item embeddings, and the choice of their weight.

The towers are trained after X-GACMN and apart from it, on one device: they share its input maps and
nothing else. The validation split chooses the epoch by R@10 of the own pair, by the same rule as
X-GACMN's; then the towers are trained on all pairs for as many epochs. An interrupted training
starts from the beginning, with the same result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from xgacmn_tf.blocks import in_blocks
from xgacmn_tf.datasets.paired import PairedDataset, Split
from xgacmn_tf.evaluation.identity import Identity
from xgacmn_tf.evaluation.representations import represent
from xgacmn_tf.evaluation.retrieval import mean_average_precision, own_ranks
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.model.item_towers import ItemTowers, TowerSettings, pair_keys
from xgacmn_tf.names import MODALITIES
from xgacmn_tf.training.epoch_choice import best_evaluation, default_patience, is_exhausted

# Where --item_epochs is not given.
STEPS, MIN_EPOCHS = 800, 20
# Validation pairs that an evaluation ranks, at most.
MAX_PAIRS = 2000
DEPTH = 10
# Weights that are tried, and the loss of mAP by category that is accepted.
WEIGHTS = (
    *(0.0, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
    *(1.25, 1.5, 2.0, 3.0),
)
MAX_LOSS = 0.025
# Without a validation split to choose by.
DEFAULT_WEIGHT = 0.3

Log = Callable[[int, dict[str, float]], Any]


@dataclass(frozen=True)
class TrainedItems:
    """Trained towers.

    Attributes:
        towers: modality → layer from mapped features to embeddings.
        epochs: number of epochs that they were trained for.
        recall: R@10 of the own pair on the validation split, mean of both directions, at the epoch
            that is selected; None without a validation split.
    """

    towers: dict[str, keras.layers.Layer]
    epochs: int
    recall: float | None


def train_items(
    dataset: PairedDataset,
    encoder: CommonSpaceEncoder,
    settings: TowerSettings,
    *,
    batch_size: int,
    seed: int,
    epochs: int | None = None,
    max_epochs: int | None = None,
    limit: int | None = None,
    log: Log = lambda epoch, terms: None,
) -> TrainedItems:
    """Train item towers on a data set.

    Initial weights and dropout follow Keras's global random seed.

    Args:
        dataset: its training pairs with both an image and a text are learned from; its validation
            split chooses the epoch.
        encoder: its input maps are shared.
        settings: of the towers.
        batch_size: number of pairs in a step.
        seed: of the order of pairs, and of the validation pairs of a large split.
        epochs: exact number of epochs; None chooses.
        max_epochs: maximum number of epochs to choose from; None takes as many as make `STEPS`
            steps, at least `MIN_EPOCHS` and at most `limit`.
        limit: see `max_epochs`; None sets none.
        log: receives each epoch, from 0, and its numbers by name.
    """
    # Of a streamed split, the sample that is in memory.
    train = dataset.train.to_fit().paired()
    features = _mapped(encoder, train)
    key = tf.constant(pair_keys(train.image, train.text, train.group))
    towers = ItemTowers(
        {modality: int(values.shape[1]) for modality, values in features.items()},
        settings,
    )
    rows = len(train)
    size = min(batch_size, rows)
    steps = rows // size

    @tf.function(autograph=False)
    def run(epoch: tf.Tensor) -> tf.Tensor:
        order = tf.random.experimental.stateless_shuffle(tf.range(rows), seed=[seed, epoch])

        def step(number: tf.Tensor, totals: tf.Tensor) -> list[tf.Tensor]:
            batch_rows = order[number * size : (number + 1) * size]
            batch = {name: tf.gather(values, batch_rows) for name, values in features.items()}
            terms = towers.step({**batch, "key": tf.gather(key, batch_rows)})
            return [number + 1, totals + tf.stack([terms[name] for name in towers.TERMS])]

        start = [tf.constant(0), tf.zeros(len(towers.TERMS))]
        return tf.while_loop(lambda number, _: number < steps, step, start)[1] / steps

    validate = None
    if epochs is None and dataset.validation is not None:
        validate = _Validation(encoder, dataset, seed)
    planned = epochs or max_epochs or max(MIN_EPOCHS, math.ceil(STEPS / steps))
    if not epochs and not max_epochs and limit is not None:
        planned = min(planned, limit)
    scores: list[float] = []
    best_weights: dict[str, list[np.ndarray]] = {}
    best = planned
    # A number of epochs is known once the validation split has chosen it.
    name = "all pairs, item embeddings" if epochs else "item embeddings"
    with tqdm(total=planned, unit="epoch", desc=name) as bar:
        for epoch in range(1, planned + 1):
            terms = dict(zip(towers.TERMS, run(tf.constant(epoch)).numpy().tolist(), strict=True))
            bar.update()
            if validate is not None:
                scores.append(validate(towers.averaged))
                terms["validation/own_item_R@10"] = scores[-1]
                if best_evaluation(scores) == epoch - 1:
                    best = epoch
                    best_weights = {m: towers.averaged[m].get_weights() for m in MODALITIES}
            bar.set_postfix({name.partition("/")[2]: f"{x:.3g}" for name, x in terms.items()})
            log(epoch - 1, terms)
            if validate is not None and is_exhausted(scores, default_patience(planned)):
                break
    for modality, weights in best_weights.items():
        towers.averaged[modality].set_weights(weights)
    return TrainedItems(towers.averaged, best, scores[best - 1] if scores else None)


def choose_weight(encoder: CommonSpaceEncoder, dataset: PairedDataset, seed: int) -> float:
    """Return the weight of the item embeddings with the highest R@10 on the validation split.

    Args:
        encoder: with item embeddings, neither trained on the validation split.
        dataset: with a validation split.
        seed: draws the pairs of a large split.

    Returns:
        Among `WEIGHTS` that lose at most `MAX_LOSS` of the mAP of weight 0, the one with the
        highest R@10 of the own pair; the smallest of equals.
    """
    split, identity = sample(dataset, seed)
    encodings = {m: encoder.encodings_of(m, getattr(split, m)).numpy() for m in MODALITIES}
    results = {}
    for weight in WEIGHTS:
        weighted = encoder.replaced(item_weight=weight)
        image, text = (represent(weighted, encodings[m], "item", m) for m in MODALITIES)
        mean = mean_average_precision(image, text, split.label)["avg"]
        results[weight] = mean, _recall(own_ranks(image, text, identity=identity))
    lowest = results[0.0][0] - MAX_LOSS
    allowed = {weight: recall for weight, (mean, recall) in results.items() if mean >= lowest}
    return max(allowed, key=lambda weight: (allowed[weight], -weight))


class _Validation:
    """R@10 of the own pair on the validation split, mean of both directions."""

    def __init__(self, encoder: CommonSpaceEncoder, dataset: PairedDataset, seed: int):
        split, self.identity = sample(dataset, seed)
        self.features = _mapped(encoder, split)

    def __call__(self, towers: dict[str, keras.layers.Layer]) -> float:
        image, text = (
            tf.math.l2_normalize(towers[modality](self.features[modality]), axis=-1)
            for modality in MODALITIES
        )
        return _recall(own_ranks(image, text, identity=self.identity))


def _recall(ranks: Mapping[str, np.ndarray]) -> float:
    """Return R@10 of the ranks of the own pairs, the mean of both directions."""
    return float(np.mean([np.mean(of_way <= DEPTH) for of_way in ranks.values()]))


def sample(dataset: PairedDataset, seed: int) -> tuple[Split, Identity]:
    """Return the validation split, or `MAX_PAIRS` pairs of it, and their identity."""
    split, groups = dataset.validation, dataset.groups["validation"]
    assert split is not None
    if len(split) > MAX_PAIRS:
        rows = np.sort(np.random.default_rng(seed).permutation(len(split))[:MAX_PAIRS])
        split, groups = split.take(rows), groups[rows]
    total = sum(len(part) for _, part in dataset.splits())
    return split, Identity.of(split.image, split.text, groups, total)


def _mapped(encoder: CommonSpaceEncoder, split: Split) -> dict[str, tf.Tensor]:
    """Return modality → mapped features (n, d)."""
    return {
        m: in_blocks(
            tf.function(getattr(encoder, f"{m}_map"), autograph=False, reduce_retracing=True),
            getattr(split, m),
        )
        for m in MODALITIES
    }
