"""Every layout of the paper's data sets that is in use gives the same data."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from tests.datasets import nuswide_layout
from tests.datasets.test_nuswide import ROWS, labels
from xgacmn_tf.datasets import file_search, load, load_raw, pascal_sentence, wikipedia
from xgacmn_tf.datasets.pascal_sentence import CLASSES
from xgacmn_tf.errors import InputError
from xgacmn_tf.settings.command_line import configure_logging


def move(folder: Path, **places: str) -> None:
    """Moves what lies in folders to other ones; "." is the folder itself."""
    for source, target in places.items():
        (folder / target).mkdir(parents=True, exist_ok=True)
        for path in list((folder / source).iterdir()):
            path.rename(folder / target / path.name)
        (folder / source).rmdir()


def flat(folder):
    """All archives of NUS-WIDE unzipped into one folder."""
    move(folder, Groundtruth=".", NUS_WID_Tags=".", ConceptsList=".")


def own_folders(folder):
    """Every archive unzipped into a folder with its own name."""
    for name in ("Groundtruth", "NUS_WID_Tags", "ConceptsList", "ImageList"):
        (folder / name).rename(folder / "inner")
        (folder / name).mkdir()
        (folder / "inner").rename(folder / name / name)
    (folder / "NUS_WID_Low_Level_Features").mkdir()
    (folder / "Low_Level_Features").rename(
        folder / "NUS_WID_Low_Level_Features" / "Low_Level_Features"
    )


def wrapped(name):
    def transform(folder):
        (folder / "downloads" / name).mkdir(parents=True)
        for path in list(folder.iterdir()):
            if path.name != "downloads":
                path.rename(folder / "downloads" / name / path.name)

    transform.__name__ = f"wrapped_in_{name}"
    return transform


def beside(folder):
    """NUS-WIDE/ beside NUS_WID_Tags/."""
    for name in ("Groundtruth", "ConceptsList", "ImageList", "Low_Level_Features"):
        (folder / "NUS-WIDE").mkdir(exist_ok=True)
        (folder / name).rename(folder / "NUS-WIDE" / name)


def lower_case(folder):
    for path in sorted(folder.rglob("*"), key=lambda path: -len(path.parts)):
        path.rename(path.with_name(path.name.lower()))


def zipped(folder):
    """The archives of a data set as they are, with what macOS adds to them."""
    for path in list(folder.iterdir()):
        if path.is_dir():
            with zipfile.ZipFile(folder / f"{path.name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
                for file in path.rglob("*"):
                    archive.write(file, file.relative_to(folder))
                    if file.is_file():
                        archive.writestr(f"__MACOSX/{path.name}/._{file.name}", b"Mac OS X")
            shutil.rmtree(path)


def one_archive(folder):
    """Everything in one archive."""
    with zipfile.ZipFile(folder / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in list(folder.rglob("*")):
            if file.name != "all.zip" and file.is_file():
                archive.write(file, Path("data") / file.relative_to(folder))
    for path in list(folder.iterdir()):
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "all.zip":
            path.unlink()


def copied(folder):
    """A second, identical copy of everything."""
    shutil.copytree(folder, folder / "backup")


ANY = (
    *map(wrapped, ("NUSWIDE", "nus_wide", "nus-wide", "NUS_WID", "wiki_top10cats")),
    lower_case,
    zipped,
    one_archive,
    copied,
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def copy(tmp_path):
    def make(source) -> Path:
        return Path(shutil.copytree(source, tmp_path / "data"))

    return make


@pytest.mark.parametrize(
    ("layout", "whole"),
    [
        *((layout, True) for layout in (flat, own_folders, beside, *ANY)),
        (flat, False),
        (zipped, False),
    ],
)
def test_nuswide(tmp_path, layout, whole, capsys):
    configure_logging()
    folder = nuswide_layout.write(tmp_path / "data", labels(), whole=whole)
    expected = load("nuswide", str(folder), "full").fingerprint
    capsys.readouterr()
    layout(folder)
    assert load("nuswide", str(folder), "full").fingerprint == expected
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"nuswide: files found in {folder}: ")


@pytest.mark.parametrize("layout", ANY)
def test_wikipedia(copy, layout):
    folder = copy(Path(wikipedia.__file__).parent / "dummy_data")
    expected = load("wikipedia", str(folder)).fingerprint
    raw = described(load_raw("wikipedia", str(folder)))
    layout(folder)
    assert load("wikipedia", str(folder)).fingerprint == expected
    assert described(load_raw("wikipedia", str(folder))) == raw


@pytest.mark.parametrize("layout", ANY)
def test_pascal_features(copy, layout):
    folder = copy(Path(pascal_sentence.__file__).parent / "dummy_data")
    expected = load("pascal_sentence", str(folder)).fingerprint
    layout(folder)
    assert load("pascal_sentence", str(folder)).fingerprint == expected


def described(pairs):
    """All that a layout may not change in raw pairs; images by their contents."""
    return [
        (part, pair.id, pair.image.read_bytes(), pair.text, pair.label, pair.group)
        for part, split in pairs.splits().items()
        for pair in split
    ]


def test_an_archive_may_be_named_itself(tmp_path, cache):
    folder = nuswide_layout.write(tmp_path / "data", labels())
    expected = load("nuswide", str(folder), "full").fingerprint
    one_archive(folder)
    archive = str(folder / "all.zip")
    assert load("nuswide", archive, "full").fingerprint == expected
    unpacked = [path for path in cache.rglob("*") if path.is_file()]
    assert {path.name for path in unpacked} >= {"Imagelist.txt", "Normalized_CH.dat"}
    assert "All_Tags.txt" not in {path.name for path in unpacked}  # not needed
    times = {path: path.stat().st_mtime_ns for path in unpacked}
    assert load("nuswide", archive, "full", cache_dir=cache / "xgacmn_tf").fingerprint == expected
    assert times == {path: path.stat().st_mtime_ns for path in unpacked}  # unpacked once
    load("nuswide", archive, "full", cache_dir=tmp_path / "other")
    assert (tmp_path / "other" / "unpacked").is_dir()


# Flat folders of images.


def by_name(folder):
    move(folder, **{f"Flickr/{name}": "Flickr" for name in nuswide_layout.FOLDERS})


def by_photo(folder):
    by_name(folder)
    (folder / "images").mkdir()
    for path in (folder / "Flickr").iterdir():
        path.rename(folder / "images" / f"{path.stem.split('_')[1]}.JPG")
    (folder / "Flickr").rmdir()


@pytest.mark.parametrize("layout", [by_name, by_photo, flat, own_folders, lower_case, zipped])
def test_images_of_nuswide(tmp_path, layout):
    folder = nuswide_layout.write(tmp_path / "data", labels())
    nuswide_layout.write_images(folder, ROWS)
    twice = [
        nuswide_layout.pictures(ROWS)[row].replace("\\", "/") for row, _ in nuswide_layout.TWICE
    ]
    for name in twice:  # one photo
        (folder / "Flickr" / name).write_text("the same")
    expected = described(load_raw("nuswide", str(folder), "full"))
    layout(folder)
    assert described(load_raw("nuswide", str(folder), "full")) == expected


@pytest.fixture
def pascal(tmp_path):
    """Six images of each class, and the smallest protocol that is drawn from them."""
    folder = tmp_path / "data"
    for number, name in enumerate(CLASSES):
        for kind in ("dataset", "sentence"):
            (folder / kind / name).mkdir(parents=True)
        for row in range(46):
            stem = f"2008_{number:02}{row:04}"
            (folder / "dataset" / name / f"{stem}.jpg").write_text(stem)
            (folder / "sentence" / name / f"{stem}.txt").write_text(f"A {name}.\n<{row} & more.\n")
    return folder


def texts_beside_images(folder):
    move(folder, **{f"sentence/{name}": f"dataset/{name}" for name in CLASSES})


def flat_images(folder):
    move(folder, **{f"dataset/{name}": "images" for name in CLASSES})


def flat_texts(folder):
    move(folder, **{f"sentence/{name}": "texts" for name in CLASSES})


def page(source):
    def transform(folder):
        rows = []
        for path in sorted((folder / "sentence").rglob("*.txt")):
            name = source.format(path.parent.name, path.stem)
            cells = path.read_text().replace("&", "&amp;").replace("<", "&lt;").splitlines()
            inner = "".join(f"<tr><td> {cell}\n</td></tr>" for cell in cells)
            rows.append(f'<tr><td><img src="{name}"></td>\n<td><table>{inner}</table></td></tr>\n')
        html = "<html><body>About<table>" + "".join(rows) + "</table>The end</body></html>"
        (folder / "pascal-sentences.html").write_text(html)
        shutil.rmtree(folder / "sentence")

    transform.__name__ = f"page_{source}"
    return transform


def page_and_flat_images(folder):
    page("{}/{}.jpg")(folder)
    flat_images(folder)


def page_in_latin_1_and_all_of_voc(folder):
    page("{}/{}.jpg")(folder)
    flat_images(folder)
    path = folder / "pascal-sentences.html"
    path.write_bytes(b"<p>caf\xe9</p>" + path.read_bytes())
    (folder / "images" / "2009_000001.jpg").write_text("without sentences")


def json_file(folder):
    captions = {
        f"{path.stem}.jpg": {
            "category": path.parent.name,
            "captions": path.read_text().splitlines(),
        }
        for path in (folder / "sentence").rglob("*.txt")
    }
    (folder / "pascal_sentences.json").write_text(json.dumps(captions))
    shutil.rmtree(folder / "sentence")
    flat_images(folder)


@pytest.mark.parametrize(
    "layout",
    [
        texts_beside_images,
        flat_images,
        flat_texts,
        page("{}/{}.jpg"),
        page("pascal-sentences_files/{1}.jpg"),
        page_and_flat_images,
        page_in_latin_1_and_all_of_voc,
        json_file,
        wrapped("pascal"),
        zipped,
    ],
)
def test_images_and_sentences_of_pascal(pascal, layout):
    expected = described(load_raw("pascal_sentence", str(pascal)))
    layout(pascal)
    assert described(load_raw("pascal_sentence", str(pascal))) == expected


def test_classes_and_images_of_pascal_that_are_unknown(pascal):
    json_file(pascal)
    shutil.rmtree(pascal / "images")
    with pytest.raises(
        InputError, match="0 of 920 images found; expected dataset/aeroplane/2008_0"
    ):
        load_raw("pascal_sentence", str(pascal))
    (pascal / "pascal_sentences.json").write_text('{"a": 3}')
    with pytest.raises(InputError, match="pascal_sentences.json cannot be read"):
        load_raw("pascal_sentence", str(pascal))
    (pascal / "pascal_sentences.json").unlink()
    (pascal / "2008_000001.txt").write_text("A cat.")
    with pytest.raises(
        InputError, match="the class of image 2008_000001 is unknown; put the images"
    ):
        load_raw("pascal_sentence", str(pascal))
    (pascal / "2008_000001.txt").unlink()
    with pytest.raises(
        InputError, match="Missing in .*: dataset/<class>/2008_000716.jpg, sentence"
    ):
        load_raw("pascal_sentence", str(pascal))


@pytest.mark.parametrize("first", [0, 1])
def test_deep_features_of_wikipedia(tmp_path, first):
    generator = np.random.default_rng(0)
    arrays = {"doc2vec": np.ones(3)}
    for part, rows in (("train", 40), ("test", 20)):
        arrays[f"{part}_imgs_deep"] = generator.normal(size=(rows, 7))
        arrays[f"{part}_texts_doc"] = generator.normal(size=(rows, 5))
        for kind in ("imgs", "texts"):
            arrays[f"{part}_{kind}_labels"] = (np.arange(rows) % 10 + first)[None]
    scipy.io.savemat(tmp_path / "wiki.mat", arrays)
    dataset = load("wikipedia", str(tmp_path))
    assert (dataset.image_dim, dataset.text_dim, dataset.num_classes) == (7, 5, 10)
    assert dataset.name == "wikipedia_deep_2173"
    assert dataset.test.label.tolist() == [row % 10 for row in range(20)]
    again = load("wikipedia", str(tmp_path), image_features="deep").fingerprint
    assert again == dataset.fingerprint
    with pytest.raises(InputError, match="Missing in .*: raw_features.mat"):
        load("wikipedia", str(tmp_path), image_features="shallow")


# Where names do not suffice.


def test_copies_that_differ_are_ambiguous(tmp_path):
    folder = nuswide_layout.write(tmp_path / "data", labels())
    (folder / "new").mkdir()
    first, other = folder / "ConceptsList" / "Concepts81.txt", folder / "new" / "concepts81.TXT"
    shutil.copy(first, other)
    load("nuswide", str(folder), "full")  # identical
    other.write_text(first.read_text().replace("zebra", "zebras"))
    with pytest.raises(InputError) as caught:
        load("nuswide", str(folder), "full")
    assert f"{first} and {other} have different contents" in str(caught.value)
    assert f"move one of them out of {folder}" in str(caught.value)


def test_the_shallowest_of_identical_copies_is_read_and_links_may_form_circles(tmp_path, capsys):
    folder = nuswide_layout.write(tmp_path / "data", labels())
    shutil.copytree(folder / "ImageList", folder / "a" / "b")
    (folder / "a" / "up").symlink_to(folder)
    load("nuswide", str(folder), "full")
    assert "3 in ImageList" in capsys.readouterr().out


def test_other_archives_are_to_be_unpacked(tmp_path):
    folder = nuswide_layout.write(tmp_path / "data", labels())
    shutil.rmtree(folder / "Low_Level_Features")
    (folder / "NUS_WID_Low_Level_Features.rar").touch()
    with pytest.raises(InputError, match="Missing in .*Unpack .*_Features.rar, as archives other"):
        load("nuswide", str(folder), "full")


@pytest.mark.parametrize("name", ["../{}", "/tmp/{}", "a/../../{}", "..\\{}", "C:\\{}"])
def test_members_that_lead_out_of_the_cache_are_rejected(tmp_path, cache, name):
    folder = nuswide_layout.write(tmp_path / "data", labels())
    path = folder / "ImageList" / "Imagelist.txt"
    with zipfile.ZipFile(folder / "lists.zip", "w") as archive:
        archive.writestr(name.format("Imagelist.txt"), path.read_bytes())
    path.unlink()
    with pytest.raises(
        InputError, match="lists.zip: the member .* leads out of the folder|Missing"
    ):
        load("nuswide", str(folder), "full")
    assert not [path for path in tmp_path.rglob("*magelist.txt") if path.parent.name != "ImageList"]


def test_damaged_and_oversized_archives(tmp_path, monkeypatch):
    folder = nuswide_layout.write(tmp_path / "data", labels())
    zipped(folder)
    archive = folder / "NUS_WID_Tags.zip"
    content = archive.read_bytes()
    monkeypatch.setattr(file_search, "_MAX_MEMBER_BYTES", 1000)
    with pytest.raises(InputError, match=r"declares [\d,]+ bytes; at most 1,000 can be unpacked"):
        load("nuswide", str(folder), "full")
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "again"))
    archive.write_bytes(content[:-30])
    with pytest.raises(InputError, match="NUS_WID_Tags.zip cannot be read as a zip archive"):
        load("nuswide", str(folder), "full")
    archive.write_bytes(content[:2000] + bytes(50) + content[2050:])
    with pytest.raises(InputError, match="NUS_WID_Tags.zip/.* cannot be unpacked"):
        load("nuswide", str(folder), "full")
    assert not list(tmp_path.rglob("*.partial*"))
