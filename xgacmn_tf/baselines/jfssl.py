"""JFSSL: joint feature selection and subspace learning.

Wang, He, Wang, Wang and Tan, "Joint feature selection and subspace learning for cross-modal
retrieval", TPAMI 38(10), 2016; the paper's [35].

Objective: min Σ_p ‖X_p U_p − Y‖² + λ1 Σ_p ‖U_p‖_2,1 + λ2 Σ_pq tr(U_pᵀ X_pᵀ L_pq X_q U_q), a
regression of centered features to the labels that selects features by rows of U and is smooth over
a graph of all 2n items. L = D − W is its Laplacian; W is 1 (the number of shared labels) between an
image and a text of the same class, and exp(−d² / 2σ²) between nearest neighbors of one modality,
symmetric, with σ the mean distance between neighbors. Solved in rounds, U_v first
and then U_t, from U = eye(d, c):
  U_p = (X_pᵀ X_p + λ1 diag(r) + λ2 X_pᵀ L_pp X_p)⁻¹ (X_pᵀ Y − λ2 X_pᵀ L_pq X_q U_q),
  r_i = 1 / (2 √(‖u_i‖² + 1e-7)),
each of which decreases the objective, with its ℓ2,1 norm smoothed by the same 1e-7. The part of W
within a modality is sparse; the part between the modalities is Y Yᵀ, which is never formed.

Fidelity: exact, except that λ1, λ2, the number of neighbors, σ and the inner product as similarity
are ours, because the article's values were not found. They were chosen by the validation scores in
docs/results.md.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import sparse

from xgacmn_tf.baselines import System, TrainingData
from xgacmn_tf.baselines.linear import center, neighbor_graph, projections, solve_row_sparse
from xgacmn_tf.baselines.settings import SystemSettings
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.settings.fields import setting


@dataclasses.dataclass(frozen=True)
class Settings(SystemSettings):
    """Settings; the symbols are those of the module's formula."""

    sparsity: float = setting(0.2, "λ1", minimum=1e-9)
    graph: float = setting(0.001, "λ2", minimum=0)
    neighbours: int = setting(5, "neighbors of an item in its modality", minimum=1)
    rounds: int = setting(5, "number of rounds", minimum=1)


class View(NamedTuple):
    """Sums over the items of a modality: XᵀY (d, c), and XᵀX + λ2 XᵀL_ppX (d, d)."""

    labelled: np.ndarray
    system: np.ndarray


def fit(data: TrainingData, settings: Settings) -> CommonSpaceEncoder:
    """Return the encoder fitted on the training pairs."""
    targets = data.targets.astype(np.float64)
    (image, image_mean), (text, text_mean) = center(data.image), center(data.text)
    views = [view_of(x, targets, settings) for x in (image, text)]
    weights = [np.eye(*view.labelled.shape) for view in views]
    for _ in data.progress(range(settings.rounds)):
        weights = improve(views, weights, settings)
    return projections(weights[0], image_mean, weights[1], text_mean)


def view_of(features: np.ndarray, targets: np.ndarray, settings: Settings) -> View:
    """Return the sums of centered features X (n, d) and targets Y (n, c), all float64."""
    near = neighbor_weights(features, settings.neighbours)
    degree = near.sum(axis=1) + targets @ targets.sum(axis=0)
    smoothness = features.T @ (degree[:, None] * features - near @ features)
    return View(features.T @ targets, features.T @ features + settings.graph * smoothness)


def neighbor_weights(features: np.ndarray, neighbors: int) -> sparse.csr_array:
    """Return the (n, n) weights of the graph within one modality."""
    # If all neighbors are duplicates, every weight is 1, whatever the width.
    return neighbor_graph(
        features, neighbors, lambda d: np.exp(-np.square(d / (d.mean() or 1.0)) / 2)
    )


def improve(
    views: Sequence[View], weights: Sequence[np.ndarray], settings: Settings
) -> list[np.ndarray]:
    """Return U_v, then U_t by the new U_v, after one round."""
    new = list(weights)
    for p, (view, other) in enumerate(((views[0], views[1]), (views[1], views[0]))):
        # X_pᵀ L_pq X_q = −X_pᵀ Y Yᵀ X_q
        right = view.labelled + settings.graph * view.labelled @ (other.labelled.T @ new[1 - p])
        new[p] = solve_row_sparse(view.system, right, new[p], settings.sparsity)
    return new


GRID = {"sparsity": (0.01, 0.2, 1.0, 10.0), "graph": (1e-4, 1e-3)}
SYSTEM = System("JFSSL", "Wang et al., TPAMI 2016", "exact", "dot", Settings, fit, grid=GRID)
