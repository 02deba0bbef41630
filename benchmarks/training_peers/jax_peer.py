"""X-GACMN's training step in JAX: pure functions, one jitted step, Adam written out."""

import math
import time

import jax
import jax.numpy as jnp
import numpy as np

LEARNING_RATE = 3e-4
HIDDEN = (512, 100)


def stack(key, *units: int):
    keys = jax.random.split(key, len(units) - 1)
    start = jax.nn.initializers.glorot_uniform()
    return [
        (start(k, (a, b)), jnp.zeros(b)) for k, a, b in zip(keys, units, units[1:], strict=False)
    ]


def apply(network, x, last=jnp.tanh):
    for weight, bias in network[:-1]:
        x = jnp.tanh(x @ weight + bias)
    weight, bias = network[-1]
    return last(x @ weight + bias)


def says(network, x, wanted: int):
    logits = apply(network, x, last=lambda value: value)
    return -jax.nn.log_softmax(logits)[:, wanted].mean()


def class_loss(directions, code, label, m=5, blend=10.0):
    length = jnp.sqrt((code**2).sum(1, keepdims=True) + 1e-12)
    unit = directions / jnp.linalg.norm(directions, axis=0)
    cosine = jnp.clip(code / length @ unit, -1, 1)
    previous, chebyshev = jnp.ones_like(cosine), cosine
    for _ in range(m - 1):
        previous, chebyshev = chebyshev, 2 * cosine * chebyshev - previous
    k = sum((cosine <= math.cos(j * math.pi / m)).astype(jnp.float32) for j in range(1, m))
    psi = (1 - 2 * (k % 2)) * chebyshev - 2 * k
    target = (psi + blend * cosine) / (1 + blend)
    chosen = jax.nn.one_hot(label, cosine.shape[1], dtype=bool)
    logits = length * jnp.where(chosen, target, cosine)
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), label[:, None], 1).mean()


def adam(weights, gradients, state):
    first, second, count = state
    count += 1
    rate = LEARNING_RATE * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
    first = jax.tree.map(lambda a, g: 0.9 * a + 0.1 * g, first, gradients)
    second = jax.tree.map(lambda a, g: 0.999 * a + 0.001 * g * g, second, gradients)
    weights = jax.tree.map(
        lambda w, a, b: w - rate * a / (jnp.sqrt(b) + 1e-7), weights, first, second
    )
    return weights, (first, second, count)


def generate(g, image, text):
    v_c, t_c = apply(g["image_encoder"], image), apply(g["text_encoder"], text)
    return v_c, apply(g["image_decoder"], v_c), t_c, apply(g["text_decoder"], t_c)


def d_loss(d, image, text, made):
    v_c, v_r, t_c, t_r = made
    return sum(
        says(network, real, 0) + says(network, fake, 1)
        for network, real, fake in (
            (d["image"], image, t_r),
            (d["text"], text, v_r),
            (d["common"], v_c, t_c),
        )
    )


def g_loss(made, directions, d, label):
    v_c, v_r, t_c, t_r = made
    adversarial = (
        says(d["text"], v_r, 0)
        + says(d["common"], v_c, 1)
        + says(d["image"], t_r, 0)
        + says(d["common"], t_c, 0)
    )
    classes = class_loss(directions, v_c, label) + class_loss(directions, t_c, label)
    return 20 * ((v_c - t_c) ** 2).mean() + 5 * adversarial + 100 * classes


def step(state, image, text, label):
    d, g, d_state, g_state = state
    made, back = jax.vjp(lambda g: generate(g, image, text), g)
    loss, gradients = jax.value_and_grad(d_loss)(d, image, text, made)
    d, d_state = adam(d, gradients, d_state)
    (from_made, from_directions) = jax.grad(g_loss, (0, 1))(made, g["directions"], d, label)
    (gradients,) = back(from_made)
    gradients = gradients | {"directions": gradients["directions"] + from_directions}
    g, g_state = adam(g, gradients, g_state)
    return (d, g, d_state, g_state), loss


def run(arrays: dict[str, np.ndarray], batch: int, steps: int):
    """Returns a function that trains for `steps` steps and gives the seconds they took."""
    data = {name: jnp.asarray(values) for name, values in arrays.items()}
    image_dim, text_dim = (arrays[name].shape[1] for name in ("image", "text"))
    keys = jax.random.split(jax.random.PRNGKey(0), 8)
    g = {
        "image_encoder": stack(keys[0], image_dim, *HIDDEN, 100),
        "text_encoder": stack(keys[1], text_dim, *HIDDEN, 100),
        "image_decoder": stack(keys[2], 100, *HIDDEN[::-1], text_dim),
        "text_decoder": stack(keys[3], 100, *HIDDEN[::-1], image_dim),
        "directions": 0.1 * jax.random.normal(keys[4], (100, int(arrays["label"].max()) + 1)),
    }
    d = {
        "image": stack(keys[5], image_dim, 2000, 2),
        "text": stack(keys[6], text_dim, 2000, 2),
        "common": stack(keys[7], 100, 50, 2),
    }

    def start(weights):
        return *(jax.tree.map(jnp.zeros_like, weights) for _ in range(2)), jnp.float32(0)

    state = (d, g, start(d), start(g))
    compiled = jax.jit(step, donate_argnums=0)
    generator = np.random.default_rng(0)

    def train() -> float:
        nonlocal state
        started = time.perf_counter()
        order = generator.permutation(len(data["label"]))[: steps * batch].reshape(steps, batch)
        for rows in order:
            state, loss = compiled(
                state, *(data[name][rows] for name in ("image", "text", "label"))
            )
        loss.block_until_ready()
        return time.perf_counter() - started

    return train
