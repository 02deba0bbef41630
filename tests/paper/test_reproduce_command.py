"""The command: what it writes, resumes and refuses."""

import csv
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from xgacmn_tf.errors import InputError
from xgacmn_tf.paper import reproduce_command as command
from xgacmn_tf.paper.scores import DIRECTIONS


def read_csv(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def last_line(process):
    return process.stderr.splitlines()[-1]


@pytest.fixture(scope="module")
def done(reproduce, tmp_path_factory):
    """Two tables and two kinds of figures, where only the bundled study's data are there."""
    output = tmp_path_factory.mktemp("reproduction")
    arguments = [
        "--tables=2,openclipart", "--figures=3,beyond", "--models=cca,sm", "--seeds=2",
        f"--output_dir={output}",
    ]  # fmt: skip
    return output, arguments, reproduce(*arguments)


@pytest.mark.slow
def test_rows_without_data_say_so(done):
    output, _, process = done
    assert process.returncode == 0, process.stderr
    markdown = (output / "results.md").read_text()
    assert "data not found: --data_dir names the folder that holds pascal_sentence/" in markdown
    # The paper's figures alone.
    assert "|CCA|.363|.219|datanotfound|" in re.sub(r" ", "", markdown)
    rows = read_csv(output / "tables" / "pascal_sentence_900.csv")
    assert [row["model"] for row in rows] == ["xgacmn", "cca"]  # the paper has no SM there
    assert {row["note"] for row in rows} == {"data not found"} and rows[0]["paper_t2i"] == "0.547"
    assert "- Wikipedia 1300/1566, shallow" in markdown and not list(
        (output / "figures").glob("*wikipedia*")
    )


@pytest.mark.slow
def test_systems_are_compared_within_each_similarity(done):
    output, _, _ = done
    rows = read_csv(output / "tables" / "openclipart.csv")
    blocks = {}
    for row in rows:
        blocks.setdefault(row["group"].split()[0], {})[row["model"]] = row
    assert list(blocks) == ["own", "cosine", "posterior"]
    assert set(blocks["cosine"]) == {"xgacmn", "cca", "sm"}
    assert set(blocks["posterior"]) == {"xgacmn", "sm"}  # CCA has no categories
    assert {row["similarity"] for row in blocks["cosine"].values()} == {"cosine"}
    for block in blocks.values():
        assert [row["p"] for row in block.values()].count("") == 1  # the best
    tuned = output / "runs/openclipart/sm/tuned"
    metrics, settings = (
        [json.loads((tuned / f"seed_{seed}" / name).read_text()) for seed in (0, 1)]
        for name in ("metrics.json", "config.json")
    )
    # Both seeds see the same training pairs, so they share a choice.
    (choice,) = json.loads((tuned / "choice.json").read_text())["choices"]
    assert choice["seeds"] == [0, 1]
    assert [s["settings"]["model_settings"] for s in settings] == [choice["settings"]] * 2
    assert "settings that are best on validation pairs" in (output / "results.md").read_text()
    expected = np.mean([m["test"]["posterior"]["mAP"]["i2t"] for m in metrics])
    assert float(blocks["posterior"]["sm"]["i2t"]) == pytest.approx(expected)


@pytest.mark.slow
def test_scores_are_those_of_the_run(done):
    output, _, _ = done
    for model, folder in (("xgacmn", "xgacmn"), ("cca", "cca/tuned")):
        run = output / "runs" / "openclipart" / folder / "seed_1"
        metrics = json.loads((run / "metrics.json").read_text())
        with (
            np.load(output / "scores" / "openclipart" / model / "seed_1.npz") as scores,
            np.load(run / "per_query.npz") as per_query,
        ):
            # The paper has no item embeddings, and nor have its results.
            compared = metrics["test"].keys() - {"item"}
            for similarity, way in ((s, w) for s in compared for w in DIRECTIONS):
                rows = scores["direction"] == way
                assert (scores["query"][rows] == per_query["id"]).all()
                np.testing.assert_array_equal(
                    scores[f"AP_{similarity}"][rows], per_query[f"{similarity}_{way}"]
                )
                at_50 = scores[f"AP@50_{similarity}"][rows].mean(dtype=float)
                assert at_50 == pytest.approx(metrics["test"][similarity]["mAP@50"][way])
            # The whole gallery is found at the last scope: its share of a category.
            assert scores["precision_cosine"][:, -1] == pytest.approx(1 / 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["figure_3", "confusion", "angles", "modality_gap", "learning_curves"]
)
def test_figures(done, name):
    output, _, _ = done
    with Image.open(output / "figures" / f"{name}_openclipart.png") as picture:
        pixels = np.asarray(picture.convert("L"))
    assert min(pixels.shape) > 200 and 0.005 < (pixels < 200).mean() < 0.7
    svg = (output / "figures" / f"{name}_openclipart.svg").read_text()
    assert svg.endswith("</svg>\n")
    for suffix in ("md", "tex"):
        assert f"figures/{name}_openclipart.png" in (output / f"results.{suffix}").read_text()


@pytest.mark.slow
def test_the_same_command_resumes(done, reproduce):
    output, arguments, _ = done
    runs = output / "runs" / "openclipart"
    kept = [runs / "cca/tuned/seed_0/metrics.json", runs / "xgacmn/seed_0/metrics.json"]
    before = [path.stat().st_mtime_ns for path in kept]
    results = (output / "results.md").read_text()
    picture = (output / "figures" / "figure_3_openclipart.png").read_bytes()
    (runs / "xgacmn" / "seed_1" / "metrics.json").unlink()
    assert reproduce(*arguments).returncode == 0
    assert [path.stat().st_mtime_ns for path in kept] == before
    assert (output / "results.md").read_text() == results
    assert (output / "figures" / "figure_3_openclipart.png").read_bytes() == picture
    assert not list(output.rglob("*.partial*"))


@pytest.mark.slow
def test_old_runs_do_not_pass_for_new_settings(done, reproduce, flags_dir, tmp_path):
    output, arguments, _ = done
    changed = tmp_path / "flags"
    changed.mkdir()
    for path in flags_dir.iterdir():
        (changed / path.name).write_text(path.read_text())
    with open(changed / "openclipart.flags", "a") as file:
        file.write("--margin=3\n")
    process = reproduce(*arguments, f"--flags_dir={changed}")
    assert process.returncode == 2
    assert "holds another run, which differs in: margin 5 there, 3 now" in last_line(process)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tables=1,4"], "--tables=1,4: expected one of 1, 2, 3, openclipart"),
        (["--figures=2"], "--figures=2: expected one of 3, 4, beyond"),
        (["--models=svm"], "--models=svm: expected all, or some of xgacmn, cca"),
        (["--seeds=0"], "--seeds=0: expected at least 1"),
        (["--flags_dir=nowhere"], "--flags_dir=nowhere: there is no wikipedia_shallow_1300.flags"),
        (["--colour=red"], "there is no flag --colour; --help lists all flags"),
        (["--tables=", "--figures="], "--tables= --figures=: there is nothing to write"),
        (["all"], "'all' is not a flag"),
    ],
    ids=str,
)
def test_mistakes_end_with_one_line(capsys, tmp_path, arguments, message):
    output = tmp_path / "output"
    with pytest.raises(SystemExit) as end:
        command.main(["reproduce", *arguments, f"--output_dir={output}"])
    written = capsys.readouterr().err
    assert end.value.code == 2 and written.startswith(f"error: {message}")
    assert written.count("\n") == 1 and not output.exists()


def test_help_does_not_load_tensorflow():
    code = (
        "import sys; sys.argv[1:] = ['--help']\n"
        "from xgacmn_tf.paper import reproduce_command as command\n"
        "try: command.main(sys.argv)\n"
        "except SystemExit as end: assert end.code == 0\n"
        "assert 'tensorflow' not in sys.modules and 'matplotlib' not in sys.modules\n"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert "--ablation_seeds" in process.stdout


@pytest.mark.slow
def test_everything(reproduce, tmp_path):
    """All parts, with made-up data in Wikipedia's place and none of the other data sets."""
    (tmp_path / "data" / "wikipedia").mkdir(parents=True)
    output = tmp_path / "output"
    process = reproduce(
        "--models=cca,acmr", "--seeds=1", "--ablation_seeds=2", f"--output_dir={output}",
        f"--data_dir={tmp_path / 'data'}",
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    markdown = (output / "results.md").read_text()
    assert f"data not found under {tmp_path / 'data' / 'nuswide'}" in markdown
    assert f"vgg19 features not found under {tmp_path / 'data' / 'wikipedia'}: Missing" in markdown
    # More seeds of Table 3 do not slip into the comparison.
    compared = read_csv(output / "tables" / "wikipedia_shallow_2173.csv")
    assert {row["seeds"] for row in compared} == {"1"}
    for measure in ("ap50", "ap"):
        rows = read_csv(output / "tables" / f"table_3_{measure}.csv")
        by_similarity = {}
        for row in rows:
            by_similarity.setdefault(row["similarity"], {})[row["setting"]] = row
        assert len(by_similarity["cosine"]) == 7 and len(by_similarity["posterior"]) == 6
        whole = by_similarity["cosine"]["wikipedia_shallow_2173"]
        assert whole["seeds"] == "2" and whole["difference"] == ""
        other = by_similarity["cosine"]["ablation_with_softmax"]
        change = float(other["difference"])
        assert change == pytest.approx(float(other["avg"]) - float(whole["avg"]))
        assert float(other["seeds_low"]) <= change <= float(other["seeds_high"])
        assert float(other["pairs_low"]) <= change <= float(other["pairs_high"])
    for name in ("figure_4", "figure_3_wikipedia_shallow_2173", "angles_wikipedia_shallow_2173"):
        assert (output / "figures" / f"{name}.png").exists()


def test_a_folder_that_is_not_there_is_one_clear_error(tmp_path):
    settings = command.Reproduction(data_dir=str(tmp_path / "none"))
    with pytest.raises(InputError, match="--data_dir=.*none: there is no such folder"):
        command.reproduce(settings)
