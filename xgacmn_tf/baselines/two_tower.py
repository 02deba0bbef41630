"""Two towers under a symmetric InfoNCE loss, as in CLIP. Not in the paper.

Radford et al., "Learning transferable visual models from natural language supervision", ICML 2021;
the loss is that of van den Oord et al. 2018, over the pairs of a batch in both directions.

Objective, for unit codes v_i and t_i of the pairs of a batch and s_ij = v_i·t_j / τ:
  ½ mean_i (log Σ_j e^{s_ij} + log Σ_j e^{s_ji} − 2 s_ii)
where j leaves out other pairs that share an image, a text or a group with pair i.

Training reads no category: only the choice of the epoch does, which is by validation mAP as for all
other systems. The towers, the loss and the defaults are those of X-GACMN's item embeddings
(`model.item_towers`), whose epoch is chosen by R@10 instead.

Fidelity: beyond the paper; trained from scratch on extracted features, with a fixed τ.
"""

import dataclasses

import tensorflow as tf

from xgacmn_tf.baselines import System, TrainingData
from xgacmn_tf.baselines.checks import check_at_least
from xgacmn_tf.baselines.epochs import train_epochs
from xgacmn_tf.baselines.input_maps import MapSettings
from xgacmn_tf.errors import InputError
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.model.item_towers import ItemTowers, pair_keys
from xgacmn_tf.model.map_choice import fit_maps
from xgacmn_tf.settings.config import ItemSettings, TrainingSettings


@dataclasses.dataclass(frozen=True)
class Settings(MapSettings):
    """hidden, code_dim: widths of each tower. dropout: after the hidden layer. temperature: τ.
    average_decay: decay of the moving average of the weights that is evaluated.
    """

    epochs: int = 40
    batch_size: int = ItemSettings.item_batch_size
    learning_rate: float = ItemSettings.item_learning_rate
    hidden: int = ItemSettings.item_hidden[0]
    code_dim: int = ItemSettings.item_dim
    dropout: float = ItemSettings.item_dropout
    temperature: float = ItemSettings.item_temperature
    average_decay: float = TrainingSettings.average_decay

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, epochs=self.epochs)
        # One pair has no negative.
        check_at_least(2, batch_size=self.batch_size)
        check_at_least(1, hidden=self.hidden, code_dim=self.code_dim)
        check_at_least(0, learning_rate=self.learning_rate)
        check_at_least(0.001, temperature=self.temperature)
        for name in ("dropout", "average_decay"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise InputError(
                    f"--model_settings={name}={value}: expected at least 0 and below 1"
                )


def fit(data: TrainingData, settings: Settings) -> CommonSpaceEncoder:
    """See the module."""
    maps = fit_maps(settings, data.image, data.text)
    towers = ItemTowers(
        {"image": maps[0].output_dim, "text": maps[1].output_dim},
        hidden=(settings.hidden,),
        dim=settings.code_dim,
        dropout=settings.dropout,
        temperature=settings.temperature,
        learning_rate=settings.learning_rate,
        average_decay=settings.average_decay,
    )
    encoder = CommonSpaceEncoder(*maps, towers.averaged["image"], towers.averaged["text"], None)

    def step(image: tf.Tensor, text: tf.Tensor, key: tf.Tensor, share: tf.Tensor) -> None:
        del share
        towers.step({"image": maps[0](image), "text": maps[1](text), "key": key})

    # Keys in place of the targets, which the towers do not learn from.
    key = pair_keys(data.image, data.text, data.group)
    unlabelled = dataclasses.replace(data, targets=key)
    train_epochs(unlabelled, encoder, step, settings.epochs, settings.batch_size, "cosine")
    return encoder


SYSTEM = System(
    title="Two towers (InfoNCE)",
    citation="Radford et al., ICML 2021",
    fidelity="beyond the paper",
    similarity="cosine",
    settings=Settings,
    fit=fit,
    grid={"temperature": (0.05, 0.1, 0.2), "dropout": (0.3, 0.6)},
)
