"""Reading the encoders that a run has kept, X-GACMN's or those of a compared system."""

import os
import re

import keras

# The layers that a checkpoint may hold: Keras finds those alone that have been imported.
from xgacmn_tf.baselines import registered  # noqa: F401
from xgacmn_tf.errors import InputError
from xgacmn_tf.model import item_towers, networks  # noqa: F401
from xgacmn_tf.model.encoders import CommonSpaceEncoder

_UNKNOWN_LAYER = re.compile(r"Could not locate class '(\w+)'")


def load_encoder(path: str | os.PathLike[str]) -> CommonSpaceEncoder:
    """Reads a checkpoint written by a run (`checkpoints/best.keras`).

    Only this package's registered layers are made from the file: nothing in it is executed.
    """
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except MemoryError:
        raise
    except Exception as error:  # a damaged archive raises a dozen kinds
        if layer := _UNKNOWN_LAYER.search(str(error)):
            raise InputError(
                f"{path} holds a layer {layer[1]} that this package does not have; if it belongs "
                "to a method of your own, load it with --evaluate_only and the run's --model="
                "path/to/file.py:NAME, or import that file first"
            ) from error
        raise InputError(
            f"{path} cannot be read as a checkpoint: {error}. Expected the `best.keras` that a run "
            "leaves in its checkpoints/ folder"
        ) from error
    if not isinstance(model, CommonSpaceEncoder):
        raise InputError(
            f"{path} holds a {type(model).__name__}, expected a CommonSpaceEncoder: the "
            "`best.keras` that a run leaves in its checkpoints/ folder"
        )
    return model
