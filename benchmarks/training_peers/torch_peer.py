"""X-GACMN's training step in PyTorch, written the usual way: modules, two fused Adams, a loop."""

import math
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

DIRECTIONS_STD, LEARNING_RATE = 0.1, 3e-4


def stack(*units: int, last: nn.Module | None = None) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in zip(units, units[1:], strict=False):
        linear = nn.Linear(before, after)
        nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.Tanh()]
    return nn.Sequential(*layers[:-1], *([last] if last else []))


class Generator(nn.Module):
    def __init__(self, dim: int, other_dim: int):
        super().__init__()
        self.encoder = stack(dim, 512, 100, 100, last=nn.Tanh())
        self.decoder = stack(100, 100, 512, other_dim, last=nn.Tanh())

    def forward(self, x):
        code = self.encoder(x)
        return code, self.decoder(code)


class AngularSoftmax(nn.Module):
    def __init__(self, classes: int, m: int = 5, blend: float = 10.0):
        super().__init__()
        self.directions = nn.Parameter(DIRECTIONS_STD * torch.randn(100, classes))
        self.m, self.blend = m, blend

    def forward(self, code, label):
        length = code.norm(dim=1, keepdim=True)
        cosine = (F.normalize(code) @ F.normalize(self.directions, dim=0)).clamp(-1, 1)
        previous, chebyshev = torch.ones_like(cosine), cosine
        for _ in range(self.m - 1):
            previous, chebyshev = chebyshev, 2 * cosine * chebyshev - previous
        k = sum((cosine <= math.cos(j * math.pi / self.m)).float() for j in range(1, self.m))
        psi = (1 - 2 * (k % 2)) * chebyshev - 2 * k
        target = (psi + self.blend * cosine) / (1 + self.blend)
        logits = torch.where(F.one_hot(label, cosine.shape[1]).bool(), target, cosine)
        return F.cross_entropy(length * logits, label)


class Step(nn.Module):
    """All networks; the two losses of Algorithm 1."""

    def __init__(self, image_dim: int, text_dim: int, classes: int):
        super().__init__()
        self.image_generator = Generator(image_dim, text_dim)
        self.text_generator = Generator(text_dim, image_dim)
        self.angular = AngularSoftmax(classes)
        self.d_image, self.d_text = stack(image_dim, 2000, 2), stack(text_dim, 2000, 2)
        self.d_common = stack(100, 50, 2)

    def players(self):
        discriminators = [self.d_image, self.d_text, self.d_common]
        generators = [self.image_generator, self.text_generator, self.angular]
        return tuple([p for m in ms for p in m.parameters()] for ms in (discriminators, generators))

    def generate(self, image, text):
        return *self.image_generator(image), *self.text_generator(text)

    def discriminator_loss(self, image, text, made):
        v_c, v_r, t_c, t_r = (x.detach() for x in made)
        return sum(
            judge(network, real, 0) + judge(network, fake, 1)
            for network, real, fake in (
                (self.d_image, image, t_r),
                (self.d_text, text, v_r),
                (self.d_common, v_c, t_c),
            )
        )

    def generator_loss(self, made, label):
        v_c, v_r, t_c, t_r = made
        adversarial = (
            judge(self.d_text, v_r, 0)
            + judge(self.d_common, v_c, 1)
            + judge(self.d_image, t_r, 0)
            + judge(self.d_common, t_c, 0)
        )
        classes = self.angular(v_c, label) + self.angular(t_c, label)
        return 20 * F.mse_loss(v_c, t_c) + 5 * adversarial + 100 * classes


def judge(network, x, wanted: int):
    label = torch.full((len(x),), wanted, dtype=torch.long)
    return F.cross_entropy(network(x), label)


def run(arrays: dict[str, np.ndarray], batch: int, steps: int, variant: str):
    """Returns a function that trains for `steps` steps and gives the seconds they took.

    `variant` is "compile", "bfloat16" or "".
    """
    torch.manual_seed(0)
    data = {name: torch.from_numpy(values) for name, values in arrays.items()}
    rows = len(data["label"])
    model = Step(data["image"].shape[1], data["text"].shape[1], int(data["label"].max()) + 1)
    players = model.players()
    d_optimizer, g_optimizer = (
        torch.optim.Adam(player, lr=LEARNING_RATE, fused=True) for player in players
    )

    def precision():
        return torch.autocast("cpu", torch.bfloat16, enabled=variant == "bfloat16")

    def losses_and_steps(image, text, label):
        with precision():
            made = model.generate(image, text)
            d_loss = model.discriminator_loss(image, text, made)
        d_optimizer.zero_grad(set_to_none=True)
        d_loss.backward()
        d_optimizer.step()
        for parameter in players[0]:
            parameter.requires_grad_(False)
        with precision():
            g_loss = model.generator_loss(made, label)
        g_optimizer.zero_grad(set_to_none=True)
        g_loss.backward()
        g_optimizer.step()
        for parameter in players[0]:
            parameter.requires_grad_(True)
        return d_loss, g_loss

    if variant == "compile":
        # What changes the weights stays outside of the compiled parts, as PyTorch's guide has it.
        model.generate = torch.compile(model.generate)
        model.discriminator_loss = torch.compile(model.discriminator_loss)
        model.generator_loss = torch.compile(model.generator_loss)

    def train() -> float:
        done, started = 0, time.perf_counter()
        while done < steps:
            order = torch.randperm(rows)
            for first in range(0, rows - batch + 1, batch):
                chosen = order[first : first + batch]
                losses_and_steps(*(data[name][chosen] for name in ("image", "text", "label")))
                done += 1
                if done == steps:
                    break
        return time.perf_counter() - started

    return train
