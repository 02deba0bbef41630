"""ψ, the shared class layer and its loss (Eq. 6–9)."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from xgacmn_tf.model.angular_softmax import AngularSoftmax, MarginAnnealing, PlainSoftmax, psi

MARGINS = [1, 2, 3, 4, 5, 8]


def psi_by_pieces(theta: float, m: int) -> float:
    """Eq. 9 as it is printed: find k with θ in [kπ/m, (k+1)π/m], then (−1)^k cos(mθ) − 2k."""
    k = min(int(theta * m / math.pi), m - 1)
    return (-1) ** k * math.cos(m * theta) - 2 * k


def test_psi_of_five_at_named_angles():
    # Each kπ/5 is an end of a piece: |cos| is 1 there, so ψ = 1 − 2k: −1 at 36°, −3 at 72°, −5 at
    # 108°, −7 at 144°, −9 at 180°. In between, 60° = (1 + 2/3)π/5 gives −cos 300° − 2 = −2.5, and
    # 90° = 2.5π/5 gives cos 450° − 4 = −4.
    degrees = np.array([0, 36, 60, 72, 90, 108, 144, 180])
    expected = [1, -1, -2.5, -3, -4, -5, -7, -9]
    values = psi(tf.cos(tf.constant(np.radians(degrees), tf.float32)), 5)
    np.testing.assert_allclose(values, expected, atol=2e-5)


@pytest.mark.parametrize("m", MARGINS)
def test_psi_agrees_with_its_piecewise_definition(m):
    # Degrees that are no multiple of 180/m for any m here, so both sides agree on k.
    theta = np.radians(np.arange(0.77, 180, 1.37))
    expected = [psi_by_pieces(t, m) for t in theta]
    values = psi(tf.cos(tf.constant(theta, tf.float64)), m)
    np.testing.assert_allclose(values, expected, atol=1e-9)


@pytest.mark.parametrize("m", MARGINS)
def test_psi_is_continuous_and_falls_with_the_angle(m):
    theta = np.linspace(0, np.pi, 20_001)
    values = psi(tf.cos(tf.constant(theta, tf.float64)), m).numpy()
    steps = np.diff(values)
    assert (steps <= 1e-12).all()
    # |dψ/dθ| ≤ m, so no step may be longer than m times the step in θ: a jump would be.
    assert (-steps).max() <= m * (theta[1] - theta[0]) * 1.001
    assert values[0] == pytest.approx(1) and values[-1] == pytest.approx(1 - 2 * m)


@pytest.mark.parametrize("m", MARGINS)
def test_psi_gradient_agrees_with_finite_differences(m):
    theta = tf.constant(np.radians(np.arange(3.4, 178, 5.1)), tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(theta)
        values = psi(tf.cos(theta), m)
    step = 1e-6
    numeric = (psi(tf.cos(theta + step), m) - psi(tf.cos(theta - step), m)) / (2 * step)
    np.testing.assert_allclose(tape.gradient(values, theta), numeric, atol=1e-6)


def test_psi_slope_of_five():
    # dψ/dθ = −5 |sin 5θ| (−1)^k…: 0 at every kπ/5, −5 at 90°, where sin 450° = 1.
    theta = tf.constant([np.pi / 2, np.pi / 5, 2 * np.pi / 5, 4 * np.pi / 5], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(theta)
        values = psi(tf.cos(theta), 5)
    np.testing.assert_allclose(tape.gradient(values, theta), [-5, 0, 0, 0], atol=1e-9)


def layer_with_directions(directions, m=5):
    """An AngularSoftmax over the given class directions (d, c)."""
    directions = np.asarray(directions, np.float32)
    layer = AngularSoftmax(directions.shape[1], m=m)
    layer.build((None, directions.shape[0]))
    layer.kernel.assign(directions)
    return layer


def test_only_the_direction_of_the_weights_counts():
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    weights = np.random.default_rng(1).normal(size=(3, 5)).astype(np.float32)
    once, thrice = layer_with_directions(weights), layer_with_directions(3 * weights)
    np.testing.assert_allclose(once(x), thrice(x), rtol=1e-5)


def test_loss_of_a_hand_solved_case():
    # Two classes along the axes, m = 2, x = (3, 4): ‖x‖ = 5, cos θ = (.6, .8). For class 0,
    # θ = 53.13° lies in [0, 90°], so ψ = cos 2θ = 2·.36 − 1 = −.28 and the target's logit is −1.4;
    # the other class has 5 · .8 = 4. Loss: log(1 + e^(4 + 1.4)) = 5.4045….
    layer = layer_with_directions(np.eye(2), m=2)
    x, target = np.array([[3.0, 4.0]], np.float32), np.array([[1.0, 0.0]])
    assert float(layer.loss(x, target, 0.0)) == pytest.approx(math.log1p(math.exp(5.4)), rel=1e-5)
    # With λ = 3 the target's logit is 5 (−.28 + 3 · .6) / 4 = 1.9.
    assert float(layer.loss(x, target, 3.0)) == pytest.approx(math.log1p(math.exp(2.1)), rel=1e-5)


def test_margin_of_one_is_cross_entropy():
    rng = np.random.default_rng(0)
    layer = layer_with_directions(rng.normal(size=(6, 4)), m=1)
    x = rng.normal(size=(8, 6)).astype(np.float32)
    labels = rng.integers(0, 4, 8)
    expected = keras.losses.sparse_categorical_crossentropy(labels, layer(x), from_logits=True)
    loss = layer.loss(x, keras.ops.one_hot(labels, 4), 0.0)
    assert float(loss) == pytest.approx(float(np.mean(expected)), rel=1e-5)


def test_loss_of_several_labels_ignores_an_items_other_labels():
    # Labels {0, 1} of three: each is compared with class 2 alone. With m = 1 and logits
    # (1, 2, 0): mean of log(1 + e^−1) and log(1 + e^−2).
    layer = layer_with_directions(np.eye(3), m=1)
    loss = layer.loss(np.array([[1.0, 2.0, 0.0]], np.float32), np.array([[1.0, 1.0, 0.0]]), 0.0)
    expected = (math.log1p(math.exp(-1)) + math.log1p(math.exp(-2))) / 2
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_an_item_with_every_label_has_nothing_to_learn():
    layer = layer_with_directions(np.eye(3))
    x = tf.Variable([[1.0, 2.0, 0.0]])
    with tf.GradientTape() as tape:
        loss = layer.loss(x, np.ones((1, 3)), 0.0)
    assert float(loss) == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(tape.gradient(loss, x), 0, atol=1e-6)


@pytest.mark.parametrize("m", MARGINS)
@pytest.mark.parametrize(
    "x",
    [[0, 0, 0], [1e-30, 0, 0], [1e-7, 1e-7, 0], [2, 0, 0], [-2, 0, 0], [1e4, 1, 0]],
    ids=["zero", "denormal", "tiny", "angle 0", "angle 180", "long"],
)
def test_gradients_are_finite_everywhere(m, x):
    layer = layer_with_directions(np.eye(3), m=m)
    x = tf.Variable([x], dtype=tf.float32)
    with tf.GradientTape() as tape:
        loss = layer.loss(x, [[1.0, 0.0, 0.0]], 0.0)
    gradients = tape.gradient(loss, [x, layer.kernel.value])
    assert np.isfinite(loss)
    for gradient in gradients:
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("m", [1, 2, 5])
def test_loss_gradient_agrees_with_finite_differences(m):
    rng = np.random.default_rng(m)
    layer = layer_with_directions(rng.normal(size=(4, 3)), m=m)
    x, targets = rng.normal(size=(2, 4)).astype(np.float32), np.eye(3)[[0, 2]]
    variable = tf.Variable(x)
    with tf.GradientTape() as tape:
        loss = layer.loss(variable, targets, 1.5)
    gradient = tape.gradient(loss, variable).numpy()
    step = 1e-2  # float32: longer steps lose less to rounding than they lose to curvature
    for i, j in np.ndindex(*x.shape):
        shift = np.zeros_like(x)
        shift[i, j] = step
        numeric = (layer.loss(x + shift, targets, 1.5) - layer.loss(x - shift, targets, 1.5)) / (
            2 * step
        )
        assert gradient[i, j] == pytest.approx(float(numeric), abs=5e-3)


def test_posteriors_add_up_to_one_and_follow_the_angle():
    layer = layer_with_directions(np.eye(2))
    # Logits ‖x‖ cos θ are the coordinates themselves: softmax(log 3, 0) = (3/4, 1/4).
    np.testing.assert_allclose(
        layer.posterior(np.array([[math.log(3), 0.0]], np.float32)), [[0.75, 0.25]], rtol=1e-6
    )


def test_mean_angle_in_degrees():
    layer = layer_with_directions(np.eye(2))
    # (1, 1) stands 45° from its class, (0, 2) is 90° from class 0.
    x, targets = np.array([[1.0, 1.0], [0.0, 2.0]], np.float32), [[1.0, 0.0], [1.0, 0.0]]
    assert float(layer.terms(x, targets, 0.0).angle) == pytest.approx(67.5, abs=1e-3)


@pytest.mark.parametrize("layer", [AngularSoftmax(3), PlainSoftmax(3)])
def test_two_modalities_in_one_go_are_each_on_its_own(layer):
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(2, 8, 4)).astype(np.float32)
    targets = np.eye(3, dtype=np.float32)[rng.integers(0, 3, 8)]
    layer.build((None, 4))
    both = layer.terms(codes, targets, 2.0)
    for i, code in enumerate(codes):
        alone = layer.terms(code, targets, 2.0)
        np.testing.assert_allclose(both.loss[i], alone.loss, rtol=1e-6)
        np.testing.assert_allclose(both.logits[i], alone.logits, atol=1e-6)
        assert layer(code).shape == (8, 3)
        if alone.angle is not None:
            assert float(both.angle[i]) == pytest.approx(float(alone.angle), rel=1e-6)


def test_annealing_falls_from_base_to_floor():
    # 1000 / (1 + .12 · 1658) = 5.0009…, the last step above SphereFace's floor of 5.
    annealing = MarginAnnealing(floor=5, base=1000, gamma=0.12, power=1)
    assert float(annealing(0)) == 1000
    assert float(annealing(1658)) == pytest.approx(1000 / (1 + 0.12 * 1658), rel=1e-5)
    assert float(annealing(1659)) == 5
    assert float(MarginAnnealing(floor=20)(0)) == 20


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="margin m must be an integer of at least 1, received 0"):
        AngularSoftmax(10, m=0)
    with pytest.raises(ValueError, match="at least 0, received -1"):
        MarginAnnealing(floor=-1)


@pytest.mark.parametrize("layer", [AngularSoftmax(4, m=3), PlainSoftmax(4)])
def test_layer_survives_serialization(layer, tmp_path):
    inputs = keras.Input((6,))
    model = keras.Model(inputs, layer(inputs))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    x = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
    np.testing.assert_array_equal(again(x), model(x))
    assert again.layers[-1].get_config() == layer.get_config()


def loss_in_double(codes, directions, targets, m, weight):
    """Eq. 8 with the blend of λ, by its definition, in float64: ψ of the angle itself."""
    codes, directions = codes.astype(np.float64), directions.astype(np.float64)
    length = np.linalg.norm(codes, axis=1, keepdims=True)
    unit = directions / np.linalg.norm(directions, axis=0)
    cosine = np.clip(codes @ unit / np.maximum(length, 1e-300), -1, 1)
    piece = np.minimum(np.floor(np.arccos(cosine) * m / np.pi), m - 1)
    blend = ((-1) ** piece * np.cos(m * np.arccos(cosine)) - 2 * piece + weight * cosine) / (
        1 + weight
    )
    logits, own = length * cosine, (length * blend)[targets > 0]
    others = np.where(targets > 0, -np.inf, logits)
    top = others.max(axis=1)
    others = top + np.log(np.exp(others - top[:, np.newaxis]).sum(axis=1))
    return float(np.mean(np.logaddexp(own, others) - own))


@pytest.mark.parametrize("m", range(1, 9))
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-4, 1.0, 1e4, 1e16])
def test_loss_over_all_sizes_of_codes_keeps_to_double_precision(m, dtype, scale):
    """Relative to the codes' length, float32's loss is within 1e-5 of float64's; never NaN."""
    if dtype == "float16" and scale > 1e4:
        pytest.skip("beyond float16")
    generator = np.random.default_rng(m)
    layer = AngularSoftmax(7, m=m)
    layer.build((None, 12))
    codes = (scale * generator.normal(size=(50, 12)) / 4).astype(dtype)
    targets = np.eye(7, dtype=np.float32)[generator.integers(7, size=50)]
    for weight in (0.0, 10.0):
        with tf.GradientTape() as tape:
            x = tf.constant(codes)
            tape.watch(x)
            loss = layer.loss(x, targets, weight)
        gradient = tape.gradient(loss, [x, layer.kernel.value])
        assert all(np.isfinite(g).all() for g in gradient)
        expected = loss_in_double(codes, layer.kernel.numpy(), targets, m, weight)
        assert float(loss) == pytest.approx(expected, abs=1e-5 * max(1.0, scale))
