"""Scores of every query of every run, from which the tables and figures are computed.

Each run has a file `scores/<data set>/<system>/seed_<k>.npz`. Row j of every array belongs to the
same query:

query, direction     (2n,) the query's id; "i2t" or "t2i"
AP_<similarity>      (2n,) over the whole gallery, divided by the relevant items in it
AP@50_<similarity>   (2n,) over the first 50, divided by the number of relevant items among them

The array precision_<similarity> (2, K) is the mean precision at 1, 2, …, K, i2t first.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from xgacmn_tf.errors import InputError
from xgacmn_tf.evaluation.retrieval import evaluate_retrieval
from xgacmn_tf.io import array_files
from xgacmn_tf.io.files import atomic_path
from xgacmn_tf.names import CODE_SIMILARITIES, DIRECTIONS, model_name
from xgacmn_tf.paper.experiments import Experiment
from xgacmn_tf.runs.folder import RunFolder

MEASURES = {"mAP": "AP", "mAP@50": "AP@50"}


@dataclasses.dataclass(frozen=True, eq=False)
class Codes:
    """The codes of a run's test split.

    Attributes:
      id: (n,) ids of the pairs.
      label: (n,) categories, or (n, c) multi-hot.
      represented: similarity → (n, d) arrays of the images and of the texts, whose inner products
        are the similarity.
    """

    id: np.ndarray
    label: np.ndarray
    represented: Mapping[str, tuple[np.ndarray, np.ndarray]]

    def targets(self) -> np.ndarray:
        """Return the categories as (n, c) zeros and ones."""
        if self.label.ndim == 2:
            return self.label.astype(np.float32)
        return np.eye(int(self.label.max()) + 1, dtype=np.float32)[self.label]


def read_codes(folder: RunFolder) -> Codes:
    """Read embeddings.npz of a run."""
    try:
        arrays = array_files.read(folder.embeddings)
        codes = arrays["image"], arrays["text"]
        label, ids = arrays["label"], arrays["id"]
    except (ValueError, KeyError, IndexError) as error:
        raise InputError(
            f"{folder.embeddings} cannot be read ({error}); delete {folder.metrics} and run the "
            "same command again"
        ) from error
    image, text = (tf.math.l2_normalize(code, axis=-1).numpy() for code in codes)
    represented = {"cosine": (image, text), "dot": codes}
    if "image_posterior" in arrays:
        represented["posterior"] = arrays["image_posterior"], arrays["text_posterior"]
    return Codes(ids, label, {s: represented[s] for s in CODE_SIMILARITIES if s in represented})


@dataclasses.dataclass(frozen=True, eq=False)
class Scores:
    """The scores of one run.

    Attributes:
      id: (n,) ids of the pairs.
      per_query: similarity → "AP" or "AP@50" → direction → (n,).
      precision: similarity → direction → (K,) mean precision at 1, 2, …, K.
    """

    id: np.ndarray
    per_query: Mapping[str, Mapping[str, Mapping[str, np.ndarray]]]
    precision: Mapping[str, Mapping[str, np.ndarray]]

    def mean(self, similarity: str, measure: str) -> dict[str, float]:
        """Return "mAP" or "mAP@50" of both directions, and their mean "avg"."""
        by_way = self.per_query[similarity][MEASURES[measure]]
        means = {way: float(np.mean(by_way[way], dtype=np.float64)) for way in DIRECTIONS}
        return means | {"avg": (means["i2t"] + means["t2i"]) / 2}

    def by_pair(self, similarity: str, measure: str) -> np.ndarray:
        """Return (n,) scores of the pairs, each the mean of its image query and its text query."""
        by_way = self.per_query[similarity][MEASURES[measure]]
        return (by_way["i2t"].astype(np.float64) + by_way["t2i"]) / 2


def scores_path(output: Path, run: Experiment) -> Path:
    """Return the file of a run's scores."""
    return output / "scores" / run.label / model_name(run.model) / f"seed_{run.config.seed}.npz"


def write_scores(output: Path, runs: Sequence[Experiment]) -> None:
    """Write the scores of finished runs that have no scores yet, or were evaluated again."""
    for run in tqdm(runs, desc="scores", unit="run", dynamic_ncols=True):
        path, metrics = scores_path(output, run), run.folder.metrics
        if not path.exists() or path.stat().st_mtime_ns < metrics.stat().st_mtime_ns:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary:
                np.savez_compressed(temporary, allow_pickle=False, **_score(run.folder))


def read_scores(output: Path, run: Experiment) -> Scores:
    """Read the file that `write_scores` wrote."""
    path = scores_path(output, run)
    try:
        arrays = array_files.read(path)
        rows = {way: arrays["direction"] == way for way in DIRECTIONS}
        similarities = [s for s in CODE_SIMILARITIES if f"AP_{s}" in arrays]
        return Scores(
            arrays["query"][rows["i2t"]],
            {
                s: {
                    measure: {way: arrays[f"{measure}_{s}"][rows[way]] for way in DIRECTIONS}
                    for measure in MEASURES.values()
                }
                for s in similarities
            },
            {s: dict(zip(DIRECTIONS, arrays[f"precision_{s}"], strict=True)) for s in similarities},
        )
    except (ValueError, KeyError, IndexError) as error:
        raise InputError(
            f"{path} cannot be read ({error}); delete it and run the same command again"
        ) from error


def _score(folder: RunFolder) -> dict[str, np.ndarray]:
    codes = read_codes(folder)
    targets = codes.targets()
    arrays = {
        "query": np.concatenate([codes.id] * len(DIRECTIONS)),
        "direction": np.repeat(np.array(DIRECTIONS), len(codes.id)),
    }
    for similarity, pair in codes.represented.items():
        result = evaluate_retrieval(*pair, targets)
        for measure in MEASURES.values():
            arrays[f"{measure}_{similarity}"] = np.concatenate(
                [result.per_query[way][measure] for way in DIRECTIONS]
            )
        arrays[f"precision_{similarity}"] = np.stack(
            [result.precision_scope[way] for way in DIRECTIONS]
        )
    return arrays
