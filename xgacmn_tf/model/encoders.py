"""The inference model: both encoders with their input maps and the class layer.

Evaluation, search and serving need nothing else, so it is a model of its own: it takes raw features
and returns codes, embeddings and class posteriors. Discriminators, decoders and optimizers belong
to `xgacmn.XGACMN`. The compared systems result in the same model with other layers (`layers`).
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Mapping
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf

from xgacmn_tf.blocks import in_blocks
from xgacmn_tf.errors import InputError
from xgacmn_tf.model import PACKAGE
from xgacmn_tf.model.checks import check_numbers, check_pairs
from xgacmn_tf.model.input_maps import InputMap
from xgacmn_tf.names import MODALITIES, SEARCH_SPLITS, SIMILARITIES

# Weight of the cosine between a typed query and an image's captions, beside the similarity "item".
CAPTION_WEIGHT = 4.0
# Best hits whose item embeddings tell whether a query has a good match.
MATCH_DEPTH = 3
# What `CommonSpaceEncoder.encode_image` and `encode_text` return.
OUTPUTS = ("search", "code", "posterior")
# Arguments of `CommonSpaceEncoder` that are layers. Files of earlier versions lack the last two.
_LAYERS = (
    "image_map",
    "text_map",
    "image_encoder",
    "text_encoder",
    "class_layer",
    "image_items",
    "text_items",
)
_NUMBERS = ("calibration", "item_weight", "match_thresholds")


@keras.saving.register_keras_serializable(PACKAGE)
class CommonSpaceEncoder(keras.Model):
    """Encoders of images and texts into one hypersphere.

    Args:
      image_map, text_map: fitted input maps.
      image_encoder, text_encoder: G_Ienc and G_Tenc, or any layers from mapped features to codes.
      class_layer: the class layer that both modalities share, with a function
        `posterior(codes, factor)`; None without a class loss.
      calibration: {"image": a_v, "text": a_t}, the factors of the class logits by temperature
        scaling, above 0; 1 without calibration. They affect posteriors alone, not codes.
      image_items, text_items: layers from mapped features to item embeddings, see `item_towers`;
        None without item embeddings.
      item_weight: weight β ≥ 0 of the item embeddings' cosine beside the inner product of class
        posteriors (or, without a class layer, the cosine of the codes) in the similarity "item".
      match_thresholds: split → modality of the query → value of `match_score` below which a query
        has no good match. The thresholds of "all" are for galleries with the training items, those
        of "test" for galleries of other items; either may be missing, as in earlier versions.

    Beside the common code, an item may have an item embedding. Both together, code first, are its
    *encoding*: (n, code_dim + item_dim), from which `represent` makes what any similarity compares.
    """

    def __init__(
        self,
        image_map: InputMap,
        text_map: InputMap,
        image_encoder: keras.layers.Layer,
        text_encoder: keras.layers.Layer,
        class_layer: keras.layers.Layer | None,
        calibration: Mapping[str, float] | None = None,
        image_items: keras.layers.Layer | None = None,
        text_items: keras.layers.Layer | None = None,
        item_weight: float = 1.0,
        match_thresholds: Mapping[str, Mapping[str, float]] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**({"dtype": "float32"} | kwargs))
        # Raw features keep their precision whatever the networks compute in.
        self.autocast = False
        self.match_thresholds = _checked_match_thresholds(match_thresholds)
        self.calibration = _checked_calibration(calibration)
        self.item_weight = _checked_item_weight(item_weight)
        self.image_map, self.text_map = image_map, text_map
        self.image_encoder, self.text_encoder = image_encoder, text_encoder
        self.class_layer = class_layer
        self.image_items, self.text_items = image_items, text_items
        for layer, input_map in (
            (image_encoder, image_map),
            (text_encoder, text_map),
            (image_items, image_map),
            (text_items, text_map),
        ):
            # Parts that come out of a saved model are built already.
            if layer is not None and not layer.built:
                layer.build((None, input_map.output_dim))
        self.code_dim = int(image_encoder.compute_output_shape((None, image_map.output_dim))[-1])
        if class_layer is not None and not class_layer.built:
            class_layer.build(image_encoder.compute_output_shape((None, image_map.output_dim)))
        self.built = True

    def replaced(self, **changes: Any) -> Self:
        """Return an encoder with the same arguments but for `changes`; layers are shared."""
        arguments = {name: getattr(self, name) for name in (*_LAYERS, *_NUMBERS)}
        return type(self)(**(arguments | changes))

    def trained_layers(self) -> list[keras.layers.Layer]:
        """Return the layers with trained weights, in a fixed order."""
        layers = [self.image_encoder, self.text_encoder]
        return layers if self.class_layer is None else [*layers, self.class_layer]

    @property
    def has_items(self) -> bool:
        """Whether there are item embeddings."""
        return self.image_items is not None

    def match_threshold(self, similarity: str, split: str, modality: str) -> float | None:
        """Return the threshold of `match_score`, or None where there is no flag.

        Args:
          similarity: what ranks; only "item" has thresholds.
          split: "all" for a gallery with the training items, "test" for one of other items.
          modality: of the queries.
        """
        if similarity != "item" or not self.has_items or self.item_weight == 0:
            return None
        threshold: float | None = self.match_thresholds.get(split, {}).get(modality)
        return threshold

    @property
    def num_classes(self) -> int | None:
        """The number of classes, or None without a class layer."""
        if self.class_layer is None:
            return None
        return int(self.class_layer.posterior(tf.zeros([1, self.code_dim])).shape[-1])

    def has_posteriors(self, similarity: str) -> bool:
        """Whether the embeddings of a similarity begin with class posteriors."""
        return self.class_layer is not None and similarity in ("posterior", "item")

    def posteriors_of(self, embeddings: Any) -> Any:
        """Return the class posteriors (n, c) that embeddings begin with, see `has_posteriors`."""
        return embeddings[:, : self.num_classes]

    def items_of(self, embeddings: Any) -> Any:
        """Return the item embeddings at unit length that "item" embeddings (…, e) end with.

        Their weight must be above 0.
        """
        return embeddings[..., -self.item_dim :] / self.item_weight**0.5

    @property
    def item_dim(self) -> int:
        """The dimension of item embeddings; there must be some."""
        assert self.image_items is not None
        return int(self.image_items.compute_output_shape((None, self.image_map.output_dim))[-1])

    def caption_features(self, features: tf.Tensor) -> tf.Tensor:
        """Return mapped text features at length √`CAPTION_WEIGHT`, (n, d) float32.

        The inner product of a query's and a caption's is their weighted cosine.

        Args:
          features: (n, d_t) text features, as they come.
        """
        mapped = tf.cast(self.text_map(features), tf.float32)
        return CAPTION_WEIGHT**0.5 * tf.math.l2_normalize(mapped, axis=-1)

    def with_caption_features(self, embeddings: tf.Tensor, captions: tf.Tensor) -> tf.Tensor:
        """Return "item" embeddings (n, e) with caption features (n, d): (n, e + d).

        The latter come before the item embedding, so that `posteriors_of` and `items_of` hold.
        """
        first, items = embeddings[:, : -self.item_dim], embeddings[:, -self.item_dim :]
        return tf.concat([first, captions, items], axis=-1)

    def similarities(self) -> tuple[str, ...]:
        """Return the similarities that this model defines.

        Without a class layer there is no "posterior", without item embeddings no "item".
        """
        layers = {"posterior": self.class_layer, "item": self.image_items}
        return tuple(s for s in SIMILARITIES if layers.get(s, self) is not None)

    def encode_image(self, features: Any, output: str = "search") -> np.ndarray:
        """Return embeddings of images, in blocks of rows.

        Args:
            features: (n, d_v) raw image features, an array or a tensor, n at least 1.
            output: "search", what searches rank by (`search_similarity`): the similarity "item"
                where there are item embeddings, else class posteriors, or, without a class layer,
                codes at unit length; "code", the common representation v_c of the paper's §3.2;
                or "posterior", the calibrated class posteriors.

        Returns:
            (n, e) float32. The inner product of an image's and a text's "search" embedding is
            their score.

        Raises:
            InputError: the features have another shape, or there is no such output.

        Example:

        >>> import numpy as np
        >>> import xgacmn_tf as xg
        >>> model = xg.XGACMN(num_classes=2, code_dim=4)
        >>> pairs = {"image": np.eye(6, 3), "text": np.eye(6, 2)}
        >>> model.adapt(pairs)
        >>> model.encode_image(pairs["image"]).shape
        (6, 2)
        >>> model.encode_text(pairs["text"], output="code").shape
        (6, 4)
        """
        return self._encoded("image", features, output)

    def encode_text(self, features: Any, output: str = "search") -> np.ndarray:
        """Return embeddings of texts, (n, e) float32; arguments and errors as `encode_image`."""
        return self._encoded("text", features, output)

    def _encoded(self, modality: str, features: Any, output: str) -> np.ndarray:
        if output not in OUTPUTS:
            raise InputError(f"output={output!r}: expected one of {', '.join(OUTPUTS)}")
        features = self._checked(modality, features)
        encodings = self.encodings_of(modality, features)
        if output == "code":
            return encodings[:, : self.code_dim].numpy()
        similarity = search_similarity(self) if output == "search" else output
        return self.represent(encodings, similarity, modality).numpy()

    def _checked(self, modality: str, features: Any) -> np.ndarray:
        """Return (n, d) float32 features of a modality, n at least 1."""
        array = np.asarray(features)
        check_numbers(modality, array)
        array = array.astype(np.float32, copy=False)
        dim = getattr(self, f"{modality}_map").input_dim
        if array.ndim != 2 or array.shape[1] != dim or not len(array):
            raise InputError(
                f"{modality} features have shape {array.shape}; expected (n, {dim}) with at least "
                "one row, raw features as the model was adapted to"
            )
        return array

    def encode(self, modality: str, features: tf.Tensor) -> tf.Tensor:
        """Return encodings (n, code_dim + item_dim), float32, of "image" or "text" features.

        Without item embeddings these are the codes.
        """
        mapped = (self.image_map if modality == "image" else self.text_map)(features)
        layer = self.image_encoder if modality == "image" else self.text_encoder
        codes = tf.cast(layer(mapped), tf.float32)
        items = self.image_items if modality == "image" else self.text_items
        if items is None:
            return codes
        embeddings = tf.math.l2_normalize(tf.cast(items(mapped), tf.float32), axis=-1)
        return tf.concat([codes, embeddings], axis=-1)

    def represent(
        self, encodings: np.ndarray | tf.Tensor, similarity: str, modality: str | None = None
    ) -> tf.Tensor:
        """Return the representations whose inner products are a similarity.

        "dot" are the codes themselves, "cosine" the codes at unit length, "posterior" the class
        posteriors softmax(a ‖x‖ cos θ_c), calibrated by the modality's factor a. "item" are the
        class posteriors (without a class layer: the codes at unit length), followed by √β times the
        item embedding.

        Args:
          encodings: (n, code_dim + item_dim) of images or of texts; for other similarities than
            "item" the codes, (n, code_dim), suffice.
          similarity: one of `similarities()`.
          modality: "image" or "text", whichever the codes are of; posteriors need it.

        Raises:
          InputError: this model does not define the similarity.
          ValueError: posteriors without a modality, or "item" of codes alone.
        """
        if similarity not in self.similarities():
            raise InputError(
                f"similarity {similarity!r}: this model defines {', '.join(self.similarities())}"
            )
        encodings = tf.convert_to_tensor(encodings)
        codes, items = encodings[:, : self.code_dim], encodings[:, self.code_dim :]
        if similarity == "item":
            if items.shape[1] == 0:
                raise ValueError("similarity 'item' of codes alone: expected whole encodings")
            category = "posterior" if self.class_layer is not None else "cosine"
            categories = self.represent(codes, category, modality)
            return tf.concat([categories, self.item_weight**0.5 * items], axis=-1)
        if similarity == "posterior" and self.class_layer is not None:
            if modality not in self.calibration:
                raise ValueError(f"posteriors of modality {modality!r}: expected image or text")
            return self.class_layer.posterior(codes, self.calibration[modality])
        return tf.math.l2_normalize(codes, axis=-1) if similarity == "cosine" else codes

    def call(self, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Return codes by modality, for features of one modality or of both.

        Args:
            inputs: raw features "image" (n, d_v) and "text" (n, d_t), or features that the input
                maps have mapped, "mapped_image" and "mapped_text"; other entries are not read.

        Returns:
            {"image": v_c, "text": t_c}, each (n, code_dim) float32.
        """
        check_pairs(inputs, "a call")
        codes = {}
        for modality in MODALITIES:
            layer = self.image_encoder if modality == "image" else self.text_encoder
            if f"mapped_{modality}" in inputs:
                codes[modality] = tf.cast(layer(inputs[f"mapped_{modality}"]), tf.float32)
            elif modality in inputs:
                codes[modality] = self.encode(modality, inputs[modality])[:, : self.code_dim]
        if not codes:
            raise ValueError(
                f"inputs hold {', '.join(map(str, inputs))}; expected 'image' or 'text' features"
            )
        return codes

    def encodings_of(self, modality: str, features: np.ndarray | tf.Tensor) -> tf.Tensor:
        """Return the encodings of "image" or "text" features (n, d), n at least 1, in blocks."""
        encodings: tf.Tensor = in_blocks(self._compiled[modality], features)
        return encodings

    def caption_features_of(self, features: np.ndarray | tf.Tensor) -> tf.Tensor:
        """Return `caption_features` (n, d) of features (n, d_t), n at least 1, in blocks."""
        return in_blocks(self._compiled["caption"], features)

    def codes_of(self, modality: str, features: np.ndarray | tf.Tensor) -> tf.Tensor:
        """Return the codes (n, code_dim) of features as of `encodings_of`."""
        return self.encodings_of(modality, features)[:, : self.code_dim]

    def codes(self, image: np.ndarray, text: np.ndarray) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the codes of a split's images (n, d_v) and texts (n, d_t)."""
        return self.codes_of("image", image), self.codes_of("text", text)

    def represent_pairs(
        self, image: np.ndarray, text: np.ndarray, similarity: str
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return `represent` of the encodings of features (n, d_v) and (n, d_t)."""
        v, t = self.encodings_of("image", image), self.encodings_of("text", text)
        return self.represent(v, similarity, "image"), self.represent(t, similarity, "text")

    @functools.cached_property
    def _compiled(self) -> dict[str, Callable[[Any], tf.Tensor]]:
        """`encode` of each modality and `caption_features`, traced once for any number of rows."""
        functions: dict[str, tuple[str, Callable[[Any], tf.Tensor]]] = {
            m: (m, functools.partial(self.encode, m)) for m in MODALITIES
        }
        functions["caption"] = ("text", self.caption_features)
        return {
            name: tf.function(
                function,
                autograph=False,
                input_signature=[
                    tf.TensorSpec([None, getattr(self, f"{modality}_map").input_dim], tf.float32)
                ],
            )
            for name, (modality, function) in functions.items()
        }

    def export(self, filepath: str | os.PathLike[str], **kwargs: Any) -> None:
        """Write a SavedModel with the signatures `encode_image` and `encode_text`.

        Both take raw features, "image_features" (n, d_v) or "text_features" (n, d_t), and return
        "embedding", the codes at unit length; "posterior", where there is a class layer; and
        "search", what `encode_image` and `encode_text` return. `export_run` writes a version that
        searches a gallery as well.

        Args:
            filepath: a folder, such as "served/xgacmn/1" for version 1 of a server's model.
            **kwargs: of Keras's `export`; `format` must be "tf_saved_model".

        Raises:
            ValueError: `format` is not "tf_saved_model".
        """
        if kwargs.pop("format", "tf_saved_model") != "tf_saved_model":
            raise ValueError("format: expected tf_saved_model")
        archive = keras.export.ExportArchive()
        for modality in MODALITIES:
            dim = getattr(self, f"{modality}_map").input_dim
            spec = tf.TensorSpec([None, dim], tf.float32, f"{modality}_features")
            archive.add_endpoint(
                f"encode_{modality}", functools.partial(self._served, modality), [spec]
            )
        archive.write_out(filepath, verbose=bool(kwargs.pop("verbose", False)), **kwargs)

    def _served(self, modality: str, features: tf.Tensor) -> dict[str, tf.Tensor]:
        encodings = self.encode(modality, features)
        kinds = {"embedding": "cosine", "search": search_similarity(self)}
        if self.class_layer is not None:
            kinds["posterior"] = "posterior"
        return {
            name: self.represent(encodings, similarity, modality)
            for name, similarity in kinds.items()
        }

    def get_config(self) -> dict[str, Any]:
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            **{name: serialize(getattr(self, name)) for name in _LAYERS},
            "calibration": dict(self.calibration),
            "item_weight": self.item_weight,
            "match_thresholds": {s: dict(values) for s, values in self.match_thresholds.items()},
        }

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> Self:
        for name in (name for name in _LAYERS if name in config):
            config[name] = keras.saving.deserialize_keras_object(
                config[name], custom_objects=custom_objects
            )
        return cls(**config)


def search_similarity(encoder: CommonSpaceEncoder, headline: str | None = None) -> str:
    """Return the similarity that searches rank by: "item" where there is one, else the headline's.

    Args:
        encoder: the encoders.
        headline: the run's own similarity; None for "posterior", or "cosine" without a class layer.
    """
    if encoder.has_items:
        return "item"
    return headline or ("cosine" if encoder.class_layer is None else "posterior")


def match_score(query: tf.Tensor, hits: tf.Tensor) -> tf.Tensor:
    """Return how well queries are matched by their best hits: the mean cosine of item embeddings.

    Scores of "item" do not tell this: a class posterior is high for any item of the class that the
    query is taken for, also where nothing of the query's own category is there.

    Args:
      query: (n, d) item embeddings of unit length.
      hits: (n, k, d) those of the first `MATCH_DEPTH` hits of each query, or of all if fewer.

    Returns:
      (n,) in [-1, 1].
    """
    return tf.reduce_mean(tf.reduce_sum(query[:, tf.newaxis] * hits, axis=-1), axis=-1)


def is_poor_match(query: np.ndarray, hits: np.ndarray, threshold: float) -> bool:
    """Return whether a query (d,) has no hits (k, d), or a `match_score` below a threshold."""
    if not len(hits):
        return True
    return bool(match_score(query[np.newaxis], hits[np.newaxis, :MATCH_DEPTH])[0] < threshold)


def _checked_match_thresholds(
    given: Mapping[str, Mapping[str, float]] | None,
) -> dict[str, dict[str, float]]:
    """Return the thresholds that are there; a file may hold anything in their place."""
    thresholds: dict[str, dict[str, float]] = {}
    for split, values in (given or {}).items():
        for modality, value in values.items():
            fits = split in SEARCH_SPLITS and modality in MODALITIES
            if not (fits and isinstance(value, int | float) and math.isfinite(value)):
                raise ValueError(
                    f"match_thresholds={given}: expected a finite number for each of image and "
                    "text, of all and of test"
                )
            thresholds.setdefault(split, {})[modality] = float(value)
    return thresholds


def _checked_item_weight(weight: float) -> float:
    if not (isinstance(weight, int | float) and 0 <= weight < math.inf):
        raise ValueError(f"item_weight={weight}: expected a finite number of at least 0")
    return float(weight)


def _checked_calibration(given: Mapping[str, float] | None) -> dict[str, float]:
    """Return both factors; a file may hold anything in their place."""
    if given is None:
        return {"image": 1.0, "text": 1.0}
    factors = {modality: given[modality] for modality in ("image", "text")}
    for factor in factors.values():
        if not (isinstance(factor, int | float) and 0 < factor < math.inf):
            raise ValueError(f"calibration={dict(given)}: expected positive finite factors")
    return {modality: float(factor) for modality, factor in factors.items()}
