"""A trained run as one versioned SavedModel, for TensorFlow Serving or plain TensorFlow.

`export_run` is all that callers need. `serving` makes the signatures, `raw_text` and `raw_image`
let them take texts as users type them and image files, `versions` the folders, `warmup` and
`signature_readme` what travels along.
"""

from xgacmn_tf.export.savedmodel import export_run

__all__ = ["export_run"]
