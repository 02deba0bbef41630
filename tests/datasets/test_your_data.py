"""Every command for a form of data, on two pages of docs/, reads data of that form."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.datasets.table_files import FORMATS, write_parquet
from tests.raw_pairs import TEXTS, draw
from xgacmn_tf.datasets import load, load_raw
from xgacmn_tf.settings.command_line import config_from_flags, read_flags
from xgacmn_tf.settings.config import Config

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [(DOCS / name).read_text(encoding="utf-8") for name in ("your_data.md", "own_features.md")]
COMMANDS = [c for page in PAGES for c in re.findall(r"\| `xgacmn train (.*?)` \|", page)]
EXTRACTORS = "--image_features=efficientnet_lite2 --text_features=bow"
KINDS = ("disc", "square", "stripes")


def write_folders(rows):
    for category, number in [(KINDS[row % 3], row) for row in range(len(rows))]:
        image = Path("photos", category, f"{number}.png")
        image.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(rows[number]["image"], image)
        image.with_suffix(".txt").write_text(rows[number]["text"])
    Path("imagefolder").mkdir()
    Path("crawl", "00000").mkdir(parents=True)
    described = []
    for number, row in enumerate(rows):
        shutil.copy(row["image"], f"imagefolder/{number}.png")
        described.append(
            {"file_name": f"{number}.png", "caption": row["text"], "label": row["label"]}
        )
        key = f"crawl/00000/00000{number:04d}"
        shutil.copy(row["image"], f"{key}.png")
        Path(f"{key}.json").write_text(json.dumps({"caption": row["text"], "topic": row["label"]}))
    FORMATS["jsonl"](Path("imagefolder/metadata.jsonl"), described)


def write_libraries(rows):
    datasets = pytest.importorskip("datasets")
    import tensorflow as tf
    import tensorflow_datasets as tfds

    stored = {
        "image": [{"bytes": Path(row["image"]).read_bytes(), "path": None} for row in rows],
        "caption": [row["text"] for row in rows],
        "label": [number % 3 for number in range(len(rows))],
    }
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "caption": datasets.Value("string"),
            "label": datasets.ClassLabel(names=list(KINDS)),
        }
    )
    dataset = datasets.Dataset.from_dict(stored, features=features)
    dataset.save_to_disk("saved")
    # The library takes a folder of this name in place of a data set of the Hub.
    Path("organization/shapes").mkdir(parents=True)
    dataset.to_parquet("organization/shapes/train.parquet")
    images = np.stack([np.full((8, 8, 3), 10 * number, np.uint8) for number in range(len(rows))])
    pairs = stored | {"image": images}
    vectors = {
        "image": np.eye(len(rows), 8, dtype=np.float32),
        "text": np.eye(len(rows), 5, dtype=np.float32),
        "label": stored["label"],
    }
    F = tfds.features
    for name, content, declared in (
        ("shapes", pairs, {"image": F.Image(shape=(8, 8, 3)), "caption": F.Text()}),
        (
            "vectors",
            vectors,
            {
                "image": F.Tensor(shape=(8,), dtype=np.float32),
                "text": F.Tensor(shape=(5,), dtype=np.float32),
            },
        ),
    ):
        part = tf.data.Dataset.from_tensor_slices(content)
        tfds.dataset_builders.store_as_tfds_dataset(
            name=name,
            version="1.0.0",
            data_dir="tfds",
            features=F.FeaturesDict({**declared, "label": F.ClassLabel(names=list(KINDS))}),
            split_datasets={"train": part, "test": part} if name == "vectors" else {"train": part},
            disable_shuffling=True,
        )


def write_embeddings(rows):
    generator = np.random.default_rng(0)
    described = [
        {"topic": row["label"], "label": row["label"], "caption": row["text"]} for row in rows
    ]
    image, text = generator.normal(size=(2, len(rows), 6)).astype(np.float16)
    for name in ("clip/img_emb", "clip/text_emb", "clip/metadata", "embeddings"):
        Path(name).mkdir(parents=True)
    np.save("clip/img_emb/img_emb_0.npy", image)
    np.save("clip/text_emb/text_emb_0.npy", text)
    write_parquet(Path("clip/metadata/metadata_0.parquet"), described)
    np.save("embeddings/image.npy", image)
    np.save("embeddings/text.npy", text)
    FORMATS["csv"](Path("embeddings/metadata.csv"), described)
    labels = np.array([row["label"] for row in rows])
    arrays = {"image": image, "text": text, "label": labels}
    np.savez(
        "features.npz",
        **{f"{field}_{part}": a for field, a in arrays.items() for part in ("train", "test")},
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twenty-four pairs in every form of the pages."""
    folder = tmp_path_factory.mktemp("forms")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HF_HUB_OFFLINE", "1")
        Path("p").mkdir()
        rows = []
        for number in range(24):
            draw(Path(f"p/{number}.png"), number % 3, number)
            text = f"{TEXTS[number % 3]} {number}"
            rows.append({"image": f"p/{number}.png", "text": text, "label": KINDS[number % 3]})
        for suffix in ("csv", "jsonl", "parquet"):
            FORMATS[suffix](Path(f"products.{suffix}"), rows)
        names = {"image": "filename", "text": "description", "label": "category"}
        shop = [{**{names[k]: v for k, v in row.items()}, "price": 3} for row in rows]
        FORMATS["csv"](Path("shop.csv"), shop)
        write_folders(rows)
        write_libraries(rows)
        write_embeddings(rows)
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_reads_its_form(folder, command, monkeypatch):
    monkeypatch.chdir(folder)
    flags = command.replace(" X", f" {EXTRACTORS}").split()
    config = config_from_flags(read_flags(["train", *flags], "", Config))
    data = config.data
    if config.features.image_features:
        pairs = load_raw(data.dataset, data.data_dir, columns=data.columns, cache_dir="cache")
        assert set(pairs.label_names) == set(KINDS)
        assert len(pairs.train) + len(pairs.test) == 24 and pairs.train[0].is_complete
    else:
        dataset = load(data.dataset, data.data_dir, columns=data.columns)
        assert set(dataset.label_names) == set(KINDS) and len(dataset.test)
        assert len(dataset.train) + len(dataset.test) in (24, 48)


def test_every_form_has_a_command():
    assert len(COMMANDS) == 14 and len(set(COMMANDS)) == 14
