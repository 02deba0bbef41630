"""Item towers: the loss by hand, negatives that are none, and what training moves."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from xgacmn_tf.model.item_towers import ItemTowers, contrastive_loss, pair_keys


def unit(rows: int, seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(rows, 5))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def by_hand(image, text, together, temperature):
    """Loss and accuracy in plain NumPy; pairs that belong together are left out as negatives."""
    losses, found = [], []
    for cosine in (image @ text.T, text @ image.T):
        for row in range(len(cosine)):
            others = [k for k in range(len(cosine)) if k == row or not together[row, k]]
            logits = cosine[row, others].astype(np.float64) / temperature
            losses.append(np.log(np.exp(logits - logits.max()).sum()) + logits.max())
            losses[-1] -= cosine[row, row] / temperature
            found.append(others[int(logits.argmax())] == row)
    return np.mean(losses), np.mean(found)


def test_loss_by_hand():
    image, text = unit(6, 0), unit(6, 1)
    alone = np.arange(6)[:, np.newaxis]
    loss, accuracy = contrastive_loss(image, text, tf.constant(alone), 0.1)
    expected = by_hand(image, text, np.eye(6, dtype=bool), 0.1)
    np.testing.assert_allclose((float(loss), float(accuracy)), expected, rtol=1e-5)


def test_pairs_of_one_image_text_or_group_are_no_negatives():
    image, text = unit(6, 2), unit(6, 3)
    # Rows 0 and 1 share the first key, 1 and 2 the second, 4 and 5 both.
    key = np.array([[0, 0], [0, 1], [2, 1], [3, 3], [4, 4], [4, 4]])
    together = np.eye(6, dtype=bool)
    for a, b in ((0, 1), (1, 2), (4, 5)):
        together[a, b] = together[b, a] = True
    loss, accuracy = contrastive_loss(image, text, tf.constant(key), 0.2)
    np.testing.assert_allclose(
        (float(loss), float(accuracy)), by_hand(image, text, together, 0.2), rtol=1e-5
    )


def test_keys_are_equal_for_the_same_image_text_or_group():
    image, text = unit(5, 0), unit(5, 1)
    image[3], text[4] = image[0], text[1]
    expected = [[0, 1, 2, 0, 4], [0, 1, 2, 3, 1], [0, 1, 1, 3, 4]]
    keys = pair_keys(image, text, np.array(["a", "b", "b", "c", "d"]))
    np.testing.assert_array_equal(keys.T, expected)
    # Without groups, identical images are one.
    np.testing.assert_array_equal(pair_keys(image, text, None)[:, 2], expected[0])


def test_a_batch_of_pairs_that_all_belong_together_has_no_loss():
    loss, accuracy = contrastive_loss(unit(4, 0), unit(4, 1), tf.zeros((4, 1), tf.int64), 0.1)
    assert float(loss) == pytest.approx(0, abs=1e-6) and float(accuracy) == 1


def towers(**settings) -> ItemTowers:
    keras.utils.set_random_seed(0)
    return ItemTowers({"image": 7, "text": 4}, **({"hidden": (16,), "dim": 8} | settings))


def batch(rows: int = 32):
    """Texts that are a part of their images."""
    image = np.random.default_rng(0).normal(size=(rows, 7)).astype(np.float32)
    key = np.arange(rows)[:, np.newaxis]
    return {"image": tf.constant(image), "text": tf.constant(image[:, :4]), "key": tf.constant(key)}


def test_steps_find_the_pairs_and_the_average_follows():
    made, data = towers(dropout=0.0, learning_rate=1e-2), batch()
    first = {name: float(value) for name, value in made.step(data).items()}
    for _ in range(150):
        last = made.step(data)
    assert list(first) == list(ItemTowers.TERMS)
    assert float(last["item/loss"]) < 0.5 * first["item/loss"]
    assert float(last["item/accuracy"]) > 0.9
    image, text = (
        tf.math.l2_normalize(made.averaged[m](data[m]), axis=-1) for m in ("image", "text")
    )
    best = tf.argmax(image @ tf.transpose(text), axis=1).numpy()
    assert (best == np.arange(32)).mean() > 0.9


def test_towers_start_alike_with_one_seed():
    one, two = towers(), towers()
    for a, b in zip(one.weights, two.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    for modality in ("image", "text"):
        for weight, average in one._averaged_pairs(modality):
            np.testing.assert_array_equal(weight, average)
