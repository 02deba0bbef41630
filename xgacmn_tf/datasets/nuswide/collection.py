"""Lazily read files of NUS-WIDE.

An image is identified by its row: its line in the image list, from 0.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from xgacmn_tf.datasets.distribution import Files
from xgacmn_tf.datasets.nuswide import lists, sources
from xgacmn_tf.datasets.nuswide.matrix_files import Part, gather
from xgacmn_tf.datasets.nuswide.sources import Source


class Collection:
    """Reader of files that have to exist, see `lacking`.

    Raises:
        InputError: from every method, naming file and line, if the content is damaged.
    """

    def __init__(self, files: Files):
        self.files = files
        self.image_list = files.path(sources.IMAGE_LIST)

    @cached_property
    def images(self) -> list[str]:
        """The n paths such as "actor/0001_2124494179.jpg"."""
        return lists.images(self.image_list)

    @cached_property
    def photos(self) -> list[str]:
        """The n photo ids on Flickr; a few are duplicates, see `lists.DUPLICATED_PHOTOS`."""
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
        """Return (k,) str: the images' paths without ".jpg", as photo ids are not unique."""
        return np.array([self.images[row].removesuffix(".jpg") for row in rows.tolist()])

    def labels(self, concepts: Sequence[str]) -> np.ndarray:
        """Return (n, c) uint8, 0 or 1."""
        rows = np.arange(len(self.images))
        return self.matrix([*map(sources.label_source, concepts)], rows, np.uint8)

    def matrix(
        self, columns: Sequence[Source], rows: np.ndarray, dtype: Any = np.float32
    ) -> np.ndarray:
        """Return (k, d) some rows of several matrices side by side."""
        out = np.empty((len(rows), sum(source.columns for source in columns)), dtype)
        start = 0
        for source in columns:
            paths = [self.files.path(name) for name in source.found(self.files)]
            of_line = (np.arange(len(self.images)),) if len(paths) == 1 else self.halves
            parts = [Part(*part) for part in zip(paths, of_line, strict=True)]
            gather(parts, rows, out[:, start : start + source.columns], source.binary)
            start += source.columns
        return out


def lacking(files: Files, names: Sequence[str], matrices: Sequence[Source]) -> list[str]:
    """Return the paths of missing files in the documented layout.

    Args:
        names: files that are needed under their own names.
        matrices: matrices that are needed whole, or in halves together with the lists of halves.
    """
    paths_of = [source.found(files) for source in matrices]
    halves = sources.HALF_LISTS if any(len(paths) == 2 for paths in paths_of) else ()
    missing = [path for path in dict.fromkeys([*names, *halves]) if not files.has(path)]
    return missing + [s.whole for s, paths in zip(matrices, paths_of, strict=True) if not paths]
