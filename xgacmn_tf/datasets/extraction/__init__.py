"""Features of raw pairs: extraction, its cache, and Beam pipelines."""

from xgacmn_tf.datasets.extraction.extract import extract_features

__all__ = ["extract_features"]
