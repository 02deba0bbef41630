"""Registration of all layers of the compared systems with Keras, for loading checkpoints."""

from xgacmn_tf.baselines import affinities, neighbour_layers, rbm, rbm_layers  # noqa: F401
from xgacmn_tf.model import layers  # noqa: F401
