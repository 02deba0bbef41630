"""What the encoders of a training reach on the validation split, epoch after epoch."""

from __future__ import annotations

import tensorflow as tf

from xgacmn_tf.datasets.paired import Split
from xgacmn_tf.evaluation.ranking import NotFiniteError
from xgacmn_tf.evaluation.representations import MAX_NUMBERS, represent
from xgacmn_tf.evaluation.retrieval import mean_average_precision
from xgacmn_tf.model.xgacmn import XGACMN
from xgacmn_tf.training.devices import Devices
from xgacmn_tf.training.epoch import prepared


class Validation:
    """What the averaged encoders reach on the validation split, by the names that logs have.

    "validation/mAP/i2t", "…/t2i" and "…/avg" are of the full gallery, at the run's headline
    similarity. "validation/spread/image" and "…/text" tell how far the codes' directions differ:
    one less the length of their mean, 0 where all codes point the same way.

    The chief computes it for all workers: machines that round differently must not disagree about
    which epoch is the best.
    """

    NAMES = ("mAP/i2t", "mAP/t2i", "mAP/avg", "spread/image", "spread/text")

    def __init__(self, model: XGACMN, split: Split, similarity: str, devices: Devices):
        self.encoder, self.similarity, self.devices = model.averaged, similarity, devices
        self.features, self.label = prepared(model, split), split.label
        layer = self.encoder.class_layer
        self.in_blocks = (
            similarity == "posterior"
            and layer is not None
            and len(split) * layer.num_classes > MAX_NUMBERS
        )

    def __call__(self) -> dict[str, float]:
        """The numbers by name; NaN where the encoders have diverged."""
        own = self._scores() if self.devices.is_chief else [0.0] * len(self.NAMES)
        scores = self.devices.from_chief(own)
        return {f"validation/{name}": x for name, x in zip(self.NAMES, scores, strict=True)}

    def _scores(self) -> list[float]:
        image, text, *spreads = self._look()
        try:
            if self.in_blocks:
                image = represent(self.encoder, image, self.similarity, "image")
                text = represent(self.encoder, text, self.similarity, "text")
            scores = mean_average_precision(image, text, self.label)
        except NotFiniteError:
            return [float("nan")] * len(self.NAMES)
        return [*(scores[way] for way in ("i2t", "t2i", "avg")), *map(float, spreads)]

    @tf.function(autograph=False)
    def _look(self) -> tuple[tf.Tensor, ...]:
        """Representations of images and texts, or their codes, and the spreads of the codes."""
        codes = (
            self.encoder.image_encoder(self.features["image"]),
            self.encoder.text_encoder(self.features["text"]),
        )
        directions = [tf.math.l2_normalize(tf.cast(code, tf.float32), axis=-1) for code in codes]
        return (
            *(
                code if self.in_blocks else self.encoder.represent(code, self.similarity, modality)
                for code, modality in zip(codes, ("image", "text"), strict=True)
            ),
            *(1.0 - tf.norm(tf.reduce_mean(each, axis=0)) for each in directions),
        )
