"""Items from folders, tables and files, and the gallery files that are made of them."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image

from xgacmn_tf.commands import gallery as command
from xgacmn_tf.datasets.extraction import feature_store
from xgacmn_tf.datasets.tables import text_id
from xgacmn_tf.errors import InputError
from xgacmn_tf.export.savedmodel import export_run
from xgacmn_tf.gallery import Gallery, from_file
from xgacmn_tf.io.files import write_json
from xgacmn_tf.runs.trained import TrainedRun
from xgacmn_tf.search.sources import images_in, read_sources, table_in


@pytest.fixture(scope="module")
def run(colour_run):
    return TrainedRun(colour_run)


@pytest.fixture
def read(run, tmp_path):
    """Reads sources with a cache of their own."""

    def read(*sources):
        return read_sources(run, [str(source) for source in sources], tmp_path / "cache")

    return read


@pytest.fixture
def encoded(monkeypatch):
    """The number of items that were extracted, part by part."""
    counts = []
    real = feature_store.make_shard

    def counting(extractor, items, *arguments):
        counts.append(len(items))
        return real(extractor, items, *arguments)

    monkeypatch.setattr(feature_store, "make_shard", counting)
    return counts


@pytest.fixture
def table(photos):
    """Two rows of both, one without a text and one without an image."""
    path = photos / "items.csv"
    path.write_text(
        "id,image,text,label,price\n"
        "r,rose.png,a red rose,warm|plant,3\n"
        "s,sea.jpg,,cold,\n"
        't,,"blue, and green",,9\n',
        encoding="utf-8-sig",
    )
    return path


def test_a_folder_is_searched_whole_but_for_hidden_and_other_files(photos):
    (photos / "notes.txt").write_text("no image")
    (photos / ".cache").mkdir()
    for hidden in (".cache/a.png", ".b.png"):
        (photos / hidden).write_bytes(b"")
    items = images_in(photos)
    assert [item.id for item in items] == ["more/leaf.webp", "rose.png", "sea.jpg"]
    assert [item.title for item in items] == ["leaf", "rose", "sea"]


def test_features_of_a_folder_are_those_of_its_images(read, photos):
    items, bad = read(photos)
    np.testing.assert_allclose(items.features["image"][1], [200, 20, 10], rtol=1e-6)
    assert items.thumbnail[1][8:12] == b"WEBP" and bad == []
    assert items.has_image is None and list(items.features) == ["image"]


def test_a_run_does_not_choose_where_features_are_written(colour_run, photos, tmp_path):
    shutil.copytree(colour_run, tmp_path / "run")
    folder = TrainedRun(tmp_path / "run").folder
    config = folder.read_config()
    config["settings"]["cache_dir"] = str(tmp_path / "elsewhere")
    write_json(folder.config, config)
    items, _ = read_sources(TrainedRun(tmp_path / "run"), [str(photos)], tmp_path / "cache")
    assert len(items) == 3 and not (tmp_path / "elsewhere").exists()


def test_only_new_images_are_extracted(read, photos, encoded):
    read(photos)
    Image.new("RGB", (9, 9), "white").save(photos / "snow.png")
    (photos / "sea.jpg").unlink()
    (photos / "rose.png").rename(photos / "the same rose.png")
    items, _ = read(photos)
    assert encoded == [3, 1]
    assert items.id.tolist() == ["more/leaf.webp", "snow.png", "the same rose.png"]


def test_a_stopped_extraction_is_resumed(read, photos, encoded, monkeypatch):
    monkeypatch.setattr(feature_store, "PART", 1)
    real, counting = feature_store.write_json, []

    def stop_at_the_second(path, value):
        counting.append(path)
        if len(counting) == 2:
            raise KeyboardInterrupt
        real(path, value)

    monkeypatch.setattr(feature_store, "write_json", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        read(photos)
    assert len(read(photos)[0]) == 3 and encoded == [1, 1, 1, 1]


def test_bad_images_are_left_out_and_named_every_time(read, photos, encoded):
    for name in ("torn.png", "torn again.png"):
        (photos / name).write_bytes(b"not an image")
    for _ in range(2):
        items, bad = read(photos)
        assert len(items) == 3
        assert [reason.split(":")[0] for reason in bad] == ["torn again.png", "torn.png"]
    assert encoded == [4]


def test_lines_are_texts(read, tmp_path):
    path = tmp_path / "captions.txt"
    path.write_bytes("\ufeffa red thing\r\n\r\n  blue, blue and green  \nred".encode())
    items, _ = read(path)
    assert items.id.tolist() == [text_id(text) for text in items.title.tolist()]
    assert items.title.tolist() == ["a red thing", "blue, blue and green", "red"]
    np.testing.assert_allclose(items.features["text"][1], [0, 1, 2], rtol=1e-6)


def test_rows_of_a_table_may_lack_an_image_or_a_text(read, table):
    items, _ = read(table)
    assert items.id.tolist() == ["r", "s", "t"]
    assert items.title.tolist() == ["a red rose", "sea", "blue, and green"]
    assert items.category.tolist() == ["warm, plant", "cold", ""]
    assert items.has_image.tolist() == [True, True, False]
    assert items.has_text.tolist() == [True, False, True]
    np.testing.assert_array_equal(items.features["text"], [[1, 0, 0], [0, 0, 0], [0, 1, 1]])


def test_names_of_images_as_macos_and_windows_write_them(read, photos):
    decomposed = "cafe\N{COMBINING ACUTE ACCENT}.jpg"
    (photos / "sea.jpg").rename(photos / decomposed)
    path = photos.parent / "items.csv"
    names = f"{photos.name}\\rose.png", f"{photos.name}/caf\N{LATIN SMALL LETTER E WITH ACUTE}.jpg"
    path.write_text("\n".join(["image", *names]), encoding="utf-8")
    items, bad = read(path)
    assert items.id.tolist() == [*names] and not bad


def test_an_image_outside_the_folder_is_rejected(photos):
    path = photos / "items.csv"
    path.write_text("image\n..\\rose.png\n")
    with pytest.raises(InputError, match="line 2: .* is outside the table's folder"):
        table_in(path)


def test_columns_of_other_names_and_json_lines(tmp_path):
    path = tmp_path / "items.jsonl"
    path.write_text('{"sku": 7, "caption": "a red rose", "label": ["warm", "plant"]}\n')
    (item,) = table_in(path, ["id=sku", "text=caption"])
    assert (item.id, item.text, item.category) == ("7", "a red rose", "warm, plant")


def test_a_row_whose_image_is_bad_stays_with_its_text(read, table, photos):
    for name in ("rose.png", "sea.jpg"):
        (photos / name).write_bytes(b"torn")
    items, bad = read(table)
    assert items.id.tolist() == ["r", "t"] and len(bad) == 2
    assert items.has_image.tolist() == [False, False] and items.has_text is None


def test_ids_of_rows_without_one_follow_from_their_content(tmp_path):
    path = tmp_path / "items.tsv"
    rows = ["a.png\tone", "a.png\ttwo", "\tthree", "b.png\t"]

    def ids(*rows):
        path.write_text("\n".join(["image\ttext", *rows]))
        return [item.id for item in table_in(path)]

    before = ids(*rows)
    assert before[2:] == [text_id("three"), "b.png"] and len(set(before)) == 4
    assert ids("\tnew", "a.png\tnew", *rows)[2:] == before
    assert ids(*rows[::-1], *rows) == before[::-1]


def test_equal_rows_are_one_item_with_all_labels(tmp_path):
    (tmp_path / "items.csv").write_text("text,label\na,red\na,red|blue\nb,\n")
    items = table_in(tmp_path / "items.csv")
    assert [(item.text, item.category) for item in items] == [("a", "red, blue"), ("b", "")]


def test_the_separator_of_labels(tmp_path):
    (tmp_path / "items.csv").write_text("text,label\na,red;a|b\n")
    (item,) = table_in(tmp_path / "items.csv", label_separator=";")
    assert item.category == "red, a|b"


def test_several_texts_of_one_record_have_ids_of_their_own(tmp_path):
    (tmp_path / "items.jsonl").write_text('{"id": 7, "text": ["one", "two"]}\n')
    first, second = table_in(tmp_path / "items.jsonl")
    assert first.id == "7" and second.id.startswith("7#")


def test_an_id_of_two_images_or_two_texts_is_an_error(read, photos, tmp_path):
    path = tmp_path / "items.csv"
    path.write_text("id,text\na,one\nb,two\na,one\n")
    with pytest.raises(InputError, match=r"items.csv, line 4: the id 'a' is also in line 2; give"):
        read(path)
    with pytest.raises(
        InputError, match="photos and .*photos both have an image with the id 'more"
    ):
        read(photos, photos)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,price\na,1\n", "line 2: there is neither an image nor a text; name the right"),
        ("image,text\n", "holds no rows"),
        ("image\n../a.png\n", "line 2: the image '../a.png' is outside the table's folder"),
    ],
)
def test_a_table_that_cannot_be_read(tmp_path, content, message):
    (tmp_path / "items.csv").write_text(content)
    with pytest.raises(InputError, match=re.escape(message)):
        table_in(tmp_path / "items.csv")


def test_feature_files_of_data_sets_are_galleries(read, run):
    items, _ = read(run.folder.recorded_config().data.dataset)
    assert len(items) == 12 and set(items.features) == {"image", "text"}


def test_a_split_of_a_data_set_that_is_missing_names_it(read, monkeypatch):
    def missing(config):
        raise InputError("shop.csv: there is no such table")

    monkeypatch.setattr("xgacmn_tf.runs.trained.datasets.for_config", missing)
    with pytest.raises(InputError, match="the data set it was trained on, .*shop.csv: there is no"):
        read("train")


def test_splits_and_files_join(read, photos):
    items, _ = read("train", photos)
    assert len(items) == 6 + 3 and items.has_text.sum() == 6
    assert len(read("train", "test")[0]) == 12


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing", None, "no such file or folder"),
        ("empty/", None, "no image in it (.jpg"),
        ("blank.txt", b" \n\n", "no text in it"),
        ("latin.txt", b"caf\xe9", "is not UTF-8 text: line 1"),
        ("items.docx", b"a", "expected all, train, test, a folder of images, a .txt file"),
        ("items.npz", b"PK broken", "items.npz: damaged"),
        ("bad/a.png", b"", "none of its 1 items can be used; the first: a.png: cannot be read"),
    ],
)
def test_what_is_no_gallery(read, tmp_path, name, content, message):
    path = tmp_path / name
    if name.endswith("/"):
        path.mkdir()
    elif content is not None:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(message)):
        read(path.parent if name.startswith("bad") else path)


@pytest.fixture
def make(colour_run, tmp_path, capsys):
    """Runs `xgacmn gallery`; returns the gallery and what was printed."""

    def make(*arguments):
        output = tmp_path / "made.npz"
        flags = [f"--run={colour_run}", f"--cache_dir={tmp_path / 'cache'}", "-o", str(output)]
        command.main(["xgacmn gallery", *map(str, arguments), *flags])
        return from_file(output, {}), capsys.readouterr().out

    return make


def test_the_command_joins_images_and_texts_by_id(make, photos, tmp_path, colour_run):
    (tmp_path / "captions.csv").write_text("id,text\nrose.png,a red rose\nsky,a blue sky\n")
    items, printed = make(photos, tmp_path / "captions.csv")
    assert items.id.tolist() == ["more/leaf.webp", "rose.png", "sea.jpg", "sky"]
    assert items.title.tolist() == ["leaf", "a red rose", "sea", "a blue sky"]
    assert "made.npz: 4 items with 3 images and 2 texts" in printed
    again, _ = make(tmp_path / "made.npz", "test")
    assert len(again) == 10
    version = export_run(colour_run, tmp_path, gallery=["train", tmp_path / "made.npz"])
    assert "12 items" not in (version / "assets.extra" / "README.md").read_text()


def test_the_command_extracts_only_new_images(make, photos, encoded):
    make(photos)
    Image.new("RGB", (9, 9), "white").save(photos / "snow.png")
    make(photos)
    assert encoded == [3, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["photos", "--output=a.txt"], "expected a file that ends in .npz"),
        ([], "at least one source, and -o FILE.npz"),
        (["photos", "--on_bad_image=refuse"], "torn.png: cannot be read as an image"),
    ],
)
def test_mistakes_of_the_command(make, photos, capsys, monkeypatch, arguments, message):
    (photos / "torn.png").write_bytes(b"")
    monkeypatch.chdir(photos.parent)
    with pytest.raises(SystemExit) as stop:
        make(*arguments) if "--output=a.txt" not in arguments else command.main(
            ["xgacmn gallery", "--run=RUN", *arguments]
        )
    errors = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2 and message in errors[-1]


def test_a_gallery_file_is_read_as_it_is(read, tmp_path):
    ids = np.array(["a", "b"])
    Gallery({"image": np.eye(3, dtype=np.float32)[:2]}, ids, np.array(["A", "B"])).write(
        tmp_path / "items.npz"
    )
    assert read(tmp_path / "items.npz")[0].title.tolist() == ["A", "B"]
