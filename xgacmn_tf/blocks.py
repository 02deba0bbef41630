"""A compiled loop over blocks of rows, which bounds memory."""

from collections.abc import Callable, Sequence

import tensorflow as tf


def over_blocks(
    function: Callable[[tf.Tensor, tf.Tensor], Sequence[tf.Tensor]],
    rows: tf.Tensor,
    block_size: tf.Tensor,
    specs: Sequence[tf.TensorSpec],
) -> list[tf.Tensor]:
    """Joins along axis 0 the outputs of `function(first, last)` over all blocks of the rows."""
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
