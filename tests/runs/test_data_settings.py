"""Settings that follow the data of a run."""

import dataclasses

import numpy as np
import pytest

from xgacmn_tf.datasets.paired import PairedDataset, Split
from xgacmn_tf.devices import Devices
from xgacmn_tf.runs.data_settings import follow_data
from xgacmn_tf.settings.config import Config


def split(rows: int, seed: int) -> Split:
    generator = np.random.default_rng(seed)
    image, text = (generator.dirichlet(np.ones(8), rows).astype(np.float32) for _ in range(2))
    ids = np.array([f"{seed}-{row}" for row in range(rows)])
    return Split(image=image, text=text, label=np.arange(rows) % 2, id=ids)


@pytest.mark.parametrize(
    ("held_out", "map_name", "expected"),
    [(True, "auto", "zscore"), (False, "auto", "chi2"), (True, "chi2", "chi2")],
)
def test_a_map_of_histograms_suits_the_pairs_that_were_held_out(held_out, map_name, expected):
    """Only one held-out pair shows that the features are no histograms; a refit reads it."""
    validation = split(10, 1)
    image = validation.image.copy()
    image[3, 2] = -1.0
    validation = dataclasses.replace(validation, image=image)
    dataset = PairedDataset(
        "made", split(40, 0), split(10, 2), ("a", "b"), validation, held_out=held_out
    )
    config = Config.of(dataset="made.npz", map_choice="rule", image_map=map_name)
    chosen, _ = follow_data(config, dataset, Devices())
    assert chosen.model.image_map == expected
    assert chosen.model.text_map == "chi2"
