"""`benchmarks/everyday_queries.py`: scores of everyday queries, on the run of colours."""

import collections
import importlib
import re
import shutil

import pytest

from xgacmn_tf import gallery
from xgacmn_tf.datasets.emoji import EMOJI

# By cosine with red, the pictures rank 0, 3, 4, 5, 1, 2; with blue, 2 comes first.
QUERIES = "query\tid\na red thing\ttrain-3\na red thing\ttrain-4\nblue\ttrain-2\n"


@pytest.fixture
def benchmark(request, monkeypatch):
    monkeypatch.syspath_prepend(request.config.rootpath / "benchmarks")
    return importlib.import_module("everyday_queries")


@pytest.fixture
def run(benchmark, colour_run, tmp_path, capsys, caplog):
    """Runs the benchmark with a file of queries; returns what it printed."""
    caplog.set_level("WARNING", "xgacmn_tf")  # Other tests make log lines appear, too.

    def run(*arguments, queries=QUERIES, folder=colour_run):
        file = tmp_path / "queries.tsv"
        file.write_text(queries, encoding="utf-8")
        benchmark.main([str(folder), *map(str, arguments), f"--queries={file}"])
        return capsys.readouterr().out

    return run


def test_scores_of_each_query_and_of_all(run, colour_run):
    lines = run().splitlines()
    assert re.split(r"\s\s+", lines[1])[:5] == ["a red thing", "0.20", "1.00", "no", "2"]
    assert lines[1].endswith("a red one; a red one*; a green one*; a blue one; a green one")
    assert re.split(r"\s\s+", lines[2])[:5] == ["blue", "0.10", "1.00", "yes", "1"]
    assert lines[-1] == f"| {colour_run} | 1 | 0.150 | 1.000 | 1.5 | 0 |"


def test_a_query_without_a_known_word_finds_nothing(run):
    line = run(queries="query\tid\nsomething purple\ttrain-0\n").splitlines()[1]
    # Of six images.
    assert re.split(r"\s\s+", line)[1:5] == ["0.00", "0.00", "no", "7"]


def test_show_prints_the_first_queries_and_scores_all(run):
    printed = run("--show=1")
    assert "a red thing" in printed and "\nblue" not in printed
    assert printed.splitlines()[-1].endswith("| 1 | 0.150 | 1.000 | 1.5 | 0 |")


def test_markdown_has_the_first_three_items(run):
    assert run("--markdown").splitlines()[2:] == [
        "| a red thing | a red one, **a red one**, **a green one** |",
        "| blue | **a blue one**, a blue one, a green one |",
    ]


def test_several_runs_have_a_row_each_and_no_queries(run, colour_run, tmp_path):
    other = shutil.copytree(colour_run, tmp_path / "other")
    assert run(other).splitlines()[2:] == [
        f"| {colour_run} | 1 | 0.150 | 1.000 | 1.5 | 0 |",
        f"| {other} | 1 | 0.150 | 1.000 | 1.5 | 0 |",
        "| mean ± sd | 1.0 ± 0.0 | 0.150 ± 0.000 | 1.000 ± 0.000 | 1.5 ± 0.0 | 0.0 ± 0.0 |",
    ]


def test_nocaptions_finds_images_by_what_they_show(run, misleading_run):
    """What is called blue is taken for red without captions; only image 5 has some green."""
    folder, _ = misleading_run
    queries = "query\tid\nblue\ttrain-2\nblue\ttrain-5\n"
    for flags, rank in (((), 1), (("--nocaptions",), 4)):
        printed = run(*flags, queries=queries, folder=folder)
        line = re.search("^blue.*$", printed, re.MULTILINE)[0]
        assert re.split(r"\s\s+", line)[4] == str(rank)


def test_mean_and_sd_of_totals(benchmark):
    scores = {
        "a": {"relevant first item": 30, "P@10": 0.5, "median rank": 1.0},
        "b": {"relevant first item": 34, "P@10": 0.6, "median rank": 2.0},
    }
    assert benchmark.total_lines(scores, 50)[-3:] == [
        "| a | 30 | 0.500 | 1 |",
        "| b | 34 | 0.600 | 2 |",
        "| mean ± sd | 32.0 ± 2.8 | 0.550 ± 0.071 | 1.5 ± 0.7 |",
    ]


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        ("query\tid\nred\ttrain-0\nred\tabsent\n", "'absent' is not in the gallery of"),
        ("text\tid\nred\ttrain-0\n", "expected a first line with the columns query and id"),
        ("query\tid\nred\n", "line 2 needs a query and an id"),
        ("query\tid\nred\ttrain-0\tmore\n", "line 2 needs a query and an id"),
        ("query\tid\n", "no query in it"),
    ],
)
def test_a_file_that_does_not_fit_ends_in_one_line(run, tmp_path, queries, message):
    with pytest.raises(SystemExit) as stop:
        run(queries=queries)
    assert str(stop.value).startswith(f"error: --queries={tmp_path / 'queries.tsv'}: ")
    assert message in str(stop.value) and "\n" not in str(stop.value)


def test_the_file_for_the_emoji_has_fifty_queries_and_names_distinct_items_of_the_gallery(
    benchmark,
):
    relevant = benchmark.read_queries(benchmark.QUERIES)
    items = gallery.from_dataset(EMOJI.load(), gallery.ALL)
    known = set(items.of_modality("image").id.tolist())
    assert len(relevant) == 50
    for query, ids in relevant.items():
        repeated = [name for name, count in collections.Counter(ids).items() if count > 1]
        assert set(ids) <= known and not repeated, query
