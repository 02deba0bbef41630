"""Imports every layer of the compared systems, so that Keras knows them when a checkpoint loads."""

from xgacmn_tf.baselines import affinities, neighbour_layers, rbm, rbm_layers  # noqa: F401
from xgacmn_tf.model import layers  # noqa: F401
