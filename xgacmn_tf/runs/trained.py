"""A finished run: its encoders, extractors, data set and gallery."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from xgacmn_tf import datasets, gallery
from xgacmn_tf.datasets.paired import PairedDataset
from xgacmn_tf.errors import InputError
from xgacmn_tf.evaluation.representations import Representations, represent
from xgacmn_tf.features.extractor import Extractor
from xgacmn_tf.features.registry import load_extractor
from xgacmn_tf.gallery import Gallery
from xgacmn_tf.io import array_files
from xgacmn_tf.model.encoders import search_similarity
from xgacmn_tf.runs.checkpoint import load_encoder
from xgacmn_tf.runs.folder import RunFolder


class TrainedRun:
    """The best encoders of a finished run.

    Args:
      path: the run folder.

    Attributes:
      folder: the same, as a `RunFolder`.
      encoder: the best encoders.
      similarity: the similarity that searches rank by, see `encoders.search_similarity`.

    Raises:
      InputError: there is no finished run.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.folder = RunFolder(path)
        self.folder.check_finished()
        similarity = self.folder.read_metrics().get("headline_similarity")
        self.encoder = load_encoder(self.folder.best)
        if similarity not in self.encoder.similarities():
            raise InputError(
                f"{self.folder.metrics}: headline_similarity is {similarity!r}; this run's "
                f"encoders define {', '.join(self.encoder.similarities())}"
            )
        self.similarity = search_similarity(self.encoder, str(similarity))

    @property
    def dims(self) -> dict[str, int]:
        """The number of features that each modality's encoder takes."""
        return {
            "image": self.encoder.image_map.input_dim,
            "text": self.encoder.text_map.input_dim,
        }

    def dataset(self) -> PairedDataset:
        """Return the run's data set, which must not have changed since."""
        config = self.folder.recorded_config()
        fingerprint = self.folder.read_config()["data_fingerprint"]
        try:
            dataset = datasets.for_config(config)
        except InputError as error:
            raise InputError(
                f"{self.folder.path}: the data set it was trained on, "
                f"--dataset={config.data.dataset}, cannot be loaded: {error}. "
                "Repeat the command in the folder where that path exists"
            ) from error
        if dataset.fingerprint != fingerprint:
            raise InputError(
                f"{self.folder.path} was trained on other contents of "
                f"--dataset={config.data.dataset} than it has now, or by a version that drew other "
                "splits; restore the data, or train again"
            )
        return dataset

    def searched_split(self) -> tuple[str, str | None]:
        """Return the split that is searched by default, see `gallery.searched_split`."""
        streamed = self.folder.recorded_config().data.streaming
        counts = self.folder.read_metrics().get("splits") or {
            name: len(split) for name, split in self.dataset().splits()
        }
        items = sum(counts.values())
        return gallery.searched_split(items, self.dims, streamed)

    def gallery(self, split: str) -> Gallery:
        """Return the items of the run's data set.

        Args:
          split: "all", "train" or "test".
        """
        return gallery.from_dataset(self.dataset(), split)

    @functools.cached_property
    def label_names(self) -> tuple[str, ...] | None:
        """The names of the c classes; None if early versions did not record them."""
        names = self.folder.read_metrics().get("label_names")
        if not isinstance(names, list) or len(names) != self.encoder.num_classes:
            return None
        return tuple(map(str, names))

    @functools.cache  # noqa: B019 - a run is loaded once and lives as long as its command
    def extractor(self, modality: str) -> Extractor:
        """Return the extractor from images or texts to the run's features.

        Args:
          modality: "image" or "text".

        Raises:
          InputError: the run was trained on features without an extractor.
        """
        folder = self.folder.extractors / modality
        if not folder.is_dir():
            raise InputError(
                f"{self.folder.path} was trained on {modality} features without an extractor, so "
                f"it takes no raw {modality}s; send {modality}_features to `xgacmn serve`, give "
                "galleries as .npz files, or train with --image_features and --text_features"
            )
        return load_extractor(folder)

    def features(self, modality: str, items: Sequence[Any]) -> np.ndarray:
        """Return the features (n, d) float32 of images (RGB `PIL.Image`s) or texts."""
        extractor = self.extractor(modality)
        return extractor.encode([extractor.prepare(item) for item in items])

    def represent(
        self, modality: str, features: np.ndarray, width: int | None = None
    ) -> np.ndarray:
        """Return the embeddings (n, e) float32 of features, whose inner products rank.

        Args:
          modality: "image" or "text".
          features: (n, d).
          width: of the embeddings that they are compared with, see `gallery.query_embeddings`.
        """
        return gallery.query_embeddings(self.encoder, self.similarity, modality, features, width)

    def test_embeddings(self, modality: str, width: int | None = None) -> np.ndarray:
        """Return the embeddings of the test split, (n, e) float32.

        They come from embeddings.npz, so that the data set need not be loaded, which may mean
        extracting features again. The data set is loaded only where that file is missing or
        damaged, or lacks the caption features that galleries of a larger width have.

        Raises:
          InputError: neither embeddings.npz nor the data set can be read.
        """
        try:
            arrays = array_files.read(self.folder.embeddings)
            if self.similarity == "item":
                checked = Representations.of(modality, arrays[f"search_{modality}"])
            else:
                checked = represent(self.encoder, arrays[modality], self.similarity, modality)
            stored = checked[:].astype(np.float32)
            if width is None or stored.shape[1] == width:
                return stored
        except (InputError, KeyError, ValueError, tf.errors.InvalidArgumentError):
            pass
        return self.represent(modality, getattr(self.dataset().test, modality), width)
