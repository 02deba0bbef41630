"""CCA: canonical correlation analysis, an unsupervised common space.

Hardoon, Szedmak and Shawe-Taylor, "Canonical correlation analysis: an overview with application to
learning methods", Neural Computation 16(12), 2004; the paper's [10].

Objective: max tr(W_vᵀ C_vt W_t) subject to W_vᵀ C_vv W_v = W_tᵀ C_tt W_t = I, with C the
covariances of the training features. Solved exactly by the singular vectors of
C_vv^-½ C_vt C_tt^-½, with a small ridge on both diagonals.

Fidelity: exact; the number of components and the ridge are not published.
"""

import dataclasses

import numpy as np
from scipy import linalg

from xgacmn_tf.baselines import System, TrainingData
from xgacmn_tf.baselines.linear import center, projections, whitening
from xgacmn_tf.baselines.settings import SystemSettings
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.settings.fields import setting

# Rounding of single-precision features produces correlations below this.
MIN_CORRELATION = 1e-5


@dataclasses.dataclass(frozen=True)
class Settings(SystemSettings):
    """Settings that are not published."""

    components: int = setting(6, "maximum dimension of the common space", minimum=1)
    ridge: float = setting(1e-4, "added to the diagonals of the covariances", minimum=0)


def fit(data: TrainingData, settings: Settings) -> CommonSpaceEncoder:
    """Return the encoder fitted on the training pairs."""
    (image, image_mean), (text, text_mean) = center(data.image), center(data.text)
    image_weights, text_weights = directions(image, text, settings)
    return projections(image_weights, image_mean, text_weights, text_mean)


def directions(
    image: np.ndarray, text: np.ndarray, settings: Settings
) -> tuple[np.ndarray, np.ndarray]:
    """Return W_v (d_v, e) and W_t (d_t, e) of centered features (n, d_v) and (n, d_t), float64."""
    whiten_image, whiten_text = (whitening(x, settings.ridge) for x in (image, text))
    correlation = whiten_image @ (image.T @ text / len(image)) @ whiten_text
    left, values, right = linalg.svd(correlation, full_matrices=False)
    count = min(settings.components, max(np.count_nonzero(values > MIN_CORRELATION), 1))
    return whiten_image @ left[:, :count], whiten_text @ right[:count].T


GRID = {"ridge": (1e-4, 1e-2, 1.0), "components": (6, 20, 50)}
SYSTEM = System(
    "CCA", "Hardoon et al., Neural Computation 2004", "exact", "cosine", Settings, fit, grid=GRID
)
