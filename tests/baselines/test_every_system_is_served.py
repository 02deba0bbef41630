"""Every compared system, trained and exported by the training command, answers as in process."""

import numpy as np
import pytest
import tensorflow as tf

from xgacmn_tf import baselines, experiment
from xgacmn_tf.names import SYSTEMS
from xgacmn_tf.runs.checkpoint import load_encoder
from xgacmn_tf.settings.config import Config

# One trained by a loop, one linear and one of posteriors.
FAST = ("acmr", "cca", "kernel_posteriors")


@pytest.mark.parametrize(
    "name",
    [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in SYSTEMS],
)
def test_served_as_in_process(name, small_settings, feature_file, tmp_path):
    if name == "raw":
        pytest.skip("raw features are of one length, and these are of two")
    config = Config.of(
        model=name, model_settings=small_settings[name], dataset=str(feature_file),
        output_dir=str(tmp_path),
    )  # fmt: skip
    metrics = experiment.run(config)
    headline = metrics["headline_similarity"]
    assert headline == baselines.system(name).similarity
    encoder = load_encoder(tmp_path / "checkpoints" / "best.keras")
    served = tf.saved_model.load(str(tmp_path / "models" / name / "1")).signatures
    with np.load(feature_file) as arrays:
        image, text = (arrays[f"{m}_test"].astype(np.float32) for m in ("image", "text"))
        # What is searched: all items.
        texts = np.concatenate([arrays["text_train"], arrays["text_test"]]).astype(np.float32)
    for modality, features in (("image", image), ("text", text)):
        outputs = served[f"encode_{modality}"](**{f"{modality}_features": tf.constant(features)})
        expected = encoder.represent(encoder.codes_of(modality, features), "cosine")
        np.testing.assert_allclose(outputs["embedding"], expected, atol=1e-6)
    found = served["search_texts_by_image"](image_features=tf.constant(image))
    v, t = encoder.represent_pairs(image, texts, headline)
    scores = np.sort(np.asarray(v, np.float64) @ np.asarray(t, np.float64).T)[:, ::-1][:, :10]
    np.testing.assert_allclose(found["scores"], scores, rtol=1e-5, atol=1e-5)
