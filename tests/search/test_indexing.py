"""Galleries from folders and files: what is in them, what is kept, what is noticed."""

import os
import re

import numpy as np
import pytest
from PIL import Image

from xgacmn_tf.errors import InputError
from xgacmn_tf.gallery import Gallery
from xgacmn_tf.io.files import read_json, write_json
from xgacmn_tf.runs.trained import TrainedRun
from xgacmn_tf.search import indexing
from xgacmn_tf.search.indexing import open_source, pictures_in, texts_in
from xgacmn_tf.search.kept import KeptGallery, _check_size, default_folder


@pytest.fixture(scope="module")
def run(colour_run):
    return TrainedRun(colour_run)


@pytest.fixture
def said():
    return []


@pytest.fixture
def kept(run, tmp_path, said):
    """Indexes what a path names, in `tmp_path`/index."""

    def make(path, modality="image", index_dir=tmp_path / "index", run=run):
        return KeptGallery(index_dir, run, open_source(run, path), modality, said.append)

    return make


@pytest.fixture
def encoded(monkeypatch):
    """How many items were read and encoded, shard by shard."""
    counts = []
    real = indexing.make_shard

    def counting(extractor, items, *arguments):
        counts.append(len(items))
        return real(extractor, items, *arguments)

    monkeypatch.setattr(indexing, "make_shard", counting)
    return counts


def test_a_folder_is_searched_whole_but_for_hidden_and_other_files(photos):
    (photos / "notes.txt").write_text("no picture")
    (photos / ".cache").mkdir()
    for hidden in (".cache/a.png", ".b.png"):
        (photos / hidden).write_bytes(b"")
    source = pictures_in(photos)
    assert list(source.id) == ["more/leaf.webp", "rose.png", "sea.jpg"]
    assert list(source.title) == ["leaf", "rose", "sea"]


def test_embeddings_of_a_folder_are_those_of_its_pictures(kept, photos):
    items = kept(photos).items
    rose = np.array([200, 20, 10]) / np.sqrt(200**2 + 20**2 + 10**2)
    np.testing.assert_allclose(items.features["image"][1], rose, rtol=1e-6)
    assert items.thumbnail is not None and items.thumbnail[1][8:12] == b"WEBP"


def test_the_second_time_nothing_is_read(kept, photos, encoded, said):
    first = kept(photos)
    assert encoded == [3]
    for path in photos.rglob("*.*"):
        if path.is_file():  # Unreadable from now on, but not changed.
            state = path.stat()
            path.write_bytes(b"x" * state.st_size)
            os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    said.clear()
    second = kept(photos)
    assert encoded == [3] and said == []
    np.testing.assert_array_equal(second.items.features["image"], first.items.features["image"])
    assert list(second.items.id) == list(first.items.id)
    assert second.items.thumbnail == first.items.thumbnail


def test_of_a_changed_folder_only_what_is_new_is_read(kept, photos, encoded, said):
    kept(photos)
    Image.new("RGB", (9, 9), "white").save(photos / "snow.png")
    (photos / "sea.jpg").unlink()
    said.clear()
    items = kept(photos).items
    assert encoded == [3, 1]
    assert list(items.id) == ["more/leaf.webp", "rose.png", "snow.png"]
    np.testing.assert_allclose(items.features["image"][2], np.full(3, 3**-0.5), rtol=1e-6)
    assert "photos has changed since it was indexed; indexing anew" in said[0]


def test_a_copied_image_is_read_once_and_stands_once(kept, photos, encoded, said):
    for name in ("more/copy.png", "z.png"):
        (photos / name).write_bytes((photos / "rose.png").read_bytes())
    items = kept(photos).items
    assert encoded == [3]
    # The first in order of names; the others are in its title.
    assert items.id.tolist() == ["more/copy.png", "more/leaf.webp", "sea.jpg"]
    assert items.title.tolist() == ["copy | rose | z", "leaf", "sea"]
    assert len(items.thumbnail) == len(items.features["image"]) == 3
    assert "indexed 3 pictures, 2 repeated ones merged, in" in said[-1]
    # A file of the same size that is another image is no copy.
    other = bytearray((photos / "rose.png").read_bytes())
    Image.new("RGB", (40, 30), (20, 200, 10)).save(photos / "green.png")
    green = (photos / "green.png").read_bytes()
    (photos / "green.png").write_bytes(green.ljust(len(other), b"\0"))
    assert len(kept(photos).items) == 4


def test_one_image_in_two_formats_stands_once(kept, photos, encoded):
    Image.open(photos / "rose.png").save(photos / "rose.bmp")
    assert kept(photos).items.id.tolist() == ["more/leaf.webp", "rose.bmp", "sea.jpg"]
    assert encoded == [4]  # Their sizes differ.


def test_copies_of_a_bad_image_are_all_named(kept, photos):
    for name in ("torn.png", "torn again.png"):
        (photos / name).write_bytes(b"not a picture")
    for _ in range(2):
        bad = kept(photos).left_out
        assert "torn again.png: cannot be read" in bad[0]
        assert bad[1:] == ["torn.png: the same file as torn again.png, which cannot be used"]


def test_a_gallery_of_captions_holds_each_image_once_and_every_text(kept, tmp_path):
    image = np.repeat(np.eye(3, dtype=np.float32), [3, 1, 1], axis=0)
    text = np.eye(5, 3, dtype=np.float32) + 1
    ids, titles = np.arange(5).astype(str), np.array(list("abcde"))
    Gallery({"image": image, "text": text}, ids, titles).write(tmp_path / "captions.npz")
    images = kept(tmp_path / "captions.npz").items
    assert images.id.tolist() == ["0", "3", "4"] and images.title[0] == "a | b | c"
    assert kept(tmp_path / "captions.npz", "text").items.id.tolist() == ids.tolist()


def test_what_an_older_version_indexed_is_indexed_again(kept, photos, said, encoded):
    record = kept(photos).record
    record.write_text(record.read_text().replace('"each_image_once": true,', ""))
    assert "each_image_once" not in record.read_text()
    said.clear()
    kept(photos)
    assert "an older version indexed an image once for each of its texts; indexing anew" in said[0]
    assert encoded == [3]
    said.clear()
    kept(photos)
    assert said == []


def test_an_index_of_one_modality_is_made_again_with_captions(item_run, tmp_path, said):
    run = TrainedRun(item_run[0])

    def embeddings(captions=True):
        source = open_source(run, None)
        kept = KeptGallery(tmp_path / "index", run, source, "image", said.append, captions)
        return kept.items.features["image"], kept.record

    combined, record = embeddings()
    said.clear()
    assert embeddings()[0].tolist() == combined.tolist() and said == []
    # As older versions wrote it.
    fields = read_json(record)
    assert fields.pop("captions") is True
    write_json(record, fields)
    again, _ = embeddings()
    one = "the index there compares queries with one modality alone; indexing anew"
    assert one in said[0] and again.tolist() == combined.tolist()
    said.clear()
    alone, _ = embeddings(captions=False)
    assert "compares queries with images and captions; indexing anew" in said[0]
    np.testing.assert_allclose(alone, run.represent("image", run.gallery().features["image"][:6]))
    assert np.abs(alone - combined[:, [*range(3), *range(-3, 0)]]).max() > 0.1
    said.clear()
    embeddings()
    assert one in said[0]


def test_of_runs_without_item_embeddings_older_indexes_stay(kept, photos, said):
    record = kept(photos).record
    fields = read_json(record)
    assert fields.pop("captions") is False
    write_json(record, fields)
    said.clear()
    kept(photos)
    assert said == []


def test_a_stopped_extraction_goes_on(kept, photos, encoded, monkeypatch):
    monkeypatch.setattr(indexing, "PART", 1)
    real, counting = indexing.write_json, []

    def stop_at_the_second(path, value):
        counting.append(path)
        if len(counting) == 2:
            raise KeyboardInterrupt
        real(path, value)

    monkeypatch.setattr(indexing, "write_json", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        kept(photos)
    assert encoded == [1, 1]
    assert len(kept(photos).items) == 3
    assert encoded == [1, 1, 1, 1]


def test_a_damaged_part_is_made_again(kept, photos, encoded, tmp_path):
    before = kept(photos).items.features["image"]
    for path in (tmp_path / "index").rglob("*.npz"):
        path.write_bytes(path.read_bytes()[:100])
    np.testing.assert_array_equal(kept(photos).items.features["image"], before)
    assert encoded == [3, 3]


def test_another_run_is_noticed(kept, photos, run, colour_run, encoded, said):
    kept(photos)
    other = TrainedRun(colour_run)
    other.similarity = "dot"
    np.testing.assert_allclose(kept(photos, run=other).items.features["image"][1], [200, 20, 10])
    assert "the index there is for cosine similarity; indexing anew" in said[-2]
    assert encoded == [3]  # The features are the same.


def test_another_gallery_is_noticed(kept, photos, tmp_path, said):
    kept(photos)
    (tmp_path / "texts.txt").write_text("red\n")
    kept(tmp_path / "texts.txt", "text")  # Beside it, not in its place.
    assert len(kept(photos).items) == 3
    (tmp_path / "others").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "others" / "a.png")
    assert len(kept(tmp_path / "others").items) == 1
    assert "the index there is of another gallery, photos" in said[-2]


def test_bad_pictures_are_left_out_and_named_every_time(kept, photos, encoded):
    (photos / "torn.png").write_bytes(b"not a picture")
    for _ in range(2):
        found = kept(photos)
        assert len(found.items) == 3
        assert len(found.left_out) == 1 and "torn.png: cannot be read" in found.left_out[0]
    assert encoded == [4]


def test_a_folder_of_bad_pictures_alone(kept, tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"")
    with pytest.raises(InputError, match="none of its 1 pictures can be used; the first: .*a.png"):
        kept(tmp_path / "bad")


def test_lines_are_texts(kept, tmp_path):
    path = tmp_path / "captions.txt"
    path.write_bytes("\ufeffa red thing\r\n\r\n  blue, blue and green  \nred".encode())
    items = kept(path, "text").items
    assert list(items.id) == ["captions.txt:1", "captions.txt:3", "captions.txt:4"]
    assert list(items.title) == ["a red thing", "blue, blue and green", "red"]
    np.testing.assert_allclose(items.features["text"][1], np.array([0, 1, 2]) / 5**0.5, rtol=1e-6)


def test_a_gallery_file(kept, tmp_path):
    ids = np.array(["a", "b"])
    Gallery({"image": np.eye(3, dtype=np.float32)[:2]}, ids, np.array(["A", "B"])).write(
        tmp_path / "items.npz"
    )
    assert list(kept(tmp_path / "items.npz").items.title) == ["A", "B"]
    with pytest.raises(InputError, match="items.npz holds pictures only, and --image searches"):
        open_source(None, str(tmp_path / "items.npz")).check("text")


def test_a_feature_file_of_a_data_set_is_told_which_names_a_gallery_has(run, tmp_path):
    features = {f"{m}_{part}": np.eye(3) for m in ("image", "text") for part in ("train", "test")}
    np.savez(tmp_path / "items.npz", **features)
    source = open_source(None, str(tmp_path / "items.npz"))
    for modality in ("image", "text"):
        source.check(modality)
        with pytest.raises(InputError, match="expected id, .* such as image_test as image, text_"):
            source.load(run, modality, tmp_path)


def test_posteriors_of_too_many_categories_name_another_similarity():
    class ManyCategories:
        similarity = "posterior"

        def represent(self, modality, features):
            return np.zeros((len(features), 60_000))

    _check_size(ManyCategories(), "text", np.zeros((17_000, 1)))
    with pytest.raises(InputError, match="60,000 categories takes 4.5 GiB, and 4 GiB is the limit"):
        _check_size(ManyCategories(), "text", np.zeros((20_000, 1)))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing", None, "no such file or folder"),
        ("empty/", None, "no picture in it (.jpg"),
        ("blank.txt", b" \n\n", "no text in it"),
        ("latin.txt", b"caf\xe9", "is not UTF-8 text: line 1"),
        ("items.csv", b"a", "expected a folder of pictures, a .txt file"),
    ],
)
def test_what_is_no_gallery(tmp_path, name, content, message):
    if name.endswith("/"):
        (tmp_path / name).mkdir()
    elif content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=re.escape(message)):
        open_source(None, str(tmp_path / name))


def test_a_broken_gallery_file(kept, tmp_path):
    (tmp_path / "items.npz").write_bytes(b"PK broken")
    with pytest.raises(InputError, match="items.npz: damaged"):
        kept(tmp_path / "items.npz")


def test_somebody_elses_folder_is_left_alone(kept, photos):
    with pytest.raises(InputError, match="is not empty and holds no index"):
        kept(photos, index_dir=photos)
    with pytest.raises(InputError, match="is a file; name a folder"):
        kept(photos, index_dir=photos / "sea.jpg")


def test_galleries_of_one_name_have_folders_of_their_own(run, photos, tmp_path):
    texts = tmp_path / "photos.txt"
    texts.write_text("red")
    names = [
        default_folder(run, source).relative_to(run.folder.path).as_posix()
        for source in (
            open_source(run, None),
            open_source(run, None, "test"),
            pictures_in(photos),
            texts_in(texts),
        )
    ]
    without = default_folder(run, open_source(run, None), captions=False)
    assert without == run.folder.path / "indexes" / "all-without-captions"
    assert names[:2] == ["indexes/all", "indexes/test"]
    assert all(re.fullmatch("indexes/photos-[0-9a-f]{8}", name) for name in names[2:])
    assert names[2] != names[3]
