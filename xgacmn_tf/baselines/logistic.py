"""Multinomial logistic regression on items with one label or several."""

from __future__ import annotations

import numpy as np
import threadpoolctl
from scipy import optimize
from scipy.special import logsumexp

# Of the mean loss, at which the search ends; at a hundredth of it mAP moves by less than .001.
GRADIENT = 1e-6
MOST_STEPS = 2000


def fit_logistic(
    features: np.ndarray,
    targets: np.ndarray,
    c: float,
    *,
    start: tuple[np.ndarray, np.ndarray] | None = None,
    gradient: float = GRADIENT,
) -> tuple[np.ndarray, np.ndarray]:
    """W and b that minimise C Σ_i CE(p_i, softmax(x_i W + b)) + ‖W‖² / 2, found by L-BFGS.

    The problem is convex, and its solution unique but for a constant added to b. An item with
    several labels has the distribution p_i that shares itself equally among them. A class without
    items gets a posterior near 0.

    Args:
      features: (n, d).
      targets: (n, c) one-hot or multi-hot, at least one label a row.
      c: C > 0, the inverse strength of the penalty.
      start: W and b that the search starts from, such as those of a similar C; zeros by default.
      gradient: of the mean loss, at which the search ends.

    Returns:
      W (d, c) and b (c,), float64.
    """
    # Centred features give the same W and a search of far fewer steps.
    mean = features.mean(axis=0, dtype=np.float64)
    x = features - mean
    shares = targets / targets.sum(axis=1, keepdims=True, dtype=np.float64)
    shape = (x.shape[1] + 1, targets.shape[1])
    penalty = 1 / (c * len(x))
    first = np.zeros(shape) if start is None else np.vstack([start[0], start[1] + mean @ start[0]])

    def loss_and_gradient(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        weights, bias = parameters.reshape(shape)[:-1], parameters.reshape(shape)[-1]
        logits = x @ weights + bias
        total = logsumexp(logits, axis=1, keepdims=True)
        loss = (total - (logits * shares).sum(axis=1, keepdims=True)).mean()
        error = (np.exp(logits - total) - shares) / len(x)
        slope = np.vstack([x.T @ error + penalty * weights, error.sum(axis=0)])
        return loss + penalty * np.square(weights).sum() / 2, slope.ravel()

    # ftol: the loss may stand still in all its digits before the gradient is small.
    options = {"maxiter": MOST_STEPS, "maxfun": 2 * MOST_STEPS, "gtol": gradient, "ftol": 1e-15}
    # The products are so thin that threads wait for each other longer than they work.
    with threadpoolctl.threadpool_limits(1):
        found = optimize.minimize(
            loss_and_gradient,
            first.ravel(),
            jac=True,
            method="L-BFGS-B",
            options=options,
        )
    weights, bias = found.x.reshape(shape)[:-1], found.x.reshape(shape)[-1]
    return weights, bias - mean @ weights
