"""Embeddings made outside this package, scored on the test split as one more system."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xgacmn_tf import datasets
from xgacmn_tf.datasets.paired import PairedDataset
from xgacmn_tf.errors import InputError
from xgacmn_tf.evaluation.fine_labels import fine_targets
from xgacmn_tf.evaluation.first_results import first_results, spread_measures
from xgacmn_tf.evaluation.measures import split_identity
from xgacmn_tf.evaluation.representations import unit_length
from xgacmn_tf.evaluation.retrieval import evaluate_retrieval, mean_average_precision
from xgacmn_tf.evaluation.significance import mean_by_query
from xgacmn_tf.io import array_files
from xgacmn_tf.paper.comparison import Row, row_of
from xgacmn_tf.settings.config import Config

SIMILARITIES = ("cosine", "dot")
_ARRAYS = ("image", "text", "id", "name", "similarity")


@dataclasses.dataclass(frozen=True, eq=False)
class Embeddings:
    """The embeddings of a test split.

    Attributes:
      name: of the system in tables.
      similarity: "cosine" or "dot".
      image, text: (n, d) in the order of the test split; at unit length for "cosine".
    """

    name: str
    similarity: str
    image: np.ndarray
    text: np.ndarray


def read_embeddings(path: Path, test_ids: Callable[[str], np.ndarray]) -> Embeddings:
    """Read a file of embeddings.

    Args:
      path: .npz file with the arrays `image` (n, d), `text` (n, d) and, optionally, `id` (n,),
        `name` and `similarity`.
      test_ids: name of the system → (m,) ids of the test split. The pairs of the file are matched
        by `id`, and others than those of the test split are ignored; without `id` they are the
        test split in order.

    Raises:
      InputError: the file is damaged, or does not hold the embeddings of the test split.
    """
    flag = f"--score={path}"

    def choose(shapes: array_files.Shapes) -> list[str]:
        if "image" not in shapes or "text" not in shapes:
            raise InputError(
                f"{flag} holds {array_files.shown(shapes)}; expected the arrays image and text, "
                "each (n, d)"
            )
        return [name for name in _ARRAYS if name in shapes]

    arrays = array_files.read(path, choose)
    similarity = _word(arrays.get("similarity", np.array("cosine")))
    if similarity not in SIMILARITIES:
        raise InputError(f"{flag}: similarity is {similarity!r}; expected cosine or dot")
    image, text = (_matrix(flag, name, arrays[name]) for name in ("image", "text"))
    if image.shape != text.shape:
        raise InputError(
            f"{flag}: image has shape {image.shape} and text {text.shape}; expected the same shape"
        )
    name = _word(arrays.get("name", np.array(path.stem)))
    rows = _rows(flag, arrays.get("id"), len(image), test_ids(name))
    image, text = image[rows], text[rows]
    if similarity == "cosine":
        image, text = unit_length(image), unit_length(text)
    return Embeddings(name, similarity, image, text)


def _word(value: np.ndarray) -> str:
    return str(value.ravel()[0]) if value.size == 1 else str(value.tolist())


def _matrix(flag: str, name: str, values: np.ndarray) -> np.ndarray:
    if values.ndim != 2 or values.dtype.kind not in "fiu" or values.shape[1] == 0:
        raise InputError(
            f"{flag}: {name} has shape {values.shape} and type {values.dtype}; expected (n, d) "
            "numbers"
        )
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise InputError(f"{flag}: {name} holds values that are not finite; remove them")
    return values


def _rows(flag: str, ids: np.ndarray | None, count: int, test_ids: np.ndarray) -> Any:
    """The rows of the file in the order of the test split."""
    if ids is None:
        if count != len(test_ids):
            raise InputError(
                f"{flag} holds {count} pairs and the test split {len(test_ids)}; add an array id "
                "with the ids of the pairs, or store the test split in its order"
            )
        return slice(None)
    if ids.shape != (count,):
        raise InputError(f"{flag}: id has shape {ids.shape}; expected ({count},), one per pair")
    row_of_id = {str(name): row for row, name in enumerate(ids)}
    if len(row_of_id) < count:
        raise InputError(f"{flag}: id holds a value more than once; expected one per pair")
    missing = [str(name) for name in test_ids if str(name) not in row_of_id]
    if missing:
        raise InputError(
            f"{flag}: id lacks {len(missing)} of {len(test_ids)} pairs of the test split, such as "
            f"{missing[0]!r}; store ids as embeddings.npz of a run with the file's seed has them"
        )
    return [row_of_id[str(name)] for name in test_ids]


def score_files(paths: Sequence[str], config: Config) -> list[Row]:
    """Score embeddings on the test split of a data set.

    Args:
      paths: files of `read_embeddings`; those with the same name are seeds 0, 1, … of one system,
        in this order, as seeds of the other systems are: each has the test split of its seed.
      config: names the data set.

    Returns:
      A row for each name.

    Raises:
      InputError: a file cannot be used, or files of one name have different similarities.
    """
    splits: list[PairedDataset] = []  # of seeds 0, 1, …
    systems: dict[str, list[Embeddings]] = {}

    def test_ids(name: str) -> np.ndarray:
        seed = len(systems.get(name, ()))
        if seed == len(splits):
            splits.append(datasets.for_config(config.replace(seed=seed)))
        return splits[seed].test.id

    for path in paths:
        embeddings = read_embeddings(Path(path), test_ids)
        seeds = systems.setdefault(embeddings.name, [])
        if seeds and seeds[0].similarity != embeddings.similarity:
            raise InputError(
                f"--score={path} ranks by {embeddings.similarity}, and another file of the name "
                f"{embeddings.name} by {seeds[0].similarity}; give them different names"
            )
        seeds.append(embeddings)
    return [_row(seeds, splits, config) for seeds in systems.values()]


def _row(seeds: Sequence[Embeddings], splits: Sequence[PairedDataset], config: Config) -> Row:
    deduplicated = config.evaluation.deduplicate_gallery
    measures, queries = [], []
    for seed, dataset in zip(seeds, splits, strict=False):
        test, identity = dataset.test, split_identity(dataset)
        fine = fine_targets(test.fine_label, test.label, dataset.label_names)
        result = evaluate_retrieval(
            seed.image, seed.text, test.label, identity=identity, deduplicated=deduplicated
        )
        scores = dict(result.measures)
        for name, (rows, targets) in fine.items():
            scores[name] = mean_average_precision(seed.image[rows], seed.text[rows], targets)
        scores |= spread_measures(first_results(seed.image, seed.text, identity, deduplicated))
        measures.append(scores)
        queries.append(
            {
                f"{way}/{test.id[pair]}": float(score)
                for way, values in result.per_query.items()
                for pair, score in zip(values["pair"], values["AP"], strict=True)
            }
        )
    row = row_of(seeds[0].name, seeds[0].similarity, measures)
    row.queries = mean_by_query(queries)
    return row
