"""Two towers with a symmetric InfoNCE loss, as in CLIP; beyond the paper.

Radford et al., "Learning transferable visual models from natural language supervision", ICML 2021;
the loss is that of van den Oord et al. 2018, over the pairs of a batch in both directions.

Objective, for unit codes v_i and t_i of the pairs of a batch and s_ij = v_i·t_j / τ:
  ½ mean_i (log Σ_j e^{s_ij} + log Σ_j e^{s_ji} − 2 s_ii)
where j leaves out other pairs that share an image, a text or a group with pair i.

Training does not read categories, and neither does the choice of the input maps. Only the choice of
the epoch does, by validation mAP, as for all other systems. The towers, the loss and the defaults
are those of X-GACMN's item embeddings (`model.item_towers`), whose epoch is chosen by R@10 instead.

Fidelity: beyond the paper; trained from scratch on extracted features, with a fixed τ.
"""

import dataclasses

import tensorflow as tf

from xgacmn_tf.baselines import System, TrainingData
from xgacmn_tf.baselines.epochs import train_epochs
from xgacmn_tf.baselines.settings import MapSettings
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.model.item_towers import ItemTowers, TowerSettings, pair_keys
from xgacmn_tf.model.map_choice import fit_maps
from xgacmn_tf.settings.fields import setting
from xgacmn_tf.settings.xgacmn_sections import ItemSettings, TrainingSettings


@dataclasses.dataclass(frozen=True)
class Settings(MapSettings):
    """Settings; the symbols are those of the module's formula."""

    epochs: int = setting(40, "maximum number of epochs", minimum=1)
    # A single pair has no negative.
    batch_size: int = setting(ItemSettings.item_batch_size, "pairs in a batch", minimum=2)
    learning_rate: float = setting(ItemSettings.item_learning_rate, "learning rate", minimum=0)
    hidden: int = setting(ItemSettings.item_hidden[0], "units of the hidden layers", minimum=1)
    code_dim: int = setting(ItemSettings.item_dim, "dimension of the common space", minimum=1)
    dropout: float = setting(
        ItemSettings.item_dropout, "dropout after the hidden layer", minimum=0, maximum=0.99
    )
    temperature: float = setting(ItemSettings.item_temperature, "τ", minimum=0.001)
    average_decay: float = setting(
        TrainingSettings.average_decay,
        "decay of the moving average of the weights that is evaluated",
        minimum=0,
        maximum=0.99999,
    )


def fit(data: TrainingData, settings: Settings) -> CommonSpaceEncoder:
    """Return the encoder trained on the training pairs."""
    maps = fit_maps(settings, data.image, data.text, label=None)
    towers = ItemTowers(
        {"image": maps[0].output_dim, "text": maps[1].output_dim},
        TowerSettings(
            hidden=(settings.hidden,),
            dim=settings.code_dim,
            dropout=settings.dropout,
            temperature=settings.temperature,
            learning_rate=settings.learning_rate,
            average_decay=settings.average_decay,
            members=1,
        ),
    )
    encoder = CommonSpaceEncoder(*maps, towers.averaged["image"], towers.averaged["text"], None)

    def step(image: tf.Tensor, text: tf.Tensor, key: tf.Tensor, share: tf.Tensor) -> None:
        del share
        towers.step({"image": maps[0](image), "text": maps[1](text), "key": key})

    # The towers receive keys instead of targets, which they do not learn from.
    key = pair_keys(data.image, data.text, data.group)
    keyed = dataclasses.replace(data, targets=key)
    train_epochs(step, keyed, encoder, settings.epochs, settings.batch_size)
    return encoder


GRID = {"temperature": (0.05, 0.1, 0.2), "dropout": (0.3, 0.6)}
CITATION = "Radford et al., ICML 2021"
SYSTEM = System(
    "Two towers (InfoNCE)", CITATION, "beyond the paper", "cosine", Settings, fit, grid=GRID
)
