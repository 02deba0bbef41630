"""TFDS builder of features that a Beam pipeline extracts; made by `beam_pipeline.write_tfds`."""

from typing import Any

import tensorflow_datasets as tfds

from xgacmn_tf.datasets.paired_builder import PairedBuilder


class Builder(PairedBuilder):
    """Features of raw pairs. `sources` holds, by split, a transform that gives (row, example).

    Not registered: once it is written, TFDS reads the data set from its files alone.
    """

    VERSION = tfds.core.Version("1.0.0")
    name = "extracted_pairs"
    sources: dict[str, Any]

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        del dl_manager  # Nothing is downloaded.
        return self.sources
