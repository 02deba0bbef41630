"""NUS-WIDE (paper, §4.2): 269,648 images of Flickr with their tags and 81 concepts.

`load` reads tags and low-level features of the distribution, `load_raw` its images and texts.
README.md in this folder describes its origin and layout.

Reference: Chua et al., "NUS-WIDE: A Real-World Web Image Database from National University of
Singapore", CIVR 2009.
"""

import textwrap
from collections.abc import Sequence

import numpy as np

from xgacmn_tf.datasets.distribution import Distribution, Files
from xgacmn_tf.datasets.nuswide import lists, sources
from xgacmn_tf.datasets.nuswide.collection import Collection, lacking
from xgacmn_tf.datasets.nuswide.lists import DUPLICATED_PHOTOS
from xgacmn_tf.datasets.nuswide.sources import LOW_LEVEL, Source
from xgacmn_tf.datasets.nuswide.splits import CONCEPTS_10K, draw_10k, labelled
from xgacmn_tf.datasets.paired import PairedDataset, Split
from xgacmn_tf.datasets.raw import RawPair, RawPairs
from xgacmn_tf.errors import InputError

PROTOCOLS = ("10k", "full")
# Several features side by side, by the name of the concatenation.
CONCATENATIONS = {
    "lowlevel": tuple(LOW_LEVEL),
    # The usual 634-D of published code, without the bag of SIFT words.
    "lowlevel634": ("ch", "corr", "edh", "wt", "cm55"),
}
IMAGE_FEATURES = (*CONCATENATIONS, *LOW_LEVEL)
# Longer titles are shortened at a word.
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
        "{Train,Test} halves (needed for low-level features), and Flickr/<folder>/<image>.jpg "
        "(needed for features made anew). Only the names of files matter: they may lie in any "
        "folders below it, or in zip archives."
    ),
)


def load(
    files: Files,
    protocol: str | None = None,
    seed: int = 0,
    image_features: str = "lowlevel",
) -> PairedDataset:
    """Read low-level features of the images, and which of the 1,000 most frequent tags they have.

    Titles are these tags. Ids are the images' paths without ".jpg". Some images have none of
    the tags: their text is all zeros.

    Args:
        files: the files of the distribution.
        protocol: "10k" (as is None) draws 800 + 100 + 100 pairs of each of ten concepts for
            training, validation and testing, each with exactly one of the ten; "full" has the
            training and test list of the distribution, less the pairs without any concept, with
            multi-hot labels of 81 concepts.
        seed: draws the pairs of protocol 10k; without effect on the other.
        image_features: one of `IMAGE_FEATURES`; "lowlevel" has 1134 dimensions.

    Raises:
        InputError: if files are missing, or their content is broken.
    """
    protocol = protocol or PROTOCOLS[0]
    images = [LOW_LEVEL[n] for n in CONCATENATIONS.get(image_features, (image_features,))]
    collection = _open(files, protocol, [sources.TAG_LIST], [sources.TAGS, *images])
    names, hot, rows = _splits(collection, protocol, seed)

    # One pass over each file, whatever the number of splits.
    everything = np.concatenate(list(rows.values()))
    image = collection.matrix(images, everything)
    text = collection.matrix([sources.TAGS], everything)
    tags = lists.names(files.path(sources.TAG_LIST), sources.NUM_TAGS)
    splits, start = {}, 0
    for part, part_rows in rows.items():
        stop = start + len(part_rows)
        splits[part] = Split(
            image=image[start:stop],
            text=text[start:stop],
            label=_targets(hot[part_rows], protocol),
            id=collection.ids(part_rows),
            title=_titles(text[start:stop], tags),
        )
        start = stop
    files.log()
    return PairedDataset(
        f"nuswide_{protocol}",
        splits["train"],
        splits["test"],
        names,
        splits.get("validation"),
        str(files.folder),
    )


def load_raw(files: Files, protocol: str | None = None, seed: int = 0) -> RawPairs:
    """Read the images with all their tags as texts, in the same splits and order as `load`.

    An image is found by its name or its photo id in any folder. Missing images are left to the
    extraction's policy for bad images, because many have been deleted from Flickr.

    Raises:
        InputError: as `load`; if there is none of the images.
    """
    protocol = protocol or PROTOCOLS[0]
    collection = _open(files, protocol, [sources.ALL_TAGS], [])
    names, hot, rows = _splits(collection, protocol, seed)
    everything = np.concatenate(list(rows.values()))
    tags = lists.tags(files.path(sources.ALL_TAGS), collection.photos, everything)
    texts = dict(zip(everything.tolist(), tags, strict=True))
    listed = [f"{sources.IMAGES}/{collection.images[row]}" for row in everything]
    photos = [collection.photos[row] for row in everything]
    paths = files.all_images(list(zip(listed, photos, strict=True)))
    images = {
        row: files.folder / expected if path is None else path
        for row, expected, path in zip(everything.tolist(), listed, paths, strict=True)
    }
    files.log()
    pairs = {}
    for part, part_rows in rows.items():
        targets = _targets(hot[part_rows], protocol)
        pairs[part] = tuple(
            RawPair(
                id=name,
                image=images[row],
                text=texts[row],
                label=int(target) if protocol == "10k" else tuple(np.flatnonzero(target).tolist()),
            )
            for name, row, target in zip(
                collection.ids(part_rows).tolist(), part_rows.tolist(), targets, strict=True
            )
        )
    return RawPairs(
        f"nuswide_{protocol}", pairs["train"], pairs["test"], names, pairs.get("validation", ())
    )


def own_texts(files: Files, ids: np.ndarray) -> np.ndarray:
    """Return (k, 1000) float32: the tags of the pairs with these ids, as `load` reads them.

    Raises:
        InputError: if an id is not one of the data set's, or as `load`.
    """
    _check(files, [sources.IMAGE_LIST], [sources.TAGS])
    collection = Collection(files)
    row = {name: index for index, name in enumerate(collection.images)}
    unknown = [name for name in ids.tolist() if f"{name}.jpg" not in row]
    if unknown:
        raise InputError(f"{collection.image_list} lists no image {unknown[0]}.jpg.")
    rows = np.array([row[f"{name}.jpg"] for name in ids.tolist()], np.intp)
    texts = collection.matrix([sources.TAGS], rows)
    files.log()
    return texts


def _open(
    files: Files, protocol: str, names: Sequence[str], matrices: Sequence[Source]
) -> Collection:
    """Return the collection, if no file is missing that the protocol needs.

    The 81 concepts are known only from their list, so their labels are looked up after it.
    """
    names = [sources.IMAGE_LIST, *names]
    if protocol == "full":
        names = [*names, *sources.HALF_LISTS, sources.CONCEPT_LIST]
        _check(files, names, matrices)
        concepts = Collection(files).concepts
    else:
        concepts = CONCEPTS_10K
    _check(files, names, [*matrices, *map(sources.label_source, concepts)])
    return Collection(files)


def _check(files: Files, names: Sequence[str], matrices: Sequence[Source]) -> None:
    missing = lacking(files, names, matrices)
    if not missing:
        return
    present = [name for name, source in LOW_LEVEL.items() if source.found(files)]
    note = ""
    if present and any(source.whole in missing for source in LOW_LEVEL.values()):
        note = f"The low-level features that are there: {', '.join(present)}."
        if set(CONCATENATIONS["lowlevel634"]) <= set(present):
            present = ["lowlevel634", *present]
            note += " lowlevel634 is the first five side by side, 634-D."
        note += f" Ask for one by --image_features={present[0]}."
    raise files.missing(missing, note)


def _splits(
    collection: Collection, protocol: str, seed: int
) -> tuple[tuple[str, ...], np.ndarray, dict[str, np.ndarray]]:
    """Return the label names, (n, c) labels of all images, and the rows of each split."""
    if protocol == "full":
        halves = collection.halves  # First, because errors of the lists tell more.
        hot = collection.labels(collection.concepts)
        return collection.concepts, hot, labelled(halves, hot)
    hot = collection.labels(CONCEPTS_10K)
    # A duplicated photo could be drawn for training and for testing.
    once = np.array([photo not in DUPLICATED_PHOTOS for photo in collection.photos])
    return CONCEPTS_10K, hot, draw_10k(hot, once, seed)


def _targets(hot: np.ndarray, protocol: str) -> np.ndarray:
    """Return (k,) classes for the 10k, whose rows have one each; (k, c) multi-hot rows for all."""
    return hot.argmax(axis=1).astype(np.int32) if protocol == "10k" else hot


def _titles(text: np.ndarray, tags: tuple[str, ...]) -> np.ndarray:
    """Return (k,) str: the names of the tags in each row of `text` (k, 1000)."""
    row, column = np.nonzero(text)
    words = np.split(np.array(tags)[column], np.searchsorted(row, np.arange(1, len(text))))
    return np.array(
        [textwrap.shorten(" ".join(w.tolist()), _TITLE, placeholder=" …") for w in words]
    )
