"""PACMR: principal affinity based cross-modal retrieval.

Liang, Cao, He, Sun and Tan, "Principal affinity based cross-modal retrieval", ACPR 2015; the
paper's [14].

For each modality alone: affinities exp(−‖x − c_j‖² / 2σ²) to k-means centers c_j, with σ the mean
distance between training items and centers; their principal components, whitened; multinomial
logistic regression on these components, min C Σ_i CE(y_i, softmax(z_i W + b)) + ‖W‖² / 2. The
common space is the class posteriors, compared by inner product.

Fidelity: reconstruction; neither code nor the article's text is public. The type of affinity, its
width, the numbers of centers and components, whitening and C are ours. The numbers and C were
chosen by the validation scores in docs/results.md.
"""

import dataclasses
import warnings

import keras
import numpy as np
import threadpoolctl
from scipy import linalg
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import pairwise_distances

from xgacmn_tf.baselines import System, TrainingData
from xgacmn_tf.baselines.affinities import GaussianAffinities
from xgacmn_tf.baselines.logistic import fit_logistic
from xgacmn_tf.baselines.settings import SystemSettings
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.model.layers import Affine, Chain, Posteriors
from xgacmn_tf.settings.fields import setting

# Components with a smaller share of the largest variance are single-precision rounding errors.
MIN_VARIANCE = 1e-6


@dataclasses.dataclass(frozen=True)
class Settings(SystemSettings):
    """Settings, none of which is published."""

    centres: int = setting(400, "k-means centers, at most one per item", minimum=1)
    components: int = setting(50, "maximum number of principal components", minimum=1)
    c: float = setting(0.03, "C", minimum=1e-9)


def fit(data: TrainingData, settings: Settings) -> CommonSpaceEncoder:
    """Return the encoder fitted on the training pairs."""

    def encoder(features: np.ndarray) -> Chain:
        centers = cluster(features, settings.centres, data.seed)
        distance = pairwise_distances(features, centers).astype(np.float64)
        # If all items coincide, every affinity is 1, whatever the width.
        width = distance.mean() or 1.0
        affinities = np.exp(-np.square(distance / width) / 2)
        mean, whiten = principal_components(affinities, settings.components)
        weights, bias = fit_logistic((affinities - mean) @ whiten, data.targets, settings.c)
        weights = whiten @ weights
        classify = Affine.of(weights, bias - mean @ weights)
        return Chain([GaussianAffinities.of(centers, width), classify, keras.layers.Softmax()])

    return data.encoder(encoder(data.image), encoder(data.text), Posteriors())


def cluster(features: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return (min(count, n), d) k-means centers of features (n, d)."""
    means = KMeans(min(count, len(features)), n_init=1, random_state=seed)
    # The result would depend on the threads' order of summation. With duplicate items there may be
    # fewer clusters than centers, some of which then coincide.
    with threadpoolctl.threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return means.fit(features).cluster_centers_


def principal_components(values: np.ndarray, maximum: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean (k,) and V (k, e) with which (values − mean) V has unit covariance.

    Args:
      values: (n, k).
      maximum: maximum of e, which is the number of directions with variance; V is one column of
        zeros if there is none.
    """
    mean = values.mean(axis=0)
    covariance = np.atleast_2d(np.cov(values, rowvar=False, ddof=0))
    variance, vectors = linalg.eigh(covariance, driver="evd")
    variance, vectors = variance[::-1][:maximum], vectors[:, ::-1][:, :maximum]
    useful = variance > max(MIN_VARIANCE * variance[0], 1e-12)
    if not useful.any():
        return mean, np.zeros((values.shape[1], 1))
    return mean, vectors[:, useful] / np.sqrt(variance[useful])


GRID = {"components": (50, 100, 200), "c": (0.003, 0.03, 0.1)}
SYSTEM = System(
    "PACMR", "Liang et al., ACPR 2015", "reconstruction", "posterior", Settings, fit, grid=GRID
)
