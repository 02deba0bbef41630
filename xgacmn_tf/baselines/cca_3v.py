"""CCA-3V: canonical correlation analysis of three views, the third being the labels.

Gong, Ke, Isard and Lazebnik, "A multi-view embedding space for modeling internet images, tags, and
their semantics", IJCV 106(2), 2014; the paper's [6].

Objective: with views X_v, X_t and Y, min Σ_{p<q} ‖X_p W_p − X_q W_q‖² subject to Σ_p W_pᵀ C_pp W_p
= I. Solved exactly by the leading solutions of C w = μ blockdiag(C_vv, C_tt, C_yy) w, where C is
the covariance of all views side by side and both sides have a small ridge on their diagonals. An
item's code is X_p W_p D^power with D the eigenvalues μ, which emphasizes the directions that the
views share: on validation pairs of shallow Wikipedia, power 4 reaches 0.247 and power 0 0.216.

Fidelity: exact for linear views of unmapped features; the article maps them by kernels first. Its
power is 2, 3 or 4, depending on the data set. The ridge and the number of components are ours
(docs/results.md).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import linalg

from xgacmn_tf.baselines import System, TrainingData
from xgacmn_tf.baselines.linear import center, projections, whitening
from xgacmn_tf.baselines.settings import SystemSettings
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.settings.fields import setting

# μ is 1 for a direction that no other view correlates with, up to single-precision rounding, and
# below 1 for negative correlations.
MIN_EIGENVALUE = 1 + 1e-5


@dataclasses.dataclass(frozen=True)
class Settings(SystemSettings):
    """Settings that the article chooses for each data set."""

    components: int = setting(20, "maximum dimension of the common space", minimum=1)
    power: float = setting(4.0, "exponent of the eigenvalues that scale components", minimum=0)
    ridge: float = setting(1e-4, "added to the diagonals of the covariances", minimum=0)


def fit(data: TrainingData, settings: Settings) -> CommonSpaceEncoder:
    """Return the encoder fitted on the training pairs."""
    views, means = zip(*map(center, (data.image, data.text, data.targets)), strict=True)
    image, text, _ = directions(views, settings)
    return projections(image, means[0], text, means[1])


def directions(views: Sequence[np.ndarray], settings: Settings) -> list[np.ndarray]:
    """Return W_p D^power (d_p, e) of each view; views (n, d_p) are centered, float64."""
    whiten = [whitening(view, settings.ridge) for view in views]
    values, vectors = linalg.eigh(_correlations(views, whiten), driver="evd", overwrite_a=True)
    values, vectors = values[::-1], vectors[:, ::-1]
    count = min(settings.components, max(np.count_nonzero(values > MIN_EIGENVALUE), 1))
    scaled = vectors[:, :count] * values[:count] ** settings.power
    parts = np.split(scaled, np.cumsum([view.shape[1] for view in views])[:-1])
    return [back @ part for back, part in zip(whiten, parts, strict=True)]


def _correlations(views: Sequence[np.ndarray], whiten: Sequence[np.ndarray]) -> np.ndarray:
    """Return B^-½ C B^-½ with B = blockdiag(C), whose eigenvectors are B^½ w."""

    def block(p: int, q: int) -> np.ndarray:
        if p == q:
            return np.eye(views[p].shape[1])
        return whiten[p] @ (views[p].T @ views[q] / len(views[p])) @ whiten[q]

    order = range(len(views))
    return np.block([[block(p, q) for q in order] for p in order])


GRID = {"ridge": (1e-4, 1e-2, 1e-1), "power": (2.0, 4.0)}
SYSTEM = System("CCA-3V", "Gong et al., IJCV 2014", "exact", "cosine", Settings, fit, grid=GRID)
