"""XGACMN: which step moves what, Algorithm 1's K, averages, round trips."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from xgacmn_tf.errors import InputError
from xgacmn_tf.model.angular_softmax import AngularSoftmax, MarginAnnealing, PlainSoftmax
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.model.map_choice import fit_map
from xgacmn_tf.model.networks import Encoder
from xgacmn_tf.model.xgacmn import XGACMN
from xgacmn_tf.runs.checkpoint import load_encoder

RNG = np.random.default_rng(0)
IMAGE = RNG.dirichlet(np.ones(6), 24).astype(np.float32)
TEXT = RNG.normal(size=(24, 4)).astype(np.float32)
TARGETS = np.eye(3, dtype=np.float32)[RNG.integers(0, 3, 24)]


def make_model(classifier="angular", image_map="zscore", dropout=0.0, **settings):
    keras.utils.set_random_seed(0)
    layer = {"angular": AngularSoftmax(3), "softmax": PlainSoftmax(3), "none": None}[classifier]
    encoder = CommonSpaceEncoder(
        fit_map(image_map, IMAGE, "image", chi2_components=8, rbf_components=8),
        fit_map("zscore", TEXT, "text"),
        Encoder((8, 6), 5, dropout=dropout),
        Encoder((8, 6), 5, dropout=dropout),
        layer,
    )
    small = {"feature_discriminator_hidden": 7, "common_discriminator_hidden": 4}
    model = XGACMN(encoder, decoder_hidden=(6, 8), **(small | settings))
    model.compile(keras.optimizers.Adam(1e-3), keras.optimizers.Adam(2e-3))
    return model


def batch_of(model):
    return {**model.prepare(IMAGE, TEXT), "label": tf.constant(TARGETS, tf.float32)}


def values(weights):
    return [keras.ops.convert_to_numpy(w) for w in weights]


def moved(before, weights):
    return [not np.array_equal(b, w) for b, w in zip(before, values(weights), strict=True)]


def test_every_trainable_weight_belongs_to_exactly_one_player():
    model = make_model()
    players = [id(w) for w in model.discriminator_weights + model.generator_weights]
    assert len(players) == len(set(players))
    assert sorted(players) == sorted(id(w) for w in model.trainable_weights)


def test_discriminator_step_moves_the_discriminators_alone():
    model = make_model()
    discriminators = values(model.discriminator_weights)
    generators = values(model.generator_weights)
    batch = batch_of(model)
    model._discriminator_step(batch, model._generate(batch))
    assert all(moved(discriminators, model.discriminator_weights))
    assert not any(moved(generators, model.generator_weights))


def test_generator_step_moves_the_generators_and_the_class_weights_alone():
    # With the discriminators' learning rate at 0 whatever moves is moved by the generators' step.
    model = make_model()
    model.d_optimizer.learning_rate = 0.0
    discriminators = values(model.discriminator_weights)
    generators = values(model.generator_weights)
    model.alternate(batch_of(model))
    assert not any(moved(discriminators, model.discriminator_weights))
    assert all(moved(generators, model.generator_weights))
    assert any(w is model.encoder.class_layer.kernel for w in model.generator_weights)


@pytest.mark.parametrize(
    "k", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(5, marks=pytest.mark.slow)]
)
def test_generators_step_k_times_for_each_discriminator_step(k):
    model = make_model(generator_steps=k)
    for _ in range(3):
        model.alternate(batch_of(model))
    assert int(model.d_optimizer.iterations) == 3
    assert int(model.g_optimizer.iterations) == 3 * k


def test_shared_forward_pass_equals_one_of_its_own():
    """The generators' step reuses the forward pass made before D moved: same update as without."""
    shared, separate = make_model(), make_model()
    batch = batch_of(shared)
    shared.alternate(batch)
    separate._discriminator_step(batch, separate._generate(batch))
    with tf.GradientTape() as tape:
        loss, _ = separate._generator_loss(batch, separate._generate(batch))
    separate.g_optimizer.apply(
        tape.gradient(loss, separate.generator_weights), separate.generator_weights
    )
    for ours, theirs in zip(shared.trainable_weights, separate.trainable_weights, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_total_loss_is_eq_10_plus_eq_11():
    model = make_model(lambda_1=3.0, lambda_2=7.0, lambda_3=11.0)
    terms = {name: float(v) for name, v in model.alternate(batch_of(model)).items()}
    expected = (
        2 * 3 * terms["G/pair"]
        + 7 * (terms["G/image_adversarial"] + terms["G/text_adversarial"])
        + 11 * (terms["G/image_classification"] + terms["G/text_classification"])
    )
    assert terms["G/loss"] == pytest.approx(expected, rel=1e-5)
    discriminators = sum(terms[f"D/{name}_loss"] for name in ("image", "text", "common"))
    assert terms["D/loss"] == pytest.approx(discriminators, rel=1e-5)


def test_distillation_joins_the_total_where_it_is_wanted():
    model = make_model(distillation=13.0)
    terms = {name: float(v) for name, v in model.alternate(batch_of(model)).items()}
    plain = make_model().alternate(batch_of(model))
    assert "G/distillation" not in plain
    expected = float(plain["G/loss"]) + 13 * terms["G/distillation"]
    assert terms["G/loss"] == pytest.approx(expected, rel=1e-5)


def test_label_smoothing_mixes_the_class_terms_with_even_posteriors():
    losses = []
    for share in (0.0, 0.25, 1.0):
        model = make_model(label_smoothing=share)
        terms = model.alternate(batch_of(model))
        losses.append(
            np.array([terms[f"G/{modality}_classification"] for modality in ("image", "text")])
        )
    plain, mixed, even = losses
    np.testing.assert_allclose(mixed, 0.75 * plain + 0.25 * even, rtol=1e-5)
    assert (even >= np.log(3) - 1e-6).all() and not np.allclose(even, plain)


def test_a_model_from_before_label_smoothing_has_none():
    config = make_model().get_config()
    assert config.pop("label_smoothing") == 0.1
    assert XGACMN.from_config(config).settings["label_smoothing"] == 0.0


@pytest.mark.parametrize(("rows", "expected"), [(249, 0.0), (250, 0.1)])
def test_label_smoothing_follows_the_number_of_pairs(rows, expected):
    model = XGACMN(num_classes=2, image_map="zscore", text_map="none")
    features = np.arange(2.0 * rows).reshape(rows, 2)
    model.adapt({"image": features, "text": features})
    assert model.settings["label_smoothing"] == expected


ABLATIONS = {
    "whole": {},
    "with distillation": {"distillation": 100.0},
    "without D_C": {"common_discriminator_hidden": None},
    "without D_I and D_T": {"feature_discriminator_hidden": None},
    "without any discriminator": {
        "common_discriminator_hidden": None,
        "feature_discriminator_hidden": None,
    },
    "without class loss": {"classifier": "none"},
    "plain softmax": {"classifier": "softmax"},
}


@pytest.mark.slow
@pytest.mark.parametrize("settings", ABLATIONS.values(), ids=ABLATIONS.keys())
def test_ablation_trains_and_reports_its_own_terms(settings):
    model = make_model(**settings)
    batch = batch_of(model)
    first = {name: float(v) for name, v in model.alternate(batch).items()}
    assert list(first) == model.term_names()
    step = tf.function(model.alternate)
    for _ in range(80):
        last = step(batch)
    key = "G/pair" if settings.get("classifier") == "none" else "G/image_classification"
    assert float(last[key]) < first[key]
    assert ("D/common_loss" in first) == (
        settings.get("common_discriminator_hidden", 0) is not None
    )
    assert ("D/image_loss" in first) == (
        settings.get("feature_discriminator_hidden", 0) is not None
    )
    assert ("angle/image" in first) == (settings.get("classifier", "angular") == "angular")


def test_zero_weights_remove_their_terms():
    # λ2 = 0 and λ3 = 0 leave the pair term alone: the decoders get no gradient and stay.
    model = make_model(lambda_2=0.0, lambda_3=0.0)
    before = values(model.image_decoder.trainable_weights)
    model.alternate(batch_of(model))
    assert not any(moved(before, model.image_decoder.trainable_weights))


def test_margin_weight_follows_the_generators_steps():
    model = make_model(annealing=MarginAnnealing(floor=1, base=10, gamma=1, power=1))
    weights = [float(model.alternate(batch_of(model))["margin_weight"]) for _ in range(3)]
    assert weights == pytest.approx([10, 5, 10 / 3])


def test_averages_trail_the_encoders():
    # Decay min(.99, k / (10 + k)) after step k: after the first step the average is
    # 1/11 of the way from w_new back to w_old, that is old / 11 + 10/11 · new.
    model = make_model()
    weight = model.encoder.image_encoder.trainable_weights[0]
    average = model.averaged.image_encoder.weights[0]
    (old,) = values([weight])
    np.testing.assert_array_equal(old, average)
    model.alternate(batch_of(model))
    np.testing.assert_allclose(average, old / 11 + 10 / 11 * weight, atol=1e-6)


def test_without_decay_the_average_is_the_encoder():
    model = make_model(average_decay=0.0)
    model.alternate(batch_of(model))
    codes = model.encoder.encode_image(IMAGE, output="code")
    np.testing.assert_allclose(model.encode_image(IMAGE, output="code"), codes, atol=1e-6)


def test_a_text_without_words_does_not_spoil_training():
    model = make_model()
    batch = batch_of(model)
    # Biases are zero at the start, so all codes are zero.
    batch["mapped_text"] = tf.zeros_like(batch["mapped_text"])
    for _ in range(3):
        terms = model.alternate(batch)
    assert all(np.isfinite(v) for v in terms.values())
    assert all(np.isfinite(w).all() for w in model.trainable_weights)


@pytest.mark.parametrize(("image_map", "width"), [("chi2", 8), ("rbf", 8), ("whiten", 6)])
def test_component_maps_are_generated_as_zscored_features(image_map, width):
    model = make_model(image_map=image_map)
    batch = batch_of(model)
    assert batch["mapped_image"].shape == (24, width) and batch["image_target"].shape == (24, 6)
    assert model.text_decoder.dense[-1].units == 6
    model.alternate(batch)


def test_fit_runs_on_a_plain_dataset():
    model = make_model()
    dataset = tf.data.Dataset.from_tensor_slices(batch_of(model)).batch(8)
    history = model.fit(dataset, epochs=2, shuffle=False, verbose=0)
    assert set(history.history) == set(model.term_names())
    assert int(model.g_optimizer.iterations) == 6


@pytest.mark.parametrize(
    "settings",
    [
        settings if name == "whole" else pytest.param(settings, marks=pytest.mark.slow)
        for name, settings in ABLATIONS.items()
    ],
    ids=ABLATIONS.keys(),
)
def test_whole_model_survives_serialization_with_its_optimizers(settings, tmp_path):
    model = make_model(image_map="chi2", **settings)
    batch = batch_of(model)
    model.alternate(batch)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        again({"image": IMAGE})["image"], model({"image": IMAGE})["image"]
    )
    # The next step is the same only if the weights, both optimizers' states and the step count
    # all came back. (Dropout's random state is not in a .keras file: resuming, which needs it, has
    # a checkpoint of its own.)
    ours, theirs = model.alternate(batch), again.alternate(batch)
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])
    for ours, theirs in zip(model.trainable_weights, again.trainable_weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_encoder_survives_serialization(tmp_path):
    model = make_model(image_map="chi2")
    model.alternate(batch_of(model))
    model.averaged.save(tmp_path / "best.keras")
    again = load_encoder(tmp_path / "best.keras")
    codes = model.averaged.codes(IMAGE, TEXT)
    for ours, theirs in zip(codes, again.codes(IMAGE, TEXT), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for similarity in ("posterior", "cosine", "dot"):
        np.testing.assert_array_equal(
            again.represent(codes[0], similarity, "image"),
            model.averaged.represent(codes[0], similarity, "image"),
        )


def test_representations():
    encoder = make_model().averaged
    codes = tf.constant(RNG.normal(size=(5, 5)), tf.float32)
    np.testing.assert_array_equal(encoder.represent(codes, "dot"), codes)
    cosine = encoder.represent(codes, "cosine")
    np.testing.assert_allclose(np.linalg.norm(cosine, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(
        tf.reduce_sum(encoder.represent(codes, "posterior", "text"), 1), 1, rtol=1e-6
    )
    np.testing.assert_array_equal(encoder.represent(tf.zeros((1, 5)), "cosine"), np.zeros((1, 5)))


def test_without_a_class_layer_there_is_no_posterior():
    encoder = make_model("none").averaged
    assert encoder.similarities() == ("cosine", "dot")
    with pytest.raises(InputError, match="this model defines cosine, dot"):
        encoder.represent(tf.zeros((1, 5)), "posterior")


def test_files_that_are_no_checkpoint_are_refused(tmp_path):
    (tmp_path / "best.keras").write_bytes(b"not a zip file")
    with pytest.raises(InputError, match="cannot be read as a checkpoint"):
        load_encoder(tmp_path / "best.keras")
    with pytest.raises(InputError, match="there is no such file"):
        load_encoder(tmp_path / "missing.keras")
    with pytest.raises(InputError, match="is a folder; expected a .keras file"):
        load_encoder(tmp_path)
    inputs = keras.Input((2,))
    keras.Model(inputs, keras.layers.Dense(1)(inputs)).save(tmp_path / "other.keras")
    with pytest.raises(InputError, match="expected a CommonSpaceEncoder"):
        load_encoder(tmp_path / "other.keras")
