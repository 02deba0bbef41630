"""ACMR, DSCMR, SupCon, two towers: their losses by hand; what every trained system must do."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from xgacmn_tf import baselines
from xgacmn_tf.baselines import TrainingData, acmr, dscmr
from xgacmn_tf.baselines.supcon import supervised_contrastive
from xgacmn_tf.errors import InputError
from xgacmn_tf.runs.checkpoint import load_encoder

TRAINED = ("acmr", "dscmr", "supcon", "two_tower")
SMALL = {
    "acmr": ("epochs=2", "batch_size=8"),
    "dscmr": ("epochs=2", "batch_size=8", "hidden=12", "code_dim=6"),
    "supcon": ("epochs=2", "batch_size=8", "hidden=12", "code_dim=6"),
    "two_tower": ("epochs=2", "batch_size=8", "hidden=12", "code_dim=6"),
}


@pytest.fixture
def data():
    generator = np.random.default_rng(0)
    labels = np.arange(20) % 3
    targets = np.eye(3, dtype=np.float32)[labels]
    image, text = (
        (generator.normal(size=(3, d))[labels] + generator.normal(size=(20, d))).astype(np.float32)
        for d in (6, 4)
    )
    return TrainingData(image, text, targets, None, None, 0, lambda epochs: epochs)


def trained(name, data):
    keras.utils.set_random_seed(0)
    return baselines.system(name).fit(data, baselines.parse_settings(name, SMALL[name]))


@pytest.mark.parametrize("name", TRAINED)
def test_same_seed_same_codes_also_after_reloading(name, data, tmp_path):
    first, second = trained(name, data), trained(name, data)
    first.save(tmp_path / "model.keras")
    loaded = load_encoder(tmp_path / "model.keras")
    for ours, again, reloaded in zip(
        *(encoder.codes(data.image, data.text) for encoder in (first, second, loaded)), strict=True
    ):
        assert np.isfinite(ours).all()
        np.testing.assert_array_equal(ours, again)
        np.testing.assert_array_equal(ours, reloaded)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_the_best_epoch_on_validation_pairs_is_kept(name, data):
    """Validation labels that no epoch can learn: the first epoch's score is never beaten."""
    zeros = np.zeros((4, 6), np.float32), np.zeros((4, 4), np.float32)
    same = np.ones((4, 3), np.float32)
    validated = dataclasses.replace(data, validation=(*zeros, same))
    once = baselines.parse_settings(name, (*SMALL[name][1:], "epochs=1"))
    keras.utils.set_random_seed(0)
    expected = baselines.system(name).fit(data, once).codes(data.image, data.text)
    if name == "acmr":
        # Its adversary's weight is 0 in the first epoch either way.
        assert baselines.system(name).settings().label_weight == 100
    for ours, theirs in zip(
        trained(name, validated).codes(data.image, data.text), expected, strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_gradient_is_reversed():
    x, strength = tf.Variable([1.0, 2.0]), 0.25
    with tf.GradientTape() as tape:
        y = tf.reduce_sum(acmr.reverse_gradient(x, strength) * [3.0, 4.0])
    assert y.numpy() == 11
    np.testing.assert_allclose(tape.gradient(y, x), [-0.75, -1.0])


def test_acmr_triplets_by_hand():
    anchor = tf.constant([[0.0, 0.0], [1.0, 0.0]])
    other = tf.constant([[0.0, 1.0], [3.0, 0.0]])
    settings = acmr.Settings(margin=0.1, pair_weight=5.0)
    # Row 0: pair at 1, nearest of the other class at 3. Row 1: pair at 2, other class at √2.
    loss = acmr._triplet(anchor, other, tf.eye(2), settings)
    np.testing.assert_allclose(loss, [0.1 + 5 - 3, 0.1 + 10 - np.sqrt(2)], rtol=1e-5)
    # One class only: there is no negative, and no loss.
    np.testing.assert_array_equal(acmr._triplet(anchor, other, tf.ones([2, 1]), settings), [0, 0])


def test_acmr_triplets_of_the_released_code_by_hand():
    anchor = tf.constant([[0.0, 0.0], [1.0, 0.0], [4.0, 0.0]])
    other = tf.constant([[0.0, 1.0], [3.0, 0.0], [4.0, 2.0]])
    # Rows 1 and 2 are of one class. By direction, input 2 is more like input 0 than input 1 is.
    features = tf.constant([[1.0, 0.0], [0.0, 1.0], [5.0, 1.0]])
    targets = tf.constant([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    settings = acmr.Settings(margin=0.1, pair_weight=5.0)
    positive = (1 + 4 + 4) / 2
    negative = (np.square([4, 2]).sum() + np.square([1, 1]).sum() + np.square([4, 1]).sum()) / 2
    loss = acmr._released_triplet(anchor, other, features, targets, settings)
    np.testing.assert_allclose(loss, 0.1 + 5 * positive - negative, rtol=1e-6)
    # One hinge for the batch: it is 0 where the negatives as a whole are far enough.
    near = dataclasses.replace(settings, pair_weight=0.1)
    assert acmr._released_triplet(anchor, other, features, targets, near) == 0


@pytest.mark.slow
def test_acmr_as_released_leaves_the_label_classifier_alone(data):
    settings = acmr.Settings(epochs=1, batch_size=8, as_released=True)
    keras.utils.set_random_seed(0)
    classes = acmr.fit(data, settings).class_layer
    assert np.array_equal(classes.bias, np.zeros(3))
    classes = acmr.fit(data, dataclasses.replace(settings, as_released=False)).class_layer
    assert not np.array_equal(classes.bias, np.zeros(3))


def test_dscmr_likelihood_by_hand():
    a, b = tf.constant([[2.0, 0.0]]), tf.constant([[1.0, 0.0], [0.0, 3.0]])
    # Halves of the cosines 1 and 0; the first shares a label.
    expected = np.mean([np.log1p(np.exp(0.5)) - 0.5, np.log(2)])
    assert dscmr._likelihood(a, b, tf.constant([[1.0, 0.0]])).numpy() == pytest.approx(expected)


def test_supervised_contrastive_by_hand():
    codes = tf.constant([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 5.0]])
    targets = tf.constant([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    # Each item's only positive is at cosine 1, its two negatives at 0; τ = .5.
    expected = -np.log(np.exp(2) / (np.exp(2) + 2))
    assert supervised_contrastive(codes, targets, 0.5).numpy() == pytest.approx(expected)


def codes_of_two_towers(data):
    return trained("two_tower", data).codes(data.image, data.text)


def test_two_towers_read_no_category(data):
    other = dataclasses.replace(data, targets=np.roll(data.targets, 1, axis=0))
    for ours, same in zip(codes_of_two_towers(data), codes_of_two_towers(other), strict=True):
        np.testing.assert_array_equal(ours, same)


def test_two_towers_read_the_groups(data):
    """Pairs of one group are no negatives of each other; without negatives nothing is learned."""

    def after(epochs, group):
        planned = iter([epochs])
        return codes_of_two_towers(dataclasses.replace(data, group=group, planned_epochs=planned))

    one, alone = np.zeros(len(data.image), np.int64), np.arange(len(data.image))
    for first, second in zip(after(1, one), after(2, one), strict=True):
        np.testing.assert_array_equal(first, second)
    for first, second in zip(after(1, alone), after(2, alone), strict=True):
        assert not np.allclose(first, second)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("dscmr", "epochs=0"),
        ("dscmr", "hidden=0"),
        ("dscmr", "pair_weight=nan"),
        ("supcon", "batch_size=0"),
        ("supcon", "temperature=0"),
        ("supcon", "dropout=1"),
        ("two_tower", "batch_size=1"),
        ("two_tower", "temperature=0"),
        ("two_tower", "dropout=1"),
        ("two_tower", "average_decay=-1"),
    ],
)
def test_settings_out_of_range(name, given):
    with pytest.raises(
        InputError, match=f"--model_settings={given}.*: expected (at (least|most)|a finite)"
    ):
        baselines.parse_settings(name, (given,))
