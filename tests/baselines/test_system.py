"""Every compared system through the same door as X-GACMN: run folder, evaluation, export."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from xgacmn_tf import baselines, datasets, experiment, names
from xgacmn_tf.baselines import epochs
from xgacmn_tf.datasets.paired import give_back
from xgacmn_tf.errors import InputError
from xgacmn_tf.names import CHOOSE_AN_EPOCH, GIVE_POSTERIORS, SIMILARITIES
from xgacmn_tf.runs import systems as training
from xgacmn_tf.runs.checkpoint import load_encoder
from xgacmn_tf.settings.config import Config
from xgacmn_tf.training.calibration import calibration_factors
from xgacmn_tf.training.progress import Progress

FIDELITY = {
    "exact",
    "from published code",
    "after published code",
    "reconstruction",
    "beyond the paper",
}


@pytest.mark.parametrize("name", names.SYSTEMS)
def test_every_system_says_what_it_is(name):
    system = baselines.system(name)
    assert system.fidelity in FIDELITY and system.similarity in SIMILARITIES
    assert (system.fidelity == "beyond the paper") == (name in names.BEYOND)
    assert system.title and system.citation
    # Every setting has a default, and says so itself.
    assert baselines.parse_settings(name, ()) == system.settings()


def test_a_run_of_a_compared_system(feature_file, tmp_path):
    config = Config.of(
        model="cca", model_settings=("components=3",), dataset=str(feature_file),
        output_dir=str(tmp_path / "run"),
    )  # fmt: skip
    metrics = experiment.run(config)
    folder = tmp_path / "run"
    assert json.loads((folder / "metrics.json").read_text()) == metrics
    assert metrics["model"] == "cca" and metrics["headline_similarity"] == "cosine"
    assert set(metrics["test"]) == {"cosine", "dot"}
    item_measures = {"R@1", "R@5", "R@10", "median_rank", "distinct_first", "coverage@10"}
    assert all(item_measures <= set(measures) for measures in metrics["test"].values())
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
    assert experiment.run(config) == metrics
    assert (folder / "models" / "cca" / "2").exists() is False


@pytest.mark.slow
def test_who_chooses_epochs_then_trains_on_all_pairs(feature_file, tmp_path, monkeypatch):
    fits = []
    fit_system = training.fit_system

    def watch(system, data, settings):
        encoder = fit_system(system, data, settings)
        fits.append((len(data.image), data.validation is None, list(data.best_epochs)))
        return encoder

    monkeypatch.setattr(training, "fit_system", watch)
    for refit in (True, False):
        config = Config.of(
            model="supcon", model_settings=("epochs=3",), dataset=str(feature_file), refit=refit,
            output_dir=str(tmp_path / str(refit)), export=False, validation_fraction=0.2,
        )  # fmt: skip
        experiment.run(config)
    chosen, again, alone = fits
    assert chosen == alone and chosen[:2] == (72, False) and 1 <= chosen[2][0] <= 3
    assert again == (90, True, [])


def test_class_posteriors_are_calibrated_and_all_pairs_are_fitted(feature_file, tmp_path):
    """The factors come from encoders that never saw the validation pairs."""
    config = Config.of(
        model="sm", dataset=str(feature_file), output_dir=str(tmp_path / "run"), export=False,
        validation_fraction=0.2,
    )  # fmt: skip
    metrics = experiment.run(config)
    assert metrics["splits"] == {"train": 72, "validation": 18, "test": 30}
    assert metrics["refit"] == {"pairs": 90}
    encoder = load_encoder(tmp_path / "run" / "checkpoints" / "best.keras")
    assert encoder.calibration == metrics["calibration"] != {"image": 1.0, "text": 1.0}

    dataset = datasets.for_config(config)
    system, settings = baselines.system("sm"), baselines.parse_settings("sm", ())
    part = training.training_data(system, config, dataset)
    fitted = training.fit_system(system, part, settings)
    assert part.validation is not None
    assert calibration_factors(fitted, *part.validation) == metrics["calibration"]
    whole = training.training_data(system, config, give_back(dataset))
    codes = training.fit_system(system, whole, settings).codes_of("text", dataset.test.text)
    with np.load(tmp_path / "run" / "embeddings.npz") as arrays:
        np.testing.assert_array_equal(arrays["text"], codes)
        # Codes are the posteriors as fitted, so these differ, and no dot product was rescaled.
        powers = np.asarray(codes, np.float64) ** metrics["calibration"]["text"]
        expected = powers / powers.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(arrays["text_posterior"], expected, atol=1e-6)


def test_systems_with_posteriors_hold_out_pairs_to_calibrate_them(name, pairs, train_small):
    if name == "raw":
        pairs = dataclasses.replace(pairs, text=pairs.image)
    assert (train_small(name, pairs).class_layer is not None) == (name in GIVE_POSTERIORS)
    assert (Config.of(model=name).held_out != 0) == (name in GIVE_POSTERIORS | CHOOSE_AN_EPOCH)


@pytest.mark.parametrize("name", ["acmr", "supcon", "dscmr", "two_tower"])
def test_epochs_are_chosen_by_the_rule_of_x_gacmn(name, pairs, monkeypatch):
    """A single lucky evaluation was kept, where X-GACMN keeps the mean of five."""
    lucky = [0.3, 0.3, 0.2, 0.2, 0.5, 0.31, 0.32, 0.33, 0.34, 0.35] + [0.1] * 30
    scores = iter(lucky)
    monkeypatch.setattr(epochs, "mean_average_precision", lambda *_: {"avg": next(scores)})
    data = dataclasses.replace(pairs, validation=(pairs.image, pairs.text, pairs.targets))
    baselines.system(name).fit(data, baselines.parse_settings(name, ("epochs=30",)))
    assert data.best_epochs == [9]
    # Ten evaluations without a better one end the training, as they end X-GACMN's.
    progress = Progress([{"validation/mAP/avg": score} for score in lucky[:19]])
    assert progress.is_over(30, patience=10) and len(list(scores)) == 40 - 19


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
        (("components=many",), "components=many: expected int, such as 6, for --model=cca"),
        (("colour=red",), "--model_settings=colour=red: --model=cca has .*components=6, ridge="),
        (("components",), "--model_settings=components: --model=cca has"),
    ],
)
def test_settings_that_do_not_fit(given, message):
    with pytest.raises(InputError, match=message):
        baselines.parse_settings("cca", given)


def test_unknown_system():
    with pytest.raises(InputError, match="--model=svm: expected xgacmn, cca, "):
        baselines.system("svm")
