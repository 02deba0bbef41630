"""Galleries: each distinct image once, and all texts."""

import numpy as np
import pytest

from xgacmn_tf.gallery import (
    LONGEST_TITLE,
    Gallery,
    categories_with_posteriors,
    from_file,
    join,
)


def gallery(image, **fields) -> Gallery:
    image = np.asarray(image, np.float32)
    rows = len(image)
    defaults = {
        "id": np.array([f"id-{row}" for row in range(rows)]),
        "title": np.array([f"caption {row}" for row in range(rows)]),
    }
    text = np.arange(rows, dtype=np.float32)[:, None]
    return Gallery({"image": image, "text": text}, **(defaults | fields))


def test_an_image_stands_once_with_all_its_captions_and_categories():
    pairs = gallery(
        [[1, 0], [2, 2], [1, -0.0], [3, 1], [1, 0]],
        category=np.array(["sky, sea", "dog", "sea", "", "bird"]),
        thumbnail=(b"a", b"b", b"a", b"", b"a"),
    )
    images = pairs.of_modality("image")
    assert images.id.tolist() == ["id-0", "id-1", "id-3"]
    assert images.title.tolist() == ["caption 0 | caption 2 | caption 4", "caption 1", "caption 3"]
    assert images.category.tolist() == ["sky, sea, bird", "dog", ""]
    assert images.thumbnail == (b"a", b"b", b"")
    assert list(images.features) == ["image"]
    np.testing.assert_array_equal(images.features["image"], [[1, 0], [2, 2], [3, 1]])
    texts = pairs.of_modality("text")
    assert texts.id is pairs.id and texts.title is pairs.title and list(texts.features) == ["text"]
    assert len(texts) == 5


def test_more_captions_than_five_are_many():
    """Ten captions of one of two images: each is still one image."""
    images = gallery(np.repeat(np.eye(2), [10, 1], axis=0)).of_modality("image")
    assert images.id.tolist() == ["id-0", "id-10"]
    assert images.title[0] == " | ".join([*(f"caption {n}" for n in range(5)), "… and 5 more"])


def test_long_and_equal_captions():
    same = gallery(np.ones((3, 2)), title=np.array(["a dog", "A dog", "a dog"]))
    assert same.of_modality("image").title.tolist() == ["a dog"]
    long = gallery(np.ones((3, 2)), title=np.array(["a" * 350, "b" * 350, "c"]))
    title = long.of_modality("image").title[0]
    assert title == "a" * 350 + " | … and 2 more" and len(title) < LONGEST_TITLE


def test_without_repeated_images_everything_stays():
    pairs = gallery(np.eye(3))
    images = pairs.of_modality("image")
    assert images.id is pairs.id and images.features["image"] is pairs.features["image"]


@pytest.mark.parametrize("thumbnail", [None, (b"a", b"b", b"b")])
def test_images_without_features_are_told_apart_by_their_thumbnails_alone(thumbnail):
    images = gallery(np.zeros((3, 2)), thumbnail=thumbnail).of_modality("image")
    assert images.id.tolist() == (
        ["id-0", "id-1", "id-2"] if thumbnail is None else ["id-0", "id-1"]
    )


def test_fine_labels_travel_through_files_and_stand_beside_galleries_without():
    image = np.float32([[1, 0], [1, 0], [0, 1]])
    one = gallery(image, fine_label=np.array(["apple", "pear", ""]))
    assert one.of_modality("image").fine_label.tolist() == ["apple, pear", ""]
    assert one.of_modality("text").fine_label.tolist() == ["apple", "pear", ""]
    other = gallery(image, id=np.array(["x", "y", "z"]))
    assert join([other, one]).fine_label.tolist() == ["", "", "", "apple", "pear", ""]
    assert join([other, gallery(image)]).fine_label is None


def test_a_gallery_file_has_fine_labels(tmp_path):
    labels = np.array(["apple", "pear", ""])
    gallery(np.eye(3, dtype=np.float32), fine_label=labels).write(tmp_path / "items.npz")
    assert from_file(tmp_path / "items.npz", {}).fine_label.tolist() == labels.tolist()


def test_categories_by_hand():
    posteriors = np.float32([[0.7, 0.2, 0.1], [0.5, 0.2, 0.3], [0.1, 0.6, 0.3], [0.2, 0.3, 0.5]])
    names = ("sky", "sea, lake", "land")
    category = np.array(["land", "sky, land", "fruit", ""])
    shown, values, known = categories_with_posteriors(posteriors, names, category)
    assert shown.tolist() == ["land", "sky, land", "sea, lake", "land"]
    np.testing.assert_allclose(values, [0.1, 0.8, 0.6, 0.5], rtol=1e-6)
    assert known.tolist() == [True, True, False, False]
    whole = categories_with_posteriors(posteriors[:1], names, np.array(["sea, lake"]))
    assert (whole[0][0], whole[1][0], whole[2][0]) == ("sea, lake", np.float32(0.2), True)
    assert categories_with_posteriors(posteriors, names)[0].tolist() == [
        "sky", "sky", "sea, lake", "land",
    ]  # fmt: skip
