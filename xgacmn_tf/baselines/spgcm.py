"""SPGCM: semantic pairwise and groupwise correspondence matching.

Liang, He, Sun and Tan, "Group-invariant cross-modal subspace learning", IJCAI 2016; the paper's
[15]. By its abstract, it extends canonical correlation analysis by groupwise correspondences: a
non-negative, orthogonal soft membership of pairs in groups is learned with the projections, by
alternating between a generalized ratio-trace problem and a non-negative problem.

Objective: max tr(W_vᵀ C_vt W_t) + α tr(Zᵀ G (GᵀG)⁻¹ Gᵀ Z) / n with Z = X_v W_v + X_t W_t, subject
to Σ_p W_pᵀ C_pp W_p = I, G ≥ 0 (n, g); C are the covariances of the training features. Where
GᵀG = I the second term is tr(Zᵀ G Gᵀ Z) / n. Alternately,
  W: the leading eigenvectors of the generalized eigenproblem, the exact maximum for this G;
  G ← G ∘ √(((KG)⁺ + G (GᵀKG)⁻) / ((KG)⁻ + G (GᵀKG)⁺)) with K = Z Zᵀ, never formed, its columns
  then normalized. This may decrease the objective, and then the rounds end without it. G starts
  from k-means groups of the texts.
An item's code is X_p W_p D^power, with D the eigenvalues.

Fidelity: reconstruction; all numbers are ours, chosen by the validation scores in docs/results.md.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
import threadpoolctl
from scipy import linalg
from sklearn.cluster import KMeans

from xgacmn_tf.baselines import System, TrainingData
from xgacmn_tf.baselines.linear import center, projections, whitening
from xgacmn_tf.baselines.settings import SystemSettings
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.settings.fields import setting

# Features of both modalities, (n, d_v) and (n, d_t), float64.
Views = tuple[np.ndarray, np.ndarray]

# Directions with a smaller share of the norm are rounding errors.
ROUNDING = 1e-12


class Pairs(NamedTuple):
    """C_vt of whitened features, reduced to the dimension of the smaller modality.

    Attributes:
      spans: orthonormal bases of its columns (d_v, r) and of its rows (d_t, r).
      between: C_vt in these bases (r, r).
    """

    spans: tuple[np.ndarray, np.ndarray]
    between: np.ndarray


@dataclasses.dataclass(frozen=True)
class Settings(SystemSettings):
    """Settings; the symbols are those of the module's formula."""

    groups: int = setting(10, "g; at most one group per pair", minimum=1)
    group_weight: float = setting(0.5, "α", minimum=0)
    components: int = setting(9, "maximum dimension of the common space", minimum=1)
    power: float = setting(3.0, "exponent of the eigenvalues that scale components", minimum=0)
    rounds: int = setting(5, "maximum number of rounds of W and G", minimum=1)
    group_steps: int = setting(30, "multiplicative updates of G in a round", minimum=1)
    ridge: float = setting(1e-5, "added to the diagonals of the covariances", minimum=0)


def fit(data: TrainingData, settings: Settings) -> CommonSpaceEncoder:
    """Return the encoder fitted on the training pairs."""
    (image, image_mean), (text, text_mean) = center(data.image), center(data.text)
    whiten = [whitening(x, settings.ridge) for x in (image, text)]
    # In whitened coordinates the constraint is that W is orthonormal.
    views = (image @ whiten[0], text @ whiten[1])
    pairs = pairs_of(views)
    groups = start(text, settings.groups, data.seed)
    weights, values = best_weights(views, pairs, groups, settings)
    for _ in data.progress(range(settings.rounds)):
        z = views[0] @ weights[0] + views[1] @ weights[1]
        better = improve_groups(z, groups, settings.group_steps)
        before, after = (objective(views, weights, g, settings) for g in (groups, better))
        if not after > before:
            break
        groups = better
        weights, values = best_weights(views, pairs, groups, settings)
    scaled = [weight * np.maximum(values, 0) ** settings.power for weight in weights]
    return projections(whiten[0] @ scaled[0], image_mean, whiten[1] @ scaled[1], text_mean)


def start(text: np.ndarray, groups: int, seed: int) -> np.ndarray:
    """Return G (n, g) of k-means groups of the texts, with some weight for every group."""
    groups = min(groups, len(np.unique(text, axis=0)))
    # The order of summation, and so the result, would depend on the threads.
    with threadpoolctl.threadpool_limits(1):
        labels = KMeans(groups, n_init=10, random_state=seed).fit_predict(text)
    return _unit_columns(np.eye(groups)[labels] + 0.2)


def pairs_of(views: Views) -> Pairs:
    """Return the quantities of whitened features that no round changes."""
    between = views[0].T @ views[1] / len(views[0])
    image, text = (linalg.qr(x, mode="economic")[0] for x in (between, between.T))
    return Pairs((image, text), image.T @ between @ text)


def best_weights(
    views: Views, pairs: Pairs, groups: np.ndarray, settings: Settings
) -> tuple[list[np.ndarray], np.ndarray]:
    """Return W with the largest objective for G.

    Args:
      views: whitened features (n, d_v) and (n, d_t).
      pairs: their `pairs_of`.
      groups: G (n, g).
      settings: the weights of the objective.

    Returns:
      [W_v (d_v, e), W_t (d_t, e)] and the eigenvalues (e,), in descending order.
    """
    basis = linalg.orth(groups) / np.sqrt(len(groups))
    shared = [view.T @ basis for view in views]
    # Both parts of an eigenvector lie in the spans of the factors of the matrix.
    spans = [_extended(*parts) for parts in zip(pairs.spans, shared, strict=True)]
    split, (rows, columns) = spans[0].shape[1], pairs.between.shape
    common = np.vstack([span.T @ part for span, part in zip(spans, shared, strict=True)])
    matrix = settings.group_weight * common @ common.T
    # The extension is orthogonal to the spans of the pairs.
    matrix[:rows, split : split + columns] += pairs.between / 2
    matrix[split : split + columns, :rows] += pairs.between.T / 2
    values, vectors = linalg.eigh(matrix, driver="evd")
    count = min(settings.components, len(values))
    values, vectors = values[::-1][:count], vectors[:, ::-1][:, :count]
    return [spans[0] @ vectors[:split], spans[1] @ vectors[split:]], values


def _extended(span: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis of `span` (d, r), orthonormal, and `columns` (d, g)."""
    outside = columns - span @ (span.T @ columns)
    directions, lengths, _ = linalg.svd(outside, full_matrices=False)
    directions = directions[:, lengths > ROUNDING * linalg.norm(columns)]
    # Again, because the residuals of short columns are not orthogonal in double precision.
    directions -= span @ (span.T @ directions)
    return np.hstack([span, linalg.qr(directions, mode="economic")[0]])


def improve_groups(z: np.ndarray, groups: np.ndarray, steps: int) -> np.ndarray:
    """Return G (n, g) after multiplicative updates for the codes Z (n, e)."""
    for _ in range(steps):
        product = z @ (z.T @ groups)
        inner = groups.T @ product
        up = np.maximum(product, 0) + groups @ np.maximum(-inner, 0)
        down = np.maximum(-product, 0) + groups @ np.maximum(inner, 0)
        # Rounding errors count as zero, or a vanishing group would cause 0 / 0 or overflow.
        smallest = np.finfo(float).eps * np.abs(product).max(initial=np.finfo(float).tiny)
        groups = _unit_columns(groups * np.sqrt(up / np.maximum(down, smallest)))
    return groups


def _unit_columns(groups: np.ndarray) -> np.ndarray:
    length = linalg.norm(groups, axis=0)
    return groups / np.where(length > 0, length, 1)


def objective(
    views: Views, weights: list[np.ndarray], groups: np.ndarray, settings: Settings
) -> float:
    """Return the value that the rounds increase, for whitened features."""
    image, text = views[0] @ weights[0], views[1] @ weights[1]
    within = np.square(linalg.orth(groups).T @ (image + text)).sum()
    return float((np.sum(image * text) + settings.group_weight * within) / len(groups))


GRID = {"ridge": (1e-5, 1e-4, 1e-2, 1.0)}
SYSTEM = System(
    "SPGCM", "Liang et al., IJCAI 2016", "reconstruction", "cosine", Settings, fit, grid=GRID
)
