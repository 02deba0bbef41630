"""Stratified random part of labeled rows, which divides no group."""

import heapq

import numpy as np
from scipy import sparse


def stratified_part(
    hot: np.ndarray | sparse.sparray,
    fraction: float,
    seed: int,
    groups: np.ndarray | None = None,
) -> np.ndarray:
    """Draw a random part of the rows in which each label has about its share.

    Labels are processed from the rarest to the most frequent, as in iterative stratification
    (Sechidis et al. 2011), for single labels and multi-hot ones. Some row of every label stays
    out of the part. The same seed gives the same part.

    Args:
        hot: (n, c) bool, the labels of each row, at least one; dense or sparse.
        fraction: share of the part, in (0, 1); of the groups where there are any.
        seed: at least 0.
        groups: (n,) equal values for rows that stay together; None if every row stands alone.

    Returns:
        (n,) bool, whether each row belongs to the part.
    """
    by_row = sparse.csr_array(hot)
    size = by_row.shape[0]
    if groups is not None:
        first, unit = np.unique(groups, return_index=True, return_inverse=True)[1:]
        if len(first) < size:
            # Groups in the order of their first rows, so that their values do not matter.
            place = np.argsort(np.argsort(first))[unit]
            members = sparse.csr_array(
                (np.ones(size, np.int64), (place, np.arange(size))), (len(first), size)
            )
            return stratified_part(members @ by_row.astype(np.int64) > 0, fraction, seed)[place]
    by_label = by_row.tocsc()
    by_label.sort_indices()
    generator = np.random.default_rng(seed)
    counts = np.diff(by_label.indptr)
    wanted = fraction * counts
    part = np.zeros(size, bool)
    free = np.ones(size, bool)
    # Labels by their number of free rows. A label's newest entry is the valid one.
    rarest = [(count, label) for label, count in enumerate(counts.tolist()) if count]
    heapq.heapify(rarest)
    # The rounding error goes to the next label; otherwise a fraction of 0.1 would draw no row from
    # 100 classes of 4 rows.
    carry = 0.0
    while rarest:
        count, label = heapq.heappop(rarest)
        if count != counts[label]:
            continue
        rows = by_label.indices[by_label.indptr[label] : by_label.indptr[label + 1]]
        rows = generator.permutation(rows[free[rows]].astype(np.int64))
        due = max(wanted[label], 0.0) + carry
        # One row stays. As the rarest label goes first, the rows that finish off another label are
        # all of this label's, so that every label keeps a row.
        drawn = int(np.clip(np.rint(due), 0, len(rows) - 1))
        carry = due - drawn
        part[rows[:drawn]] = True
        labels, number = _labels_of(by_row, rows[:drawn])
        wanted[labels] -= number
        free[rows] = False
        labels, number = _labels_of(by_row, rows)
        counts[labels] -= number
        for other in labels[counts[labels] > 0].tolist():
            heapq.heappush(rarest, (int(counts[other]), other))
    return part


def _labels_of(by_row: sparse.csr_array, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the different labels of some rows, and the number of rows that have each."""
    starts, ends = by_row.indptr[rows], by_row.indptr[rows + 1]
    if len(rows) == 1:
        return by_row.indices[starts[0] : ends[0]], np.ones(ends[0] - starts[0], np.int64)
    return np.unique(by_row[rows].indices, return_counts=True)
