"""JFSSL: joint feature selection and subspace learning.

Wang, He, Wang, Wang and Tan, "Joint feature selection and subspace learning for cross-modal
retrieval", TPAMI 38(10), 2016; the paper's [35].

Objective: min Σ_p ‖X_p U_p − Y‖² + λ1 Σ_p ‖U_p‖_2,1 + λ2 Σ_pq tr(U_pᵀ X_pᵀ L_pq X_q U_q), a
regression of centred features to the labels that selects features by rows of U and draws together
what a graph over all 2n items joins. L = D − W is its Laplacian; W is 1 (the number of shared
labels) between an image and a text of the same class, and exp(−d² / 2σ²) between nearest
neighbours of one modality, symmetric, with σ the mean distance between neighbours. Solved in
rounds, U_v first and then U_t, from U = eye(d, c):
  U_p = (X_pᵀ X_p + λ1 diag(r) + λ2 X_pᵀ L_pp X_p)⁻¹ (X_pᵀ Y − λ2 X_pᵀ L_pq X_q U_q),
  r_i = 1 / (2 √(‖u_i‖² + 1e-7)),
each of which lowers the objective, its ℓ2,1 norm smoothed by the same 1e-7. The part of W within a
modality is sparse, and the part between them is Y Yᵀ and never formed.

Fidelity: exact, but λ1, λ2, the number of neighbors, σ and the inner product as similarity are
ours: the article's were not found. docs/results.md has the validation scores they were chosen by.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import sparse
from sklearn.neighbors import kneighbors_graph

from xgacmn_tf.baselines import System, TrainingData
from xgacmn_tf.baselines.checks import check_at_least
from xgacmn_tf.baselines.linear import centred, projections, row_lengths, solve
from xgacmn_tf.model.encoders import CommonSpaceEncoder


@dataclasses.dataclass(frozen=True)
class Settings:
    """sparsity: λ1, above 0. graph: λ2. neighbours: of an item in its modality. rounds: of both."""

    sparsity: float = 0.2
    graph: float = 0.001
    neighbours: int = 5
    rounds: int = 5

    def __post_init__(self) -> None:
        check_at_least(1e-9, sparsity=self.sparsity)
        check_at_least(0, graph=self.graph)
        check_at_least(1, neighbours=self.neighbours, rounds=self.rounds)


class View(NamedTuple):
    """A modality, as sums over its items.

    features: X (n, d), centred. gram: XᵀX. labelled: XᵀY (d, c). smoothness: XᵀL_ppX (d, d).
    """

    features: np.ndarray
    gram: np.ndarray
    labelled: np.ndarray
    smoothness: np.ndarray


def fit(data: TrainingData, settings: Settings) -> CommonSpaceEncoder:
    """See the module."""
    targets = data.targets.astype(np.float64)
    (image, image_mean), (text, text_mean) = centred(data.image), centred(data.text)
    views = [view_of(x, targets, settings.neighbours) for x in (image, text)]
    weights = start(views)
    for _ in data.progress(range(settings.rounds)):
        weights = improve(views, weights, settings)
    return projections(weights[0], image_mean, weights[1], text_mean)


def view_of(features: np.ndarray, targets: np.ndarray, neighbours: int) -> View:
    """The sums of centred features (n, d) and targets (n, c), all float64."""
    near = neighbour_weights(features, neighbours)
    degree = near.sum(axis=1) + targets @ targets.sum(axis=0)
    smoothness = features.T @ (degree[:, None] * features - near @ features)
    return View(features, features.T @ features, features.T @ targets, smoothness)


def neighbour_weights(features: np.ndarray, neighbours: int) -> sparse.csr_array:
    """(n, n) weights of the graph within one modality."""
    graph = kneighbors_graph(features, min(neighbours, len(features) - 1), mode="distance")
    # Where all neighbours are duplicates every weight is 1, whatever the width.
    width = graph.data.mean() or 1.0
    graph.data = np.exp(-np.square(graph.data / width) / 2)
    return sparse.csr_array(graph.maximum(graph.T))


def start(views: Sequence[View]) -> list[np.ndarray]:
    """U_v (d_v, c) and U_t (d_t, c) before the first round."""
    return [np.eye(*view.labelled.shape) for view in views]


def improve(
    views: Sequence[View], weights: Sequence[np.ndarray], settings: Settings
) -> list[np.ndarray]:
    """One round: U_v, then U_t that looks at the new U_v."""
    new = list(weights)
    for p, (view, other) in enumerate(((views[0], views[1]), (views[1], views[0]))):
        system = view.gram + settings.graph * view.smoothness
        system[np.diag_indices_from(system)] += settings.sparsity / (2 * row_lengths(new[p]))
        # X_pᵀ L_pq X_q = −X_pᵀ Y Yᵀ X_q
        drawn = view.labelled @ (other.labelled.T @ new[1 - p])
        new[p] = solve(system, view.labelled + settings.graph * drawn)
    return new


def objective(
    views: Sequence[View],
    targets: np.ndarray,
    weights: Sequence[np.ndarray],
    settings: Settings,
) -> float:
    """What the rounds lower."""
    means = [view.labelled.T @ weight for view, weight in zip(views, weights, strict=True)]
    total = -2 * settings.graph * np.sum(means[0] * means[1])
    for view, weight in zip(views, weights, strict=True):
        total += np.square(view.features @ weight - targets).sum()
        total += settings.sparsity * row_lengths(weight).sum()
        total += settings.graph * np.sum(weight * (view.smoothness @ weight))
    return float(total)


SYSTEM = System(
    title="JFSSL",
    citation="Wang et al., TPAMI 2016",
    fidelity="exact",
    similarity="dot",
    settings=Settings,
    fit=fit,
    grid={"sparsity": (0.01, 0.2, 1.0, 10.0), "graph": (1e-4, 1e-3)},
)
