"""TensorBoard writers and the stop on divergence, read back with TensorBoard's own readers."""

import io
import json
import urllib.parse
import urllib.request

import keras
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from PIL import Image
from tensorboard import program
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins import projector
from tensorboard.plugins.hparams import plugin_data_pb2

from tests.log_lines import logged_lines
from xgacmn_tf.errors import DivergenceError, InputError
from xgacmn_tf.report import projector as projector_module
from xgacmn_tf.report.example_images import _wrapped, draw_examples
from xgacmn_tf.report.examples import GRADES, Example, Hit
from xgacmn_tf.report.projector import write_projector
from xgacmn_tf.report.tensorboard import shown_settings, write_hparams
from xgacmn_tf.settings.config import Config
from xgacmn_tf.training.callbacks import (
    ProfileEpoch,
    ReportImbalance,
    ScalarBoard,
    StopOnNonFinite,
    board_tag,
    logged_name,
)


def run(callbacks, history, replayed=0, model=None):
    """What the training loop does: replays the epochs of before, then runs the others."""
    watchers = keras.callbacks.CallbackList(callbacks, model=model)
    watchers.on_train_begin()
    for k, logs in enumerate(history):
        if k >= replayed:
            watchers.on_epoch_begin(k)
        watchers.on_epoch_end(k, logs)
    watchers.on_train_end()


def read(folder) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    accumulator.Reload()
    return accumulator


def scalars(folder, tag) -> list[tuple[int, float]]:
    return [
        (event.step, float(tf.make_ndarray(event.tensor_proto)))
        for event in read(folder).Tensors(tag)
    ]


def test_scalars_are_written_at_their_epoch(tmp_path):
    run(
        [ScalarBoard(tmp_path)],
        [
            {"epoch": 1.0, "step": 10.0, "D/loss": 1.5},
            {"epoch": 2.0, "step": 20.0, "D/loss": 0.75, "validation/mAP/i2t": 0.25},
        ],
    )
    assert scalars(tmp_path, "4 D/loss") == [(1, 1.5), (2, 0.75)]
    assert scalars(tmp_path, "1 validation/mAP/i2t") == [(2, 0.25)]
    tags = sorted(read(tmp_path).Tags()["tensors"])
    assert tags == ["1 validation/mAP/i2t", "4 D/loss", "9 step"]


def test_tags_sort_by_reading_order_and_give_their_names_back():
    names = [
        "validation/mAP/avg", "test/mAP/avg", "G/loss", "D/loss", "angle/image", "item/loss",
        "learning_rate/G", "margin_weight", "step",
    ]  # fmt: skip
    tags = [board_tag(name) for name in names]
    assert tags == sorted(tags)
    assert [logged_name(tag) for tag in tags] == names
    # As earlier versions wrote it.
    assert logged_name("validation/mAP/avg") == "validation/mAP/avg"


def test_a_resumed_run_has_one_point_an_epoch_and_leaves_other_files_alone(tmp_path):
    other = tmp_path / "events.out.tfevents.1.elsewhere.v2"
    other.write_bytes(b"")
    killed = [{"epoch": float(e), "G/loss": float(e)} for e in (1, 2, 3)]
    run([ScalarBoard(tmp_path)], killed)
    # The checkpoint was of epoch 1; epochs 2 and 3 ran again.
    resumed = [killed[0], {"epoch": 2.0, "G/loss": 20.0}, {"epoch": 3.0, "G/loss": 30.0}]
    run([ScalarBoard(tmp_path)], resumed, replayed=1)
    assert scalars(tmp_path, "3 G/loss") == [(1, 1.0), (2, 20.0), (3, 30.0)]
    assert other.exists()


def test_scalars_are_on_disk_after_each_epoch(tmp_path):
    board = ScalarBoard(tmp_path)
    board.on_train_begin()
    board.on_epoch_end(0, {"G/loss": 0.5})
    assert scalars(tmp_path, "3 G/loss") == [(1, 0.5)]


def test_histograms_only_of_epochs_that_run(tmp_path):
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2, name="dense")])
    run([ScalarBoard(tmp_path, histograms=True)], [{}, {}, {}], replayed=2, model=model)
    accumulator = read(tmp_path)
    tags = accumulator.Tags()["tensors"]
    assert len(tags) == 2 and all("dense" in tag for tag in tags)
    for tag in tags:
        assert [event.step for event in accumulator.Tensors(tag)] == [3]
    kernel = next(tag for tag in tags if "kernel" in tag)
    # Rows of (left, right, count): all 3 × 2 weights are counted.
    bins = tf.make_ndarray(accumulator.Tensors(kernel)[0].tensor_proto)
    assert bins[:, 2].sum() == 6


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_non_finite_term_stops_the_run_by_name(value):
    logs = {"D/loss": 1.0, "G/pair": value, "G/loss": float("nan")}
    with pytest.raises(DivergenceError, match=r"epoch 7: G/pair is .*and G/loss.*learning_rate"):
        StopOnNonFinite().on_epoch_end(6, logs)
    assert issubclass(DivergenceError, RuntimeError)
    StopOnNonFinite().on_epoch_end(6, {"D/loss": 1.0, "angle/image": 0.0})


def test_discriminator_that_wins_is_reported_once():
    wins = [0.5, 0.995, 0.995, 0.5, *[0.999] * 12]
    callback = ReportImbalance()
    with logged_lines() as lines:
        run([callback], [{"D/image_accuracy": x, "G/loss": 1.0} for x in wins])
    (warning,) = callback.warnings
    assert lines == [f"warning: {warning}"]
    assert warning.startswith("epoch 9: a discriminator has won (D/image_accuracy over 0.99")
    balanced = ReportImbalance()
    run([balanced], [{"D/image_accuracy": 0.98, "D/common_accuracy": 0.0}] * 30)
    assert balanced.warnings == []


def test_codes_that_collapse_are_reported_once():
    callback = ReportImbalance()
    spreads = [0.8, 0.3, 0.009, 0.001]
    run(
        [callback],
        [{"validation/spread/text": x, "validation/spread/image": 0.5} for x in spreads],
    )
    (warning,) = callback.warnings
    assert warning.startswith("epoch 3: all text codes point the same way")
    assert warning.endswith("try a lower --lambda_1 or --generator_learning_rate")


def test_codes_of_unusable_inputs_are_not_blamed_on_the_settings():
    callback = ReportImbalance({"text": "all 100 text features are constant"})
    run([callback], [{"validation/spread/text": 0.0}])
    (warning,) = callback.warnings
    assert warning.endswith("the cause is the input: all 100 text features are constant")


def test_profile_of_one_epoch(tmp_path):
    callback = ProfileEpoch(tmp_path, epoch=2)
    run([callback], [{}])
    assert not list(tmp_path.rglob("*.xplane.pb"))
    run([callback], [{}, {}, {}], replayed=2)
    assert not list(tmp_path.rglob("*.xplane.pb"))
    run([callback], [{}, {}, {}])
    assert len(list(tmp_path.rglob("*.xplane.pb"))) == 1


def test_hparams_hold_settings_and_results(tmp_path):
    settings = {
        "dataset": "emoji",
        "epochs": 24,
        "jit": False,
        "lr": 0.5,
        "name": "x",
        "none": None,
        "t": (5, 1),
    }
    with tf.summary.create_file_writer(str(tmp_path)).as_default(step=0):
        write_hparams(settings, {"test/mAP/i2t": 0.5}, {"test_by_similarity/dot/R@10/avg": 0.25})
    assert scalars(tmp_path, "2 test/mAP/i2t") == [(0, 0.5)]
    assert scalars(tmp_path, "9 test_by_similarity/dot/R@10/avg") == [(0, 0.25)]
    content = read(tmp_path).PluginTagToContent("hparams")
    start = plugin_data_pb2.HParamsPluginData.FromString(
        content["_hparams_/session_start_info"]
    ).session_start_info.hparams
    assert start["epochs"].number_value == 24 and start["lr"].number_value == 0.5
    assert start["jit"].bool_value is False and start["name"].string_value == "x"
    assert start["none"].string_value == "None" and start["t"].string_value == "(5, 1)"
    experiment = plugin_data_pb2.HParamsPluginData.FromString(
        content["_hparams_/experiment"]
    ).experiment
    assert [info.name.tag for info in experiment.metric_infos] == ["2 test/mAP/i2t"]
    assert [info.display_name for info in experiment.metric_infos] == ["test/mAP/i2t"]
    # TensorBoard sorts by the name.
    infos = sorted(experiment.hparam_infos, key=lambda info: info.name)
    assert [info.display_name for info in infos] == sorted(settings, key=lambda s: s != "dataset")


def test_settings_that_differ_from_the_defaults_have_one_column():
    config = Config.of(dataset="openclipart", margin=4, seed=2, encoder_hidden=(8, 4))
    settings = shown_settings(config)
    assert list(settings)[:4] == ["dataset", "seed", "model", "changed_settings"]
    assert settings["changed_settings"] == "--encoder_hidden=8,4 --margin=4"
    assert settings.items() >= config.flat().items()
    assert shown_settings(Config())["changed_settings"] == "none"


@pytest.mark.parametrize("way", ["i2t", "t2i"])
@pytest.mark.parametrize("with_thumbnails", [True, False])
def test_example_queries_are_drawn_with_and_without_thumbnails(make_split, way, with_thumbnails):
    titles = np.array(["plain", "$\\frac$", "\u4e2d\u6587", "\x1b[1m", "", "long " * 90])
    split = make_split(title=titles, thumbnail=thumbnails(6) if with_thumbnails else None)
    hits = tuple(Hit(row=row, rank=row + 1, grade=grade) for row, grade in enumerate(GRADES))
    examples = [
        Example(row=row, quantile=0.5, own_rank=1, average_precision=1.0, hits=hits)
        for row in (4, 5)
    ]
    image = draw_examples(examples, way, split, ("cat", "dog", "bird"))
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    # The thumbnails, of which the query or the hits are made, are the only blue areas.
    blue = (image[..., 2] > 200) & (image[..., 0] < 50) & (image[..., 1] < 210)
    per_cell = blue.mean() * 2 * (1 + len(hits))
    shown = 2 if way == "i2t" else 2 * len(hits)
    assert (per_cell > 0.2 * shown) if with_thumbnails else (per_cell == 0)
    assert image.min() < 100


def test_titles_break_at_zero_width_spaces_before_they_break_within_words():
    lines = _wrapped("jar (food_\u200band_\u200bdrink/\u200bdishware)")
    assert lines == ["jar (food_and_", "drink/dishware)"]


def thumbnails(count: int) -> tuple[bytes, ...]:
    found = []
    for k in range(count):
        data = io.BytesIO()
        Image.new("RGB", (48, 24), (0, 40 * k, 255)).save(data, "PNG")
        found.append(data.getvalue())
    return tuple(found)


def config_of(folder):
    text = (folder / "projector_config.pbtxt").read_text()
    (embedding,) = text_format.Parse(text, projector.ProjectorConfig()).embeddings
    return embedding


def test_projector_files_agree_row_by_row(tmp_path, make_split):
    titles = np.array(["plain", "tab\there", "line\nbreak\r", "\x00\x1b[1m", "", " \u2028x"])
    split = make_split(title=titles, thumbnail=thumbnails(5) + (b"no picture",))
    image = np.arange(12, dtype=np.float32).reshape(6, 2)
    write_projector(tmp_path, split, ("cat", "dog", "a\tb"), image, image + 100)
    embedding = config_of(tmp_path)
    assert "6 images" in embedding.tensor_name

    tensors = np.loadtxt(tmp_path / embedding.tensor_path, delimiter="\t")
    np.testing.assert_allclose(tensors, np.concatenate([image, image + 100]))
    header, *lines = (tmp_path / embedding.metadata_path).read_text().rstrip("\n").split("\n")
    rows = [line.split("\t") for line in lines]
    assert header.split("\t") == ["title", "modality", "label", "id"]
    assert len(rows) == len(tensors) and {len(row) for row in rows} == {4}
    assert [row[1] for row in rows] == ["image"] * 6 + ["text"] * 6
    assert [row[2] for row in rows[:6]] == ["cat", "dog", "a b"] * 2
    assert [row[0] for row in rows[6:]] == ["plain", "tab here", "line break", "[1m", "", "x"]
    assert [row[3] for row in rows[:6]] == list(split.id)

    # Twelve tiles need a 4 × 4 square of 64 pixels.
    assert list(embedding.sprite.single_image_dim) == [64, 64]
    with Image.open(tmp_path / embedding.sprite.image_path) as sprite:
        assert sprite.size == (256, 256)
        # Image 1 is tile 1; text 1 is tile 7, in column 3 of row 1: the same picture, tinted.
        picture, tinted = sprite.getpixel((64 + 40, 32)), sprite.getpixel((3 * 64 + 40, 64 + 32))
    assert picture == (0, 40, 255)
    expected = 0.5 * np.array(picture) + 0.5 * np.array(projector_module.TEXT_COLOR)
    np.testing.assert_allclose(tinted, expected, atol=1)


def test_projector_without_thumbnails_and_with_several_labels(tmp_path, make_split):
    label = np.array([[1, 0, 1]] * 6, np.uint8)
    write_projector(tmp_path, make_split(label=label), ("a", "b", "c"), np.eye(6), np.eye(6))
    assert not config_of(tmp_path).HasField("sprite")
    assert not (tmp_path / "projector_sprite.png").exists()
    assert "\timage\ta, c\t" in (tmp_path / "projector_metadata.tsv").read_text()


def test_large_splits_are_thinned_and_say_so(tmp_path, make_split, monkeypatch):
    monkeypatch.setattr(projector_module, "MAX_PAIRS", 3)
    split = make_split(thumbnail=thumbnails(6))
    codes = np.arange(6.0)[:, None]
    write_projector(tmp_path, split, ("a", "b", "c"), codes, codes)
    embedding = config_of(tmp_path)
    assert embedding.tensor_name == "test split, 3 of 6 pairs, evenly spaced"
    # linspace(0, 5, 3) = 0, 2.5, 5; NumPy rounds halves to even.
    tensors = np.loadtxt(tmp_path / embedding.tensor_path)
    assert list(tensors) == [0, 2, 5, 0, 2, 5]
    assert len((tmp_path / embedding.metadata_path).read_text().splitlines()) == 1 + 6


@pytest.mark.parametrize(
    "points, columns, tile", [(1, 1, 64), (16384, 128, 64), (16385, 129, 63), (10_000, 100, 64)]
)
def test_sprite_fits_the_largest_texture(points, columns, tile):
    assert projector_module.sprite_layout(points) == (columns, tile)
    assert columns * tile <= projector_module.SPRITE_SIDE


def test_projector_refuses_codes_that_do_not_fit(tmp_path, make_split):
    with pytest.raises(InputError, match=r"\(5, 2\).*6 pairs"):
        write_projector(tmp_path, make_split(), "abc", np.ones((5, 2)), np.ones((5, 2)))
    with pytest.raises(InputError, match="NaN"):
        write_projector(tmp_path, make_split(), "abc", np.full((6, 2), np.nan), np.ones((6, 2)))
    assert list(tmp_path.iterdir()) == []


def test_tensorboard_serves_the_projector(tmp_path, make_split):
    run([ScalarBoard(tmp_path)], [{"G/loss": 1.0}])
    split = make_split(thumbnail=thumbnails(6))
    write_projector(tmp_path, split, ("a", "b", "c"), np.ones((6, 3)), np.zeros((6, 3)))
    board = program.TensorBoard()
    board.configure(logdir=str(tmp_path), host="127.0.0.1", port=0, load_fast="false")
    address = board.launch()

    def fetch(route: str, **query) -> bytes:
        url = f"{address}data/plugin/projector/{route}?{urllib.parse.urlencode(query)}"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=10) as answer:
            return answer.read()

    (name,) = json.loads(fetch("runs"))
    (embedding,) = json.loads(fetch("info", run=name))["embeddings"]
    assert embedding["tensorShape"] == [12, 3]
    which = {"run": name, "name": embedding["tensorName"]}
    tensors = np.frombuffer(fetch("tensor", **which), np.float32).reshape(12, 3)
    np.testing.assert_array_equal(tensors, np.repeat([[1.0], [0.0]], 6, axis=0).repeat(3, axis=1))
    assert len(fetch("metadata", **which).decode().splitlines()) == 13
    with Image.open(io.BytesIO(fetch("sprite_image", **which))) as sprite:
        assert sprite.size == (256, 256)
