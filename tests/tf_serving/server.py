"""Test server: TensorFlow Serving's gRPC and REST APIs over `tf.saved_model.load`.

    python -I tests/tf_serving/server.py models.config
        prints the gRPC address and the REST address, `HOST:PORT HOST:PORT`, and serves until it is
        killed.

It has no batching and does not poll for versions: HandleReloadConfigRequest looks for them. The
process imports nothing of `xgacmn_tf`.
"""

import contextlib
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

# In isolated mode, Python does not look for modules beside the script.
sys.path.append(str(Path(__file__).parent))
from loaded_models import Failure, Models  # noqa: E402
from rest_api import RestApi  # noqa: E402

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


def main(config: str) -> NoReturn:
    """Serve the models of a ModelServerConfig file."""
    MODELS.configure(text_format.Parse(Path(config).read_text(), ModelServerConfig()))
    rest = ThreadingHTTPServer(("127.0.0.1", 0), type("Api", (RestApi,), {"models": MODELS}))
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
