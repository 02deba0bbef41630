"""Algorithm 1: the networks around the encoders, their losses and one training step (§3.2–3.4).

    v_o → G_I encoder → v_c → G_I decoder → v_r, a text generated from an image, input of D_T
    t_o → G_T encoder → t_c → G_T decoder → t_r, an image generated from a text, input of D_I
    D_C classifies codes by modality; the class layer classifies codes by category.

Symbols follow the paper: `v` is image, `t` text, `_o` original features, `_c` codes, `_r`
generated features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from xgacmn_tf.model import losses
from xgacmn_tf.model.angular_softmax import AngularSoftmax, ClassLayer, MarginAnnealing
from xgacmn_tf.model.counted_rows import CountedRows
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.model.networks import Decoder, Discriminator
from xgacmn_tf.model.optimizers import update_average


class AdversarialModel(keras.Model):
    """Generators, discriminators and class layer with one step of Algorithm 1; base of `XGACMN`.

    Attributes:
        encoder: the encoders that are trained.
        averaged: encoders with the moving average of their weights.
        settings: name → weight or size, see the arguments of `XGACMN`.
        pair_loss, adversarial_loss, annealing: see `XGACMN`.
        d_optimizer, g_optimizer: optimizers of the discriminators and the generators.
    """

    encoder: CommonSpaceEncoder
    averaged: CommonSpaceEncoder
    settings: dict[str, Any]
    pair_loss: Callable[..., tf.Tensor]
    adversarial_loss: losses.AdversarialLoss
    annealing: MarginAnnealing
    d_optimizer: keras.optimizers.Optimizer
    g_optimizer: keras.optimizers.Optimizer

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
            # Without D_I and D_T nothing uses generated features, so none are generated.
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

    # The weights of the discriminators and of the generators.

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

    def reset_average(self) -> None:
        """Start the moving average at the present weights of the encoders."""
        for weight, average in self._averaged_pairs():
            average.assign(weight)

    def term_names(self) -> list[str]:
        """Return the names of the terms in the logs of `fit`, in the order of `alternate`.

        "D/image_loss", "D/text_loss" and "D/common_loss" are Eq. 1, 2 and 3, of D_I, D_T and D_C.
        Their accuracies are shares of items that a discriminator classifies correctly: 0.5 while
        it cannot tell them apart. "D/loss" is the sum of the three losses, unweighted.

        "G/image_adversarial" and "G/text_adversarial" are Eq. 4 and 5, "G/pair" the pair term,
        "G/image_classification" and "G/text_classification" the class terms (Eq. 8), all before
        their weights. "G/loss" is their weighted sum, Eq. 10 plus Eq. 11.

        "angle/image" and "angle/text" are mean angles in degrees between codes and the directions
        of their classes; "margin_weight" is λ, see `MarginAnnealing`.
        """
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

    def _targets(self, label: tf.Tensor) -> tf.Tensor:
        """Labels (n,), (n, 1) or (n, c) → (n, c) float32, one-hot or multi-hot."""
        layer = self.encoder.class_layer
        assert isinstance(layer, ClassLayer)
        num_classes = layer.num_classes
        label = tf.convert_to_tensor(label)
        if label.shape.rank == 2 and label.shape[1] == 1:
            label = label[:, 0]
        if label.shape.rank == 1:
            return tf.one_hot(tf.cast(label, tf.int32), num_classes)
        if label.shape.rank != 2 or label.shape[1] != num_classes:
            raise ValueError(
                f"labels have shape {tuple(label.shape)}; expected (n,) integers or "
                f"(n, {num_classes}) one-hot or multi-hot"
            )
        return tf.cast(label, tf.float32)

    def alternate(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Run one step of Algorithm 1: the discriminators once, then the generators K times.

        Args:
            batch: mapped features and labels, see the class; "has_image", "has_text" and
                "has_label" where rows are incomplete, see `counted_rows`.

        Returns:
            The terms of `term_names` by name, float32 scalars; the generators' terms are those of
            the last of the K steps, each taken before its update.
        """
        weights = self.generator_weights
        with tf.GradientTape() as tape:
            generated = self._generate(batch)
            # The discriminators' step leaves the generators as they are, so the forward pass above
            # serves both phases of the first of the K steps.
            with tape.stop_recording():
                terms = self._discriminator_step(batch, generated)
            loss, generator_terms = self._generator_loss(batch, generated)
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

    def _generate(self, batch: dict[str, tf.Tensor], training: bool = True) -> dict[str, tf.Tensor]:
        """Line 1: return codes v_c, t_c and, for D_I and D_T, generated features v_r, t_r."""
        generated = {
            "v_c": self.encoder.image_encoder(batch["mapped_image"], training=training),
            "t_c": self.encoder.text_encoder(batch["mapped_text"], training=training),
        }
        if self.image_decoder is not None:
            generated["v_r"] = self.image_decoder(generated["v_c"], training=training)
            generated["t_r"] = self.text_decoder(generated["t_c"], training=training)
        return generated

    def _discriminator_step(
        self, batch: dict[str, tf.Tensor], generated: dict[str, tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        """Lines 2–3: Eq. 1–3 with the generators fixed. Moves the discriminators alone."""
        weights = self.discriminator_weights
        if not weights:
            return {}
        with tf.GradientTape() as tape:
            terms, total = self._discriminator_terms(batch, generated, training=True)
            scaled = self.d_optimizer.scale_loss(_share(total))
        self.d_optimizer.apply(tape.gradient(scaled, weights), weights)
        terms["D/loss"] = total
        return terms

    def _discriminator_terms(
        self, batch: dict[str, tf.Tensor], generated: dict[str, tf.Tensor], training: bool
    ) -> tuple[dict[str, tf.Tensor], Any]:
        """Return Eq. 1–3 by name, with accuracies, and the sum of the losses."""
        # Name → discriminator, its positive inputs (real, or of images) and its negative ones, and
        # the modalities that these two come from.
        inputs, counted = {}, CountedRows.of(batch)
        if self.image_discriminator is not None:
            real_image = batch.get("image_target", batch["mapped_image"])
            real_text = batch.get("text_target", batch["mapped_text"])
            generated_image, generated_text = generated["t_r"], generated["v_r"]
            inputs["image"] = self.image_discriminator, real_image, generated_image, "image", "text"
            inputs["text"] = self.text_discriminator, real_text, generated_text, "text", "image"
        if self.common_discriminator is not None:
            codes = generated["v_c"], generated["t_c"]
            inputs["common"] = self.common_discriminator, *codes, "image", "text"
        terms, total = {}, 0.0
        # Each discriminator's loss on its own: with all logits in one tensor D_T waits for D_I,
        # 5 % of a step at 128 and 10 dimensions.
        for name, (discriminator, first, second, first_rows, second_rows) in inputs.items():
            # Both halves in one batch: one matrix product instead of two.
            both = tf.concat([tf.cast(first, second.dtype), second], axis=0)
            logits = discriminator(both, training=training)
            halves = tf.split(logits, 2, axis=0)
            rows = counted.arguments(first_rows=first_rows, second_rows=second_rows)
            terms[f"D/{name}_loss"] = self.adversarial_loss.discriminator(*halves, **rows)
            terms[f"D/{name}_accuracy"] = losses.discriminator_accuracy(*halves, **rows)
            total += terms[f"D/{name}_loss"]
        return terms, total

    def _generator_loss(
        self, batch: dict[str, tf.Tensor], generated: dict[str, tf.Tensor]
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Line 5: Eq. 10 + Eq. 11, discriminators fixed, scaled for the optimizer; the terms."""
        settings, layer = self.settings, self.encoder.class_layer
        # One branch of each code to every term: the pair's, D_C's and the class layer's.
        v_c, t_c = _branches(generated["v_c"], 3), _branches(generated["t_c"], 3)
        counted = CountedRows.of(batch)
        pairs, labeled = counted.arguments(rows="pair"), counted.arguments(rows="labeled")
        terms = {"G/pair": self.pair_loss(v_c[0], t_c[0], **pairs)}
        # The pair term stands in Eq. 10 and in Eq. 11 alike.
        total = 2.0 * settings["lambda_1"] * terms["G/pair"]
        if self.discriminator_weights:
            image_features = text_features = image_codes = text_codes = None
            if self.image_discriminator is not None:
                text_features = self.text_discriminator(generated["v_r"])
                image_features = self.image_discriminator(generated["t_r"])
            if self.common_discriminator is not None:
                codes = tf.concat([v_c[1], t_c[1]], axis=0)
                image_codes, text_codes = tf.split(self.common_discriminator(codes), 2, axis=0)
            game = self.adversarial_loss
            images, texts = counted.arguments(rows="image"), counted.arguments(rows="text")
            terms["G/image_adversarial"] = game.image_generator(
                text_features, image_codes, **images
            )
            terms["G/text_adversarial"] = game.text_generator(image_features, text_codes, **texts)
            adversarial = terms["G/image_adversarial"] + terms["G/text_adversarial"]
            total += settings["lambda_2"] * adversarial
        if layer is not None:
            margin_weight = self.annealing(self.g_optimizer.iterations)
            # (2, n, d): both modalities in one go.
            codes = tf.stack([v_c[2], t_c[2]])
            targets = self._targets(batch["label"])
            class_terms = layer.terms(codes, targets, margin_weight, **labeled)
            class_loss, smoothing = class_terms.loss, settings["label_smoothing"]
            if smoothing:
                even = losses.label_smoothing_loss(class_terms.logits, **labeled)
                class_loss = (1.0 - smoothing) * class_loss + smoothing * even
            image_loss, text_loss = tf.unstack(class_loss)
            terms["G/image_classification"] = image_loss
            terms["G/text_classification"] = text_loss
            total += settings["lambda_3"] * (image_loss + text_loss)
            if settings["distillation"]:
                terms["G/distillation"] = losses.distillation_loss(
                    *tf.unstack(class_terms.logits), **pairs
                )
                total += settings["distillation"] * terms["G/distillation"]
            if class_terms.angle is not None:
                terms["angle/image"], terms["angle/text"] = tf.unstack(class_terms.angle)
                terms["margin_weight"] = margin_weight
        terms["G/loss"] = total
        return self.g_optimizer.scale_loss(_share(total)), terms


def _branches(x: tf.Tensor, count: int) -> list[tf.Tensor]:
    """Return `count` copies of `x`, whose gradients are added in this order.

    TensorFlow's own sum of three or more begins with whichever buffer happens to be free: where
    codes have a multiple of 16 dimensions, the last bits would differ from run to run.
    """
    # The gradient of a broadcast is one sum along an axis. Of functions with `tf.custom_gradient`
    # TensorFlow keeps the whole graph until the process ends, which took 50 MiB a run.
    copies = tf.broadcast_to(x, tf.concat([[count], tf.shape(x)], axis=0))
    branches: list[tf.Tensor] = tf.unstack(tf.ensure_shape(copies, [count, *x.shape]))
    return branches


def _share(loss: tf.Tensor) -> tf.Tensor:
    """Return a replica's share of the loss of a batch: the optimizer sums the gradients."""
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    return loss if replicas == 1 else loss / replicas
