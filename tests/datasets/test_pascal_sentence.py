"""Pascal Sentence: pictures and sentences, and released features, on copies of their layouts."""

import collections
import json
import shutil

import numpy as np
import pytest
import scipy.io
from sklearn.feature_extraction.text import TfidfVectorizer

from xgacmn_tf.datasets import load, load_raw, pascal_sentence
from xgacmn_tf.datasets.pascal_sentence import CLASSES, FEATURES, RELEASE_CLASSES
from xgacmn_tf.errors import InputError


@pytest.fixture
def folder(tmp_path):
    """52 pictures of each class; half the classes have the dot before "txt" left out."""
    for number, name in enumerate(CLASSES):
        for kind in ("dataset", "sentence"):
            (tmp_path / kind / name).mkdir(parents=True)
        for row in range(52):
            stem = f"2008_{number:02}{row:04}"
            (tmp_path / "dataset" / name / f"{stem}.jpg").touch()
            ending = ".txt" if number % 2 else "txt"
            (tmp_path / "sentence" / name / f"{stem}{ending}").write_text(
                f"One {name}. \n\nThe same, {stem}.\nA third.\n"
            )
    return tmp_path


def counts(split):
    return collections.Counter(pair.label for pair in split)


@pytest.mark.parametrize(("protocol", "sizes"), [("900", (45, 0, 7)), ("800", (40, 5, 7))])
def test_splits_have_each_class_alike_and_lose_no_pair(folder, protocol, sizes):
    pairs = load_raw("pascal_sentence", str(folder), protocol, seed=1)
    assert pairs.label_names == CLASSES and pairs.name == f"pascal_sentence_{protocol}"
    splits = (pairs.train, pairs.validation, pairs.test)
    for split, size in zip(splits, sizes, strict=True):
        assert counts(split) == ({label: size for label in range(20)} if size else {})
    everything = [pair for split in splits for pair in split]
    assert len({pair.id for pair in everything}) == 20 * 52
    for pair in everything:
        name, stem = pair.id.split("/")
        assert CLASSES[pair.label] == name
        assert pair.image == folder / "dataset" / name / f"{stem}.jpg"
        assert pair.text == f"One {name}. The same, {stem}. A third."


def test_sentences_apart_are_pairs_of_one_group_in_the_split_of_900(folder):
    joined = load_raw("pascal_sentence", str(folder), "900", seed=1)
    apart = load_raw("pascal_sentence", str(folder), "900_sentences", seed=1)
    for part, images in joined.splits().items():
        pairs = apart.splits()[part]
        assert len(pairs) == 3 * len(images)
        assert len({pair.id for pair in pairs}) == len(pairs)
        by_group = collections.defaultdict(list)
        for pair in pairs:
            by_group[pair.group].append(pair)
        assert list(by_group) == [pair.id for pair in images]
        for whole in images:
            own = by_group[whole.id]
            assert " ".join(pair.text for pair in own) == whole.text
            assert {(pair.image, pair.label) for pair in own} == {(whole.image, whole.label)}


def test_only_the_seed_changes_the_split(folder):
    def ids(seed):
        return [pair.id for pair in load_raw("pascal_sentence", str(folder), "900", seed).test]

    assert ids(0) == ids(0) != ids(1)


def test_nine_hundred_is_the_default(folder):
    assert load_raw("pascal_sentence", str(folder)) == load_raw(
        "pascal_sentence", str(folder), "900"
    )


def test_files_that_folders_collect_are_no_pairs(folder):
    (folder / "dataset" / "cat" / "Thumbs.db").touch()
    (folder / "dataset" / "cat" / ".jpg").touch()
    (folder / "sentence" / "cat" / ".DS_Store").touch()
    assert len(load_raw("pascal_sentence", str(folder)).train) == 900


def test_capital_endings_and_a_folder_around(folder):
    (folder / "pascal_sentence").mkdir()
    for kind in ("dataset", "sentence"):
        (folder / kind).rename(folder / "pascal_sentence" / kind)
    picture = next((folder / "pascal_sentence" / "dataset" / "cow").iterdir())
    picture.rename(picture.with_suffix(".JPG"))
    assert len(load_raw("pascal_sentence", str(folder)).train) == 900


def test_all_that_is_missing_is_named_at_once(folder):
    shutil.rmtree(folder / "dataset" / "sheep")
    (folder / "dataset" / "cat" / "2008_070003.jpg").unlink()
    (folder / "sentence" / "dog" / "2008_110004.txt").unlink()
    with pytest.raises(InputError) as caught:
        load_raw("pascal_sentence", str(folder))
    assert str(caught.value).startswith(
        f"Missing in {folder}: dataset/cat/2008_070003.jpg, sentence/dog/2008_110004.txt, "
        "dataset/sheep/*.jpg. Images and sentences come from the page of Rashtchian et al. 2010"
    )


def test_broken_sentences(folder):
    path = folder / "sentence" / "dog" / "2008_110004.txt"
    path.write_text("\n \n")
    with pytest.raises(InputError, match="2008_110004.txt is empty; expected one sentence a line"):
        load_raw("pascal_sentence", str(folder))
    path.write_bytes("A dog.\nAt the café.\n".encode("latin-1"))
    with pytest.raises(InputError, match="2008_110004.txt is not UTF-8 text: line 2"):
        load_raw("pascal_sentence", str(folder))


def test_a_class_with_too_few_pictures(folder):
    for kind in ("dataset", "sentence"):
        for path in sorted((folder / kind / "bus").iterdir())[45:]:
            path.unlink()
    with pytest.raises(
        InputError, match="class bus has 45 images; protocol 900 needs more than 45"
    ):
        load_raw("pascal_sentence", str(folder))


def test_unknown_protocols_and_no_folder(folder):
    with pytest.raises(InputError, match="'1000' for data set .* 900, 800, 900_sentences"):
        load_raw("pascal_sentence", str(folder), "1000")
    with pytest.raises(InputError, match="'pascal_sentence' needs data_dir.*dataset/.*sentence/"):
        load_raw("pascal_sentence", None)
    with pytest.raises(InputError, match="have a split of their own, 800, and not '900'; leave"):
        load("pascal_sentence", str(folder), "900")


@pytest.fixture
def release(tmp_path):
    """The six files with 8 + 4 pairs; labels are a column, as MATLAB saves vectors."""
    for part, rows in (("train", 8), ("test", 4)):
        arrays = {
            "img": np.arange(rows)[:, None] + np.zeros((1, 6)),
            "txt": -np.arange(rows)[:, None] + np.zeros((1, 3)),
            "img_lab": (np.arange(rows) % 3 + 17)[:, None],
        }
        for kind, array in arrays.items():
            scipy.io.savemat(tmp_path / f"{part}_{kind}.mat", {f"{part}_{kind}": array})
    return tmp_path


@pytest.mark.parametrize("protocol", [None, "800"])
def test_the_release(release, protocol):
    dataset = load("pascal_sentence", str(release), protocol)
    assert dataset.name == "pascal_sentence_released" and dataset.validation is None
    assert (dataset.image_dim, dataset.text_dim, dataset.num_classes) == (6, 3, 20)
    assert dataset.train.label.tolist() == [17, 18, 19, 17, 18, 19, 17, 18]
    assert [dataset.label_names[k] for k in (0, 17, 18, 19)] == [
        "bicycle", "train", "tvmonitor", "aeroplane",
    ]  # fmt: skip
    np.testing.assert_array_equal(dataset.test.image[:, 5], [0, 1, 2, 3])
    np.testing.assert_array_equal(dataset.test.text[:, 0], [0, -1, -2, -3])


def test_an_incomplete_release_says_what_else_would_do(release):
    (release / "train_img.mat").unlink()
    with pytest.raises(InputError) as caught:
        load("pascal_sentence", str(release))
    message = str(caught.value)
    assert message.startswith(f"Missing in {release}: train_img.mat. ")
    assert "Zhen et al. 2019" in message and "name image_features and text_features" in message
    assert "the rows of its arrays carry no ids" in message


def test_broken_releases(release):
    path = release / "test_txt.mat"
    content = path.read_bytes()
    path.write_bytes(content[:-40])
    with pytest.raises(InputError, match="test_txt.mat: damaged"):
        load("pascal_sentence", str(release))
    scipy.io.savemat(path, {"txt": np.ones((4, 3))})
    with pytest.raises(InputError, match="test_txt.mat lacks test_txt; .*found txt"):
        load("pascal_sentence", str(release))
    scipy.io.savemat(path, {"test_txt": np.ones((3, 3))})
    with pytest.raises(InputError, match="text_test has 3 rows, image_test has 4"):
        load("pascal_sentence", str(release))
    scipy.io.savemat(path, {"test_txt": np.ones((4, 2))})
    with pytest.raises(InputError, match="text_test has 2 columns, text_train has 3"):
        load("pascal_sentence", str(release))
    path.write_bytes(content)
    scipy.io.savemat(release / "test_img_lab.mat", {"test_img_lab": np.full((4, 1), 20)})
    with pytest.raises(InputError, match="label_test holds 20 at row 0; expected .* 0 to 19"):
        load("pascal_sentence", str(release))


def test_real_captions(pascal_sentence_dir, tmp_path):
    """The 1,000 real captions, laid out as their usual script leaves them."""
    captions = json.loads((pascal_sentence_dir / "pascal_sentences.json").read_text())
    for name, entry in captions.items():
        for kind, file, content in (
            ("dataset", name, ""),
            ("sentence", name.replace(".jpg", "txt"), "\n".join(entry["captions"]) + "\n"),
        ):
            path = tmp_path / kind / entry["category"] / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
    pairs = load_raw("pascal_sentence", str(tmp_path))
    assert (len(pairs.train), len(pairs.test)) == (900, 100)
    assert counts(pairs.test) == {label: 5 for label in range(20)}
    for pair in pairs.train + pairs.test:
        category, stem = pair.id.split("/")
        entry = captions[f"{stem}.jpg"]
        assert entry["category"] == category
        assert pair.text == " ".join(entry["captions"])


def test_the_real_release_lacks_a_file(pascal_sentence_dir):
    with pytest.raises(InputError, match=r"Missing in .*pascal_sentence: train_img.mat\. "):
        load("pascal_sentence", str(pascal_sentence_dir))


def test_real_features(pascal_sentence_dir, tmp_path):
    """The real test split, cut anew into 80 training and 20 test pairs: 4 and 1 of each class."""
    first = np.arange(100) % 5 == 0  # its rows come in runs of five of a class
    for kind in ("img", "txt", "img_lab"):
        array = scipy.io.loadmat(pascal_sentence_dir / f"test_{kind}.mat")[f"test_{kind}"]
        scipy.io.savemat(tmp_path / f"train_{kind}.mat", {f"train_{kind}": array[~first]})
        scipy.io.savemat(tmp_path / f"test_{kind}.mat", {f"test_{kind}": array[first]})
    dataset = load("pascal_sentence", str(tmp_path))
    assert (dataset.image_dim, dataset.text_dim) == (4096, 300)
    assert np.bincount(dataset.train.label).tolist() == [4] * 20
    assert np.bincount(dataset.test.label).tolist() == [1] * 20
    assert (dataset.train.image >= 0).all()  # behind a rectifier


def test_the_releases_numbering_of_the_classes(pascal_sentence_dir):
    """Which class a number stands for is not said; the likeness of classes tells.

    Class by class, mean tf-idf of real captions is compared with mean released features: under
    the right order the two matrices of cosines agree, under every other rotation they do not.
    """

    def likeness(features, labels):
        means = np.stack([features[labels == label].mean(axis=0) for label in range(20)])
        means -= means.mean(axis=0)
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        return means @ means.T

    captions = json.loads((pascal_sentence_dir / "pascal_sentences.json").read_text()).values()
    words = TfidfVectorizer(stop_words="english").fit_transform(
        " ".join(entry["captions"]) for entry in captions
    )
    by_name = likeness(words.toarray(), np.array([CLASSES.index(e["category"]) for e in captions]))
    upper = np.triu_indices(20, 1)
    for part, kind in (("train", "txt"), ("test", "txt"), ("test", "img")):
        keys = [f"{part}_{kind}", f"{part}_img_lab"]
        features, labels = (scipy.io.loadmat(pascal_sentence_dir / f"{k}.mat")[k] for k in keys)
        released = likeness(features, labels.ravel())
        agreement = []
        for shift in range(20):
            order = np.roll(np.arange(20), -shift)
            agreement.append(
                np.corrcoef(by_name[np.ix_(order, order)][upper], released[upper])[0, 1]
            )
        best = int(np.argmax(agreement))
        assert tuple(np.roll(CLASSES, -best)) == RELEASE_CLASSES
        assert agreement[best] > 0.6 > 3 * np.sort(agreement)[-2]


def test_the_dummy_data_of_the_builder_have_the_layout():
    folder = pascal_sentence.__path__[0] + "/dummy_data"
    dataset = load("pascal_sentence", folder)
    assert (dataset.image_dim, dataset.text_dim, len(FEATURES)) == (4096, 300, 6)
