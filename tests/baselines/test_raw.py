import dataclasses

import numpy as np
import pytest

from xgacmn_tf import baselines
from xgacmn_tf.baselines.raw import Settings, fit
from xgacmn_tf.errors import InputError
from xgacmn_tf.runs.checkpoint import load_encoder


def test_codes_are_the_features(pairs, tmp_path):
    data = dataclasses.replace(pairs, text=pairs.image[::-1])
    encoder = fit(data, Settings())
    assert encoder.similarities() == ("cosine", "dot")
    encoder.save(tmp_path / "model.keras")
    for model in (encoder, load_encoder(tmp_path / "model.keras")):
        image, text = model.codes(data.image, data.text)
        np.testing.assert_array_equal(image, data.image)
        np.testing.assert_array_equal(text, data.text)


def test_a_text_of_zeros_is_like_nothing(pairs):
    encoder = fit(dataclasses.replace(pairs, text=pairs.image), Settings())
    codes = encoder.codes_of("text", np.zeros((2, 8), np.float32))
    np.testing.assert_array_equal(encoder.represent(codes, "cosine"), np.zeros((2, 8)))


def test_features_of_different_lengths_are_refused(pairs):
    with pytest.raises(InputError, match="images have 8 and texts 5; it needs both in one space"):
        fit(pairs, Settings())


def test_it_has_no_settings():
    with pytest.raises(InputError, match="--model=raw has the settings none"):
        baselines.parse_settings("raw", ("c=1",))
