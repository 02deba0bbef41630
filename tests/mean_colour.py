"""An extractor that tests follow by hand."""

import numpy as np

from xgacmn_tf.features.extractor import Extractor


class MeanColour(Extractor):
    """Mean red, green and blue: a quick extractor that anyone can check."""

    modality = "image"
    name = "mean"
    dim = 3

    def __init__(self, version: int = 1):
        self.version = version

    def settings(self):
        return {"version": self.version}

    def prepare(self, item):
        return np.asarray(item, np.float32).mean(axis=(0, 1))

    def encode(self, prepared):
        return np.stack(prepared)

    def _save_files(self, folder):
        pass

    @classmethod
    def _load(cls, folder, name, settings):
        return cls(settings["version"])
