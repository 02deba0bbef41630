"""A trained run as one versioned SavedModel, for TensorFlow Serving or plain TensorFlow.

`export_run` is all that callers need. `serving` makes the signatures, `gallery` what they search,
`raw_text` lets them take text as users type it, `versions` the folders, `signature_readme` the
description that travels along.
"""

from xgacmn_tf.export.savedmodel import export_run

__all__ = ["export_run"]
