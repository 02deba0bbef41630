"""Small runs to export."""

import keras
import numpy as np
import pytest

from xgacmn_tf.datasets.extraction.extractor_files import keep_extractors
from xgacmn_tf.datasets.openclipart import OPENCLIPART
from xgacmn_tf.datasets.paired import PairedDataset
from xgacmn_tf.io.files import write_json
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.model.map_choice import fit_map
from xgacmn_tf.model.networks import Encoder
from xgacmn_tf.runs.folder import RunFolder
from xgacmn_tf.settings.config import Config


@pytest.fixture(scope="package")
def run(finished_run):
    """The folder of a trained run: images 8-D, texts 5-D, 3 classes, 30 test pairs."""
    return finished_run[0]


@pytest.fixture(scope="package")
def clip_art():
    """The clip art with word counts, which need no network."""
    return OPENCLIPART.load("bow")


@pytest.fixture(scope="package")
def make_clip_art_run(clip_art, make_run):
    """Makes the folder of a run on `clip_art` as `make_run` does."""

    def make(path):
        config = Config.of(dataset="openclipart", text_features="bow", output_dir=str(path))
        return make_run(path, clip_art, config)

    return make


@pytest.fixture(scope="package")
def make_run():
    """Makes a finished run's folder around encoders that nobody trained; returns both."""

    def make(path, dataset, config, similarity="cosine", image_map="zscore", class_layer=None):
        keras.utils.set_random_seed(0)
        encoder = CommonSpaceEncoder(
            fit_map(image_map, dataset.train.image, "image"),
            fit_map("tfidf", dataset.train.text, "text"),
            Encoder((9,), 4),
            Encoder((9,), 4),
            class_layer,
            calibration={"image": 0.5, "text": 1.25},
        )
        folder = RunFolder(path)
        folder.claim(config, dataset.fingerprint)
        encoder.save(folder.best)
        keep_extractors(dataset, folder.extractors)
        write_json(folder.metrics, {"headline_similarity": similarity})
        return folder, encoder

    return make


@pytest.fixture
def pairs(make_split):
    """Six small pairs, features such that every input map takes them."""
    splits = [
        make_split(name, image=np.arange(24).reshape(6, 4) % 7, text=np.arange(12).reshape(6, 2))
        for name in ("train", "test")
    ]
    return PairedDataset("pairs", *splits, ("a", "b", "c"))
