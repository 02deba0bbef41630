"""Raw features: cosine of the features as they are, without any training.

Only for modalities whose features lie in one space, such as those of CLIP, whose image and text
networks were trained together; equal lengths alone do not make them comparable.

Fidelity: beyond the paper.
"""

import dataclasses

import keras

from xgacmn_tf.baselines import System, TrainingData
from xgacmn_tf.errors import InputError
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.model.input_maps import Identity


@dataclasses.dataclass(frozen=True)
class Settings:
    """There are none."""


def fit(data: TrainingData, settings: Settings) -> CommonSpaceEncoder:
    """See the module.

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
    same = keras.layers.Identity
    return CommonSpaceEncoder(Identity(image_dim), Identity(text_dim), same(), same(), None)


SYSTEM = System(
    title="Raw features",
    citation="no training; cosine of the features",
    fidelity="beyond the paper",
    similarity="cosine",
    settings=Settings,
    fit=fit,
)
