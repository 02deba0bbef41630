import json

import numpy as np
import pytest

from xgacmn_tf.commands import compare_runs as command
from xgacmn_tf.errors import InputError
from xgacmn_tf.evaluation.identity import Identity
from xgacmn_tf.io.files import write_json
from xgacmn_tf.runs.comparison import compare_runs
from xgacmn_tf.runs.folder import RunFolder
from xgacmn_tf.runs.test_pairs import TestPairs

CLASSES = ("cat", "dog", "tree")


def write_run(path, ids, noise, *, trained=(), label_names=CLASSES, fine=True, seed=0):
    """Write what a comparison reads of a run whose codes are as good as the noise is small."""
    numbers = np.array([int(name[1:]) for name in ids])
    label = numbers % len(CLASSES)
    draw = np.random.default_rng(seed)
    codes = {
        m: np.eye(len(CLASSES))[label] + noise * draw.normal(size=(len(ids), len(CLASSES)))
        for m in ("image", "text")
    }
    folder = RunFolder(path)
    path.mkdir()
    posterior = {f"{m}_posterior": np.abs(codes[m]) for m in codes}
    ids = np.array(ids)
    folder.write_embeddings({**codes, **posterior, "label": label.astype(np.int32), "id": ids})
    alone = np.arange(len(ids))
    pairs = TestPairs(
        numbers.astype(np.uint64),
        Identity(alone, alone, alone),
        np.array([f"kind {n % 6}" for n in numbers]) if fine else None,
        np.array(trained, np.uint64),
    )
    folder.write_pairs(pairs.arrays())
    metrics = {
        "label_names": list(label_names),
        "test": {"posterior": {}, "cosine": {}},
        "headline_similarity": "posterior",
        "search_similarity": "posterior",
    }
    write_json(folder.metrics, metrics)
    return path


def ids(*numbers):
    return [f"i{number}" for number in numbers]


@pytest.fixture
def runs(tmp_path):
    """A good old run, and a bad new one with other test pairs in another order."""
    old = write_run(tmp_path / "old", ids(*range(60)), 0.2, trained=[100, 101])
    new = write_run(tmp_path / "new", ids(*range(79, 9, -1)), 2.0, trained=[30, 31, 100], seed=1)
    return old, new


def test_the_common_pairs_that_no_run_was_trained_on_are_compared(runs):
    result = compare_runs(*runs)

    assert result.counts == {
        "old_test": 60,
        "new_test": 70,
        "common": 50,
        "excluded_as_trained_on": 2,
    }
    assert result.pairs == 48
    assert result.measure("posterior/mAP").old > 0.95
    assert result.measure("posterior/mAP").new < 0.7
    assert result.measure("posterior/mAP").p < 0.01
    assert {"posterior/fine_mAP", "cosine/R@10", "cosine/coverage@10"} <= {
        row.name for row in result.measures
    }
    assert sorted(row.pairs for row in result.categories) == [15, 16, 17]


def test_a_run_compared_with_itself_does_not_differ(runs):
    result = compare_runs(runs[0], runs[0])

    assert all(row.difference == 0 for row in (*result.measures, *result.categories))
    assert all(row.p in (None, 1.0) for row in result.measures)
    assert not result.is_worse("posterior/mAP")


def test_labels_are_compared_by_name_and_new_categories_are_named(runs, tmp_path):
    narrow = write_run(tmp_path / "narrow", ids(*range(60)), 0.2, label_names=("a", "b", "c"))

    result = compare_runs(narrow, runs[0])

    assert any("3 categories: cat, dog, tree" in note for note in result.notes)
    assert {row.name for row in result.categories} == set(CLASSES)


@pytest.mark.parametrize(
    ("swapped", "flags", "status"),
    [
        (False, [], 1),
        (True, [], 0),
        (False, ["--max_loss=0.9"], 0),
        (False, ["--gate=cosine/mAP"], 1),
        (False, ["--gate=cosine/P@7"], 2),
        (False, ["third"], 2),
    ],
)
def test_the_exit_status_is_a_gate(runs, swapped, flags, status, tmp_path, capsys):
    arguments = [str(path) for path in (runs[::-1] if swapped else runs)]
    output = tmp_path / "comparison.json"

    with pytest.raises(SystemExit) as ended:
        command.main(["compare-runs", *arguments, f"--output={output}", *flags])

    assert ended.value.code == status
    if status < 2:
        assert json.loads(output.read_text())["worse"] == bool(status)
        assert ("not worse" in capsys.readouterr().out) == (status == 0)


def test_runs_that_cannot_be_compared_are_rejected(runs, tmp_path):
    other = write_run(tmp_path / "other", ids(*range(500, 520)), 0.2)
    with pytest.raises(InputError, match="0 test pairs in common .* the same ids"):
        compare_runs(runs[0], other)
    with pytest.raises(InputError, match="no finished run"):
        compare_runs(runs[0], tmp_path)
    write_json(
        RunFolder(other).metrics,
        {
            "label_names": [*CLASSES],
            "test": {"item": {}},
            "headline_similarity": "item",
        },
    )
    write_run(tmp_path / "same", ids(*range(500, 520)), 0.2)
    lone = RunFolder(tmp_path / "same").metrics
    write_json(lone, json.loads(lone.read_text()) | {"test": {"cosine": {}}})
    with pytest.raises(InputError, match="no similarity in common"):
        compare_runs(other, tmp_path / "same")
    damaged = RunFolder(runs[1])
    np.savez(damaged.pairs, group=np.zeros(3))
    with pytest.raises(InputError, match="pairs.npz: group"):
        compare_runs(*runs)
    damaged.pairs.unlink()
    write_json(damaged.metrics, {"test": {}})
    with pytest.raises(InputError, match="xgacmn evaluate"):
        compare_runs(*runs)


def test_without_a_record_of_the_training_pairs_a_note_says_so(runs):
    RunFolder(runs[1]).pairs.unlink()

    result = compare_runs(*runs)

    assert sum("could not be excluded" in note for note in result.notes) == 2
    assert result.pairs == 50
