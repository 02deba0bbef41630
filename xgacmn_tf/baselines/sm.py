"""SM: semantic matching.

Rasiwasia, Costa Pereira, Coviello, Doyle, Lanckriet, Levy and Vasconcelos, "A new approach to
cross-modal multimedia retrieval", ACM Multimedia 2010; the paper's [27].

Objective, for each modality alone: min C Σ_i CE(y_i, softmax(x_i W + b)) + ‖W‖² / 2, multinomial
logistic regression on the features as they are. The common space is the class posteriors.

Fidelity: exact; C is not published. The row of the tables is the cosine of the posteriors. Their
inner product (--similarity=dot, or posterior for the calibrated ones) serves image queries better.
So does the cosine of centered posteriors (`centre`), by 0.012 on validation pairs of shallow
Wikipedia (docs/results.md), but centered codes are no posteriors any more.
"""

import dataclasses

import keras
import numpy as np

from xgacmn_tf.baselines import System, TrainingData
from xgacmn_tf.baselines.checks import check_at_least
from xgacmn_tf.baselines.logistic import fit_logistic
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.model.input_maps import Identity
from xgacmn_tf.model.layers import Affine, Chain, Posteriors


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is not published, and a variant.

    c: C, above 0.
    centre: take the mean training posterior off the codes, which leaves no --similarity=posterior.
    """

    c: float = 100.0
    centre: bool = False

    def __post_init__(self) -> None:
        check_at_least(1e-9, c=self.c)


def fit(data: TrainingData, settings: Settings) -> CommonSpaceEncoder:
    """See the module."""

    def encoder(features: np.ndarray) -> Chain:
        classify = Affine.of(*fit_logistic(features, data.targets, settings.c))
        return Chain([classify, keras.layers.Softmax(), *centring])

    centring = [_centring(data.targets)] if settings.centre else []
    return CommonSpaceEncoder(
        Identity(data.image.shape[1]),
        Identity(data.text.shape[1]),
        encoder(data.image),
        encoder(data.text),
        None if settings.centre else Posteriors(),
    )


def _centring(targets: np.ndarray) -> Affine:
    """Takes the mean posterior off, which at the optimum is the classes' share of the items."""
    shares = targets / targets.sum(axis=1, keepdims=True)
    return Affine.of(np.eye(targets.shape[1]), -shares.mean(axis=0))


SYSTEM = System(
    title="SM",
    citation="Rasiwasia et al., ACM Multimedia 2010",
    fidelity="exact",
    similarity="cosine",
    settings=Settings,
    fit=fit,
    grid={"c": (0.01, 0.1, 1.0, 10.0, 100.0)},
)
