"""TensorFlow Serving's REST API over loaded models."""

import base64
import json
import re
from http.server import BaseHTTPRequestHandler
from typing import Any

import numpy as np
from google.protobuf import json_format
from loaded_models import Code, Failure, Model, Models
from tensorflow_serving.apis import model_pb2

HTTP_STATUS = {Code.INVALID_ARGUMENT: 400, Code.FAILED_PRECONDITION: 400, Code.NOT_FOUND: 404}


class RestApi(BaseHTTPRequestHandler):
    """`/v1/models/NAME[/versions/N|/labels/L]` with `:predict`, `/metadata` or nothing."""

    models: Models  # of a subclass
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # otherwise the second packet of an answer waits for 40 ms
    path_pattern = re.compile(
        r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?(:predict|/metadata|)"
    )

    def do_GET(self) -> None:  # noqa: N802
        self._answer(None)

    def do_POST(self) -> None:  # noqa: N802
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, body: bytes | None) -> None:
        try:
            status, content = 200, self._content(body)
        except Failure as error:
            status, content = HTTP_STATUS.get(error.code, 500), {"error": error.message}
        encoded = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    def _content(self, body: bytes | None) -> dict[str, Any]:
        match = self.path_pattern.fullmatch(self.path)
        if not match or (match[4] == ":predict") != (body is not None):
            raise Failure(Code.INVALID_ARGUMENT, f"Malformed request: {self.command} {self.path}")
        spec = model_pb2.ModelSpec(name=match[1])
        if match[2]:
            spec.version.value = int(match[2])
        if match[3]:
            spec.version_label = match[3]
        if body is not None:
            return _predict(self.models.find(spec)[1], body)
        if not match[4]:
            return _message(self.models.status(spec))
        version = str(self.models.find(spec)[0])
        return {
            "model_spec": {"name": match[1], "signature_name": "", "version": version},
            "metadata": {"signature_def": _message(self.models.metadata(spec))},
        }

    def log_message(self, *_: Any) -> None:
        pass


def _message(message: Any) -> dict[str, Any]:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def _predict(model: Model, body: bytes) -> dict[str, Any]:
    """Answer rows, `instances`, with `predictions`, and columns, `inputs`, with `outputs`."""
    try:
        request = json.loads(body, object_hook=_bytes)
        columns = request["inputs"] if "inputs" in request else _columns(request["instances"])
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise Failure(Code.INVALID_ARGUMENT, f"JSON Parse error: {error}") from error

    def decode(specs: Any) -> dict[str, np.ndarray]:
        named = columns if isinstance(columns, dict) else dict.fromkeys(specs, columns)
        return {
            key: np.array(value, specs[key].dtype.as_numpy_dtype if key in specs else object)
            for key, value in named.items()
        }

    outputs = model.run(request.get("signature_name", ""), decode)
    values = {name: _jsonable(name, array) for name, array in outputs.items()}
    if "inputs" in request:
        return {"outputs": values if len(values) > 1 else next(iter(values.values()))}
    rows = zip(*values.values(), strict=True)
    named = [dict(zip(values, row, strict=True)) for row in rows]
    return {"predictions": named if len(values) > 1 else next(iter(values.values()))}


def _columns(rows: list[Any]) -> Any:
    named = isinstance(rows[0], dict)
    return {name: [row[name] for row in rows] for name in rows[0]} if named else rows


def _bytes(value: dict[str, Any]) -> Any:
    return base64.b64decode(value["b64"]) if value.keys() == {"b64"} else value


def _jsonable(name: str, array: np.ndarray) -> Any:
    def text(value: bytes) -> Any:
        encode = name.endswith("_bytes")  # TensorFlow Serving's rule
        return {"b64": base64.b64encode(value).decode()} if encode else value.decode()

    if array.dtype != object:
        return array.tolist()
    return np.vectorize(text, otypes=[object])(array).tolist()
