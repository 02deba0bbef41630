"""The fused Adam against Keras's own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from xgacmn_tf.model.optimizers import FusedAdam


def trained(optimizer, compiled: bool, jit: bool = False):
    """Weights, momenta and velocities after 30 steps on a quadratic of badly scaled axes."""
    weight = keras.Variable(np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4))
    bias = keras.Variable(np.full(4, 0.5, np.float32))
    scale = tf.constant([1e-3, 1.0, 30.0, 1e3])
    optimizer.build([weight, bias])

    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(scale * (weight.value - 0.3) ** 2) + tf.reduce_sum(bias.value**4)
        optimizer.apply(tape.gradient(loss, [weight.value, bias.value]), [weight, bias])

    run = tf.function(step, jit_compile=jit) if compiled else step
    for _ in range(30):
        run()
    return [keras.ops.convert_to_numpy(v) for v in (weight, bias, *optimizer.variables)]


@pytest.mark.parametrize(
    ("compiled", "jit"),
    [(False, False), (True, False), (True, True)],
    ids=["eager", "graph", "XLA"],
)
def test_is_adam(compiled, jit):
    expected = trained(keras.optimizers.Adam(0.01), compiled=False)
    found = trained(FusedAdam(0.01), compiled, jit)
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    assert not np.allclose(found[0], np.linspace(-1, 1, 12).reshape(3, 4))


def test_keeps_its_settings():
    optimizer = FusedAdam(0.02, beta_1=0.5, epsilon=1e-5)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(again, FusedAdam) and again.get_config() == optimizer.get_config()


def test_loss_scaling_skips_what_overflowed():
    optimizer = keras.optimizers.LossScaleOptimizer(FusedAdam(0.01), initial_scale=4.0)
    weight = keras.Variable([1.0, 2.0])
    optimizer.build([weight])
    optimizer.apply([tf.constant([np.inf, 0.0])], [weight])
    np.testing.assert_array_equal(weight, [1.0, 2.0])
    optimizer.apply([tf.constant([4.0, 4.0])], [weight])
    np.testing.assert_allclose(weight, [0.99, 1.99], rtol=1e-6)


def test_amsgrad_is_refused():
    with pytest.raises(ValueError, match="FusedAdam has no amsgrad"):
        FusedAdam(amsgrad=True)
