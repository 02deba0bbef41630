"""What a finished run's folder holds of its test split, for a comparison with another run."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any, Self

import numpy as np

from xgacmn_tf.errors import InputError
from xgacmn_tf.evaluation.identity import Identity
from xgacmn_tf.evaluation.measures import split_identity
from xgacmn_tf.evaluation.representations import unit_length
from xgacmn_tf.io import array_files
from xgacmn_tf.names import MODALITIES
from xgacmn_tf.runs.folder import RunFolder
from xgacmn_tf.runs.test_pairs import TestPairs
from xgacmn_tf.runs.trained import TrainedRun

# Images and texts, (n, e) each.
Sides = tuple[np.ndarray, np.ndarray]
logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class StoredRun:
    """The n test pairs of a finished run.

    Attributes:
        name: of the folder.
        metrics: the content of metrics.json.
        arrays: the content of embeddings.npz.
        pairs: the record of the pairs; None where it can no longer be known.
        label_names: c names of classes.
    """

    name: str
    metrics: dict[str, Any]
    arrays: dict[str, np.ndarray]
    pairs: TestPairs | None
    label_names: tuple[str, ...]

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Return what the folder of a run holds.

        Raises:
            InputError: it holds no finished run, or lacks what a comparison needs.
        """
        folder = RunFolder(path)
        if not folder.is_finished():
            raise InputError(f"{path} holds no finished run (no metrics.json); name a run folder")
        metrics = folder.read_metrics()
        arrays = array_files.read(folder.embeddings)
        missing = sorted({"id", "label", *MODALITIES} - set(arrays))
        names = metrics.get("label_names")
        if missing or not isinstance(names, list):
            raise InputError(
                f"{path}: an earlier version did not store "
                f"{', '.join(missing) or 'the label names'}; "
                f"run `xgacmn evaluate --run={path} --output_dir=NEW` and compare that folder"
            )
        name, pairs = Path(path).resolve().name, _pairs(folder, len(arrays["id"]))
        return cls(name, metrics, arrays, pairs, tuple(map(str, names)))

    @property
    def id(self) -> np.ndarray:
        """(n,) str."""
        return self.arrays["id"]

    def subset(self, rows: np.ndarray) -> tuple[Identity, np.ndarray, np.ndarray | None]:
        """Return identity, labels and fine labels of the pairs at `rows`."""
        label = self.arrays["label"][rows]
        if self.pairs is None:
            image, text = (self.arrays[modality][rows] for modality in MODALITIES)
            return Identity.of(image, text), label, None
        fine = self.pairs.fine_label
        return self.pairs.identity.take(rows), label, None if fine is None else fine[rows]

    def sides(self, similarity: str, rows: np.ndarray) -> Sides | None:
        """Return what a similarity compares of the pairs at `rows`; None where it is not stored."""
        name = {"posterior": "{}_posterior", "item": "search_{}"}.get(similarity, "{}")
        if similarity == "item" and self.metrics.get("search_similarity") != "item":
            return None
        names = [name.format(modality) for modality in MODALITIES]
        if not set(names) <= set(self.arrays):
            return None
        image, text = (self.arrays[each][rows].astype(np.float64) for each in names)
        return (unit_length(image), unit_length(text)) if similarity == "cosine" else (image, text)


def _pairs(folder: RunFolder, rows: int) -> TestPairs | None:
    """Return the record of the test pairs, from pairs.npz or the data set."""
    if folder.pairs.exists():
        try:
            return TestPairs.from_arrays(array_files.read(folder.pairs), rows)
        except InputError as error:
            raise InputError(f"{folder.pairs}: {error}") from error
    try:
        dataset = TrainedRun(folder.path).dataset()
    except InputError as error:
        logger.warning("%s: it is not known which images it was trained on: %s", folder.path, error)
        return None
    return TestPairs.of(dataset, split_identity(dataset))
