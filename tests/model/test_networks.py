"""Layer widths of §4.1, activations and round trips."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from xgacmn_tf.model.networks import Decoder, Discriminator, Encoder


def widths(network, input_dim):
    network.build((None, input_dim))
    return [input_dim] + [layer.kernel.shape[1] for layer in network.dense]


def test_widths_are_the_papers():
    # V → 512 → 100 → 100 (code) → 100 → 512 → T; V → 2000 → 2; 100 → 50 → 2.
    assert widths(Encoder(), 4096) == [4096, 512, 100, 100]
    assert widths(Decoder(1000), 100) == [100, 100, 512, 1000]
    assert widths(Discriminator(2000), 4096) == [4096, 2000, 2]
    assert widths(Discriminator(50), 100) == [100, 50, 2]


def test_generators_are_tanh_and_discriminators_end_in_logits():
    assert [layer.activation.__name__ for layer in Encoder().dense] == ["tanh"] * 3
    assert [layer.activation.__name__ for layer in Decoder(5).dense] == ["tanh"] * 3
    assert [layer.activation.__name__ for layer in Discriminator().dense] == ["tanh", "linear"]


def test_dropout_acts_in_training_only():
    encoder = Encoder(dropout=0.5)
    x = np.ones((4, 8), np.float32)
    np.testing.assert_array_equal(encoder(x), encoder(x))
    assert np.abs(encoder(x, training=True) - encoder(x, training=True)).max() > 0


@pytest.mark.parametrize(
    "network",
    [
        Encoder((7, 5), 3, "linear", 0.2),
        Decoder(6, (5, 7), "linear"),
        Discriminator(11),
        Encoder((7,), 3, dtype="mixed_float16"),
    ],
    ids=["encoder", "decoder", "discriminator", "mixed precision"],
)
def test_network_survives_serialization(network, tmp_path):
    inputs = keras.Input((9,))
    model = keras.Model(inputs, network(inputs))
    model.save(tmp_path / "network.keras")
    again = keras.saving.load_model(tmp_path / "network.keras")
    x = np.random.default_rng(0).normal(size=(3, 9)).astype(np.float32)
    np.testing.assert_array_equal(again(x), model(x))
    assert [w.path for w in again.weights] == [w.path for w in model.weights]
    assert again.layers[-1].dense[0].dtype_policy == network.dense[0].dtype_policy


def test_discriminator_is_its_two_dense_layers():
    discriminator = Discriminator(hidden=7)
    x = tf.Variable(np.random.default_rng(0).normal(size=(5, 4)), dtype=tf.float32)
    discriminator.build((None, 4))
    hidden, verdict = discriminator.dense
    gradients = []
    for judge in (discriminator, lambda x: verdict(hidden(x))):
        with tf.GradientTape() as tape:
            logits = judge(x)
            loss = tf.reduce_sum(tf.sin(logits))
        weights = [weight.value for weight in discriminator.trainable_weights]
        gradients.append([logits, *tape.gradient(loss, [x, *weights])])
    for ours, plain in zip(*gradients, strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-5, atol=1e-6)
