"""Loading of saved models, of X-GACMN and of compared systems."""

import os
import re
from typing import Any

import keras

# The classes that a file may hold: Keras finds those alone that have been imported.
from xgacmn_tf.baselines import registered  # noqa: F401
from xgacmn_tf.datasets.extraction.extractor_files import extractor_names
from xgacmn_tf.datasets.paired import PairedDataset
from xgacmn_tf.errors import InputError
from xgacmn_tf.features.registry import is_learned
from xgacmn_tf.model import item_towers, networks  # noqa: F401
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.model.xgacmn import XGACMN


def load_model(path: str | os.PathLike[str]) -> XGACMN | CommonSpaceEncoder:
    """Load a `.keras` file of this package.

    Only registered classes are created from the file: nothing in it is executed.

    Args:
        path: what `XGACMN.save` or `CommonSpaceEncoder.save` wrote, such as the
            `checkpoints/best.keras` of a run of X-GACMN or of a compared system.

    Returns:
        An `XGACMN` with its optimizers, or the encoders of a run.

    Raises:
        InputError: the file cannot be read, or holds another model.
    """
    model = _load(path, compile=True)
    if not isinstance(model, XGACMN | CommonSpaceEncoder):
        raise InputError(
            f"{path} holds a {type(model).__name__}, expected an XGACMN or a CommonSpaceEncoder; "
            "load it by keras.saving.load_model"
        )
    return model


_UNKNOWN_LAYER = re.compile(r"Could not locate class '(\w+)'")


def load_encoder(path: str | os.PathLike[str]) -> CommonSpaceEncoder:
    """Load the encoders of a run, `checkpoints/best.keras`; errors as of `load_model`."""
    model = _load(path, compile=False)
    if not isinstance(model, CommonSpaceEncoder):
        raise InputError(
            f"{path} holds a {type(model).__name__}, expected a CommonSpaceEncoder: the "
            "`best.keras` in the checkpoints/ folder of a run"
        )
    return model


def check_dims(encoder: CommonSpaceEncoder, dataset: PairedDataset, flag: str) -> None:
    """Reject a data set whose features have other dimensions than those of an encoder.

    Args:
        encoder: the encoder.
        dataset: the data set.
        flag: the flag with its value that named the encoder.

    Raises:
        InputError: naming both dimensions.
    """
    for modality, dim in (("image", dataset.image_dim), ("text", dataset.text_dim)):
        expected = getattr(encoder, f"{modality}_map").input_dim
        if dim != expected:
            remedy = learned_note(dataset, modality, flag.partition("=")[0])
            raise InputError(
                f"{flag} takes {modality} features of dimension {expected}, "
                f"{dataset.described} has {dim}; "
                f"{remedy or 'name a data set with the features that it was trained on'}"
            )


def learned_note(dataset: PairedDataset, modality: str, flag: str) -> str:
    """Return why learned features of a data set fit no other run; "" if they are not learned."""
    name = extractor_names(dataset).get(modality, "")
    if not is_learned(name):
        return ""
    items, other = ("images", "efficientnet_lite2") if modality == "image" else ("texts", "minilm")
    return (
        f"its {name} features were learned from other {items}; use features that are not learned, "
        f"such as {other}, in both, or leave {flag} out"
    )


def _load(path: str | os.PathLike[str], **options: Any) -> Any:
    if not os.path.exists(path):
        raise InputError(f"{path}: there is no such file; check the path")
    if os.path.isdir(path):
        raise InputError(
            f"{path} is a folder; expected a .keras file, in a run folder checkpoints/best.keras"
        )
    try:
        return keras.saving.load_model(path, safe_mode=True, **options)
    except MemoryError:
        raise
    except Exception as error:  # a damaged archive raises a dozen kinds
        if layer := _UNKNOWN_LAYER.search(str(error)):
            raise InputError(
                f"{path} holds a layer {layer[1]} that this package does not have; if an earlier "
                "version wrote it, train the run again; if it belongs to a method of your own, "
                "load it with --evaluate_only and the run's --model=path/to/file.py:NAME, or "
                "import that file first"
            ) from error
        raise InputError(
            f"{path} cannot be read as a checkpoint: {error}. Expected the `best.keras` in the "
            "checkpoints/ folder of a run"
        ) from error
