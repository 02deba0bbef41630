"""PACMR: principal affinity based cross-modal retrieval.

Liang, Cao, He, Sun and Tan, "Principal affinity based cross-modal retrieval", ACPR 2015; the
paper's [14].

For each modality alone: affinities exp(−‖x − c_j‖² / 2σ²) to k-means centres c_j, with σ the mean
distance between training items and centres; their principal components, whitened; multinomial
logistic regression on these, min C Σ_i CE(y_i, softmax(z_i W + b)) + ‖W‖² / 2. The common space is
the class posteriors, compared by inner product.

Fidelity: reconstruction; neither code nor the article's text is public. The kind of affinity, its
width, the numbers of centers and components, whitening and C are ours; docs/results.md has the
validation scores that the numbers and C were chosen by.
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
from xgacmn_tf.baselines.checks import check_at_least
from xgacmn_tf.baselines.logistic import fit_logistic
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.model.input_maps import Identity
from xgacmn_tf.model.layers import Affine, Chain, Posteriors

# A component with a smaller share of the largest one's variance is single-precision rounding.
NO_VARIANCE = 1e-6


@dataclasses.dataclass(frozen=True)
class Settings:
    """centres: of k-means, at most one an item. components: at most. c: inverse of the penalty."""

    centres: int = 400
    components: int = 50
    c: float = 0.03

    def __post_init__(self) -> None:
        check_at_least(1, centres=self.centres, components=self.components)
        check_at_least(1e-9, c=self.c)


def fit(data: TrainingData, settings: Settings) -> CommonSpaceEncoder:
    """See the module."""

    def encoder(features: np.ndarray) -> Chain:
        centres = cluster(features, settings.centres, data.seed)
        distance = pairwise_distances(features, centres).astype(np.float64)
        # All items in one place: every affinity is 1, whatever the width.
        width = distance.mean() or 1.0
        affinities = np.exp(-np.square(distance / width) / 2)
        mean, whiten = principal_components(affinities, settings.components)
        weights, bias = fit_logistic((affinities - mean) @ whiten, data.targets, settings.c)
        weights = whiten @ weights
        classify = Affine.of(weights, bias - mean @ weights)
        return Chain([GaussianAffinities.of(centres, width), classify, keras.layers.Softmax()])

    return CommonSpaceEncoder(
        Identity(data.image.shape[1]),
        Identity(data.text.shape[1]),
        encoder(data.image),
        encoder(data.text),
        Posteriors(),
    )


def cluster(features: np.ndarray, count: int, seed: int) -> np.ndarray:
    """(min(count, n), d) centres of k-means on features (n, d)."""
    means = KMeans(min(count, len(features)), n_init=1, random_state=seed)
    # Threads would add up their shares in an order of their own. Duplicate items may leave fewer
    # clusters than centres, which then coincide.
    with threadpoolctl.threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return means.fit(features).cluster_centers_


def principal_components(values: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean (k,) and V (k, e) of values (n, k), so that (values − mean) V has unit covariance.

    e is `most`, or fewer where fewer directions have variance; one of zeros where none has.
    """
    mean = values.mean(axis=0)
    covariance = np.atleast_2d(np.cov(values, rowvar=False, ddof=0))
    variance, vectors = linalg.eigh(covariance, driver="evd")
    variance, vectors = variance[::-1][:most], vectors[:, ::-1][:, :most]
    useful = variance > max(NO_VARIANCE * variance[0], 1e-12)
    if not useful.any():
        return mean, np.zeros((values.shape[1], 1))
    return mean, vectors[:, useful] / np.sqrt(variance[useful])


SYSTEM = System(
    title="PACMR",
    citation="Liang et al., ACPR 2015",
    fidelity="reconstruction",
    similarity="posterior",
    settings=Settings,
    fit=fit,
    grid={"components": (50, 100, 200), "c": (0.003, 0.03, 0.1)},
)
