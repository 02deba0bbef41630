"""Rows of a batch that count in each term of the loss: a pair may lack an item or its category.

A batch says so by "has_image", "has_text" and "has_label", (n,) bool, each only where some row of
the data lacks it. Without them every mean is over all rows, and the graph has no masks. Each
replica takes the means over its own rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from keras import ops

if TYPE_CHECKING:
    import tensorflow as tf


class CountedRows(NamedTuple):
    """Rows that count, (n,) bool each; None stands for all rows.

    Attributes:
        image, text: rows with an item of the modality, for the adversarial terms (Eq. 1–5).
        pair: rows with both, for the pair term (§3.3).
        labeled: (2, n), rows of images and of texts with a category, for the class terms (Eq. 8).
    """

    image: Any = None
    text: Any = None
    pair: Any = None
    labeled: Any = None

    @classmethod
    def of(cls, batch: Mapping[str, tf.Tensor]) -> CountedRows:
        """Return the rows of a batch that count, see the module."""
        image, text, label = (batch.get(f"has_{name}") for name in ("image", "text", "label"))
        if image is None and text is None and label is None:
            return cls()
        all_rows = ops.ones(ops.shape(batch["mapped_image"])[0], "bool")
        image, text, label = (all_rows if has is None else has for has in (image, text, label))
        labeled = ops.stack([image & label, text & label])
        return cls(image, text, image & text, labeled)

    def arguments(self, **names: str) -> dict[str, Any]:
        """Return arguments of a loss, by the names of attributes; none where all rows count."""
        if self.image is None:
            return {}
        return {argument: getattr(self, name) for argument, name in names.items()}


def mean_of_rows(values: tf.Tensor, rows: tf.Tensor | None = None) -> tf.Tensor:
    """Return the mean of `values` (…, n) over the last axis.

    Args:
        values: finite floats.
        rows: (…, n) bool, the rows that count; None for all.

    Returns:
        (…,), 0 where no row counts.
    """
    if rows is None:
        return ops.mean(values, axis=-1)
    weights = ops.cast(rows, values.dtype)
    return ops.sum(values * weights, axis=-1) / ops.maximum(ops.sum(weights, axis=-1), 1.0)
