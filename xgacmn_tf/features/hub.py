"""CLIP and SigLIP, pretrained on pairs of images and texts, through KerasHub.

A preset is a name that KerasHub knows, a handle (`kaggle://…`, `hf://…`), or a folder that
`save_to_preset` or Hugging Face's `save_pretrained` wrote. KerasHub downloads what is no folder,
once. Presets hold JSON, HDF5, safetensors and word lists, never code.
"""

import abc
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import keras
import numpy as np
from PIL import Image

from xgacmn_tf.errors import InputError, one_line
from xgacmn_tf.features.extractor import Extractor, file_hash, package_folder

# Per extractor: the prefix of KerasHub's classes, and the preset where none is named.
_PAIRS = {
    "clip": ("CLIP", "clip_vit_base_patch32"),
    "siglip": ("SigLIP", "siglip_base_patch16_224"),
}


class _Parts(NamedTuple):
    """The parts of a preset: `program` is the part that computes features."""

    backbone: keras.Model
    preprocessor: Any
    program: keras.Model


class _Preset(Extractor):
    """Holds a preset, and loads it when it is first needed. Features have unit length."""

    def __init__(self, name: str, preset: str):
        self.name, self.preset = name, preset
        self._settings: dict[str, Any] | None = None

    def settings(self) -> dict[str, Any]:
        if self._settings is None:
            folder = Path(self.preset)
            source = file_hash(folder) if folder.is_dir() else self.preset
            self._settings = {"preset": source}
        return self._settings

    def missing(self) -> tuple[str, ...]:
        return () if package_folder("keras_hub") else ("xgacmn_tf[hub]",)

    @functools.cached_property
    def _parts(self) -> _Parts:
        self.check()
        try:
            import keras_hub

            return self._load_parts(keras_hub.models)
        except Exception as error:  # Downloads, JSON and HDF5 fail in a dozen ways.
            raise InputError(
                f"{self.name} features: the preset {self.preset!r} cannot be loaded "
                f"({one_line(error)}); name the folder of such a preset as weights, or check the "
                "network"
            ) from error

    @abc.abstractmethod
    def _load_parts(self, models: Any) -> _Parts:
        """Return the preset's parts, from the classes in `keras_hub.models`."""

    @property
    def dim(self) -> int:
        return int(self._parts.program.output_shape[-1])

    @abc.abstractmethod
    def _inputs(self, batch: list[Any]) -> Any:
        """Return the program's input for a full batch."""

    def encode(self, prepared: Sequence[Any]) -> np.ndarray:
        rows = [np.zeros((0, self.dim), np.float32)]
        for start in range(0, len(prepared), self.batch_size):
            batch = list(prepared[start : start + self.batch_size])
            # The last batch is filled up, so that one compiled program serves all.
            full = [*batch, *[batch[0]] * (self.batch_size - len(batch))]
            rows.append(self._parts.program.predict_on_batch(self._inputs(full))[: len(batch)])
        features = np.concatenate(rows)
        return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)

    def _save_files(self, folder: Path) -> None:
        self._parts.backbone.save_to_preset(str(folder))
        self._parts.preprocessor.save_to_preset(str(folder))

    @classmethod
    def _load(cls, folder: Path, name: str, settings: dict[str, Any]) -> Self:
        loaded = cls(name, str(folder))
        loaded._settings = settings
        return loaded


class _Pair(_Preset):
    """CLIP (Radford et al. 2021) or SigLIP (Zhai et al. 2023), by the extractor's name."""

    def __init__(self, name: str, weights: str | None = None):
        super().__init__(name, weights or _PAIRS[name][1])

    def _load_parts(self, models: Any) -> _Parts:
        prefix = _PAIRS[self.name][0]
        backbone = getattr(models, f"{prefix}Backbone").from_preset(self.preset)
        preprocessor = getattr(models, f"{prefix}Preprocessor").from_preset(self.preset)
        return _Parts(backbone, preprocessor, self._encoder(backbone))

    @abc.abstractmethod
    def _encoder(self, backbone: Any) -> keras.Model:
        """Return one of the two encoders, up to the space that both share."""


class PairedImages(_Pair):
    """The image encoder of CLIP or SigLIP. The preset says how images are cut and scaled."""

    modality: ClassVar[str] = "image"

    def _encoder(self, backbone: Any) -> keras.Model:
        pixels = keras.Input(backbone.vision_encoder.image_shape, name="images")
        return keras.Model(pixels, backbone.get_vision_embeddings(pixels))

    def prepare(self, item: Image.Image) -> np.ndarray:
        converter = self._parts.preprocessor.image_converter
        return keras.ops.convert_to_numpy(converter(np.asarray(item)[np.newaxis]))[0]

    def _inputs(self, batch: list[np.ndarray]) -> np.ndarray:
        return np.stack(batch)


class PairedTexts(_Pair):
    """The text encoder of CLIP or SigLIP."""

    modality: ClassVar[str] = "text"

    def _encoder(self, backbone: Any) -> keras.Model:
        tokens = keras.Input((None,), dtype="int32", name="token_ids")
        return keras.Model(tokens, backbone.get_text_embeddings(tokens))

    def _inputs(self, batch: list[str]) -> Any:
        # The preprocessors insist on images beside the texts.
        images = np.zeros((len(batch), 1, 1, 3), np.float32)
        return self._parts.preprocessor({"prompts": batch, "images": images})["token_ids"]
