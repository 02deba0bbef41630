"""Kernel posteriors: a kernel map and logistic regression; a simple baseline beyond the paper.

Zhang, Marszałek, Lazebnik and Schmid, "Local features and kernels for classification of texture and
object categories", IJCV 73(2), 2007, on classifiers with the χ² kernel; Rasiwasia et al., ACM
Multimedia 2010, on retrieval by class posteriors.

For each modality alone: one of X-GACMN's input maps, then multinomial logistic regression on the
mapped features z, min C Σ_i CE(y_i, softmax(z_i W + b)) + ‖W‖² / 2. C has the minimum log-loss
on held-out pairs, by stratified cross-validation within the training split; the map, which reads no
labels, is fitted once on all of it. The common space is the class posteriors, compared by inner
product.

Fidelity: beyond the paper; it measures the contribution of X-GACMN's input maps.
"""

import dataclasses
import warnings
from collections.abc import Callable, Iterable, Sequence

import keras
import numpy as np
from scipy.special import log_softmax
from sklearn.model_selection import StratifiedKFold

from xgacmn_tf.baselines import System, TrainingData
from xgacmn_tf.baselines.logistic import fit_logistic
from xgacmn_tf.baselines.settings import MapSettings
from xgacmn_tf.errors import InputError
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.model.input_maps import InputMap
from xgacmn_tf.model.layers import Affine, Chain, Posteriors
from xgacmn_tf.model.map_choice import fit_maps
from xgacmn_tf.settings.fields import setting

# The best C depends on the scale and the dimension of a map.
DECADES = (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0)
# A class without training pairs in a fold would have an infinite log-loss.
MIN_LOG = np.log(1e-12)
# Gradient of the mean loss at which the classifier of a fold is accurate enough to compare losses.
FOLD_GRADIENT = 1e-4


@dataclasses.dataclass(frozen=True)
class Settings(MapSettings):
    """Settings of the input maps and of the cross-validation."""

    folds: int = setting(
        5, "maximum number of folds, which is at most the size of the largest class", minimum=2
    )


def fit(data: TrainingData, settings: Settings) -> CommonSpaceEncoder:
    """Return the encoder fitted on the training pairs.

    Raises:
      InputError: a map does not accept the features, or no class has two training pairs.
    """
    parts = folds(data.targets, settings.folds, data.seed, data.group)

    def classifier(input_map: InputMap, features: np.ndarray) -> Chain:
        x = input_map(features).numpy()
        c = choose_c(x, data.targets, parts, data.progress)
        return Chain([Affine.of(*fit_logistic(x, data.targets, c)), keras.layers.Softmax()])

    maps = fit_maps(settings, data.image, data.text, data.targets, data.group)
    encoders = classifier(maps[0], data.image), classifier(maps[1], data.text)
    return CommonSpaceEncoder(*maps, *encoders, Posteriors())


def folds(
    targets: np.ndarray, count: int, seed: int, group: np.ndarray | None = None
) -> list[np.ndarray]:
    """Return the held-out rows of each fold, (n,) bool; each row is held out once.

    Args:
      targets: (n, c) one-hot or multi-hot. Folds are stratified by a row's rarest label.
      count: number of folds, fewer where every class has fewer rows.
      seed: shuffles the rows.
      group: (n,) equal values for rows that are held out together; None if each row is a group.
    """
    own_group: np.ndarray = np.arange(len(targets))
    # A group belongs to the fold of its first row.
    _, first, member = np.unique(
        own_group if group is None else group, return_index=True, return_inverse=True
    )
    frequency = targets.sum(axis=0)
    rarest = np.where(targets > 0, frequency, np.inf).argmin(axis=1)[first]
    count = min(count, int(np.bincount(rarest).max()))
    if count < 2:
        raise InputError(
            "--model=kernel_posteriors chooses C on held-out pairs, but no class has two training "
            "pairs of different images; give it more pairs, or use --model=sm"
        )
    splitter = StratifiedKFold(count, shuffle=True, random_state=seed)
    held_out = np.zeros((count, len(first)), bool)
    with warnings.catch_warnings():
        # A class with fewer pairs than folds is absent from some of them.
        warnings.simplefilter("ignore", UserWarning)
        for number, (_, held) in enumerate(splitter.split(first, rarest)):
            held_out[number, held] = True
    return list(held_out[:, member])


def choose_c(
    features: np.ndarray,
    targets: np.ndarray,
    parts: Sequence[np.ndarray],
    progress: Callable[[Sequence[float]], Iterable[float]] = iter,
) -> float:
    """Return the C with the minimum log-loss on held-out rows, to half a decade.

    Args:
      features: (n, d).
      targets: (n, c).
      parts: (n,) bool, the held-out rows of each fold.
      progress: wraps the candidates in a progress bar.
    """
    shares = targets / targets.sum(axis=1, keepdims=True)
    fitted: list[tuple[np.ndarray, np.ndarray] | None] = [None] * len(parts)

    def loss(c: float) -> float:
        total = 0.0
        for number, part in enumerate(parts):
            weights, bias = fitted[number] = fit_logistic(
                features[~part], targets[~part], c, start=fitted[number], gradient=FOLD_GRADIENT
            )
            log_posterior = log_softmax(features[part] @ weights + bias, axis=1)
            total -= float(np.sum(shares[part] * np.maximum(log_posterior, MIN_LOG)))
        return total

    losses: dict[float, float] = {}
    for c in progress(DECADES):
        losses[c] = loss(c)
        # The loss falls and then rises with C, and the largest C take by far the longest.
        if losses[c] > min(losses.values()):
            break
    best = min(losses, key=losses.__getitem__)
    losses |= {c: loss(c) for c in (best / 10**0.5, best * 10**0.5)}
    return min(losses, key=losses.__getitem__)


CITATION = "Zhang et al., IJCV 2007, with Rasiwasia et al., ACM Multimedia 2010"
GRID = {"image_map": ("auto", "hellinger"), "text_map": ("auto", "zscore")}
SYSTEM = System(
    "Kernel posteriors", CITATION, "beyond the paper", "posterior", Settings, fit, grid=GRID
)
