"""Client of the search service and of TensorFlow Serving, in one file that can be copied elsewhere.

    python export/client.py --search "a red apple"          the service at http://127.0.0.1:8080
    python export/client.py --image=photo.jpg -k 5 --rest=https://search.example.org
    python export/client.py --search "a red apple" --grpc=localhost:8500 --label=stable

From Python:

    with ServiceClient("http://127.0.0.1:8080") as service:
        hits = service.search(text="a red apple", k=5)["hits"]
        service.request("POST", "/items", {"id": "42", "image": Path("42.jpg").read_bytes()})
    with GrpcClient("localhost:8500") as serving:
        outputs = serving.predict({"text": ["a red apple"]}, "encode_raw_text")

Needs NumPy; urllib3 2 for the service; tensorflow-serving-api for gRPC, whose messages are imported
without loading TensorFlow. The service's API key is in the environment variable XGACMN_API_KEY.
Prints a line of JSON for each hit. Exit status: 2 for wrong use, 1 if the server failed.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import importlib
import importlib.util
import json
import math
import os
import random
import sys
import time
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np


class ServingError(Exception):
    """A request without an answer; `code` is gRPC's, such as UNAVAILABLE, or `HTTP 404`."""

    def __init__(self, code: str, message: str, transient: bool = False):
        self.code, self.transient = code, transient
        super().__init__(f"{code}: {' '.join(message.split())}")


class _Client(contextlib.AbstractContextManager):
    """Calls that take at most `timeout` seconds, retries included.

    A call is repeated, after pauses that double and vary at random, if the server was not reached
    or was overloaded.
    """

    def __init__(self, server: str, timeout: float, retries: int):
        self.server, self.timeout, self.retries = server, timeout, retries

    def _retry(self, what: str, timeout: float | None, call: Callable[[float], Any]) -> Any:
        """Return `call(deadline)`; errors name the server and `what` was requested."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        for attempt in range(self.retries + 1):
            try:
                return call(deadline)
            except ServingError as error:
                pause = min(0.1 * 2**attempt, 2) * random.uniform(0.5, 1)  # noqa: S311 - no secret
                last = attempt == self.retries or time.monotonic() + pause >= deadline
                if last or not error.transient:
                    error.args = (f"{self.server}, {what}: {error}",)
                    raise
            time.sleep(pause)


def _time_left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise ServingError("DEADLINE_EXCEEDED", "no answer within the timeout")
    return left


class ServiceClient(_Client):
    """Client of `xgacmn serve` at `url`; threads may share it.

    `root_certificates` names a PEM file of certificate authorities, for https.
    """

    def __init__(self, url, api_key=None, root_certificates=None, timeout=10.0, retries=5):
        import urllib3

        if not url.startswith(("http://", "https://")):
            raise ValueError(f"--rest={url}: expected a URL, such as http://127.0.0.1:8080")
        super().__init__(url.rstrip("/"), timeout, retries)
        self._errors = urllib3.exceptions
        self._pool = urllib3.PoolManager(maxsize=16, ca_certs=root_certificates)
        key = {"X-API-Key": api_key} if api_key else {}
        self._headers = {"Content-Type": "application/json", **key}

    def __exit__(self, *_) -> None:
        self._pool.clear()

    def search(self, **query: Any) -> dict[str, Any]:
        """Return the answer to text, image (bytes) or features: `query`, `hits` and others."""
        return self.request("POST", "/search", query)

    def request(
        self, method: str, path: str, content: Any = None, timeout: float | None = None
    ) -> dict[str, Any]:
        """Return the JSON answer of any path; bytes in `content` are sent as base64.

        A write is not repeated if the connection breaks after it was sent.
        """

        def encoded(value: Any) -> Any:
            return base64.b64encode(value).decode() if isinstance(value, bytes) else value.tolist()

        body = None if content is None else json.dumps(content, default=encoded).encode()
        write = method != "GET" and path != "/search"

        def call(deadline: float) -> dict[str, Any]:
            pieces = []
            try:
                with self._pool.request(
                    method,
                    self.server + path,
                    body=body,
                    headers=self._headers,
                    timeout=_time_left(deadline),
                    retries=False,
                    preload_content=False,
                ) as response:
                    # In pieces: urllib3's timeout limits each wait, not the whole answer.
                    while piece := response.read1(1 << 16, decode_content=True):
                        pieces.append(piece)
                        _time_left(deadline)
            except self._errors.HTTPError as error:
                unsent = isinstance(error, self._errors.NewConnectionError)
                late = isinstance(error, self._errors.TimeoutError) and not unsent
                code = "DEADLINE_EXCEEDED" if late else "UNAVAILABLE"
                transient = unsent or not (late or write)
                raise ServingError(code, str(error), transient) from error
            return _answer(response.status, b"".join(pieces), write)

        return self._retry(f"{method} {path}", timeout, call)


def _answer(status: int, content: bytes, write: bool) -> dict[str, Any]:
    message = content[:200].decode(errors="replace")  # a page of a proxy or of another server
    with contextlib.suppress(ValueError, LookupError, TypeError):
        answer = json.loads(content)
        if status in (200, 201):
            return answer
        message = answer["error"]
    transient = status in (429, 503) or (status == 502 and not write)
    raise ServingError(f"HTTP {status}", message, transient)


class GrpcClient(_Client):
    """Client of TensorFlow Serving at `address`, host:port, over gRPC; threads may share it.

    The connection is encrypted if `root_certificates` names a PEM file of certificate authorities.
    """

    def __init__(self, address, root_certificates=None, timeout=10.0, retries=5):
        super().__init__(address, timeout, retries)
        import grpc

        # A channel that failed waits by default for longer than our pauses.
        options = [(f"grpc.{way}_reconnect_backoff_ms", 100) for way in ("initial", "max")]
        # Otherwise 4 MB, which is a search of some thousand texts.
        options += [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        if root_certificates:
            credentials = grpc.ssl_channel_credentials(Path(root_certificates).read_bytes())
            self._channel = grpc.secure_channel(address, credentials, options)
        else:
            self._channel = grpc.insecure_channel(address, options)
        self._error = grpc.RpcError
        self.predictions = stub("prediction_service").PredictionServiceStub(self._channel)
        self.models = stub("model_service").ModelServiceStub(self._channel)

    def __exit__(self, *_) -> None:
        self._channel.close()

    def predict(
        self,
        inputs: Mapping[str, Any],
        signature: str = "serving_default",
        model: str = "xgacmn",
        version: int | None = None,
        label: str | None = None,
        timeout: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Return the outputs of a signature, strings as object arrays of `str`.

        Inputs are rows of numbers, sent as float32, or lists of `str` or `bytes`. Without a version
        or label, the newest version answers.
        """
        request = stub("predict", "_pb2").PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = model, signature
        where = f"signature {signature} of {model}"
        if version is not None:
            request.model_spec.version.value, where = version, f"{where}, version {version}"
        if label is not None:
            request.model_spec.version_label, where = label, f"{where}, label {label}"
        for name, value in inputs.items():
            _fill(request.inputs[name], value)
        response = self.call(self.predictions.Predict, request, where, timeout)
        return {name: _array(tensor) for name, tensor in response.outputs.items()}

    def call(self, method: Any, request: Any, what: str, timeout: float | None = None) -> Any:
        """Return the answer of a method of the official stubs; `what` describes it in errors."""

        def call(deadline: float) -> Any:
            try:
                return method(request, timeout=_time_left(deadline))
            except self._error as error:
                code, text = error.code().name, error.details() or "no details"
                raise ServingError(code, text, code == "UNAVAILABLE") from error

        return self._retry(what, timeout, call)


def stub(name: str, suffix: str = "_pb2_grpc") -> Any:
    """Import a module of TensorFlow Serving's API.

    Its messages are below `tensorflow`, whose import takes seconds; an empty package with the same
    path stands in for it meanwhile.
    """
    found = importlib.util.find_spec("tensorflow")
    if found is None:
        raise ModuleNotFoundError("gRPC needs pip install tensorflow-serving-api")
    package = types.ModuleType("tensorflow")
    package.__path__ = list(found.submodule_search_locations or ())
    stands_in = sys.modules.setdefault("tensorflow", package) is package
    try:
        return importlib.import_module(f"tensorflow_serving.apis.{name}{suffix}")
    finally:
        if stands_in:
            del sys.modules["tensorflow"]


def _fill(tensor: Any, value: Any) -> None:
    """Write numbers as float32, or strings, into a `TensorProto`."""
    array = np.array(value, object)  # NumPy's own strings lose zeros at their ends
    if array.size and not isinstance(array.flat[0], str | bytes):
        array = np.asarray(value, np.float32)
        tensor.dtype, tensor.tensor_content = 1, array.tobytes()
    else:
        strings = [each.encode() if isinstance(each, str) else each for each in array.flat]
        tensor.dtype = 7
        tensor.string_val.extend(strings)
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)


_DTYPES = {1: "float32", 3: "int32", 7: "object", 9: "int64", 10: "bool"}  # TensorFlow's numbers


def _array(tensor: Any) -> np.ndarray:
    dtype, shape = _DTYPES[tensor.dtype], [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.tensor_content:
        return np.frombuffer(tensor.tensor_content, dtype).reshape(shape)
    values = next((v for field, v in tensor.ListFields() if field.name.endswith("_val")), [])
    values = [each.decode(errors="replace") if isinstance(each, bytes) else each for each in values]
    # As TensorFlow packs tensors, the last value stands for all that are missing.
    values += values[-1:] * (math.prod(shape) - len(values))
    return np.array(values, dtype).reshape(shape)


def hits_of(outputs: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Return the first row of a search's outputs as hits of the service's form."""
    # Models exported earlier lack the outputs that are looked up by `get`.
    if not outputs.get("known_words", [True])[0]:
        return []  # early versions answer arbitrary items then
    ids, titles, scores = (outputs[name][0].tolist() for name in ("ids", "titles", "scores"))
    categories = outputs.get("category", [[""] * len(ids)])[0]
    rows = zip(ids, titles, scores, categories, strict=True)
    return [dict(id=i, title=t, score=s, category=c) for i, t, s, c in rows if i]


def _parser() -> argparse.ArgumentParser:
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    query = parser.add_mutually_exclusive_group(required=True)
    query.add_argument("--search", metavar="TEXT", help="find images that fit a text")
    query.add_argument("--image", type=Path, metavar="FILE", help="find items that fit an image")
    server = parser.add_mutually_exclusive_group()
    server.add_argument("--rest", default="http://127.0.0.1:8080", help="default: %(default)s")
    server.add_argument("--grpc", metavar="HOST:PORT", help="TensorFlow Serving instead")
    parser.add_argument("-k", type=int, default=10, help="number of hits (default: 10)")
    parser.add_argument("--version", type=int, help="gRPC; by default the newest")
    parser.add_argument("--label", help="gRPC; such as stable or canary")
    parser.add_argument("--root_certificates", metavar="FILE", help="PEM, for https and gRPC")
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds (default: 10)")
    return parser


def _hits(flags: argparse.Namespace) -> list[dict[str, Any]]:
    query = {"image": flags.image.read_bytes()} if flags.image else {"text": flags.search}
    if not flags.grpc:
        key = os.environ.get("XGACMN_API_KEY")
        with ServiceClient(flags.rest, key, flags.root_certificates, flags.timeout) as service:
            return service.search(**query, k=flags.k)["hits"]
    signature, name = "search_images_by_raw_text", "text"
    if flags.image:
        signature, name = "search_texts_by_image_bytes", "image_bytes"
    with GrpcClient(flags.grpc, flags.root_certificates, flags.timeout) as serving:
        inputs = {name: list(query.values())}
        outputs = serving.predict(inputs, signature, version=flags.version, label=flags.label)
        return hits_of(outputs)[: flags.k]


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    flags = _parser().parse_args(argv)
    try:
        for hit in _hits(flags):
            print(json.dumps(hit, ensure_ascii=False))
    except FileNotFoundError as error:
        print(f"error: {error.filename}: there is no such file", file=sys.stderr)
        return 2
    except (OSError, ValueError, ImportError, ServingError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1 if isinstance(error, ServingError) else 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
