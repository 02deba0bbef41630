"""X-GACMN: cross-modal retrieval of images and texts on one hypersphere, with Keras.

The names below are imported when they are first used, so that `import xgacmn_tf` loads neither
TensorFlow nor Keras. The first name that needs Keras also registers every class that a saved model
of this package may hold; `keras.saving.load_model` finds them from then on. TensorFlow is imported
without its start-up lines, see `quiet_start`.
"""

import importlib
from typing import TYPE_CHECKING, Any

from xgacmn_tf import quiet_start
from xgacmn_tf.version import __version__

quiet_start.install()

if TYPE_CHECKING:
    from xgacmn_tf.datasets.loading import load_dataset
    from xgacmn_tf.datasets.paired import PairedDataset, Split
    from xgacmn_tf.evaluation import metrics
    from xgacmn_tf.evaluation.measures import evaluate
    from xgacmn_tf.experiment import run
    from xgacmn_tf.model import input_maps, losses
    from xgacmn_tf.model.angular_softmax import AngularSoftmax
    from xgacmn_tf.model.encoders import CommonSpaceEncoder
    from xgacmn_tf.model.xgacmn import XGACMN
    from xgacmn_tf.retrieval_index import Index
    from xgacmn_tf.runs.checkpoint import load_model
    from xgacmn_tf.settings.config import Config
    from xgacmn_tf.training.validation import RetrievalMAP

__all__ = [
    "XGACMN",
    "AngularSoftmax",
    "CommonSpaceEncoder",
    "Config",
    "Index",
    "PairedDataset",
    "RetrievalMAP",
    "Split",
    "__version__",
    "evaluate",
    "input_maps",
    "load_dataset",
    "load_model",
    "losses",
    "metrics",
    "run",
]

# Name → its module, or the module itself where the last part is the name.
_MODULES = {
    "XGACMN": "model.xgacmn",
    "AngularSoftmax": "model.angular_softmax",
    "CommonSpaceEncoder": "model.encoders",
    "Config": "settings.config",
    "Index": "retrieval_index",
    "PairedDataset": "datasets.paired",
    "RetrievalMAP": "training.validation",
    "Split": "datasets.paired",
    "evaluate": "evaluation.measures",
    "input_maps": "model.input_maps",
    "load_dataset": "datasets.loading",
    "load_model": "runs.checkpoint",
    "losses": "model.losses",
    "metrics": "evaluation.metrics",
    "run": "experiment",
}
# These need neither Keras nor its registry.
_WITHOUT_KERAS = {"Config", "PairedDataset", "Split"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name not in _WITHOUT_KERAS:
        # Imports all registered classes.
        importlib.import_module("xgacmn_tf.runs.checkpoint")
    module = importlib.import_module(f"xgacmn_tf.{_MODULES[name]}")
    value = module if _MODULES[name].endswith(f".{name}") else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
