"""X-GACMN: two X-shaped generators, three discriminators, Algorithm 1 (§3.2–3.4).

    v_o → G_I encoder → v_c → G_I decoder → v_r, a text made from an image, judged by D_T
    t_o → G_T encoder → t_c → G_T decoder → t_r, an image made from a text, judged by D_I
    D_C judges which modality a code came from; the class layer names the category of either code.

Symbols follow the paper: `v` is image, `t` text, `_o` original features, `_c` codes, `_r`
generated features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf

from xgacmn_tf.model import PACKAGE, losses
from xgacmn_tf.model.angular_softmax import AngularSoftmax, MarginAnnealing
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.model.networks import Decoder, Discriminator
from xgacmn_tf.model.optimizers import update_average


@keras.saving.register_keras_serializable(PACKAGE)
class XGACMN(keras.Model):
    """The whole model with its training.

    A batch is a dict of float32 tensors: "image" (n, d_v) and "text" (n, d_t) as the encoders read
    them, "label" (n, c) one-hot or multi-hot, and, where an input map leaves the feature space,
    "image_target" and "text_target" for the discriminators. `prepare` makes all but the labels from
    raw features.

    Args:
      encoder: the encoders, input maps and class layer that are trained.
      decoder_hidden, output_activation: of both decoders, see `networks.Decoder`.
      feature_discriminator_hidden: hidden units of D_I and D_T; None leaves both out (Table 3).
      common_discriminator_hidden: hidden units of D_C; None leaves it out (Table 3).
      lambda_1, lambda_2, lambda_3: weights of the pair, adversarial and class terms (Eq. 10–11).
      distillation: weight of `losses.distillation_loss`; the paper has no such term.
      generator_steps: K of Algorithm 1.
      annealing: the margin's weight over the generators' steps.
      average_decay: decay of the moving average of the encoders' weights that `averaged` holds,
        float32 layers; 0 makes `averaged` follow the encoders exactly.
      dtype: "mixed_bfloat16" for decoders and discriminators beside encoders of that policy;
        losses are float32 in any case.
    """

    def __init__(
        self,
        encoder: CommonSpaceEncoder,
        *,
        decoder_hidden: Sequence[int] = (100, 512),
        output_activation: str = "tanh",
        feature_discriminator_hidden: int | None = 2000,
        common_discriminator_hidden: int | None = 50,
        lambda_1: float = 10.0,
        lambda_2: float = 5.0,
        lambda_3: float = 100.0,
        distillation: float = 0.0,
        generator_steps: int = 1,
        annealing: MarginAnnealing | None = None,
        average_decay: float = 0.99,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.encoder = encoder
        # Whatever training computes in: these are for evaluation, search and serving.
        as_float32 = {"dtype": "float32"}
        clone: list[Any] = [
            None if layer is None else type(layer).from_config(layer.get_config() | as_float32)
            for layer in (encoder.image_encoder, encoder.text_encoder, encoder.class_layer)
        ]
        self.averaged = CommonSpaceEncoder(encoder.image_map, encoder.text_map, *clone)
        self.averaged.trainable = False
        self.annealing = annealing or MarginAnnealing()
        self.settings: dict[str, Any] = {
            "decoder_hidden": tuple(decoder_hidden),
            "output_activation": output_activation,
            "feature_discriminator_hidden": feature_discriminator_hidden,
            "common_discriminator_hidden": common_discriminator_hidden,
            "lambda_1": lambda_1,
            "lambda_2": lambda_2,
            "lambda_3": lambda_3,
            "distillation": distillation,
            "generator_steps": generator_steps,
            "average_decay": average_decay,
        }
        self._build_parts()
        for weight, average in self._averaged_pairs():
            average.assign(weight)
        self.built = True

    def _build_parts(self) -> None:
        encoder, settings = self.encoder, self.settings
        code_dim = encoder.image_encoder.config["code_dim"]
        image_dim, text_dim = encoder.image_map.target_dim, encoder.text_map.target_dim
        policy = self.dtype_policy

        # Table 3's ablations leave some of these at None.
        self.image_decoder: Any = None
        self.text_decoder: Any = None
        self.image_discriminator: Any = None
        self.text_discriminator: Any = None
        self.common_discriminator: Any = None
        if (hidden := settings["feature_discriminator_hidden"]) is not None:
            # Without D_I and D_T nothing judges the generated features, so none are generated.
            shape = settings["decoder_hidden"], settings["output_activation"]
            self.image_decoder = Decoder(text_dim, *shape, dtype=policy, name="image_decoder")
            self.text_decoder = Decoder(image_dim, *shape, dtype=policy, name="text_decoder")
            self.image_discriminator = Discriminator(hidden, dtype=policy, name="D_I")
            self.text_discriminator = Discriminator(hidden, dtype=policy, name="D_T")
            self.image_decoder.build((None, code_dim))
            self.text_decoder.build((None, code_dim))
            self.image_discriminator.build((None, image_dim))
            self.text_discriminator.build((None, text_dim))
        if (hidden := settings["common_discriminator_hidden"]) is not None:
            self.common_discriminator = Discriminator(hidden, dtype=policy, name="D_C")
            self.common_discriminator.build((None, code_dim))

    # Which weights belong to which player.

    @property
    def discriminator_weights(self) -> list[keras.Variable]:
        """Weights of D_I, D_T and D_C: what line 3 of Algorithm 1 moves."""
        parts = [self.image_discriminator, self.text_discriminator, self.common_discriminator]
        return [w for part in parts if part is not None for w in part.trainable_weights]

    @property
    def generator_weights(self) -> list[keras.Variable]:
        """Weights of G_I, G_T and the class layer: what line 6 of Algorithm 1 moves."""
        parts = [*self.encoder.trained_layers(), self.image_decoder, self.text_decoder]
        return [w for part in parts if part is not None for w in part.trainable_weights]

    def _averaged_pairs(self) -> list[tuple[keras.Variable, keras.Variable]]:
        layers = zip(self.encoder.trained_layers(), self.averaged.trained_layers(), strict=True)
        # The averages are moved by `_update_average` alone, so to Keras they are not trainable.
        return [
            (weight, average)
            for layer, averaged in layers
            for weight, average in zip(
                layer.trainable_weights, averaged.non_trainable_weights, strict=True
            )
        ]

    # Training.

    def compile(
        self,
        d_optimizer: keras.optimizers.Optimizer,
        g_optimizer: keras.optimizers.Optimizer,
        **kwargs: Any,
    ) -> None:
        """Takes one optimizer for the discriminators and one for the generators.

        Both are built here, so that a checkpoint restores their state as well.
        """
        super().compile(optimizer=g_optimizer, auto_scale_loss=False, **kwargs)
        self.d_optimizer, self.g_optimizer = d_optimizer, self.optimizer
        self.g_optimizer.build(self.generator_weights)
        if self.discriminator_weights:
            self.d_optimizer.build(self.discriminator_weights)
        self._epoch_means = [keras.metrics.Mean(name=name) for name in self.term_names()]

    def term_names(self) -> list[str]:
        """The keys of what `alternate` returns, in its order."""
        names = []
        if self.image_discriminator is not None:
            names += ["D/image_loss", "D/text_loss", "D/image_accuracy", "D/text_accuracy"]
        if self.common_discriminator is not None:
            names += ["D/common_loss", "D/common_accuracy"]
        if names:
            names += ["D/loss", "G/image_adversarial", "G/text_adversarial"]
        names += ["G/pair"]
        if self.encoder.class_layer is not None:
            names += ["G/image_classification", "G/text_classification"]
            if self.settings["distillation"]:
                names += ["G/distillation"]
        if isinstance(self.encoder.class_layer, AngularSoftmax):
            names += ["angle/image", "angle/text", "margin_weight"]
        return [*names, "G/loss"]

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return self._epoch_means if hasattr(self, "_epoch_means") else []

    def train_step(self, data: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """One turn of Algorithm 1 inside Keras's own `fit`; the logs are means over the epoch."""
        for mean, value in zip(self.metrics, self.alternate(data).values(), strict=True):
            mean.update_state(value)
        return {mean.name: mean.result() for mean in self.metrics}

    def alternate(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """One turn of Algorithm 1: the discriminators once, then the generators K times.

        Returns:
          The terms of `term_names` by name, float32 scalars; the generators' terms are those of
          the last of the K steps, each taken before its update.
        """
        weights = self.generator_weights
        with tf.GradientTape() as tape:
            made = self._generate(batch)
            # The discriminators' step leaves the generators as they are, so the forward pass above
            # serves both phases of the first of the K steps.
            with tape.stop_recording():
                terms = self._discriminator_step(batch, made)
            loss, generator_terms = self._generator_loss(batch, made)
        self.g_optimizer.apply(tape.gradient(loss, weights), weights)
        for _ in range(self.settings["generator_steps"] - 1):
            with tf.GradientTape() as tape:
                loss, generator_terms = self._generator_loss(batch, self._generate(batch))
            self.g_optimizer.apply(tape.gradient(loss, weights), weights)
        update_average(
            self._averaged_pairs(), self.settings["average_decay"], self.g_optimizer.iterations
        )
        terms |= generator_terms
        return {name: terms[name] for name in self.term_names()}

    def _generate(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Line 1: codes v_c, t_c and, where something judges them, generated v_r, t_r."""
        made = {
            "v_c": self.encoder.image_encoder(batch["image"], training=True),
            "t_c": self.encoder.text_encoder(batch["text"], training=True),
        }
        if self.image_decoder is not None:
            made["v_r"] = self.image_decoder(made["v_c"], training=True)
            made["t_r"] = self.text_decoder(made["t_c"], training=True)
        return made

    def _discriminator_step(
        self, batch: dict[str, tf.Tensor], made: dict[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Lines 2–3: Eq. 1–3 with the generators fixed. Moves the discriminators alone."""
        weights = self.discriminator_weights
        if not weights:
            return {}
        # Name → judge, what it is to take for real or for an image, and the rest.
        judged = {}
        if self.image_discriminator is not None:
            real_image = batch.get("image_target", batch["image"])
            real_text = batch.get("text_target", batch["text"])
            judged["image"] = self.image_discriminator, real_image, made["t_r"]
            judged["text"] = self.text_discriminator, real_text, made["v_r"]
        if self.common_discriminator is not None:
            judged["common"] = self.common_discriminator, made["v_c"], made["t_c"]
        terms = {}
        with tf.GradientTape() as tape:
            total = 0.0
            # Each discriminator's loss on its own: with all logits in one tensor D_T waits for D_I,
            # 5 % of a step at 128 and 10 dimensions.
            for name, (discriminator, first, second) in judged.items():
                # Both halves in one batch: one matrix product instead of two.
                both = tf.concat([tf.cast(first, second.dtype), second], axis=0)
                logits = discriminator(both, training=True)
                halves = tf.split(logits, 2, axis=0)
                terms[f"D/{name}_loss"] = losses.discriminator_loss(*halves)
                terms[f"D/{name}_accuracy"] = losses.discriminator_accuracy(*halves)
                total += terms[f"D/{name}_loss"]
            scaled = self.d_optimizer.scale_loss(_share(total))
        self.d_optimizer.apply(tape.gradient(scaled, weights), weights)
        terms["D/loss"] = total
        return terms

    def _generator_loss(
        self, batch: dict[str, tf.Tensor], made: dict[str, tf.Tensor]
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Line 5: Eq. 10 + Eq. 11, discriminators fixed, scaled for the optimizer; the terms."""
        settings, layer = self.settings, self.encoder.class_layer
        # One branch of each code to every term: the pair's, D_C's and the class layer's.
        v_c, t_c = _branches(made["v_c"], 3), _branches(made["t_c"], 3)
        terms = {"G/pair": losses.pair_loss(v_c[0], t_c[0])}
        # The pair term stands in Eq. 10 and in Eq. 11 alike.
        total = 2.0 * settings["lambda_1"] * terms["G/pair"]
        if self.discriminator_weights:
            image_features = text_features = image_codes = text_codes = None
            if self.image_discriminator is not None:
                text_features = self.text_discriminator(made["v_r"])
                image_features = self.image_discriminator(made["t_r"])
            if self.common_discriminator is not None:
                codes = tf.concat([v_c[1], t_c[1]], axis=0)
                image_codes, text_codes = tf.split(self.common_discriminator(codes), 2, axis=0)
            terms["G/image_adversarial"] = losses.image_generator_loss(text_features, image_codes)
            terms["G/text_adversarial"] = losses.text_generator_loss(image_features, text_codes)
            adversarial = terms["G/image_adversarial"] + terms["G/text_adversarial"]
            total += settings["lambda_2"] * adversarial
        if layer is not None:
            margin_weight = self.annealing(self.g_optimizer.iterations)
            # (2, n, d): both modalities in one go.
            codes = tf.stack([v_c[2], t_c[2]])
            found = layer.terms(codes, batch["label"], margin_weight)
            image_loss, text_loss = tf.unstack(found.loss)
            terms["G/image_classification"] = image_loss
            terms["G/text_classification"] = text_loss
            total += settings["lambda_3"] * (image_loss + text_loss)
            if settings["distillation"]:
                terms["G/distillation"] = losses.distillation_loss(*tf.unstack(found.logits))
                total += settings["distillation"] * terms["G/distillation"]
            if found.angle is not None:
                terms["angle/image"], terms["angle/text"] = tf.unstack(found.angle)
                terms["margin_weight"] = margin_weight
        terms["G/loss"] = total
        return self.g_optimizer.scale_loss(_share(total)), terms

    # Use and keeping.

    def prepare(
        self, image: np.ndarray | tf.Tensor, text: np.ndarray | tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Raw features (n, d_v), (n, d_t) → what `alternate` takes, but for the labels."""
        return self.mapped("image", image) | self.mapped("text", text)

    def mapped(self, modality: str, features: np.ndarray | tf.Tensor) -> dict[str, tf.Tensor]:
        """The part of `prepare` that is of "image" or "text"."""
        layer = getattr(self.encoder, f"{modality}_map")
        features = tf.convert_to_tensor(features, tf.float32)
        made = {modality: layer(features)}
        if layer.leaves_feature_space:
            made[f"{modality}_target"] = layer.target(features)
        return made

    def call(self, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """{"image": …, "text": …} raw features → codes, with the averaged weights."""
        return self.averaged(inputs)

    def get_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            **self.settings,
            "encoder": serialize(self.encoder),
            "annealing": serialize(self.annealing),
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> Self:
        for name in ("encoder", "annealing"):
            config[name] = keras.saving.deserialize_keras_object(
                config[name], custom_objects=custom_objects
            )
        return cls(**config)

    def get_compile_config(self) -> dict[str, Any] | None:
        if not hasattr(self, "g_optimizer"):
            return None
        serialize = keras.saving.serialize_keras_object
        return {
            "d_optimizer": serialize(self.d_optimizer),
            "g_optimizer": serialize(self.g_optimizer),
            "jit_compile": self.jit_compile,
            "run_eagerly": self.run_eagerly,
            "steps_per_execution": self.steps_per_execution,
        }

    def compile_from_config(self, config: dict[str, Any]) -> None:
        for name in ("d_optimizer", "g_optimizer"):
            config[name] = keras.saving.deserialize_keras_object(config[name])
        self.compile(**config)


def _branches(x: tf.Tensor, count: int) -> list[tf.Tensor]:
    """`count` times `x`, with gradients that are added in this order.

    TensorFlow's own sum of three or more begins with whichever buffer happens to be free: where
    codes have a multiple of 16 dimensions, the last bits would differ from run to run.
    """
    # The gradient of a broadcast is one sum along an axis. Of functions with `tf.custom_gradient`
    # TensorFlow keeps the whole graph until the process ends, which took 50 MiB a run.
    copies = tf.broadcast_to(x, tf.concat([[count], tf.shape(x)], axis=0))
    branches: list[tf.Tensor] = tf.unstack(tf.ensure_shape(copies, [count, *x.shape]))
    return branches


def _share(loss: tf.Tensor) -> tf.Tensor:
    """What a replica adds to the loss of the whole batch: the optimizer sums their gradients."""
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    return loss if replicas == 1 else loss / replicas
