"""From settings and a data set to an untrained model."""

from __future__ import annotations

import keras

from xgacmn_tf.datasets.paired import PairedDataset
from xgacmn_tf.model.angular_softmax import (
    AngularSoftmax,
    ClassLayer,
    MarginAnnealing,
    PlainSoftmax,
)
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.model.input_maps import fit_maps
from xgacmn_tf.model.networks import Encoder
from xgacmn_tf.model.optimizers import FusedAdam
from xgacmn_tf.model.xgacmn import XGACMN
from xgacmn_tf.settings.config import Config
from xgacmn_tf.training.automatic import dropout


def build_model(config: Config, dataset: PairedDataset) -> XGACMN:
    """An untrained, compiled model; input maps are fitted on the training split."""
    keras.utils.set_random_seed(config.seed)
    rows = dataset.train.to_fit()
    image_map, text_map = fit_maps(config.model, rows.image, rows.text)
    # bfloat16 has float32's range, so no loss needs scaling.
    dtype = (
        "float32"
        if config.training.precision == "float32"
        else f"mixed_{config.training.precision}"
    )
    encoders = {
        modality: Encoder(
            hidden=config.model.encoder_hidden,
            code_dim=config.model.code_dim,
            code_activation=config.model.code_activation,
            dropout=dropout(
                getattr(config.model, f"{modality}_dropout"), getattr(dataset, f"{modality}_dim")
            ),
            dtype=dtype,
            name=f"{modality}_encoder",
        )
        for modality in ("image", "text")
    }
    class_layer: ClassLayer | None = None
    if config.model.classifier == "angular":
        class_layer = AngularSoftmax(
            dataset.num_classes, m=config.model.margin, name="angular_softmax"
        )
    elif config.model.classifier == "softmax":
        class_layer = PlainSoftmax(dataset.num_classes, name="softmax")
    model = XGACMN(
        CommonSpaceEncoder(image_map, text_map, encoders["image"], encoders["text"], class_layer),
        decoder_hidden=config.model.encoder_hidden[::-1],
        output_activation=config.model.generated_activation,
        feature_discriminator_hidden=(
            config.model.feature_discriminator_hidden
            if config.model.discriminate_features
            else None
        ),
        common_discriminator_hidden=(
            config.model.common_discriminator_hidden if config.model.discriminate_codes else None
        ),
        lambda_1=config.model.lambda_1,
        lambda_2=config.model.lambda_2,
        lambda_3=config.model.lambda_3,
        distillation=config.model.distillation,
        generator_steps=config.training.generator_steps,
        annealing=MarginAnnealing(**config.model.annealing),
        average_decay=config.training.average_decay,
        dtype=dtype,
    )
    model.compile(
        d_optimizer=FusedAdam(config.training.discriminator_learning_rate),
        g_optimizer=FusedAdam(config.training.generator_learning_rate),
    )
    return model
