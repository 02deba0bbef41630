"""Raw features: cosine of the features, without any training.

This requires features of both modalities in one space, such as those of CLIP, whose image and text
networks were trained together; equal dimensions alone do not make features comparable.

Fidelity: beyond the paper.
"""

import dataclasses

import keras

from xgacmn_tf.baselines import System, TrainingData
from xgacmn_tf.baselines.settings import SystemSettings
from xgacmn_tf.errors import InputError
from xgacmn_tf.model.encoders import CommonSpaceEncoder


@dataclasses.dataclass(frozen=True)
class Settings(SystemSettings):
    """No settings."""


def fit(data: TrainingData, settings: Settings) -> CommonSpaceEncoder:
    """Return the encoder that leaves features as they are.

    Raises:
      InputError: images and texts have different numbers of features.
    """
    del settings
    image_dim, text_dim = data.image.shape[1], data.text.shape[1]
    if image_dim != text_dim:
        raise InputError(
            f"--model=raw compares features as they are, but images have {image_dim} and texts "
            f"{text_dim}; it needs both in one space, such as --image_features=clip "
            "--text_features=clip"
        )
    return data.encoder(keras.layers.Identity(), keras.layers.Identity())


CITATION = "no training; cosine of the features"
SYSTEM = System("Raw features", CITATION, "beyond the paper", "cosine", Settings, fit)
