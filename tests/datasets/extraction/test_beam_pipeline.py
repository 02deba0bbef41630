"""The Beam pipeline on the local runner gives what the plain path gives."""

import json
from dataclasses import replace

import numpy as np
import pytest

from xgacmn_tf import datasets
from xgacmn_tf.commands import features as command
from xgacmn_tf.datasets.extraction import extract_features
from xgacmn_tf.errors import InputError
from xgacmn_tf.features import load_extractor
from xgacmn_tf.settings.sections import FeatureSpec

beam = pytest.importorskip("apache_beam", reason="pip install xgacmn_tf[beam]")
pytest.importorskip("cv2", reason="pip install xgacmn_tf[sift]")

from apache_beam.testing.util import assert_that  # noqa: E402

from xgacmn_tf.datasets.extraction.beam_pipeline import ExtractFeatures, write_tfds  # noqa: E402

OPTIONS = ["--runner=DirectRunner"]


def features_of(cache_dir, text="bow"):
    return FeatureSpec(image_features="sift", text_features=text, cache_dir=str(cache_dir))


@pytest.mark.parametrize("several", [False, True], ids=["one label", "several labels"])
def test_the_same_data_set_as_the_plain_path(raw_pairs, tmp_path, several):
    if several:
        classes = [(0,), (1, 2), (0, 2)]
        train, test = (
            tuple(
                replace(pair, label=classes[pair.label], group=f"g{pair.label}") for pair in pairs
            )
            for pairs in (raw_pairs.train, raw_pairs.test)
        )
        raw_pairs = replace(raw_pairs, train=train, test=test)
    spec = features_of(tmp_path / "cache", "lda")
    settings = {"data_dir": tmp_path / "tfds", "beam_options": OPTIONS, "show_progress": False}
    plain = extract_features(raw_pairs, spec, show_progress=False)
    name = write_tfds(raw_pairs, spec, **settings)
    assert name == "extracted_pairs/shapes-sift-lda"
    written = datasets.load(name, str(tmp_path / "tfds"))
    assert written.fingerprint == plain.fingerprint
    kept = load_extractor(tmp_path / "tfds" / "shapes-sift-lda.extractors" / "text")
    np.testing.assert_array_equal(kept.encode([raw_pairs.test[0].text])[0], plain.test.text[0])
    with pytest.raises(InputError, match="exists already; delete it"):
        write_tfds(raw_pairs, spec, **settings)


def test_bad_pictures_follow_the_policy(raw_pairs, tmp_path):
    raw_pairs.train[4].image.write_bytes(b"no picture")
    spec = features_of(tmp_path / "cache")
    settings = {"data_dir": tmp_path / "tfds", "beam_options": OPTIONS, "show_progress": False}
    with pytest.raises(InputError, match=r"train-4\.png: cannot be read as an image"):
        write_tfds(raw_pairs, spec, **settings)
    name = write_tfds(raw_pairs, replace(spec, on_bad_image="skip"), **settings)
    written = datasets.load(name, str(tmp_path / "tfds"))
    assert len(written.train) == 11 and "train-4" not in written.train.id


def test_the_step_alone_in_a_pipeline_of_ones_own(raw_pairs, tmp_path):
    plain = extract_features(raw_pairs, features_of(tmp_path), batch_size=4, show_progress=False)

    def check(found):
        assert sorted(key for key, _ in found) == sorted(pair.id for pair in raw_pairs.test)
        for key, example in found:
            (row,) = np.flatnonzero(plain.test.id == key)
            np.testing.assert_array_equal(example["image"], plain.test.image[row])
            np.testing.assert_array_equal(example["text"], plain.test.text[row])
            assert example["label"] == plain.test.label[row]

    with beam.Pipeline("DirectRunner") as pipeline:
        pairs = pipeline | beam.Create([(pair.id, pair) for pair in raw_pairs.test])
        found = pairs | ExtractFeatures(plain.source, num_classes=3, batch_size=4)
        assert_that(found, check)


def test_the_command_runs_it(raw_pairs, tmp_path, capsys):
    table = tmp_path / "shapes.tsv"
    rows = ["image\ttext\tlabel\tsplit"]
    for part, pairs in raw_pairs.splits().items():
        for pair in pairs:
            image, label = pair.image.relative_to(tmp_path), raw_pairs.label_names[pair.label]
            rows.append(f"{image}\t{pair.text}\t{label}\t{part}")
    table.write_text("\n".join(rows))
    command.main(
        [
            "features",
            f"--dataset={table}",
            "--image=sift",
            "--text=bow",
            f"--output={tmp_path / 'tfds'}",
            f"--cache_dir={tmp_path / 'cache'}",
            "--beam_options=--runner=DirectRunner",
        ]
    )
    assert "--dataset=extracted_pairs/shapes-sift-bow" in capsys.readouterr().out
    info = tmp_path / "tfds/extracted_pairs/shapes-sift-bow/1.0.0/dataset_info.json"
    sizes = {
        split["name"]: split["shardLengths"] for split in json.loads(info.read_text())["splits"]
    }
    assert sizes == {"train": ["12"], "test": ["6"]}
