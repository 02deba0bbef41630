"""Embeddings of queries and items by a version's `encode_*` signatures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import tensorflow as tf

from xgacmn_tf.features.image_preprocessing import smallest_jpeg
from xgacmn_tf.serve.errors import RequestError
from xgacmn_tf.serve.model_version import ModelVersion
from xgacmn_tf.serve.runners import Runner

# Rows of features that are encoded at once.
_ROWS_AT_ONCE = 256
_SIGNATURES = {
    ("image", "features"): ("encode_image", "image_features"),
    ("text", "features"): ("encode_text", "text_features"),
    ("image", "raw"): ("encode_image_bytes", "image_bytes"),
    ("text", "raw"): ("encode_raw_text", "text"),
}


@dataclass(frozen=True)
class Encoded:
    """An encoded image or text.

    Attributes:
      embedding: (e,) float32, compared by inner product.
      captions: (d,) float32 caption features of a text, see
        `CommonSpaceEncoder.caption_features`; None for images and without item embeddings.
      known_words: number of known words of a raw text; None for anything else.
    """

    embedding: np.ndarray
    captions: np.ndarray | None = None
    known_words: int | None = None


class Encoder:
    """The encoders of a version, by its signatures.

    It also has what `xgacmn_tf.gallery.search_embeddings` needs of a `CommonSpaceEncoder`, so that
    items are embedded as in the version's own searches: its encodings are the embeddings.

    Args:
      version: the version.
      run: runs its signatures.

    Attributes:
      similarity: what searches rank by.
      label_names: names of the classes, or None if embeddings have no class posteriors.
    """

    def __init__(self, version: ModelVersion, run: Runner):
        self.version, self._run = version, run
        record = version.record["encoder"]
        self.similarity = str(version.record["similarity"])
        self.label_names: list[str] | None = record["label_names"]
        self.num_classes: int | None = record["posteriors"] or None
        self.code_dim, self.item_dim = int(record["code_dim"]), int(record["item_dim"])
        # Of embeddings for the similarity "item", without caption features.
        self.width = (self.num_classes or self.code_dim) + self.item_dim
        self._item_weight = float(record["item_weight"])
        self._thresholds = record["match_thresholds"]
        self.text_map = SimpleNamespace(output_dim=int(record["text_dim"]))

    # ---- What `search_embeddings` needs

    def encodings_of(self, modality: str, features: np.ndarray) -> tf.Tensor:
        """Return the embeddings (n, e) float32 of features (n, d), n at least 1."""
        return self._in_blocks(modality, features, "search")

    def represent(self, encodings: tf.Tensor, similarity: str, modality: str) -> tf.Tensor:
        """Return the encodings, which are the embeddings for the version's similarity."""
        return encodings

    def caption_features_of(self, features: np.ndarray) -> tf.Tensor:
        """Return the caption features (n, d) float32 of text features (n, d_t)."""
        return self._in_blocks("text", features, "caption_features")

    def with_caption_features(self, embeddings: tf.Tensor, captions: tf.Tensor) -> tf.Tensor:
        """Return "item" embeddings (n, e) with caption features (n, d): (n, e + d)."""
        parts = embeddings[:, : -self.item_dim], captions, embeddings[:, -self.item_dim :]
        return tf.concat(parts, axis=-1)

    def _in_blocks(self, modality: str, features: np.ndarray, output: str) -> tf.Tensor:
        signature, name = _SIGNATURES[modality, "features"]
        starts = range(0, len(features), _ROWS_AT_ONCE)
        blocks = [self._run(signature, {name: features[i : i + _ROWS_AT_ONCE]}) for i in starts]
        return tf.constant(np.concatenate([block[output] for block in blocks]), tf.float32)

    # ---- Single images and texts

    def input_dims(self) -> dict[str, int]:
        """Return the number of features that each modality has."""
        return {
            modality: int(self.version.signatures[signature].inputs[name].shape[1])
            for (modality, form), (signature, name) in _SIGNATURES.items()
            if form == "features"
        }

    def takes(self, modality: str, form: str) -> bool:
        """Return whether the version encodes this modality as "raw" or as "features"."""
        return _SIGNATURES[modality, form][0] in self.version.signatures

    def encode(self, modality: str, form: str, value: Any) -> Encoded | None:
        """Encode an image or a text.

        Args:
          modality: "image" or "text".
          form: "raw" or "features".
          value: an image file, a text, or (d,) features.

        Returns:
          None if the encoder sees nothing in it: all features are zero, or no word is known.

        Raises:
          RequestError: the version does not take it.
        """
        signature, name = _SIGNATURES[modality, form]
        if signature not in self.version.signatures:
            raise RequestError(
                f"{modality}: version {self.version.number} has no signature {signature}; its run "
                f"was trained on features without an extractor, or the extractor was missing when "
                f"it was exported. Send {modality}_features, or export it again"
            )
        if form == "raw":
            data = value.encode() if isinstance(value, str) else value
            row = np.array([data], object)
        else:
            with np.errstate(over="ignore"):  # The model rejects infinity.
                row = np.asarray([value], np.float32)
            expected = self.version.signatures[signature].inputs[name].shape[1]
            if row.shape != (1, expected):
                raise RequestError(f"{name}: {row.shape[1]} numbers; expected {expected}")
            if not row.any():
                return None
        outputs = self._run(signature, {name: row})
        known = int(outputs["known_words"][0]) if "known_words" in outputs else None
        embedding = np.asarray(outputs["search"][0], np.float32)
        if known == 0 or not embedding.any():
            return None
        captions = outputs.get("caption_features")
        captions = None if captions is None else np.asarray(captions[0], np.float32)
        return Encoded(embedding, captions, known)

    def known_words(self, words: list[str]) -> np.ndarray:
        """Return (n,) bool, whether each word is known; n is at least 1."""
        rows = np.array([word.encode() for word in words], object)
        return np.asarray(self._run("encode_raw_text", {"text": rows})["known_words"]) > 0

    def warm_up(self) -> None:
        """Run each encode signature once, because the first call is slow."""
        examples: dict[str, Callable[[], Any]] = {"text": lambda: "a", "image": smallest_jpeg}
        for modality, example in examples.items():
            if self.takes(modality, "raw"):
                self.encode(modality, "raw", example())

    # ---- What embeddings hold

    def posteriors_of(self, embeddings: np.ndarray) -> np.ndarray | None:
        """Return the class posteriors (n, c) of embeddings (n, e), or None if they have none."""
        return None if self.label_names is None else embeddings[:, : self.num_classes]

    def items_of(self, embeddings: np.ndarray) -> np.ndarray:
        """Return the item embeddings at unit length that "item" embeddings (…, e) end with."""
        return embeddings[..., -self.item_dim :] / self._item_weight**0.5

    def match_threshold(self, split: str, modality: str) -> float | None:
        """Return the threshold of `match_score` for queries of a modality, see `encoders`."""
        threshold: float | None = self._thresholds[split][modality]
        return threshold
