"""Encoders as ONNX files: TensorFlow's numbers, what lower precisions lose, whole folders only."""

import json
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

reason = "pip install xgacmn_tf[onnx]"
onnx = pytest.importorskip("onnx", reason=reason)
onnxruntime = pytest.importorskip("onnxruntime", reason=reason)
pytest.importorskip("tf2onnx", reason=reason)

from xgacmn_tf import datasets  # noqa: E402
from xgacmn_tf.commands import export  # noqa: E402
from xgacmn_tf.errors import InputError  # noqa: E402
from xgacmn_tf.export import onnx_readme  # noqa: E402
from xgacmn_tf.export.onnx_files import export_onnx  # noqa: E402
from xgacmn_tf.export.onnx_graphs import encoder_graphs  # noqa: E402
from xgacmn_tf.io.files import write_json  # noqa: E402
from xgacmn_tf.model.angular_softmax import AngularSoftmax, PlainSoftmax  # noqa: E402
from xgacmn_tf.model.encoders import CommonSpaceEncoder  # noqa: E402
from xgacmn_tf.model.input_maps import Identity  # noqa: E402
from xgacmn_tf.model.layers import Affine, Posteriors  # noqa: E402
from xgacmn_tf.runs.checkpoint import load_encoder  # noqa: E402
from xgacmn_tf.runs.folder import RunFolder  # noqa: E402
from xgacmn_tf.settings.config import Config  # noqa: E402


def answers(model, **features):
    """Outputs by name of a model (a path, or the model itself)."""
    content = model if hasattr(model, "SerializeToString") else onnx.load(str(model))
    session = onnxruntime.InferenceSession(content.SerializeToString())
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, features), strict=True))


def weights(model):
    return {x.name: onnx.numpy_helper.to_array(x) for x in model.graph.initializer}


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    """The folder of each precision."""
    folder = tmp_path_factory.mktemp("onnx")
    for precision in ("float32", "float16", "int8"):
        export_onnx(run, folder / precision, precision, max_map_loss=1)
    return folder


def test_files_give_tensorflows_numbers(run, exported, feature_file):
    encoder = load_encoder(RunFolder(run).best)
    report = json.loads((exported / "float32" / "report.json").read_text())
    with np.load(feature_file) as arrays:
        features = {m: arrays[f"{m}_test"].astype(np.float32) for m in ("image", "text")}
    codes = {modality: encoder.encodings_of(modality, x) for modality, x in features.items()}
    similarities = {"embedding": "cosine", "posterior": "posterior", "search": "item"}
    for modality, x in features.items():
        path = exported / "float32" / f"encode_{modality}.onnx"
        for rows in (0, 1, 30):
            outputs = answers(path, **{f"{modality}_features": x[:rows]})
            assert sorted(outputs) == sorted(similarities)
            for name, similarity in similarities.items():
                expected = encoder.represent(codes[modality], similarity, modality)[:rows]
                assert outputs[name].dtype == np.float32
                np.testing.assert_allclose(outputs[name], expected, atol=1e-5, rtol=0)
        difference = np.abs(outputs["embedding"] - encoder.represent(codes[modality], "cosine"))
        told = report["largest_difference"][f"encode_{modality}"]["embedding"]
        assert told == pytest.approx(difference.max(), abs=1e-6) and told <= 1e-5


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_gives_nan_and_no_other_row_does(exported, precision, value):
    """Quantized inputs are clipped, which would make a sound-looking code of it."""
    for modality, dim in (("image", 8), ("text", 5)):
        features = np.ones((3, dim), np.float32)
        sound = answers(
            exported / precision / f"encode_{modality}.onnx", **{f"{modality}_features": features}
        )
        features[1, 2] = value
        outputs = answers(
            exported / precision / f"encode_{modality}.onnx", **{f"{modality}_features": features}
        )
        for name, values in outputs.items():
            assert np.isnan(values[1]).all()
            np.testing.assert_array_equal(values[[0, 2]], sound[name][[0, 2]])


def test_reports_tell_what_the_run_scored(run, exported):
    scored = RunFolder(run).read_metrics()["test"]
    for precision in ("float32", "float16", "int8"):
        report = json.loads((exported / precision / "report.json").read_text())
        assert sorted(report["mAP"]) == ["cosine", "item", "posterior"]
        for similarity, scores in report["mAP"].items():
            assert scores["tensorflow"] == pytest.approx(scored[similarity]["mAP"], abs=1e-6)
            # Half precision and bytes rank these 30 pairs a little differently.
            off = {"float32": 1e-6, "float16": 0.01, "int8": 0.1}[precision]
            assert scores["onnx"] == pytest.approx(scores["tensorflow"], abs=off)
        sizes = {s: cost["bytes"] for s, cost in report["costs"].items()}
        files = {s: (exported / precision / f"{s}.onnx").stat().st_size for s in sizes}
        assert sizes == files
        assert ("float32_costs" in report) == (precision != "float32")
        readme = (exported / precision / "README.md").read_text(encoding="utf-8")
        assert f"# Encoders in ONNX, {precision}\n" in readme
        assert "| input | `text_features` | (n, 5) float32 |" in readme
        assert "| output | `posterior` | (n, 3) float32 |" in readme
        assert f"{report['mAP']['posterior']['onnx']['i2t']:.4f}" in readme
        assert str(run) not in readme + json.dumps(report)


@pytest.mark.parametrize(
    "image_map, layer",
    [
        ("zscore", None),
        ("hellinger", PlainSoftmax),
        ("chi2", AngularSoftmax),
        ("none", AngularSoftmax),
        ("rbf", AngularSoftmax),
        ("rank", PlainSoftmax),
        ("whiten", None),
    ],
)
def test_every_map_and_class_layer(pairs, make_run, tmp_path, image_map, layer):
    """The texts' map is tf-idf throughout; their first row has no word at all."""
    pairs.test.text[0] = 0
    config = Config.of(dataset="gone.npz")
    folder, encoder = make_run(
        tmp_path / "run", pairs, config, "cosine", image_map, layer and layer(3)
    )
    graphs = encoder_graphs(folder.best, "float32", {})
    for modality, codes in zip(
        graphs, encoder.codes(pairs.test.image, pairs.test.text), strict=True
    ):
        features = getattr(pairs.test, modality)
        outputs = answers(graphs[modality], **{f"{modality}_features": features})
        assert ("posterior" in outputs) == (layer is not None)
        for name, similarity in (("embedding", "cosine"), ("posterior", "posterior")):
            if name in outputs:
                expected = encoder.represent(codes, similarity, modality)
                np.testing.assert_allclose(outputs[name], expected, atol=1e-5, rtol=0)


def test_half_precision_is_the_networks_alone(pairs, make_run, tmp_path):
    # Half precision ends at 65,504, and so do not the features; z-scores bring them down.
    pairs.train.image[:] *= 1e6
    pairs.test.image[:] *= 1e6
    folder, encoder = make_run(tmp_path / "run", pairs, Config.of(dataset="gone.npz"))
    graph = encoder_graphs(folder.best, "float16", {})["image"]
    kinds = {(array.dtype.name, array.shape) for array in weights(graph).values()}
    assert {("float16", (4, 9)), ("float16", (9, 4)), ("float32", (4,))} <= kinds
    assert ("float32", (4, 9)) not in kinds
    embedding = answers(graph, image_features=pairs.test.image)["embedding"]
    expected = encoder.represent(encoder.codes_of("image", pairs.test.image), "cosine")
    # Of half precision's 11 bits a few layers cost two.
    np.testing.assert_allclose(embedding, expected, atol=2e-3, rtol=0)


def test_bytes_are_scaled_by_training_rows(pairs, make_run, tmp_path):
    folder, _ = make_run(tmp_path / "run", pairs, Config.of(dataset="gone.npz"), image_map="none")
    training = {"image": pairs.train.image * 3 - 5, "text": pairs.train.text}
    graph = encoder_graphs(folder.best, "int8", training)["image"]
    (first,) = [
        node
        for node in graph.graph.node
        if node.op_type == "QuantizeLinear" and node.input[0] == "image_features"
    ]
    # By hand: 0 … 6 becomes −5 … 13, 255 steps of a byte.
    assert weights(graph)[first.input[1]] == pytest.approx(18 / 255)
    assert "int8" in {array.dtype.name for array in weights(graph).values()}


def test_bytes_of_a_row_do_not_depend_on_its_neighbours(exported, feature_file):
    with np.load(feature_file) as arrays:
        x = arrays["image_test"].astype(np.float32)
    path = exported / "int8" / "encode_image.onnx"
    alone = answers(path, image_features=x[:1])["embedding"]
    among = answers(path, image_features=np.concatenate([x[:1], 100 * x]))["embedding"]
    np.testing.assert_allclose(alone[0], among[0], atol=1e-6, rtol=0)


@keras.saving.register_keras_serializable("test")
class Strange(keras.layers.Layer):
    """Has an operation that ONNX lacks, or one that no two libraries agree about."""

    def __init__(self, kind, **kwargs):
        super().__init__(**kwargs)
        self.kind = kind

    def call(self, x):
        return tf.math.lgamma(x) if self.kind == "lacking" else x + tf.random.uniform(tf.shape(x))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "kind": self.kind}


@pytest.fixture
def known_run(tmp_path):
    """Makes a run whose codes are its features: noisy one-hot rows of 4 classes."""

    def make(image_network=None, class_layer=None, similarity="cosine", wild=0.0):
        noise = np.random.default_rng(0)
        arrays = {}
        for part, rows in (("train", 40), ("test", 40)):
            arrays[f"label_{part}"] = np.arange(rows) % 4
            for m in ("image", "text"):
                one_hot = np.eye(4)[arrays[f"label_{part}"]]
                arrays[f"{m}_{part}"] = one_hot + 0.1 * noise.normal(size=(rows, 4))
        arrays["image_train"][0] += wild
        np.savez(tmp_path / "known.npz", **arrays)
        config = Config.of(dataset=str(tmp_path / "known.npz"), validation_fraction=0)
        folder = RunFolder(tmp_path / "known")
        folder.claim(config, datasets.for_config(config).fingerprint)
        networks = image_network or Affine.of(np.eye(4)), Affine.of(np.eye(4))
        CommonSpaceEncoder(Identity(4), Identity(4), *networks, class_layer).save(folder.best)
        write_json(folder.metrics, {"headline_similarity": similarity})
        return folder.path

    return make


def test_bytes_that_lose_too_much_are_not_written(known_run, tmp_path):
    # One wild training row leaves all others a single step of the byte.
    path = known_run(wild=1e6)
    with pytest.raises(InputError, match=r"int8 loses 0\.[2-8]\d* of the test .* cosine i2t mAP"):
        export_onnx(path, tmp_path / "new" / "out", "int8")
    assert not (tmp_path / "new").exists()
    report = export_onnx(path, tmp_path / "new" / "out", "int8", max_map_loss=1)
    assert report["mAP"]["cosine"]["tensorflow"]["i2t"] > 0.99
    assert report["mAP"]["cosine"]["onnx"]["i2t"] < 0.8


def test_weights_beyond_half_precision(known_run, tmp_path):
    path = known_run(Affine.of(1e6 * np.eye(4)))
    with pytest.raises(InputError, match="encode_image: numbers exceed the range of this --prec"):
        export_onnx(path, tmp_path / "out", "float16", max_map_loss=1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "kind, message",
    [("lacking", "image encoder cannot be written as ONNX"), ("random", "differ from TensorFlow")],
)
def test_encoders_that_onnx_does_not_give_back(known_run, tmp_path, kind, message):
    with pytest.raises(InputError, match=message) as raised:
        export_onnx(known_run(Strange(kind)), tmp_path / "out", max_map_loss=1)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_a_run_that_ranks_by_dot_product(known_run, tmp_path):
    path = known_run(class_layer=Posteriors(), similarity="dot")
    export_onnx(path, tmp_path / "out")
    readme = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "The run ranks by `dot`, which needs the codes' lengths" in readme


def test_an_interrupted_export_leaves_nothing(run, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(onnx_readme, "readme", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export_onnx(run, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_exports_that_cannot_be_made(known_run, tmp_path, monkeypatch):
    path = known_run()
    for arguments, message in (
        ((path, tmp_path, "float32"), "exists and is not empty"),
        ((tmp_path, tmp_path / "out"), "there is no finished run"),
        ((path, tmp_path / "out", "int4"), "expected one of float32, float16, int8"),
        ((path, tmp_path / "out", "int8", -0.1), "expected at least 0"),
        ((path, tmp_path / "out", "int8", float("nan")), "expected at least 0"),
        ((path, tmp_path / "known.npz" / "out"), "cannot be written"),
    ):
        with pytest.raises(InputError, match=message):
            export_onnx(*arguments)
    with np.load(tmp_path / "known.npz") as arrays:
        np.savez(tmp_path / "known.npz", **{**arrays, "text_test": arrays["text_test"] + 1})
    with pytest.raises(InputError, match="was trained on other contents"):
        export_onnx(path, tmp_path / "out")
    monkeypatch.setitem(sys.modules, "tf2onnx", None)  # as if it were not installed
    with pytest.raises(InputError, match=r'tf2onnx.* need pip install "xgacmn_tf\[onnx\]"'):
        export_onnx(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command(known_run, tmp_path, capsys):
    (tmp_path / "out").mkdir()  # empty, so it may be used
    arguments = [f"--run={known_run()}", f"--output={tmp_path / 'out'}", "--format=onnx"]
    export.main(["", *arguments, "--precision=float16"])
    assert capsys.readouterr().out == f"{tmp_path / 'out'}\n"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "README.md", "encode_image.onnx", "encode_text.onnx", "report.json",
    ]  # fmt: skip
    for wrong in (arguments, ["--precision=int4"], ["--what=1"], ["stray"], arguments[:1]):
        with pytest.raises(SystemExit) as stopped:
            export.main(["", *wrong])
        output, error = capsys.readouterr()
        assert stopped.value.code == 2 and not output and error.startswith("error: "), wrong
