"""Incomplete pairs in training: each term is over the rows that it can use, and no others."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from xgacmn_tf.model import losses
from xgacmn_tf.model.angular_softmax import AngularSoftmax, PlainSoftmax
from xgacmn_tf.model.counted_rows import CountedRows, mean_of_rows
from xgacmn_tf.model.xgacmn import XGACMN

RNG = np.random.default_rng(0)
ROWS = 12
IMAGE = RNG.normal(size=(ROWS, 6)).astype(np.float32)
TEXT = RNG.normal(size=(ROWS, 4)).astype(np.float32)
LABEL = RNG.integers(0, 3, ROWS)
MASKS = {
    "has_image": np.arange(ROWS) % 4 != 1,
    "has_text": np.arange(ROWS) % 4 != 2,
    "has_label": np.arange(ROWS) % 3 != 0,
}
SMALL = {
    "encoder_hidden": (8, 6), "code_dim": 5, "image_dropout": 0.0, "text_dropout": 0.0,
    "feature_discriminator_hidden": 7, "common_discriminator_hidden": 4, "distillation": 1.0,
    "label_smoothing": 0.2,
    "image_map": "zscore", "text_map": "zscore",
}  # fmt: skip


def make_model(**settings) -> XGACMN:
    keras.utils.set_random_seed(0)
    model = XGACMN(num_classes=3, **(SMALL | settings))
    model.adapt({"image": IMAGE, "text": TEXT})
    model.compile()
    return model


def batch_of(model, image=IMAGE, text=TEXT, label=LABEL, **masks):
    given = {"label": label, **masks}
    return model.prepare(image, text) | {name: tf.constant(a) for name, a in given.items()}


def terms_of(model, batch) -> dict[str, float]:
    generated = model._generate(batch, training=False)
    terms, _ = model._discriminator_terms(batch, generated, training=False)
    terms |= model._generator_loss(batch, generated)[1]
    return {name: float(value) for name, value in terms.items()}


def test_a_mean_is_over_the_rows_that_count():
    values = tf.constant([[1.0, 2.0, 6.0], [3.0, 5.0, 7.0]])
    rows = tf.constant([[True, False, True], [False, False, False]])
    np.testing.assert_allclose(mean_of_rows(values, rows), [3.5, 0.0])
    np.testing.assert_allclose(mean_of_rows(values), [3.0, 5.0])
    with tf.GradientTape() as tape:
        tape.watch(values)
        mean = mean_of_rows(values, rows)
    np.testing.assert_allclose(tape.gradient(mean, values), [[0.5, 0, 0.5], [0, 0, 0]])


def test_complete_batches_have_no_masks_in_their_graph():
    counted = CountedRows.of({"mapped_image": tf.zeros((2, 3))})
    assert counted == CountedRows() and counted.arguments(rows="pair") == {}


@pytest.mark.parametrize("class_layer", ["angular", "softmax"])
def test_masks_that_are_all_true_change_nothing(class_layer):
    model = make_model(class_layer=class_layer)
    whole = terms_of(model, batch_of(model))
    masked = terms_of(model, batch_of(model, **{name: np.ones(ROWS, bool) for name in MASKS}))
    assert masked == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize("layer", [AngularSoftmax(3, m=3), PlainSoftmax(3)])
def test_each_term_equals_the_term_of_the_rows_that_count(layer):
    model = make_model(class_layer=layer)
    batch = batch_of(model, **MASKS)
    terms, generated = terms_of(model, batch), model._generate(batch, training=False)
    image, text, label = (tf.constant(MASKS[name]) for name in MASKS)
    pair = image & text
    image_code, text_code = (tf.boolean_mask(generated[name], pair) for name in ("v_c", "t_c"))
    expected = {"G/pair": losses.pair_loss(image_code, text_code)}
    logits = [layer(tf.boolean_mask(generated[name], pair)) for name in ("v_c", "t_c")]
    expected["G/distillation"] = losses.distillation_loss(*logits)
    for modality, code, has in (("image", "v_c", image), ("text", "t_c", text)):
        rows = has & label
        targets = tf.one_hot(tf.boolean_mask(LABEL, rows), 3)
        own = layer.terms(tf.boolean_mask(generated[code], rows), targets, 10.0)
        smoothed = 0.8 * own.loss + 0.2 * losses.label_smoothing_loss(own.logits)
        expected[f"G/{modality}_classification"] = smoothed
        if own.angle is not None:
            expected[f"angle/{modality}"] = own.angle
    real, other = model.image_discriminator(batch["mapped_image"]), generated["t_r"]
    log_real = tf.nn.log_softmax(tf.boolean_mask(real, image))[:, 0]
    log_fake = tf.nn.log_softmax(
        tf.boolean_mask(model.image_discriminator(other), text)
    )[:, 1]  # fmt: skip
    expected["D/image_loss"] = -tf.reduce_mean(log_real) - tf.reduce_mean(log_fake)
    text_logits = model.text_discriminator(generated["v_r"])
    code_logits = model.common_discriminator(generated["v_c"])
    expected["G/image_adversarial"] = losses.image_generator_loss(
        *(tf.boolean_mask(logits, image) for logits in (text_logits, code_logits))
    )
    for name, value in expected.items():
        assert terms[name] == pytest.approx(float(value), rel=1e-4), name


def test_missing_items_and_categories_move_no_weight():
    """A step is the same whatever stands in their place."""
    weights = []
    for scale in (0.0, 3.0):
        model = make_model()
        image = np.where(MASKS["has_image"][:, None], IMAGE, scale)
        text = np.where(MASKS["has_text"][:, None], TEXT, scale)
        label = np.where(MASKS["has_label"], LABEL, -1 if scale else 1)
        for _ in range(3):
            model.alternate(batch_of(model, image, text, label, **MASKS))
        weights.append(model.get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_batch_without_any_complete_pair_is_trained_on():
    model = make_model()
    masks = {"has_image": np.arange(ROWS) < 6, "has_text": np.arange(ROWS) >= 6}
    masks["has_label"] = np.zeros(ROWS, bool)
    terms = model.alternate(batch_of(model, label=np.full(ROWS, -1), **masks))
    assert all(np.isfinite(float(value)) for value in terms.values())
    assert float(terms["G/pair"]) == float(terms["G/image_classification"]) == 0
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_multi_hot_rows_of_zeros_are_unlabeled():
    model, hot = make_model(), np.eye(3, dtype=np.uint8)[LABEL]
    single = terms_of(model, batch_of(model, **MASKS))
    hot[~MASKS["has_label"]] = 0
    assert terms_of(model, batch_of(model, label=hot, **MASKS)) == pytest.approx(single, rel=1e-5)


def test_a_pair_loss_of_ones_own_receives_the_complete_pairs():
    received = []

    @keras.saving.register_keras_serializable("counted_rows")
    def own(image, text, rows=None):
        received.append(rows)
        return losses.pair_loss(image, text, rows)

    model = make_model(pair_loss=own)
    terms_of(model, batch_of(model))
    terms_of(model, batch_of(model, **MASKS))
    assert received[0] is None
    np.testing.assert_array_equal(received[1], MASKS["has_image"] & MASKS["has_text"])


def test_input_maps_are_fitted_on_the_items_that_are_there():
    image = np.where(MASKS["has_image"][:, None], IMAGE, 0)
    model = XGACMN(num_classes=3, **SMALL)
    model.adapt({"image": image, "text": TEXT, "has_image": MASKS["has_image"]})
    mapped = model.mapped("image", image[MASKS["has_image"]])["mapped_image"]
    np.testing.assert_allclose(tf.reduce_mean(mapped, axis=0), np.zeros(6), atol=1e-5)
