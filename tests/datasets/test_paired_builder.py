"""TFDS builders: what they write is what our reader reads and what our TFDS reader gives back."""

import json
import shutil

import numpy as np
import pytest

from xgacmn_tf import datasets
from xgacmn_tf.datasets import PairedDataset, Split, load, pascal_sentence, wikipedia
from xgacmn_tf.errors import InputError

tfds = pytest.importorskip("tensorflow_datasets")
pytest.importorskip("dill", reason="tfds.testing imports it")

from xgacmn_tf.datasets.paired_builder import PairedBuilder, PairedConfig  # noqa: E402
from xgacmn_tf.datasets.pascal_sentence import pascal_sentence_dataset_builder  # noqa: E402
from xgacmn_tf.datasets.wikipedia import wikipedia_dataset_builder  # noqa: E402

NAMES = ("cat", "dog", "emu")


class TestWikipediaPairs(tfds.testing.DatasetBuilderTestCase):
    """TFDS's own test of a builder, on the dummy data beside it."""

    DATASET_CLASS = wikipedia_dataset_builder.Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["shallow_2173"]
    SPLITS = {"train": 3, "test": 2}


class TestPascalSentence(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = pascal_sentence_dataset_builder.Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["released"]
    SPLITS = {"train": 4, "test": 2}


class Made(PairedBuilder):
    """A builder without a registered reader: `datasets.load` is replaced in the tests."""

    READER = "made"
    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Ask Ann."
    pkg_dir_path = tfds.core.Path(__file__).parent


def config(**changes):
    settings = {"name": "small", "image_dim": 4, "text_dim": 2, "label_names": NAMES}
    return PairedConfig(**settings | changes)


def split(prefix, rows, described=False, label=None):
    generator = np.random.default_rng(rows)
    return Split(
        image=generator.normal(size=(rows, 4)),
        text=generator.normal(size=(rows, 2)),
        label=np.arange(rows) % 3 if label is None else label,
        id=np.array([f"{prefix}é{row}" for row in range(rows)]),
        title=np.array([f"title {row}\nof {prefix}" for row in range(rows)]) if described else None,
        thumbnail=tuple(b"RIFF\x00\xff%d" % row for row in range(rows)) if described else None,
    )


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Builds `Made` from a data set and reads it back; the loader's arguments go to `calls`."""
    manual = tmp_path / "downloads" / "manual"
    manual.mkdir(parents=True)
    (manual / "file").touch()

    def run(dataset, configuration, **limits):
        calls = []
        monkeypatch.setattr(datasets, "load", lambda *a, **k: calls.append((a, k)) or dataset)
        builder = Made(data_dir=str(tmp_path), config=configuration)
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(**limits) if limits else None
        )
        monkeypatch.undo()
        return load(f"made/{configuration.name}", str(tmp_path)), calls, builder

    return run


def assert_equal(found, expected):
    assert found.fingerprint == expected.fingerprint  # every array's bytes, ids, titles, names
    assert found.label_names == expected.label_names


def test_single_labels_with_titles_and_thumbnails(build, tmp_path):
    dataset = PairedDataset(
        "made", split("a", 9, True), split("b", 4, True), NAMES, split("c", 5, True)
    )
    settings = {
        "protocol": "900",
        "image_features": "vgg19",
        "text_features": "bow",
        "seed": 3,
        "on_bad_image": "skip",
    }
    found, calls, builder = build(dataset, config(described=True, has_thumbnails=True, **settings))
    assert_equal(found, dataset)
    cache = tmp_path / "downloads" / "xgacmn_tf"
    assert calls == [
        (("made", str(tmp_path / "downloads" / "manual")), {**settings, "cache_dir": cache})
    ]
    assert builder.info.features["label"].names == list(NAMES)


def test_multi_hot_labels_keep_their_names(build):
    hot = np.array([[1, 0, 1], [0, 1, 0], [1, 1, 0], [0, 0, 1]], np.uint8)
    dataset = PairedDataset("made", split("a", 4, label=hot), split("b", 4, label=hot), NAMES)
    found, _, _ = build(dataset, config(multi_label=True))
    assert_equal(found, dataset)


def test_order_is_kept_over_many_files(build):
    dataset = PairedDataset("made", split("a", 300), split("b", 30), NAMES)
    found, _, builder = build(dataset, config(), num_shards=7)
    assert builder.info.splits["train"].num_shards == 7
    assert_equal(found, dataset)


def test_features_of_another_size_or_other_classes_are_refused(build):
    dataset = PairedDataset("made", split("a", 6), split("b", 4), NAMES)
    with pytest.raises(InputError, match="image features of dimension 4, .*'small' declares 5"):
        build(dataset, config(image_dim=5))
    with pytest.raises(InputError, match="text features of dimension 2, .*'small' declares 3"):
        build(dataset, config(text_dim=3))
    with pytest.raises(InputError, match="has the classes cat, dog, emu; .*cat, dog, fox"):
        build(dataset, config(label_names=("cat", "dog", "fox")))


def manual(tmp_path, module):
    """TFDS's manual folder, filled with a module's dummy data."""
    folder = tmp_path / "downloads" / "manual"
    shutil.copytree(f"{module.__path__[0]}/dummy_data", folder)
    return folder


@pytest.mark.parametrize(
    ("name", "module"),
    [("wikipedia_pairs", wikipedia), ("pascal_sentence/released", pascal_sentence)],
)
def test_builders_and_readers_agree(name, module, tmp_path):
    folder = manual(tmp_path, module)
    assert_equal(
        load(name if "/" in name else f"{name}/shallow_2173", str(tmp_path)),
        load(module.DISTRIBUTION.name, str(folder)),
    )


def test_a_missing_file_is_our_one_message(tmp_path):
    (manual(tmp_path, wikipedia) / "categories.list").unlink()
    with pytest.raises(InputError, match="Missing in .*manual: categories.list.*Rasiwasia"):
        load("wikipedia_pairs/shallow_2173", str(tmp_path))


def test_nothing_there_shows_the_instructions(tmp_path):
    with pytest.raises(InputError, match="manual does not exist or is empty.*Rasiwasia.*texts/<"):
        load("wikipedia_pairs/shallow_2173", str(tmp_path))


def test_descriptions_citations_and_sizes(tmp_path):
    """TFDS reads README.md and CITATIONS.bib; dimensions are the paper's (§4.1)."""
    sizes = {
        "wikipedia_pairs/shallow_2173": (128, 10),
        "wikipedia_pairs/shallow_1300": (128, 10),
        "wikipedia_pairs/deep_2173": (4096, 1000),
        "wikipedia_pairs/deep_1300": (4096, 1000),
        "pascal_sentence/deep_900": (4096, 1000),
        "pascal_sentence/deep_800": (4096, 1000),
        "pascal_sentence/deep_900_sentences": (4096, 1000),
        "pascal_sentence/released": (4096, 300),
    }
    for name, (image, text) in sizes.items():
        builder = tfds.builder(name, data_dir=str(tmp_path))
        info = builder.info
        assert (info.features["image"].shape, info.features["text"].shape) == ((image,), (text,))
        assert (
            "@inproceedings" in info.citation
            and "fetch them by hand" in info.description.replace("\n", " ")
        )
        assert ("thumbnail" in info.features) == ("deep" in name)
        assert ("group" in info.features) == ("sentences" in name)
        protocol = builder.builder_config.protocol
        assert protocol is None or name.endswith(protocol)
    assert len(sizes) == sum(
        len(module.Builder.BUILDER_CONFIGS)
        for module in (wikipedia_dataset_builder, pascal_sentence_dataset_builder)
    )


def test_tfds_keeps_its_own_wikipedia():
    """Registering that name would stop TFDS from registering half of its data sets."""
    assert tfds.builder_cls("wikipedia").__module__.startswith("tensorflow_datasets")


def test_real_wikipedia(wikipedia_dir, tmp_path):
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / "manual").symlink_to(wikipedia_dir)
    for protocol in ("2173", "1300"):
        found = load(f"wikipedia_pairs/shallow_{protocol}", str(tmp_path))
        assert_equal(found, load("wikipedia", str(wikipedia_dir), protocol))
    info = json.loads(
        next(tmp_path.glob("wikipedia_pairs/shallow_1300/*/features.json")).read_text()
    )
    assert set(info["featuresDict"]["features"]) == {"image", "text", "label", "id"}
