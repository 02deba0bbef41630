"""Evidence for the choice of input maps: leave-one-out posteriors of a kernel classifier.

Each map is followed by a Gaussian kernel and kernel ridge regression on the categories, a small
stand-in for the encoder. Of kernel ridge regression all leave-one-out predictions follow from one
eigendecomposition (Rifkin and Lippert, "Notes on regularized least squares", MIT 2007), so that a
map costs a fraction of a second. Their log-loss tells which map suits the data.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy import linalg, optimize
from scipy.spatial.distance import pdist, squareform
from scipy.special import log_softmax
from sklearn.metrics.pairwise import additive_chi2_kernel

from xgacmn_tf.groups import first_rows
from xgacmn_tf.model.map_base import evenly_spaced

# Rows of the probe at most: their kernel's eigendecomposition takes a tenth of a second.
MAX_ROWS = 700
# Ridge penalties in units of the kernel's mean diagonal. Smaller ones interpolate, where a
# leave-one-out prediction is a quotient of two rounding errors.
PENALTIES = 10.0 ** np.arange(-3, 1.6, 0.5)
# Keeps the prior log-odds of a class finite.
MIN_SHARE = 1e-3
# Another map takes the place of the one that the rules prefer if its log-loss is lower by this
# share and by so many standard errors of the paired difference.
MIN_GAIN, MIN_STANDARD_ERRORS = 0.1, 2.0


@dataclasses.dataclass(frozen=True)
class Evidence:
    """Log-losses of input maps on one modality, and the choice that follows.

    Attributes:
      chosen: name of the map.
      preferred: name of the map that the rules prefer, which wins ties.
      log_loss: name → leave-one-out log-loss, in nats. "zscore" also stands for "rbf", which is a
        Gaussian kernel on it.
      rows: number of training items that were probed.
      seconds: duration.
    """

    chosen: str
    preferred: str
    log_loss: dict[str, float]
    rows: int
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Return the content for JSON."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        if not self.log_loss:
            return self.chosen
        titles = {"zscore": "zscore or rbf"} if self.preferred == "rbf" else {}
        lowest = min(self.log_loss, key=self.log_loss.__getitem__)
        note = ""
        if self.chosen == self.preferred and self.chosen not in titles.get(lowest, lowest).split():
            note = f"; none is clearly better than {self.chosen}"
        losses = ", ".join(
            f"{titles.get(name, name)} {loss:.3f}"
            for name, loss in sorted(self.log_loss.items(), key=lambda item: item[1])
        )
        return f"{self.chosen} (leave-one-out log-loss: {losses}{note})"


def probed_rows(label: np.ndarray, group: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows to probe, which are labeled, one of each group and evenly spaced.

    Args:
      label: (n,) whole numbers, −1 without a category, or (n, c) one-hot or multi-hot.
      group: (n,) equal values for pairs of one image; None if each pair is a group.

    Returns:
      Rows (m,), m at most `MAX_ROWS`, and their targets (m, k) one-hot or multi-hot, of the
      categories that they have.
    """
    usable = label >= 0 if label.ndim == 1 else label.any(axis=1)
    if group is not None:
        usable &= first_rows(group) == np.arange(len(group))
    rows = evenly_spaced(np.flatnonzero(usable), MAX_ROWS)
    if label.ndim == 1:
        return rows, label[rows][:, None] == np.unique(label[rows])
    return rows, label[rows][:, label[rows].any(axis=0)]


def median_distance(distances: np.ndarray) -> float:
    """Return the median of distances (p,) of pairs; their mean where it is 0, and 1 if all are."""
    return float(np.median(distances) or distances.mean()) if distances.any() else 1.0


def mean_distance(distances: np.ndarray) -> float:
    """Return the mean of distances (n, n) over pairs of different rows; 1 if all are 0."""
    return float(distances.sum() / (distances.size - len(distances))) if distances.any() else 1.0


def gaussian_kernel(features: np.ndarray) -> np.ndarray:
    """Return exp(−‖x − z‖² / median) (n, n) of features (n, d), the median over all pairs."""
    distances = pdist(np.asarray(features, np.float64), "sqeuclidean")
    return np.exp(-squareform(distances) / median_distance(distances))


def chi2_kernel(features: np.ndarray, gamma: float) -> np.ndarray:
    """Return exp(−γ χ² / mean) (n, n) of histograms (n, d), the mean over all pairs."""
    distances = -additive_chi2_kernel(np.asarray(features, np.float64))
    return np.exp(-gamma * distances / mean_distance(distances))


def leave_one_out_losses(kernel: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the log-loss of each row by kernel ridge regression on the other rows.

    Penalty and temperature of the softmax have the lowest mean loss.

    Args:
      kernel: (n, n) symmetric, positive semidefinite.
      targets: (n, c) one-hot or multi-hot, at least one label in each row. Several labels share
        the weight of a row.

    Returns:
      (n,) in nats.
    """
    count = len(kernel)
    shares = targets / targets.sum(axis=1, keepdims=True)
    prior = shares.mean(axis=0)
    mean = kernel.mean(axis=0)
    centered = kernel - mean[:, None] - mean[None, :] + mean.mean()
    values, vectors = linalg.eigh(centered * (count / max(np.trace(centered), 1e-12)))
    projected = vectors.T @ (shares - prior)
    best = np.full(count, np.inf)
    for penalty in PENALTIES:
        shrunk = np.maximum(values, 0) / (np.maximum(values, 0) + penalty)
        # The intercept adds 1/n to the influence of a row on its own prediction.
        influence = (vectors**2 @ shrunk + 1 / count)[:, None]
        fitted = vectors @ (shrunk[:, None] * projected)
        scores = (fitted - (shares - prior) * influence) / np.maximum(1 - influence, 1e-6)

        def losses(log_factor: float, scores: np.ndarray = scores) -> np.ndarray:
            logits = np.exp(log_factor) * scores + np.log(prior + MIN_SHARE)
            return -(shares * log_softmax(logits, axis=1)).sum(axis=1)

        factor = optimize.minimize_scalar(
            lambda value, losses=losses: losses(value).mean(),
            bounds=(-1, 4),
            method="bounded",
            options={"xatol": 0.05},
        ).x
        if losses(factor).mean() < best.mean():
            best = losses(factor)
    return best


def choose_by_evidence(
    kernels: Mapping[str, Callable[[], np.ndarray]],
    targets: np.ndarray,
    preferred: str,
    prefers: str,
) -> Evidence:
    """Return the map with the lowest log-loss if it is clearly lower than the preferred one's.

    Args:
      kernels: name → function that returns the kernel (n, n) of the probed rows.
      targets: (n, c) of these rows.
      preferred: name of the map that the rules prefer.
      prefers: name in `kernels` that stands for it.
    """
    started = time.perf_counter()
    losses = {name: leave_one_out_losses(kernel(), targets) for name, kernel in kernels.items()}
    means = {name: float(values.mean()) for name, values in losses.items()}
    best = min(means, key=means.__getitem__)
    difference = losses[prefers] - losses[best]
    error = difference.std(ddof=1) / len(targets) ** 0.5
    is_clear = (
        means[best] <= (1 - MIN_GAIN) * means[prefers]
        and difference.mean() >= MIN_STANDARD_ERRORS * error
    )
    return Evidence(
        best if is_clear else preferred,
        preferred,
        {name: round(loss, 4) for name, loss in means.items()},
        len(targets),
        round(time.perf_counter() - started, 3),
    )
