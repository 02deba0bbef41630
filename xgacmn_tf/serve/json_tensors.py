"""Conversion between the JSON of TensorFlow Serving's REST API and NumPy arrays.

A request has rows, `{"instances": [{"name": value, …}, …]}`, or columns, `{"inputs": {"name":
[value, …], …}}`; where a signature has one input its name may be left out. The answer has the same
form, `predictions` or `outputs`, without names where there is one output.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from xgacmn_tf.serve.errors import RequestError

if TYPE_CHECKING:
    from xgacmn_tf.serve.model_version import Input, Signature

# Parsed, JSON takes up to 30 times its size. This many are the features of 6,000 images.
MAX_VALUES = 8_000_000
MAX_DEPTH = 32


def parse(body: bytes) -> dict[str, Any]:
    """Return the object that a request's body holds, with `instances` or `inputs`.

    Raises:
      RequestError: it is not JSON, too nested or holds too many values, or is no such object.
    """
    if sum(map(body.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise RequestError(f"The JSON holds more than {MAX_VALUES:,} values; send fewer.")
    try:
        request = json.loads(body)
    except RecursionError as error:
        raise RequestError("JSON Parse error: nested too deeply.") from error
    except ValueError as error:  # also bytes that are not UTF-8, numbers of too many digits
        raise RequestError(f"JSON Parse error: {error}.") from error
    if not isinstance(request, dict):
        raise RequestError('The JSON is not an object; expected {"instances": …} or {"inputs": …}.')
    name = request.get("signature_name", "")
    if not isinstance(name, str) or re.search("[\ud800-\udfff]", name):
        raise RequestError("'signature_name' key must be a string value.")
    if ("instances" in request) == ("inputs" in request):
        raise RequestError("Expected one of the keys 'instances' and 'inputs', and not both.")
    return request


def arrays_of(request: Mapping[str, Any], signature: Signature) -> dict[str, np.ndarray]:
    """Return the arrays that a parsed request holds, of the signature's names and dtypes.

    Raises:
      RequestError: names, dtypes or shapes do not fit.
    """
    columns = request["inputs"] if "inputs" in request else _columns(request["instances"])
    if not isinstance(columns, dict) or _is_bytes(columns):
        if len(signature.inputs) != 1:
            _check_names(signature, ())
        columns = {name: columns for name in signature.inputs}
    _check_names(signature, columns.keys())
    return {name: _array(columns[name], each) for name, each in signature.inputs.items()}


def answer(request: Mapping[str, Any], outputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the answer for `json.dumps`; it has rows where the request had rows.

    Raises:
      RequestError: the request had rows, but the outputs do not have as many of them.
    """
    values = {name: _values(name, array) for name, array in outputs.items()}
    if "inputs" in request:
        return {"outputs": values if len(values) > 1 else next(iter(values.values()))}
    if any(not array.ndim or len(array) != len(request["instances"]) for array in outputs.values()):
        raise RequestError("The outputs have no rows; send 'inputs' instead of 'instances'.")
    if len(values) == 1:
        return {"predictions": next(iter(values.values()))}
    rows = zip(*values.values(), strict=True)
    return {"predictions": [dict(zip(values, row, strict=True)) for row in rows]}


def _check_names(signature: Signature, names: Collection[str]) -> None:
    """Raise a `RequestError` unless these are the names of the signature's inputs."""
    if set(names) != signature.inputs.keys():
        expected = "; ".join(f"{name!r}: {each}" for name, each in signature.inputs.items())
        given = ", ".join(map(repr, sorted(names))) or "none"
        raise RequestError(
            f"Signature {signature.name!r} takes the inputs {expected}; given: {given}."
        )


def _columns(instances: Any) -> Any:
    """Return rows as columns: a dict where they have names, else the rows themselves."""
    if not isinstance(instances, list):
        raise RequestError("'instances' must be a list, one element for each row.")
    if not instances:
        raise RequestError("'instances' is empty; expected at least one row.")
    named = [isinstance(row, dict) and not _is_bytes(row) for row in instances]
    if not any(named):
        return instances
    if not all(named) or any(row.keys() != instances[0].keys() for row in instances):
        raise RequestError(
            "All elements of 'instances' must be objects with the same names, or none."
        )
    return {name: [row[name] for row in instances] for name in instances[0]}


def _is_bytes(value: Any) -> bool:
    """Return whether this is how JSON writes bytes: {"b64": "…"}."""
    return isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str)


def _array(value: Any, expected: Input) -> np.ndarray:
    leaves, shape = _flat(value, expected)
    types = set(map(type, leaves))
    allowed = _python_types(expected.dtype)
    if not types <= allowed:
        wrong = next(leaf for leaf in leaves if type(leaf) not in allowed)
        raise RequestError(f"Input {expected.name!r} is {expected}; given: {_shown(wrong)}.")
    try:
        if expected.dtype == tf.string:
            array = np.empty(len(leaves), object)
            array[:] = [_bytes(leaf) for leaf in leaves]
        else:
            with np.errstate(over="ignore"):  # the model rejects infinity
                array = np.array(leaves, _numpy_dtype(expected.dtype))
                array = array.astype(expected.dtype.as_numpy_dtype)
    except (OverflowError, ValueError) as error:
        raise RequestError(f"Input {expected.name!r} is {expected}; {error}.") from error
    return array.reshape(shape)


def _flat(value: Any, expected: Input) -> tuple[list[Any], list[int]]:
    """Return the values of nested lists in order, and the lists' lengths from the outermost in."""
    level: list[Any] = [value]
    shape: list[int] = []
    while level and isinstance(level[0], list):
        lengths = {len(each) if isinstance(each, list) else -1 for each in level}
        if len(lengths) > 1:
            raise RequestError(
                f"Input {expected.name!r} is {expected}; the JSON's lists at depth "
                f"{len(shape) + 1} do not have the same length."
            )
        shape.append(lengths.pop())
        if len(shape) > MAX_DEPTH:
            raise RequestError(
                f"Input {expected.name!r} is {expected}; given: over {MAX_DEPTH} lists deep."
            )
        level = list(itertools.chain.from_iterable(level))
    return level, shape


def _python_types(dtype: tf.DType) -> set[type]:
    if dtype == tf.string:
        return {str, dict}
    if dtype == tf.bool:
        return {bool}
    return {int} if dtype.is_integer else {int, float}


def _numpy_dtype(dtype: tf.DType) -> Any:
    """Floats are read as JSON writes them; integers out of range are found by NumPy."""
    return np.float64 if dtype.is_floating else dtype.as_numpy_dtype


def _bytes(value: str | dict[str, Any]) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if not _is_bytes(value):
        raise ValueError('an object holds bytes as {"b64": "…"}')
    text = value["b64"].rstrip("=")
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def _values(name: str, array: np.ndarray) -> Any:
    if array.dtype == object:
        as_base64 = name.endswith("_bytes")
        texts = np.empty(array.shape, object)
        for place, value in np.ndenumerate(array):
            texts[place] = _text(value, as_base64)
        return texts.tolist()
    if array.dtype.kind == "f" and array.dtype != np.float64:
        # As few digits as tell the number from its neighbours, not those of the nearest double.
        return array.astype(str).astype(np.float64).tolist()
    return array.tolist()


def _text(value: bytes, as_base64: bool) -> str | dict[str, str]:
    if not as_base64:
        try:
            return value.decode()
        except UnicodeDecodeError:  # TensorFlow Serving would answer what is not JSON
            pass
    return {"b64": base64.b64encode(value).decode()}


def _shown(value: Any) -> str:
    kind = {dict: "an object", list: "a list", type(None): "null"}.get(type(value))
    return kind or json.dumps(value[:50] if isinstance(value, str) else value)
