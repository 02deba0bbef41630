"""The TFDS data set that `features.beam_pipeline` writes."""
