"""Folders of images: categories, Hugging Face's ImageFolder, img2dataset's shards."""

import json

import pytest

from tests.raw_pairs import draw
from xgacmn_tf.datasets import load, load_raw
from xgacmn_tf.datasets.folders import chosen_splits
from xgacmn_tf.errors import InputError


@pytest.fixture
def put(tmp_path):
    """Writes images and texts below a folder, and returns its path."""

    def write(*names: str, **texts: str) -> str:
        for number, name in enumerate(names):
            path = tmp_path / "photos" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            draw(path, number % 3, number)
        for name, text in texts.items():
            (tmp_path / "photos" / name).write_text(text, encoding="utf-8")
        return str(tmp_path / "photos")

    return write


def captioned(part: str = "") -> tuple[list[str], dict[str, str]]:
    images = [f"{part}{category}/{k}.png" for category in ("cat", "dog") for k in range(12)]
    return images, {name.replace("png", "txt"): f"text of {name}" for name in images}


def test_a_folder_for_each_category(put, tmp_path):
    images, texts = captioned()
    folder = put(*images, "dog/more/13.webp", **texts)
    pairs = load_raw(folder)
    assert pairs.name == "photos" and pairs.label_names == ("cat", "dog")
    every = {pair.id: pair for pair in (*pairs.train, *pairs.test)}
    assert set(every) == {*images, "dog/more/13.webp"}
    assert every["cat/3.png"].text == "text of cat/3.png" and every["cat/3.png"].label == 0
    assert every["cat/3.png"].image == tmp_path / "photos" / "cat" / "3.png"
    # The image without a text is only trained on.
    assert every["dog/more/13.webp"] in pairs.train
    assert load_raw("photos", str(tmp_path)) == pairs
    with pytest.raises(InputError, match="a folder of images and holds no features: name both"):
        load(folder)


def test_folders_of_splits(put):
    images, texts = zip(*map(captioned, ("train/", "val/", "test/")), strict=True)
    merged = texts[0] | texts[1] | texts[2]
    pairs = load_raw(put(*(name for part in images for name in part), **merged))
    assert {part: len(split) for part, split in pairs.splits().items()} == {
        "train": 24,
        "validation": 24,
        "test": 24,
    }
    assert pairs.label_names == ("cat", "dog")


def test_hidden_folders_are_ignored(put, tmp_path):
    images, texts = zip(*map(captioned, ("train/", "test/")), strict=True)
    folder = put(*images[0], *images[1], ".ipynb_checkpoints/1.png", **texts[0], **texts[1])
    pairs = load_raw(folder)
    assert {part: len(split) for part, split in pairs.splits().items()} == {"train": 24, "test": 24}
    assert pairs.label_names == ("cat", "dog")


def test_splits_with_usual_names_are_read_and_others_logged(caplog):
    caplog.set_level("INFO")
    assert chosen_splits("hf:pets", ["unsupervised", "train"]) == ["train"]
    assert "hf:pets: read splits: train; ignored splits: unsupervised" in caplog.text
    assert chosen_splits("hf:pets", ["all", "more"]) == ["all"]
    caplog.clear()
    assert chosen_splits("hf:pets", ["train", "Val"]) == ["train", "Val"] and not caplog.text


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_image_folder_with_metadata(put, suffix):
    rows = [("1.png", "a red mug", "mug"), ("2.png", "a blue cup", "cup")]
    if suffix == "csv":
        lines = ["file_name,text,kind", *(",".join(row) for row in rows)]
    else:
        lines = [
            json.dumps(dict(zip(("file_name", "text", "kind"), row, strict=True))) for row in rows
        ]
    content = "\n".join(lines)
    images = [f"{part}/{row[0]}" for part in ("train", "test") for row in rows]
    folder = put(*images, **{f"{part}/metadata.{suffix}": content for part in ("train", "test")})
    pairs = load_raw(folder, columns=["label=kind"])
    assert [pair.id for pair in pairs.test] == ["test/1.png", "test/2.png"]
    assert [pair.text for pair in pairs.train] == ["a red mug", "a blue cup"]
    with pytest.raises(InputError, match="label is missing; the columns are image, text, kind"):
        load_raw(folder)


def test_image_folder_of_one_table_and_its_errors(put):
    images = [f"{k}.png" for k in range(20)]
    lines = ["file_name,text,label", *(f"{name},text,cat" for name in images)]
    folder = put(*images, **{"metadata.csv": "\n".join(lines)})
    pairs = load_raw(folder)
    assert len(pairs.train) + len(pairs.test) == 20
    put(**{"metadata.csv": "\n".join([*lines, "../secret.png,text,cat"])})
    with pytest.raises(InputError, match="metadata.csv, line 22: the image .* is outside the"):
        load_raw(folder)
    put(**{"metadata.csv": "image,text,label\n0.png,text,cat"})
    with pytest.raises(InputError, match="there is no column 'file_name'"):
        load_raw(folder)


def shards(**field: str):
    names = [f"{shard:05d}/{shard:05d}{k:04d}" for shard in range(2) for k in range(10)]
    described = {
        f"{name}.json": json.dumps({"caption": f"about {name}", "width": 96, **field, "key": name})
        for name in names
    }
    return [f"{name}.png" for name in names], described


def test_numbered_shards_are_no_categories(put):
    images, described = shards()
    folder = put(*images, **described)
    with pytest.raises(InputError, match="label is missing; .* image, text, caption, width, key"):
        load_raw(folder)
    with pytest.raises(InputError, match="--columns=label="):
        load_raw(folder)
    images, described = shards(topic="food")
    put(**described, **{"00000/000000003.txt": "a text of its own"})
    pairs = load_raw(folder, columns=["label=topic"])
    texts = {pair.id: pair.text for pair in (*pairs.train, *pairs.test)}
    assert pairs.label_names == ("food",)
    assert texts["00001/000010001.png"] == "about 00001/000010001"
    assert texts["00000/000000003.png"] == "a text of its own"
    put(**{"00000/000000000.json": "{"})
    with pytest.raises(InputError, match="000000000.json: cannot be read as JSON"):
        load_raw(folder)


def test_numbered_categories_are_categories(put):
    images = [f"{sku}/{k}.png" for sku in ("10023", "10024") for k in range(12)]
    pairs = load_raw(put(*images, **{name.replace("png", "txt"): name for name in images}))
    assert pairs.label_names == ("10023", "10024")


def test_folders_that_are_none(put, tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(InputError, match="photos holds no images"):
        load_raw(str(tmp_path / "photos"))
    with pytest.raises(InputError, match="photos/1.png: expected the image in the folder of its"):
        load_raw(put("1.png", "cat/2.png"))


def test_links_in_a_circle_end(put, tmp_path):
    images, texts = captioned()
    folder = put(*images, **texts)
    (tmp_path / "photos" / "cat" / "again").symlink_to(tmp_path / "photos")
    pairs = load_raw(folder)
    assert len(pairs.train) + len(pairs.test) == 24
