"""Training of item embeddings in a run, from its settings."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras

from xgacmn_tf.datasets.paired import PairedDataset, Split, give_back, hold_out, in_complete_groups
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.model.item_towers import TowerSettings
from xgacmn_tf.names import FEW_PAIRS
from xgacmn_tf.settings.config import Config
from xgacmn_tf.training import items
from xgacmn_tf.training.match_thresholds import choose_match_thresholds
from xgacmn_tf.training.pseudo_labels import pseudo_labels


def train_items(
    config: Config,
    dataset: PairedDataset,
    encoder: CommonSpaceEncoder,
    epochs: int | None = None,
    log: items.Log = lambda epoch, terms: None,
) -> items.TrainedItems:
    """Train item towers on a data set with the settings of a run, see `items.train_items`."""
    keras.utils.set_random_seed(config.seed)
    names = ("hidden", "dim", "dropout", "temperature", "learning_rate", "members")
    settings = TowerSettings(
        **{name: getattr(config.items, f"item_{name}") for name in names},
        average_decay=config.training.average_decay,
    )
    return items.train_items(
        dataset,
        encoder,
        settings,
        batch_size=config.items.item_batch_size,
        seed=config.seed,
        epochs=epochs,
        max_epochs=config.items.item_epochs,
        limit=config.training.epochs,
        log=log,
    )


def add_items(
    config: Config,
    dataset: PairedDataset,
    chosen: CommonSpaceEncoder,
    encoder: CommonSpaceEncoder,
    log: items.Log = lambda epoch, terms: None,
) -> tuple[CommonSpaceEncoder, dict[str, Any]]:
    """Return an encoder with item embeddings, and what metrics.json has on their training.

    Args:
        config: the settings.
        dataset: as X-GACMN was trained on it.
        chosen: the encoders that never saw the validation split.
        encoder: the run's encoders, calibrated, which may have been trained on all pairs.
        log: see `items.train_items`.
    """
    if dataset.validation is None and config.data.validation_fraction is None:
        dataset = hold_out_predicted(dataset, encoder, config.seed)
    trained = train_items(config, dataset, chosen, log=log)
    validated = chosen.replaced(
        calibration=encoder.calibration,
        image_items=trained.towers["image"],
        text_items=trained.towers["text"],
    )
    weight = config.items.item_weight
    if weight is None and dataset.validation is not None:
        weight = items.choose_weight(validated, dataset, config.seed)
    weight = items.DEFAULT_WEIGHT if weight is None else weight
    facts: dict[str, Any] = {
        "epochs": trained.epochs,
        "weight": weight,
        "validation_R@10": trained.recall,
    }
    thresholds: dict[str, dict[str, float]] = {}
    if dataset.validation is not None and weight > 0:
        facts["match"] = matches = choose_match_thresholds(
            validated.replaced(item_weight=weight), dataset, config.seed
        )
        thresholds = {
            split: {modality: result["threshold"] for modality, result in ways.items()}
            for split, ways in matches.items()
        }
    if config.data.refit and dataset.held_out:
        trained = train_items(config, give_back(dataset), encoder, trained.epochs)
    encoder = encoder.replaced(
        image_items=trained.towers["image"],
        text_items=trained.towers["text"],
        item_weight=weight,
        match_thresholds=thresholds,
    )
    return encoder, facts


def hold_out_predicted(
    dataset: PairedDataset, encoder: CommonSpaceEncoder, seed: int
) -> PairedDataset:
    """Hold out a fifth of the pairs, with predicted categories where they have none.

    With few labels and many pairs, no pair was held out of X-GACMN's training, as it needs each
    label. Item towers need no label, so that their epoch can be chosen on held-out pairs. For the
    weight and the match thresholds, which need categories, predicted ones take the place of those
    that are missing.

    Args:
        dataset: without a validation split.
        encoder: trained on it.
        seed: of the pairs that are held out.

    Returns:
        The data set as it is if it has no pairs without a category, fewer than `FEW_PAIRS` that
        could be held out, a streamed training split, or an encoder without a class layer.
    """
    train = dataset.train
    if not isinstance(train, Split) or encoder.class_layer is None:
        return dataset
    if "has_label" not in train.masks():
        return dataset
    predicted = dataclasses.replace(train, label=pseudo_labels(encoder, train, confidence=0.0))
    labeled = dataclasses.replace(dataset, train=predicted)
    if in_complete_groups(labeled).sum() < FEW_PAIRS:
        return dataset
    return hold_out(labeled, None, seed)
