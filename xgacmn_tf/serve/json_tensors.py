"""Conversion between the JSON of TensorFlow Serving's REST API and NumPy arrays.

A request has rows, `{"instances": [{"name": value, …}, …]}`, or columns, `{"inputs": {"name":
[value, …], …}}`; where a signature has one input its name may be left out. The answer has the same
form, `predictions` or `outputs`, without names where there is one output. Bytes are written as
`{"b64": "…"}`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from xgacmn_tf.errors import one_line
from xgacmn_tf.serve.errors import RequestError
from xgacmn_tf.serve.model_version import Inputs, described
from xgacmn_tf.serve.schemas import MAX_TEXT, json_problem, json_values

# Parsed, JSON takes up to 30 times its size. This many are the features of 6,000 images.
MAX_VALUES = 8_000_000
# Rows of a request, and image files among them, which take the most time and memory.
MAX_ROWS, MAX_IMAGES = 1_000, 64
_TYPES: dict[tf.DType, set[type]] = {tf.string: {str, bytes}, tf.bool: {bool}}


def parse(body: bytes) -> dict[str, Any]:
    """Return the object that a request's body holds, with `instances` or `inputs`.

    Raises:
      RequestError: it is not JSON, too nested or holds too many values, or is no such object.
    """
    if json_values(body) > MAX_VALUES:
        raise RequestError(f"the JSON holds more than {MAX_VALUES:,} values; send fewer")
    try:
        request = json.loads(body, object_hook=_bytes_of)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"JSON Parse error: {json_problem(error)}") from error
    if not isinstance(request, dict) or ("instances" in request) == ("inputs" in request):
        raise RequestError('expected an object with either "instances" or "inputs"')
    return request


def arrays_of(request: Mapping[str, Any], inputs: Inputs) -> dict[str, np.ndarray]:
    """Return the arrays that a parsed request holds, of a signature's names and dtypes.

    Raises:
      RequestError: names, dtypes or shapes do not fit.
    """
    columns = request["inputs"] if "inputs" in request else _columns(request["instances"])
    if not isinstance(columns, dict):
        columns = dict.fromkeys(inputs, columns) if len(inputs) == 1 else {}
    if columns.keys() != inputs.keys():
        names = ", ".join(map(repr, sorted(columns))) or "no names"
        raise RequestError(f"inputs: {names}; expected {described(inputs)}")
    for name, column in columns.items():
        largest = MAX_IMAGES if name == "image_bytes" else MAX_ROWS
        if isinstance(column, list) and len(column) > largest:
            raise RequestError(f"{name}: {len(column):,} rows; send at most {largest:,}", 413)
    arrays = {name: _array(columns[name], spec) for name, spec in inputs.items()}
    for text in arrays.get("text", np.empty(0)).flat:
        if len(text) > 4 * MAX_TEXT:  # Bytes of UTF-8.
            raise RequestError(f"text: longer than {MAX_TEXT:,} characters", 413)
    for name, spec in inputs.items():
        # Operations in the graph trust the rank: a wrong one may end the process.
        if not spec.shape.is_compatible_with(arrays[name].shape):
            shape = list(arrays[name].shape)
            raise RequestError(f"{name}: shape {shape}; expected {described({name: spec})}")
    return arrays


def answer(request: Mapping[str, Any], outputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the answer for `json.dumps`; it has rows where the request had rows.

    Raises:
      RequestError: the request had rows, but the outputs do not have as many of them.
    """
    values = {name: _values(name, array) for name, array in outputs.items()}
    only = next(iter(values.values())) if len(values) == 1 else None
    if "inputs" in request:
        return {"outputs": values if only is None else only}
    if any(not array.ndim or len(array) != len(request["instances"]) for array in outputs.values()):
        raise RequestError("the outputs have no rows; send 'inputs' instead of 'instances'")
    rows = zip(*values.values(), strict=True)
    return {"predictions": only or [dict(zip(values, row, strict=True)) for row in rows]}


def _bytes_of(value: dict[str, Any]) -> dict[str, Any] | bytes:
    if value.keys() != {"b64"} or not isinstance(value["b64"], str):
        return value
    text = value["b64"].rstrip("=")  # TensorFlow Serving does not ask for padding.
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def _columns(instances: Any) -> Any:
    """Return rows as columns: a dict where they have names, else the rows themselves."""
    if not isinstance(instances, list) or not instances:
        raise RequestError("'instances' must be a list with at least one row")
    if not any(isinstance(row, dict) for row in instances):
        return instances
    if not all(isinstance(row, dict) and row.keys() == instances[0].keys() for row in instances):
        raise RequestError("all 'instances' must be objects with the same names, or none of them")
    return {name: [row[name] for row in instances] for name in instances[0]}


def _array(value: Any, spec: tf.TensorSpec) -> np.ndarray:
    types = _TYPES.get(spec.dtype, {int, float} if spec.dtype.is_floating else {int})
    try:
        leaves = np.array(value, object)  # Lists of different lengths stay lists.
        wrong = {type(leaf).__name__ for leaf in leaves.flat if type(leaf) not in types}
        if wrong:
            raise ValueError(f"the JSON has {' and '.join(sorted(wrong))} in it")
        if spec.dtype != tf.string:
            with np.errstate(over="ignore"):  # The model rejects infinity.
                return leaves.astype(spec.dtype.as_numpy_dtype)
        texts = [leaf.encode() if isinstance(leaf, str) else leaf for leaf in leaves.flat]
        return np.array(texts, object).reshape(leaves.shape)
    except (OverflowError, ValueError) as error:
        expected = described({spec.name: spec})
        raise RequestError(f"inputs: {one_line(error)}; expected {expected}") from error


def _values(name: str, array: np.ndarray) -> Any:
    def text_of(value: bytes) -> str | dict[str, str]:
        if not name.endswith("_bytes"):
            try:
                return value.decode()
            except UnicodeDecodeError:  # TensorFlow Serving would answer what is not JSON.
                pass
        return {"b64": base64.b64encode(value).decode()}

    if array.dtype == object:
        return np.vectorize(text_of, otypes=[object])(array).tolist()
    if array.dtype.kind == "f" and array.dtype != np.float64:
        if array.ndim > 1:  # Strings of all rows at once take 32 times their memory.
            return [_values(name, row) for row in array]
        # As few digits as tell the number from its neighbors, not those of the nearest double.
        return array.astype(str).astype(np.float64).tolist()
    return array.tolist()
