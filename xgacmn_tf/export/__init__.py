"""A trained run as one versioned SavedModel, for TensorFlow Serving or plain TensorFlow.

`savedmodel.export_run` is the only function that callers need. `serving` defines the signatures,
`raw_text` and `raw_image` their inputs of raw texts and image files, `versions` the folders,
`warmup` and `signature_readme` the files beside the model. Nothing is imported here: commands look
at the versions of a run before they load TensorFlow.
"""
