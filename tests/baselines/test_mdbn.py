"""M-DBN: the generated side meets the real one; what every trained system must do."""

import keras
import numpy as np
import pytest

from xgacmn_tf import baselines
from xgacmn_tf.encoders import load_encoder

SMALL = ("rbm_steps=4", "widths=6x5", "joint_width=4")


def trained(data, given=SMALL):
    keras.utils.set_random_seed(0)
    return baselines.system("mdbn").fit(data, baselines.parse_settings("mdbn", given))


def test_same_seed_same_codes_also_after_reloading(pairs, tmp_path):
    first, second = trained(pairs), trained(pairs)
    first.save(tmp_path / "model.keras")
    loaded = load_encoder(tmp_path / "model.keras")
    for ours, again, reloaded in zip(
        *(encoder.codes(pairs.image, pairs.text) for encoder in (first, second, loaded)),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, again)
        np.testing.assert_array_equal(ours, reloaded)


def test_cosine_is_the_mean_of_both_comparisons(pairs):
    encoder = trained(pairs)
    image, text = (codes.numpy() for codes in encoder.codes(pairs.image, pairs.text))
    # [own or generated image layer (5), own or generated text layer (5)], each of unit length.
    for side in (image[:, :5], image[:, 5:], text[:, :5], text[:, 5:]):
        np.testing.assert_allclose(np.linalg.norm(side, axis=1), 1, atol=1e-5)
    real_images = encoder.image_encoder.layers[0](encoder.image_map(pairs.image)).numpy()
    expected = real_images / np.linalg.norm(real_images, axis=1, keepdims=True)
    np.testing.assert_allclose(image[:, :5], expected, atol=1e-5)
    as_images = image[:, :5] @ text[:, :5].T
    as_texts = image[:, 5:] @ text[:, 5:].T
    v, t = (encoder.represent(codes, "cosine").numpy() for codes in (image, text))
    np.testing.assert_allclose(v @ t.T, (as_images + as_texts) / 2, atol=1e-5)


@pytest.mark.slow
def test_degenerate_data_give_finite_codes(degenerate):
    for codes in trained(degenerate).codes(degenerate.image, degenerate.text):
        assert np.isfinite(codes).all()
