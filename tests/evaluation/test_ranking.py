"""A gallery ranked in blocks: order, ties, block sizes, bad input."""

import numpy as np
import pytest

from xgacmn_tf.errors import InputError
from xgacmn_tf.evaluation import ranking
from xgacmn_tf.evaluation.ranking import rank_gallery


def test_rank_gallery_orders_by_similarity_then_by_row():
    query = np.array([[1.0, 0.0], [0.0, 1.0]])
    gallery = np.array([[1.0, 2.0], [3.0, 2.0], [3.0, 1.0]])
    order, score = rank_gallery(query, gallery, 2)
    np.testing.assert_array_equal(order, [[1, 2], [0, 1]])
    np.testing.assert_array_equal(score, [[3, 3], [2, 2]])
    assert order.dtype == np.int32 and score.dtype == np.float32
    order, _ = rank_gallery(query, gallery, 10)
    np.testing.assert_array_equal(order, [[1, 2, 0], [0, 1, 2]])


def test_equal_items_tie_wherever_they_stand():
    # Real-valued codes: the two halves of the gallery hold the same items, and the first always
    # wins. In double precision alone the sums of the gallery's last two columns would differ.
    generator = np.random.default_rng(0)
    half = generator.normal(size=(37, 100)).astype(np.float32)
    order, _ = rank_gallery(generator.normal(size=(9, 100)), np.concatenate([half, half]), 74)
    np.testing.assert_array_equal(order[:, 1::2], order[:, ::2] + 37)


def test_scores_that_differ_beyond_single_precision_tie():
    # 1 and 1 + 1e-9 are both 1 in single precision, so that the lower row goes first.
    order, score = rank_gallery(np.array([[1.0, 1e-9]]), np.array([[1.0, 0.0], [1.0, 1.0]]), 2)
    np.testing.assert_array_equal(order, [[0, 1]])
    np.testing.assert_array_equal(score, [[1, 1]])


@pytest.mark.parametrize("block_size", [1, 5, 22, 23, 256])
def test_blocks_change_nothing(block_size):
    # Small integers, moved and divided: many ties, and sums that have to be rounded.
    query, gallery = np.random.default_rng(0).integers(-2, 3, (2, 23, 3)).astype(np.float32)
    query, gallery = query + np.float32(0.1), gallery / np.float32(3)
    for found, expected in zip(
        rank_gallery(query, gallery, 4, block_size),
        rank_gallery(query, gallery, 4, 23),
        strict=True,
    ):
        np.testing.assert_array_equal(found, expected)


def test_neither_a_new_size_nor_a_new_setting_is_traced_anew():
    for items, block_size in ((3, 1), (9, 4), (30, 256)):
        rank_gallery(np.eye(items), np.eye(items), items, block_size)
    assert ranking.best.experimental_get_tracing_count() == 1


def test_rank_gallery_names_bad_input():
    with pytest.raises(InputError, match="query has 2 dimensions and gallery 3"):
        rank_gallery(np.ones((1, 2)), np.ones((1, 3)), 1)
    with pytest.raises(InputError, match="k is 0; it must be at least 1"):
        rank_gallery(np.ones((1, 2)), np.ones((1, 2)), 0)
