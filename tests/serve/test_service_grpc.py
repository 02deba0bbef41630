"""Encoding in TensorFlow Serving over gRPC, by the official stubs."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from tests.serve.conftest import image_file
from xgacmn_tf.serve.errors import RequestError
from xgacmn_tf.serve.model_version import ModelVersion
from xgacmn_tf.serve.runners import local_runner


class Servicer(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Runs a version; the first call is answered with UNAVAILABLE."""

    def __init__(self, version):
        self.run, self.calls = local_runner(version), 0

    def Predict(self, request, context):
        self.calls += 1
        assert (request.model_spec.name, request.model_spec.version.value) == ("colors", 1)
        if self.calls == 1:
            context.abort(grpc.StatusCode.UNAVAILABLE, "still loading")
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        try:
            outputs = self.run(request.model_spec.signature_name, inputs)
        except RequestError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, error.message)
        response = predict_pb2.PredictResponse()
        for name, value in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return response


def test_a_remote_encoder_finds_the_same(run, serve):
    servicer = Servicer(ModelVersion(run / "models" / "xgacmn" / "1"))
    server = grpc.server(ThreadPoolExecutor(4))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    local = serve(run)
    remote = serve(
        run, encoder=f"grpc://127.0.0.1:{port}/colors", items_dir=str(run / "other"),
        encoder_timeout=5.0,
    )  # fmt: skip
    for query in ({"text": "red whale"}, {"image_features": [1, 2, 3]}):
        answers = [client.post("/search", json=query).json() for client in (local, remote)]
        assert answers[0] == answers[1]
    answer = remote.post("/items", files={"image": image_file()}, data={"id": "a", "text": "red"})
    assert answer.status_code == 201 and answer.json()["searchable"]
    answer = remote.post("/v1/models/xgacmn:predict", json={"instances": [[1, 2, 3]]})
    assert answer.status_code == 501
    server.stop(None).wait()
    answer = remote.post("/search", json={"text": "red"})
    assert answer.status_code == 503 and "does not answer" in answer.json()["error"]
