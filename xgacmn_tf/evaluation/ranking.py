"""Exact top-k search in blocks of queries.

The similarity is the inner product of two representations. Queries are processed in blocks inside
a compiled function, so that memory is bounded by block_size × gallery and nothing is copied to the
host between blocks. Inner products are summed in double precision and rounded to single precision
before ranking. So equal items have equal scores at any place in the gallery, the order does not
depend on the block size, and no GPU rounds them to TensorFloat-32. Ties go to the lower gallery
row.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from xgacmn_tf.blocks import over_blocks
from xgacmn_tf.errors import InputError

# Signatures keep every size open, so that each compiled function is traced once for all data sets,
# block sizes and both directions.
MATRIX = tf.TensorSpec([None, None], tf.float64)
SIZE = tf.TensorSpec([], tf.int32)


class NotFiniteError(InputError):
    """Representations hold a NaN or an infinity."""


def rank_gallery(
    query: Any, gallery: Any, k: int, block_size: int = 256
) -> tuple[np.ndarray, np.ndarray]:
    """Return the k gallery items most similar to each query, ties to the lower gallery row.

    Args:
      query: (q, d) finite representations; q and the gallery's size need not agree.
      gallery: (n, d) finite representations.
      k: number of items; all n if k is larger.
      block_size: number of queries that are ranked at a time.

    Returns:
      (q, min(k, n)) int32 gallery rows and (q, min(k, n)) float32 similarities.

    Raises:
      InputError: shapes that do not fit, an empty side, values that are not finite, or a setting
        below 1.
    """
    check_at_least_one(k=k, block_size=block_size)
    query = checked_representations("query", query)
    gallery = checked_representations("gallery", gallery)
    if query.shape[1] != gallery.shape[1]:
        raise InputError(
            f"query has {query.shape[1]} dimensions and gallery {gallery.shape[1]}; "
            "both must be representations of the same space"
        )
    order, score = best(query, gallery, min(k, int(gallery.shape[0])), block_size)
    return order.numpy(), score.numpy()


@tf.function(autograph=False, input_signature=[MATRIX, MATRIX, SIZE, SIZE])
def best(
    query: tf.Tensor, gallery: tf.Tensor, k: tf.Tensor, block_size: tf.Tensor
) -> list[tf.Tensor]:
    """Return `top` of float64 representations (q, d) and (n, d) in blocks of queries."""

    def best_of_block(first: tf.Tensor, last: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return top(query[first:last], gallery, k)

    specs = [tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None, None], tf.float32)]
    return over_blocks(best_of_block, tf.shape(query)[0], block_size, specs)


def top(query: tf.Tensor, gallery: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return (b, k) int32 gallery rows and (b, k) float32 inner products of representations."""
    # top_k puts the lower index first among equals, which makes the ranking stable.
    score, order = tf.math.top_k(inner_products(query, gallery), k)
    return order, score


def inner_products(query: tf.Tensor, gallery: tf.Tensor) -> tf.Tensor:
    """Return (b, n) float32 inner products of float64 representations."""
    # A matrix product sums its last columns in another order than the rest, so that the same item
    # gets sums that differ in the last bits. Rounding removes the difference.
    return tf.cast(tf.matmul(query, gallery, transpose_b=True), tf.float32)


def checked_representations(name: str, value: Any) -> tf.Tensor:
    """Return `value` as a float64 tensor; raise an `InputError` if it is invalid.

    Args:
      name: its name in messages.
      value: (items, dimensions) finite, at least one of each, of any floating type.
    """
    value = tf.convert_to_tensor(value)
    if value.shape.rank != 2 or 0 in value.shape:
        raise InputError(
            f"{name} has shape {tuple(value.shape)}; give (items, dimensions), at least one of each"
        )
    if not value.dtype.is_floating:
        raise InputError(f"{name} holds {value.dtype.name}; give floating-point representations")
    bad = int(tf.math.count_nonzero(~tf.math.is_finite(value)))
    if bad:
        raise NotFiniteError(
            f"{name} holds {bad} values of {value.shape.num_elements()} that are NaN or infinite; "
            "a ranking needs finite representations, so check the encoder that computed them"
        )
    return tf.cast(value, tf.float64)


def check_at_least_one(**settings: int) -> None:
    """Raise an `InputError` that names the first setting below 1."""
    for name, value in settings.items():
        if value < 1:
            raise InputError(f"{name} is {value}; it must be at least 1")
