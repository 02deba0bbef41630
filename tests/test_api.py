"""The public names of the package: README's program, Keras's `fit` and callbacks, saved models."""

import ast
import doctest
import importlib
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import xgacmn_tf as xg
from xgacmn_tf.errors import DivergenceError, InputError
from xgacmn_tf.model.epochs import BatchSource
from xgacmn_tf.model.map_choice import fit_map
from xgacmn_tf.model.networks import Encoder

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
(PROGRAM,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def run_program(text, folder):
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    scores = next(line for line in lines if line.startswith("{'i2t'"))
    assert (folder / "served" / "xgacmn" / "1" / "saved_model.pb").exists()
    return json.loads(scores.replace("'", '"'))["avg"]


@pytest.mark.slow
def test_program_of_the_readme(tmp_path):
    assert run_program(PROGRAM, tmp_path) > 0.5


@pytest.mark.slow
def test_short_program_and_its_files_in_a_new_process(tmp_path):
    found = run_program(PROGRAM.replace("epochs=30", "epochs=2"), tmp_path)
    assert found > 0.3  # chance is 0.174
    code = """
        import keras, numpy as np, tensorflow as tf
        import xgacmn_tf as xg
        model, again = xg.load_model("model.keras"), keras.saving.load_model("model.keras")
        served = tf.saved_model.load("served/xgacmn/1")
        image = xg.load_dataset("openclipart").test.image
        np.testing.assert_array_equal(model.encode_image(image), again.encode_image(image))
        outputs = served.encode_image(tf.constant(image))
        np.testing.assert_allclose(outputs["search"], model.encode_image(image), atol=1e-6)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]


MODULES = [
    "datasets.batches",
    "datasets.loading",
    "evaluation.measures",
    "evaluation.metrics",
    "model.angular_softmax",
    "model.component_maps",
    "model.encoders",
    "model.input_maps",
    "model.losses",
    "model.map_base",
    "model.xgacmn",
    "retrieval_index",
    "training.validation",
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name):
    found = doctest.testmod(importlib.import_module(f"xgacmn_tf.{name}"))
    assert found.attempted > 0 and found.failed == 0


def test_import_is_fast_and_loads_no_tensorflow():
    code = (
        "import sys, time; start = time.perf_counter(); import xgacmn_tf as xg; "
        "seconds = time.perf_counter() - start; xg.Config, xg.Split, dir(xg); "
        "print(seconds, *{'tensorflow', 'keras'} & set(sys.modules))"
    )
    seconds, *loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert float(seconds) < 0.1 and loaded == []


def test_every_public_name_is_there():
    assert set(xg.__all__) <= set(dir(xg))
    for name in set(xg.__all__) - {"__version__"}:
        assert getattr(xg, name).__doc__
    with pytest.raises(AttributeError, match="nothing"):
        xg.nothing  # noqa: B018


# A small model on data that can be learned.


@pytest.fixture(scope="module")
def data(feature_file):
    return xg.load_dataset(str(feature_file), validation_fraction=0.2)


def make_model(data, *, compiled=True, **settings):
    keras.utils.set_random_seed(0)
    small = {
        "encoder_hidden": (16, 8), "code_dim": 6, "feature_discriminator_hidden": 12,
        "common_discriminator_hidden": 5, "image_dropout": 0.0, "text_dropout": 0.0,
    }  # fmt: skip
    model = xg.XGACMN(num_classes=data.num_classes, **(small | settings))
    model.adapt(data.train)
    if compiled:
        model.compile(keras.optimizers.Adam(1e-3), keras.optimizers.Adam(2e-3))
    return model


def features_of(split):
    return {"image": split.image, "text": split.text}


def assert_same_weights(ours, theirs, atol=0.0):
    for a, b in zip(ours.variables, theirs.variables, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=atol)


WAYS = {
    "arrays": lambda model, split: (features_of(split), split.label),
    "one-hot": lambda model, split: (features_of(split), np.eye(3, dtype=np.float32)[split.label]),
    "column": lambda model, split: (features_of(split), split.label[:, None].astype(float)),
    "one dict": lambda model, split: ({**features_of(split), "label": split.label},),
    "tf.data": lambda model, split: (
        tf.data.Dataset.from_tensor_slices((features_of(split), split.label)).batch(len(split)),
    ),
    "mapped": lambda model, split: (
        {**model.prepare(split.image, split.text), "label": tf.constant(split.label)},
    ),
}


@pytest.fixture(scope="module")
def trained_on_batches(data):
    """A model trained with one batch an epoch, and its losses."""
    model = make_model(data, image_map="zscore")
    logs = model.fit(data.train.batches(len(data.train)), epochs=3, verbose=0).history
    return model, logs["G/loss"]


@pytest.mark.parametrize(
    "way",
    [
        way if way in ("arrays", "tf.data") else pytest.param(way, marks=pytest.mark.slow)
        for way in WAYS
    ],
)
def test_all_ways_to_give_data_train_alike(data, trained_on_batches, way):
    """One batch an epoch, so that the order of pairs does not matter but for rounding."""
    model = make_model(data, image_map="zscore")
    given = WAYS[way](model, data.train)
    size = {"shuffle": False} if way == "tf.data" else {"batch_size": len(data.train)}
    logs = model.fit(*given, epochs=3, verbose=0, **size).history
    assert set(logs) == set(model.term_names()) and len(logs["G/loss"]) == 3
    first, losses = trained_on_batches
    assert logs["G/loss"] == pytest.approx(losses, rel=1e-4)
    assert_same_weights(first, model, atol=2e-3)


@pytest.mark.parametrize("image_map", ["zscore", pytest.param("chi2", marks=pytest.mark.slow)])
def test_validation_and_prediction(data, histogram_file, image_map):
    if image_map == "chi2":
        data = xg.load_dataset(str(histogram_file), validation_fraction=0.2)
    model = make_model(data, image_map=image_map)
    history = model.fit(
        data.train.batches(16), validation_data=data.validation.batches(7), epochs=2, verbose=0
    ).history
    assert {f"val_{name}" for name in model.term_names()} <= set(history)
    split = data.validation
    again = model.evaluate(features_of(split), split.label, return_dict=True, verbose=0)
    for name, value in again.items():
        # Other batches: means over pairs are the same.
        if "angle" not in name:
            assert history[f"val_{name}"][-1] == pytest.approx(value, rel=1e-4), name
    codes = model.predict(split.batches(7), verbose=0)
    np.testing.assert_allclose(codes["image"], model.encode_image(split.image, "code"), atol=1e-5)
    raw = model.predict(features_of(split), verbose=0)
    np.testing.assert_allclose(codes["text"], raw["text"], atol=1e-5)
    np.testing.assert_allclose(model(features_of(split))["text"], raw["text"], atol=1e-5)


def test_what_does_not_fit_is_rejected_in_one_line(data):
    model, split = make_model(data), data.train
    features = features_of(split)
    targets, weights = np.eye(3)[split.label], np.ones(len(split))
    adam, new = keras.optimizers.Adam(), xg.XGACMN(num_classes=3)
    cases = [
        (lambda: xg.XGACMN(), "needs num_classes"),
        (lambda: xg.XGACMN(num_classes=3).fit(features), "call model.adapt"),
        (lambda: xg.XGACMN(num_classes=3).encode_image(split.image), "call model.adapt"),
        (lambda: model.adapt(split), "adapted already"),
        (lambda: model.fit(features, split.label, sample_weight=weights), "sample_weight"),
        (lambda: model.fit(features, split.label, class_weight={0: 2.0}), "class_weight"),
        (
            lambda: model.fit(
                tf.data.Dataset.from_tensor_slices((features, split.label, weights)).batch(8),
                shuffle=False,
            ),
            "leave sample weights out",
        ),
        (lambda: model.fit(features), "no labels"),
        (lambda: model.fit(split.image, split.label), "takes a dict of features"),
        (lambda: model.fit((split.image, split.text), split.label), "as tuple; XGACMN takes"),
        (lambda: model.fit(split), r"Split.batches\(64\)"),
        (lambda: model.fit(data), r"data.train.batches\(64\)"),
        (
            lambda: model.fit(split.batches(8), validation_data=data.validation),
            "validation_data received a Split",
        ),
        (lambda: model.fit(split.batches(8), validation_split=0.2), "leave y"),
        (lambda: model.predict(split.image), "takes a dict of features"),
        (lambda: model.evaluate(split), "evaluate received a Split"),
        (lambda: model(split.image), "takes a dict of features"),
        (
            lambda: model.fit({"image": split.image}, split.label),
            "holds image; expected 'text' too",
        ),
        (lambda: model.fit(features | {"text": split.image}, split.label), r"expected \(n, 5\)"),
        (
            lambda: model.fit(
                tf.data.Dataset.from_tensors((features | {"text": split.image}, split.label)),
                shuffle=False,
            ),
            r"text features have shape \(\d+, 8\); expected \(n, 5\)",
        ),
        (lambda: model.fit(features | {"text": split.id}, split.label), "expected numbers"),
        (lambda: model.encode_text(split.id), "expected numbers"),
        (lambda: model.fit(features, split.id), "expected class numbers, as np.unique"),
        (lambda: model.fit(features, split.label + 1), "labels hold 3 in row"),
        (lambda: model.fit(features, 0 * targets), "at least one category"),
        (lambda: model.fit(features, np.eye(5)[split.label]), r"or \(n, 3\) one-hot"),
        (lambda: model.fit(split.batches(8), split.label), "leave y"),
        (lambda: split.batches(0), "expected at least 1"),
        (lambda: model.compile(loss="mse"), "its own losses"),
        (lambda: model.compile(optimizer="adam"), "two optimizers"),
        (lambda: model.compile(adam, adam), "two optimizers"),
        (lambda: model.save("model.h5"), "ends in .keras"),
        (lambda: new.adapt(data), "PairedDataset without 'image'"),
        (lambda: new.adapt(features | {"text": split.id}), "expected numbers"),
        (lambda: new.adapt(features | {"image": split.image * np.nan}), "not finite.* row 0"),
        (lambda: model.encode_image(split.text), r"expected \(n, 8\)"),
        (lambda: model.encode_image(split.image, "embedding"), "search, code, posterior"),
        (lambda: xg.XGACMN(num_classes=3, pair_loss="l1"), "expected l2 or a registered"),
        (lambda: xg.XGACMN(num_classes=3, pair_loss=lambda v, t: 0.0), "not registered"),
        (lambda: xg.XGACMN(num_classes=3, adversarial_loss="hinge"), "expected cross_entropy"),
        (lambda: xg.XGACMN(num_classes=3, class_layer="arcface"), "expected angular"),
        (
            lambda: xg.XGACMN(num_classes=3, class_layer=xg.AngularSoftmax(4)),
            "has 4 classes and num_classes is 3",
        ),
        (
            lambda: xg.XGACMN(num_classes=3, pair_loss=keras.losses.MeanSquaredError()),
            "received a MeanSquaredError; expected a function",
        ),
        (lambda: xg.evaluate(model, split.batches(8)), "evaluate received a Batches"),
        (lambda: xg.RetrievalMAP(data), "RetrievalMAP received a PairedDataset"),
        (lambda: xg.evaluate(model, split, similarity="item"), "defines posterior, cosine, dot"),
        (lambda: model.export("nowhere", format="onnx"), "expected tf_saved_model"),
    ]
    for attempt, expected in cases:
        with pytest.raises(ValueError, match=expected):
            attempt()


@pytest.mark.slow
def test_labels_of_another_form_train_the_same_model(data):
    """Keras keeps the compiled step of the first `fit`, here for labels of another rank."""
    model, split = make_model(data), data.train
    targets = np.eye(3)[split.label]
    for labels in (split.label, targets, split.label[:, None], split.label.astype(float)):
        model.fit(features_of(split), labels, epochs=1, verbose=0)


def test_divergence_names_the_step(data):
    model = make_model(data, code_activation="linear")
    model.compile(keras.optimizers.Adam(1e-3), keras.optimizers.Adam(1e38), steps_per_execution=3)
    with pytest.raises(DivergenceError, match="^epoch 1, step 2: "):
        model.fit(data.train.batches(16), epochs=2, verbose=0)


# Keras's callbacks behave as Keras documents them.


class Events(keras.callbacks.Callback):
    """Records what Keras calls."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def on_train_begin(self, logs=None):
        self.calls.append(("train begin", self.params["epochs"], self.params["steps"]))

    def on_epoch_begin(self, epoch, logs=None):
        self.calls.append(("epoch begin", epoch))

    def on_train_batch_begin(self, batch, logs=None):
        self.calls.append(("batch begin", batch))

    def on_train_batch_end(self, batch, logs=None):
        self.calls.append(("batch end", batch, "G/loss" in logs))

    def on_epoch_end(self, epoch, logs=None):
        self.calls.append(("epoch end", epoch, "G/loss" in logs))

    def on_train_end(self, logs=None):
        self.calls.append(("train end",))


def test_callbacks_receive_all_events(data):
    ours, theirs = Events(), Events()
    model = make_model(data)
    size = len(data.train) // 3
    model.fit(data.train.batches(size), epochs=2, verbose=0, callbacks=[ours])
    pairs = tf.data.Dataset.from_tensor_slices((features_of(data.train), data.train.label))
    model.fit(pairs.batch(size), epochs=2, shuffle=False, verbose=0, callbacks=[theirs])
    assert ours.calls == theirs.calls
    assert ours.calls[:4] == [
        ("train begin", 2, 3), ("epoch begin", 0), ("batch begin", 0), ("batch end", 0, True),
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("steps", [3, 4, 100])
def test_steps_per_execution_change_nothing(data, steps):
    one, several = make_model(data), make_model(data)
    several.compile(
        keras.optimizers.Adam(1e-3), keras.optimizers.Adam(2e-3), steps_per_execution=steps
    )
    events = Events()
    logs = [
        model.fit(data.train.batches(8), epochs=2, verbose=0, callbacks=[events]).history
        for model in (one, several)
    ]
    assert_same_weights(one, several)
    for name, values in logs[0].items():
        assert logs[1][name] == pytest.approx(values, rel=1e-6)
    # Keras's own path for other data.
    pairs = tf.data.Dataset.from_tensor_slices((features_of(data.train), data.train.label))
    for model in (one, several):
        model.fit(pairs.batch(8), epochs=1, shuffle=False, verbose=0)
    assert_same_weights(one, several, atol=1e-6)


class Scores(keras.callbacks.Callback):
    """Logs made-up scores."""

    def __init__(self, *scores):
        super().__init__()
        self.scores, self.weights = scores, []

    def on_epoch_end(self, epoch, logs=None):
        logs["val_mAP"] = self.scores[epoch]
        self.weights.append([w.copy() for w in self.model.get_weights()])


def test_early_stopping_stops_and_restores(data):
    model, scores = make_model(data), Scores(0.1, 0.5, 0.4, 0.3, 0.2)
    stop = keras.callbacks.EarlyStopping(
        "val_mAP", mode="max", patience=2, restore_best_weights=True
    )
    history = model.fit(
        data.train.batches(16), epochs=5, verbose=0, callbacks=[scores, stop]
    ).history
    assert history["val_mAP"] == [0.1, 0.5, 0.4, 0.3]
    for ours, best in zip(model.get_weights(), scores.weights[1], strict=True):
        np.testing.assert_array_equal(ours, best)


def test_retrieval_map_is_that_of_the_averaged_encoders(data):
    # Few steps suffice for few inputs of the encoders.
    model = make_model(data, map_choice="rule")
    watch = xg.RetrievalMAP(data.validation, every=2)
    history = model.fit(data.train.batches(16), epochs=4, verbose=0, callbacks=[watch]).history
    assert len(history["val_mAP"]) == 2
    expected = xg.evaluate(model, data.validation)["mAP"]
    assert history["val_mAP"][-1] == pytest.approx(expected["avg"])
    assert history["val_mAP_i2t"][-1] == pytest.approx(expected["i2t"])
    assert expected["avg"] > 0.5


@pytest.mark.slow
def test_model_checkpoint_holds_both_optimizers(data, tmp_path):
    model = make_model(data, generator_steps=2)
    whole = keras.callbacks.ModelCheckpoint(str(tmp_path / "{epoch}.keras"))
    best = keras.callbacks.ModelCheckpoint(
        str(tmp_path / "best.weights.h5"), monitor="val_mAP", mode="max",
        save_best_only=True, save_weights_only=True,
    )  # fmt: skip
    model.fit(
        data.train.batches(16), epochs=2, verbose=0,
        callbacks=[Scores(0.5, 0.1), whole, best],
    )  # fmt: skip
    again = xg.load_model(tmp_path / "2.keras")
    steps = len(data.train) // 16
    assert int(again.d_optimizer.iterations) == 2 * steps
    assert int(again.g_optimizer.iterations) == 2 * 2 * steps
    for model_of in (model, again):
        model_of.fit(data.train.batches(16, seed=7), epochs=1, verbose=0)
    assert_same_weights(model, again)
    best_of, first = make_model(data, generator_steps=2), xg.load_model(tmp_path / "1.keras")
    best_of.load_weights(tmp_path / "best.weights.h5")
    assert_same_weights(best_of, first)
    assert int(best_of.d_optimizer.iterations) == steps


@pytest.mark.slow
def test_backup_and_restore_ends_with_the_same_numbers(data, tmp_path):
    class Interrupt(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def fit(model, *callbacks):
        model.fit(data.train.batches(16), epochs=4, verbose=0, callbacks=list(callbacks))

    whole, broken, resumed = (make_model(data) for _ in range(3))
    fit(whole)
    backup = keras.callbacks.BackupAndRestore(str(tmp_path / "backup"))
    with pytest.raises(KeyboardInterrupt):
        fit(broken, backup, Interrupt())
    events = Events()
    fit(resumed, keras.callbacks.BackupAndRestore(str(tmp_path / "backup")), events)
    assert [call[1] for call in events.calls if call[0] == "epoch begin"] == [2, 3]
    assert_same_weights(whole, resumed)
    for name in ("d_optimizer", "g_optimizer"):
        ours, theirs = (getattr(model, name).variables for model in (whole, resumed))
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)


def test_learning_rate_scheduler_sets_the_generators(data):
    model = make_model(data)
    schedule = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.0 if epoch else rate)
    weights = Scores(0.0, 0.0)
    history = model.fit(
        data.train.batches(16), epochs=2, verbose=0, callbacks=[schedule, weights]
    ).history
    assert history["learning_rate"] == pytest.approx([2e-3, 0.0])
    assert float(model.g_optimizer.learning_rate) == 0.0
    assert float(model.d_optimizer.learning_rate) == pytest.approx(1e-3)


def test_tensorboard_has_training_and_validation_terms(data, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    model = make_model(data)
    model.fit(
        data.train.batches(16), validation_data=data.validation.batches(16), epochs=2, verbose=0,
        callbacks=[keras.callbacks.TensorBoard(tmp_path, write_graph=False)],
    )  # fmt: skip
    for part, tag in (("train", "epoch_G/loss"), ("validation", "epoch_G/loss")):
        accumulator = EventAccumulator(str(tmp_path / part), size_guidance={"tensors": 0})
        accumulator.Reload()
        assert len(accumulator.Tensors(tag)) == 2


@pytest.mark.slow
def test_mixed_bfloat16_trains_the_networks_alone(data):
    plain = make_model(data)
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        mixed = make_model(data)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    losses = [
        model.fit(data.train.batches(16), epochs=3, verbose=0).history["G/loss"]
        for model in (plain, mixed)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=0.05) and losses[1] != losses[0]
    assert mixed.encoder.image_encoder.compute_dtype == "bfloat16"
    for part in (mixed.encoder.image_map, mixed.encoder.class_layer, mixed.averaged.image_encoder):
        assert part.compute_dtype == "float32"
    image = data.test.image
    one, two = (model.encode_image(image, "code") for model in (plain, mixed))
    assert two.dtype == np.float32
    np.testing.assert_allclose(two, one, atol=0.1)


# Exchangeable parts and saved models.


@keras.saving.register_keras_serializable("tests")
def doubled(image_code, text_code):
    return 2.0 * xg.losses.pair_loss(image_code, text_code)


@keras.saving.register_keras_serializable("tests")
class Halved(xg.losses.CrossEntropy):
    def discriminator(self, first_logits, second_logits):
        return 0.5 * xg.losses.discriminator_loss(first_logits, second_logits)


def test_losses_of_ones_own(data, tmp_path):
    own = make_model(data, pair_loss=doubled, adversarial_loss=Halved(), class_layer="softmax")
    plain = make_model(data, class_layer="softmax")
    split = data.validation
    terms = [
        model.evaluate(split.batches(64), return_dict=True, verbose=0) for model in (plain, own)
    ]
    assert terms[1]["G/pair"] == pytest.approx(2 * terms[0]["G/pair"], rel=1e-5)
    assert terms[1]["D/loss"] == pytest.approx(0.5 * terms[0]["D/loss"], rel=1e-5)
    own.fit(data.train.batches(16), epochs=1, verbose=0)
    own.save(tmp_path / "own.keras")
    again = keras.saving.load_model(tmp_path / "own.keras")
    assert again.pair_loss is doubled and isinstance(again.adversarial_loss, Halved)
    assert_same_weights(own, again)


def test_class_layer_of_ones_own_is_trained(data):
    layer = xg.AngularSoftmax(3, m=2, name="mine")
    model = make_model(data, class_layer=layer)
    model.fit(data.train.batches(16), epochs=1, verbose=0)
    assert model.encoder.class_layer is layer and model.averaged.class_layer.m == 2


def test_models_are_saved_before_adaptation_and_compilation(data, tmp_path):
    unadapted = xg.XGACMN(num_classes=3, code_dim=6, class_layer=xg.AngularSoftmax(3, m=2))
    with pytest.warns(UserWarning, match="not yet been built"):
        unadapted.save(tmp_path / "unadapted.keras")
    again = keras.saving.load_model(tmp_path / "unadapted.keras")
    again.adapt(data.train)
    assert again.encoder.code_dim == 6 and again.encoder.class_layer.m == 2
    make_model(data, compiled=False).save(tmp_path / "uncompiled.keras")
    uncompiled = xg.load_model(tmp_path / "uncompiled.keras")
    uncompiled.compile()
    uncompiled.fit(data.train.batches(16), epochs=1, verbose=0)


def test_adapting_after_compiling_builds_the_optimizers(data):
    model = xg.XGACMN(num_classes=3, encoder_hidden=(8,), code_dim=6)
    model.compile()
    model.adapt(features_of(data.train))
    model.fit(data.train.batches(16), epochs=1, verbose=0)
    assert int(model.d_optimizer.iterations) == len(data.train) // 16
    rates = [float(o.learning_rate) for o in (model.g_optimizer, model.d_optimizer)]
    assert rates == pytest.approx([3e-4, 1e-4])


def test_search_embeddings_are_those_of_a_run(finished_run):
    folder, config, _ = finished_run
    model = xg.load_model(folder / "checkpoints" / "best.keras")
    test = xg.load_dataset(config.data.dataset).test
    with np.load(folder / "embeddings.npz") as arrays:
        for modality, encode in (("image", model.encode_image), ("text", model.encode_text)):
            features = getattr(test, modality)
            for output, name in (
                ("search", f"search_{modality}"),
                ("code", modality),
                ("posterior", f"{modality}_posterior"),
            ):
                np.testing.assert_allclose(encode(features, output), arrays[name], atol=1e-6)
    metrics = json.loads((folder / "metrics.json").read_text())
    found = xg.evaluate(model, xg.load_dataset(config.data.dataset))
    for measure in ("mAP", "R@10", "median_rank"):
        assert found[measure] == pytest.approx(metrics["test"]["item"][measure])


def test_model_without_items_searches_by_posterior(data):
    model = make_model(data)
    image = data.test.image
    np.testing.assert_array_equal(
        model.encode_image(image), model.encode_image(image, output="posterior")
    )
    without = make_model(data, class_layer=None)
    np.testing.assert_allclose(
        np.linalg.norm(without.encode_text(data.test.text), axis=1), 1.0, rtol=1e-5
    )


def test_files_of_other_models_are_rejected(tmp_path):
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(tmp_path / "other.keras")
    with pytest.raises(InputError, match="holds a Sequential, expected an XGACMN"):
        xg.load_model(tmp_path / "other.keras")


def test_index_is_changed_and_saved(tmp_path):
    index = xg.Index(np.eye(3, dtype=np.float32), ids=["a", "b", "c"])
    index.add(np.array([[0.0, 2.0, 0.0]]), ["d"])
    assert index.remove(["a", "z"]) == 1 and len(index) == 3
    index.save(tmp_path / "index")
    for found in (index, xg.Index.load(tmp_path / "index")):
        hits = found.search([[0.0, 1.0, 0.0]], k=2)
        assert hits.ids.tolist() == [["d", "b"]]


def test_batches_are_a_source_of_both_kinds(data):
    batches = data.train.batches(16)
    assert isinstance(batches, BatchSource) and len(batches) == -(-len(data.train) // 16)
    rows = [batch["label"].numpy() for batch in batches]
    np.testing.assert_array_equal(np.concatenate(rows), data.train.label)


def test_parts_in_somebody_elses_model(data):
    """An angular softmax over one modality, with the map, in a functional model."""
    image_map = fit_map("zscore", data.train.image, "image")
    inputs, layer = keras.Input((8,)), xg.AngularSoftmax(3, m=3)
    codes = Encoder((16,), 6)(image_map(inputs))
    model = keras.Model(inputs, keras.layers.Softmax()(layer(codes)))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(data.train.image, data.train.label, epochs=30, verbose=0).history
    assert history["accuracy"][-1] > 0.7  # chance is 0.33


@pytest.mark.parametrize("package", ["model", "training"])
def test_library_packages_know_neither_settings_nor_run_folders(package):
    folder = Path(xg.__file__).parent / package
    names = set()
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module)
    assert "xgacmn_tf.errors" in names
    assert not {name for name in names if name.startswith(("xgacmn_tf.runs", "xgacmn_tf.settings"))}
