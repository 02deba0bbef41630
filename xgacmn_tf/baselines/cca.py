"""CCA: canonical correlation analysis, the classical unsupervised common space.

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
from xgacmn_tf.baselines.checks import check_at_least
from xgacmn_tf.baselines.linear import centred, projections, whitening
from xgacmn_tf.model.encoders import CommonSpaceEncoder

# Single-precision features leave smaller correlations by rounding.
NO_CORRELATION = 1e-5


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is not published.

    components: of the common space, at most; data with fewer correlated directions give fewer.
    ridge: added to the diagonals of the covariances, in squared units of the features.
    """

    components: int = 6
    ridge: float = 1e-4

    def __post_init__(self) -> None:
        check_at_least(1, components=self.components)
        check_at_least(0, ridge=self.ridge)


def fit(data: TrainingData, settings: Settings) -> CommonSpaceEncoder:
    """See the module."""
    (image, image_mean), (text, text_mean) = centred(data.image), centred(data.text)
    image_weights, text_weights = directions(image, text, settings)
    return projections(image_weights, image_mean, text_weights, text_mean)


def directions(
    image: np.ndarray, text: np.ndarray, settings: Settings
) -> tuple[np.ndarray, np.ndarray]:
    """W_v (d_v, e) and W_t (d_t, e) of centred features (n, d_v) and (n, d_t), float64."""
    whiten_image, whiten_text = (whitening(x, settings.ridge) for x in (image, text))
    correlation = whiten_image @ (image.T @ text / len(image)) @ whiten_text
    left, values, right = linalg.svd(correlation, full_matrices=False)
    kept = min(settings.components, max(np.count_nonzero(values > NO_CORRELATION), 1))
    return whiten_image @ left[:, :kept], whiten_text @ right[:kept].T


SYSTEM = System(
    title="CCA",
    citation="Hardoon et al., Neural Computation 2004",
    fidelity="exact",
    similarity="cosine",
    settings=Settings,
    fit=fit,
    grid={"ridge": (1e-4, 1e-2, 1.0), "components": (6, 20, 50)},
)
