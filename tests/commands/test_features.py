"""`python -m xgacmn_tf.features`: from a table of pictures to a trained model."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest

from xgacmn_tf import experiment
from xgacmn_tf.commands import features as command
from xgacmn_tf.datasets import feature_file
from xgacmn_tf.datasets.catalog import BUNDLED
from xgacmn_tf.datasets.extraction import extractor_files
from xgacmn_tf.features import load_extractor
from xgacmn_tf.settings.config import Config


@pytest.fixture
def table(raw_pairs, tmp_path):
    """The raw pairs as a table of one's own."""
    path = tmp_path / "shapes.csv"
    with open(path, "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("image", "text", "label", "split"))
        for part, pairs in raw_pairs.splits().items():
            for pair in pairs:
                label = raw_pairs.label_names[pair.label]
                rows.writerow((pair.image.relative_to(tmp_path), pair.text, label, part))
    return path


def run(table, tmp_path, **settings):
    settings = {
        "dataset": table,
        "image": "sift",
        "text": "bow",
        "cache_dir": tmp_path / "cache",
        "output": tmp_path / "features.npz",
    } | settings
    flags = [f"--{name}={value}" for name, value in settings.items() if value is not None]
    command.main(["features", *flags])
    return tmp_path / "features.npz"


def refusal(table, tmp_path, capsys, **settings) -> str:
    with pytest.raises(SystemExit) as stop:
        run(table, tmp_path, **settings)
    assert stop.value.code == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("error: ")
    return message


@pytest.mark.slow
def test_a_table_becomes_a_feature_file_that_trains(table, tmp_path, capsys):
    pytest.importorskip("cv2", reason="pip install xgacmn_tf[sift]")
    path = run(table, tmp_path)
    assert "train on it: python -m xgacmn_tf.main --dataset=" in capsys.readouterr().out
    dataset = feature_file.load(path)
    assert (len(dataset.train), len(dataset.test), dataset.image_dim) == (12, 6, 128)
    assert dataset.label_names == ("disc", "square", "stripes")
    assert dataset.test.title[0] == "a crimson disc test0"
    config = Config.of(
        dataset=str(path), epochs=2, validation_fraction=0.25, output_dir=str(tmp_path / "run")
    )
    metrics = experiment.run(config)
    assert 0 < metrics["test"]["cosine"]["mAP"]["avg"] <= 1


def test_columns_of_other_names(table, tmp_path):
    pytest.importorskip("cv2", reason="pip install xgacmn_tf[sift]")
    plain = feature_file.load(run(table, tmp_path)).fingerprint
    text = table.read_text(encoding="utf-8")
    table.write_text(text.replace("image,text", "picture,caption", 1), encoding="utf-8")
    path = run(table, tmp_path, columns="image=picture,text=caption")
    assert feature_file.load(path).fingerprint == plain


def test_columns_are_rejected_where_there_are_none(tmp_path, capsys):
    message = refusal("wikipedia", tmp_path, capsys, columns="text=caption", data_dir=tmp_path)
    assert "--columns names arrays of feature files and columns of tables" in message


def test_the_extractors_beside_the_file_make_its_features(table, tmp_path, raw_pairs):
    pytest.importorskip("cv2", reason="pip install xgacmn_tf[sift]")
    dataset = feature_file.load(run(table, tmp_path))
    folder = extractor_files.saved_extractors(dataset)
    assert folder == tmp_path / "features.extractors"
    text = load_extractor(folder / "text")
    rows = text.encode([pair.text for pair in raw_pairs.test])
    np.testing.assert_array_equal(rows, dataset.test.text)
    suffixes = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert suffixes == {".json", ".npz"}


def test_extractors_of_another_file_do_not_count(table, tmp_path):
    pytest.importorskip("cv2", reason="pip install xgacmn_tf[sift]")
    path = run(table, tmp_path)
    dataset = feature_file.load(path)
    arrays = dict(np.load(path))
    arrays["image_train"] = arrays["image_train"] * 2
    np.savez(path, **arrays)
    assert extractor_files.saved_extractors(dataset) is None
    (tmp_path / "features.extractors" / "feature_file.json").write_text(json.dumps("broken"))
    assert extractor_files.saved_extractors(dataset) is None


def test_mistakes(table, tmp_path, capsys):
    assert "there is no flag --imag; did you mean --image" in refusal(
        table, tmp_path, capsys, imag="sift"
    )
    message = refusal(table, tmp_path, capsys, image=None, text=None)
    assert "--image and --text must be given" in message
    assert "expected one of efficientnet_lite0, " in refusal(
        table, tmp_path, capsys, image="resnet"
    )
    assert "expected a name that ends in .npz" in refusal(table, tmp_path, capsys, output="a")
    message = refusal(table, tmp_path, capsys, output=tmp_path / "no" / "a.npz")
    assert "there is no folder" in message
    for name in BUNDLED:
        assert "has no images and texts" in refusal(name, tmp_path, capsys)
    assert "take no weights" in refusal(
        "shapes.csv", tmp_path, capsys, data_dir=tmp_path, image="vgg19", text_weights="x"
    )


def test_a_broken_picture_is_one_line(table, tmp_path, raw_pairs, capsys):
    pytest.importorskip("cv2", reason="pip install xgacmn_tf[sift]")
    raw_pairs.train[3].image.write_bytes(b"x")
    assert "train-3.png: cannot be read" in refusal(table, tmp_path, capsys)
    run(table, tmp_path, on_bad_image="skip")
    assert len(feature_file.load(tmp_path / "features.npz").train) == 11


def test_help_in_a_process_of_its_own():
    asked = subprocess.run(
        [sys.executable, "-m", "xgacmn_tf.features", "--helpfull"], capture_output=True, text=True
    )
    assert asked.returncode == 0 and "--on_bad_image" in asked.stdout


def test_names_alone_load_no_tensorflow():
    code = "import sys, xgacmn_tf.features; assert not {'tensorflow', 'keras'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
