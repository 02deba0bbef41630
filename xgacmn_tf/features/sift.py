"""SIFT bag of visual words (paper, §4.1: the 128-D image features of Wikipedia).

Lowe (2004) describes the corners and blobs of an image by 128 numbers each; k-means over the
training images' descriptors gives 128 visual words; an image is the share of each word.
"""

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from PIL import Image
from sklearn.cluster import MiniBatchKMeans

from xgacmn_tf.errors import InputError
from xgacmn_tf.features.extractor import Extractor, package_folder
from xgacmn_tf.io import array_files
from xgacmn_tf.io.files import atomic_path

_WORDS = "visual_words.npz"
# Images are shrunk to this longer side first: finer detail costs time and is mostly noise.
_LONGER_SIDE = 640
# The strongest points of an image; and how many of them, drawn at random, k-means sees.
_POINTS = 1000
_POINTS_LEARNED = 100


class VisualWords(Extractor):
    """Shares of visual words; each row sums to 1. An image without any point has equal shares.

    Args:
        seed: draws the descriptors that are learned from, and the first centres.
        size: the number of visual words.
    """

    modality: ClassVar[str] = "image"
    learns: ClassVar[bool] = True
    # 400,000 descriptors (200 MB) are plenty for 128 centres, however large the data set.
    fit_limit: ClassVar[int | None] = 4000

    def __init__(self, name: str = "sift", seed: int = 0, size: int = 128):
        self.name, self.seed, self.size = name, seed, size
        self.words = np.zeros((size, 128), np.float32)

    def missing(self) -> tuple[str, ...]:
        return () if package_folder("cv2") else ("xgacmn_tf[sift]",)

    @functools.cached_property
    def _cv2(self) -> Any:
        self.check()
        import cv2

        return cv2

    @property
    def dim(self) -> int:
        return self.size

    def settings(self) -> dict[str, Any]:
        return {"seed": self.seed, "size": self.size}

    def prepare(self, item: Image.Image) -> np.ndarray:
        """Return (points, 128) float32 descriptors of one image."""
        gray = item.convert("L")
        gray.thumbnail((_LONGER_SIDE, _LONGER_SIDE))
        sift = self._cv2.SIFT_create(nfeatures=_POINTS)
        _, descriptors = sift.detectAndCompute(np.asarray(gray), None)
        return np.zeros((0, 128), np.float32) if descriptors is None else descriptors

    def fit(self, items: Iterable[Image.Image]) -> None:
        generator = np.random.default_rng(self.seed)
        sample = [
            generator.permutation(descriptors)[:_POINTS_LEARNED]
            for descriptors in map(self.prepare, items)
        ]
        descriptors = np.concatenate([np.zeros((0, 128), np.float32), *sample])
        if len(descriptors) < self.size:
            raise InputError(
                f"{self.name} features: the training images show {len(descriptors)} SIFT points, "
                f"too few to learn {self.size} visual words; name other image features"
            )
        means = MiniBatchKMeans(self.size, n_init=3, random_state=self.seed)
        self.words = means.fit(descriptors).cluster_centers_.astype(np.float32)

    def encode(self, prepared: Sequence[np.ndarray]) -> np.ndarray:
        rows = np.full((len(prepared), self.size), 1 / self.size, np.float32)
        half_squares = (self.words**2).sum(axis=1) / 2
        for row, descriptors in enumerate(prepared):
            if len(descriptors):
                # |d − w|² / 2 without |d|², which is the same for every word.
                nearest = np.argmin(half_squares - descriptors @ self.words.T, axis=1)
                rows[row] = np.bincount(nearest, minlength=self.size) / len(descriptors)
        return rows

    def _save_files(self, folder: Path) -> None:
        with atomic_path(folder / _WORDS) as path:
            np.savez(path, words=self.words)

    @classmethod
    def _load(cls, folder: Path, name: str, settings: dict[str, Any]) -> Self:
        loaded = cls(name, settings["seed"], settings["size"])
        loaded.words = array_files.read(folder / _WORDS)["words"]
        if loaded.words.shape != (loaded.size, 128) or not np.isfinite(loaded.words).all():
            raise ValueError(f"words has shape {loaded.words.shape}, or NaN")
        return loaded
