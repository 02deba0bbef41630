"""Small training data for the compared systems, ordinary and degenerate."""

import dataclasses

import numpy as np
import pytest

from xgacmn_tf.baselines import TrainingData

DEGENERATE = (
    "constant features",
    "one class",
    "a class without items",
    "a class with one item",
    "more features than items",
    "duplicate items",
    "all items alike",
    "texts of zeros",
    "several labels",
)


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
        case "several labels":
            targets[::2, 0] = 1.0
    return dataclasses.replace(data, image=image, text=text, targets=targets)
