"""SIFT bag of visual words."""

import numpy as np
import pytest
from PIL import Image

from xgacmn_tf.errors import InputError
from xgacmn_tf.features import image_extractor, load_extractor

pytest.importorskip("cv2", reason="pip install xgacmn_tf[sift]")


@pytest.fixture(scope="module")
def pictures():
    generator = np.random.default_rng(0)
    small = generator.integers(0, 256, (12, 20, 24, 3), dtype=np.uint8)
    return [Image.fromarray(array).resize((240, 200)) for array in small]


@pytest.fixture(scope="module")
def learned(pictures):
    extractor = image_extractor("sift", seed=1)
    extractor.fit(iter(pictures))
    return extractor


def test_rows_are_shares_of_the_nearest_words(learned, pictures):
    descriptors = [learned.prepare(picture) for picture in pictures[:3]]
    rows = learned.encode(descriptors)
    assert rows.shape == (3, 128) and rows.dtype == np.float32
    np.testing.assert_allclose(rows.sum(axis=1), 1, rtol=1e-5)
    # The oracle measures every distance in full.
    for row, found in zip(rows, descriptors, strict=True):
        distance = np.linalg.norm(found[:, None] - learned.words[None], axis=2)
        expected = np.bincount(distance.argmin(axis=1), minlength=128) / len(found)
        np.testing.assert_allclose(row, expected, atol=1e-6)


def test_a_blank_picture_has_equal_shares(learned):
    blank = learned.prepare(Image.new("RGB", (50, 50)))
    assert blank.shape == (0, 128)
    np.testing.assert_allclose(learned.encode([blank]), np.full((1, 128), 1 / 128))


def test_the_seed_decides(learned, pictures):
    again, other = image_extractor("sift", seed=1), image_extractor("sift", seed=2)
    again.fit(pictures)
    other.fit(pictures)
    np.testing.assert_array_equal(again.words, learned.words)
    assert not np.array_equal(other.words, learned.words)


def test_saved_ones_give_the_same(tmp_path, learned, pictures):
    learned.save(tmp_path)
    loaded = load_extractor(tmp_path)
    assert loaded.settings() == learned.settings()
    descriptors = [learned.prepare(pictures[0])]
    np.testing.assert_array_equal(loaded.encode(descriptors), learned.encode(descriptors))


def test_too_few_points():
    with pytest.raises(InputError, match="show 0 SIFT points, too few to learn 128 visual words"):
        image_extractor("sift").fit([Image.new("RGB", (50, 50))])


def test_learned_features_take_no_weights():
    with pytest.raises(InputError, match="'sift' are learned .* take no weights"):
        image_extractor("sift", weights="file")
