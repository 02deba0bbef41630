"""The Wikipedia data set (paper, §4.2): 2,866 pictures with sections of articles, 10 categories.

`load` reads the shallow features of the distribution, `load_raw` its pictures and texts. README.md
in this folder tells where it comes from and how it is laid out.

Reference: Rasiwasia et al., "A New Approach to Cross-Modal Multimedia Retrieval", ACM MM 2010.
"""

from collections.abc import Collection
from pathlib import Path

import numpy as np

from xgacmn_tf.datasets import array_files
from xgacmn_tf.datasets.distribution import Distribution
from xgacmn_tf.datasets.paired import PairedDataset, Split
from xgacmn_tf.datasets.raw import RawPairs
from xgacmn_tf.datasets.wikipedia.lists import Listed, categories, listed, training_rows
from xgacmn_tf.datasets.wikipedia.pairs import raw_pair
from xgacmn_tf.errors import InputError

FEATURES = "raw_features.mat"
LISTS = {"train": "trainset_txt_img_cat.list", "test": "testset_txt_img_cat.list"}
CATEGORIES = "categories.list"
KEYS = {"train": ("I_tr", "T_tr"), "test": ("I_te", "T_te")}
PROTOCOLS = ("2173", "1300")

DISTRIBUTION = Distribution(
    name="wikipedia",
    origin=(
        "These files come from the distribution of Rasiwasia et al. 2010 (SVCL, UC San Diego: "
        "wikipedia_dataset); they cannot be downloaded by a program."
    ),
    layout=(
        f"Its folder holds {LISTS['train']} and {LISTS['test']} (text id, image id, category; "
        f"tab-separated), {CATEGORIES}, {FEATURES} (I_tr, T_tr, I_te, T_te: needed for the shallow "
        "features), texts/<text id>.xml and images/<category>/<image id>.jpg (needed for features "
        "made anew)."
    ),
    below=("wikipedia_dataset",),
)


def load(data_dir: str | None, protocol: str | None = None, seed: int = 0) -> PairedDataset:
    """The shallow features of the distribution under one of the two protocols.

    Images are histograms of 128 SIFT words, texts are 10 LDA topic proportions. The pairs have no
    titles or thumbnails.

    Args:
        data_dir: the folder of the distribution, or the one that holds it.
        protocol: "2173" (as is None) is the split that the data set ships with (2,173 train, 693
            test); "1300" draws 130 pairs of every category for training and tests on the others.
        seed: draws the split of protocol 1300; without effect on the other.

    Raises:
        InputError: if the protocol is unknown, files are missing, or their content is broken.
    """
    protocol = _protocol(protocol)
    folder = DISTRIBUTION.find(data_dir, (FEATURES, *LISTS.values(), CATEGORIES))
    names, rows = _lists(folder)
    features = _features(folder / FEATURES)
    splits = {}
    for part, path in LISTS.items():
        image, text = (features[key] for key in KEYS[part])
        for key, array in zip(KEYS[part], (image, text), strict=True):
            if len(array) != len(rows[part]):
                raise InputError(
                    f"{folder / FEATURES}: {key} has {len(array)} rows, {path} lists "
                    f"{len(rows[part])} pairs; the files do not belong together, fetch the "
                    "distribution again."
                )
        splits[part] = Split(
            image,
            text,
            label=np.array([row.label for row in rows[part]], np.int32),
            id=np.array([row.text_id for row in rows[part]], dtype=str),
        )
    if protocol == "1300":
        both = (splits["train"], splits["test"])
        pool = Split(
            image=np.concatenate([split.image for split in both]),
            text=np.concatenate([split.text for split in both]),
            label=np.concatenate([split.label for split in both]),
            id=np.concatenate([split.id for split in both]),
        )
        chosen = training_rows(pool.label, names, seed)
        splits = {"train": pool.take(chosen), "test": pool.take(~chosen)}
    return PairedDataset(
        f"wikipedia_{protocol}", splits["train"], splits["test"], names, source=str(folder)
    )


def load_raw(data_dir: str | None, protocol: str | None = None, seed: int = 0) -> RawPairs:
    """The pictures and texts of the distribution, in the same splits and order as `load`.

    Raises:
        InputError: as `load`; naming texts and pictures that are listed but not there.
    """
    protocol = _protocol(protocol)
    folder = DISTRIBUTION.find(data_dir, (*LISTS.values(), CATEGORIES, "texts", "images"))
    names, rows = _lists(folder)
    lacking: list[str] = []
    pairs = {part: [raw_pair(folder, row, names, lacking) for row in rows[part]] for part in LISTS}
    if lacking:
        raise DISTRIBUTION.missing(folder, lacking)
    if protocol == "1300":
        pool = pairs["train"] + pairs["test"]
        labels = np.array([row.label for row in rows["train"] + rows["test"]])
        chosen = training_rows(labels, names, seed)
        pairs = {
            "train": [pool[row] for row in np.flatnonzero(chosen)],
            "test": [pool[row] for row in np.flatnonzero(~chosen)],
        }
    return RawPairs(f"wikipedia_{protocol}", tuple(pairs["train"]), tuple(pairs["test"]), names)


def _protocol(protocol: str | None) -> str:
    if protocol not in (None, *PROTOCOLS):
        raise InputError(f"Wikipedia's protocols are 2173 and 1300, found {protocol!r}.")
    return protocol or PROTOCOLS[0]


def _lists(folder: Path) -> tuple[tuple[str, ...], dict[str, list[Listed]]]:
    names = categories(folder / CATEGORIES)
    return names, {part: listed(folder / path, len(names)) for part, path in LISTS.items()}


def _features(path: Path) -> dict[str, np.ndarray]:
    needed = [key for pair in KEYS.values() for key in pair]

    def check_names(names: Collection[str]) -> None:
        lacking = [key for key in needed if key not in names]
        if lacking:
            raise InputError(f"{path} lacks {', '.join(lacking)}; expected {', '.join(needed)}.")

    return array_files.read(path, check_names)
