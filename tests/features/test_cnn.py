"""VGG-19 and EfficientNet-Lite as extractors; the real VGG-19 is slow and has random weights."""

import json

import keras
import numpy as np
import pytest
from PIL import Image

from xgacmn_tf.errors import InputError
from xgacmn_tf.features import cnn, efficientnet_lite, image_extractor, load_extractor
from xgacmn_tf.features.image_preprocessing import squeeze


@pytest.fixture
def small_vgg(monkeypatch):
    """Stands for Keras Applications' VGG-19: the same ends, a pooling for all that lies between."""

    def build(weights):
        if weights != "imagenet":
            raise OSError(f"not HDF5:\n{weights}")
        pixels = keras.Input((224, 224, 3))
        pooled = keras.layers.GlobalMaxPooling2D(name="fc2")(pixels)
        return keras.Model(pixels, keras.layers.Dense(10)(pooled))

    monkeypatch.setattr(keras.applications, "VGG19", build)


def test_vgg_takes_blue_green_red_without_their_means(small_vgg):
    vgg = image_extractor("vgg19")
    picture = Image.new("RGB", (300, 100), (10, 20, 30))
    row = vgg.encode([vgg.prepare(picture)])[0]
    # Simonyan and Zisserman's means of blue, green and red, as in Caffe.
    np.testing.assert_allclose(row, [30 - 103.939, 20 - 116.779, 10 - 123.68], atol=1e-3)


def test_saved_ones_give_the_same_and_load_late(small_vgg, tmp_path, monkeypatch):
    vgg = image_extractor("vgg19")
    vgg.save(tmp_path)
    monkeypatch.undo()  # The real VGG-19 would be built if the saved network were not used.
    loaded = load_extractor(tmp_path)
    assert loaded.settings() == vgg.settings()
    assert vgg.settings() == {"weights": "hub", "preprocessing": "keras.layers.Resizing"}
    assert "network" not in vars(loaded)
    picture = vgg.prepare(Image.effect_noise((30, 30), 90).convert("RGB"))
    np.testing.assert_allclose(loaded.encode([picture]), vgg.encode([picture]), rtol=1e-6)


def test_weights_that_are_no_weights(small_vgg, tmp_path):
    with pytest.raises(InputError, match="nowhere.h5: there is no such file; .* weights of vgg19"):
        image_extractor("vgg19", str(tmp_path / "nowhere.h5")).settings()
    (tmp_path / "a.h5").write_text("x")
    with pytest.raises(InputError, match=r"a\.h5: cannot be read as VGG-19's weights \(not HDF5: "):
        _ = image_extractor("vgg19", str(tmp_path / "a.h5")).network


def test_no_network_for_vggs_weights(monkeypatch):
    def refuse(weights):
        raise OSError("no route to host")

    monkeypatch.setattr(keras.applications, "VGG19", refuse)
    with pytest.raises(InputError, match="could not be downloaded .* name the file with --image_w"):
        _ = image_extractor("vgg19").network


def test_efficientnet_lite_is_letterboxed(monkeypatch, tmp_path):
    model = efficientnet_lite.build(0)
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"any")
    monkeypatch.setattr(efficientnet_lite, "efficientnet_lite", lambda variant, path: model)
    extractor = image_extractor("efficientnet_lite0", str(weights))
    extractor.batch_size = 2
    pictures = [
        extractor.prepare(Image.effect_noise((300, 150), 90).convert("RGB")) for _ in range(3)
    ]
    assert pictures[0].shape == (224, 224, 3)
    assert (pictures[0][:50] == 255).all(), "white above and below what is wide"
    rows = extractor.encode(pictures)
    assert rows.shape == (3, cnn.EfficientNetLite.dim) == (3, 1280)
    expected = model.predict_on_batch(np.stack(pictures).astype(np.float32))
    np.testing.assert_allclose(rows, expected, atol=1e-5)


def test_a_saved_extractor_of_an_earlier_version_loads(small_vgg, tmp_path):
    vgg = image_extractor("vgg19")
    vgg.save(tmp_path)
    manifest = {"modality": "image", "name": "vgg19", "settings": {"weights": "hub"}}
    (tmp_path / "extractor.json").write_text(json.dumps(manifest))
    loaded = load_extractor(tmp_path)
    assert loaded.settings() != vgg.settings(), "their cached features must not be mixed"
    picture = Image.effect_noise((300, 30), 90).convert("RGB")
    np.testing.assert_array_equal(loaded.prepare(picture), vgg.prepare(picture))


def test_unknown_features():
    with pytest.raises(InputError, match="unknown image features 'resnet'; expected one of effici"):
        image_extractor("resnet")


@pytest.mark.slow
def test_the_real_vgg_gives_fc2(tmp_path):
    keras.utils.set_random_seed(0)
    whole = keras.applications.VGG19(weights=None)
    path = tmp_path / "vgg19.weights.h5"
    whole.save_weights(path)
    extractor = image_extractor("vgg19", str(path))
    picture = Image.effect_noise((300, 200), 90).convert("RGB")
    row = extractor.encode([extractor.prepare(picture)])
    # Keras Applications' own preprocessing is the oracle.
    pixels = squeeze(picture, 224).astype(np.float32)
    expected = keras.applications.vgg19.preprocess_input(pixels[None].copy())
    expected = keras.Model(whole.input, whole.get_layer("fc2").output).predict_on_batch(expected)
    assert row.shape == (1, 4096)
    np.testing.assert_allclose(row, expected, rtol=1e-4, atol=1e-4)
