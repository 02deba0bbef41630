"""Per-epoch validation: mAP and the spread of codes."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from xgacmn_tf.datasets.paired import Split
from xgacmn_tf.devices import Devices
from xgacmn_tf.evaluation.ranking import NotFiniteError
from xgacmn_tf.evaluation.representations import MAX_NUMBERS, represent
from xgacmn_tf.evaluation.retrieval import mean_average_precision
from xgacmn_tf.model.encoders import search_similarity
from xgacmn_tf.model.epochs import mapped_features
from xgacmn_tf.model.xgacmn import XGACMN


class Validation:
    """Measures of the averaged encoders of a model on a validation split.

    "mAP/i2t", "mAP/t2i" and "mAP/avg" are of the full gallery. "spread/image" and "spread/text"
    are 1 minus the length of the mean of the codes' directions, 0 if all codes point the same way.

    The chief computes them for all workers: machines that round differently must not disagree about
    which epoch is the best.

    Args:
        model: adapted.
        split: n pairs, whose features are mapped once.
        similarity: one of the model's similarities.
        devices: the workers of the training; one by default.
    """

    NAMES = ("mAP/i2t", "mAP/t2i", "mAP/avg", "spread/image", "spread/text")

    def __init__(
        self, model: XGACMN, split: Split, similarity: str, devices: Devices | None = None
    ):
        self.encoder, self.similarity = model.averaged, similarity
        self.devices = devices or Devices()
        self.features, self.label = mapped_features(model, split.image, split.text), split.label
        layer = self.encoder.class_layer
        self.in_blocks = (
            similarity == "posterior"
            and layer is not None
            and len(split) * layer.num_classes > MAX_NUMBERS
        )

    def __call__(self) -> dict[str, float]:
        """Return the numbers of `NAMES` by name; NaN where the encoders have diverged."""
        own = self._scores() if self.devices.is_chief else [0.0] * len(self.NAMES)
        return dict(zip(self.NAMES, self.devices.from_chief(own), strict=True))

    def _scores(self) -> list[float]:
        image, text, *spreads = self._represent()
        try:
            if self.in_blocks:
                image = represent(self.encoder, image, self.similarity, "image")
                text = represent(self.encoder, text, self.similarity, "text")
            scores = mean_average_precision(image, text, self.label)
        except NotFiniteError:
            return [float("nan")] * len(self.NAMES)
        return [*(scores[way] for way in ("i2t", "t2i", "avg")), *map(float, spreads)]

    @tf.function(autograph=False)
    def _represent(self) -> tuple[tf.Tensor, ...]:
        """Return representations of images and texts, or their codes, and the spreads of codes."""
        codes = (
            self.encoder.image_encoder(self.features["mapped_image"]),
            self.encoder.text_encoder(self.features["mapped_text"]),
        )
        directions = [tf.math.l2_normalize(tf.cast(code, tf.float32), axis=-1) for code in codes]
        return (
            *(
                code if self.in_blocks else self.encoder.represent(code, self.similarity, modality)
                for code, modality in zip(codes, ("image", "text"), strict=True)
            ),
            *(1.0 - tf.norm(tf.reduce_mean(each, axis=0)) for each in directions),
        )


class RetrievalMAP(keras.callbacks.Callback):
    """Adds the full-gallery mAP of a split to the logs of each epoch.

    The logs get "val_mAP", the mean of both directions, "val_mAP_i2t" and "val_mAP_t2i". Callbacks
    that read them, such as `EarlyStopping("val_mAP", mode="max")`, come after this one in the list.

    Args:
        split: n validation pairs, an object with "image", "text" and "label" arrays as of
            `datasets.Split`.
        similarity: similarity of an `XGACMN`; None takes the one that searches rank by.
        every: number of epochs from one evaluation to the next.

    The model is an `XGACMN`, whose averaged encoders are evaluated, or any Keras model with
    functions `encode_image` and `encode_text` from features to embeddings (n, e), which are
    compared by the inner product.

    Raises:
        InputError: the model lacks the similarity, in `fit`.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import xgacmn_tf as xg
    >>> class Towers(keras.Sequential):
    ...     encode_image = encode_text = keras.Sequential.__call__
    >>> model = Towers([keras.Input((2,)), keras.layers.Dense(2, kernel_initializer="identity")])
    >>> model.compile(loss="mse")
    >>> label = np.arange(4) % 2
    >>> pairs = xg.Split(np.eye(2)[label], np.eye(2)[label], label, np.arange(4).astype(str))
    >>> history = model.fit(
    ...     pairs.image, pairs.text, verbose=0, callbacks=[xg.RetrievalMAP(pairs)]
    ... )
    >>> history.history["val_mAP"]
    [1.0]
    """

    def __init__(self, split: Split, similarity: str | None = None, every: int = 1):
        super().__init__()
        if every < 1:
            raise ValueError(f"every={every}: expected at least 1")
        if not hasattr(split, "image"):
            raise ValueError(
                f"RetrievalMAP received a {type(split).__name__}; expected a Split: data.validation"
            )
        self.split, self.similarity, self.every = split, similarity, every
        self._validation: Validation | None = None

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        if isinstance(self.model, XGACMN):
            similarity = self.similarity or search_similarity(self.model.averaged)
            self._validation = Validation(self.model, self.split, similarity)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if (epoch + 1) % self.every or logs is None:
            return
        if self._validation is not None:
            measures = self._validation()
            scores = {way: measures[f"mAP/{way}"] for way in ("i2t", "t2i", "avg")}
        else:
            image = self.model.encode_image(self.split.image)
            text = self.model.encode_text(self.split.text)
            scores = mean_average_precision(image, text, self.split.label)
        logs["val_mAP"] = scores["avg"]
        logs |= {f"val_mAP_{way}": scores[way] for way in ("i2t", "t2i")}
