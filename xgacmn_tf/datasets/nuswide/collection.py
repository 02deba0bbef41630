"""Lazily read files of NUS-WIDE.

An image is known by its row: its line in the image list, from 0.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from xgacmn_tf.datasets.distribution import Files
from xgacmn_tf.datasets.nuswide import lists, sources
from xgacmn_tf.datasets.nuswide.matrix_files import Part, gather
from xgacmn_tf.datasets.nuswide.sources import Source


class Collection:
    """Reads from `files`, which have to hold what is needed (see `lacking`).

    Raises:
        InputError: from every method, naming file and line, if what it reads is broken.
    """

    def __init__(self, files: Files):
        self.files = files
        self.image_list = files.path(sources.IMAGE_LIST)

    @cached_property
    def images(self) -> list[str]:
        """n paths such as "actor/0001_2124494179.jpg"."""
        return lists.images(self.image_list)

    @cached_property
    def photos(self) -> list[str]:
        """n photo ids on Flickr; a few stand twice, see `lists.DUPLICATED_PHOTOS`."""
        return lists.photos(self.image_list, self.images)

    @cached_property
    def halves(self) -> tuple[np.ndarray, np.ndarray]:
        """The rows of the training and of the test list, each in that list's order."""
        train, test = map(self.files.path, sources.HALF_LISTS)
        return lists.halves(self.image_list, self.images, train, test)

    @cached_property
    def concepts(self) -> tuple[str, ...]:
        """The names of all 81 concepts."""
        return lists.names(self.files.path(sources.CONCEPT_LIST), sources.NUM_CONCEPTS)

    def ids(self, rows: np.ndarray) -> np.ndarray:
        """(k,) str: the images' paths without ".jpg", which are unique as photo ids are not."""
        return np.array([self.images[row].removesuffix(".jpg") for row in rows.tolist()])

    def labels(self, concepts: Sequence[str]) -> np.ndarray:
        """Return (n, c) uint8, 0 or 1."""
        hot = np.empty((len(self.images), len(concepts)), np.uint8)
        rows = np.arange(len(hot))
        for column, concept in enumerate(concepts):
            self.read(sources.label_source(concept), rows, hot[:, column : column + 1])
        return hot

    def tag_vectors(self, rows: np.ndarray) -> np.ndarray:
        """Return (k, 1000) float32, 0 or 1."""
        out = np.empty((len(rows), sources.NUM_TAGS), np.float32)
        self.read(sources.TAGS, rows, out)
        return out

    def tag_names(self) -> tuple[str, ...]:
        """Return the names of the 1,000 tags, in the order of `tag_vectors`."""
        return lists.names(self.files.path(sources.TAG_LIST), sources.NUM_TAGS)

    def low_level(self, kinds: Sequence[str], rows: np.ndarray) -> np.ndarray:
        """Return (k, d) float32: those of `sources.LOW_LEVEL` that are named, side by side."""
        chosen = [sources.LOW_LEVEL[kind] for kind in kinds]
        out = np.empty((len(rows), sum(source.columns for source in chosen)), np.float32)
        start = 0
        for source in chosen:
            self.read(source, rows, out[:, start : start + source.columns])
            start += source.columns
        return out

    def texts(self, rows: np.ndarray) -> list[str]:
        """k texts: all tags that the image has on Flickr, with single spaces between them."""
        return lists.tags(self.files.path(sources.ALL_TAGS), self.photos, rows)

    def read(self, source: Source, rows: np.ndarray, out: np.ndarray) -> None:
        """Fill `out` (k, columns) with the rows of a matrix, from one file or its halves."""
        paths = [self.files.path(name) for name in source.found(self.files)]
        everything = (np.arange(len(self.images)),)
        of_line = everything if len(paths) == 1 else self.halves
        gather([Part(*part) for part in zip(paths, of_line, strict=True)], rows, out, source.binary)


def lacking(files: Files, names: Sequence[str], matrices: Sequence[Source]) -> list[str]:
    """Return the paths of missing files in the documented layout.

    Args:
        names: files needed under their own names.
        matrices: needed whole or in halves, which need the lists of halves.
    """
    found = [source.found(files) for source in matrices]
    needed = [*names]
    if any(len(paths) == 2 for paths in found):
        needed += [path for path in sources.HALF_LISTS if path not in needed]
    missing = [path for path in needed if not files.has(path)]
    return missing + [s.whole for s, paths in zip(matrices, found, strict=True) if not paths]
