"""Every compared system through the same door as X-GACMN: run folder, evaluation, export."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from xgacmn_tf import baselines, experiment
from xgacmn_tf.baselines import training
from xgacmn_tf.checkpoint import load_encoder
from xgacmn_tf.config import Config
from xgacmn_tf.errors import InputError
from xgacmn_tf.names import SIMILARITIES

FIDELITY = {"exact", "from published code", "reconstruction", "beyond the paper"}


@pytest.mark.parametrize("name", baselines.NAMES)
def test_every_system_says_what_it_is(name):
    system = baselines.system(name)
    assert system.fidelity in FIDELITY and system.similarity in SIMILARITIES
    assert (system.fidelity == "beyond the paper") == (name in baselines.BEYOND)
    assert system.title and system.citation
    # Every setting has a default, and says so itself.
    assert baselines.parse_settings(name, ()) == system.settings()


def test_a_run_of_a_compared_system(feature_file, tmp_path):
    config = Config(
        model="cca", model_settings=("components=3",), dataset=str(feature_file),
        output_dir=str(tmp_path / "run"),
    )  # fmt: skip
    metrics = experiment.run(config, lambda text: None)
    folder = tmp_path / "run"
    assert json.loads((folder / "metrics.json").read_text()) == metrics
    assert metrics["model"] == "cca" and metrics["headline_similarity"] == "cosine"
    assert set(metrics["test"]) == {"cosine", "dot"}
    assert metrics["splits"] == {"train": 90, "validation": 0, "test": 30}
    assert metrics["test"]["cosine"]["mAP"]["avg"] > metrics["chance"]["mAP"]["avg"]
    encoder = load_encoder(folder / "checkpoints" / "best.keras")
    with np.load(feature_file) as arrays:
        features = arrays["image_test"].astype(np.float32)
    codes = encoder.codes_of("image", features)
    assert codes.shape == (30, 3)
    served = tf.saved_model.load(str(folder / "models" / "cca" / "1")).signatures
    embedding = served["encode_image"](image_features=tf.constant(features))["embedding"]
    np.testing.assert_allclose(embedding, encoder.represent(codes, "cosine"), atol=1e-6)
    # The same command finds its run again, and other settings do not.
    assert experiment.run(config, lambda text: None) == metrics
    assert (folder / "models" / "cca" / "2").exists() is False


def test_who_chooses_epochs_then_trains_on_all_pairs(feature_file, tmp_path, monkeypatch):
    fits = []
    fit_system = training.fit_system

    def watch(system, data, settings):
        encoder = fit_system(system, data, settings)
        fits.append((len(data.image), data.validation is None, list(data.best_epochs)))
        return encoder

    monkeypatch.setattr(training, "fit_system", watch)
    for refit in (True, False):
        config = Config(
            model="supcon", model_settings=("epochs=3",), dataset=str(feature_file), refit=refit,
            output_dir=str(tmp_path / str(refit)), export=False,
        )  # fmt: skip
        experiment.run(config, lambda text: None)
    chosen, again, alone = fits
    assert chosen == alone and chosen[:2] == (72, False) and 1 <= chosen[2][0] <= 3
    assert again == (90, True, [])


def test_planned_epochs_are_those_that_run(pairs):
    seen = []
    data = dataclasses.replace(
        pairs, planned_epochs=iter([2]), progress=lambda epochs: seen.extend(epochs) or epochs
    )
    baselines.system("supcon").fit(data, baselines.parse_settings("supcon", ("epochs=5",)))
    assert seen == [0, 1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("components=many",), "components=many: --model=cca takes int there, such as 9"),
        (("colour=red",), "--model_settings=colour=red: --model=cca has .*components=9, ridge="),
        (("components",), "--model_settings=components: --model=cca has"),
    ],
)
def test_settings_that_do_not_fit(given, message):
    with pytest.raises(InputError, match=message):
        baselines.parse_settings("cca", given)


def test_unknown_system():
    with pytest.raises(InputError, match="Unknown model 'svm'; expected xgacmn or one of cca, "):
        baselines.system("svm")
