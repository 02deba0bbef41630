"""NUS-WIDE from its files to a TFDS data set, features of pictures, and a trained model."""

import shutil

import numpy as np
import pytest
from PIL import Image

from tests.datasets import nuswide_layout as layout
from xgacmn_tf import experiment
from xgacmn_tf.datasets import load, nuswide
from xgacmn_tf.errors import InputError
from xgacmn_tf.settings.config import Config

tfds = pytest.importorskip("tensorflow_datasets")
pytest.importorskip("dill", reason="tfds.testing imports it")

from xgacmn_tf.datasets.nuswide import nuswide_dataset_builder  # noqa: E402

DUMMY = f"{nuswide.__path__[0]}/dummy_data"
ONCE = {"epochs": 1, "validation_fraction": 0.0}


class TestNuswide(tfds.testing.DatasetBuilderTestCase):
    """TFDS's own test of a builder, on the dummy data beside it."""

    DATASET_CLASS = nuswide_dataset_builder.Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["lowlevel_full"]
    SPLITS = {"train": 7, "test": 4}  # the one without a concept would test


def test_builder_and_reader_agree(tmp_path):
    manual = tmp_path / "downloads" / "manual"
    shutil.copytree(DUMMY, manual)
    found = load("nuswide/lowlevel_full", str(tmp_path))
    expected = load("nuswide", str(manual), "full")
    assert found.fingerprint == expected.fingerprint
    assert found.label_names == expected.label_names


def test_a_missing_file_is_our_one_message(tmp_path):
    manual = tmp_path / "downloads" / "manual"
    shutil.copytree(DUMMY, manual)
    (manual / "Low_Level_Features" / "Normalized_WT.dat").unlink()
    with pytest.raises(InputError, match="Missing in .*manual: Low_Level_Features/Normalized_WT.d"):
        load("nuswide/lowlevel_full", str(tmp_path))


def test_descriptions_citations_and_sizes(tmp_path):
    """64 + 144 + 73 + 128 + 225 + 500 = 1134 low-level features; fc2 of VGG-19 has 4096."""
    sizes = {
        "lowlevel_10k": (1134, 10),
        "lowlevel_full": (1134, 81),
        "deep_10k": (4096, 10),
        "deep_full": (4096, 81),
    }
    assert sizes.keys() == nuswide_dataset_builder.Builder.builder_configs.keys()
    for name, (image, classes) in sizes.items():
        info = tfds.builder(f"nuswide/{name}", data_dir=str(tmp_path)).info
        assert info.features["image"].shape == (image,)
        assert info.features["text"].shape == (1000,)
        assert len(info.metadata["label_names"]) == classes
        assert ("thumbnail" in info.features) == ("deep" in name)
        assert "chua2009nuswide" in info.citation and "Imagelist.txt" in info.description


def test_concepts_are_in_the_order_of_their_list():
    names = nuswide_dataset_builder.CONCEPTS
    assert len(names) == 81 and list(names) == sorted(names)
    assert (names[0], names[34], names[80]) == ("airport", "lake", "zebra")
    assert set(nuswide.CONCEPTS_10K) < set(names)


def test_pictures_with_the_tags_beside_them(tmp_path):
    """Features of pictures that are there, 1,000 tags; the pair of a lost picture is left out."""
    pytest.importorskip("cv2", reason="SIFT features need OpenCV")
    hot = np.zeros((20, 81), np.uint8)
    hot[np.arange(20), np.arange(20) % 4] = 1
    folder = layout.write(tmp_path / "nuswide", hot, low_level_names=())
    generator = np.random.default_rng(0)
    lost = "actor/0002_2124494180"
    for line in layout.pictures(20):
        path = folder / "Flickr" / line.replace("\\", "/")
        path.parent.mkdir(exist_ok=True)
        if not str(path).endswith(f"{lost}.jpg"):
            pixels = generator.integers(0, 256, (48, 48, 3), np.uint8)
            Image.fromarray(pixels).resize((96, 96)).save(path)
    arguments = {"image_features": "sift", "cache_dir": tmp_path / "cache"}
    with pytest.raises(InputError, match=f"{lost}.jpg: there is no such file"):
        load("nuswide", str(folder), "full", **arguments)
    dataset = load("nuswide", str(folder), "full", on_bad_image="skip", **arguments)
    ids = [name for _, split in dataset.splits() for name in split.id.tolist()]
    assert len(ids) == 19 and lost not in ids
    for _, split in dataset.splits():
        rows = [int(name.split("/")[1].split("_")[0]) - 1 for name in split.id]
        np.testing.assert_array_equal(split.text, layout.tags(20)[rows])
        assert split.title.tolist() == [layout.text(row) for row in rows]


def test_a_folder_trains_and_is_evaluated(tmp_path, small_networks):
    config = Config.of(
        dataset="nuswide",
        data_dir=DUMMY,
        protocol="full",
        output_dir=str(tmp_path / "run"),
        **ONCE,
        **small_networks,
    )
    metrics = experiment.run(config)
    assert metrics["data_fingerprint"] == load("nuswide", DUMMY, "full").fingerprint
    assert metrics["splits"]["test"] == 4
    assert 0 < metrics["test"]["cosine"]["mAP"]["avg"] <= 1
