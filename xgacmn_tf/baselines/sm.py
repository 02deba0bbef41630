"""SM: semantic matching.

Rasiwasia, Costa Pereira, Coviello, Doyle, Lanckriet, Levy and Vasconcelos, "A new approach to
cross-modal multimedia retrieval", ACM Multimedia 2010; the paper's [27].

Objective, for each modality alone: min C Σ_i CE(y_i, softmax(x_i W + b)) + ‖W‖² / 2, multinomial
logistic regression on unmapped features. The common space is the class posteriors.

Fidelity: exact; C is not published. The tables rank by the cosine of the posteriors. Their inner
product (--similarity=dot, or posterior after calibration) is better for image queries. So is the
cosine of centered posteriors (`centre`), by 0.012 on validation pairs of shallow Wikipedia
(docs/results.md), but centered codes are not posteriors.
"""

import dataclasses

import keras
import numpy as np

from xgacmn_tf.baselines import System, TrainingData
from xgacmn_tf.baselines.logistic import fit_logistic
from xgacmn_tf.baselines.settings import SystemSettings
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.model.layers import Affine, Chain, Posteriors
from xgacmn_tf.settings.fields import setting


@dataclasses.dataclass(frozen=True)
class Settings(SystemSettings):
    """The penalty, which is not published, and a variant."""

    c: float = setting(100.0, "C", minimum=1e-9)
    centre: bool = setting(
        False,
        "subtract the mean training posterior from the codes; disables --similarity=posterior",
    )


def fit(data: TrainingData, settings: Settings) -> CommonSpaceEncoder:
    """Return the encoder fitted on the training pairs."""
    # At the optimum the mean posterior is each class's share of the items.
    shares = data.targets / data.targets.sum(axis=1, keepdims=True)
    centering = [Affine.of(np.eye(shares.shape[1]), -shares.mean(axis=0))] * settings.centre

    def encoder(features: np.ndarray) -> Chain:
        classify = Affine.of(*fit_logistic(features, data.targets, settings.c))
        return Chain([classify, keras.layers.Softmax(), *centering])

    classes = None if settings.centre else Posteriors()
    return data.encoder(encoder(data.image), encoder(data.text), classes)


GRID = {"c": (0.01, 0.1, 1.0, 10.0, 100.0)}
SYSTEM = System(
    "SM", "Rasiwasia et al., ACM Multimedia 2010", "exact", "cosine", Settings, fit, grid=GRID
)
