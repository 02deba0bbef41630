"""Servers that answer as a script tells them, over gRPC and REST."""

import contextlib
import json
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

ANSWER = np.array([[1.5, -2.0]], np.float32)
# One signature, `s`: x (n, 3) float32 → y (n, 2) float32.
SHAPES = {"inputs": {"x": (-1, 3)}, "outputs": {"y": (-1, 2)}}
HTTP_STATUS = {
    "INVALID_ARGUMENT": 400,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 413,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
WAIT = "wait"


class Script:
    """What a stub does with each request for a prediction; the last step goes for all that follow.

    A step is None to answer, a code to fail with, a number of seconds to wait before the answer, or
    WAIT until the test is over. `bodies` are the requests' inputs.
    """

    def __init__(self, *steps):
        self.steps, self.over, self.lock = steps, threading.Event(), threading.Lock()
        self.attempts = self.under_way = self.most_under_way = 0
        self.inputs = []

    def next(self, x):
        with self.lock:
            self.inputs.append(x)
            self.attempts += 1
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
            step = self.steps[min(self.attempts, len(self.steps)) - 1]
        if step == WAIT:
            self.over.wait()
        elif isinstance(step, float):
            time.sleep(step)
        with self.lock:
            self.under_way -= 1
        return None if step == WAIT or isinstance(step, float) else step


class GrpcStub(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, script):
        self.script = script

    def Predict(self, request, context):  # noqa: N802
        code = self.script.next(tf.make_ndarray(request.inputs["x"]))
        if code:
            context.abort(grpc.StatusCode[code], "it says so")
        outputs = {"y": tf.make_tensor_proto(ANSWER)}
        return predict_pb2.PredictResponse(outputs=outputs)

    def GetModelMetadata(self, request, context):  # noqa: N802
        found = get_model_metadata_pb2.SignatureDefMap()
        for way, tensors in SHAPES.items():
            for name, shape in tensors.items():
                tensor = getattr(found.signature_def["s"], way)[name]
                tensor.dtype = 1
                for size in shape:
                    tensor.tensor_shape.dim.add(size=size)
        answer = get_model_metadata_pb2.GetModelMetadataResponse()
        answer.metadata["signature_def"].Pack(found)
        return answer


class RestStub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __init__(self, script, *arguments):
        self.script = script
        with contextlib.suppress(OSError):  # clients that give up
            super().__init__(*arguments)

    def do_GET(self):  # noqa: N802
        signature = {
            way: {
                name: {
                    "dtype": "DT_FLOAT",
                    "tensor_shape": {"dim": [{"size": str(size)} for size in shape]},
                }
                for name, shape in tensors.items()
            }
            for way, tensors in SHAPES.items()
        }
        self.answer(200, {"metadata": {"signature_def": {"signature_def": {"s": signature}}}})

    def do_POST(self):  # noqa: N802
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        code = self.script.next(np.array(body["inputs"]["x"], np.float32))
        if code == "drop":
            self.close_connection = True
        elif code == "drip":
            self.drip()
        elif isinstance(code, dict):
            self.answer(code["page"], b"<html>hello</html>")
        elif code:
            status = code if isinstance(code, int) else HTTP_STATUS[code]
            self.answer(status, {"error": "it says so"})
        else:
            self.answer(200, {"outputs": ANSWER.tolist()})

    def drip(self):
        """An answer that comes byte by byte and never ends."""
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        while not self.script.over.wait(0.01):
            self.wfile.write(b" ")
        self.close_connection = True

    def answer(self, status, value):
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def stub(protocol, script, port=0, certificate=None):
    """Runs a stub and yields its port; `certificate` is a PEM file with a key."""
    if protocol == "grpc":
        server = grpc.server(ThreadPoolExecutor(32))
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            GrpcStub(script), server
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
    else:
        server = ThreadingHTTPServer(
            ("localhost", port), lambda *arguments: RestStub(script, *arguments)
        )
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
