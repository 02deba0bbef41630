"""Test server: TensorFlow Serving's gRPC and REST APIs over `tf.saved_model.load`.

    python -I tests/tf_serving/server.py models.config
        prints the gRPC address and the REST address, `HOST:PORT HOST:PORT`, and serves until it is
        killed.

It has no batching and does not poll for versions: HandleReloadConfigRequest looks for them. The
process imports nothing of `xgacmn_tf`.
"""

import base64
import contextlib
import json
import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import json_format, text_format
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

Code = grpc.StatusCode
HTTP_STATUS = {Code.INVALID_ARGUMENT: 400, Code.FAILED_PRECONDITION: 400, Code.NOT_FOUND: 404}
VERSION = re.compile("0|[1-9][0-9]{0,18}")


class Failure(Exception):
    """A request without an answer: its gRPC code and a message."""

    def __init__(self, code: grpc.StatusCode, message: str):
        super().__init__(message)
        self.code, self.message = code, message


class Model:
    """A loaded version."""

    def __init__(self, folder: Path):
        self._loaded = tf.saved_model.load(str(folder))  # the signatures' variables live in it
        self.functions = self._loaded.signatures
        content = (folder / "saved_model.pb").read_bytes()
        self.signature_defs = saved_model_pb2.SavedModel.FromString(content).meta_graphs[0]

    def run(self, signature: str, decode: Any, outputs: Any = ()) -> dict[str, np.ndarray]:
        """Run a signature on `decode(its input specs)`; return the named outputs, or all."""
        name = signature or "serving_default"
        if name not in self.functions:
            raise Failure(Code.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
        function = self.functions[name]
        specs = function.structured_input_signature[1]
        try:
            inputs = decode(specs)
            if inputs.keys() != specs.keys():
                raise ValueError(f"expected the inputs {sorted(specs)}; given: {sorted(inputs)}")
            for key, array in inputs.items():
                if not specs[key].shape.is_compatible_with(array.shape):
                    raise ValueError(f"input {key} is {specs[key].shape}; given: {array.shape}")
            tensors = {key: tf.constant(value, specs[key].dtype) for key, value in inputs.items()}
            found = {key: value.numpy() for key, value in function(**tensors).items()}
            return {key: found[key] for key in outputs or found}
        except tf.errors.OpError as error:
            code = next(code for code in Code if code.value[0] == error.error_code)
            raise Failure(code, error.message) from error
        except (ValueError, TypeError, KeyError) as error:
            raise Failure(Code.INVALID_ARGUMENT, str(error)) from error


class Models:
    """The loaded versions of all models."""

    def __init__(self) -> None:
        self._labels: dict[str, dict[str, int]] = {}
        self._versions: dict[str, dict[int, Model]] = {}

    def configure(self, config: ModelServerConfig) -> None:
        """Load what a configuration names and unload everything else."""
        labels: dict[str, dict[str, int]] = {}
        versions: dict[str, dict[int, Model]] = {}
        for model in config.model_config_list.config:
            found = {
                int(path.name): path
                for path in Path(model.base_path).iterdir()
                if VERSION.fullmatch(path.name)
            }
            policy = model.model_version_policy
            match policy.WhichOneof("policy_choice"):
                case "specific":
                    wanted = set(policy.specific.versions) & set(found)
                case "all":
                    wanted = set(found)
                case _:
                    wanted = {max(found)}
            loaded = self._versions.get(model.name, {})
            versions[model.name] = {n: loaded.get(n) or Model(found[n]) for n in sorted(wanted)}
            labels[model.name] = dict(model.version_labels)
        self._labels, self._versions = labels, versions

    def find(self, spec: model_pb2.ModelSpec) -> tuple[int, Model]:
        """Return the version that a request names, or the newest."""
        versions = self._versions.get(spec.name, {})
        number = self._number(spec)
        if number is None and versions:
            number = max(versions)
        if number not in versions:
            which = f"Latest({spec.name})" if number is None else f"Specific({spec.name}, {number})"
            raise Failure(Code.NOT_FOUND, f"Servable not found for request: {which}")
        return number, versions[number]

    def status(self, spec: model_pb2.ModelSpec) -> get_model_status_pb2.GetModelStatusResponse:
        """Return the loaded versions that a request names, all AVAILABLE."""
        number = self._number(spec)
        response = get_model_status_pb2.GetModelStatusResponse()
        for version in sorted(self._versions.get(spec.name, {}), reverse=True):
            if number in (None, version):
                response.model_version_status.add(
                    version=version, state="AVAILABLE"
                ).status.SetInParent()
        if not response.model_version_status:
            raise Failure(Code.NOT_FOUND, f"Could not find any versions of model {spec.name}")
        return response

    def metadata(self, spec: model_pb2.ModelSpec) -> get_model_metadata_pb2.SignatureDefMap:
        """Return the signatures of the version that a request names."""
        _, model = self.find(spec)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for name in model.functions:
            signatures.signature_def[name].CopyFrom(model.signature_defs.signature_def[name])
        return signatures

    def _number(self, spec: model_pb2.ModelSpec) -> int | None:
        if spec.WhichOneof("version_choice") != "version_label":
            return spec.version.value if spec.HasField("version") else None
        labels = self._labels.get(spec.name, {})
        if spec.version_label not in labels:
            message = f"Unrecognized servable version label: {spec.version_label}"
            raise Failure(Code.INVALID_ARGUMENT, message)
        return labels[spec.version_label]


MODELS = Models()


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata over gRPC."""

    def Predict(self, request: Any, context: Any) -> predict_pb2.PredictResponse:  # noqa: N802
        def decode(specs: Any) -> dict[str, np.ndarray]:
            for name, tensor in request.inputs.items():
                if name in specs and tensor.dtype != specs[name].dtype.as_datatype_enum:
                    raise ValueError(f"input {name} is {specs[name].dtype.name}")
            return {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}

        with failures(context):
            number, model = MODELS.find(request.model_spec)
            outputs = model.run(request.model_spec.signature_name, decode, request.output_filter)
            response = predict_pb2.PredictResponse()
            response.model_spec.name = request.model_spec.name
            response.model_spec.version.value = number
            for name, array in outputs.items():
                response.outputs[name].CopyFrom(tf.make_tensor_proto(array))
            return response

    def GetModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        with failures(context):
            response = get_model_metadata_pb2.GetModelMetadataResponse()
            response.model_spec.name = request.model_spec.name
            response.model_spec.version.value = MODELS.find(request.model_spec)[0]
            response.metadata["signature_def"].Pack(MODELS.metadata(request.model_spec))
            return response


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus and HandleReloadConfigRequest over gRPC."""

    def GetModelStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
        with failures(context):
            return MODELS.status(request.model_spec)

    def HandleReloadConfigRequest(self, request: Any, context: Any) -> Any:  # noqa: N802
        with failures(context):
            MODELS.configure(request.config)
            return model_management_pb2.ReloadConfigResponse()


@contextlib.contextmanager
def failures(context: grpc.ServicerContext) -> Any:
    """Turn a `Failure` into gRPC's status."""
    try:
        yield
    except Failure as error:
        context.abort(error.code, error.message)


class RestApi(BaseHTTPRequestHandler):
    """`/v1/models/NAME[/versions/N|/labels/L]` with `:predict`, `/metadata` or nothing."""

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
            return _predict(MODELS.find(spec)[1], body)
        if not match[4]:
            return _message(MODELS.status(spec))
        version = str(MODELS.find(spec)[0])
        return {
            "model_spec": {"name": match[1], "signature_name": "", "version": version},
            "metadata": {"signature_def": _message(MODELS.metadata(spec))},
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


def main(config: str) -> NoReturn:
    """Serve the models of a ModelServerConfig file."""
    MODELS.configure(text_format.Parse(Path(config).read_text(), ModelServerConfig()))
    rest = ThreadingHTTPServer(("127.0.0.1", 0), RestApi)
    threading.Thread(target=rest.serve_forever).start()
    server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.max_receive_message_length", -1)])
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"127.0.0.1:{port} 127.0.0.1:{rest.server_port}", flush=True)
    server.wait_for_termination()
    raise SystemExit


if __name__ == "__main__":
    with contextlib.suppress(ImportError):
        import tensorflow_text  # noqa: F401 - operations of models that take sentences
    main(sys.argv[1])
