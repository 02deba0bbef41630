"""SPGCM: semantic pairwise and groupwise correspondence matching.

Liang, He, Sun and Tan, "Group-invariant cross-modal subspace learning", IJCAI 2016; the paper's
[15]. Worked out from its abstract: canonical correlation analysis extended by
groupwise correspondences, in a non-negative orthogonal soft membership of pairs in groups that is
learnt along with the projections; a generalised ratio-trace problem and a non-negative problem are
solved in turns.

Objective: max tr(W_vᵀ C_vt W_t) + α tr(Zᵀ G (GᵀG)⁻¹ Gᵀ Z) / n with Z = X_v W_v + X_t W_t, subject
to Σ_p W_pᵀ C_pp W_p = I, G ≥ 0 (n, g); C are the covariances of the training features. Where
GᵀG = I the second term is tr(Zᵀ G Gᵀ Z) / n. In turns,
  W: the leading eigenvectors of the generalised eigenproblem, the exact maximum for this G;
  G ← G ∘ √(((KG)⁺ + G (GᵀKG)⁻) / ((KG)⁻ + G (GᵀKG)⁺)) with K = Z Zᵀ, never formed, its columns
  then brought to unit length. This has no guarantee, so it is kept only where the objective grows,
from k-means groups of the texts. An item's code is X_p W_p D^power, with D the eigenvalues.

Fidelity: reconstruction; all numbers are ours, see docs/results.md for the validation scores they
were chosen by.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
import threadpoolctl
from scipy import linalg
from sklearn.cluster import KMeans

from xgacmn_tf.baselines import System, TrainingData
from xgacmn_tf.baselines.checks import check_at_least
from xgacmn_tf.baselines.linear import centred, projections, whitening
from xgacmn_tf.model.encoders import CommonSpaceEncoder

# Features of both modalities, (n, d_v) and (n, d_t), float64.
Views = tuple[np.ndarray, np.ndarray]

# A direction with a smaller share of the whole is rounding.
ROUNDING = 1e-12


class Pairs(NamedTuple):
    """C_vt of whitened features in far fewer dimensions where one modality has many.

    spans: orthonormal bases of its columns (d_v, r) and of its rows (d_t, r). between: it, in
    these bases (r, r).
    """

    spans: tuple[np.ndarray, np.ndarray]
    between: np.ndarray


@dataclasses.dataclass(frozen=True)
class Settings:
    """The symbols are those of the module's formula.

    groups: g, at most one a pair. group_weight: α. components: of the common space, at most.
    power: exponent of the eigenvalues that scale the components. rounds: of W and G, at most.
    group_steps: multiplicative updates of G in a round. ridge: added to the covariances' diagonals.
    """

    groups: int = 10
    group_weight: float = 0.5
    components: int = 9
    power: float = 3.0
    rounds: int = 5
    group_steps: int = 30
    ridge: float = 1e-5

    def __post_init__(self) -> None:
        check_at_least(1, groups=self.groups, components=self.components, rounds=self.rounds)
        check_at_least(1, group_steps=self.group_steps)
        check_at_least(0, group_weight=self.group_weight, power=self.power, ridge=self.ridge)


def fit(data: TrainingData, settings: Settings) -> CommonSpaceEncoder:
    """See the module."""
    (image, image_mean), (text, text_mean) = centred(data.image), centred(data.text)
    whiten = [whitening(x, settings.ridge) for x in (image, text)]
    # In whitened coordinates the constraint is that W is orthonormal.
    views = (image @ whiten[0], text @ whiten[1])
    pairs = pairs_of(views)
    groups = start(text, settings.groups, data.seed)
    weights, values = best_weights(views, pairs, groups, settings)
    for _ in data.progress(range(settings.rounds)):
        better = improve_groups(codes(views, weights), groups, settings.group_steps)
        if not objective(views, weights, better, settings) > objective(
            views, weights, groups, settings
        ):
            break
        groups = better
        weights, values = best_weights(views, pairs, groups, settings)
    scaled = [weight * np.maximum(values, 0) ** settings.power for weight in weights]
    return projections(whiten[0] @ scaled[0], image_mean, whiten[1] @ scaled[1], text_mean)


def start(text: np.ndarray, groups: int, seed: int) -> np.ndarray:
    """G (n, g) of k-means groups of the texts, each item a little in every group."""
    groups = min(groups, len(np.unique(text, axis=0)))
    # Threads would add up their shares in an order of their own.
    with threadpoolctl.threadpool_limits(1):
        labels = KMeans(groups, n_init=10, random_state=seed).fit_predict(text)
    return _unit_columns(np.eye(groups)[labels] + 0.2)


def pairs_of(views: Views) -> Pairs:
    """What no round changes, of whitened features."""
    between = views[0].T @ views[1] / len(views[0])
    image, text = (linalg.qr(x, mode="economic")[0] for x in (between, between.T))
    return Pairs((image, text), image.T @ between @ text)


def best_weights(
    views: Views, pairs: Pairs, groups: np.ndarray, settings: Settings
) -> tuple[list[np.ndarray], np.ndarray]:
    """W of the largest objective for G.

    Args:
      views: whitened features (n, d_v) and (n, d_t).
      pairs: of these.
      groups: G (n, g).
      settings: of the system.

    Returns:
      [W_v (d_v, e), W_t (d_t, e)] and the eigenvalues (e,), the largest first.
    """
    basis = linalg.orth(groups) / np.sqrt(len(groups))
    shared = [view.T @ basis for view in views]
    # An eigenvector's halves lie in the span of what the matrix is made of.
    spans = [_extended(*parts) for parts in zip(pairs.spans, shared, strict=True)]
    split, (rows, columns) = spans[0].shape[1], pairs.between.shape
    common = np.vstack([span.T @ part for span, part in zip(spans, shared, strict=True)])
    matrix = settings.group_weight * common @ common.T
    # The new directions are orthogonal to the pairs'.
    matrix[:rows, split : split + columns] += pairs.between / 2
    matrix[split : split + columns, :rows] += pairs.between.T / 2
    values, vectors = linalg.eigh(matrix, driver="evd")
    kept = min(settings.components, len(values))
    values, vectors = values[::-1][:kept], vectors[:, ::-1][:, :kept]
    return [spans[0] @ vectors[:split], spans[1] @ vectors[split:]], values


def _extended(span: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Orthonormal `span` (d, r) and directions of `columns` (d, g) outside of it, orthonormal."""
    outside = columns - span @ (span.T @ columns)
    directions, lengths, _ = linalg.svd(outside, full_matrices=False)
    directions = directions[:, lengths > ROUNDING * linalg.norm(columns)]
    # Once more: what is left of short ones is not orthogonal to double precision.
    directions -= span @ (span.T @ directions)
    return np.hstack([span, linalg.qr(directions, mode="economic")[0]])


def codes(views: Views, weights: list[np.ndarray]) -> np.ndarray:
    """Z (n, e)."""
    return views[0] @ weights[0] + views[1] @ weights[1]


def improve_groups(z: np.ndarray, groups: np.ndarray, steps: int) -> np.ndarray:
    """G (n, g) after multiplicative updates for the codes Z (n, e)."""
    for _ in range(steps):
        product = z @ (z.T @ groups)
        inner = groups.T @ product
        up = np.maximum(product, 0) + groups @ np.maximum(-inner, 0)
        down = np.maximum(-product, 0) + groups @ np.maximum(inner, 0)
        # Rounding counts as nothing: neither 0 / 0 nor an overflow where a group vanishes.
        least = np.finfo(float).eps * np.abs(product).max(initial=np.finfo(float).tiny)
        groups = _unit_columns(groups * np.sqrt(up / np.maximum(down, least)))
    return groups


def _unit_columns(groups: np.ndarray) -> np.ndarray:
    length = linalg.norm(groups, axis=0)
    return groups / np.where(length > 0, length, 1)


def objective(
    views: Views, weights: list[np.ndarray], groups: np.ndarray, settings: Settings
) -> float:
    """What the turns raise, with the covariances of the whitened features."""
    image, text = views[0] @ weights[0], views[1] @ weights[1]
    within = np.square(linalg.orth(groups).T @ (image + text)).sum()
    return float((np.sum(image * text) + settings.group_weight * within) / len(groups))


SYSTEM = System(
    title="SPGCM",
    citation="Liang et al., IJCAI 2016",
    fidelity="reconstruction",
    similarity="cosine",
    settings=Settings,
    fit=fit,
    grid={"ridge": (1e-5, 1e-4, 1e-2, 1.0)},
)
