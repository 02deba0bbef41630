"""Galleries: each distinct image and text once, and the embeddings that searches compare."""

import keras
import numpy as np
import pytest

from xgacmn_tf import gallery as gallery_files
from xgacmn_tf.datasets.tables import TEXT_ID
from xgacmn_tf.errors import InputError
from xgacmn_tf.gallery import (
    Gallery,
    categories_with_posteriors,
    combines,
    compares_features,
    from_file,
    join,
    query_embeddings,
    search_embeddings,
)
from xgacmn_tf.model.angular_softmax import PlainSoftmax
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.model.input_maps import Identity
from xgacmn_tf.model.networks import Encoder


def gallery(image, text=None, **fields) -> Gallery:
    image = np.asarray(image, np.float32)
    rows = len(image)
    defaults = {
        "id": np.array([f"id-{row}" for row in range(rows)]),
        "title": np.array([f"caption {row}" for row in range(rows)]),
    }
    text = np.float32(np.arange(rows)[:, None] if text is None else text)
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
    assert title == "a" * 350 + " | … and 2 more" and len(title) < 400


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


def test_a_text_stands_once_if_its_image_and_title_do():
    """Row 1 has another title than row 0 of its image, row 2 another image of its title."""
    pairs = gallery(
        [[1, 0], [1, 0], [2, 2], [1, -0.0], [0, 0], [0, 0]],
        title=np.array(["dog", "cat", "dog", "dog", "dog", "dog"]),
        category=np.array(["animals", "animals", "toys", "pets", "", ""]),
        thumbnail=(b"a", b"a", b"b", b"a", b"", b""),
    )
    texts, item = pairs.distinct("text")
    # Images without features are not known to be the same.
    assert texts.id.tolist() == ["id-0", "id-1", "id-2", "id-4", "id-5"]
    assert item.tolist() == [0, 1, 2, 0, 3, 4]
    assert texts.title.tolist() == ["dog", "cat", "dog", "dog", "dog"]
    assert texts.category.tolist() == ["animals, pets", "animals", "toys", "", ""]
    assert texts.thumbnail == (b"a", b"a", b"b", b"", b"")
    np.testing.assert_array_equal(texts.features["text"], [[0], [1], [2], [4], [5]])
    images, item = pairs.distinct("image")
    assert images.id.tolist() == ["id-0", "id-2", "id-4", "id-5"]
    assert item.tolist() == [0, 0, 1, 0, 2, 3]


def test_texts_without_images_stay_as_they_are():
    text = np.ones((2, 1), np.float32)
    texts = Gallery({"text": text}, np.array(["a", "b"]), np.array(["dog", "dog"]))
    assert texts.of_modality("text").id.tolist() == ["a", "b"]


@pytest.fixture(scope="module")
def encoder():
    """Encoders that nobody trained, of 4 image and 3 text features, with item embeddings."""
    keras.utils.set_random_seed(0)
    layers = [Encoder((), dim, code_activation="linear") for dim in (6, 6, 5, 5)]
    return CommonSpaceEncoder(
        Identity(4), Identity(3), *layers[:2], PlainSoftmax(3), {"image": 0.5, "text": 1.25},
        *layers[2:], item_weight=0.3,
    )  # fmt: skip


def embeddings(encoder, modality, features, similarity="item"):
    encodings = encoder.encodings_of(modality, np.float32(features))
    return encoder.represent(encodings, similarity, modality).numpy()


@pytest.fixture
def captions():
    """Two captions of one image, one of another, an unknown one, and an unknown image."""
    rng = np.random.default_rng(0)
    image, text = rng.normal(size=(5, 4)), rng.normal(size=(5, 3))
    image[1], image[4], text[3] = image[0], 0, 0
    return gallery(image, text=text)


def test_items_are_compared_by_image_and_captions(encoder, captions):
    image, text = (embeddings(encoder, m, captions.features[m]) for m in ("image", "text"))
    images, found = search_embeddings(encoder, "item", captions, "image", caption_features=False)
    assert images.id.tolist() == ["id-0", "id-2", "id-3", "id-4"] and found.dtype == np.float32
    np.testing.assert_array_equal(
        images.features["image"], captions.features["image"][[0, 2, 3, 4]]
    )
    both = image[0] / 2 + (text[0] + text[1]) / 4, (image[2] + text[2]) / 2
    np.testing.assert_allclose(found, [*both, image[3], text[4]], atol=1e-6)
    texts, found = search_embeddings(encoder, "item", captions, "text")
    assert texts.id.tolist() == captions.id.tolist()
    both = (image[:3] + text[:3]) / 2
    np.testing.assert_allclose(found, [*both, image[3], text[4]], atol=1e-6)


def test_a_score_is_the_mean_of_those_for_image_and_caption(encoder):
    rng = np.random.default_rng(1)
    pairs = gallery(rng.normal(size=(4, 4)), text=rng.normal(size=(4, 3)))
    query = embeddings(encoder, "text", rng.normal(size=(2, 3)))
    items = search_embeddings(encoder, "item", pairs, "image", caption_features=False)[1]
    scores = query @ items.T
    of_images, of_texts = (
        query @ embeddings(encoder, m, pairs.features[m]).T for m in ("image", "text")
    )
    np.testing.assert_allclose(scores, (of_images + of_texts) / 2, atol=1e-6)
    assert np.abs(of_images - of_texts).max() > 0.01


def test_searches_of_images_add_four_times_the_cosine_with_the_captions(encoder, captions):
    queries = np.random.default_rng(3).normal(size=(2, 3)).astype(np.float32)
    found = search_embeddings(encoder, "item", captions, "image")[1]
    without = search_embeddings(encoder, "item", captions, "image", caption_features=False)[1]
    compared, plain = (
        query_embeddings(encoder, "item", "text", queries, len(items[0]))
        for items in (found, without)
    )
    np.testing.assert_array_equal(plain, embeddings(encoder, "text", queries))
    texts = captions.features["text"][[0, 1, 2, 4]]
    q, t = (x / np.linalg.norm(x, axis=1)[:, None] for x in (queries, texts))
    known = q @ t.T
    # Two captions of the first image; the third has none.
    cosines = np.stack([known[:, :2].mean(axis=1), known[:, 2], [0, 0], known[:, 3]], axis=1)
    np.testing.assert_allclose(compared @ found.T, plain @ without.T + 4 * cosines, atol=1e-5)
    for wide, narrow in ((compared, plain), (found, without)):
        np.testing.assert_array_equal(encoder.items_of(wide), encoder.items_of(narrow))
        np.testing.assert_array_equal(encoder.posteriors_of(wide), encoder.posteriors_of(narrow))


@pytest.mark.parametrize("limit", ["MAX_CAPTION_DIM", "MAX_COMBINED"])
def test_caption_features_that_are_too_large_are_not_compared(
    encoder, captions, monkeypatch, limit
):
    value = {"MAX_CAPTION_DIM": 3, "MAX_COMBINED": 5 * (3 + 5 + 3)}[limit]
    for less in (0, 1):
        monkeypatch.setattr(gallery_files.embeddings, limit, value - less)
        assert combines(encoder, "item", captions)
        assert compares_features(encoder, "item", captions) is not bool(less)
        found = search_embeddings(encoder, "item", captions, "image")[1]
        assert found.shape == (4, 3 + 5 + 3 * (1 - less))


def test_a_text_that_stands_twice_is_compared_by_the_first(encoder):
    rng = np.random.default_rng(2)
    pairs = gallery(
        np.repeat(rng.normal(size=(2, 4)), 2, axis=0),
        text=rng.normal(size=(4, 3)),
        title=np.array(["dog", "dog", "dog", "cat"]),
    )
    image, text = (embeddings(encoder, m, pairs.features[m]) for m in ("image", "text"))
    texts, found = search_embeddings(encoder, "item", pairs, "text")
    assert texts.id.tolist() == ["id-0", "id-2", "id-3"]
    rows = [0, 2, 3]
    np.testing.assert_allclose(found, (image[rows] + text[rows]) / 2, atol=1e-6)


@pytest.mark.parametrize("similarity", ["posterior", "cosine", "dot"])
def test_other_similarities_compare_one_modality(encoder, captions, similarity):
    for modality in ("image", "text"):
        items, found = search_embeddings(encoder, similarity, captions, modality)
        expected = embeddings(encoder, modality, items.features[modality], similarity)
        np.testing.assert_array_equal(found, expected)
    assert not combines(encoder, similarity, captions)


@pytest.mark.parametrize("reason", ["flag", "one modality", "no captions", "too many numbers"])
def test_where_items_are_compared_by_one_modality(encoder, captions, reason, monkeypatch):
    image = embeddings(encoder, "image", captions.features["image"])
    numbers = 5 * (3 + 5)
    monkeypatch.setattr(
        gallery_files.embeddings, "MAX_COMBINED", numbers - (reason == "too many numbers")
    )
    if reason == "one modality":
        captions = Gallery({"image": captions.features["image"]}, captions.id, captions.title)
    if reason == "no captions":
        captions = gallery(captions.features["image"], text=np.zeros((5, 3)))
    possible = reason in ("flag", "no captions")
    assert combines(encoder, "item", captions) is possible
    found = search_embeddings(encoder, "item", captions, "image", captions=reason != "flag")[1]
    np.testing.assert_allclose(found, image[[0, 2, 3, 4]], atol=1e-6)


def test_embeddings_of_a_gallery_have_one_width_with_and_without_known_captions(encoder, captions):
    silent = gallery(captions.features["image"], text=np.zeros((5, 3)))
    some, none = (search_embeddings(encoder, "item", g, "image")[1] for g in (captions, silent))
    assert some.shape == none.shape
    queries = np.random.default_rng(5).normal(size=(4, 3))
    wide = query_embeddings(encoder, "item", "text", queries, none.shape[1])
    alone = search_embeddings(encoder, "item", silent, "image", caption_features=False)[1]
    narrow = query_embeddings(encoder, "item", "text", queries)
    np.testing.assert_allclose(wide @ none.T, narrow @ alone.T, rtol=1e-5, atol=1e-6)


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


def one_modality(modality, ids, dim=2, **fields) -> Gallery:
    ids = np.array(ids)
    features = {modality: np.arange(1, len(ids) * dim + 1, dtype=np.float32).reshape(-1, dim)}
    return Gallery(features, ids, **({"title": ids} | fields))


def test_galleries_of_different_modalities_join_by_id():
    photos = one_modality("image", ["a", "b"], thumbnail=(b"A", b"B"), title=np.array(["x", "y"]))
    texts = one_modality(
        "text", ["b", "c"], 3, title=np.array(["caption", "c"]), category=np.array(["sky", ""])
    )
    for joined in (join([photos, texts]), join([join([photos]), texts])):
        assert joined.id.tolist() == ["a", "b", "c"]
        assert joined.title.tolist() == ["x", "caption", "c"]
        assert joined.category.tolist() == ["", "sky", ""]
        assert joined.thumbnail == (b"A", b"B", b"")
        assert joined.has_image.tolist() == [True, True, False]
        assert joined.has_text.tolist() == [False, True, True]
        np.testing.assert_array_equal(joined.features["image"], [[1, 2], [3, 4], [0, 0]])
        np.testing.assert_array_equal(joined.features["text"], [[0] * 3, [1, 2, 3], [4, 5, 6]])


def test_a_gallery_that_is_no_file_points_to_the_command():
    with pytest.raises(InputError, match="gallery images: .* `xgacmn gallery --run=RUN images -o"):
        from_file("images/", {})


def test_a_text_of_two_galleries_that_is_named_by_its_hash_is_one_item():
    first, second = (one_modality("text", [TEXT_ID + "a", TEXT_ID + b]) for b in "bc")
    assert join([first, second, first]).id.tolist() == [TEXT_ID + one for one in "abc"]


def test_an_id_with_two_images_and_different_features_are_named():
    photos = one_modality("image", ["a", "b"])
    with pytest.raises(
        InputError, match="gallery 1 and gallery 2 both have an? .* with the id 'b'"
    ):
        join([photos, one_modality("image", ["b"])])
    with pytest.raises(InputError, match="have 2 and 3 image features"):
        join([photos, one_modality("image", ["c"], 3)])


def test_missing_images_and_texts_are_not_found_and_stay_in_files(tmp_path):
    join([one_modality("image", ["a", "b"]), one_modality("text", ["c"])]).write(tmp_path / "g.npz")
    joined = from_file(tmp_path / "g.npz", {})
    assert joined.has_image.tolist() == [True, True, False]
    images, item = joined.distinct("image")
    assert images.id.tolist() == ["a", "b"] and item.tolist() == [0, 1, -1]
    assert joined.of_modality("text").id.tolist() == ["c"]
    with np.load(tmp_path / "g.npz") as arrays:
        np.savez(tmp_path / "bad.npz", **dict(arrays) | {"has_text": np.ones(2, bool)})
    with pytest.raises(InputError, match=r"has_text has shape \(2,\) .* 3 booleans"):
        from_file(tmp_path / "bad.npz", {})


def test_items_without_an_image_do_not_change_the_embeddings_of_images(encoder, captions):
    texts = one_modality("text", ["other"], captions.features["text"].shape[1])
    _, alone = search_embeddings(encoder, "item", captions, "image")
    items, joined = search_embeddings(encoder, "item", join([captions, texts]), "image")
    assert "other" not in items.id
    np.testing.assert_allclose(joined, alone, rtol=1e-5)
    items, _ = search_embeddings(encoder, "item", join([captions, texts]), "text")
    assert items.id[-1] == "other"
