"""Training that starts from a finished run."""

import dataclasses
import shutil

import numpy as np
import pytest

from xgacmn_tf import datasets, experiment
from xgacmn_tf.datasets.paired import give_back
from xgacmn_tf.errors import InputError
from xgacmn_tf.runs import checkpoint
from xgacmn_tf.runs.folder import RunFolder
from xgacmn_tf.runs.trained import TrainedRun
from xgacmn_tf.runs.xgacmn import build_model
from xgacmn_tf.settings.config import Config


@pytest.fixture(scope="module")
def grown_file(feature_file):
    """`feature_file` in which one category is new, one is gone and the order differs."""
    with np.load(feature_file) as arrays:
        arrays = dict(arrays)
    arrays["label_names"] = np.array(["bird", "horse", "cat"])
    path = feature_file.with_name("grown.npz")
    np.savez(path, **arrays)
    return path


def test_weights_and_maps_are_those_of_the_run(finished_run, grown_file):
    folder, config, _ = finished_run
    encoder = TrainedRun(folder).encoder
    own = config.replace(dataset=str(grown_file), init=str(folder), output_dir=None)
    dataset = give_back(datasets.for_config(own))
    model = build_model(own, dataset)
    image, text = dataset.test.image, dataset.test.text
    for ours, theirs in zip(
        (model.encode_image(image, "code"), model.encode_text(text, "code")),
        encoder.codes(image, text),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    before, after = (np.asarray(e.class_layer.kernel) for e in (encoder, model.encoder))
    # cat, dog, bird → bird, horse, cat
    np.testing.assert_array_equal(after[:, [0, 2]], before[:, [2, 0]])
    assert not np.isclose(after[:, 1], before[:, 1]).all()
    fresh = build_model(own.replace(init=None), dataset)
    for part in ("image_decoder", "text_discriminator", "common_discriminator"):
        for start, trained in zip(
            getattr(fresh, part).get_weights(), getattr(model, part).get_weights(), strict=True
        ):
            assert start.shape == trained.shape
            assert start.size == 1 or not np.array_equal(start, trained)


def test_a_training_that_chooses_the_epoch_starts_untrained(finished_run, grown_file):
    folder, config, _ = finished_run
    own = config.replace(dataset=str(grown_file), init=str(folder), output_dir=None)
    dataset = datasets.for_config(own)
    assert dataset.held_out
    weights = (build_model(each, dataset).get_weights() for each in (own, own.replace(init=None)))
    for warm, fresh in zip(*weights, strict=True):
        np.testing.assert_array_equal(warm, fresh)


@pytest.mark.slow
def test_a_run_starts_from_another_one(finished_run, grown_file, tmp_path):
    folder, config, _ = finished_run
    changes = {"dataset": str(grown_file), "init": str(folder), "export": False, "epochs": 1}
    metrics = experiment.run(config.replace(**changes, output_dir=str(tmp_path / "run")))
    assert metrics["label_names"] == ["bird", "horse", "cat"]


def test_another_shape_or_run_is_rejected_in_one_line(finished_run, histogram_file, tmp_path):
    folder, config, _ = finished_run
    started = config.replace(init=str(folder), output_dir=None)
    dataset = datasets.for_config(started)
    narrow = dataclasses.replace(
        dataset,
        **{
            part: dataclasses.replace(split, image=split.image[:, :3])
            for part, split in dataset.splits()
        },
    )
    without = tmp_path / "without"
    shutil.copytree(folder, without)
    for checkpoints in (RunFolder(without).resume, RunFolder(without).refit):
        shutil.rmtree(checkpoints, ignore_errors=True)
    for own, data, message in (
        (started, narrow, "--init=.* takes image features of dimension 8, .* has 3"),
        (started.replace(code_dim=7), dataset, "was trained with code_dim 6, .* has 7"),
        (started.replace(init=str(tmp_path)), dataset, "there is no finished run"),
        (started.replace(init=str(without)), dataset, "has no checkpoint in"),
    ):
        with pytest.raises(InputError, match=message) as caught:
            build_model(own, data)
        assert "\n" not in str(caught.value)


def test_learned_features_of_other_texts_are_rejected_with_the_remedy(finished_run, monkeypatch):
    folder, config, _ = finished_run
    dataset = datasets.for_config(config)
    narrow = {part: dataclasses.replace(s, text=s.text[:, :3]) for part, s in dataset.splits()}
    monkeypatch.setattr(checkpoint, "extractor_names", lambda dataset: {"text": "bow"})
    with pytest.raises(
        InputError, match="--init=x takes .*, shop.csv has 3; its bow features were"
    ):
        checkpoint.check_dims(
            TrainedRun(folder).encoder,
            dataclasses.replace(dataset, **narrow, given="shop.csv"),
            "--init=x",
        )


def test_compared_systems_read_no_start(tmp_path):
    with pytest.raises(InputError, match="--init=.* is a setting of X-GACMN"):
        Config.of(model="cca", init=str(tmp_path))
