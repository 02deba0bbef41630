"""The inference model: its compiled functions."""

import logging

import numpy as np
import tensorflow as tf

from xgacmn_tf.runs.checkpoint import load_encoder
from xgacmn_tf.runs.folder import RunFolder


def test_encoders_are_traced_once_for_any_number_of_rows(finished_run, caplog, monkeypatch):
    """TensorFlow warns where functions are traced again and again."""
    encoder = load_encoder(RunFolder(finished_run[0]).best)
    traced = []
    encode = type(encoder).encode
    monkeypatch.setattr(
        type(encoder),
        "encode",
        lambda self, modality, features: (
            traced.append((modality, features.shape[0])) or encode(self, modality, features)
        ),
    )
    logger = tf.get_logger()
    monkeypatch.setattr(logger, "propagate", True)
    with caplog.at_level(logging.WARNING, logger.name):
        # As many encoders as a run makes of shared layers.
        for _ in range(6):
            encoder = encoder.replaced()
            for modality in ("image", "text"):
                dim = getattr(encoder, f"{modality}_map").input_dim
                for rows in (3, 1, 1030):
                    features = np.ones((rows, dim), np.float32)
                    assert len(encoder.encodings_of(modality, features)) == rows
    assert traced == [("image", None), ("text", None)] * 6
    assert not caplog.records
