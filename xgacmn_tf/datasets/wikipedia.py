"""The Wikipedia data set with its shallow features (paper, §4.2), from its own distribution.

2,866 pairs of a picture and a section of an article in 10 categories. Images are histograms of
128 SIFT words, texts are 10 LDA topic proportions. The texts and pictures themselves are not part
of the files that are read here, so pairs have no titles or thumbnails.

Reference: Rasiwasia et al., "A New Approach to Cross-Modal Multimedia Retrieval", ACM MM 2010.
"""

from collections.abc import Collection
from pathlib import Path

import numpy as np

from xgacmn_tf.datasets import array_files
from xgacmn_tf.datasets.paired import PairedDataset, Split
from xgacmn_tf.errors import InputError

FEATURES = "raw_features.mat"
LISTS = {"train": "trainset_txt_img_cat.list", "test": "testset_txt_img_cat.list"}
CATEGORIES = "categories.list"
KEYS = {"train": ("I_tr", "T_tr"), "test": ("I_te", "T_te")}
# Protocol 1300 draws so many training pairs of each category; all others test.
PER_CATEGORY = 130


def load(data_dir: str | None, protocol: str = "2173", seed: int = 0) -> PairedDataset:
    """The data set under one of its two protocols.

    Args:
        data_dir: the folder that holds `raw_features.mat` and the three lists, or holds a folder
            `wikipedia_dataset` with them.
        protocol: "2173" is the split that the data set ships with (2,173 train, 693 test);
            "1300" draws 130 pairs of every category for training and tests on the other 1,566.
        seed: draws the split of protocol 1300; without effect on the other.

    Raises:
        InputError: if the protocol is unknown, files are missing, or their content is broken.
    """
    if protocol not in ("2173", "1300"):
        raise InputError(f"Wikipedia's protocols are 2173 and 1300, found {protocol!r}.")
    folder = _folder(data_dir)
    names = _categories(folder / CATEGORIES)
    features = _features(folder / FEATURES)
    splits = {}
    for part, path in LISTS.items():
        ids, labels = _pairs(folder / path, len(names))
        image, text = (features[key] for key in KEYS[part])
        for key, array in zip(KEYS[part], (image, text), strict=True):
            if len(array) != len(ids):
                raise InputError(
                    f"{folder / FEATURES}: {key} has {len(array)} rows, {path} lists {len(ids)} "
                    "pairs; the files do not belong together, fetch the distribution again."
                )
        splits[part] = Split(image, text, labels, ids)
    if protocol == "1300":
        splits = _redrawn(splits["train"], splits["test"], names, seed)
    return PairedDataset(
        f"wikipedia_{protocol}", splits["train"], splits["test"], names, source=str(folder)
    )


def _redrawn(train: Split, test: Split, names: tuple[str, ...], seed: int) -> dict[str, Split]:
    """The pool of both splits, cut anew: `PER_CATEGORY` random pairs of each category train."""
    both = (train, test)
    pool = Split(
        np.concatenate([split.image for split in both]),
        np.concatenate([split.text for split in both]),
        np.concatenate([split.label for split in both]),
        np.concatenate([split.id for split in both]),
    )
    generator = np.random.default_rng(seed)
    chosen = np.zeros(len(pool), bool)
    for label, name in enumerate(names):
        rows = np.flatnonzero(pool.label == label)
        if len(rows) <= PER_CATEGORY:
            raise InputError(
                f"Wikipedia's category {name!r} has {len(rows)} pairs; protocol 1300 needs more "
                f"than {PER_CATEGORY} in each."
            )
        chosen[generator.choice(rows, PER_CATEGORY, replace=False)] = True
    return {"train": pool.take(chosen), "test": pool.take(~chosen)}


def _folder(data_dir: str | None) -> Path:
    origin = (
        "These files come from the distribution of Rasiwasia et al. 2010 (SVCL, UC San Diego); no "
        "package registry hosts them."
    )
    if data_dir is None:
        raise InputError(
            f"Data set 'wikipedia' needs data_dir, the folder that holds {FEATURES}, "
            f"{', '.join(LISTS.values())} and {CATEGORIES}. {origin}"
        )
    needed = (FEATURES, *LISTS.values(), CATEGORIES)
    folders = (Path(data_dir), Path(data_dir) / "wikipedia_dataset")
    missing = {folder: [f for f in needed if not (folder / f).is_file()] for folder in folders}
    # The folder that lacks least is the one meant; the outer one where they are equal.
    folder = min(folders, key=lambda candidate: len(missing[candidate]))
    if missing[folder]:
        raise InputError(f"Missing in {folder}: {', '.join(missing[folder])}. {origin}")
    return folder


def _features(path: Path) -> dict[str, np.ndarray]:
    needed = [key for pair in KEYS.values() for key in pair]

    def check_names(names: Collection[str]) -> None:
        lacking = [key for key in needed if key not in names]
        if lacking:
            raise InputError(f"{path} lacks {', '.join(lacking)}; expected {', '.join(needed)}.")

    return array_files.read(path, check_names)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text: {error}.") from None


def _categories(path: Path) -> tuple[str, ...]:
    names = tuple(line.strip() for line in _lines(path))
    if "" in names or not names:
        line = names.index("") + 1 if names else 1
        raise InputError(f"{path}, line {line}: empty; expected a category's name a line.")
    return names


def _pairs(path: Path, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Text ids (n,) str and labels (n,) int32 from 0, of lines `text id, image id, category`."""
    ids, labels = [], []
    for number, line in enumerate(_lines(path), 1):
        fields = line.split("\t")
        category = fields[-1].strip()
        if len(fields) != 3 or not fields[0] or not category.isdecimal():
            raise InputError(
                f"{path}, line {number}: found {line[:80]!r}; expected text id, image id and "
                "category number, separated by tabs."
            )
        if not 1 <= int(category[:9]) <= num_classes:
            raise InputError(
                f"{path}, line {number}: category {category[:20]}; expected 1 to {num_classes}, "
                f"the lines of {CATEGORIES}."
            )
        ids.append(fields[0])
        labels.append(int(category) - 1)
    return np.array(ids, dtype=str), np.array(labels, dtype=np.int32)
