"""From a distribution's folder to a trained and evaluated model."""

import pytest

from xgacmn_tf import experiment
from xgacmn_tf.datasets import load, pascal_sentence, wikipedia
from xgacmn_tf.settings.config import Config

ONCE = {"epochs": 1, "validation_fraction": 0.0}


@pytest.mark.parametrize("reader", [wikipedia, pascal_sentence])
def test_a_folder_trains_and_is_evaluated(reader, tmp_path, small_networks):
    name, folder = reader.DISTRIBUTION.name, f"{reader.__path__[0]}/dummy_data"
    config = Config.of(
        dataset=name, data_dir=folder, output_dir=str(tmp_path / "run"), **ONCE, **small_networks
    )
    metrics = experiment.run(config)
    dataset = load(name, folder)
    assert metrics["data_fingerprint"] == dataset.fingerprint
    assert metrics["splits"]["test"] == len(dataset.test)
    assert 0 < metrics["test"]["cosine"]["mAP"]["avg"] <= 1
