"""Report on a data set before training: shared images, divided groups, absent categories."""

from collections.abc import Sequence

import numpy as np

from xgacmn_tf.datasets.paired import PairedDataset
from xgacmn_tf.groups import ALWAYS_ALLOWED, LARGEST_SHARE

SHOWN = 3


def data_report(dataset: PairedDataset) -> list[str]:
    """Return a report on a data set, a line for each finding.

    Reported are pairs that share an image or group, groups that are too large, groups and images
    that the data set's own splits divide, and categories without a training or test pair.
    """
    lines = [*_shared(dataset), *_large(dataset), *_divided(dataset)]
    for part in ("train", "test"):
        present = _present(getattr(dataset, part).label, dataset.num_classes)
        absent = [dataset.label_names[label] for label in np.flatnonzero(~present)]
        if absent:
            lines.append(
                f"{len(absent)} of {dataset.num_classes} categories have no pair in the {part} "
                f"split: {_sample(absent)}"
            )
    return lines


def _present(label: np.ndarray, num_classes: int) -> np.ndarray:
    """(c,) bool, whether each category has a pair."""
    counts = label.sum(axis=0) if label.ndim == 2 else np.bincount(label, minlength=num_classes)
    return np.asarray(counts > 0)


def _shared(dataset: PairedDataset) -> list[str]:
    counts = [
        f"{len(groups)} {part} pairs in {len(np.unique(groups))} groups"
        for part, groups in dataset.groups.items()
        if len(np.unique(groups)) < len(groups)
    ]
    return [f"several pairs share an image or group: {', '.join(counts)}"] if counts else []


def _large(dataset: PairedDataset) -> list[str]:
    rows = dataset.pairs_in_large_groups
    if not rows:
        return []
    total = sum(len(split) for _, split in dataset.splits())
    if dataset.has_explicit_groups:
        return [
            f"{rows} of {total} pairs are in groups of more than {LARGEST_SHARE:.0%} of all pairs, "
            "which stay together: the sizes of drawn splits may differ from their fractions"
        ]
    return [
        f"{rows} of {total} pairs are in groups of more than {LARGEST_SHARE:.0%} of all pairs (and "
        f"more than {ALWAYS_ALLOWED}), which are not used as groups; identical image features in "
        "so many pairs are a sign of failed extraction or of a placeholder image"
    ]


def _divided(dataset: PairedDataset) -> list[str]:
    """Groups in several of the data set's own splits; a part that was held out divides none."""
    lines = []
    groups, splits = dataset.groups, dict(dataset.splits())
    for part in ("validation", "test"):
        if part not in groups or (part == "validation" and dataset.held_out):
            continue
        seen = ("train", "validation") if dataset.held_out else ("train",)
        learned = np.concatenate([groups[of] for of in seen])
        shared = np.isin(groups[part], learned)
        if shared.any():
            lines.append(
                f"{shared.sum()} of {len(shared)} {part} pairs share an image or group with "
                f"training pairs, such as {_sample(splits[part].id[shared].tolist())}: scores on "
                "these pairs are inflated; assign all pairs of a group to one split (keep "
                "published splits)"
            )
    return lines


def _sample(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(str, names[:SHOWN])) + more
