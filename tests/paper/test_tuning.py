"""Settings chosen on validation pairs: the grid, the data that are read, and the saved choice."""

import dataclasses
import json

import numpy as np
import pytest

from xgacmn_tf import baselines, datasets, names
from xgacmn_tf.datasets import hold_out
from xgacmn_tf.errors import InputError
from xgacmn_tf.evaluation.retrieval import mean_average_precision
from xgacmn_tf.paper import compare_command as command
from xgacmn_tf.paper import experiments, tuning
from xgacmn_tf.runs import systems as training


@pytest.fixture
def runs(feature_file, tmp_path):
    """Makes tuned experiments of one system with the seeds 0 and 1."""

    def runs(model, seeds=2):
        planned = experiments.plan((model,), [str(feature_file)], seeds, None, tmp_path)
        return [tuning.in_tuned_folder(run) for run in planned]

    return runs


def record_of(runs):
    return json.loads((runs[0].folder.path.parent / "choice.json").read_text())


@pytest.fixture
def no_fitting(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("fitted again")

    monkeypatch.setattr(training, "fit_system", refuse)


@pytest.mark.parametrize("name", names.SYSTEMS)
def test_grids_are_of_settings_that_exist_and_try_the_default(name):
    system = baselines.system(name)
    for setting, values in system.grid.items():
        assert getattr(system.settings(), setting) in values
        assert len(set(values)) == len(values) > 1
    points = tuning.grid_points(system)
    assert len(points) == np.prod([len(values) for values in system.grid.values()])
    settings = [baselines.parse_settings(name, point) for point in points]
    assert settings[0] == system.settings() and len(set(settings)) == len(settings)


def test_the_best_point_on_held_out_training_pairs(runs, feature_file):
    chosen = tuning.choose_settings(runs("sm"))
    record = record_of(runs("sm"))
    assert (record["similarity"], record["grid"]) == (
        "cosine", {"c": list(baselines.system("sm").grid["c"])},
    )  # fmt: skip
    (made,) = record["choices"]  # Both seeds see the same data.
    assert made["seeds"] == [0, 1]
    dataset = hold_out(datasets.load(str(feature_file)), 0.2, 0)
    part, held = dataset.train, dataset.validation
    data = baselines.TrainingData(
        part.image, part.text, part.targets(3), None, None, 0, lambda steps: steps
    )
    for point in made["points"]:
        settings = baselines.parse_settings("sm", point["settings"])
        encoder = baselines.system("sm").fit(data, settings)
        v, t = (encoder.represent(x, "cosine") for x in encoder.codes(held.image, held.text))
        assert point["mAP"] == pytest.approx(mean_average_precision(v, t, held.targets(3)))
    best = max(made["points"], key=lambda point: point["mAP"]["avg"])
    assert chosen == [tuple(best["settings"])] * 2 == [tuple(made["settings"])] * 2


def test_a_choice_is_made_once(runs, no_fitting, feature_file):
    with pytest.raises(AssertionError, match="fitted again"):
        tuning.choose_settings(runs("sm"))
    path = runs("sm")[0].folder.path.parent / "choice.json"
    assert not path.exists()
    path.parent.mkdir(parents=True)
    points = [{"settings": ["c=1.0"], "mAP": {"avg": 1.0}}]
    made = {"seeds": [0], "settings": ["c=1.0"], "points": points}
    made["data_fingerprint"] = datasets.load(str(feature_file)).fingerprint
    plain = tuning.json_grid(baselines.system("sm"))
    path.write_text(json.dumps({"grid": plain, "choices": [made]}))
    # Another seed of the same data joins it.
    assert tuning.choose_settings(runs("sm")) == [("c=1.0",)] * 2
    assert record_of(runs("sm"))["choices"][0]["seeds"] == [0, 1]


def test_seeds_that_draw_the_split_have_choices_of_their_own(runs, monkeypatch):
    load = datasets.for_config

    def drawn(config):
        dataset = load(config)
        rows = np.random.default_rng(config.seed).permutation(len(dataset.train))
        return dataclasses.replace(dataset, train=dataset.train.take(rows))

    monkeypatch.setattr(datasets, "for_config", drawn)
    tuning.choose_settings(runs("lcfs"))
    first, second = record_of(runs("lcfs"))["choices"]
    assert (first["seeds"], second["seeds"]) == ([0], [1])
    assert first["points"] != second["points"]


@pytest.mark.parametrize("model", ["sm", "jrl"])
def test_the_test_split_is_not_read(model, runs, monkeypatch):
    tuning.choose_settings(runs(model, seeds=1))
    before = record_of(runs(model))["choices"][0]["points"]
    load = datasets.for_config

    def without_test(config):
        dataset = load(config)
        test = dataset.test
        blank = dataclasses.replace(
            test, image=np.ones_like(test.image), text=np.ones_like(test.text)
        )
        return dataclasses.replace(dataset, test=blank)

    monkeypatch.setattr(datasets, "for_config", without_test)
    (runs(model)[0].folder.path.parent / "choice.json").unlink()
    tuning.choose_settings(runs(model, seeds=1))
    assert record_of(runs(model))["choices"][0]["points"] == before


def test_points_that_cannot_be_fitted_are_kept_with_their_reason(runs):
    # The made-up features go below zero, which one of the maps refuses; auto is the z-score.
    chosen = ("image_map=auto", "text_map=auto")
    assert tuning.choose_settings(runs("kernel_posteriors", seeds=1)) == [chosen]
    points = record_of(runs("kernel_posteriors"))["choices"][0]["points"]
    assert ["mAP" in point for point in points] == [True, True, False, False]
    assert "image_map=hellinger is for histograms" in points[2]["error"]


def test_the_first_of_equals_is_taken_and_defaults_where_nothing_was_fitted():
    def point(name, score):
        return {"settings": [name], "mAP": {"avg": score}}

    failed = {"settings": ["a"], "error": "too large"}
    assert tuning.best_point([failed, point("b", 0.1), point("c", 0.3), point("d", 0.3)]) == ("c",)
    assert tuning.best_point([failed, {"settings": ["b"], "error": "too small"}]) == ("a",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "choice.json cannot be read as choices of settings"),
        ('{"grid": {"c": [1]}, "choices": []}', "holds choices among other values than this"),
    ],
)
def test_a_file_of_another_kind_is_one_clear_error(text, message, runs):
    path = runs("sm")[0].folder.path.parent / "choice.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert message in tuning.choose_settings(runs("sm"))
    with pytest.raises(InputError, match="cannot be read|other values"):
        tuning.read_choices(path, baselines.system("sm"))


@pytest.mark.slow
def test_the_command_tunes_runs_and_reports_the_settings(
    feature_file, tmp_path, call, without_workers
):
    with without_workers():
        process = call(
            command.main, "--models=sm,raw", "--seeds=2", "--tune", f"--datasets={feature_file}",
            f"--output_dir={tmp_path}", "--jobs=1",
        )  # fmt: skip
    assert process.stderr.splitlines()[-1] == "error: 2 runs failed; the tables name them"
    folder = tmp_path / "runs" / "pairs"
    record = json.loads((folder / "sm" / "tuned" / "choice.json").read_text())
    (setting,) = record["choices"][0]["settings"]
    for seed in range(2):
        config = folder / "sm" / "tuned" / f"seed_{seed}" / "config.json"
        assert json.loads(config.read_text())["settings"]["model_settings"] == [setting]
    assert f"Settings: SM: {setting}." in (tmp_path / "pairs.md").read_text()
    assert f",{setting}\n" in (tmp_path / "pairs.csv").read_text()
