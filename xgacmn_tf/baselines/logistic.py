"""Multinomial logistic regression on items with one or several labels."""

from __future__ import annotations

import numpy as np
import threadpoolctl
from scipy import optimize
from scipy.special import logsumexp

# Gradient of the mean loss at which the search ends; a hundredth of it changes mAP by less than
# 0.001.
GRADIENT = 1e-6
MAX_STEPS = 2000


def fit_logistic(
    features: np.ndarray,
    targets: np.ndarray,
    c: float,
    *,
    start: tuple[np.ndarray, np.ndarray] | None = None,
    gradient: float = GRADIENT,
) -> tuple[np.ndarray, np.ndarray]:
    """Return W and b that minimize C Σ_i CE(p_i, softmax(x_i W + b)) + ‖W‖² / 2, by L-BFGS.

    The problem is convex, and its solution is unique up to a constant added to b. The distribution
    p_i of an item with several labels is uniform over them. A class without items has a posterior
    near 0.

    Args:
      features: (n, d).
      targets: (n, c) one-hot or multi-hot, at least one label per row.
      c: C > 0, the inverse strength of the penalty.
      start: initial W and b, such as those of a similar C; zeros by default.
      gradient: gradient of the mean loss at which the search ends.

    Returns:
      W (d, c) and b (c,), float64.
    """
    # Centered features result in the same W after far fewer steps.
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

    # A small ftol, because the loss converges to all its digits before the gradient is small.
    options = {"maxiter": MAX_STEPS, "maxfun": 2 * MAX_STEPS, "gtol": gradient, "ftol": 1e-15}
    # The matrices are so narrow that threads slow the products down.
    with threadpoolctl.threadpool_limits(1):
        solution = optimize.minimize(
            loss_and_gradient,
            first.ravel(),
            jac=True,
            method="L-BFGS-B",
            options=options,
        )
    weights, bias = solution.x.reshape(shape)[:-1], solution.x.reshape(shape)[-1]
    return weights, bias - mean @ weights
