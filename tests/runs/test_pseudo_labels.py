"""Training with pairs that lack something, pseudo-labels, and compared systems on such data."""

import dataclasses
import json

import numpy as np
import pytest

from xgacmn_tf import datasets, experiment
from xgacmn_tf.datasets.paired import Split
from xgacmn_tf.errors import InputError
from xgacmn_tf.runs.checkpoint import load_encoder
from xgacmn_tf.settings.config import Config
from xgacmn_tf.training.pseudo_labels import pseudo_labels


@pytest.fixture(scope="module")
def incomplete_file(feature_file, tmp_path_factory):
    """`feature_file` with a category for each fourth pair, and some images and texts missing."""
    with np.load(feature_file) as arrays:
        arrays = dict(arrays)
    row = np.arange(len(arrays["label_train"]))
    arrays["label_train"] = np.where(row % 4 == 0, arrays["label_train"], -1)
    for modality, rest in (("image", 1), ("text", 2)):
        has = row % 10 != rest
        arrays[f"has_{modality}_train"] = has
        arrays[f"{modality}_train"] = arrays[f"{modality}_train"] * has[:, np.newaxis]
    path = tmp_path_factory.mktemp("incomplete") / "pairs.npz"
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="module")
def config(incomplete_file, small_networks, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    return Config.of(
        dataset=str(incomplete_file), output_dir=str(folder), epochs=24, batch_size=16,
        generator_learning_rate=3e-3, pseudo_labels=True, pseudo_label_confidence=0.5,
        export=True, validation_fraction=0.2, **small_networks,
    )  # fmt: skip


@pytest.fixture(scope="module")
def metrics(config):
    return experiment.run(config)


@pytest.mark.slow
def test_a_run_learns_from_incomplete_pairs_and_pseudo_labels(config, metrics):
    facts = metrics["pseudo_labels"]
    dataset = datasets.for_config(config)
    assert facts["unlabeled"] == (dataset.train.label < 0).sum()
    assert 0 < facts["labeled"] <= facts["unlabeled"]
    assert metrics["test"]["posterior"]["mAP"]["avg"] > 0.4  # Chance: 0.33.
    assert metrics["refit"]["pairs"] == 90
    report = json.loads((experiment.RunFolder(config.output.output_dir)).data_report.read_text())
    assert any("train pairs have no category" in note for note in report["notes"])


@pytest.mark.slow
def test_pseudo_labels_keep_given_ones_and_need_confidence(config, metrics):
    dataset = datasets.for_config(config)
    encoder = load_encoder(experiment.RunFolder(config.output.output_dir).best)
    label, labeled = dataset.train.label, dataset.train.label >= 0
    given = pseudo_labels(encoder, dataset.train, 0.4)
    np.testing.assert_array_equal(given[labeled], label[labeled])
    np.testing.assert_array_equal(pseudo_labels(encoder, dataset.train, 1.0), label)
    # A missing item counts for nothing.
    row = int(np.flatnonzero(~labeled & ~dataset.train.has("image"))[0])
    posterior = encoder.encode_text(dataset.train.text[[row]], "posterior")[0]
    only = dataset.train.take(np.array([row]))
    assert pseudo_labels(encoder, only, posterior.max() - 1e-4)[0] == posterior.argmax()
    assert pseudo_labels(encoder, only, posterior.max() + 1e-4)[0] == -1
    hot = dataclasses.replace(dataset.train, label=dataset.train.targets(3).astype(np.uint8))
    expected = np.where(given >= 0, given, -1)
    found = pseudo_labels(encoder, hot, 0.4)
    np.testing.assert_array_equal(np.where(found.any(axis=1), found.argmax(axis=1), -1), expected)


def test_pseudo_labels_without_unlabeled_pairs_are_rejected(feature_file, config, tmp_path):
    own = config.replace(dataset=str(feature_file), output_dir=str(tmp_path / "run"))
    with pytest.raises(InputError, match="--pseudo_labels is for training pairs without"):
        experiment.run(own)
    with pytest.raises(InputError, match="--pseudo_labels needs class posteriors"):
        config.replace(classifier="none")


def test_compared_systems_learn_from_complete_pairs(incomplete_file, tmp_path):
    metrics = experiment.run(
        Config.of(
            dataset=str(incomplete_file), model="cca", output_dir=str(tmp_path / "run"),
            export=False, model_settings=("components=2",),
        )
    )  # fmt: skip
    dataset = datasets.load(str(incomplete_file))
    assert isinstance(dataset.train, Split)
    pairs = len(dataset.train.complete())
    assert any(f"{pairs} of 90 training pairs" in text for text in metrics["warnings"])
