"""Client of TensorFlow Serving over gRPC or REST, in one file that can be copied elsewhere.

    python export/client.py --search "a red apple"              pictures that fit the text
    python export/client.py --image=photo.jpg --label=stable    texts that fit the picture
    python export/client.py --status                            the model's versions
    python export/client.py --rest=http://localhost:8501 --metadata     its signatures, over REST

From Python, over either protocol with the same answers:

    with GrpcClient("localhost:8500") as client:     # or RestClient("http://localhost:8501")
        found = client.predict({"text": ["a red apple"]}, "search_images_by_raw_text")
    found["titles"]                                  # (1, 10) str; empty: not understood

Needs NumPy, and grpcio and protobuf or urllib3 2.2; not TensorFlow. Exit status: 2 for bad use, 1
where the server failed, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import base64
import json
import math
import random
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn
from urllib.parse import quote

import numpy as np

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0
# gRPC's own limit on answers is 4 MB, a search of some thousand texts.
MAX_MESSAGE_BYTES = 64 << 20
PREDICT = "/tensorflow.serving.PredictionService/Predict"


class ServingError(Exception):
    """A request that was not answered.

    Attributes:
      code: gRPC's name of the failure, over REST too: INVALID_ARGUMENT, NOT_FOUND, UNAVAILABLE,
        DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED … REST has one status, 400, for FAILED_PRECONDITION
        (gRPC's answer to an unknown signature) and INVALID_ARGUMENT; it is read as the latter.
      message: what the server answered, or why there was no answer.
      asked: what was asked of which model where; part of the text.
      transient: the same request may succeed later.
    """

    def __init__(self, code: str, message: str, asked: str = "", transient: bool = False):
        super().__init__(f"{asked}: {code}: {message}" if asked else f"{code}: {message}")
        self.code, self.message, self.asked, self.transient = code, message, asked, transient


class TensorSpec(NamedTuple):
    """dtype: NumPy's name, or "string"; shape: None where any size will do."""

    dtype: str
    shape: tuple[int | None, ...]


class Signature(NamedTuple):
    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]


class VersionStatus(NamedTuple):
    """state: START, LOADING, AVAILABLE, UNLOADING or END; message: why, where loading failed."""

    version: int
    state: str
    message: str


class Target(NamedTuple):
    """Which model is meant: a version, whatever a label stands for, or the newest."""

    model: str
    version: int | None
    label: str | None

    def __str__(self) -> str:
        version = "" if self.version is None else f", version {self.version}"
        return f"model {self.model}{version}" + (f", label {self.label}" if self.label else "")


class Client:
    """What both protocols share: the interface, deadlines and retries.

    Every call takes at most `timeout` seconds, retries included. Where there is no connection, or
    the server or a proxy is too busy, it is tried again up to `retries` times, after pauses that
    double and vary at random, so that clients do not return all at once. A prediction changes
    nothing, so asking twice is safe.
    """

    def __init__(self, where: str, timeout: float, retries: int):
        self.where, self.timeout, self.retries = where, timeout, retries

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        raise NotImplementedError

    def predict(
        self,
        inputs: Mapping[str, Any],
        signature: str = "serving_default",
        model: str = "xgacmn",
        version: int | None = None,
        label: str | None = None,
        timeout: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Runs a signature.

        Args:
          inputs: arrays or nested lists by name, the batch first. Arrays go as they are; numbers
            in lists as float32 or int32. Strings are `str` or `bytes`.
          signature: which one; `metadata` lists them.
          model, version, label: whom to ask; the newest version without a version or label.
          timeout: seconds, instead of the client's.

        Returns:
          Arrays by name; strings as object arrays of `str`, of `bytes` where the name ends so.

        Raises:
          ServingError: see there; INVALID_ARGUMENT too where the inputs are no arrays.
        """
        target = _target(model, version, label)
        asked = f"signature {signature} of {target}"
        try:
            request = self.encode(inputs, signature, target)
        except (ValueError, OverflowError) as error:  # of NumPy, or a str that has no UTF-8
            raise ServingError("INVALID_ARGUMENT", str(error), asked) from error
        return self._ask(asked, timeout, lambda end: self._predict(target, signature, request, end))

    def status(self, model: str = "xgacmn", timeout: float | None = None) -> list[VersionStatus]:
        """The model's versions, newest first, also those that are loading or were unloaded."""
        target = _target(model, None, None)
        found = self._ask(f"status of {target}", timeout, lambda end: self._status(target, end))
        return sorted(found, reverse=True)

    def metadata(
        self,
        model: str = "xgacmn",
        version: int | None = None,
        label: str | None = None,
        timeout: float | None = None,
    ) -> dict[str, Signature]:
        """The signatures by name."""
        target = _target(model, version, label)
        return self._ask(f"metadata of {target}", timeout, lambda end: self._metadata(target, end))

    def _ask(self, asked: str, timeout: float | None, call: Callable[[float], Any]) -> Any:
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        pause = FIRST_PAUSE
        for attempt in range(self.retries + 1):
            try:
                return call(deadline)
            except ServingError as error:
                wait = pause * random.uniform(0.5, 1)  # noqa: S311 - keeps clients apart, no secret
                last = attempt == self.retries or time.monotonic() + wait >= deadline
                if last or not error.transient:
                    asked = f"{self.where}, {asked}"
                    raise ServingError(
                        error.code, error.message, asked, error.transient
                    ) from error.__cause__
            time.sleep(wait)
            pause = min(2 * pause, LONGEST_PAUSE)

    def encode(self, inputs: Mapping[str, Any], signature: str, target: Target) -> bytes:
        """What `predict` sends, for a program that sends the same again and again."""
        raise NotImplementedError

    def _predict(self, target: Target, signature: str, request: bytes, deadline: float) -> dict:
        raise NotImplementedError

    def _status(self, target: Target, deadline: float) -> list[VersionStatus]:
        raise NotImplementedError

    def _metadata(self, target: Target, deadline: float) -> dict[str, Signature]:
        raise NotImplementedError


class GrpcClient(Client):
    """Over gRPC; several threads may share one.

    Args:
      address: host:port.
      tls: encrypt, and check the server's certificate.
      root_certificates: PEM file of who may have signed it, instead of gRPC's own list.
      timeout: seconds for a call, retries included.
      retries: how often a call is tried again.
    """

    def __init__(
        self,
        address: str,
        *,
        tls: bool = False,
        root_certificates: str | None = None,
        timeout: float = 10.0,
        retries: int = 5,
    ):
        super().__init__(address, timeout, retries)
        import grpc

        options = [
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.enable_retries", 0),
            # A channel that failed waits before it connects again, longer than our pauses.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
        ]
        if tls:
            roots = Path(root_certificates).read_bytes() if root_certificates else None
            credentials = grpc.ssl_channel_credentials(roots)
            self._channel = grpc.secure_channel(address, credentials, options)
        else:
            self._channel = grpc.insecure_channel(address, options)
        self._failure = grpc.RpcError
        self._messages = api_messages()

    def close(self) -> None:
        self._channel.close()

    def reload_config(self, config: bytes, timeout: float | None = None) -> None:
        """Gives the server another configuration; returns once it has loaded what that names.

        Args:
          config: an encoded `ModelServerConfig`; it replaces the whole old one.
          timeout: seconds, instead of the client's.

        Raises:
          ServingError: the server refuses, and goes on as before.
        """
        request = self._messages["ReloadConfigRequest"](config=config).SerializeToString()
        method = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"

        def call(deadline: float) -> None:
            status = self._call(method, request, "ReloadConfigResponse", deadline).status
            if status.error_code:
                raise ServingError(f"error {status.error_code}", status.error_message)

        self._ask("another configuration", timeout, call)

    def encode(self, inputs: Mapping[str, Any], signature: str, target: Target) -> bytes:
        request = self._request("PredictRequest", target)
        request.model_spec.signature_name = signature
        for name, value in inputs.items():
            fill_tensor(request.inputs.add(key=name).value, _as_array(value))
        return request.SerializeToString()

    def _predict(self, target: Target, signature: str, request: bytes, deadline: float) -> dict:
        response = self._call(PREDICT, request, "PredictResponse", deadline)
        return {pair.key: read_tensor(pair.key, pair.value) for pair in response.outputs}

    def _status(self, target: Target, deadline: float) -> list[VersionStatus]:
        request = self._request("GetModelStatusRequest", target)
        method = "/tensorflow.serving.ModelService/GetModelStatus"
        packed = request.SerializeToString()
        response = self._call(method, packed, "GetModelStatusResponse", deadline)
        return [
            VersionStatus(v.version, _STATES.get(v.state, str(v.state)), v.status.error_message)
            for v in response.model_version_status
        ]

    def _metadata(self, target: Target, deadline: float) -> dict[str, Signature]:
        request = self._request("GetModelMetadataRequest", target)
        request.metadata_field.append("signature_def")
        method = "/tensorflow.serving.PredictionService/GetModelMetadata"
        packed = request.SerializeToString()
        response = self._call(method, packed, "GetModelMetadataResponse", deadline)
        packed = next(m.value.value for m in response.metadata if m.key == "signature_def")
        return {
            pair.key: Signature(_tensor_specs(pair.value.inputs), _tensor_specs(pair.value.outputs))
            for pair in self._messages["SignatureDefMap"].FromString(packed).signature_def
        }

    def _request(self, kind: str, target: Target) -> Any:
        request = self._messages[kind]()
        request.model_spec.name = target.model
        if target.version is not None:
            request.model_spec.version.value = target.version
        if target.label is not None:
            request.model_spec.version_label = target.label
        return request

    def _call(self, method: str, request: bytes, answer: str, deadline: float) -> Any:
        call = self._channel.unary_unary(method)
        try:
            packed = call(request, timeout=_time_left(deadline))
            return self._messages[answer].FromString(packed)
        except self._failure as error:
            code, message = error.code().name, error.details() or "no details"
            raise ServingError(code, message, transient=code == "UNAVAILABLE") from error


class RestClient(Client):
    """Over REST; several threads may share one.

    Args:
      url: http://host:port, or https.
      root_certificates: PEM file of who may have signed an https server's certificate.
      timeout: seconds for a call, retries included.
      retries: how often a call is tried again.
    """

    def __init__(
        self,
        url: str,
        *,
        root_certificates: str | None = None,
        timeout: float = 10.0,
        retries: int = 5,
    ):
        super().__init__(url.rstrip("/"), timeout, retries)
        import urllib3

        if not url.startswith(("http://", "https://")):
            raise ValueError(f"{url!r} is no URL of a server, such as http://localhost:8501")
        self._failures = urllib3.exceptions
        self._pool = urllib3.PoolManager(maxsize=16, ca_certs=root_certificates)
        # REST's answers have no dtypes, and a single output has no name: the metadata tells both.
        self._specs: dict[tuple[Target, str], dict[str, TensorSpec]] = {}

    def close(self) -> None:
        self._pool.clear()

    def encode(self, inputs: Mapping[str, Any], signature: str, target: Target) -> bytes:
        columns = {name: _to_json(_as_array(value)) for name, value in inputs.items()}
        return json.dumps({"signature_name": signature, "inputs": columns}).encode()

    def _predict(self, target: Target, signature: str, request: bytes, deadline: float) -> dict:
        path = f"{rest_path(target)}:predict"
        outputs = self._exchange(path, "outputs", deadline, request)
        known = self._specs.get((target, signature), {})
        if not _named_as(known, outputs):
            known = self._metadata(target, deadline)[signature].outputs
            self._specs[target, signature] = known
        if not _named_as(known, outputs):
            raise ServingError("INTERNAL", f"outputs do not fit the metadata's, {list(known)}")
        columns = outputs if len(known) > 1 else dict.fromkeys(known, outputs)
        return {name: _from_json(columns[name], known[name].dtype) for name in known}

    def _status(self, target: Target, deadline: float) -> list[VersionStatus]:
        found = self._exchange(rest_path(target), "model_version_status", deadline)
        return [
            VersionStatus(int(v["version"]), v["state"], v["status"]["error_message"])
            for v in found
        ]

    def _metadata(self, target: Target, deadline: float) -> dict[str, Signature]:
        found = self._exchange(f"{rest_path(target)}/metadata", "metadata", deadline)
        return {
            name: Signature(_json_specs(s.get("inputs", {})), _json_specs(s.get("outputs", {})))
            for name, s in found["signature_def"]["signature_def"].items()
        }

    def _exchange(self, path: str, key: str, deadline: float, body: bytes | None = None) -> Any:
        """One request; what its answer has under `key`."""
        pieces = []
        try:
            with self._pool.request(
                "GET" if body is None else "POST",
                self.where + path,
                body=body,
                headers={"Content-Type": "application/json"},
                timeout=_time_left(deadline),
                retries=False,
                preload_content=False,
            ) as response:
                # As they come: the timeout limits each wait, not the whole answer.
                while piece := response.read1(1 << 16, decode_content=True):
                    pieces.append(piece)
                    _time_left(deadline)
        except self._failures.HTTPError as error:
            refused = isinstance(error, self._failures.NewConnectionError)
            if isinstance(error, self._failures.TimeoutError) and not refused:
                raise _late() from error
            raise ServingError("UNAVAILABLE", str(error), transient=True) from error
        return _json_answer(response.status, b"".join(pieces), key)


# What both protocols need -------------------------------------------------------------------------


def _target(model: str, version: int | None, label: str | None) -> Target:
    if version is not None and label is not None:
        raise ServingError("INVALID_ARGUMENT", "give a version or a label, not both")
    return Target(model, version, label)


def _time_left(deadline: float) -> float:
    """Seconds; a `ServingError` where there are none."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise _late()
    return left


def _late() -> ServingError:
    return ServingError("DEADLINE_EXCEEDED", "no answer within the time allowed")


def _as_array(value: Any) -> np.ndarray:
    """An array to send; strings as objects, `bytes` in UTF-8.

    Raises a `ValueError` or `OverflowError` where there is no such array.
    """
    leaf = value
    while isinstance(leaf, list | tuple) and leaf:
        leaf = leaf[0]
    # NumPy's own strings would lose zeros at their ends.
    array = np.array(value, object) if isinstance(leaf, str | bytes) else np.asarray(value)
    if array.dtype.kind in "USO":
        strings = np.empty(array.size, object)
        strings[:] = [_encoded(s) for s in array.ravel().tolist()]
        return strings.reshape(array.shape)
    if not isinstance(value, np.ndarray) and array.dtype.kind in "fi":
        array = np.array(value, np.float32 if array.dtype.kind == "f" else np.int32)
    if array.dtype.name not in _DTYPE_NUMBERS:
        raise ValueError(f"an array of {array.dtype} cannot be sent")
    return array


def _encoded(string: Any) -> bytes:
    if isinstance(string, str):
        return string.encode()
    if isinstance(string, bytes):
        return string
    raise ValueError(f"expected str or bytes throughout, not {type(string).__name__}")


def _is_bytes(name: str) -> bool:
    """TensorFlow Serving's rule: strings of these names are no text."""
    return name.endswith("_bytes")


# REST ---------------------------------------------------------------------------------------------

# What gRPC calls it, as TensorFlow Serving has it; 408, 413 and 502 come from proxies.
HTTP_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    413: "RESOURCE_EXHAUSTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def rest_path(target: Target) -> str:
    path = f"/v1/models/{quote(target.model, safe='')}"
    if target.version is not None:
        return f"{path}/versions/{target.version}"
    return path if target.label is None else f"{path}/labels/{quote(target.label, safe='')}"


def _named_as(specs: Mapping[str, TensorSpec], outputs: Any) -> bool:
    """Whether an answer has these outputs; another version may have others."""
    return set(outputs) == set(specs) if isinstance(outputs, dict) else len(specs) == 1


def _json_answer(status: int, content: bytes, key: str) -> Any:
    try:
        answer = json.loads(content)
    except ValueError:
        answer = None
    fields = answer if isinstance(answer, dict) else {}
    if status == 200 and key in fields:
        return fields[key]
    # Of a proxy, or of another server altogether.
    other = f"HTTP status {status}: {content[:200].decode(errors='replace').strip()}"
    text = fields.get("error", other)
    raise ServingError(
        HTTP_CODES.get(status, "UNKNOWN"), str(text), transient=status in (429, 502, 503)
    )


def _to_json(array: np.ndarray) -> Any:
    """Nested lists. A float32 goes as the float64 of the same value, so it arrives unchanged."""
    if array.dtype != object:
        return array.tolist()
    flat = np.empty(array.size, object)
    flat[:] = [_string_to_json(s) for s in array.ravel()]
    return flat.reshape(array.shape).tolist()


def _string_to_json(string: bytes) -> Any:
    try:
        return string.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(string).decode()}


def _from_json(values: Any, dtype: str) -> np.ndarray:
    if dtype != "string":
        return np.array(values, dtype)
    array = np.array(values, object)
    for index, value in np.ndenumerate(array):
        if isinstance(value, dict):
            array[index] = base64.b64decode(value["b64"])
    return array


def _json_specs(tensors: Mapping[str, Any]) -> dict[str, TensorSpec]:
    specs = {}
    for name, tensor in sorted(tensors.items()):
        sizes = [int(dim["size"]) for dim in tensor["tensor_shape"].get("dim", [])]
        dtype = {f"DT_{names[1]}": names[0] for names in _DTYPES.values()}.get(tensor["dtype"])
        specs[name] = TensorSpec(dtype or tensor["dtype"], _shape(sizes))
    return specs


# gRPC ---------------------------------------------------------------------------------------------

# The part of TensorFlow Serving's API that is used here, with its field numbers. Its own package,
# `tensorflow-serving-api`, loads TensorFlow, which takes seconds. Maps are sent as repeated pairs,
# a message inside another as its bytes.
_API = """
Int64Value: int64 value 1
Any: string type_url 1, bytes value 2
ModelSpec: string name 1, Int64Value version 2, string signature_name 3, string version_label 4
Dim: int64 size 1
TensorShapeProto: repeated Dim dim 2, bool unknown_rank 3
TensorProto: int32 dtype 1, TensorShapeProto tensor_shape 2, bytes tensor_content 4,
  repeated float float_val 5, repeated double double_val 6, repeated int32 int_val 7,
  repeated bytes string_val 8, repeated int64 int64_val 10, repeated bool bool_val 11
TensorPair: string key 1, TensorProto value 2
PredictRequest: ModelSpec model_spec 1, repeated TensorPair inputs 2
PredictResponse: repeated TensorPair outputs 1, ModelSpec model_spec 2
StatusProto: int32 error_code 1, string error_message 2
ModelVersionStatus: int64 version 1, int32 state 2, StatusProto status 3
GetModelStatusRequest: ModelSpec model_spec 1
GetModelStatusResponse: repeated ModelVersionStatus model_version_status 1
TensorInfo: string name 1, int32 dtype 2, TensorShapeProto tensor_shape 3
InfoPair: string key 1, TensorInfo value 2
SignatureDef: repeated InfoPair inputs 1, repeated InfoPair outputs 2, string method_name 3
SignaturePair: string key 1, SignatureDef value 2
SignatureDefMap: repeated SignaturePair signature_def 1
GetModelMetadataRequest: ModelSpec model_spec 1, repeated string metadata_field 2
AnyPair: string key 1, Any value 2
GetModelMetadataResponse: ModelSpec model_spec 1, repeated AnyPair metadata 2
ReloadConfigRequest: bytes config 1
ReloadConfigResponse: StatusProto status 1
"""
# Number in TensorFlow → NumPy's name, TensorFlow's, and the field that holds single values.
_DTYPES = {
    1: ("float32", "FLOAT", "float_val"),
    2: ("float64", "DOUBLE", "double_val"),
    3: ("int32", "INT32", "int_val"),
    4: ("uint8", "UINT8", "int_val"),
    7: ("string", "STRING", "string_val"),
    9: ("int64", "INT64", "int64_val"),
    10: ("bool", "BOOL", "bool_val"),
}
_DTYPE_NUMBERS = {names[0]: number for number, names in _DTYPES.items()}
_STATES = {10: "START", 20: "LOADING", 30: "AVAILABLE", 40: "UNLOADING", 50: "END"}


def api_messages() -> dict[str, Any]:
    """The message classes of `_API` by name; they write and read what the official ones do."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    package = "xgacmn_client"  # a name and pool of its own: TensorFlow may be loaded beside it
    file = descriptor_pb2.FileDescriptorProto(name=package, package=package, syntax="proto3")
    for line in _API.replace(",\n", ",").strip().splitlines():
        name, fields = line.split(": ")
        message = file.message_type.add(name=name)
        for words in map(str.split, fields.split(",")):
            *repeated, kind, field_name, number = words
            field = message.field.add(name=field_name, number=int(number))
            field.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
            if kind[0].isupper():
                field.type, field.type_name = field.TYPE_MESSAGE, f".{package}.{kind}"
            else:
                field.type = getattr(field, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    types = pool.FindFileByName(package).message_types_by_name
    return {name: message_factory.GetMessageClass(types[name]) for name in types}


def fill_tensor(tensor: Any, array: np.ndarray) -> None:
    """Writes an array into a `TensorProto`; strings are objects of `bytes`."""
    if array.dtype == object:
        tensor.dtype = _DTYPE_NUMBERS["string"]
        tensor.string_val.extend(array.ravel())
    else:
        tensor.dtype = _DTYPE_NUMBERS[array.dtype.name]
        tensor.tensor_content = array.astype(array.dtype.newbyteorder("<")).tobytes()
    tensor.tensor_shape.SetInParent()  # no dimensions: a scalar, not an unknown shape
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)


def read_tensor(name: str, tensor: Any) -> np.ndarray:
    """The array of a `TensorProto`; strings as objects, of `bytes` where the name says so."""
    if tensor.dtype not in _DTYPES:
        raise ServingError("UNIMPLEMENTED", f"output {name} has TensorFlow's dtype {tensor.dtype}")
    dtype, _, field = _DTYPES[tensor.dtype]
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.tensor_content:
        return np.frombuffer(tensor.tensor_content, dtype).reshape(shape).copy()
    values = list(getattr(tensor, field))
    # As TensorFlow packs tensors, the last value stands for all that are missing.
    missing = math.prod(shape) - len(values)
    values += (values[-1:] or [b"" if dtype == "string" else 0]) * missing
    if dtype != "string":
        return np.array(values, dtype).reshape(shape)
    array = np.empty(len(values), object)
    array[:] = values if _is_bytes(name) else [v.decode(errors="replace") for v in values]
    return array.reshape(shape)


def _tensor_specs(pairs: Iterable[Any]) -> dict[str, TensorSpec]:
    specs = {}
    for pair in sorted(pairs, key=lambda pair: pair.key):
        number = pair.value.dtype
        dtype = _DTYPES[number][0] if number in _DTYPES else f"DT_{number}"
        sizes = [dim.size for dim in pair.value.tensor_shape.dim]
        specs[pair.key] = TensorSpec(dtype, _shape(sizes))
    return specs


def _shape(sizes: Iterable[int]) -> tuple[int | None, ...]:
    return tuple(None if size < 0 else size for size in sizes)


# Command line -------------------------------------------------------------------------------------


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"error: {message}; see --help", file=sys.stderr)
        sys.exit(2)


def _parser() -> argparse.ArgumentParser:
    layout = argparse.RawDescriptionHelpFormatter
    parser = Parser(description=__doc__, formatter_class=layout, allow_abbrev=False)
    do = parser.add_mutually_exclusive_group(required=True)
    do.add_argument("--search", metavar="TEXT", help="print pictures that fit a text")
    do.add_argument("--image", metavar="FILE", help="print texts that fit a picture")
    do.add_argument("--status", action="store_true", help="print versions and their states")
    do.add_argument("--metadata", action="store_true", help="print the signatures")
    server = parser.add_mutually_exclusive_group()
    server.add_argument("--address", default="localhost:8500", help="gRPC (default: %(default)s)")
    server.add_argument("--rest", metavar="URL", help="REST instead")
    parser.add_argument("--model", default="xgacmn", help="name (default: %(default)s)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--version", type=int, help="default: the newest")
    which.add_argument("--label", help="such as stable or canary")
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds (default: 10)")
    parser.add_argument("--tls", action="store_true", help="encrypted gRPC")
    parser.add_argument("--root_certificates", metavar="FILE", help="PEM, for --tls or https")
    return parser


def _client(arguments: argparse.Namespace) -> Client:
    options = {"timeout": arguments.timeout, "root_certificates": arguments.root_certificates}
    if arguments.rest:
        return RestClient(arguments.rest, **options)
    return GrpcClient(arguments.address, tls=arguments.tls, **options)


def _print_found(found: Mapping[str, np.ndarray]) -> None:
    if "known_words" in found and not found["known_words"][0]:
        # Models exported by older versions answer with arbitrary items.
        print("none of the words is known to the model: nothing is found")
        return
    if not any(found["ids"][0]):
        print("all features of the query are zero: nothing is found")
        return
    # Models exported by older versions lack the outputs that are looked up by `get`.
    if "query_category" in found:
        posterior = found["query_category_posterior"][0]
        print(f"most probable category: {found['query_category'][0]} ({posterior:.2f})")
    if found.get("no_good_match", [False])[0]:
        print("No good match: the nearest items are shown.")
    categories = [""] * len(found["ids"][0])
    if "category" in found:
        pairs = zip(found["category"][0], found["category_posterior"][0], strict=True)
        categories = [f"  {category} ({posterior:.2f})" for category, posterior in pairs]
    columns = (*(found[name][0] for name in ("scores", "ids", "titles")), categories)
    for rank, (score, item, title, category) in enumerate(zip(*columns, strict=True), 1):
        print(f"{rank:3}  {score:.4f}  {item}  {title}{category}")


def _run(client: Client, arguments: argparse.Namespace, picture: bytes | None) -> None:
    whom = {"model": arguments.model, "version": arguments.version, "label": arguments.label}
    if arguments.status:
        for version in client.status(arguments.model):
            print(*filter(None, version))
    elif arguments.metadata:
        for name, signature in sorted(client.metadata(**whom).items()):
            print(name)
            for way, specs in zip(("input", "output"), signature, strict=True):
                for key, spec in specs.items():
                    sizes = ", ".join("n" if size is None else str(size) for size in spec.shape)
                    print(f"  {way} {key}: {spec.dtype} ({sizes})")
    elif picture is not None:
        inputs = {"image_bytes": [picture]}
        _print_found(client.predict(inputs, "search_texts_by_image_bytes", **whom))
    else:
        inputs = {"text": [arguments.search]}
        _print_found(client.predict(inputs, "search_images_by_raw_text", **whom))


def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    try:
        picture = Path(arguments.image).read_bytes() if arguments.image else None
        client = _client(arguments)
    except (OSError, ValueError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        with client:
            _run(client, arguments, picture)
    except ServingError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
