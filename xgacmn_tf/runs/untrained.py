"""X-GACMN from the settings of a run, before its input maps and networks exist."""

from __future__ import annotations

from xgacmn_tf.model.angular_softmax import MarginAnnealing
from xgacmn_tf.model.optimizers import FusedAdam
from xgacmn_tf.model.xgacmn import GENERATOR_LEARNING_RATE, XGACMN
from xgacmn_tf.settings.config import Config

# Settings that are arguments of `XGACMN` under the same names.
_MODEL_ARGUMENTS = (
    *("image_map", "text_map", "map_choice"),
    *("chi2_gamma", "chi2_components", "rbf_gamma", "rbf_components"),
    *("encoder_hidden", "code_dim", "code_activation", "image_dropout", "text_dropout"),
    *("margin", "lambda_1", "lambda_2", "lambda_3", "label_smoothing", "distillation"),
)


def compiled_model(config: Config, num_classes: int) -> XGACMN:
    """Return a compiled model without input maps and networks, see `XGACMN.adapt`."""
    settings, training = config.model, config.training
    model = XGACMN(
        num_classes=num_classes,
        **{name: getattr(settings, name) for name in _MODEL_ARGUMENTS},
        class_layer=None if settings.classifier == "none" else settings.classifier,
        output_activation=settings.generated_activation,
        feature_discriminator_hidden=(
            settings.feature_discriminator_hidden if settings.discriminate_features else None
        ),
        common_discriminator_hidden=(
            settings.common_discriminator_hidden if settings.discriminate_codes else None
        ),
        generator_steps=training.generator_steps,
        annealing=MarginAnnealing(**settings.annealing),
        average_decay=training.average_decay,
        # bfloat16 has float32's range, so no loss needs scaling.
        dtype="float32" if training.precision == "float32" else f"mixed_{training.precision}",
    )
    model.compile(
        d_optimizer=FusedAdam(training.discriminator_learning_rate),
        # `data_settings` has chosen it for a training; a model whose weights are read needs none.
        g_optimizer=FusedAdam(training.generator_learning_rate or GENERATOR_LEARNING_RATE),
        jit_compile=training.jit_compile,
        steps_per_execution=training.steps_per_call,
    )
    return model
