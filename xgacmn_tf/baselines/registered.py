"""Imports every layer of the compared systems, so that Keras knows them when a checkpoint loads."""

from xgacmn_tf.baselines import affinities, layers, neighbour_layers, rbm, rbm_layers  # noqa: F401
