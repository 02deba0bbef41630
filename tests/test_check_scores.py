"""`benchmarks/check_scores.py`: run folders as the package writes them, one with a wrong score."""

import json
import os
import re
import subprocess
import sys

import numpy as np

from xgacmn_tf.evaluation.fine_labels import fine_targets
from xgacmn_tf.evaluation.first_results import first_results, spread_measures
from xgacmn_tf.evaluation.identity import Identity
from xgacmn_tf.evaluation.representations import unit_length
from xgacmn_tf.evaluation.retrieval import (
    chance_levels,
    evaluate_retrieval,
    mean_average_precision,
)
from xgacmn_tf.runs.folder import RunFolder
from xgacmn_tf.runs.test_pairs import TestPairs

PAIRS, CATEGORIES = 70, ["birds", "fish", "trees"]
CHECK = """
import sys
from check_scores import main
right, wrong = sys.argv[1:-1], sys.argv[-1:]
print(main(right), main(wrong))
print({"tensorflow", "keras", "xgacmn_tf"} & set(sys.modules))
"""


def write_run(path, seed, deduplicated):
    """Write a run of images with several captions, one category each or, deduplicated, several."""
    generator = np.random.default_rng(seed)
    place = np.sort(generator.integers(0, 50, PAIRS))
    image = generator.normal(size=(50, 4))[place].astype(np.float32)
    text = generator.normal(size=(PAIRS, 4)).astype(np.float32)
    text[5] = text[40]
    label = generator.integers(0, 3, PAIRS)
    fine = np.array(["Birds!", "fish, small", "fish, large", "trees/firs"])[
        label + (label == 1) * generator.integers(0, 2, PAIRS) + (label == 2)
    ]
    if deduplicated:
        label = (generator.random((PAIRS, 3)) < 0.4).astype(np.uint8)
    identity = Identity.of(image, text)
    test, per_query = {}, {}
    fine_labels = fine_targets(fine, label, CATEGORIES)
    for similarity, sides in (
        ("dot", (image, text)),
        ("cosine", [unit_length(side.astype(float)) for side in (image, text)]),
    ):
        result = evaluate_retrieval(*sides, label, identity=identity, deduplicated=deduplicated)
        test[similarity] = result.measures | spread_measures(
            first_results(*sides, identity, deduplicated)
        )
        for measure, (rows, numbers) in fine_labels.items():
            test[similarity][measure] = mean_average_precision(
                sides[0][rows], sides[1][rows], numbers
            )
        per_query |= {f"{similarity}_{way}": by["AP"] for way, by in result.per_query.items()}
    chance = chance_levels(label, identity=identity, deduplicated=deduplicated)
    chance |= {
        measure: chance_levels(numbers)["mAP"] for measure, (_, numbers) in fine_labels.items()
    }
    path.mkdir()
    folder = RunFolder(path)
    ids = np.arange(PAIRS).astype(str)
    folder.write_embeddings({"image": image, "text": text, "label": label, "id": ids})
    groups = identity.group.astype(np.uint64)
    folder.write_pairs(TestPairs(groups, identity, fine, groups[:0]).arrays())
    folder.write_per_query(ids, per_query)
    metrics = {
        "dataset": "small",
        "model": "xgacmn",
        "label_names": CATEGORIES,
        "test": test,
        "chance": chance,
        "deduplicated_gallery": deduplicated,
        "settings": {"seed": seed, "deduplicate_gallery": deduplicated},
    }
    folder.metrics.write_text(json.dumps(metrics), encoding="utf-8")
    return metrics


def test_right_scores_agree_and_a_wrong_one_is_named(tmp_path, request):
    write_run(tmp_path / "single", 0, deduplicated=False)
    write_run(tmp_path / "several", 1, deduplicated=True)
    metrics = write_run(tmp_path / "wrong", 0, deduplicated=False)
    metrics["test"]["cosine"]["mAP@50"]["t2i"] += 2e-4
    (tmp_path / "wrong" / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    folders = [str(tmp_path / name) for name in ("single", "several", "wrong")]
    done = subprocess.run(
        [sys.executable, "-c", CHECK, *folders],
        # Compiling takes a minute.
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        cwd=request.config.rootpath / "benchmarks",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for folder in folders[:2]:
        line = next(line for line in lines if line.startswith(f"{folder} agrees: "))
        found = dict(part.rsplit(" ", 1) for part in line.partition(": ")[2].split(", "))
        assert {"mAP", "fine_mAP/finer", "AP", "coverage@10", "chance median_rank"} <= set(found)
        assert max(map(float, found.values())) < 1e-9
    line = next(line for line in lines if line.startswith(f"{folders[2]} DIFFERS in cosine: "))
    assert re.findall(r"(\S+) \de-04", line) == ["mAP@50"]
    assert lines[-2:] == ["0 1", "set()"]
