"""Galleries of the items of a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from xgacmn_tf.datasets.paired import PairedDataset, Split, label_matrix
from xgacmn_tf.errors import InputError
from xgacmn_tf.gallery.items import Gallery, join
from xgacmn_tf.names import MODALITIES, SEARCH_SPLITS

ALL, TEST = SEARCH_SPLITS
TRAIN = "train"
# Bytes of the features of all items, up to which all are searched and not only the test split.
MAX_ALL_BYTES = 2**30


def from_split(split: Split, label_names: Sequence[str]) -> Gallery:
    """Return both modalities of a split."""
    title = split.id if split.title is None else split.title
    labels = label_matrix(split.label, len(label_names))
    of_row = np.split(labels.indices, labels.indptr[1:-1])
    category = [", ".join(label_names[k] for k in row.tolist()) for row in of_row]
    return Gallery(
        {modality: getattr(split, modality) for modality in MODALITIES},
        split.id,
        title,
        np.array(category),
        split.thumbnail,
        split.fine_label,
        *(getattr(split, f"has_{modality}") for modality in MODALITIES),
    )


def searched_split(
    items: int, dims: Mapping[str, int], streamed: bool = False
) -> tuple[str, str | None]:
    """Return the split of a data set that is searched by default, and why it is not "all".

    Args:
      items: number of pairs of all splits.
      dims: modality → number of features.
      streamed: the features of the training split are read from files.

    Returns:
      "all", None; or "test" and a reason, where the training split is streamed or the float32
      features of all items take more than `MAX_ALL_BYTES`.
    """
    if streamed:
        return TEST, "the training split is streamed from files"
    size = 4 * items * sum(dims.values())
    if size > MAX_ALL_BYTES:
        return TEST, (
            f"the features of all {items:,} items take {size / 2**30:.1f} GiB, more than "
            f"{MAX_ALL_BYTES / 2**30:g} GiB"
        )
    return ALL, None


def from_dataset(dataset: PairedDataset, split: str) -> Gallery:
    """Return both modalities of a data set's items, in the order training, validation, test.

    A data set has no id twice, so that ids are unique over its splits.

    Args:
      dataset: the data set.
      split: "all", "train" (with the validation pairs that were held out of it) or "test".

    Raises:
      InputError: training items of a data set whose training split is streamed from files.
    """
    names = {split, "validation"} if split == TRAIN and dataset.held_out else {split}
    parts = [part for name, part in dataset.splits() if split == ALL or name in names]
    if not all(isinstance(part, Split) for part in parts):
        raise InputError(
            f"the training split of {dataset.name} is streamed from files, so that not all items "
            "can be searched; search the test split, or train without --streaming"
        )
    return join([from_split(part, dataset.label_names) for part in parts])
