"""Data sets as `PairedDataset`s: readers, checks, splits, and features extracted from raw pairs."""

from xgacmn_tf.datasets.catalog import ALLOWED, BUILDERS, BUILT_IN
from xgacmn_tf.datasets.distribution import cache_folder
from xgacmn_tf.datasets.loading import check_names, for_config, load, load_raw
from xgacmn_tf.datasets.paired import PairedDataset, Split, hold_out
from xgacmn_tf.datasets.raw import RawPair, RawPairs

__all__ = [
    "ALLOWED",
    "BUILDERS",
    "BUILT_IN",
    "PairedDataset",
    "RawPair",
    "RawPairs",
    "Split",
    "cache_folder",
    "check_names",
    "for_config",
    "hold_out",
    "load",
    "load_raw",
]
