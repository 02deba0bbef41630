"""Kernel posteriors: a kernel map and logistic regression. Not in the paper: what one would try.

Zhang, Marszałek, Lazebnik and Schmid, "Local features and kernels for classification of texture and
object categories", IJCV 73(2), 2007, for classifiers by the χ² kernel; Rasiwasia et al., ACM
Multimedia 2010, for retrieval by class posteriors.

For each modality alone: one of X-GACMN's input maps, then multinomial logistic regression on the
mapped features z, min C Σ_i CE(y_i, softmax(z_i W + b)) + ‖W‖² / 2. C has the least log-loss on
held-out pairs, by stratified cross-validation within the training split; the map, which reads no
labels, is fitted once on all of it. The common space is the class posteriors, compared by inner
product.

Fidelity: beyond the paper; it measures what X-GACMN's input maps alone are worth.
"""

import dataclasses
import warnings
from collections.abc import Callable, Iterable, Sequence

import keras
import numpy as np
from scipy.special import log_softmax
from sklearn.model_selection import StratifiedKFold

from xgacmn_tf.baselines import System, TrainingData
from xgacmn_tf.baselines.checks import check_at_least
from xgacmn_tf.baselines.input_maps import MapSettings
from xgacmn_tf.baselines.logistic import fit_logistic
from xgacmn_tf.errors import InputError
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.model.input_maps import InputMap
from xgacmn_tf.model.layers import Affine, Chain, Posteriors
from xgacmn_tf.model.map_choice import fit_maps

# Maps differ in scale and dimension, and so does the best C.
DECADES = (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0)
# The log-loss of a class that no training pair of a fold has would be infinite.
LEAST_LOG = np.log(1e-12)
# Of the mean loss, at which the search for a fold's classifier ends: enough to compare losses.
FOLD_GRADIENT = 1e-4


@dataclasses.dataclass(frozen=True)
class Settings(MapSettings):
    """folds: maximum number of folds; where every class has fewer pairs, as many as the largest
    has.
    """

    folds: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(2, folds=self.folds)


def fit(data: TrainingData, settings: Settings) -> CommonSpaceEncoder:
    """See the module.

    Raises:
      InputError: features that a map does not take, or no class with two training pairs.
    """
    parts = folds(data.targets, settings.folds, data.seed, data.group)

    def classifier(input_map: InputMap, features: np.ndarray) -> Chain:
        x = input_map(features).numpy()
        c = choose_c(x, data.targets, parts, data.progress)
        return Chain([Affine.of(*fit_logistic(x, data.targets, c)), keras.layers.Softmax()])

    image_map, text_map = fit_maps(settings, data.image, data.text)
    return CommonSpaceEncoder(
        image_map,
        text_map,
        classifier(image_map, data.image),
        classifier(text_map, data.text),
        Posteriors(),
    )


def folds(
    targets: np.ndarray, count: int, seed: int, group: np.ndarray | None = None
) -> list[np.ndarray]:
    """Return the held-out rows of each fold, (n,) bool; each row is held out once.

    Args:
      targets: (n, c) one-hot or multi-hot. Folds are stratified by a row's rarest label.
      count: number of folds, fewer where every class has fewer rows.
      seed: shuffles the rows.
      group: (n,) equal values for rows that are held out together; None if all stand alone.
    """
    alone: np.ndarray = np.arange(len(targets))
    # A group is drawn as its first row is.
    _, first, member = np.unique(
        alone if group is None else group, return_index=True, return_inverse=True
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
        # A class with fewer pairs than folds is absent from some, which is all that can be done.
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
    """The C of the least log-loss of held-out rows, to half a decade.

    Args:
      features: (n, d).
      targets: (n, c).
      parts: (n,) bool, the held-out rows of each fold.
      progress: wraps what is tried in a progress bar.
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
            total -= float(np.sum(shares[part] * np.maximum(log_posterior, LEAST_LOG)))
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


SYSTEM = System(
    title="Kernel posteriors",
    citation="Zhang et al., IJCV 2007, with Rasiwasia et al., ACM Multimedia 2010",
    fidelity="beyond the paper",
    similarity="posterior",
    settings=Settings,
    fit=fit,
    grid={"image_map": ("auto", "hellinger"), "text_map": ("auto", "zscore")},
)
