"""Whole runs on images with five captions each, where labels are noise: nothing can be learned.

Whatever is found above chance was memorized from other captions of the same image.
"""

import json

import numpy as np
import pytest
from PIL import Image

from tests.log_lines import logged_lines
from xgacmn_tf import experiment
from xgacmn_tf.runs.folder import RunFolder
from xgacmn_tf.settings.config import Config

CLASSES, IMAGES, CAPTIONS = 6, 60, 5


@pytest.fixture(scope="module")
def five_captions(tmp_path_factory):
    """A feature file: 60 images, each with five captions of its own ten words, labels at random."""
    generator = np.random.default_rng(0)
    image = generator.normal(size=(IMAGES, 300))
    label = generator.integers(0, CLASSES, IMAGES)
    rows = np.repeat(np.arange(IMAGES), CAPTIONS)
    text = np.zeros((len(rows), 72))
    for first in range(0, len(rows), CAPTIONS):
        words = generator.choice(72, 10, replace=False)
        for row in range(first, first + CAPTIONS):
            text[row, generator.choice(words, 6, replace=False)] = 1
    test = rows < IMAGES // 5
    arrays = {"label_names": np.array([*"abcdef"])}
    for part, of in (("train", ~test), ("test", test)):
        arrays |= {f"image_{part}": image[rows[of]], f"text_{part}": text[of]}
        arrays[f"label_{part}"] = label[rows[of]]
    path = tmp_path_factory.mktemp("captions") / "five.npz"
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """The same as a table of image files and sentences, without a split."""
    pytest.importorskip("cv2", reason="pip install xgacmn_tf[sift]")
    folder = tmp_path_factory.mktemp("table")
    generator = np.random.default_rng(0)
    words = [a + b for a in "bdfgklmnprst" for b in ("aro", "ile", "une", "oka", "ent", "ist")]
    lines = ["image,text,label"]
    for image in range(IMAGES):
        pattern = Image.fromarray(generator.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        pattern.resize((64, 64), Image.Resampling.NEAREST).save(folder / f"{image}.png")
        own = generator.choice(words, 10, replace=False)
        label = generator.integers(CLASSES)
        for _ in range(CAPTIONS):
            text = " ".join(generator.choice(own, 6, replace=False))
            lines.append(f"{image}.png,{text},class {label}")
    (folder / "shop.csv").write_text("\n".join(lines))
    return folder / "shop.csv"


def run(path, folder, **settings):
    config = Config.of(
        dataset=str(path), output_dir=str(folder), export=False, validation_fraction=0.2,
        **({"epochs": 2} | settings),
    )  # fmt: skip
    with logged_lines() as printed:
        experiment.run(config)
    return json.loads((folder / "metrics.json").read_text()), "\n".join(printed)


@pytest.mark.slow
def test_validation_does_not_see_images_that_were_trained_on(
    five_captions, small_networks, tmp_path
):
    """Field case 2: drawn by row, the validation mAP was .8 where the test split had .25."""
    metrics, printed = run(five_captions, tmp_path / "run", **small_networks)
    assert metrics["splits"] == {"train": 190, "validation": 50, "test": 60}
    assert metrics["groups"] == {"train": 38, "validation": 10, "test": 12}
    # Ten images of noise: a good part of the gallery is any image's own five rows.
    assert metrics["validation"]["mAP/avg"] < 0.5
    assert "190 train pairs in 38 groups" in printed
    assert metrics["data_report"]["notes"][0] in printed


@pytest.mark.slow
def test_a_table_is_split_by_image(table, small_networks, tmp_path):
    """Split by row, every test image was trained on, and the mAP was .62 where chance is .22."""
    settings = small_networks | {"encoder_hidden": (128, 50), "code_dim": 20, "batch_size": 32}
    features = {"image_features": "sift", "text_features": "bow", "cache_dir": str(tmp_path)}
    metrics, _ = run(table, tmp_path / "run", epochs=40, refit=False, **settings, **features)
    assert metrics["splits"]["test"] == CAPTIONS * metrics["groups"]["test"]
    chance = metrics["chance"]["mAP"]["avg"]
    for similarity in ("posterior", "cosine", "dot"):
        assert abs(metrics["test"][similarity]["mAP"]["avg"] - chance) < 0.04


def test_each_image_once(five_captions, small_networks, tmp_path):
    metrics, printed = run(
        five_captions, tmp_path / "run", deduplicate_gallery=True, **small_networks
    )
    assert metrics["queries"] == {"i2t": 12, "t2i": 60} and metrics["deduplicated_gallery"]
    assert "each image once: 12 images and 60 texts as queries and gallery" in printed
    # One of 12 images, and five of 60 texts, are the query's own.
    assert metrics["chance"]["R@1"]["i2t"] == pytest.approx(1 / 12)
    assert metrics["chance"]["R@1"]["t2i"] == pytest.approx(1 / 12)
    scores = RunFolder(tmp_path / "run").read_per_query("posterior")
    assert len(scores) == 12 + 60
    assert {name for name in scores if name.startswith("i2t")} == {
        f"i2t/test/{5 * image}" for image in range(12)
    }
    mean = np.mean([score for name, score in scores.items() if name.startswith("i2t")])
    assert mean == pytest.approx(metrics["test"]["posterior"]["mAP"]["i2t"])
