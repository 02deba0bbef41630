"""Whole runs on data that make scores meaningless, or that only look unusable."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.log_lines import logged_lines
from xgacmn_tf import experiment
from xgacmn_tf.report.table import results_table
from xgacmn_tf.settings.config import Config


def arrays(classes: int = 4, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    centers = {"image": rng.normal(size=(classes, 20)), "text": rng.normal(size=(classes, 15))}
    data = {}
    for part, rows in (("train", 160), ("test", 60)):
        label = np.arange(rows) % classes
        data[f"label_{part}"] = label
        for modality, of in centers.items():
            noise = rng.normal(size=(rows, of.shape[1]))
            data[f"{modality}_{part}"] = of[label] + 0.5 * noise
    return data


@pytest.fixture
def run(tmp_path, small_networks):
    """Trains on arrays; returns metrics.json and what was printed."""

    def run(data, **settings):
        np.savez(tmp_path / "data.npz", **data)
        sizes = {"encoder_hidden": (128, 50), "code_dim": 20}
        shorter = {"epochs": 40, "batch_size": 32, "item_epochs": 2, "refit": False}
        shorter["validation_fraction"] = 0.2
        folder = tmp_path / "run"
        config = Config.of(
            dataset=str(tmp_path / "data.npz"),
            output_dir=str(folder),
            export=False,
            **(small_networks | shorter | sizes | settings),
        )
        with logged_lines() as printed:
            experiment.run(config)
        return json.loads((folder / "metrics.json").read_text()), "\n".join(printed), folder

    return run


def test_a_category_that_was_never_trained_on_is_scored_apart(run):
    """Field case 5."""
    data = arrays()
    keep = data["label_train"] != 3
    for name in ("image_train", "text_train", "label_train"):
        data[name] = data[name][keep]
    metrics, printed, folder = run(data)
    unseen = metrics["unseen_categories"]
    assert unseen["pairs"] == {"3": 15} and unseen["queries"] == {"i2t": 15, "t2i": 15}
    scores = unseen["mAP"]["posterior"]
    assert scores["seen"]["avg"] > scores["unseen"]["avg"] + 0.2
    overall = metrics["test"]["posterior"]["mAP"]
    for way in ("i2t", "t2i"):
        together = 0.75 * scores["seen"][way] + 0.25 * scores["unseen"][way]
        assert overall[way] == pytest.approx(together)
    assert [row["train_pairs"] for row in metrics["categories"]] == [40, 40, 40, 0]
    (warning,) = metrics["warnings"]
    assert "1 of 4 categories has test pairs but no training pair: 3 (15)" in warning
    # Before training, and again at the end.
    assert printed.count(warning) == 2
    assert f"unseen {scores['unseen']['i2t']:.4f}" in printed
    assert "3" in (folder / "results.html").read_text()
    report = json.loads((folder / "data_report.json").read_text())
    assert report == metrics["data_report"] and report["warnings"] == [warning]


@pytest.mark.slow
def test_a_collapse_is_not_blamed_on_the_settings_where_the_input_is_constant(run):
    """Field case 16."""
    data = arrays()
    for part in ("train", "test"):
        data[f"text_{part}"] = np.full_like(data[f"text_{part}"], 2.5)
    metrics, printed, _ = run(data, epochs=2)
    constant, collapse = metrics["warnings"]
    assert constant.startswith("all 15 text features are constant in the training split")
    assert collapse.endswith("the cause is the input: all 15 text features are constant")
    assert "lambda_1" not in printed
    assert printed.count(f"warning: {collapse}") == 2
    # A finished run is only read, and warns all the same.
    assert f"warning: {collapse}" in results_table(metrics)


@pytest.mark.slow
def test_tiny_features_are_standardized(run):
    """Field case 17: they were taken for constant."""
    data = arrays()
    plain, _, folder = run(data)
    for name in ("image_train", "image_test"):
        data[name] = data[name] * 1e-30
    (folder / "metrics.json").rename(folder.parent / "metrics.json")
    folder.rename(folder.parent / "plain")
    tiny, _, _ = run(data)
    assert not tiny["warnings"]
    chance = tiny["chance"]["mAP"]["avg"]
    assert tiny["test"]["posterior"]["mAP"]["avg"] > chance + 0.3
    assert plain["test"]["posterior"]["mAP"]["avg"] == pytest.approx(
        tiny["test"]["posterior"]["mAP"]["avg"], abs=0.05
    )


@pytest.mark.slow
def test_texts_without_blanks_are_found_by_their_characters(tmp_path, call_main, small_networks):
    """Field case 4: each clause was a word of its own, and all test texts were rows of zeros."""
    nouns, verbs = ["苹果", "小熊", "椅子"], ["在桌上", "在河边", "很漂亮", "正在动", "很大"]
    rng, rows = np.random.default_rng(0), ["image,text,label"]
    for row in range(90):
        pixels = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{row}.png")
        noun = nouns[row % 3]
        rows.append(f"{row}.png,今天{rng.choice(verbs)}{noun}{rng.choice(verbs)}{row},{noun}")
    (tmp_path / "t.csv").write_text("\n".join(rows), encoding="utf-8")
    flags = [
        f"--{name}={','.join(map(str, value)) if isinstance(value, tuple) else value}"
        for name, value in small_networks.items()
    ]
    result = call_main(
        f"--dataset={tmp_path / 't.csv'}",
        "--image_features=sift",
        "--text_features=bow",
        f"--cache_dir={tmp_path / 'cache'}",
        f"--output_dir={tmp_path / 'run'}",
        "--noexport",
        "--epochs=2",
        *flags,
    )
    assert result.returncode == 0, result.stderr
    assert "no known word" not in result.stdout
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["data_report"]["splits"]["test"]["texts"] > 1
