"""The tables' and figures' numbers, from small scores and codes whose answers are known."""

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from xgacmn_tf.errors import InputError
from xgacmn_tf.paper import (
    compare_command,
    comparison,
    document,
    experiments,
    figure_confusion,
    reproduce_command,
    table_ablation,
)
from xgacmn_tf.paper.document import Figure, Section, Table
from xgacmn_tf.paper.figure_angles import class_directions
from xgacmn_tf.paper.figure_learning_curves import common_epochs, read_history
from xgacmn_tf.paper.figure_learning_curves import draw as draw_learning_curves
from xgacmn_tf.paper.figure_modality_gap import gap_of
from xgacmn_tf.paper.figure_plane import epochs_in_words
from xgacmn_tf.paper.figure_precision_scope import choose_curves
from xgacmn_tf.paper.scores import Codes, Scores
from xgacmn_tf.report.curves import CHARTS
from xgacmn_tf.runs.folder import RunFolder
from xgacmn_tf.settings.config import Config
from xgacmn_tf.training.callbacks import ScalarBoard


def scores(i2t, t2i, ids=("a", "b"), similarity="cosine"):
    """Scores of two pairs; AP@50 is twice the AP."""
    by_way = {"i2t": np.array(i2t, np.float32), "t2i": np.array(t2i, np.float32)}
    twice = {way: 2 * values for way, values in by_way.items()}
    precision = {way: values[:1].astype(float) for way, values in by_way.items()}
    return Scores(
        np.array(ids), {similarity: {"AP": by_way, "AP@50": twice}}, {similarity: precision}
    )


def test_means_and_pairs_of_scores_by_hand():
    found = scores([0.1, 0.3], [0.2, 0.4])
    assert found.mean("cosine", "mAP") == pytest.approx({"i2t": 0.2, "t2i": 0.3, "avg": 0.25})
    assert found.mean("cosine", "mAP@50")["avg"] == pytest.approx(0.5)
    assert found.by_pair("cosine", "mAP") == pytest.approx([0.15, 0.35])


def test_differences_are_paired_by_seed_and_by_pair():
    whole = {0: scores([0.1, 0.3], [0.2, 0.4]), 1: scores([0.2, 0.4], [0.3, 0.5])}
    less = {0: scores([0.1, 0.3], [0.2, 0.2]), 1: scores([0.2, 0.4], [0.3, 0.1])}
    whole, less = (
        table_ablation.setting_of(name, runs, [0, 1], "cosine", "mAP")
        for name, runs in (("whole", whole), ("less", less))
    )
    found = table_ablation.difference(less, whole)
    # Seed 0 loses .2 of four scores' mean, seed 1 loses .4: −.05 and −.1.
    assert found.mean == pytest.approx(-0.075)
    # −.075 ± 12.706205 · .025, as sd / √2 of two values .05 apart is .025.
    assert found.seeds == pytest.approx((-0.392655, 0.242655), abs=1e-5)
    # All of it is lost by the second pair: −.15, so that samples of pairs mean −.15 to 0.
    assert found.pairs == pytest.approx((-0.15, 0.0), abs=1e-7)


def test_a_similarity_that_is_not_defined_makes_no_setting():
    runs = {0: scores([0.1, 0.3], [0.2, 0.4])}
    assert table_ablation.setting_of("x", runs, [0], "posterior", "mAP") is None
    assert table_ablation.setting_of("x", runs, [], "cosine", "mAP") is None


def test_seeds_must_share_their_test_pairs():
    runs = {0: scores([0.1, 0.3], [0.2, 0.4]), 1: scores([0.1, 0.3], [0.2, 0.4], ids=("a", "c"))}
    with pytest.raises(InputError, match="runs of x have different test pairs"):
        table_ablation.setting_of("x", runs, [0, 1], "cosine", "mAP")
    one, other = (table_ablation.setting_of(str(s), runs, [s], "cosine", "mAP") for s in runs)
    with pytest.raises(InputError, match="1 and 0 have different test pairs"):
        table_ablation.difference(other, one)


def test_figure_4_states_the_epochs_that_ran(tmp_path):
    runs = {}
    for label, best in (("figure_4_softmax", 12), ("figure_4_a_softmax_l2", 31)):
        runs[label] = experiments.Experiment(label, Config.of(output_dir=str(tmp_path / label)))
        metrics = {"planned_epochs": 60, "trained_epochs": best + 15, "best_epoch": best}
        if best == 31:
            metrics["refit"] = {"pairs": 2173, "epochs": 31}
        runs[label].folder.path.mkdir()
        runs[label].folder.metrics.write_text(json.dumps(metrics))
    assert epochs_in_words(runs) == (
        "Epochs: softmax 27 of at most 60, the best 12; a_softmax_l2 46 of at most 60, "
        "the best 31, then 31 on all 2173 pairs."
    )


def test_figure_3_shows_the_hardest_other_rival_that_has_the_similarity():
    def at(value, similarity="cosine"):
        return [scores([value] * 2, [value] * 2, similarity=similarity)]

    found = {"xgacmn": at(0.3), "cca": at(0.2), "sm": at(0.4), "acmr": at(0.1), "jrl": []}
    assert [curve.model for curve in choose_curves(found, "cosine")] == ["xgacmn", "acmr", "sm"]
    found["sm"] = at(0.4, "posterior")
    curves = choose_curves(found, "cosine")
    assert [curve.model for curve in curves] == ["xgacmn", "acmr", "cca"]
    assert curves[0].precision["i2t"].shape == (1, 1)


def test_confusion_by_hand():
    # Texts lie at 0°, 10° and 90°; images 0 and 1 point at 0°, image 2 at 90°.
    text = np.array([[1, 0], [np.cos(np.pi / 18), np.sin(np.pi / 18)], [0, 1]], np.float32)
    image = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    codes = Codes(np.array(["a", "b", "c"]), np.array([0, 1, 1]), {"cosine": (image, text)})
    first = figure_confusion.confusion(codes, "cosine", "i2t", 1, 3)
    # Image 1 finds text 0 first. No query has category 2.
    assert first == pytest.approx(np.array([[1, 0, 0], [0.5, 0.5, 0], [0, 0, 0]]))
    second = figure_confusion.confusion(codes, "cosine", "i2t", 2, 3)
    assert second == pytest.approx(np.array([[0.5, 0.5, 0], [0.25, 0.75, 0], [0, 0, 0]]))


def test_confusion_shares_an_item_between_its_labels():
    codes = Codes(np.array(["a"]), np.array([[1, 1, 0]]), {"cosine": (np.ones((1, 2)),) * 2})
    found = figure_confusion.confusion(codes, "cosine", "t2i", 1, 3)
    assert found == pytest.approx(np.array([[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 0]]))


def test_gap_of_equal_and_of_opposite_codes():
    codes = np.random.default_rng(0).normal(size=(60, 4))
    codes /= np.linalg.norm(codes, axis=1, keepdims=True)
    same = gap_of(codes, codes)
    # Both modalities have every point, so there is nothing to tell them by.
    assert same.distance == 0 and same.accuracy <= 0.5
    axis = np.tile([[1.0, 0.0]], (60, 1))
    opposite = gap_of(axis, -axis)
    assert opposite.distance == pytest.approx(2) and opposite.accuracy == 1


def test_learning_curves_end_where_the_first_run_stopped(tmp_path):
    long, short = {e: 1.0 / e for e in range(1, 9)}, {e: 2.0 / e for e in range(1, 6)}
    assert common_epochs([long, short]) == [1, 2, 3, 4, 5]
    # Validation at every fourth epoch, and runs of different lengths: no figure fails for it.
    histories = [
        {"validation/mAP/i2t": {4: 0.2, 8: 0.3}, "validation/mAP/t2i": {4: 0.1, 8: 0.2}},
        {"validation/mAP/i2t": {4: 0.3}, "validation/mAP/t2i": {4: 0.2}},
    ]
    path = draw_learning_curves([CHARTS[0]], histories, tmp_path, "curves")
    assert (tmp_path / path).is_file()


@pytest.mark.parametrize("tag", ["1 validation/mAP/i2t", "validation/mAP/i2t"])
def test_learning_curves_read_the_tags_of_earlier_versions_too(tmp_path, tag):
    board = tmp_path / "tensorboard"
    writer = tf.summary.create_file_writer(str(board), filename_suffix=ScalarBoard.SUFFIX)
    with writer.as_default(step=3):
        tf.summary.scalar(tag, 0.25)
    writer.close()
    assert read_history(RunFolder(tmp_path)) == {"validation/mAP/i2t": {3: 0.25}}


def test_directions_of_plain_softmax_have_unit_length():
    from xgacmn_tf.model.angular_softmax import AngularSoftmax, PlainSoftmax

    for layer in (PlainSoftmax(3), AngularSoftmax(3)):
        layer.build((None, 5))
        directions = class_directions(layer)
        assert directions.shape == (5, 3)
        assert np.linalg.norm(directions, axis=0) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.3416, ".342"), (-0.0131, "−.013"), (-0.0004, ".000"), (1.0, "1.000"), (0.0, ".000")],
)
def test_numbers(value, text):
    assert document.number(value) == text


def test_small_differences_have_a_fourth_digit():
    assert document.number(-0.0004, 4) == "−.0004"


def test_spread_of_seeds():
    assert document.spread(np.array([0.3])) == ".300"
    assert document.spread(np.array([0.3, 0.32])) == ".310 ± .014"


def test_marks_are_shared_by_equal_figures_and_skip_gaps():
    assert document.marks([0.1, 0.3004, None, 0.3, 0.2]) == ["", "best", "", "best", "second"]


SECTION = Section(
    "A & B",
    [
        Table(
            "scores",
            "Scores of a_b, 50 %",
            pd.DataFrame(
                {"system": ["A|B", "C", "D"], "avg": [".3 ± .1", "−.1", "–"]},
                ["cosine", "cosine", "dot"],
            ),
            pd.DataFrame({"avg": [0.3, -0.125, None]}),
            {"avg": ["best", "second", ""]},
            ["note: < 1"],
        ),
        Figure("curve", "A curve", "figures/curve.png"),
    ],
    ["data not found under a_b"],
)


def test_markdown():
    text = document.markdown("Results", "All of it.", [SECTION])
    # The columns are padded to equal widths.
    squeezed = re.sub(" +", " ", text)
    assert "| *cosine* | |\n| A\\|B | **.3 ± .1** |\n| C | <u>−.1</u> |\n| *dot* | |" in squeezed
    assert "| D | – |\n\n- note: < 1" in squeezed
    assert "![curve](figures/curve.png)" in text and text.endswith("- data not found under a_b\n")


def test_latex():
    text = document.latex("Results", "All of it.", [SECTION])
    assert r"\subsection{A \& B}" in text and r"\caption{Scores of a\_b, 50 \%}" in text
    assert "A|B & \\textbf{.3 $\\pm$ .1} \\\\\nC & \\underline{$-$.1} \\\\" in text
    # The first group follows the rule of the header.
    assert "\\midrule\n\\emph{cosine} &  \\\\" in text and r"\midrule \emph{dot}" in text
    assert r"\includegraphics[width=\linewidth]{figures/curve.png}" in text
    assert text.count(r"\begin{") == text.count(r"\end{")
    assert r"\item note: $<$ 1" in text


def test_csv_has_unrounded_values():
    assert SECTION.parts[0].csv() == 'avg\n0.3\n-0.125\n""\n'


def test_a_table_without_rows_can_be_written():
    table = comparison.score_table("empty", "Nothing", [], {}, notes=["no run finished"])
    assert "no run finished" in table.markdown() and "no run finished" in table.latex()


def test_latex_has_no_character_that_pdftex_does_not_know():
    """Whatever a caption of ours may hold."""
    folder = Path(document.__file__).parent
    for path in folder.glob("[cft]*.py"):
        assert document.escape_latex(path.read_text()).isascii(), path.name


@pytest.mark.parametrize("name", ["pandas", "tabulate"])
def test_a_missing_package_is_one_clear_error(name, monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda x: None if x == name else find(x))
    for command in (compare_command, reproduce_command):
        with pytest.raises(SystemExit):
            command.main(["command"])
        expected = f"error: {name} is not installed; pip install 'xgacmn_tf[paper]'\n"
        assert capsys.readouterr().err == expected
