"""The grid: what is run, what is resumed, what fails, and the tables."""

import csv
import json
import shutil

import numpy as np
import pytest

from xgacmn_tf.errors import InputError
from xgacmn_tf.paper import compare_command as command
from xgacmn_tf.paper import experiments, table_comparison, tables
from xgacmn_tf.paper.published import PUBLISHED
from xgacmn_tf.paper.significance import randomisation_test


@pytest.fixture(scope="module")
def flag_file(feature_file, tmp_path_factory):
    path = tmp_path_factory.mktemp("flags") / "small.flags"
    path.write_text(
        f"--dataset={feature_file}\n--epochs=1\n--encoder_hidden=8\n--code_dim=4\n--batch_size=16\n"
    )
    return path


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
    assert "- raw: no row: " in markdown and markdown in process.stdout
    assert markdown.count("**") == 6 and markdown.count("<u>") == 3
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
    header, *lines = (output / "small.md").read_text().splitlines()
    assert header.endswith("| p | R@10 | coverage@10 | fit (s) |")
    assert any(line.startswith("| X-GACMN, item | item | – |") for line in lines)


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
    cells = experiments.cells(("xgacmn", "cca"), [str(flag_file)], 2, None, tmp_path)
    found = tables.rows(cells)
    assert [(row.title, sorted(row.items)) for row in found] == [
        ("X-GACMN", ["R@10", "fine_mAP"]),
        ("CCA", []),  # one seed has no R@10
    ]
    markdown = tables.write_tables(tmp_path, "small", "made up", found, {}, {})
    header, _, ours, cca, *rest = markdown.splitlines()
    assert header.endswith("| p | R@10 | fine mAP | fit (s) |")
    assert ours.split(" | ")[-2] == ".250 ± .000" and cca.split(" | ")[-3:-1] == ["–", "–"]
    assert "item" not in markdown and "coverage" not in "".join(rest)


def test_the_papers_tables_keep_the_papers_similarities(done, flag_file):
    cells = experiments.cells(("xgacmn", "cca"), [str(flag_file)], 2, None, done[0])
    found = table_comparison.blocks(cells)
    assert {row.similarity for rows in found.values() for row in rows} == {"posterior", "cosine"}


def test_the_same_command_runs_only_what_is_left(done, call, without_workers):
    output, arguments, _ = done
    kept = output / "runs" / "small" / "cca" / "seed_0" / "metrics.json"
    before = kept.stat().st_mtime_ns
    (output / "runs" / "small" / "xgacmn" / "seed_1" / "metrics.json").unlink()
    markdown = (output / "small.md").read_text()
    with without_workers():
        assert call(command.main, *arguments).returncode == 1
    assert kept.stat().st_mtime_ns == before
    again = (output / "small.md").read_text()
    # Only the time of training may differ.
    assert [row.rsplit("|", 2)[0] for row in again.splitlines()] == [
        row.rsplit("|", 2)[0] for row in markdown.splitlines()
    ]


def test_compared_systems_take_only_what_all_share(flag_file, tmp_path):
    cells = experiments.cells(("xgacmn", "acmr"), [str(flag_file)], 1, None, tmp_path)
    ours, theirs = (cell.config for cell in cells)
    assert (ours.epochs, theirs.dataset) == (1, ours.dataset)
    assert theirs.epochs == type(theirs).epochs  # X-GACMN's own, left at its default
    assert ours.output_dir != theirs.output_dir and not ours.export


def test_models_are_chosen_by_name():
    assert experiments.choose_models(["all"]) == experiments.ALL_MODELS
    assert experiments.choose_models(["cca", "xgacmn", "cca"]) == ("cca", "xgacmn")
    with pytest.raises(InputError, match="--models=svm: expected all, or some of xgacmn, cca"):
        experiments.choose_models(["svm"])


def test_ranks_are_shared_by_equal_figures_of_a_group():
    values = [0.1, 0.3004, 0.3, 0.2]
    assert tables._ranks(values, [""] * 4) == ["", "best", "best", "second"]
    assert tables._ranks(values, ["", None, "", ""]) == ["", "", "best", "second"]
    assert tables._ranks(values, ["a", "b", "a", "a"]) == ["", "best", "best", "second"]
    assert tables._ranks(values, ["a", "b", "b", "a"]) == ["second", "best", "best", "best"]


def test_with_all_similarities_systems_are_compared_within_each(done, flag_file, tmp_path):
    output, _, _ = done
    cells = experiments.cells(("xgacmn", "cca"), [str(flag_file)], 2, None, output)
    found = tables.rows(cells, all_similarities=True)
    assert [(row.model, row.similarity, row.own) for row in found] == [
        ("xgacmn", "posterior", True),  # CCA defines none
        ("xgacmn", "cosine", False),
        ("cca", "cosine", True),
        ("xgacmn", "dot", False),
        ("cca", "dot", False),
        ("xgacmn", "item", False),
    ]
    assert found[-1].p is None
    for similarity in ("cosine", "dot"):
        pair = [row for row in found if row.similarity == similarity]
        best = max(pair, key=lambda row: row.mean)
        assert [row.p is None for row in pair] == [row is best for row in pair]
    markdown = tables.write_tables(tmp_path, "small", "made up", found, {}, {"cca": (0.1, 0.25)})
    assert "| CCA | cosine* | .100 / .250 |" in markdown
    assert markdown.count("**") == 2 * 3 * 3 and "| cosine* |" in markdown
    assert "of each similarity; * the system's own" in markdown


def test_published_figures_name_systems_that_exist():
    for rows in PUBLISHED.values():
        assert set(rows) <= set(experiments.ALL_MODELS)
        assert all(0 < value < 1 for row in rows.values() for value in row)


def test_a_broken_flag_file_is_one_clear_error(tmp_path):
    (tmp_path / "bad.flags").write_text("--colour=red\n")
    with pytest.raises(InputError, match="bad.flags: .*colour"):
        experiments.cells(("cca",), [str(tmp_path / "bad.flags")], 1, None, tmp_path)


def row(name, queries):
    scores = {"avg": np.array([np.mean(list(queries.values()))])}
    return tables.Row(name, "cosine", True, scores, queries, 1.0)


def test_the_best_row_is_compared_query_by_query():
    def system(name, gain):
        scores = np.random.default_rng(0).random(100) + gain
        return row(name, {f"i2t/{number}": value for number, value in enumerate(scores)})

    found = [system("cca", 0), system("sm", 0.2), system("lcfs", 0.2)]
    tables.compare_with_best(found)
    assert found[1].p is None and found[2].p == 1.0 and found[0].p < 0.001


def test_rows_are_compared_by_pairs():
    """Both queries of a pair say the same, so the p-value is that of the pairs."""

    def system(name, generator, gain):
        scores = generator.random(10) + gain
        return row(name, {f"{way}/{n}": x for way in ("i2t", "t2i") for n, x in enumerate(scores)})

    generator = np.random.default_rng(4)
    found = [system("cca", generator, 0), system("sm", generator, 0.1)]
    tables.compare_with_best(found)
    first, second = ([r.queries[f"i2t/{n}"] for n in range(10)] for r in found)
    assert found[0].p == randomisation_test(np.array(second), np.array(first))
