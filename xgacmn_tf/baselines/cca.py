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
from xgacmn_tf.baselines.layers import Affine
from xgacmn_tf.encoders import CommonSpaceEncoder
from xgacmn_tf.input_maps import Identity


@dataclasses.dataclass(frozen=True)
class Settings:
    """components: of the common space, at most the smaller rank. ridge: added to the diagonals."""

    components: int = 9
    ridge: float = 1e-4


def fit(data: TrainingData, settings: Settings) -> CommonSpaceEncoder:
    """See the module."""
    image, text = data.image.astype(np.float64), data.text.astype(np.float64)
    image_mean, text_mean = image.mean(axis=0), text.mean(axis=0)
    image, text = image - image_mean, text - text_mean
    whiten_image, whiten_text = (_whitening(x, settings.ridge) for x in (image, text))
    correlation = whiten_image @ (image.T @ text / len(image)) @ whiten_text
    left, _, right = linalg.svd(correlation, full_matrices=False)
    kept = min(settings.components, left.shape[1])
    weights = whiten_image @ left[:, :kept], whiten_text @ right[:kept].T
    return CommonSpaceEncoder(
        Identity(image.shape[1]),
        Identity(text.shape[1]),
        Affine.of(weights[0], -image_mean @ weights[0]),
        Affine.of(weights[1], -text_mean @ weights[1]),
        None,
    )


def _whitening(centred: np.ndarray, ridge: float) -> np.ndarray:
    """(XᵀX / n + ridge I)^-½."""
    covariance = centred.T @ centred / len(centred) + ridge * np.eye(centred.shape[1])
    values, vectors = linalg.eigh(covariance)
    return (vectors / np.sqrt(values)) @ vectors.T


SYSTEM = System(
    title="CCA",
    citation="Hardoon et al., Neural Computation 2004",
    fidelity="exact",
    similarity="cosine",
    settings=Settings,
    fit=fit,
)
