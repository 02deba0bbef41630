"""The NUS-WIDE reader, on small copies of the distribution's layout, oddities included."""

import re
import shutil

import numpy as np
import pytest

from tests.datasets import nuswide_layout as layout
from xgacmn_tf.datasets import load, load_raw, nuswide
from xgacmn_tf.datasets.nuswide import splits
from xgacmn_tf.datasets.nuswide.nuswide_dataset_builder import CONCEPTS
from xgacmn_tf.errors import InputError

ROWS = 40


def labels(rows: int = ROWS) -> np.ndarray:
    """(rows, 81): each row has one or two concepts, every eighth none."""
    hot = np.zeros((rows, 81), np.uint8)
    for row in range(rows):
        if row % 8:
            hot[row, [row % 5, row % 3 + 40]] = 1
    return hot


@pytest.fixture
def folder(tmp_path):
    folder = layout.write(tmp_path / "nuswide", labels())
    layout.write_images(folder, ROWS)
    return folder


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """What protocol 10k draws from: 1,005 pictures with one of each of its ten concepts, two of
    them of one photo, 300 with two concepts and 200 with none."""
    hot = np.zeros((10_550, 10), np.uint8)
    hot[np.arange(10_050), np.arange(10_050) % 10] = 1
    hot[np.arange(10_050, 10_350), np.arange(300) % 10] = 1
    hot[np.arange(10_050, 10_350), np.arange(300) % 9 + 1] |= 1
    hot = hot[np.random.default_rng(0).permutation(len(hot))]
    folder = tmp_path_factory.mktemp("large")
    layout.write(folder, hot, low_level_names=("CH",), concepts=splits.CONCEPTS_10K)
    layout.write_images(folder, len(hot))
    return folder, hot


def rows_of(split) -> np.ndarray:
    """The rows of a split's pairs, by their ids."""
    return np.array([int(name.split("/")[1].split("_")[0]) - 1 for name in split.id])


@pytest.mark.parametrize("whole", [True, False])
def test_full(tmp_path, whole):
    """The two lists' pairs that have any concept, in the lists' order; halves give the same."""
    folder = layout.write(tmp_path, labels(), whole=whole)
    dataset = load("nuswide", str(folder), "full")
    assert dataset.name == "nuswide_full" and dataset.label_names == CONCEPTS
    assert dataset.validation is None
    names = ("CH", "CORR", "EDH", "WT", "CM55", "BoW")
    image = np.hstack([layout.low_level(name, ROWS) for name in names])
    assert image.shape == (ROWS, 1134)
    for split, listed in zip((dataset.train, dataset.test), layout.halves(ROWS), strict=True):
        rows = listed[listed % 8 != 0]
        assert rows_of(split).tolist() == rows.tolist()
        np.testing.assert_array_equal(split.image, image[rows].astype(np.float32))
        np.testing.assert_array_equal(split.text, layout.tags(ROWS)[rows])
        np.testing.assert_array_equal(split.label, labels()[rows])


def test_ids_and_titles(folder):
    ids = []
    for _, split in load("nuswide", str(folder), "full").splits():
        ids += split.id.tolist()
        for row, title in zip(rows_of(split), split.title, strict=True):
            there = [f"tag{column}" for column in np.flatnonzero(layout.tags(ROWS)[row])]
            assert title == " ".join(there)
            assert bool(title) == (row % 10 != 0)
    assert {"actor/0003_702409954", "actor/0006_702409954"} <= set(ids)  # one photo


def test_long_titles_are_cut_at_a_word(folder):
    path = folder / "NUS_WID_Tags" / "TagList1k.txt"
    path.write_text("".join(f"{'x' * 30}{column}\n" for column in range(1000)))
    title = max(load("nuswide", str(folder), "full").train.title, key=len)
    assert len(title) <= 120 and title.endswith(" …") and title.count("x" * 30) == 3


@pytest.mark.parametrize(("kind", "name"), [("cm55", "CM55"), ("bow500", "BoW")])
def test_one_kind_of_low_level_features(folder, kind, name):
    for path in (folder / "Low_Level_Features").iterdir():
        if name not in path.name:
            path.unlink()  # only the one that is named is needed
    dataset = load("nuswide", str(folder), "full", image_features=kind)
    rows = rows_of(dataset.test)
    np.testing.assert_array_equal(dataset.test.image, layout.low_level(name, ROWS)[rows])
    with pytest.raises(InputError, match="Missing in .*Normalized_CH.dat, .*_CORR.dat"):
        load("nuswide", str(folder), "full")


def test_10k(large):
    folder, hot = large
    dataset = load("nuswide", str(folder), seed=3, image_features="ch")
    assert dataset.name == "nuswide_10k" and dataset.label_names == splits.CONCEPTS_10K
    parts = dict(dataset.splits())
    assert {part: len(split) for part, split in parts.items()} == {
        "train": 8000,
        "validation": 1000,
        "test": 1000,
    }
    drawn = np.concatenate([rows_of(split) for split in parts.values()])
    assert len(set(drawn.tolist())) == 10_000
    assert not set(drawn.tolist()) & {row for row, _ in layout.TWICE}
    for split in parts.values():
        rows = rows_of(split)
        assert (np.diff(rows) > 0).all()
        assert (np.bincount(split.label) == len(split) / 10).all()
        assert (hot[rows].sum(axis=1) == 1).all()
        np.testing.assert_array_equal(hot[rows].argmax(axis=1), split.label)
        np.testing.assert_array_equal(split.image, layout.low_level("CH", len(hot))[rows])
        np.testing.assert_array_equal(split.text, layout.tags(len(hot))[rows])


def test_the_seed_draws_the_10k(large):
    folder = str(large[0])
    first, again, other = (
        [
            [pair.id for pair in part]
            for part in load_raw("nuswide", folder, "10k", s).splits().values()
        ]
        for s in (3, 3, 4)
    )
    assert first == again != other


def test_raw_pairs_of_the_10k_are_the_same(large):
    folder = str(large[0])
    pairs = load_raw("nuswide", folder, seed=3)
    dataset = load("nuswide", folder, seed=3, image_features="ch")
    assert pairs.name == dataset.name and pairs.label_names == dataset.label_names
    for part, split in dataset.splits():
        assert [pair.id for pair in pairs.splits()[part]] == split.id.tolist()
        assert [pair.label for pair in pairs.splits()[part]] == split.label.tolist()


def test_raw_pairs_of_the_full_set(folder):
    pairs = load_raw("nuswide", str(folder), "full")
    dataset = load("nuswide", str(folder), "full")
    for part, split in dataset.splits():
        assert [pair.id for pair in pairs.splits()[part]] == split.id.tolist()
        for row, pair in zip(rows_of(split), pairs.splits()[part], strict=True):
            assert pair.label == tuple(sorted({row % 5, row % 3 + 40}))
            assert pair.text == layout.text(row)
            listed = layout.pictures(ROWS)[row]
            assert pair.image == folder / "Flickr" / listed.replace("\\", "/")


def test_own_texts_are_those_of_the_features(folder):
    train = load("nuswide", str(folder), "full").train
    order = np.random.default_rng(0).permutation(len(train))
    files = nuswide.DISTRIBUTION.open(str(folder))
    np.testing.assert_array_equal(nuswide.own_texts(files, train.id[order]), train.text[order])
    with pytest.raises(InputError, match="Imagelist.txt lists no image actor/9_9.jpg"):
        nuswide.own_texts(files, np.array(["actor/9_9"]))


def test_lists_from_windows_and_the_concepts_beside_the_folders(folder):
    expected = load("nuswide", str(folder), "full").fingerprint
    for path in (folder / "ImageList").iterdir():
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    (folder / "ConceptsList" / "Concepts81.txt").rename(folder / "Concepts81.txt")
    assert load("nuswide", str(folder.parent), "full").fingerprint == expected  # one level down


def test_whole_files_are_preferred(tmp_path):
    """The halves of the labels have a known error that the whole files do not."""
    layout.write(tmp_path, labels())
    expected = load("nuswide", str(tmp_path), "full").fingerprint
    layout.write(tmp_path, 1 - labels(), whole=False)
    assert load("nuswide", str(tmp_path), "full").fingerprint == expected
    (tmp_path / "Groundtruth" / "AllLabels" / "Labels_zebra.txt").unlink()
    dataset = load("nuswide", str(tmp_path), "full")
    assert dataset.train.label[:, 80].all()  # of halves, each concept on its own


def edit(path, line: int, found: str, instead: str) -> None:
    """Replaces `found` in one line, counted from 1."""
    lines = path.read_bytes().split(b"\n")
    assert found.encode() in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(found.encode(), instead.encode("latin-1"), 1)
    path.write_bytes(b"\n".join(lines))


TAGS, LABELS = "NUS_WID_Tags/AllTags1k.txt", "Groundtruth/AllLabels/Labels_lake.txt"
LIST, TRAIN = "ImageList/Imagelist.txt", "ImageList/TrainImagelist.txt"


@pytest.mark.parametrize(
    ("file", "line", "found", "instead", "message"),
    [
        (TAGS, 7, "0\t0\t", "0\t", "line 7: found 999 values; expected 1,000"),
        (TAGS, 7, "0\t0", "0\t0\t0", "line 7: found 1,001 values; expected 1,000"),
        (TAGS, 3, "0\t0", "0\t\xe9", r"line 3: found 1,000 values, b'\\xe9' among"),
        (
            LABELS,
            9,
            "0",
            "-1130179",
            "line 9: found 1 values, b'-1130179' among them; expected 1, each",
        ),
        (LABELS, 9, "0", "", "line 9: found 0 values; expected 1"),
        (
            "Low_Level_Features/Normalized_WT.dat",
            40,
            " ",
            " x",
            r"line 40: found 128 values, b'x[\d.]+' among them; expected 128, finite numbers",
        ),
        ("Low_Level_Features/BoW_int.dat", 2, " ", "", "line 2: found 499 values; expected 500"),
        (LIST, 4, "\\", "", r"line 4: found 'actor0004_\d+.jpg', expected a path such as actor"),
        (LIST, 4, "actor", "..", r"line 4: found '../0004_\d+.jpg', expected a path"),
        (LIST, 4, "actor", "a/b", r"line 4: found 'a/b/0004_\d+.jpg', expected a path"),
        (LIST, 4, "actor", "\xe9", "is not UTF-8 text: line 4 holds the byte 0xe9"),
        (TRAIN, 2, ".jpg", "0.jpg", r"line 2: '\w+/\d+_\d+0.jpg' is not in .*Imagelist.txt"),
        (
            "ConceptsList/Concepts81.txt",
            5,
            "birds",
            "bear",
            "line 4: the name 'bear' is in 2 lines",
        ),
        ("ConceptsList/Concepts81.txt", 5, "birds", "", "line 5: empty, expected a name"),
        ("NUS_WID_Tags/TagList1k.txt", 5, "tag4\n"[:-1], "", "line 5: empty, expected a name"),
    ],
)
def test_damaged_copies(folder, file, line, found, instead, message):
    edit(folder / file, line, found, instead)
    with pytest.raises(InputError, match=f"{folder / file}(, | ){message}") as caught:
        load("nuswide", str(folder), "full")
    assert len(str(caught.value).splitlines()) == 1


def test_a_picture_that_stands_twice(folder):
    path = folder / LIST
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:8], lines[3], *lines[9:]]))
    with pytest.raises(InputError, match=r"line 4: the image 'actor/0004_\d+.jpg' is in 2 lines"):
        load("nuswide", str(folder), "full")


def test_photos_that_stand_twice(folder):
    """Six do in the real list; any other, or a third time, is an error."""
    load_raw("nuswide", str(folder), "full")
    sound = (folder / LIST).read_text()
    for photo, line in (("2124494182", 4), ("702409954", 3)):
        edit(folder / LIST, 9, "2124494187", photo)
        message = f"line {line}: the photo id '{photo}' is in [23] lines"
        with pytest.raises(InputError, match=message):
            load_raw("nuswide", str(folder), "10k")
        (folder / LIST).write_text(sound)


@pytest.mark.parametrize(
    "file", [TAGS, LABELS, "Low_Level_Features/Normalized_CH.dat", "NUS_WID_Tags/All_Tags.txt"]
)
def test_files_that_are_cut_off(folder, file):
    content = (folder / file).read_bytes()
    (folder / file).write_bytes(b"".join(content.splitlines(keepends=True)[:31]))
    read = load_raw if "All_Tags" in file else load
    with pytest.raises(InputError, match=f"{file} ends after line 31, expected 40 lines"):
        read("nuswide", str(folder), "full")
    # Rows more than the list has pictures belong to another release.
    (folder / file).write_bytes(content + content.splitlines(keepends=True)[0])
    with pytest.raises(InputError, match=f"{file} has more than 40|{file}, line 41: .*the end"):
        read("nuswide", str(folder), "full")


def test_lists_that_are_cut_off(folder):
    for name in (TRAIN, LIST):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(b"".join(content.splitlines(keepends=True)[:-2]))
        with pytest.raises(InputError, match="is in both or neither of|is not in"):
            load("nuswide", str(folder), "full")
        (folder / name).write_bytes(content)
    test = folder / "ImageList" / "TestImagelist.txt"
    test.write_bytes(test.read_bytes() + (folder / TRAIN).read_bytes().splitlines()[0])
    with pytest.raises(InputError, match=r"Imagelist.txt, line \d+: .* is in both or neither"):
        load("nuswide", str(folder), "full")


def test_empty_and_short_name_lists(folder):
    for name, message in (("", ", line 1: empty"), ("sky\nsea\n", " has 2 lines, expected 81")):
        (folder / "ConceptsList" / "Concepts81.txt").write_text(name)
        with pytest.raises(InputError, match=f"Concepts81.txt{message}"):
            load("nuswide", str(folder), "full")


def test_tags_of_another_order_and_no_text(folder):
    path = folder / "NUS_WID_Tags" / "All_Tags.txt"
    content = path.read_bytes()
    lines = content.splitlines(keepends=True)
    path.write_bytes(b"".join([lines[1], lines[0], *lines[2:]]))
    with pytest.raises(InputError, match="line 1: found photo id '2124494180', expected '21244941"):
        load_raw("nuswide", str(folder), "full")
    path.write_bytes(content.replace("été".encode(), "été".encode("latin-1")))
    with pytest.raises(InputError, match=r"All_Tags.txt, line \d+: not UTF-8 text"):
        load_raw("nuswide", str(folder), "full")


def test_missing_files_are_named_at_once(folder):
    for name in (TAGS, LIST, "Low_Level_Features/BoW_int.dat"):
        (folder / name).unlink()
    with pytest.raises(InputError) as caught:
        load("nuswide", str(folder), "full")
    message = str(caught.value)
    assert f"Missing in {folder}: {LIST}, {TAGS}, Low_Level_Features/BoW_int.dat." in message
    assert "Chua et al. 2009" in message and "cannot be downloaded by a program" in message
    assert "Normalized_{CH,CORR,EDH,WT,CM55}.dat" in message and len(message.splitlines()) == 1


def test_missing_labels_concepts_and_halves(tmp_path):
    folder = layout.write(tmp_path, labels(), whole=False)
    (folder / "Groundtruth" / "TrainTestLabels" / "Labels_sky_Test.txt").unlink()
    with pytest.raises(InputError, match="Missing in .*: Groundtruth/AllLabels/Labels_sky.txt."):
        load("nuswide", str(folder), "full")
    with pytest.raises(InputError, match="Missing in .*: Groundtruth/AllLabels/Labels_sky.txt."):
        load("nuswide", str(folder), "10k")
    (folder / "ConceptsList" / "Concepts81.txt").unlink()
    (folder / TRAIN).unlink()
    with pytest.raises(InputError, match=f"{TRAIN}, ConceptsList/Concepts81.txt."):
        load("nuswide", str(folder), "full")
    with pytest.raises(InputError, match=f"{TRAIN}, .*Labels_sky.txt."):  # for the halves of others
        load("nuswide", str(folder), "10k")


def test_missing_pictures_and_folders(folder):
    shutil.rmtree(folder / "Flickr")
    expected = r"0 of 35 images found; expected Flickr/\w+/\d+_\d+.jpg, or \d+.jpg in any folder"
    with pytest.raises(InputError, match=expected):
        load_raw("nuswide", str(folder), "full")
    with pytest.raises(InputError, match=re.escape("needs data_dir") + ".*Imagelist.txt"):
        load("nuswide", None)
    for name in ("10k", "nowhere"):  # before a protocol or features that do not exist
        with pytest.raises(InputError, match="--data_dir=.*nowhere: there is no such folder"):
            load("nuswide", str(folder / "nowhere"), name, image_features="gist")


def test_features_that_are_there_instead_of_those_missing(folder):
    (folder / "Low_Level_Features" / "BoW_int.dat").unlink()
    with pytest.raises(InputError) as caught:
        load("nuswide", str(folder), "full")
    assert (
        "Low_Level_Features/BoW_int.dat. The low-level features that are there: ch, corr, edh, wt, "
        "cm55. lowlevel634 is the first five side by side, 634-D. Ask for one by "
        "--image_features=lowlevel634. "
    ) in str(caught.value)
    dataset = load("nuswide", str(folder), "full", image_features="lowlevel634")
    rows = rows_of(dataset.test)
    image = np.hstack([layout.low_level(name, ROWS)[rows] for name in layout.WIDTHS])
    assert image.shape[1] == 634
    np.testing.assert_array_equal(dataset.test.image, image.astype(np.float32))


def test_too_few_pictures_for_the_10k(folder):
    with pytest.raises(InputError, match="concept 'animal' has .* needs 1,000"):
        load("nuswide", str(folder), "10k")


def test_unknown_protocols_and_features(folder):
    with pytest.raises(InputError, match="'20k' for data set 'nuswide'; .* 10k, full"):
        load("nuswide", str(folder), "20k")
    own = "lowlevel, lowlevel634, ch, corr, edh, wt, cm55, bow500"
    shutil.rmtree(folder / "ImageList")  # names are checked before files
    with pytest.raises(
        InputError, match=f"features=gist is unknown .* allowed are {own}, eff.*vgg"
    ):
        load("nuswide", str(folder), image_features="gist")
    with pytest.raises(InputError, match="--text_features=gist is unknown .* allowed are bow, lda"):
        load("nuswide", str(folder), image_features="vgg19", text_features="gist")
