"""The Wikipedia data set (paper, §4.2): 2,866 images with sections of articles, 10 categories.

`load` reads the shallow features of the distribution or published deep features, `load_raw` its
images and texts. README.md in this folder describes the files.

Reference: Rasiwasia et al., "A New Approach to Cross-Modal Multimedia Retrieval", ACM MM 2010.
"""

import numpy as np

from xgacmn_tf.datasets.distribution import Distribution, Files
from xgacmn_tf.datasets.feature_file import numbered_ids
from xgacmn_tf.datasets.paired import PairedDataset, Split
from xgacmn_tf.datasets.raw import RawPairs
from xgacmn_tf.datasets.wikipedia.lists import Listed, categories, listed, training_rows
from xgacmn_tf.datasets.wikipedia.pairs import raw_pairs
from xgacmn_tf.errors import InputError
from xgacmn_tf.io import array_files

FEATURES = "raw_features.mat"
LISTS = {"train": "trainset_txt_img_cat.list", "test": "testset_txt_img_cat.list"}
CATEGORIES = "categories.list"
KEYS = {"train": ("I_tr", "T_tr"), "test": ("I_te", "T_te")}
PROTOCOLS = ("2173", "1300")
# VGG-19 and Doc2Vec features of the shipped split, as several published programs read them.
DEEP = "wiki.mat"
DEEP_KEYS = {
    part: (f"{part}_imgs_deep", f"{part}_texts_doc", f"{part}_imgs_labels") for part in LISTS
}
NUM_CATEGORIES = 10
IMAGE_FEATURES = ("shallow", "deep")

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
        f"made anew), or {DEEP} ({', '.join(DEEP_KEYS['train'])}, …: needed for the deep "
        "features). Only the names of files matter: they may lie in any folders below it, or in "
        "zip archives."
    ),
)


def load(
    files: Files,
    protocol: str | None = None,
    seed: int = 0,
    image_features: str | None = None,
) -> PairedDataset:
    """Read the features that come with the data set.

    Shallow features: images are histograms of 128 SIFT words, texts are 10 LDA topic proportions.
    Deep features: images are 4096-D, texts 300-D; pairs have no ids, and categories are named by
    their numbers. There are no titles or thumbnails.

    Args:
        files: the files of the distribution.
        protocol: "2173" (as is None) is the split that the data set ships with (2,173 train, 693
            test); "1300" draws 130 pairs of every category for training and tests on the others.
        seed: draws the split of protocol 1300; without effect on the other.
        image_features: one of `IMAGE_FEATURES`, for texts, too; None for the shallow ones, or for
            the deep ones where only these are there.

    Raises:
        InputError: if files are missing, or their content is broken.
    """
    protocol = protocol or PROTOCOLS[0]
    if image_features is None and not files.has(FEATURES) and files.has(DEEP):
        image_features = "deep"
    files.require([DEEP] if image_features == "deep" else [FEATURES, *LISTS.values(), CATEGORIES])
    names, splits = _deep(files) if image_features == "deep" else _shallow(files)
    files.log()
    if protocol == "1300":
        pool = splits["train"].followed_by(splits["test"])
        in_training = training_rows(pool.label, names, seed)
        splits = {"train": pool.take(in_training), "test": pool.take(~in_training)}
    name = "wikipedia_deep" if image_features == "deep" else "wikipedia"
    return PairedDataset(
        f"{name}_{protocol}", splits["train"], splits["test"], names, source=str(files.folder)
    )


def load_raw(files: Files, protocol: str | None = None, seed: int = 0) -> RawPairs:
    """Read the images and texts of the distribution, in the same splits and order as `load`.

    Raises:
        InputError: as `load`; naming texts and images that are listed but missing.
    """
    protocol = protocol or PROTOCOLS[0]
    files.require([*LISTS.values(), CATEGORIES])
    names, rows = _lists(files)
    pairs = raw_pairs(files, rows, names)
    files.log()
    if protocol == "1300":
        pool = pairs["train"] + pairs["test"]
        labels = np.array([row.label for row in rows["train"] + rows["test"]])
        in_training = training_rows(labels, names, seed)
        pairs = {
            "train": [pool[row] for row in np.flatnonzero(in_training)],
            "test": [pool[row] for row in np.flatnonzero(~in_training)],
        }
    return RawPairs(f"wikipedia_{protocol}", tuple(pairs["train"]), tuple(pairs["test"]), names)


def _lists(files: Files) -> tuple[tuple[str, ...], dict[str, list[Listed]]]:
    names = categories(files.path(CATEGORIES))
    return names, {part: listed(files.path(path), len(names)) for part, path in LISTS.items()}


def _shallow(files: Files) -> tuple[tuple[str, ...], dict[str, Split]]:
    """Return category names and splits."""
    names, rows = _lists(files)
    path = files.path(FEATURES)
    features = array_files.read_named(path, [key for pair in KEYS.values() for key in pair])
    splits = {}
    for part, list_name in LISTS.items():
        image, text = (features[key] for key in KEYS[part])
        for key, array in zip(KEYS[part], (image, text), strict=True):
            if len(array) != len(rows[part]):
                raise InputError(
                    f"{path}: {key} has {len(array)} rows, {list_name} lists "
                    f"{len(rows[part])} pairs; the files do not belong together, fetch the "
                    "distribution again."
                )
        splits[part] = Split(
            image,
            text,
            label=np.array([row.label for row in rows[part]], np.int32),
            id=np.array([row.text_id for row in rows[part]], dtype=str),
        )
    return names, splits


def _deep(files: Files) -> tuple[tuple[str, ...], dict[str, Split]]:
    """Return numbers of the categories, counted from 0, and splits."""
    path = files.path(DEEP)
    features = array_files.read_named(path, [key for keys in DEEP_KEYS.values() for key in keys])
    labels = {part: features[keys[2]].ravel() for part, keys in DEEP_KEYS.items()}
    for part, label in labels.items():
        if label.dtype.kind not in "fiub" or not label.size:
            raise InputError(
                f"{path}: {DEEP_KEYS[part][2]} has {label.size} values of dtype {label.dtype}; "
                "expected the number of a category for each pair"
            )
    # Copies of the file count from 0 or from 1.
    first = 1 if max(label.max() for label in labels.values()) == NUM_CATEGORIES else 0
    splits = {}
    for part, (image, text, _) in DEEP_KEYS.items():
        ids = numbered_ids(part, len(features[image]))
        splits[part] = Split(features[image], features[text], labels[part] - first, ids)
    return tuple(map(str, range(NUM_CATEGORIES))), splits
