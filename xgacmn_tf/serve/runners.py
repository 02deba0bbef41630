"""Running a version's signatures: in this process, or in TensorFlow Serving over gRPC or REST.

A runner takes the name of a signature and its inputs by name, and returns the outputs by name.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import requests
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
from urllib3.util import Retry

from xgacmn_tf.errors import InputError, one_line
from xgacmn_tf.serve.errors import RequestError
from xgacmn_tf.serve.model_version import ModelVersion, described
from xgacmn_tf.serve.saved_model_check import read_checked

Arrays = Mapping[str, np.ndarray]
Runner = Callable[[str, Arrays], dict[str, np.ndarray]]

_ADDRESS = re.compile(r"(?P<base>(?P<scheme>grpc|https?)://(?P<host>[^/]+))/(?P<name>[^/:]+)")
_RETRIES = 3
_MAX_MESSAGE_BYTES = 64 * 2**20
# gRPC retries by itself, within the deadline of the call.
_RETRY_POLICY = {
    "maxAttempts": _RETRIES + 1,
    "initialBackoff": "0.1s",
    "maxBackoff": "2s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
_METHODS = json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": _RETRY_POLICY}]})
_GRPC_OPTIONS = [
    ("grpc.service_config", _METHODS),
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
]
# TensorFlow's message also names nodes of the graph and lines of the exporter's source.
_NOISE = re.compile(
    r"Graph execution error:|Detected at node .*|<stack traces unavailable>|\s*File \".*"
    r"|\[\[.*?\]\]|\[Op:[^\]]*\]|\d+ root error\(s\) found\.|\(\d+\) [A-Z_]+:"
)
_ASSERTED = re.compile(r"assertion failed: \[(.*)\]")


def make_runner(version: ModelVersion, address: str | None, timeout: float) -> Runner:
    """Return the runner of a version.

    Args:
      version: the version.
      address: `grpc://HOST:PORT/NAME` or `http[s]://HOST:PORT/NAME` of a TensorFlow Serving that
        serves it; None to load it into this process.
      timeout: seconds until a remote call is given up, retries included for gRPC.

    Raises:
      InputError: the address is malformed, or the version cannot be loaded.
    """
    if address is None:
        return local_runner(version)
    parts = _ADDRESS.fullmatch(address)
    if parts is None:
        raise InputError(
            f"--encoder={address}: expected grpc://HOST:PORT/NAME, http://HOST:PORT/NAME or "
            "https://HOST:PORT/NAME"
        )
    if parts["scheme"] == "grpc":
        return _grpc_runner(version, parts["host"], parts["name"], timeout)
    return _rest_runner(version, parts["base"], parts["name"], timeout)


def load_checked(folder: Path) -> Any:
    """Return the SavedModel in a folder.

    Raises:
      InputError: it cannot be loaded, or may not be, see `saved_model_check`.
    """
    read_checked(folder)
    try:
        return tf.saved_model.load(str(folder))
    except Exception as error:  # TensorFlow raises many types for damaged files.
        raise InputError(f"{folder} cannot be loaded: {one_line(error)}") from error


def local_runner(version: ModelVersion) -> Runner:
    """Return a runner of the SavedModel in this process."""
    model = load_checked(version.folder)

    def run(signature: str, inputs: Arrays) -> dict[str, np.ndarray]:
        specs = version.signatures[signature]
        try:
            tensors = {name: tf.constant(inputs[name], spec.dtype) for name, spec in specs.items()}
            outputs = model.signatures[signature](**tensors)
        except tf.errors.InvalidArgumentError as error:
            raise _rejected(error.message) from error
        except (ValueError, TypeError) as error:  # The shape or the dtype does not fit.
            message = f"{signature} takes {described(specs)}; {one_line(error)}"
            raise RequestError(message) from error
        return {
            name: np.asarray(value.numpy(), object if value.dtype == tf.string else None)
            for name, value in outputs.items()
        }

    return run


def _grpc_runner(version: ModelVersion, host: str, name: str, timeout: float) -> Runner:
    channel = grpc.insecure_channel(host, _GRPC_OPTIONS)
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

    def run(signature: str, inputs: Arrays) -> dict[str, np.ndarray]:
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = name, signature
        request.model_spec.version.value = version.number
        for key, value in inputs.items():
            dtype = version.signatures[signature][key].dtype
            request.inputs[key].CopyFrom(tf.make_tensor_proto(value, dtype))
        try:
            answer = stub.Predict(request, timeout=timeout)
        except grpc.RpcError as error:
            message = error.details() or ""
            is_clients = error.code() == grpc.StatusCode.INVALID_ARGUMENT
            raise (_rejected(message) if is_clients else _unavailable(host, message)) from error
        return {key: tf.make_ndarray(value) for key, value in answer.outputs.items()}

    return run


def _rest_runner(version: ModelVersion, base: str, name: str, timeout: float) -> Runner:
    url = f"{base}/v1/models/{name}/versions/{version.number}:predict"
    session = requests.Session()
    retry = Retry(_RETRIES, allowed_methods=None, status_forcelist=[503], backoff_factor=0.1)
    session.mount(base, requests.adapters.HTTPAdapter(max_retries=retry))

    def run(signature: str, inputs: Arrays) -> dict[str, np.ndarray]:
        values = {key: _as_json(value) for key, value in inputs.items()}
        body: dict[str, Any] = {"signature_name": signature, "inputs": values}
        try:
            response = session.post(url, json=body, timeout=timeout)
            answer = response.json()
        except (requests.RequestException, ValueError) as error:
            raise _unavailable(base, one_line(error)) from error
        if not response.ok:
            message = str(answer.get("error"))
            is_clients = response.status_code == 400
            raise _rejected(message) if is_clients else _unavailable(base, message)
        outputs = answer["outputs"]
        if not isinstance(outputs, dict):  # A single output has no name.
            (key,) = version.signature_def.signature_def[signature].outputs
            outputs = {key: outputs}
        return {key: np.asarray(value) for key, value in outputs.items()}

    return run


def _rejected(message: str) -> RequestError:
    """Return the part of a TensorFlow error message that concerns the client."""
    words = " ".join(_NOISE.sub(" ", message).split())
    asserted = _ASSERTED.fullmatch(words)
    return RequestError(asserted[1] if asserted else words)


def _unavailable(host: str, message: str) -> RequestError:
    reason = f"the encoder at {host} does not answer: {message}"
    return RequestError("the encoder does not answer; the log has the reason", 503, reason)


def _as_json(value: np.ndarray) -> Any:
    if value.dtype != object:
        return value.tolist()
    return [{"b64": base64.b64encode(each).decode("ascii")} for each in value.tolist()]
