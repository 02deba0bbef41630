"""Loops over blocks of rows, which bound memory."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

# Rows that are processed at once outside of training: bounds memory without costing speed.
ROWS_AT_ONCE = 1024


def in_blocks(function: Callable[[Any], Any], rows: Any) -> Any:
    """Return the outputs of a function of blocks of `ROWS_AT_ONCE` rows, joined along axis 0.

    Args:
        function: returns a tensor, or a structure of tensors, with a row for each row of a block.
        rows: (n, …), an array or a tensor, n at least 1.
    """
    starts = range(0, len(rows), ROWS_AT_ONCE)
    blocks = [function(rows[first : first + ROWS_AT_ONCE]) for first in starts]
    return tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *blocks)


def over_blocks(
    function: Callable[[tf.Tensor, tf.Tensor], Sequence[tf.Tensor]],
    rows: tf.Tensor,
    block_size: tf.Tensor,
    specs: Sequence[tf.TensorSpec],
) -> list[tf.Tensor]:
    """Return the outputs of `function(first, last)` of all blocks, joined along axis 0.

    The loop is a part of a compiled graph.

    Args:
        function: returns tensors with a row for each row from `first` to `last`.
        rows: number of all rows, an int32 scalar.
        block_size: number of rows of a block, an int32 scalar.
        specs: specification of each output.
    """
    blocks = (rows + block_size - 1) // block_size
    arrays = [
        tf.TensorArray(spec.dtype, blocks, element_shape=spec.shape, infer_shape=False)
        for spec in specs
    ]

    def step(
        block: tf.Tensor, arrays: list[tf.TensorArray]
    ) -> tuple[tf.Tensor, list[tf.TensorArray]]:
        first = block * block_size
        outputs = function(first, tf.minimum(first + block_size, rows))
        written = [a.write(block, output) for a, output in zip(arrays, outputs, strict=True)]
        return block + 1, written

    # The default allows ten blocks at once, each with its own memory; one keeps the device busy.
    _, arrays = tf.while_loop(
        lambda block, _: block < blocks, step, (tf.constant(0), arrays), parallel_iterations=1
    )
    return [array.concat() for array in arrays]
