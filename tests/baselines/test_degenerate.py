"""Every compared system on data with something about them that may trip one up."""

import dataclasses

import numpy as np
import pytest

from xgacmn_tf import baselines, names
from xgacmn_tf.errors import InputError

# Seconds to trace, and other tests train them on such data, or systems with the same layers.
SLOW = (
    *("acmr", "bimodal_ae", "cmdn", "corr_ae", "kernel_posteriors", "mdbn", "supcon"),
    "two_tower",
)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in names.SYSTEMS],
)
def test_codes_and_what_they_are_ranked_by_are_finite(name, train_small, degenerate):
    data, system = degenerate, baselines.system(name)
    if name == "raw":
        missing = data.image.shape[1] - data.text.shape[1]
        data = dataclasses.replace(data, text=np.pad(data.text, ((0, 0), (0, missing))))
    if name in names.CHOOSE_AN_EPOCH:
        data = dataclasses.replace(data, validation=(data.image, data.text, data.targets))
    if system.transductive:
        data = dataclasses.replace(data, unlabelled=(data.image, data.text))
    if name == "kernel_posteriors" and len(data.image) == 2:
        # One pair of each class: none is left to validate on.
        with pytest.raises(InputError, match="no class has two training pairs"):
            train_small(name, data)
        return
    encoder = train_small(name, data)
    image, text = encoder.codes(data.image, data.text)
    assert len(image) == len(text) == len(data.targets) and image.shape[1] == text.shape[1]
    assert system.similarity in encoder.similarities()
    for similarity in encoder.similarities():
        for modality, codes in (("image", image), ("text", text)):
            assert np.isfinite(encoder.represent(codes, similarity, modality)).all()
