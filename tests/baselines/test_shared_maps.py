"""Compared systems with X-GACMN's input maps have exactly its maps, also where a flag sets them."""

import dataclasses

import numpy as np
import pytest

from xgacmn_tf import baselines, names
from xgacmn_tf.baselines.settings import MAP_FLAGS, MapSettings
from xgacmn_tf.datasets.paired import PairedDataset, Split
from xgacmn_tf.paper import experiments, tuning
from xgacmn_tf.runs.xgacmn import build_model
from xgacmn_tf.settings.config import Config
from xgacmn_tf.settings.xgacmn_sections import XGACMNSettings

SHARING = ("acmr", "dscmr", "supcon", "two_tower", "kernel_posteriors")


@pytest.fixture
def histograms(pairs):
    """Pairs whose images and texts are histograms, so that "auto" stands for the χ² map."""
    image, text = (
        np.exp(x) / np.exp(x).sum(axis=1, keepdims=True) for x in (pairs.image, pairs.text)
    )
    return dataclasses.replace(pairs, image=image, text=text)


def maps_of_xgacmn(data, **settings):
    label = data.targets.argmax(axis=1)
    train, test = (
        Split(data.image, data.text, label, np.char.add(part, np.arange(len(label)).astype(str)))
        for part in ("train ", "test ")
    )
    dataset = PairedDataset("made up", train, test, ("a", "b", "c"))
    encoder = build_model(Config.of(encoder_hidden=(4,), code_dim=2, **settings), dataset).encoder
    return encoder.image_map, encoder.text_map


def assert_same_maps(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        ignored = dict.fromkeys(("name", "dtype", "trainable"))
        assert type(one) is type(other)
        assert one.get_config() | ignored == other.get_config() | ignored
        for weight, same in zip(one.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(weight, same)


@pytest.mark.parametrize("name", SHARING)
@pytest.mark.parametrize(
    "given",
    [
        {"image_map": "auto"},
        pytest.param(
            {"image_map": "auto", "chi2_gamma": 0.7, "chi2_components": 9}, marks=pytest.mark.slow
        ),
        {"image_map": "rbf", "rbf_gamma": 0.7, "rbf_components": 9},
    ],
)
def test_maps_equal_those_of_xgacmn(name, given, histograms, small_settings):
    system = baselines.system(name)
    chosen = tuple(f"{key}={value}" for key, value in given.items())
    settings = baselines.parse_settings(name, (*small_settings[name], *chosen))
    encoder = system.fit(histograms, settings)
    assert_same_maps(maps_of_xgacmn(histograms, **given), (encoder.image_map, encoder.text_map))


def test_defaults_are_those_of_the_flags():
    assert {name: getattr(MapSettings(), name) for name in MAP_FLAGS} == {
        name: getattr(Config().model, name) for name in MAP_FLAGS
    }
    # No system replaces the width or the number of components by a number of its own.
    for name in names.SYSTEMS:
        settings = baselines.system(name).settings()
        for flag in ("chi2_gamma", "chi2_components", "rbf_gamma", "rbf_components"):
            default = getattr(XGACMNSettings, flag)
            assert getattr(settings, flag, default) == default
            assert (flag in vars(settings)) == (name in SHARING)


def test_maps_of_a_flag_file_are_handed_on(tmp_path, monkeypatch):
    flag_file = tmp_path / "wide.flags"
    flag_file.write_text("--dataset=openclipart\n--chi2_gamma=3\n--text_map=zscore\n--epochs=1\n")
    cells = experiments.plan(("xgacmn", "supcon", "cca"), [str(flag_file)], 1, None, tmp_path)
    ours, supcon, cca = (cell.config for cell in cells)
    assert (ours.model.chi2_gamma, ours.model.text_map) == (3.0, "zscore")
    assert supcon.system.model_settings == ("text_map=zscore", "chi2_gamma=3.0")
    assert cca.system.model_settings == ()
    # Settings chosen on validation pairs come on top.
    monkeypatch.setattr(tuning, "in_workers", lambda choose, tasks, jobs: [
        (tasks[0], [("temperature=0.1",)])
    ])  # fmt: skip
    (tuned,), _ = tuning.tune([cells[1]], 1)
    assert tuned.config.system.model_settings == (*supcon.system.model_settings, "temperature=0.1")
