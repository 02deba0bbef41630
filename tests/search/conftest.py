"""A run that anyone can follow: what is searched are colours, and their names."""

import shutil

import numpy as np
import pytest
from PIL import Image

from tests.mean_colour import MeanColour
from xgacmn_tf import datasets
from xgacmn_tf.features import registry
from xgacmn_tf.features.words import BagOfWords
from xgacmn_tf.io.files import write_json
from xgacmn_tf.model.angular_softmax import PlainSoftmax
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.model.input_maps import Identity
from xgacmn_tf.model.networks import Encoder
from xgacmn_tf.runs.folder import RunFolder
from xgacmn_tf.settings.config import Config

WORDS = ["red", "green", "blue"]
# Red, green and blue of the six test pictures, and what their texts call them.
TEST = np.array([[9, 1, 0], [1, 8, 1], [0, 1, 7], [4, 6, 0], [2, 6, 1], [2, 2, 6]], np.float32)
CALLED = np.array([0, 1, 2, 0, 1, 2])


@pytest.fixture(autouse=True)
def empty_user_cache(tmp_path, monkeypatch):
    """Features of networks are cached there, as those of training are."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user-cache"))


@pytest.fixture(scope="package")
def mean_colour():
    """Makes `MeanColour` known to the registry."""
    real = registry._class
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            registry,
            "_class",
            lambda modality, name: MeanColour if name == "mean" else real(modality, name),
        )
        yield


@pytest.fixture(scope="package")
def colour_run(mean_colour, tmp_path_factory):
    """The folder of a finished run whose codes are red, green and blue; cosine ranks.

    In the test split, pictures 0 and 3 are called red, though 3 is rather green.
    """
    folder = tmp_path_factory.mktemp("colours")
    split = {"image": TEST, "text": np.eye(3, dtype=np.float32)[CALLED], "label": CALLED}
    arrays = {f"{name}_{part}": a for name, a in split.items() for part in ("train", "test")}
    for part in ("train", "test"):
        arrays[f"id_{part}"] = np.array([f"{part}-{row}" for row in range(6)])
        arrays[f"title_{part}"] = np.array([f"a {WORDS[k]} one" for k in CALLED])
    np.savez(folder / "colours.npz", label_names=np.array(["warm", "fresh", "cold"]), **arrays)
    config = Config.of(dataset=str(folder / "colours.npz"), validation_fraction=0.5)
    run = RunFolder(folder / "run")
    run.claim(config, datasets.for_config(config).fingerprint)
    encoder = identity_encoder()
    encoder.save(run.best)
    MeanColour().save(run.extractors / "image")
    words = BagOfWords()
    words.vocabulary = WORDS
    words.save(run.extractors / "text")
    # The codes are the features.
    run.write_embeddings({name: split[name] for name in ("image", "text", "label")})
    write_json(run.metrics, {"headline_similarity": "cosine"})
    return run.path


def identity_encoder() -> CommonSpaceEncoder:
    """Codes are the features, of pictures and of texts."""
    encoders = [Encoder((), 3, code_activation="linear") for _ in range(2)]
    encoder = CommonSpaceEncoder(Identity(3), Identity(3), *encoders, None)
    for part in encoders:
        part.set_weights([np.eye(3), np.zeros(3)])
    return encoder


@pytest.fixture
def item_run(colour_run, tmp_path):
    """A run like that of colours, whose classes and item embeddings are the colours as well."""
    folder = tmp_path / "items"
    shutil.copytree(colour_run, folder, ignore=shutil.ignore_patterns("cache", "indexes"))
    layers = [Encoder((), 3, code_activation="linear") for _ in range(4)]
    encoder = CommonSpaceEncoder(
        Identity(3), Identity(3), *layers[:2], PlainSoftmax(3), None, *layers[2:], item_weight=0.5,
        match_thresholds={"test": {"text": 0.65}, "all": {"text": 0.99}},
    )  # fmt: skip
    for layer in layers:
        layer.set_weights([np.eye(3), np.zeros(3)])
    encoder.class_layer.set_weights(
        [
            np.eye(3) if weight.ndim == 2 else 0 * weight
            for weight in encoder.class_layer.get_weights()
        ]
    )
    encoder.save(RunFolder(folder).best)
    metrics = {"headline_similarity": "posterior", "label_names": ["warm", "fresh", "cold"]}
    write_json(RunFolder(folder).metrics, metrics)
    return folder, encoder


@pytest.fixture
def misleading_run(item_run):
    """The same, but images of red are taken for green ones, green for blue, and blue for red."""
    folder, encoder = item_run
    encoder.image_encoder.set_weights([np.roll(np.eye(3), 1, axis=1), np.zeros(3)])
    encoder.image_items.set_weights([np.zeros((3, 3)), np.ones(3)])
    encoder.save(RunFolder(folder).best)
    return folder, encoder


@pytest.fixture
def photos(tmp_path):
    """A folder of three plain pictures, one of them in a folder below."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for name, colour in (
        ("rose.png", (200, 20, 10)),
        ("sea.jpg", (10, 60, 180)),
        ("more/leaf.webp", (30, 160, 40)),
    ):
        Image.new("RGB", (40, 30), colour).save(folder / name)
    return folder
