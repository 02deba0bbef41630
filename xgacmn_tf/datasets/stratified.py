"""A random part of labeled rows that keeps the share of every label and divides no group."""

import numpy as np


def stratified_part(
    hot: np.ndarray, fraction: float, seed: int, groups: np.ndarray | None = None
) -> np.ndarray:
    """Draw a random part of the rows in which each label has about its share.

    Labels are processed from the rarest to the most frequent, as in iterative stratification
    (Sechidis et al. 2011), for single labels and multi-hot ones. Some row of every label stays
    out of the part. The same seed gives the same part.

    Args:
        hot: (n, c) bool, the labels of each row, at least one.
        fraction: share of the part, in (0, 1); of the groups where there are any.
        seed: at least 0.
        groups: (n,) equal values for rows that stay together; None if every row stands alone.

    Returns:
        (n,) bool, whether each row belongs to the part.
    """
    if groups is not None:
        first, unit = np.unique(groups, return_index=True, return_inverse=True)[1:]
        if len(first) < len(hot):
            # Groups in the order of their first rows, so that their values do not matter.
            place = np.argsort(np.argsort(first))[unit]
            labels = np.zeros((len(first), hot.shape[1]), bool)
            np.logical_or.at(labels, place, hot)
            return stratified_part(labels, fraction, seed)[place]
    generator = np.random.default_rng(seed)
    wanted = fraction * hot.sum(axis=0)
    part = np.zeros(len(hot), bool)
    free = np.ones(len(hot), bool)
    # What rounding left over goes to the next label; else 100 classes of 4 would give none at .1.
    carry = 0.0
    while free.any():
        counts = hot[free].sum(axis=0)
        label = int(np.argmin(np.where(counts > 0, counts, len(hot) + 1)))
        rows = generator.permutation(np.flatnonzero(free & hot[:, label]))
        due = max(wanted[label], 0.0) + carry
        # One row stays. As the rarest label goes first, the rows that finish off another label are
        # all of this label's, so that every label keeps a row.
        count = int(np.clip(np.rint(due), 0, len(rows) - 1))
        carry = due - count
        part[rows[:count]] = True
        wanted -= hot[rows[:count]].sum(axis=0)
        free[rows] = False
    return part
