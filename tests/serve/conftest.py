"""A run small enough to check by hand: texts, images and items are colors.

Version 1 knows the words red, green and blue. Version 2 knows sky, too, which means blue.
"""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

WORDS = {1: {"red": 0, "green": 1, "blue": 2}, 2: {"red": 0, "green": 1, "blue": 2, "sky": 2}}
# id: (title, category, color, format of the thumbnail)
ITEMS = {
    "sky": ("blue sky", "nature", (30, 90, 220), "WEBP"),
    "apple": ("red apple", "food", (200, 20, 30), "PNG"),
    "leaf": ("green leaf", "nature", (20, 160, 40), "JPEG"),
    "a/ä ?&#": ("an olive", "food", (110, 120, 20), None),
    "fire": ('<img src=x onerror="alert(1)">', "<b>heat</b>", (250, 120, 0), "PNG"),
}
LABELS = ["food", "nature", "sea"]


def image_file(color=(200, 20, 30), kind="PNG", size=(8, 6)) -> bytes:
    """An image of one color, or b""."""
    stream = io.BytesIO()
    if kind is not None:
        Image.new("RGB", size, color).save(stream, kind)
    return stream.getvalue()


def write_version(folder: Path, raw: bool = True) -> None:
    """Write a version as `xgacmn export` does: a SavedModel, run.json and gallery.npz."""
    words = WORDS[int(folder.name)]
    module = tf.Module()
    module.table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(
            tf.constant(list(words)), tf.constant(list(words.values()), tf.int64)
        ),
        default_value=-1,
    )

    def encode(colors):
        unit = tf.math.l2_normalize(colors, axis=1)
        posterior = colors / tf.maximum(tf.reduce_sum(colors, axis=1, keepdims=True), 1e-9)
        return {"search": tf.concat([posterior, unit], axis=1)}

    def encode_text(text_features):
        captions = 2 * tf.math.l2_normalize(text_features, axis=1)
        return encode(text_features) | {"caption_features": captions}

    def encode_raw_text(text):
        split = tf.strings.split(tf.strings.lower(text)).to_tensor("")
        counts = tf.reduce_sum(tf.one_hot(module.table.lookup(split), 3), axis=1)
        known = tf.cast(tf.reduce_sum(counts, axis=1), tf.int32)
        return encode_text(counts) | {"known_words": known}

    def encode_image_bytes(image_bytes):
        def color(content):
            pixels = tf.io.decode_image(content, channels=3, expand_animations=False)
            return tf.reduce_mean(tf.cast(pixels, tf.float32), axis=(0, 1))

        return encode(tf.map_fn(color, image_bytes, tf.float32))

    functions = {
        "encode_image": (encode, [None, 3], tf.float32, "image_features"),
        "encode_text": (encode_text, [None, 3], tf.float32, "text_features"),
    }
    if raw:
        functions |= {
            "encode_raw_text": (encode_raw_text, [None], tf.string, "text"),
            "encode_image_bytes": (encode_image_bytes, [None], tf.string, "image_bytes"),
        }
    signatures = {
        name: tf.function(
            function, input_signature=[tf.TensorSpec(shape, dtype, key)]
        ).get_concrete_function()
        for name, (function, shape, dtype, key) in functions.items()
    }
    tf.saved_model.save(module, str(folder), signatures)
    extra = folder / "assets.extra"
    extra.mkdir()
    thresholds = {"image": None, "text": 0.6}
    record = {
        "similarity": "item",
        "version": int(folder.name),
        "gallery": {"split": "test"},
        "encoder": {
            "posteriors": 3, "label_names": LABELS, "code_dim": 3, "item_dim": 3,
            "item_weight": 1.0, "text_dim": 3,
            "match_thresholds": {"all": thresholds, "test": thresholds},
        },
    }  # fmt: skip
    (extra / "run.json").write_text(json.dumps(record))
    thumbnails = [image_file(color, kind) for _, _, color, kind in ITEMS.values()]
    captions = [[w in title.split() for w in WORDS[1]] for title, *_ in ITEMS.values()]
    np.savez(
        extra / "gallery.npz",
        id=np.array(list(ITEMS)),
        title=np.array([title for title, *_ in ITEMS.values()]),
        category=np.array([category for _, category, *_ in ITEMS.values()]),
        image=np.array([color for _, _, color, _ in ITEMS.values()], np.float32),
        text=np.array(captions, np.float32),
        thumbnail=np.frombuffer(b"".join(thumbnails), np.uint8),
        thumbnail_offset=np.cumsum([0, *map(len, thumbnails)], dtype=np.int64),
    )


@pytest.fixture(scope="session")
def versions(tmp_path_factory) -> Path:
    """The folders of versions 1 and 2, to be copied."""
    pytest.importorskip("fastapi", reason="the service is an extra: xgacmn_tf[serve]")
    folder = tmp_path_factory.mktemp("versions")
    for number in WORDS:
        write_version(folder / str(number))
    return folder


@pytest.fixture
def run(versions, tmp_path) -> Path:
    """A run folder with version 1."""
    publish(versions, tmp_path / "run", 1)
    return tmp_path / "run"


def publish(versions: Path, run: Path, number: int) -> None:
    shutil.copytree(versions / str(number), run / "models" / "xgacmn" / str(number))


@pytest.fixture
def serve():
    """Starts services in this process: `serve(run, key=None, **options)` returns a client."""
    from starlette.testclient import TestClient

    from xgacmn_tf.serve.app import make_app
    from xgacmn_tf.serve.options import ServiceOptions
    from xgacmn_tf.serve.service import Service

    services = []

    def serve(run, key=None, hosts=frozenset({"localhost"}), start=True, **options):
        service = Service(ServiceOptions(run=str(run), **options))
        services.append(service)
        if start:
            service.reload()
        client = TestClient(
            make_app(service, key, hosts), "http://localhost", raise_server_exceptions=False
        )
        client.service = service
        return client

    yield serve
    for service in services:
        service.store.close()
