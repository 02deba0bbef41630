"""X-GACMN's training step as a plain Keras model: layers, `train_step`, `fit` with its defaults."""

import math
import time

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

LEARNING_RATE = 3e-4


def stack(*units: int, last: str) -> keras.Sequential:
    hidden = [layers.Dense(width, "tanh") for width in units[1:-1]]
    return keras.Sequential([keras.Input((units[0],)), *hidden, layers.Dense(units[-1], last)])


class Model(keras.Model):
    def __init__(self, image_dim: int, text_dim: int, classes: int, m: int = 5, blend: float = 10):
        super().__init__()
        self.encoders = [stack(d, 512, 100, 100, last="tanh") for d in (image_dim, text_dim)]
        self.decoders = [stack(100, 100, 512, d, last="tanh") for d in (text_dim, image_dim)]
        self.d_image = stack(image_dim, 2000, 2, last="linear")
        self.d_text = stack(text_dim, 2000, 2, last="linear")
        self.d_common = stack(100, 50, 2, last="linear")
        self.directions = self.add_weight(
            shape=(100, classes), initializer=keras.initializers.RandomNormal(stddev=0.1)
        )
        self.m, self.blend = m, blend
        self.judge = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self.means = [keras.metrics.Mean(name=name) for name in ("d_loss", "g_loss")]

    def compile(self, **kwargs):
        super().compile(optimizer=keras.optimizers.Adam(LEARNING_RATE), **kwargs)
        self.d_optimizer = keras.optimizers.Adam(LEARNING_RATE)

    @property
    def metrics(self):
        return self.means

    def call(self, inputs):
        return [encoder(x) for encoder, x in zip(self.encoders, inputs, strict=True)]

    def says(self, network, x, wanted: int):
        return self.judge(ops.full((ops.shape(x)[0],), wanted), network(x, training=True))

    def class_loss(self, code, label):
        length = ops.norm(code, axis=1, keepdims=True)
        cosine = ops.matmul(ops.normalize(code), ops.normalize(self.directions, axis=0))
        cosine = ops.clip(cosine, -1, 1)
        previous, chebyshev = ops.ones_like(cosine), cosine
        for _ in range(self.m - 1):
            previous, chebyshev = chebyshev, 2 * cosine * chebyshev - previous
        k = sum(
            ops.cast(cosine <= math.cos(j * math.pi / self.m), "float32") for j in range(1, self.m)
        )
        psi = (1 - 2 * (k % 2)) * chebyshev - 2 * k
        target = (psi + self.blend * cosine) / (1 + self.blend)
        chosen = ops.one_hot(label, cosine.shape[1], dtype="bool")
        return self.judge(label, length * ops.where(chosen, target, cosine))

    def train_step(self, data):
        image, text, label = data[0]
        d_weights = [
            w for d in (self.d_image, self.d_text, self.d_common) for w in d.trainable_weights
        ]
        g_weights = [w for n in (*self.encoders, *self.decoders) for w in n.trainable_weights]
        g_weights.append(self.directions)
        with tf.GradientTape() as tape:
            v_c, t_c = (
                e(x, training=True) for e, x in zip(self.encoders, (image, text), strict=True)
            )
            v_r, t_r = (d(c, training=True) for d, c in zip(self.decoders, (v_c, t_c), strict=True))
            with tape.stop_recording(), tf.GradientTape() as d_tape:
                d_loss = sum(
                    self.says(network, real, 0) + self.says(network, fake, 1)
                    for network, real, fake in (
                        (self.d_image, image, t_r),
                        (self.d_text, text, v_r),
                        (self.d_common, v_c, t_c),
                    )
                )
            with tape.stop_recording():
                gradients = d_tape.gradient(d_loss, d_weights)
                self.d_optimizer.apply(gradients, d_weights)
            adversarial = (
                self.says(self.d_text, v_r, 0)
                + self.says(self.d_common, v_c, 1)
                + self.says(self.d_image, t_r, 0)
                + self.says(self.d_common, t_c, 0)
            )
            pair = ops.mean(ops.square(v_c - t_c))
            classes = self.class_loss(v_c, label) + self.class_loss(t_c, label)
            g_loss = 20 * pair + 5 * adversarial + 100 * classes
        self.optimizer.apply(tape.gradient(g_loss, g_weights), g_weights)
        for mean, value in zip(self.means, (d_loss, g_loss), strict=True):
            mean.update_state(value)
        return {mean.name: mean.result() for mean in self.means}


def run(arrays: dict[str, np.ndarray], batch: int, steps: int):
    """Returns a function that trains for `steps` steps and gives the seconds they took."""
    keras.utils.set_random_seed(0)
    image, text, label = (arrays[name] for name in ("image", "text", "label"))
    model = Model(image.shape[1], text.shape[1], int(label.max()) + 1)
    model.compile()
    data = (
        tf.data.Dataset.from_tensor_slices(((image, text, label),))
        .shuffle(len(label), seed=0)
        .batch(batch, drop_remainder=True)
        .repeat()
        .prefetch(tf.data.AUTOTUNE)
    )

    def train() -> float:
        started = time.perf_counter()
        model.fit(data, steps_per_epoch=steps, epochs=1, verbose=0)
        return time.perf_counter() - started

    return train
