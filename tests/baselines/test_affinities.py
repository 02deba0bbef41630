import keras
import numpy as np

from xgacmn_tf.baselines.affinities import GaussianAffinities


def test_by_hand():
    layer = GaussianAffinities.of(np.array([[0.0, 0.0], [3.0, 4.0]]), width=5.0)
    values = keras.ops.convert_to_numpy(layer(np.array([[0.0, 0.0]], np.float32)))
    # Distances 0 and 5, so that 25 / (2 · 25) = ½ for the second.
    np.testing.assert_allclose(values, [[1.0, np.exp(-0.5)]], atol=1e-6)


def test_far_from_the_origin_and_next_to_a_centre():
    centres = 1000 + np.random.default_rng(0).normal(size=(4, 3))
    layer = GaussianAffinities.of(centres, width=1.0)
    x = np.float32(centres)
    square = np.square(x[:, None].astype(np.float64) - x[None]).sum(axis=-1)
    np.testing.assert_allclose(layer(x), np.exp(-square / 2), atol=1e-4)
