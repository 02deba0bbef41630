"""TensorFlow Serving's gRPC services."""

import asyncio
import logging
from typing import Any, NoReturn

import grpc
import numpy as np
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from xgacmn_tf.errors import InputError
from xgacmn_tf.serve import tensors
from xgacmn_tf.serve.config_files import models_of
from xgacmn_tf.serve.failure import Code, RequestError, invalid
from xgacmn_tf.serve.models import ModelManager
from xgacmn_tf.serve.requests import Predictor
from xgacmn_tf.serve.servable import Signature

log = logging.getLogger(__name__)


class Failures(grpc.aio.ServerInterceptor):
    """Turns whatever a method raises, and bytes that are no message, into gRPC's status."""

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None:  # gRPC answers by itself that there is no such method
            return None

        async def answer(message: bytes, context: grpc.aio.ServicerContext) -> Any:
            try:
                return await handler.unary_unary(handler.request_deserializer(message), context)
            except RequestError as error:
                await context.abort(error.code, error.message)
            except DecodeError as error:
                await context.abort(Code.INVALID_ARGUMENT, f"The message is broken: {error}")
            except Exception:
                log.exception("%s failed", handler_call_details.method)
                await context.abort(Code.INTERNAL, "The server failed; its log tells why.")

        return grpc.unary_unary_rpc_method_handler(
            answer, response_serializer=handler.response_serializer
        )


def model_status(
    models: ModelManager, spec: model_pb2.ModelSpec
) -> get_model_status_pb2.GetModelStatusResponse:
    """State and error of each version asked for."""
    response = get_model_status_pb2.GetModelStatusResponse()
    for version in models.status(spec):
        status = response.model_version_status.add(version=version.number, state=version.state)
        status.status.error_code = Code.INVALID_ARGUMENT.value[0] if version.error else 0
        status.status.error_message = version.error
    return response


def model_metadata(
    models: ModelManager, spec: model_pb2.ModelSpec
) -> get_model_metadata_pb2.GetModelMetadataResponse:
    """The signatures of the version asked for."""
    version = models.find(spec)
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    with version.in_use() as servable:
        response.model_spec.name = version.model
        response.model_spec.version.value = version.number
        response.metadata["signature_def"].Pack(servable.signature_def)
    return response


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata; the exports have no signatures for the other methods."""

    def __init__(self, models: ModelManager, predictor: Predictor, largest_bytes: int):
        self._models, self._predictor, self._largest_bytes = models, predictor, largest_bytes

    async def Predict(
        self, request: predict_pb2.PredictRequest, context: grpc.aio.ServicerContext
    ) -> predict_pb2.PredictResponse:
        def decode(signature: Signature) -> dict[str, np.ndarray]:
            return tensors.arrays_of(request.inputs, signature, self._largest_bytes)

        answer = await self._predictor.predict(
            request.model_spec, decode, "grpc", request.output_filter
        )
        response = predict_pb2.PredictResponse(model_spec=answer.spec)
        for name, array in answer.outputs.items():
            response.outputs[name].CopyFrom(tensors.tensor_of(array))
        return response

    async def GetModelMetadata(
        self,
        request: get_model_metadata_pb2.GetModelMetadataRequest,
        context: grpc.aio.ServicerContext,
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for name in request.metadata_field:
            if name != "signature_def":
                raise invalid(f"Metadata field {name} is not supported; expected signature_def")
        return model_metadata(self._models, request.model_spec)

    async def Classify(self, request: Any, context: grpc.aio.ServicerContext) -> NoReturn:
        _only_predict("Classify")

    async def Regress(self, request: Any, context: grpc.aio.ServicerContext) -> NoReturn:
        _only_predict("Regress")

    async def MultiInference(self, request: Any, context: grpc.aio.ServicerContext) -> NoReturn:
        _only_predict("MultiInference")


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """States of versions, and serving other models without a restart."""

    def __init__(self, models: ModelManager):
        self._models = models

    async def GetModelStatus(
        self, request: get_model_status_pb2.GetModelStatusRequest, context: grpc.aio.ServicerContext
    ) -> get_model_status_pb2.GetModelStatusResponse:
        return model_status(self._models, request.model_spec)

    async def HandleReloadConfigRequest(
        self, request: model_management_pb2.ReloadConfigRequest, context: grpc.aio.ServicerContext
    ) -> model_management_pb2.ReloadConfigResponse:
        try:
            change = asyncio.create_task(self._models.configure(models_of(request.config)))
            await asyncio.shield(change)  # a client that goes leaves no half of a change
        except InputError as error:
            raise invalid(str(error)) from error
        return model_management_pb2.ReloadConfigResponse()


def _only_predict(method: str) -> NoReturn:
    raise RequestError(Code.UNIMPLEMENTED, f"{method} is not served; use Predict.")
