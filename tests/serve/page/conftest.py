"""A model small enough to check by hand, served: words, pictures and items are colours."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.serve.running import running_server

WORDS = ["red", "green", "blue"]
LONGEST_TEXT = 200


def encoded_picture(colour: tuple[int, int, int], kind: str | None, size=(8, 6)) -> bytes:
    """A picture file of one colour, or b""."""
    stream = io.BytesIO()
    if kind is not None:
        Image.new("RGB", size, colour).save(stream, kind)
    return stream.getvalue()


@dataclass(frozen=True)
class Item:
    id: str
    title: str
    category: str
    colour: tuple[int, int, int]
    kind: str | None

    @property
    def picture(self) -> bytes:
        return encoded_picture(self.colour, self.kind)


# Ids, titles and categories may hold anything.
ITEMS = (
    Item("sky", "blue sky", "nature", (30, 90, 220), "WEBP"),
    Item("apple", "red apple", "food", (200, 20, 30), "PNG"),
    Item("leaf", "green leaf", "nature", (20, 160, 40), "JPEG"),
    Item("a/ä ?&#", "an olive", "food", (110, 120, 20), None),
    Item("fire", '<img src=x onerror="alert(1)">', "<b>heat</b>", (250, 120, 0), "PNG"),
)


# What the model `sure` takes the items for: the category that they have, but for the olive.
CLASSED = ["nature", "food", "nature", "nature", "<b>heat</b>"]
FINE = ["sky", "fruit", "leaf", "fruit", ""]


@pytest.fixture(scope="session")
def items() -> tuple[Item, ...]:
    return ITEMS


@pytest.fixture(scope="session")
def encode_picture():
    return encoded_picture


@pytest.fixture(scope="package")
def base(tmp_path_factory) -> Path:
    """Models: `colours` is as of versions without posteriors, `sure` has all, `words` takes no
    pictures, `bare` has no gallery, and `broken` cannot be loaded."""
    base = tmp_path_factory.mktemp("served")
    save(base / "colours" / "1")
    save(base / "sure" / "1", sure=True)
    save(base / "words" / "1", pictures=False)
    save(base / "bare" / "1", gallery=False)
    (base / "broken" / "1").mkdir(parents=True)
    return base


@pytest.fixture(scope="package")
def site(base) -> Iterator[str]:
    """Where the server answers that serves `base`."""
    for package in ("aiohttp", "prometheus_client"):
        pytest.importorskip(package, reason="the server is an extra: xgacmn_tf[serve]")
    models = "".join(
        f'config {{ name: "{model.name}" base_path: "{model}" model_platform: "tensorflow" }}\n'
        for model in sorted(base.iterdir())
    )
    config = base / "models.config"
    config.write_text(f"model_config_list {{\n{models}}}")
    with running_server(f"--model_config_file={config}") as server:
        yield server.rest_url


def save(version: Path, pictures: bool = True, gallery: bool = True, sure: bool = False) -> None:
    """Writes a SavedModel that searches `ITEMS` by words and, if told so, by pictures.

    A `sure` one names categories with posteriors, and finds that nothing fits the word green well.
    """
    module = tf.Module()
    columns = tf.range(len(WORDS), dtype=tf.int64)
    module.table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(tf.constant(WORDS), columns), default_value=-1
    )
    ids = tf.constant([item.id for item in ITEMS])
    titles = tf.constant([item.title for item in ITEMS])
    codes = tf.math.l2_normalize(tf.constant([i.colour for i in ITEMS], tf.float32), axis=1)

    def count(text):
        tf.debugging.assert_less_equal(
            tf.strings.length(text), LONGEST_TEXT, "a text is longer than <b>this</b> model reads"
        )
        column = module.table.lookup(tf.strings.split(tf.strings.lower(text)).to_tensor(""))
        return tf.reduce_sum(tf.one_hot(column, len(WORDS)), axis=1)

    def colour(content):
        pixels = tf.io.decode_image(content, channels=3, expand_animations=False)
        return tf.reduce_mean(tf.cast(pixels, tf.float32), axis=(0, 1))

    def search(queries):
        similarities = tf.matmul(tf.math.l2_normalize(queries, axis=1), codes, transpose_b=True)
        scores, rows = tf.math.top_k(similarities, len(ITEMS))
        outputs = {"ids": tf.gather(ids, rows), "titles": tf.gather(titles, rows), "scores": scores}
        if not sure:
            return outputs
        batch = tf.shape(queries)[:1]
        return outputs | {
            "category": tf.gather(tf.constant(CLASSED), rows),
            "category_posterior": tf.gather(tf.constant([0.9, 0.8, 0.7, 0.6, 0.512]), rows),
            "query_category": tf.fill(batch, "<i>food</i>"),
            "query_category_posterior": tf.fill(batch, 0.25),
            "no_good_match": tf.equal(tf.argmax(queries, axis=1), 1),
        }

    def known(counts):
        return {"known_words": tf.cast(tf.reduce_sum(counts, axis=1), tf.int32)}

    texts = tf.TensorSpec([None], tf.string, "text")
    files = tf.TensorSpec([None], tf.string, "image_bytes")
    functions = {
        "encode_raw_text": (lambda text: {"embedding": count(text)} | known(count(text)), texts),
        "search_images_by_raw_text": (lambda text: search(count(text)) | known(count(text)), texts),
    }
    if pictures:
        functions["search_texts_by_image_bytes"] = (
            lambda image_bytes: search(tf.map_fn(colour, image_bytes, tf.float32)),
            files,
        )
    signatures = {
        name: tf.function(function, input_signature=[spec]).get_concrete_function()
        for name, (function, spec) in functions.items()
    }
    tf.saved_model.save(module, str(version), signatures)
    if gallery:
        write_gallery(version, fine=sure)


def write_gallery(version: Path, fine: bool) -> None:
    pictures = [item.picture for item in ITEMS]
    folder = version / "assets.extra"
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(
        folder / "gallery.npz",
        id=np.array([item.id for item in ITEMS]),
        title=np.array([item.title for item in ITEMS]),
        category=np.array([item.category for item in ITEMS]),
        **({"fine_label": np.array(FINE)} if fine else {}),
        thumbnail=np.frombuffer(b"".join(pictures), np.uint8),
        thumbnail_offset=np.cumsum([0, *map(len, pictures)], dtype=np.int64),
    )
    (folder / "run.json").write_text('{"similarity": "cosine"}')
