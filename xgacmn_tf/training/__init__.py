"""Training: loop, checkpoints, callbacks, validation, calibration and item embeddings."""
