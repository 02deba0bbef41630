"""Choice of a run's input maps, before its trainings."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from xgacmn_tf.datasets.paired import PairedDataset
from xgacmn_tf.devices import Devices
from xgacmn_tf.model.map_choice import resolved_map
from xgacmn_tf.names import MAP_NAMES, MODALITIES
from xgacmn_tf.settings.config import Config

logger = logging.getLogger(__name__)


def choose_input_maps(
    config: Config, dataset: PairedDataset, devices: Devices
) -> tuple[Config, dict[str, Any]]:
    """Choose the maps that are "auto", once for all trainings of a run.

    The chief chooses for all workers, whose rounding may differ.

    Args:
        config: the settings.
        dataset: the choice reads its training split alone.
        devices: the workers of the training.

    Returns:
        The settings with the names of the maps, and what metrics.json has on them, by modality.
    """
    train, names, facts = dataset.train.to_fit(), {}, {}
    for modality in MODALITIES:
        has = getattr(train, f"has_{modality}")
        rows = np.ones(len(train), bool) if has is None else has
        features = getattr(train, modality)[rows]
        group = None if train.group is None else dataset.groups["train"][rows]
        name, evidence = getattr(config.model, f"{modality}_map"), None
        if devices.is_chief:
            name, evidence = resolved_map(
                config.model, modality, features, train.label[rows], group
            )
        number = devices.from_chief([float(MAP_NAMES.index(name))])[0]
        names[f"{modality}_map"] = MAP_NAMES[int(number)]
        facts[modality] = evidence.as_dict() if evidence else {"chosen": name}
        if evidence:
            logger.info("input map of %ss: %s", modality, evidence)
    return config.replace(**names), facts
