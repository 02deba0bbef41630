"""One version of a model, loaded: what its signatures take, and running them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2, prediction_log_pb2

from xgacmn_tf.errors import InputError
from xgacmn_tf.serve.failure import from_model
from xgacmn_tf.serve.saved_model_check import read_checked

# As many as TensorFlow Serving replays.
MOST_WARMUP_REQUESTS = 1000


@dataclass(frozen=True)
class Input:
    """One named input of a signature."""

    name: str
    dtype: tf.DType
    shape: tf.TensorShape

    def __str__(self) -> str:
        sizes = self.shape.dims and ["n" if size is None else str(size) for size in self.shape]
        return f"{self.dtype.name} ({'…' if sizes is None else ', '.join(sizes)})"

    @property
    def is_text(self) -> bool:
        """Whether its strings are UTF-8. TensorFlow Serving's names for other bytes end so."""
        return self.dtype == tf.string and not self.name.endswith("_bytes")


@dataclass(frozen=True)
class Signature:
    """A function of the model."""

    name: str
    inputs: Mapping[str, Input]
    outputs: tuple[str, ...]

    @property
    def is_batched(self) -> bool:
        """Whether dimension 0 of every input is free, so that requests can be joined along it."""
        shapes = [each.shape for each in self.inputs.values()]
        return bool(shapes) and all(s.rank and s[0] is None for s in shapes)


class Servable:
    """A loaded version.

    Args:
      model: its name.
      folder: `<base>/<name>/<version>`.

    Attributes:
      model: its name.
      signatures: by name.
      signature_def: the same as TensorFlow Serving's clients ask for it.

    Raises:
      InputError: the version cannot be loaded, or may not be, or its warm-up requests fail.
    """

    def __init__(self, model: str, folder: Path):
        self.model = model
        graph = read_checked(folder).meta_graphs[0]
        try:
            self._model = tf.saved_model.load(str(folder))
        except Exception as error:  # what a broken file makes TensorFlow raise has no common type
            first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError(f"{folder} cannot be loaded: {first_line}") from error
        self.signature_def = get_model_metadata_pb2.SignatureDefMap()
        self.signatures = {}
        for name in self._model.signatures:
            described = graph.signature_def[name]
            self.signature_def.signature_def[name].CopyFrom(described)
            inputs = {
                key: Input(key, tf.as_dtype(info.dtype), tf.TensorShape(info.tensor_shape))
                for key, info in sorted(described.inputs.items())
            }
            self.signatures[name] = Signature(name, inputs, tuple(sorted(described.outputs)))
        if not self.signatures:
            raise InputError(f"{folder} has no signatures, so nothing in it can be asked for")
        self._warm_up(folder / "assets.extra" / "tf_serving_warmup_requests")

    def run(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs a signature on checked inputs; raises whatever TensorFlow raises."""
        expected = self.signatures[signature].inputs
        tensors = {name: tf.constant(a, expected[name].dtype) for name, a in inputs.items()}
        outputs = self._model.signatures[signature](**tensors)
        return {name: _array(tensor) for name, tensor in outputs.items()}

    def _warm_up(self, path: Path) -> None:
        """Replays the requests that travel with the model, so that no client waits for them."""
        if not path.is_file():
            return
        try:
            records = tf.data.TFRecordDataset(str(path)).take(MOST_WARMUP_REQUESTS)
            for record in records.as_numpy_iterator():
                request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
                inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
                self.run(request.model_spec.signature_name or "serving_default", inputs)
        except Exception as error:  # a broken record, a signature that is not there, a kernel
            raise InputError(f"{path}: a request fails: {from_model(error).message}") from error


def _array(tensor: tf.Tensor) -> np.ndarray:
    # Of a scalar TensorFlow makes Python's bytes, from which NumPy would strip zeros at the end.
    return np.asarray(tensor.numpy(), object if tensor.dtype == tf.string else None)
