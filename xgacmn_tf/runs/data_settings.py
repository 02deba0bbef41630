"""Settings of X-GACMN that follow the data: input maps, dropout, learning rate, label smoothing."""

from __future__ import annotations

import logging
from typing import Any

from xgacmn_tf.datasets.paired import PairedDataset
from xgacmn_tf.devices import Devices
from xgacmn_tf.model.map_choice import mapped_dim, resolved_map
from xgacmn_tf.model.networks import default_dropout, default_label_smoothing
from xgacmn_tf.names import MAP_NAMES, MODALITIES
from xgacmn_tf.settings.config import Config
from xgacmn_tf.training.automatic import generator_learning_rate

logger = logging.getLogger(__name__)


def follow_data(
    config: Config, dataset: PairedDataset, devices: Devices
) -> tuple[Config, dict[str, Any]]:
    """Choose what is not set, once for all trainings of a run.

    The chief chooses maps for all workers, whose rounding may differ.

    Args:
        config: the settings.
        dataset: the choice reads its training split alone.
        devices: the workers of the training.

    Returns:
        The settings with what was chosen, and what metrics.json has on the maps, by modality.
    """
    train, choices, facts = dataset.train.to_fit(), dict[str, Any](), dict[str, Any]()
    # Of a streamed split, the sample that is in memory.
    is_whole = len(train) == len(dataset.train)
    group = dataset.groups["train"] if is_whole else train.group
    for modality in MODALITIES:
        has, features = getattr(train, f"has_{modality}"), getattr(train, modality)
        rows = slice(None) if has is None else has
        name, evidence = getattr(config.model, f"{modality}_map"), None
        if devices.is_chief:
            name, evidence = resolved_map(
                config.model,
                modality,
                features[rows],
                train.label[rows],
                None if group is None else group[rows],
                getattr(dataset.validation, modality) if dataset.held_out else None,
            )
        number = int(devices.from_chief([MAP_NAMES.index(name)])[0])
        choices[f"{modality}_map"] = MAP_NAMES[number]
        if getattr(config.model, f"{modality}_dropout") is None:
            pairs = len(dataset.train)
            components = config.model.chi2_components, config.model.rbf_components
            dim = mapped_dim(MAP_NAMES[number], features.shape[1], pairs, *components)
            choices[f"{modality}_dropout"] = default_dropout(dim, pairs)
        facts[modality] = evidence.as_dict() if evidence else {"chosen": MAP_NAMES[number]}
        if evidence:
            logger.info("input map of %ss: %s", modality, evidence)
    dim = max(dataset.image_dim, dataset.text_dim)
    choices["generator_learning_rate"] = generator_learning_rate(
        config.training.generator_learning_rate, len(dataset.train), dim
    )
    if config.model.label_smoothing is None:
        choices["label_smoothing"] = default_label_smoothing(len(dataset.train))
    return config.replace(**choices), facts
