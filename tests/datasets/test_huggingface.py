"""Data sets of Hugging Face's library and of TFDS with images and texts."""

import gc
import importlib.util
import warnings

import pytest
from PIL import Image

from tests.raw_pairs import draw
from xgacmn_tf.datasets import load_raw
from xgacmn_tf.errors import InputError
from xgacmn_tf.features.image_files import open_image

NAMES = ["disc", "square", "stripes"]


@pytest.fixture
def images(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(12)]
    for number, path in enumerate(paths):
        draw(path, number % 3, number)
    return paths


class TestHuggingFace:
    @pytest.fixture
    def datasets(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        return pytest.importorskip("datasets")

    def made(self, datasets, images, **columns):
        features = datasets.Features(
            {
                "photo": datasets.Image(),
                "captions": datasets.List(datasets.Value("string")),
                "label": datasets.ClassLabel(names=NAMES),
                "stars": datasets.Value("int64"),
            }
        )
        rows = {
            "photo": [str(path) for path in images],
            "captions": [[f"first of {path.stem}", "second"] for path in images],
            "label": [number % 3 for number in range(len(images))],
            "stars": [5] * len(images),
        }
        return datasets.Dataset.from_dict(rows | columns, features=features)

    def test_a_saved_dictionary_of_splits(self, datasets, images, tmp_path):
        splits = {"train": images[:6], "val": images[6:9], "test": images[9:]}
        folder = str(tmp_path / "shapes")
        datasets.DatasetDict(
            {part: self.made(datasets, paths) for part, paths in splits.items()}
        ).save_to_disk(folder)
        for path in images:
            path.rename(path.with_suffix(".moved"))
        columns = ["image=photo", "text=captions"]
        pairs = load_raw(folder, columns=columns, cache_dir=tmp_path / "cache")
        assert pairs.name == "shapes" and pairs.label_names == tuple(NAMES)
        sizes = {part: len(split) for part, split in pairs.splits().items()}
        assert sizes == {"train": 12, "validation": 6, "test": 6}, "two captions an image"
        first, second = pairs.train[:2]
        assert (first.text, second.text) == ("first of 0", "second")
        assert first.image == second.image and first.group == second.group
        assert first.id != second.id and first.label == 0
        expected = Image.open(images[0].with_suffix(".moved")).convert("RGB")
        assert open_image(first.image).tobytes() == expected.tobytes()
        # A second time writes no image again.
        times = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*")}
        assert load_raw(folder, columns=columns, cache_dir=tmp_path / "cache") == pairs
        assert all(path.stat().st_mtime_ns == time for path, time in times.items())
        with pytest.raises(InputError, match="image and text are missing; the columns are photo"):
            load_raw(folder)

    def test_one_split_is_divided_and_labels_may_lack(self, datasets, images, tmp_path):
        labels = [-1, *(number % 3 for number in range(11))]
        folder = str(tmp_path / "shapes")
        self.made(datasets, images, label=labels).save_to_disk(folder)
        columns = ["image=photo", "text=captions"]
        pairs = load_raw(folder, columns=columns, cache_dir=tmp_path, seed=1)
        assert len(pairs.train) + len(pairs.test) == 24
        assert [pair.label for pair in pairs.train[:2]] == [None, None]

    # The library leaves metadata files open.
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    def test_a_folder_of_files_by_name(self, datasets, images, tmp_path):
        folder = tmp_path / "files"
        (folder / "train").mkdir(parents=True)
        for path in images:
            path.rename(folder / "train" / path.name)
        lines = [f"{path.name},text of {path.stem},{int(path.stem) % 3}" for path in images]
        table = "\n".join(["file_name,caption,kind", *lines])
        (folder / "train" / "metadata.csv").write_text(table)
        columns = ["text=caption", "label=kind"]
        with warnings.catch_warnings():
            # The library leaves the table open, until its reader is collected.
            warnings.simplefilter("ignore", ResourceWarning)
            pairs = load_raw(
                f"hf:{folder}", str(tmp_path / "hub"), columns=columns, cache_dir=tmp_path, seed=1
            )
            gc.collect()
        assert pairs.name == "files" and pairs.label_names == ("0", "1", "2")
        assert len(pairs.train) + len(pairs.test) == 12

    def test_images_elsewhere_are_not_read(self, datasets, images, tmp_path):
        (tmp_path / "files").mkdir()
        self.made(datasets, images).to_parquet(tmp_path / "files" / "train.parquet")
        columns = ["image=photo", "text=captions"]
        with pytest.raises(InputError, match="names the image '.*0.png' outside its folder"):
            load_raw(f"hf:{tmp_path / 'files'}", str(tmp_path / "hub"), columns=columns)

    def test_what_cannot_be_loaded(self, datasets, tmp_path):
        (tmp_path / "broken").mkdir()
        (tmp_path / "broken" / "state.json").write_text("{")
        with pytest.raises(InputError, match="Hugging Face's library cannot load it"):
            load_raw(str(tmp_path / "broken"))
        with pytest.raises(InputError, match="hf:none/such: Hugging Face's library cannot load"):
            load_raw("hf:none/such", str(tmp_path))

    def test_without_the_library(self, tmp_path, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "datasets", None)
        with pytest.raises(InputError, match=r"pip install .xgacmn_tf\[huggingface\]"):
            load_raw("hf:none/such")


@pytest.mark.skipif(importlib.util.find_spec("tensorflow_datasets") is None, reason="needs TFDS")
class TestTFDS:
    @pytest.fixture
    def data_dir(self, tmp_path, images):
        import tensorflow as tf
        import tensorflow_datasets as tfds

        def rows(paths):
            return tf.data.Dataset.from_tensor_slices(
                {
                    "image": [path.read_bytes() for path in paths],
                    "captions": [[f"größe {path.stem}", "b"] for path in paths],
                    "label": [number % 3 for number in range(len(paths))],
                }
            ).map(lambda row: {**row, "image": tf.io.decode_png(row["image"])})

        tfds.dataset_builders.store_as_tfds_dataset(
            name="shapes",
            version="1.0.0",
            data_dir=str(tmp_path / "tfds"),
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(72, 96, 3), encoding_format="png"),
                    "captions": tfds.features.Sequence(tfds.features.Text()),
                    "label": tfds.features.ClassLabel(names=NAMES),
                }
            ),
            split_datasets={"train": rows(images[:9]), "test": rows(images[9:])},
            disable_shuffling=True,
        )
        return str(tmp_path / "tfds")

    def test_images_and_texts(self, data_dir, images, tmp_path):
        pairs = load_raw("tfds:shapes", data_dir, columns=["text=captions"], cache_dir=tmp_path)
        assert pairs.name == "shapes" and pairs.label_names == tuple(NAMES)
        assert (len(pairs.train), len(pairs.test)) == (18, 6)
        assert [pair.text for pair in pairs.train[:2]] == ["größe 0", "b"]
        expected = Image.open(images[0]).convert("RGB")
        assert open_image(pairs.train[0].image).tobytes() == expected.tobytes()
        assert pairs.train[2].label == 1

    def test_a_missing_column(self, data_dir):
        with pytest.raises(InputError, match="text is missing; the columns are"):
            load_raw("tfds:shapes", data_dir)
