"""Imports every layer of the compared systems, so that Keras knows them when a checkpoint loads."""

from xgacmn_tf.baselines import layers  # noqa: F401
