"""Embeddings of queries and items by a version's `encode_*` signatures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import tensorflow as tf

from xgacmn_tf.features.image_preprocessing import smallest_jpeg
from xgacmn_tf.serve.errors import RequestError
from xgacmn_tf.serve.images import for_model
from xgacmn_tf.serve.model_version import ModelVersion
from xgacmn_tf.serve.runners import Runner

# Rows that are encoded at once.
ROWS_AT_ONCE = 256
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
      version, run: the same.
      similarity: what searches rank by.
      label_names: names of the classes, or None if embeddings have no class posteriors.
    """

    def __init__(self, version: ModelVersion, run: Runner):
        self.version, self.run = version, run
        record = version.record["encoder"]
        self.similarity = str(version.record["similarity"])
        self.label_names: list[str] | None = record["label_names"]
        self.num_classes: int | None = record["posteriors"] or None
        self.code_dim, self.item_dim = int(record["code_dim"]), int(record["item_dim"])
        self._item_weight = float(record["item_weight"])
        self._thresholds = record["match_thresholds"]
        self.text_map = SimpleNamespace(output_dim=int(record["text_dim"]))

    # ---- What `search_embeddings` needs

    def encodings_of(self, modality: str, features: np.ndarray) -> tf.Tensor:
        """Return the embeddings (n, e) float32 of features (n, d), n at least 1."""
        return tf.constant(self._outputs(modality, "features", features)["search"], tf.float32)

    def represent(self, encodings: tf.Tensor, similarity: str, modality: str) -> tf.Tensor:
        """Return the encodings, which are the embeddings for the version's similarity."""
        return encodings

    def caption_features_of(self, features: np.ndarray) -> tf.Tensor:
        """Return the caption features (n, d) float32 of text features (n, d_t)."""
        outputs = self._outputs("text", "features", features)
        return tf.constant(outputs["caption_features"], tf.float32)

    def with_caption_features(self, embeddings: tf.Tensor, captions: tf.Tensor) -> tf.Tensor:
        """Return "item" embeddings (n, e) with caption features (n, d): (n, e + d)."""
        parts = embeddings[:, : -self.item_dim], captions, embeddings[:, -self.item_dim :]
        return tf.concat(parts, axis=-1)

    def _outputs(self, modality: str, form: str, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the outputs of a signature for n rows, n at least 1."""
        signature, name = _SIGNATURES[modality, form]
        starts = range(0, len(rows), ROWS_AT_ONCE)
        blocks = [self.run(signature, {name: rows[i : i + ROWS_AT_ONCE]}) for i in starts]
        return {key: np.concatenate([block[key] for block in blocks]) for key in blocks[0]}

    # ---- Images and texts

    def input_dims(self) -> dict[str, int]:
        """Return the number of features that each modality has."""
        return {
            modality: int(self.version.signatures[signature][name].shape[1])
            for (modality, form), (signature, name) in _SIGNATURES.items()
            if form == "features"
        }

    def takes_raw(self, modality: str) -> bool:
        """Return whether the version encodes image files or texts of this modality."""
        return _SIGNATURES[modality, "raw"][0] in self.version.signatures

    def encode(self, modality: str, form: str, values: Sequence[Any]) -> list[Encoded | None]:
        """Encode images or texts.

        Args:
          modality: "image" or "text".
          form: "raw" or "features".
          values: n image files, texts, or lists of d features; n is at least 1.

        Returns:
          n encoded values; None if the encoder sees nothing in one: all features are zero, or no
          word is known.

        Raises:
          RequestError: the version does not take one of them.
        """
        signature, name = _SIGNATURES[modality, form]
        if signature not in self.version.signatures:
            raise RequestError(
                f"{modality}: version {self.version.number} has no signature {signature}; its run "
                "was trained on features without an extractor, or the extractor was missing when "
                f"it was exported. Send {modality}_features, or export it again"
            )
        if form == "raw":
            files = [v.encode() if isinstance(v, str) else for_model(v) for v in values]
            rows = np.array(files, object)
        else:
            expected = self.input_dims()[modality]
            for value in values:
                if len(value) != expected:
                    raise RequestError(f"{name}: {len(value)} numbers; expected {expected}")
            with np.errstate(over="ignore"):  # The model rejects infinity.
                rows = np.array(values, np.float32)
        outputs = self._outputs(modality, form, rows)
        embeddings = outputs["search"].astype(np.float32)
        captions, known = outputs.get("caption_features"), outputs.get("known_words")
        understood = np.asarray(embeddings.any(axis=1))
        if known is not None:
            understood &= known > 0
        if form == "features":
            understood &= rows.any(axis=1)
        return [
            Encoded(
                embeddings[row],
                None if captions is None else captions[row].astype(np.float32),
                None if known is None else int(known[row]),
            )
            if is_understood
            else None
            for row, is_understood in enumerate(understood)
        ]

    def warm_up(self) -> None:
        """Run each encode signature of raw values once, because the first call is slow."""
        for modality, example in (("text", "a"), ("image", smallest_jpeg())):
            if self.takes_raw(modality):
                self.encode(modality, "raw", [example])

    # ---- What embeddings hold

    def query_by(self, similarity: str | None, embedding: np.ndarray) -> np.ndarray:
        """Return a query's embedding (e,) for a similarity to the items' embeddings.

        Args:
          similarity: None for the run's; "item" runs also compare by "posterior" alone, because
            their embeddings begin with the class posteriors.
          embedding: (e,) of the query by the run's similarity.

        Raises:
          RequestError: items are not compared by this similarity.
        """
        if similarity in (None, self.similarity):
            return embedding
        by_posterior = self.similarity == "item" and self.num_classes is not None
        if similarity != "posterior" or not by_posterior:
            allowed = " or ".join([self.similarity, *["posterior"] * by_posterior])
            raise RequestError(f"similarity: {similarity!r}; expected {allowed}")
        posterior = np.zeros_like(embedding)
        posterior[: self.num_classes] = embedding[: self.num_classes]
        return posterior

    def posteriors_of(self, embeddings: np.ndarray) -> np.ndarray:
        """Return the class posteriors (n, c) of embeddings (n, e), if there are label names."""
        return embeddings[:, : self.num_classes]

    def items_of(self, embeddings: np.ndarray) -> np.ndarray:
        """Return the item embeddings at unit length that "item" embeddings (…, e) end with."""
        return embeddings[..., -self.item_dim :] / self._item_weight**0.5

    def match_threshold(self, split: str, modality: str) -> float | None:
        """Return the threshold of `match_score` for queries of a modality, see `encoders`."""
        threshold: float | None = self._thresholds[split][modality]
        return threshold
