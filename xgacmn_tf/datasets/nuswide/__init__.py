"""NUS-WIDE (paper, §4.2): 269,648 pictures of Flickr with their tags and 81 concepts.

`load` reads tags and low-level features of the distribution, `load_raw` its pictures and texts.
README.md in this folder tells where it comes from and how it is laid out.

Reference: Chua et al., "NUS-WIDE: A Real-World Web Image Database from National University of
Singapore", CIVR 2009.
"""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xgacmn_tf.datasets.distribution import Distribution
from xgacmn_tf.datasets.nuswide import sources
from xgacmn_tf.datasets.nuswide.collection import Collection, lacking
from xgacmn_tf.datasets.nuswide.lists import DUPLICATED_PHOTOS
from xgacmn_tf.datasets.nuswide.sources import LOW_LEVEL, Source
from xgacmn_tf.datasets.nuswide.splits import CONCEPTS_10K, draw_10k, labelled
from xgacmn_tf.datasets.paired import PairedDataset, Split
from xgacmn_tf.datasets.raw import RawPair, RawPairs
from xgacmn_tf.errors import InputError

PROTOCOLS = ("10k", "full")
# The first is all others side by side.
IMAGE_FEATURES = ("lowlevel", *LOW_LEVEL)
# A title longer than this is cut at a word.
_TITLE = 120

DISTRIBUTION = Distribution(
    name="nuswide",
    origin=(
        "These files come from the distribution of Chua et al. 2009 (NUS-WIDE, National "
        "University of Singapore); they cannot be downloaded by a program."
    ),
    layout=(
        "Its folder holds ImageList/{,Train,Test}Imagelist.txt, ConceptsList/Concepts81.txt, "
        "Groundtruth/AllLabels/Labels_<concept>.txt or Groundtruth/TrainTestLabels/"
        "Labels_<concept>_{Train,Test}.txt, NUS_WID_Tags/ with AllTags1k.txt or "
        "{Train,Test}_Tags1k.dat, TagList1k.txt and All_Tags.txt (needed for features made anew), "
        "Low_Level_Features/ with Normalized_{CH,CORR,EDH,WT,CM55}.dat and BoW_int.dat or their "
        "{Train,Test} halves (needed for low-level features), and Flickr/<folder>/<picture>.jpg "
        "(needed for features made anew)."
    ),
    below=("nuswide", "NUS-WIDE", "NUS_WIDE"),
)


def load(
    data_dir: str | None,
    protocol: str | None = None,
    seed: int = 0,
    image_features: str | None = None,
) -> PairedDataset:
    """Low-level features of the pictures, and which of the 1,000 most frequent tags they have.

    Titles are these tags. Ids are the pictures' paths without ".jpg". Some pictures have none of
    the tags: their text is all zeros.

    Args:
        data_dir: the folder of the distribution, or the one that holds it.
        protocol: "10k" (as is None) draws 800 + 100 + 100 pairs of each of ten concepts for
            training, validation and testing, each with exactly one of the ten; "full" has the
            training and test list of the distribution, less the pairs without any concept, with
            multi-hot labels of 81 concepts.
        seed: draws the pairs of protocol 10k; without effect on the other.
        image_features: one of `IMAGE_FEATURES`; None for "lowlevel", 1134-D.

    Raises:
        InputError: if protocol or features are unknown, files are missing, or their content is
            broken.
    """
    protocol = _protocol(protocol)
    if image_features not in (None, *IMAGE_FEATURES):
        raise InputError(
            f"NUS-WIDE comes with the image features {', '.join(IMAGE_FEATURES)}, found "
            f"{image_features!r}."
        )
    kinds = tuple(LOW_LEVEL) if image_features in (None, "lowlevel") else (str(image_features),)
    matrices = [sources.TAGS, *(LOW_LEVEL[kind] for kind in kinds)]
    collection = _open(data_dir, protocol, [sources.TAG_LIST], matrices)
    names, hot, rows = _splits(collection, protocol, seed)

    # One pass over each file, whatever the number of splits.
    everything = np.concatenate(list(rows.values()))
    image = collection.low_level(kinds, everything)
    text = collection.tag_vectors(everything)
    tags = collection.tag_names()
    splits, start = {}, 0
    for part, chosen in rows.items():
        stop = start + len(chosen)
        splits[part] = Split(
            image=image[start:stop],
            text=text[start:stop],
            label=_targets(hot[chosen], protocol),
            id=collection.ids(chosen),
            title=_titles(text[start:stop], tags),
        )
        start = stop
    return PairedDataset(
        f"nuswide_{protocol}",
        splits["train"],
        splits["test"],
        names,
        splits.get("validation"),
        str(collection.folder),
    )


def load_raw(data_dir: str | None, protocol: str | None = None, seed: int = 0) -> RawPairs:
    """The pictures with all their tags as texts, in the same splits and order as `load`.

    Pictures that are not there are left to the extraction's policy for bad ones: whoever fetched
    them by their addresses lacks those that have left Flickr.

    Raises:
        InputError: as `load`.
    """
    protocol = _protocol(protocol)
    collection = _open(data_dir, protocol, [sources.ALL_TAGS, sources.PICTURES], [])
    names, hot, rows = _splits(collection, protocol, seed)
    everything = np.concatenate(list(rows.values()))
    texts = dict(zip(everything.tolist(), collection.texts(everything), strict=True))
    folder = collection.folder / sources.PICTURES
    pairs = {}
    for part, chosen in rows.items():
        targets = _targets(hot[chosen], protocol)
        pairs[part] = tuple(
            RawPair(
                id=name,
                image=folder / collection.pictures[row],
                text=texts[row],
                label=int(target) if protocol == "10k" else tuple(np.flatnonzero(target).tolist()),
            )
            for name, row, target in zip(
                collection.ids(chosen).tolist(), chosen.tolist(), targets, strict=True
            )
        )
    return RawPairs(
        f"nuswide_{protocol}", pairs["train"], pairs["test"], names, pairs.get("validation", ())
    )


def own_texts(data_dir: str | None, ids: np.ndarray) -> np.ndarray:
    """(k, 1000) float32: which of the tags the pairs called `ids` have, as `load` reads them.

    Raises:
        InputError: if an id is none of the data set, or as `load`.
    """
    folder = _find(data_dir, [sources.IMAGE_LIST], [sources.TAGS])
    collection = Collection(folder)
    row = {name: index for index, name in enumerate(collection.pictures)}
    unknown = [name for name in ids.tolist() if f"{name}.jpg" not in row]
    if unknown:
        raise InputError(f"{folder / sources.IMAGE_LIST} lists no picture {unknown[0]}.jpg.")
    return collection.tag_vectors(np.array([row[f"{name}.jpg"] for name in ids.tolist()], np.intp))


def _protocol(protocol: str | None) -> str:
    if protocol not in (None, *PROTOCOLS):
        raise InputError(f"NUS-WIDE's protocols are 10k and full, found {protocol!r}.")
    return protocol or PROTOCOLS[0]


def _open(
    data_dir: str | None, protocol: str, files: Sequence[str], matrices: Sequence[Source]
) -> Collection:
    """The collection, once everything is there that `protocol` needs besides `files`, `matrices`.

    The 81 concepts are known only from their list, so their labels are looked for after it.
    """
    if protocol == "10k":
        labels = [sources.label_source(concept) for concept in CONCEPTS_10K]
        return Collection(_find(data_dir, [sources.IMAGE_LIST, *files], [*matrices, *labels]))
    needed = [sources.IMAGE_LIST, *sources.HALF_LISTS, *files]
    collection = Collection(_find(data_dir, needed, matrices, concept_list=True))
    labels = [sources.label_source(concept) for concept in collection.concepts]
    _find(str(collection.folder), needed, labels)
    return collection


def _find(
    data_dir: str | None,
    files: Sequence[str],
    matrices: Sequence[Source],
    concept_list: bool = False,
) -> Path:
    """The folder that holds everything, which is `data_dir` or in it."""
    if data_dir is None:
        return DISTRIBUTION.find(None, [*files, *(source.whole for source in matrices)])
    folders = [Path(data_dir), *(Path(data_dir) / name for name in DISTRIBUTION.below)]
    missing = {folder: lacking(folder, files, matrices, concept_list) for folder in folders}
    folder = min(folders, key=lambda candidate: len(missing[candidate]))
    if missing[folder]:
        raise DISTRIBUTION.missing(folder, missing[folder])
    return folder


def _splits(
    collection: Collection, protocol: str, seed: int
) -> tuple[tuple[str, ...], np.ndarray, dict[str, np.ndarray]]:
    """(label names, (n, c) labels of all pictures, rows of each split)."""
    if protocol == "full":
        halves = collection.halves  # first: the lists' errors tell more than the labels'
        hot = collection.labels(collection.concepts)
        return collection.concepts, hot, labelled(halves, hot)
    hot = collection.labels(CONCEPTS_10K)
    # A photo that is there twice could be drawn for training and for testing.
    once = np.array([photo not in DUPLICATED_PHOTOS for photo in collection.photos])
    return CONCEPTS_10K, hot, draw_10k(hot, once, seed)


def _targets(hot: np.ndarray, protocol: str) -> np.ndarray:
    """(k,) classes for the 10k, whose rows have one each; (k, c) multi-hot rows for all."""
    return hot.argmax(axis=1).astype(np.int32) if protocol == "10k" else hot


def _titles(text: np.ndarray, tags: tuple[str, ...]) -> np.ndarray:
    """(k,) str: the names of the tags in each row of `text` (k, 1000)."""
    row, column = np.nonzero(text)
    words = np.split(np.array(tags)[column], np.searchsorted(row, np.arange(1, len(text))))
    return np.array(
        [textwrap.shorten(" ".join(w.tolist()), _TITLE, placeholder=" …") for w in words]
    )
