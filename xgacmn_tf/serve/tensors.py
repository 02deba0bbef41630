"""gRPC's tensors ↔ NumPy's arrays."""

import math
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from xgacmn_tf.serve.checks import check_names
from xgacmn_tf.serve.failure import invalid
from xgacmn_tf.serve.servable import Input, Signature


def arrays_of(
    tensors: Mapping[str, tensor_pb2.TensorProto], signature: Signature, largest_bytes: int
) -> dict[str, np.ndarray]:
    """The arrays that a gRPC request holds, of the signature's names and dtypes.

    Args:
      largest_bytes: bound of each array. A message of a few bytes can declare any shape, because
        a value that repeats is written once.

    Raises:
      RequestError: names or dtypes are not the signature's, or a tensor does not hold what it
        declares.
    """
    check_names(signature, tensors.keys())
    return {
        name: _array(tensors[name], expected, largest_bytes)
        for name, expected in signature.inputs.items()
    }


def tensor_of(array: np.ndarray) -> tensor_pb2.TensorProto:
    return tf.make_tensor_proto(array)


def _array(tensor: tensor_pb2.TensorProto, expected: Input, largest_bytes: int) -> np.ndarray:
    if tensor.dtype != expected.dtype.as_datatype_enum:
        raise invalid(f"Input {expected.name!r} is {expected}; given: {_dtype_name(tensor)}.")
    shape = [dimension.size for dimension in tensor.tensor_shape.dim]
    if tensor.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise invalid(f"Input {expected.name!r} declares no complete shape.")
    size = 8 if expected.dtype == tf.string else expected.dtype.size  # strings are pointers
    if math.prod(shape) * size > largest_bytes:
        raise invalid(f"Input {expected.name!r} declares {shape}, more than {largest_bytes} bytes.")
    try:
        return tf.make_ndarray(tensor)
    except (ValueError, TypeError) as error:
        raise invalid(
            f"Input {expected.name!r} does not hold the values of its shape {shape}: {error}"
        ) from error


def _dtype_name(tensor: tensor_pb2.TensorProto) -> str:
    try:
        return tf.as_dtype(tensor.dtype).name
    except TypeError:
        return f"dtype {tensor.dtype}"
