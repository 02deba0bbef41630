"""Servers that answer as a script says, over gRPC and REST."""

import contextlib
import json
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

WAIT = "wait"
DROP = "drop"


class Script:
    """What happens to each request; the last step applies to all that follow.

    A step is None for an answer, WAIT until the test is over, DROP for a connection that breaks, a
    number of seconds before the answer, a code of gRPC or a status of HTTP.

    Attributes:
      requests: the requests as they came: a PredictRequest, or (method, path, headers, content).
    """

    def __init__(self, *steps: Any):
        self.steps, self.over, self._lock = steps, threading.Event(), threading.Lock()
        self.requests: list[Any] = []

    def next(self, request: Any) -> Any:
        with self._lock:
            self.requests.append(request)
            step = self.steps[min(len(self.requests), len(self.steps)) - 1]
        if step == WAIT:
            self.over.wait()
        elif isinstance(step, float):
            time.sleep(step)
        return None if step == WAIT or isinstance(step, float) else step


class _Prediction(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, script: Script):
        self._script = script

    def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802
        code = self._script.next(request)
        if code:
            context.abort(grpc.StatusCode[code], "it says so")
        response = predict_pb2.PredictResponse()
        for name, tensor in request.inputs.items():
            response.outputs[name].CopyFrom(tensor)
        return response

    def GetModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        found = get_model_metadata_pb2.SignatureDefMap()
        tensor = found.signature_def["s"].inputs["x"]
        tensor.dtype = tf.float32.as_datatype_enum
        for size in (-1, 3):
            tensor.tensor_shape.dim.add(size=size)
        answer = get_model_metadata_pb2.GetModelMetadataResponse()
        answer.metadata["signature_def"].Pack(found)
        return answer


class _Rest(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # otherwise the second packet of an answer waits for 40 ms
    script: Script

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        content = json.loads(body) if body else None
        status = self.script.next((self.command, self.path, self.headers, content))
        if status == DROP:
            self.close_connection = True
            return
        answer = {"hits": [], "query": {}} if status is None else {"error": "it says\nso"}
        page = json.dumps(answer).encode() if status != 418 else b"<html>hello</html>"
        self.send_response(status or 200)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    do_GET = do_POST = do_DELETE = _handle  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def scripted(
    protocol: str, script: Script, port: int = 0, certificate: Path | None = None
) -> Iterator[int]:
    """Run a server of `protocol` "grpc" or "rest" and yield its port.

    `certificate` is a PEM file with a key.
    """
    if protocol == "grpc":
        server = grpc.server(ThreadPoolExecutor(32))
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            _Prediction(script), server
        )
        address = f"localhost:{port}"
        if certificate:
            pem = certificate.read_bytes()
            credentials = grpc.ssl_server_credentials([(pem, pem)])
            port = server.add_secure_port(address, credentials)
        else:
            port = server.add_insecure_port(address)
        server.start()
        try:
            yield port
        finally:
            script.over.set()
            server.stop(None).wait()
        return
    handler = type("Handler", (_Rest,), {"script": script})
    server = ThreadingHTTPServer(("localhost", port), handler)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.01,)).start()
    try:
        yield server.server_port
    finally:
        script.over.set()
        server.shutdown()
        server.server_close()
