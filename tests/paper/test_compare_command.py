"""The command: which runs it makes, resumes and reports as failed, and its tables."""

import csv
import json
import multiprocessing
import os
import shutil
import signal
import time

import numpy as np
import pytest

from xgacmn_tf.errors import InputError
from xgacmn_tf.evaluation.significance import randomization_test
from xgacmn_tf.paper import compare_command as command
from xgacmn_tf.paper import comparison, document, experiments, run_command, table_comparison
from xgacmn_tf.paper.published import PUBLISHED
from xgacmn_tf.settings.command_line import interrupt
from xgacmn_tf.settings.config import Config
from xgacmn_tf.settings.xgacmn_sections import TrainingSettings


@pytest.fixture(scope="module")
def flag_file(feature_file, tmp_path_factory):
    path = tmp_path_factory.mktemp("flags") / "small.flags"
    path.write_text(
        f"--dataset={feature_file}\n--epochs=1\n--encoder_hidden=8\n--code_dim=4\n--batch_size=16\n"
    )
    return path


def table_rows(markdown):
    """The cells of a Markdown table, without padding."""
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.fixture(scope="module")
def done(flag_file, tmp_path_factory, call):
    """A comparison of X-GACMN, CCA and one that cannot be run here, by a worker."""
    output = tmp_path_factory.mktemp("comparison")
    arguments = [
        "--models=xgacmn,cca,raw", "--seeds=2", f"--datasets={flag_file}",
        f"--output_dir={output}", "--jobs=1",
    ]  # fmt: skip
    return output, arguments, call(command.main, *arguments)


def test_tables(done):
    output, _, process = done
    assert process.returncode == 1
    assert process.stderr.splitlines()[-1] == "error: 2 runs failed; the tables name them"
    with open(output / "small.csv", newline="") as file:
        rows = {row["system"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"X-GACMN", "X-GACMN, item", "CCA"}
    assert rows["CCA"]["seeds"] == "2" and float(rows["CCA"]["avg_sd"]) == 0
    ours = rows.pop("X-GACMN, item")
    assert ours["similarity"] == "item" and ours["p"] == ""  # no part in the test
    assert [row["p"] for row in rows.values()].count("") == 1  # the best has nothing to beat
    markdown = (output / "small.md").read_text()
    assert "- Raw features: not every run finished: " in markdown and markdown in process.stdout
    assert markdown.count("**") == 8 and markdown.count("<u>") == 3  # with the caption
    latex = (output / "small.tex").read_text()
    assert latex.count(r"\\") == 4 and latex.count(r"\textbf") == 3


def test_measures_of_items_stand_beside_map(done, flag_file):
    output, _, _ = done
    with open(output / "small.csv", newline="") as file:
        rows = {row["system"]: row for row in csv.DictReader(file)}
    for title, model, similarity in (
        ("X-GACMN", "xgacmn", "posterior"),
        ("X-GACMN, item", "xgacmn", "item"),
        ("CCA", "cca", "cosine"),
    ):
        folders = (output / "runs" / "small" / model / f"seed_{seed}" for seed in (0, 1))
        tests = [json.loads((path / "metrics.json").read_text())["test"] for path in folders]
        for measure in ("R@10", "coverage@10"):
            values = [test[similarity][measure]["avg"] for test in tests]
            assert float(rows[title][measure]) == pytest.approx(np.mean(values))
            assert float(rows[title][f"{measure}_sd"]) == pytest.approx(np.std(values, ddof=1))
        # These data have no fine labels.
        assert rows[title]["fine_mAP"] == ""
    header, _, *lines = table_rows((output / "small.md").read_text())
    assert header[-4:] == ["p", "R@10", "coverage@10", "fit (s)"]
    assert ["X-GACMN, item", "item", "–", "–"] in [line[:4] for line in lines]


def test_runs_without_these_measures_are_still_read(done, flag_file, tmp_path):
    shutil.copytree(done[0] / "runs", tmp_path / "runs")
    for path in tmp_path.glob("runs/small/*/seed_*/metrics.json"):
        metrics = json.loads(path.read_text())
        metrics["test"].pop("item", None)
        for measures in metrics["test"].values():
            del measures["coverage@10"]
            if path.parent.name == "seed_1" and "cca" in path.parts:
                del measures["R@10"]
            elif "cca" not in path.parts:
                measures["fine_mAP"] = {"avg": 0.25}
        path.write_text(json.dumps(metrics))
    runs = experiments.plan(("xgacmn", "cca"), [str(flag_file)], 2, None, tmp_path)
    rows = comparison.rows_of(runs)
    assert [(row.title, sorted(row.item_measures)) for row in rows] == [
        ("X-GACMN", ["R@10", "fine_mAP"]),
        ("CCA", []),  # one seed has no R@10
    ]
    markdown = comparison.dataset_table("small", runs, rows, {}).markdown()
    header, _, ours, cca = table_rows(markdown)
    assert header[-4:] == ["p", "R@10", "fine mAP", "fit (s)"]
    assert ours[-2] == ".250 ± .000" and cca[-3:-1] == ["–", "–"]
    assert "item" not in markdown and "coverage" not in markdown


def test_the_papers_tables_keep_the_papers_similarities(done, flag_file):
    runs = experiments.plan(("xgacmn", "cca"), [str(flag_file)], 2, None, done[0])
    rows = table_comparison.grouped_rows(runs)
    assert {row.similarity for row in rows} == {"posterior", "cosine"}
    assert [row.group for row in rows if row.model == "cca"] == [
        "own similarity", "cosine similarity",
    ]  # fmt: skip


@pytest.mark.slow
def test_the_same_command_resumes(done, call, without_workers):
    output, arguments, _ = done
    kept = output / "runs" / "small" / "cca" / "seed_0" / "metrics.json"
    before = kept.stat().st_mtime_ns
    (output / "runs" / "small" / "xgacmn" / "seed_1" / "metrics.json").unlink()
    markdown = (output / "small.md").read_text()
    with without_workers():
        assert call(command.main, *arguments).returncode == 1
    assert kept.stat().st_mtime_ns == before
    again = (output / "small.md").read_text()
    # Only the training time may differ.
    assert [row[:-1] for row in table_rows(again)[2:]] == [
        row[:-1] for row in table_rows(markdown)[2:]
    ]


def test_compared_systems_take_only_what_all_share(flag_file, tmp_path):
    runs = experiments.plan(("xgacmn", "acmr"), [str(flag_file)], 1, None, tmp_path)
    ours, theirs = (run.config for run in runs)
    assert ours.training.epochs == 1 and theirs.data == ours.data
    assert theirs.training == TrainingSettings()  # X-GACMN's own, left at its default
    assert ours.output.output_dir != theirs.output.output_dir and not ours.output.export


def test_flag_files_of_the_package_are_found_by_name():
    for name in ("wikipedia_shallow_2173", "openclipart"):
        assert experiments.settings_of(name, None) == experiments.settings_of(f"{name}.flags", None)
    assert experiments.settings_of("openclipart", None) == Config.of(dataset="openclipart")


def test_an_interruption_ends_the_workers():
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(2)
    try:
        with pytest.raises(KeyboardInterrupt):
            list(experiments.in_workers(time.sleep, [600], 1))
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    for worker in multiprocessing.active_children():
        end = time.monotonic() + 60
        # `join` returns without a status if the pool's thread collects the worker first.
        while worker.exitcode is None and time.monotonic() < end:
            time.sleep(0.05)
        assert worker.exitcode == -signal.SIGTERM


def test_a_terminated_command_is_one_line(capsys):
    def run(settings):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as error:
        run_command(["compare"], command.Comparison, "", run)
    assert error.value.code == 143 and signal.getsignal(signal.SIGTERM) == before
    assert capsys.readouterr().err == "error: terminated; repeat the command to resume\n"


def test_models_are_chosen_by_name():
    every = experiments.choose_models(["all"])
    assert {*experiments.ALL_MODELS} - {*every} == {"raw"} and len(every) == 18
    assert set(experiments.choose_models(["all", "raw"])) == {*experiments.ALL_MODELS}
    assert experiments.choose_models(["cca", "xgacmn", "cca"]) == ("cca", "xgacmn")
    with pytest.raises(InputError, match="--model=a/b.py:X: there is no file a/b.py"):
        experiments.choose_models(["all", "a/b.py:X"])
    with pytest.raises(InputError, match="--models=svm: expected all, or some of xgacmn, cca"):
        experiments.choose_models(["svm"])


def test_ranks_are_shared_by_equal_figures_of_a_group():
    values = [0.1, 0.3004, 0.3, 0.2]
    assert document.marks(values, [""] * 4) == ["", "best", "best", "second"]
    assert document.marks(values, ["", None, "", ""]) == ["", "", "best", "second"]
    assert document.marks(values, ["a", "b", "a", "a"]) == ["", "best", "best", "second"]
    assert document.marks(values, ["a", "b", "b", "a"]) == ["second", "best", "best", "best"]


def test_with_all_similarities_systems_are_compared_within_each(done, flag_file, tmp_path):
    output, _, _ = done
    runs = experiments.plan(("xgacmn", "cca"), [str(flag_file)], 2, None, output)
    rows = comparison.group_by_similarity(comparison.rows_of(runs, all_similarities=True))
    comparison.set_p_values(rows)
    assert [(row.model, row.similarity, row.is_own) for row in rows] == [
        ("xgacmn", "posterior", True),  # CCA defines none
        ("xgacmn", "cosine", False),
        ("cca", "cosine", True),
        ("xgacmn", "dot", False),
        ("cca", "dot", False),
        ("xgacmn", "item", False),
    ]
    assert rows[-1].p is None
    for similarity in ("cosine", "dot"):
        pair = [row for row in rows if row.similarity == similarity]
        best = max(pair, key=lambda row: row.mean)
        assert [row.p is None for row in pair] == [row is best for row in pair]
    table = comparison.score_table("small", "Scores", rows, {"cca": (0.1, 0.25)})
    lines = table_rows(table.markdown())
    assert ["CCA", "cosine*", ".100", ".250"] in [line[:4] for line in lines]
    assert table.markdown().count("**") == 2 + 2 * 3 * 3
    assert ["*dot similarity*", *[""] * 7] in lines


def test_published_figures_name_systems_that_exist():
    for rows in PUBLISHED.values():
        assert set(rows) <= set(experiments.ALL_MODELS)
        assert all(0 < value < 1 for row in rows.values() for value in row)


def test_a_broken_flag_file_is_one_clear_error(tmp_path):
    (tmp_path / "bad.flags").write_text("--colour=red\n")
    with pytest.raises(InputError, match="bad.flags: .*colour"):
        experiments.plan(("cca",), [str(tmp_path / "bad.flags")], 1, None, tmp_path)


def row(name, queries):
    scores = {"avg": np.array([np.mean(list(queries.values()))])}
    return comparison.Row(name, "cosine", scores, queries)


def test_the_best_row_is_compared_query_by_query():
    def system(name, gain):
        scores = np.random.default_rng(0).random(100) + gain
        return row(name, {f"i2t/{number}": value for number, value in enumerate(scores)})

    rows = [system("cca", 0), system("sm", 0.2), system("lcfs", 0.2)]
    comparison.set_p_values(rows)
    assert rows[1].p is None and rows[2].p == 1.0 and rows[0].p < 0.001


def test_rows_are_compared_by_pairs():
    """Both queries of a pair say the same, so the p-value is that of the pairs."""

    def system(name, generator, gain):
        scores = generator.random(10) + gain
        return row(name, {f"{way}/{n}": x for way in ("i2t", "t2i") for n, x in enumerate(scores)})

    generator = np.random.default_rng(4)
    rows = [system("cca", generator, 0), system("sm", generator, 0.1)]
    comparison.set_p_values(rows)
    first, second = ([r.queries[f"i2t/{n}"] for n in range(10)] for r in rows)
    assert rows[0].p == randomization_test(np.array(second), np.array(first))
