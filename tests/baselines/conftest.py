"""Small training data for the compared systems, ordinary and degenerate."""

import dataclasses

import keras
import numpy as np
import pytest

from xgacmn_tf import baselines
from xgacmn_tf.baselines import TrainingData
from xgacmn_tf.names import SYSTEMS

RBMS = ("rbm_steps=4", "widths=6x5")
# Of every system that has sizes to make small, so that training takes a moment.
SMALL: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(SYSTEMS, ()),
    "jrl": ("voters=7", "neighbours=4"),
    "pacmr": ("centres=20",),
    "mdbn": (*RBMS, "joint_width=4"),
    "bimodal_ae": (*RBMS, "epochs=2", "batch_size=8", "code_dim=4"),
    "corr_ae": (*RBMS, "epochs=2", "batch_size=8", "code_dim=4"),
    "cmdn": (
        "rbm_steps=4", "widths=6", "image_rates=0.01", "text_rates=0.1", "joint_width=4",
        "intra_widths=5x4", "top_width=5", "network_width=6", "code_widths=4x3", "batch_size=8",
        "intra_epochs=1", "network_epochs=1", "code_epochs=2",
    ),
    "acmr": ("epochs=2", "batch_size=8"),
    "dscmr": ("epochs=2", "batch_size=8", "hidden=12", "code_dim=6"),
    "supcon": ("epochs=2", "batch_size=8", "hidden=12", "code_dim=6"),
    "two_tower": ("epochs=2", "batch_size=8", "hidden=12", "code_dim=6"),
}  # fmt: skip
# Those that take seconds to trace.
DEEP = ("mdbn", "bimodal_ae", "corr_ae", "cmdn")
DEGENERATE = (
    "constant features",
    "constant images",
    "one class",
    "a class without items",
    "a class with one item",
    "more features than items",
    "duplicate items",
    "all items alike",
    "texts of zeros",
    "empty texts among word counts",
    "two pairs",
    "several labels",
)


@pytest.fixture(
    params=[
        pytest.param(name, marks=pytest.mark.slow) if name in DEEP else name for name in SYSTEMS
    ]
)
def name(request) -> str:
    """Every system's name; the deep ones are slow."""
    return request.param


@pytest.fixture(scope="session")
def small_settings() -> dict[str, tuple[str, ...]]:
    """Settings of every system that make its training take a moment, by name."""
    return SMALL


@pytest.fixture(scope="session")
def train_small():
    """Trains a system with those settings: (name, data) → encoder."""

    def train(name: str, data: TrainingData):
        keras.utils.set_random_seed(0)
        return baselines.system(name).fit(data, baselines.parse_settings(name, SMALL[name]))

    return train


def make_pairs(rows=60, image_dim=8, text_dim=5, classes=3) -> TrainingData:
    """Pairs around a centre for each class, which a linear system can tell apart."""
    generator = np.random.default_rng(0)
    label = np.arange(rows) % classes

    def features(dim: int) -> np.ndarray:
        centres = generator.normal(size=(classes, dim))
        return (centres[label] + 0.7 * generator.normal(size=(rows, dim))).astype(np.float32)

    image, text = features(image_dim), features(text_dim)
    targets = np.eye(classes, dtype=np.float32)[label]
    return TrainingData(image, text, targets, None, None, 0, lambda steps: steps)


@pytest.fixture
def pairs() -> TrainingData:
    """60 pairs of 3 classes, images 8-D and texts 5-D, no validation pairs, seed 0."""
    return make_pairs()


@pytest.fixture(scope="session")
def many_pairs() -> TrainingData:
    """6,000 of the same kind."""
    return make_pairs(rows=6000)


@pytest.fixture(params=DEGENERATE)
def degenerate(request) -> TrainingData:
    """The same, with one thing about them that may trip a system up."""
    data = (
        make_pairs(rows=12, image_dim=40, text_dim=30) if "more" in request.param else make_pairs()
    )
    image, text, targets = data.image.copy(), data.text.copy(), data.targets.copy()
    match request.param:
        case "constant features":
            image[:, :2], text[:, 0] = 3.0, 0.0
        case "constant images":
            image[:] = 2.0
        case "one class":
            targets[:] = [1, 0, 0]
        case "a class without items":
            targets = np.eye(4, dtype=np.float32)[targets.argmax(axis=1)]
        case "a class with one item":
            targets[targets[:, 2] > 0] = [0, 1, 0]
            targets[-1] = [0, 0, 1]
        case "duplicate items":
            image[30:], text[30:], targets[30:] = image[:30], text[:30], targets[:30]
        case "all items alike":
            image[:], text[:] = image[0], text[0]
        case "texts of zeros":
            text[:] = 0.0
        case "empty texts among word counts":
            text = np.where(np.arange(60)[:, None] % 3, np.abs(text).round(), 0)
            text = text.astype(np.float32)
        case "two pairs":
            image, text, targets = image[:2], text[:2], targets[:2]
        case "several labels":
            targets[::2, 0] = 1.0
    return dataclasses.replace(data, image=image, text=text, targets=targets)
