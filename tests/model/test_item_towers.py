"""Item towers: the loss by hand, negatives that are none, ensembles, and what training moves."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.model.item_towers import (
    ItemTower,
    ItemTowers,
    TowerSettings,
    contrastive_loss,
    pair_keys,
)
from xgacmn_tf.model.map_choice import fit_map
from xgacmn_tf.model.networks import Encoder
from xgacmn_tf.runs.checkpoint import load_encoder


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
    defaults = {
        "hidden": (16,), "dim": 8, "dropout": 0.3, "temperature": 0.1, "learning_rate": 5e-4,
        "average_decay": 0.99, "members": 1,
    }  # fmt: skip
    return ItemTowers({"image": 7, "text": 4}, TowerSettings(**(defaults | settings)))


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


def tower(members: int, **settings) -> ItemTower:
    made = ItemTower((16,), 8, members=members, **settings)
    made.build((None, 7))
    return made


def test_embeddings_are_those_of_the_members_at_unit_length():
    made, x = tower(3), unit(10, 0)[:, [0, 1, 2, 3, 4, 0, 1]]
    embeddings = made(x).numpy()
    assert embeddings.shape == (10, 24) == made.compute_output_shape((10, 7))
    assert made.output_dim == 24 and len(made.members) == 3
    for number, member in enumerate(made.members):
        own = member(x).numpy()
        expected = own / np.linalg.norm(own, axis=1, keepdims=True)
        np.testing.assert_allclose(embeddings[:, 8 * number : 8 * number + 8], expected, atol=1e-6)
    # No two members are alike.
    assert not np.allclose(embeddings[:, :8], embeddings[:, 8:16], atol=0.1)


@pytest.mark.parametrize("members", [1, 3])
def test_the_cosine_is_the_mean_of_the_members_cosines(members):
    image, text = tower(members), tower(members)
    x, z = (unit(10, seed)[:, [0, 1, 2, 3, 4, 0, 1]] for seed in (0, 1))
    v, t = image(x).numpy(), text(z).numpy()
    np.testing.assert_allclose(np.linalg.norm(v, axis=1), members**0.5, rtol=1e-5)
    cosine = v @ t.T / np.linalg.norm(v, axis=1)[:, np.newaxis] / np.linalg.norm(t, axis=1)
    each = [a @ b.T for a, b in zip(np.split(v, members, 1), np.split(t, members, 1), strict=True)]
    np.testing.assert_allclose(cosine, np.mean(each, axis=0), atol=1e-6)


def test_dropout_is_of_training_alone():
    made, x = tower(2, dropout=0.5), unit(10, 0)[:, [0, 1, 2, 3, 4, 0, 1]]
    np.testing.assert_array_equal(made(x), made(x))
    trained = made(x, training=True).numpy()
    assert not np.allclose(trained, made(x), atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(trained, axis=1), 2**0.5, rtol=1e-5)


def test_a_tower_is_made_again_from_its_settings():
    made, x = tower(3, dropout=0.2), unit(10, 0)[:, [0, 1, 2, 3, 4, 0, 1]]
    again = ItemTower.from_config(made.get_config())
    again.build((None, 7))
    assert again.get_config() == made.get_config()
    again.set_weights(made.get_weights())
    np.testing.assert_array_equal(again(x), made(x))


def test_members_learn_as_if_each_were_alone():
    """A step of two members moves the first one as it moves in a tower of its own."""
    data = batch()
    both, one = (towers(dropout=0.0, members=members) for members in (2, 1))
    for modality in ("image", "text"):
        one.towers[modality].set_weights(both.towers[modality].members[0].get_weights())
    terms = [
        contrastive_loss(
            *(tf.math.l2_normalize(member(data[m]), axis=-1) for m, member in pair.items()),
            data["key"], both.settings.temperature,
        )
        for pair in (
            {m: both.towers[m].members[number] for m in ("image", "text")} for number in (0, 1)
        )
    ]  # fmt: skip
    found = both.step(data)
    one.step(data)
    for name, values in zip(ItemTowers.TERMS, zip(*terms, strict=True), strict=True):
        assert float(found[name]) == pytest.approx(np.mean(values), rel=1e-5)
    for modality in ("image", "text"):
        for a, b in zip(
            both.towers[modality].members[0].get_weights(),
            one.towers[modality].get_weights(),
            strict=True,
        ):
            np.testing.assert_allclose(a, b, atol=1e-5)


def encoder_with(image_items: keras.Layer, text_items: keras.Layer) -> CommonSpaceEncoder:
    generator = np.random.default_rng(0)
    image, text = (generator.normal(size=(20, dim)).astype(np.float32) for dim in (7, 4))
    return CommonSpaceEncoder(
        fit_map("zscore", image, "image"), fit_map("zscore", text, "text"),
        Encoder((9,), 6), Encoder((9,), 6), None, image_items=image_items, text_items=text_items,
        item_weight=0.3,
    )  # fmt: skip


def test_an_encoder_with_towers_is_saved_and_loaded(tmp_path):
    made, data = encoder_with(*(ItemTower((5,), 3, members=2) for _ in range(2))), batch()
    made.save(tmp_path / "best.keras")
    again = load_encoder(tmp_path / "best.keras")
    assert isinstance(again.image_items, ItemTower) and len(again.text_items.members) == 2
    for modality in ("image", "text"):
        encodings = made.encodings_of(modality, data[modality])
        assert encodings.shape == (32, 6 + 2 * 3)
        np.testing.assert_array_equal(again.encodings_of(modality, data[modality]), encodings)
        # The whole item embedding has unit length, whatever the number of members.
        np.testing.assert_allclose(np.linalg.norm(encodings[:, 6:], axis=1), 1, rtol=1e-5)
    image, text = again.represent_pairs(data["image"], data["text"], "item")
    v, t = (again.encodings_of(m, data[m]).numpy() for m in ("image", "text"))
    cosine = keras.ops.normalize(v[:, :6]) @ keras.ops.transpose(keras.ops.normalize(t[:, :6]))
    np.testing.assert_allclose(
        image @ tf.transpose(text), cosine + 0.3 * v[:, 6:] @ t[:, 6:].T, atol=1e-5
    )
    np.testing.assert_allclose(again.items_of(image), v[:, 6:], atol=1e-5)


@pytest.mark.slow
def test_a_process_that_trains_nothing_loads_towers(tmp_path):
    """Keras knows registered layers only once their module was imported."""
    made = encoder_with(*(ItemTower((5,), 3, members=2) for _ in range(2)))
    made.save(tmp_path / "best.keras")
    code = (
        "import sys; from xgacmn_tf.runs.checkpoint import load_encoder; "
        "print(type(load_encoder(sys.argv[1]).image_items).__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "best.keras")], capture_output=True, text=True
    )
    assert done.stdout.strip() == "ItemTower", done.stderr[-2000:]


def test_an_encoder_of_before_ensembles_still_loads(tmp_path):
    """Its item towers are plain networks, whose embeddings `encode` normalizes."""
    towers = [Encoder((5,), 3, code_activation="linear", dropout=0.3) for _ in range(2)]
    made, data = encoder_with(*towers), batch()
    made.save(tmp_path / "best.keras")
    again = load_encoder(tmp_path / "best.keras")
    assert type(again.image_items) is Encoder and again.has_items
    for modality in ("image", "text"):
        encodings = again.encodings_of(modality, data[modality])
        np.testing.assert_array_equal(encodings, made.encodings_of(modality, data[modality]))
        np.testing.assert_allclose(np.linalg.norm(encodings[:, 6:], axis=1), 1, rtol=1e-5)
    image, _ = again.represent_pairs(data["image"], data["text"], "item")
    assert again.items_of(image).shape == (32, 3)
