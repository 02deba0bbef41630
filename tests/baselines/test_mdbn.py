"""M-DBN: the generated side meets the real one; what every trained system must do."""

import numpy as np
import pytest

from xgacmn_tf.runs.checkpoint import load_encoder


@pytest.mark.slow
def test_same_seed_same_codes_also_after_reloading(train_small, pairs, tmp_path):
    first, second = train_small("mdbn", pairs), train_small("mdbn", pairs)
    first.save(tmp_path / "model.keras")
    loaded = load_encoder(tmp_path / "model.keras")
    for ours, again, reloaded in zip(
        *(encoder.codes(pairs.image, pairs.text) for encoder in (first, second, loaded)),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, again)
        np.testing.assert_array_equal(ours, reloaded)


def test_cosine_is_the_mean_of_both_comparisons(train_small, pairs):
    encoder = train_small("mdbn", pairs)
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
