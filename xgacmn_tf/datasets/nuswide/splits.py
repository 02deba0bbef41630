"""Training, validation and test splits of NUS-WIDE.

Protocol 10k: Feng, Wang and Li, "Cross-modal Retrieval with Correspondence Autoencoder", ACM MM
2014; paper, §4.2.
"""

import numpy as np

from xgacmn_tf.errors import InputError

CONCEPTS_10K = (
    "animal", "clouds", "flowers", "food", "grass", "person", "sky", "toy", "water", "window",
)  # fmt: skip
# Pairs of every concept of the 10k; of all ten, 8,000 train, 1,000 validate and 1,000 test.
COUNTS_10K = {"train": 800, "validation": 100, "test": 100}


def draw_10k(labels: np.ndarray, usable: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Return the rows of each split, ascending.

    Args:
        labels: (n, 10) 0 or 1, the concepts of `CONCEPTS_10K`.
        usable: (n,) bool, the rows to draw from; of these, only those with exactly one of the ten.
        seed: at least 0.

    Raises:
        InputError: if a concept has too few such images.
    """
    generator = np.random.default_rng(seed)
    single = usable & (labels.sum(axis=1) == 1)
    needed = sum(COUNTS_10K.values())
    drawn: dict[str, list[np.ndarray]] = {part: [] for part in COUNTS_10K}
    for column, concept in enumerate(CONCEPTS_10K):
        rows = np.flatnonzero(single & (labels[:, column] == 1))
        if len(rows) < needed:
            raise InputError(
                f"NUS-WIDE's concept {concept!r} has {len(rows):,} images with no other of the "
                f"ten concepts; protocol 10k needs {needed:,}. The files are cut off or another "
                "release."
            )
        rows = generator.permutation(rows)
        for part, count in COUNTS_10K.items():
            drawn[part].append(rows[:count])
            rows = rows[count:]
    return {part: np.sort(np.concatenate(rows)) for part, rows in drawn.items()}


def labelled(halves: tuple[np.ndarray, np.ndarray], labels: np.ndarray) -> dict[str, np.ndarray]:
    """Return the rows of the two lists of the distribution that have any of the concepts.

    Many images have none, so that nothing could be learned from them or retrieved for them.
    """
    train, test = (rows[labels[rows].any(axis=1)] for rows in halves)
    return {"train": train, "test": test}
