"""M-DBN: a deep belief network whose joint layer generates one modality from the other.

Srivastava and Salakhutdinov, "Learning representations for multimodal data with deep belief nets",
ICML workshop on representation learning 2012; the paper's [31].

Objective: the likelihood of the upper RBM layers [h_v, h_t] of pairs under one binary RBM, trained
by CD-1 after two RBMs a modality (`rbm_stack`). With one side clamped, mean-field steps generate
the other's upper layer: g_t(v) from an image, g_v(t) from a text.

Similarity: an image's generated text is compared with the real texts, by the cosine of g_t(v) and
h_t, and a text's generated image with the real images, by the cosine of g_v(t) and h_v. Every
index here ranks by one inner product, so both count in both directions: with unit vectors an
image's code is [h_v; g_t(v)] and a text's [g_v(t); h_t], whose cosine is the mean of the two.

Fidelity: reconstruction. The steps are ours: 600 an RBM, where the original trains 20,000 at batch
500. The published row, .149/.150 on shallow Wikipedia, is not far above chance.
"""

import dataclasses

import numpy as np

from xgacmn_tf.baselines import System, TrainingData
from xgacmn_tf.baselines.checks import check_at_least
from xgacmn_tf.baselines.rbm import RBM, Schedule, train_rbm
from xgacmn_tf.baselines.rbm_layers import MeanField
from xgacmn_tf.baselines.rbm_stack import StackSettings, on_top, pretrained, with_codes
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.model.input_maps import Identity


@dataclasses.dataclass(frozen=True)
class Settings(StackSettings):
    """joint_width, joint_rate: of the joint RBM. rounds: mean-field steps."""

    joint_width: int = 256
    joint_rate: float = 1e-2
    rounds: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, joint_width=self.joint_width, rounds=self.rounds)
        check_at_least(0, joint_rate=self.joint_rate)


def fit(data: TrainingData, settings: Settings) -> CommonSpaceEncoder:
    """See the module."""
    bottom = pretrained(data, settings)
    return on_top(bottom, inference(with_codes(data, bottom), settings, "units"))


def inference(data: TrainingData, settings: Settings, output: str) -> CommonSpaceEncoder:
    """The joint RBM, trained on the upper layers that `data` has as features, as two `MeanField`s.

    Args:
      output: what they give, "units" or "hidden".
    """
    dims = data.image.shape[1], data.text.shape[1]
    joint = RBM(settings.joint_width)
    schedule = Schedule(settings.joint_rate, settings.rbm_steps, settings.rbm_batch)
    both = np.concatenate([data.image, data.text], axis=1)
    train_rbm(joint, both, schedule, data.seed, data.progress)
    image, text = (
        MeanField(joint, dims[0], own, settings.rounds, output) for own in ("image", "text")
    )
    return CommonSpaceEncoder(Identity(dims[0]), Identity(dims[1]), image, text, None)


SYSTEM = System(
    title="M-DBN",
    citation="Srivastava and Salakhutdinov, ICML workshop on representation learning 2012",
    fidelity="reconstruction",
    similarity="cosine",
    settings=Settings,
    fit=fit,
)
