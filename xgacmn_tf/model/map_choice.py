"""Choice and fitting of input maps by their names."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from scipy.spatial.distance import pdist
from sklearn.metrics.pairwise import additive_chi2_kernel

from xgacmn_tf.errors import InputError
from xgacmn_tf.groups import content_keys, first_rows
from xgacmn_tf.model.input_maps import (
    ChiSquareKernelPCA,
    GaussianKernelPCA,
    Identity,
    InputMap,
    QuantileNormalize,
    Standardize,
    TfIdf,
    UnitLength,
    Whiten,
)
from xgacmn_tf.model.map_base import evenly_spaced
from xgacmn_tf.model.map_probe import (
    Evidence,
    chi2_kernel,
    choose_by_evidence,
    gaussian_kernel,
    mean_distance,
    median_distance,
    probed_rows,
)
from xgacmn_tf.model.networks import has_few_pairs
from xgacmn_tf.names import CHI2_COMPONENTS, CHI2_GAMMA, MAP_NAMES, RBF_COMPONENTS, RBF_GAMMA

# Training rows that a kernel compares with. The kernel between them is formed once, in memory, and
# every item that is encoded is compared with each: 4,000 rows are 128 MB of float64. Whitening
# takes this many rows, too, of features with more dimensions.
MAX_LANDMARKS = 4_000
# Components that a kernel map keeps for each dimension of its features, at most: for histograms of
# ten topics 500 lost 0.002 to 0.006 of validation mAP against 100.
COMPONENTS_A_DIMENSION = 10
# Rows whose distances set a kernel's width, evenly spaced.
ROWS_FOR_DISTANCE = 500
# Training quantiles of a feature: two neighbors differ by less than 0.01 in the middle of N(0, 1).
MAX_QUANTILES = 256
# Fewer items tell nothing about maps.
MIN_PROBED = 10
# χ² distances of more features take longer than all the rest of the probe.
MAX_CHI2_DIM = 512
# From this share of zeros on, non-negative features are taken for weighted words. Units of a
# rectified network are zero less often.
SPARSE = 0.9
# By how much the sums of histograms may differ, as a share: rounding, not other lengths.
SUM_TOLERANCE = 1e-3


def mean_chi2_distance(features: np.ndarray) -> float:
    """Return the mean χ² distance over pairs of rows; 1 if all are equal."""
    rows = evenly_spaced(features, ROWS_FOR_DISTANCE).astype(np.float64)
    return mean_distance(-additive_chi2_kernel(rows))


def median_squared_distance(features: np.ndarray) -> float:
    """Return the median of ‖x − z‖² over pairs of rows of z-scored features.

    If more than half of the pairs are equal, it is the mean, and 1 if all are.
    """
    standardize = Standardize(features.shape[1])
    standardize.fit(features)
    rows = standardize(evenly_spaced(features, ROWS_FOR_DISTANCE))
    return median_distance(pdist(rows, "sqeuclidean"))


def choose_map(features: np.ndarray) -> str:
    """Return the name of the map for a kind of features.

    Word counts, which are non-negative whole numbers and at least half zeros, take tf-idf.
    Histograms, whose rows are non-negative and have one sum, take the χ² kernel. Other non-negative
    features that are nearly all zeros are weighted words, and take unit length: a z-score
    would inflate the rare ones. Everything else takes the z-score.
    """
    if (features < 0).any():
        return "zscore"
    zeros = 1 - np.count_nonzero(features) / features.size
    if zeros >= 0.5 and (features == np.floor(features)).all():
        return "tfidf"
    sums = features.sum(axis=1, dtype=np.float64)
    sums = sums[sums > 0]
    if len(sums) and np.ptp(sums) <= SUM_TOLERANCE * sums.max():
        return "chi2"
    return "unit" if zeros >= SPARSE else "zscore"


def preferred_map(features: np.ndarray) -> str:
    """Return the name of the map that features take without evidence for another one.

    It is that of `choose_map`, with components of a Gaussian kernel in place of the z-score where
    there are few pairs for the number of features: validation mAP +0.016 on the emoji, +0.034 on
    clip art, +0.02 on stamps, +0.03 to +0.06 with 40 to 100 pairs of digits, and +0.03 with 50
    olive oils. With more, an encoder learns better from the features.
    """
    name, (rows, dim) = choose_map(features), features.shape
    return "rbf" if name == "zscore" and has_few_pairs(dim, rows) else name


def mapped_dim(name: str, dim: int, rows: int, chi2_components: int, rbf_components: int) -> int:
    """Return the number of features after a map, see `fit_map`."""
    components = {"chi2": chi2_components, "rbf": rbf_components}.get(name)
    return dim if components is None else min(components, COMPONENTS_A_DIMENSION * dim, rows - 1)


def weigh_maps(
    features: np.ndarray,
    label: np.ndarray,
    group: np.ndarray | None = None,
    chi2_gamma: float = CHI2_GAMMA,
) -> Evidence:
    """Choose the map of features by leave-one-out posteriors, with `preferred_map` for ties.

    Args:
      features: (n, d) float32, of the training items.
      label, group: see `map_probe.probed_rows`.
      chi2_gamma: as of `fit_map`.
    """
    preferred, (rows, targets) = preferred_map(features), probed_rows(label, group)
    prefers = "zscore" if preferred == "rbf" else preferred
    if len(rows) < MIN_PROBED or targets.shape[1] < 2:
        return Evidence(preferred, preferred, {}, len(rows), 0.0)
    kernels = dict(_kernels(features[rows], prefers, chi2_gamma))
    return choose_by_evidence(kernels, targets, preferred, prefers)


def _kernels(
    features: np.ndarray, prefers: str, chi2_gamma: float
) -> Iterator[tuple[str, Callable[[], np.ndarray]]]:
    """Yield the name of each map that suits the features, and a function for its kernel."""
    names = ["zscore", "rank", "unit", "whiten"]
    if features.min() >= 0:
        names.append("hellinger")
        if prefers == "tfidf" or not ((features > 0) & (features < 1)).any():
            names.append("tfidf")
        if prefers == "chi2" or features.shape[1] <= MAX_CHI2_DIM:
            yield "chi2", partial(chi2_kernel, features, chi2_gamma)
    for name in names:
        yield name, partial(_gaussian_kernel_of, name, features)


def _gaussian_kernel_of(name: str, features: np.ndarray) -> np.ndarray:
    return gaussian_kernel(np.asarray(fit_map(name, features, "probed")(features)))


def resolved_map(
    settings: Any,
    modality: str,
    features: np.ndarray,
    label: np.ndarray | None = None,
    group: np.ndarray | None = None,
    held_out: np.ndarray | None = None,
) -> tuple[str, Evidence | None]:
    """Return the name of a modality's map, chosen where it is "auto", and the evidence for it.

    Args:
      settings: an object with the attributes image_map, text_map, map_choice and chi2_gamma.
      modality: "image" or "text".
      features: (n, d) float32, of the training items.
      label, group: see `map_probe.probed_rows`; without labels `preferred_map` chooses.
      held_out: (m, d) float32, of items to which the map is fitted later, with the others. If the
        evidence chooses a map that does not suit them, the kind of all features decides.
    """
    name: str = getattr(settings, f"{modality}_map")
    if name != "auto":
        return name, None
    by_kind = choose_map if settings.map_choice == "rule" else preferred_map
    if label is None or settings.map_choice == "rule":
        name, evidence = by_kind(features), None
    else:
        evidence = weigh_maps(features, label, group, settings.chi2_gamma)
        name = evidence.chosen
    if held_out is not None and _unsuitable(name, held_out, modality):
        return by_kind(np.concatenate([features, held_out])), None
    return name, evidence


def fit_maps(
    settings: Any,
    image: np.ndarray,
    text: np.ndarray,
    label: np.ndarray | None,
    group: np.ndarray | None = None,
) -> tuple[InputMap, InputMap]:
    """Return the image map and the text map, fitted on complete training pairs.

    The compared systems that share X-GACMN's input maps use this function.

    Args:
      settings: see `fit_resolved`.
      image: (n, d_v) float32.
      text: (n, d_t) float32.
      label, group: see `resolved_map`.

    Raises:
      InputError: as `fit_map` does.
    """
    return (
        fit_resolved(settings, "image", image, label, group),
        fit_resolved(settings, "text", text, label, group),
    )


def fit_resolved(
    settings: Any,
    modality: str,
    features: np.ndarray,
    label: np.ndarray | None = None,
    group: np.ndarray | None = None,
) -> InputMap:
    """Return a modality's map, fitted on training features.

    Args:
      settings: an object as `resolved_map` takes, with chi2_components, rbf_gamma and
        rbf_components of `fit_map` besides.
      modality, features, label, group: see `resolved_map`.

    Raises:
      InputError: as `fit_map` does.
    """
    name, _ = resolved_map(settings, modality, features, label, group)
    options = ("chi2_gamma", "chi2_components", "rbf_gamma", "rbf_components")
    return fit_map(name, features, modality, **{key: getattr(settings, key) for key in options})


def _unsuitable(name: str, features: np.ndarray, modality: str) -> str:
    """Return why a map of histograms or counts cannot be fitted to features, or ""."""
    smallest = features.min(initial=0)
    if name in ("hellinger", "chi2", "tfidf") and smallest < 0:
        return (
            f"--{modality}_map={name} is for histograms and counts, but the training {modality} "
            f"features go down to {smallest:.4g}; use --{modality}_map=zscore"
        )
    if name == "tfidf" and ((features > 0) & (features < 1)).any():
        return (
            f"--{modality}_map=tfidf expects word counts, but the training {modality} features "
            f"hold weights between 0 and 1, the smallest {features[features > 0].min():.4g}; "
            f"use --{modality}_map=unit, zscore or hellinger"
        )
    return ""


def fit_map(
    name: str,
    features: np.ndarray,
    modality: str,
    *,
    chi2_gamma: float = CHI2_GAMMA,
    chi2_components: int = CHI2_COMPONENTS,
    rbf_gamma: float = RBF_GAMMA,
    rbf_components: int = RBF_COMPONENTS,
) -> InputMap:
    """Return the map called `name`, fitted on training features.

    Args:
      name: one of `MAP_NAMES` other than "auto".
      features: (n, d) float32.
      modality: "image" or "text", for errors.
      chi2_gamma: γ of the χ² kernel, times the `mean_chi2_distance`.
      rbf_gamma: γ of the Gaussian kernel, times the `median_squared_distance`.
      chi2_components, rbf_components: number of components of these maps, at most;
        `COMPONENTS_A_DIMENSION` is another limit.

    Raises:
      InputError: negative features under a map for histograms or counts, or counts between 0 and 1
        under tf-idf.
    """
    if unsuitable := _unsuitable(name, features, modality):
        raise InputError(unsuitable)
    rows, input_dim = features.shape
    landmarks, max_components = min(rows, MAX_LANDMARKS), COMPONENTS_A_DIMENSION * input_dim
    layer: InputMap
    match name:
        case "zscore":
            layer = Standardize(input_dim)
        case "hellinger":
            layer = Standardize(input_dim, power=0.5)
        case "chi2":
            gamma = chi2_gamma / mean_chi2_distance(features)
            components = min(chi2_components, max_components)
            layer = ChiSquareKernelPCA(input_dim, landmarks, components, gamma)
        case "rbf":
            gamma = rbf_gamma / median_squared_distance(features)
            components = min(rbf_components, max_components)
            # An image with several captions is one landmark.
            features = features[first_rows(content_keys(features)) == np.arange(rows)]
            landmarks = min(len(features), MAX_LANDMARKS)
            layer = GaussianKernelPCA(input_dim, landmarks, components, gamma)
        case "rank":
            layer = QuantileNormalize(input_dim, max(min(rows, MAX_QUANTILES), 2))
        case "whiten":
            layer = Whiten(input_dim, landmarks, components=input_dim)
        case "tfidf":
            layer = TfIdf(input_dim)
        case "unit":
            layer = UnitLength(input_dim)
        case "none":
            layer = Identity(input_dim)
        case _:
            raise InputError(f"--{modality}_map={name}: expected one of {', '.join(MAP_NAMES)}")
    layer.fit(features)
    return layer
