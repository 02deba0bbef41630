"""M-DBN: a deep belief network whose joint layer generates one modality from the other.

Srivastava and Salakhutdinov, "Learning representations for multimodal data with deep belief nets",
ICML workshop on representation learning 2012; the paper's [31].

Objective: the likelihood of the upper RBM layers [h_v, h_t] of pairs under one binary RBM, trained
by CD-1 after two RBMs for each modality (`rbm_stack`). With one side clamped, mean-field steps
generate the upper layer of the other: g_t(v) from an image, g_v(t) from a text.

Similarity: an image's generated text is compared with the real texts, by the cosine of g_t(v) and
h_t, and a text's generated image with the real images, by the cosine of g_v(t) and h_v. Every
index of this package ranks by one inner product, so both comparisons count in both directions: with
unit vectors, an image's code is [h_v; g_t(v)] and a text's [g_v(t); h_t], whose cosine is the mean
of the two.

Fidelity: reconstruction. The number of steps is ours: 600 for each RBM, instead of 20,000 at batch
500. The published scores, 0.149 and 0.150 on shallow Wikipedia, are close to chance.
"""

import dataclasses

import numpy as np

from xgacmn_tf.baselines import System, TrainingData
from xgacmn_tf.baselines.rbm import RBM, Schedule, train_rbm
from xgacmn_tf.baselines.rbm_layers import MeanField
from xgacmn_tf.baselines.rbm_stack import StackSettings, fit_on_stack
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.settings.fields import setting


@dataclasses.dataclass(frozen=True)
class Settings(StackSettings):
    """Settings of the RBMs and of the joint RBM on top of them."""

    joint_width: int = setting(256, "units of the joint layer", minimum=1)
    joint_rate: float = setting(1e-2, "learning rate of the joint RBM", minimum=0)
    rounds: int = setting(10, "mean-field steps", minimum=1)


def fit(data: TrainingData, settings: Settings) -> CommonSpaceEncoder:
    """Return the encoder trained on the training pairs."""
    return fit_on_stack(data, settings, inference)


def inference(data: TrainingData, settings: Settings, output: str = "units") -> CommonSpaceEncoder:
    """Return two `MeanField` layers of the joint RBM, trained on the upper layers of pairs.

    Args:
      data: has the upper layers as features.
      settings: of the system.
      output: "units" or "hidden", see `MeanField`.
    """
    joint = RBM(settings.joint_width)
    schedule = Schedule(settings.joint_rate, settings.rbm_steps, settings.rbm_batch)
    both = np.concatenate([data.image, data.text], axis=1)
    train_rbm(joint, both, schedule, data.seed, data.progress)
    sides = (
        MeanField(joint, data.image.shape[1], own, settings.rounds, output)
        for own in ("image", "text")
    )
    return data.encoder(*sides)


CITATION = "Srivastava and Salakhutdinov, ICML workshop on representation learning 2012"
SYSTEM = System("M-DBN", CITATION, "reconstruction", "cosine", Settings, fit)
