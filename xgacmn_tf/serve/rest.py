"""TensorFlow Serving's REST API."""

import asyncio
import logging
import re
from typing import Any
from urllib.parse import unquote

from aiohttp import web
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2, model_pb2

from xgacmn_tf.serve import json_tensors
from xgacmn_tf.serve.failure import Code, RequestError, invalid
from xgacmn_tf.serve.grpc_services import model_metadata, model_status
from xgacmn_tf.serve.models import ModelManager
from xgacmn_tf.serve.requests import Predictor
from xgacmn_tf.serve.version import LARGEST_VERSION

_MODEL = r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_POST = re.compile(rf"{_MODEL}:(?P<method>predict|classify|regress)", re.ASCII | re.IGNORECASE)
_GET = re.compile(rf"{_MODEL}(?P<metadata>/metadata)?", re.ASCII | re.IGNORECASE)

log = logging.getLogger(__name__)


class RestApi:
    """Everything below /v1/.

    Args:
      models: what is loaded.
      predictor: answers predictions.
      timeout: seconds within which a body must have arrived.
    """

    def __init__(self, models: ModelManager, predictor: Predictor, timeout: float):
        self._models, self._predictor, self._timeout = models, predictor, timeout

    async def handle(self, request: web.Request) -> web.Response:
        path = request.rel_url.raw_path
        if request.method == "POST" and (match := _POST.fullmatch(path)):
            if match["method"].lower() != "predict":
                raise RequestError(Code.UNIMPLEMENTED, f"{match['method']} is not served.")
            return await self._predict(_spec(match), await self._body(request))
        if request.method == "GET" and (match := _GET.fullmatch(path)):
            if match["metadata"]:
                return _json(_metadata(model_metadata(self._models, _spec(match))))
            return _json(_as_json(model_status(self._models, _spec(match))))
        raise invalid(f"Malformed request: {request.method} {path}")

    async def _body(self, request: web.Request) -> bytes:
        try:
            async with asyncio.timeout(self._timeout):
                return await request.read()
        except TimeoutError as error:
            message = f"The body did not arrive within {self._timeout:g} s."
            raise RequestError(Code.DEADLINE_EXCEEDED, message) from error

    async def _predict(self, spec: model_pb2.ModelSpec, body: bytes) -> web.Response:
        request = json_tensors.parse(body)
        spec.signature_name = request.get("signature_name", "")
        answer = await self._predictor.predict(
            spec, lambda signature: json_tensors.arrays_of(request, signature), "rest"
        )
        return _json(json_tensors.answer(request, answer.outputs))


@web.middleware
async def errors_as_json(request: web.Request, handler: Any) -> web.StreamResponse:
    """Answers every failure as TensorFlow Serving does: {"error": "…"}."""
    try:
        return await handler(request)
    except RequestError as error:
        return _json({"error": error.message}, error.http_status)
    except web.HTTPException as error:
        if error.status < 400 or error.content_type == "application/json":
            raise
        return _json({"error": error.text or error.reason}, error.status)
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        return _json({"error": "The server failed; its log tells why."}, 500)


def _spec(match: re.Match[str]) -> model_pb2.ModelSpec:
    spec = model_pb2.ModelSpec(name=unquote(match["name"]))
    if match["version"]:
        # Python reads long numbers slowly, so their length is looked at first.
        if len(match["version"]) > 19 or int(match["version"]) > LARGEST_VERSION:
            raise invalid(f"Failed to convert version: {match['version']} to numeric.")
        spec.version.value = int(match["version"])
    if match["label"]:
        spec.version_label = unquote(match["label"])
    return spec


def _metadata(response: get_model_metadata_pb2.GetModelMetadataResponse) -> dict[str, Any]:
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    return {
        "model_spec": _as_json(response.model_spec),
        "metadata": {"signature_def": _as_json(signatures)},
    }


def _as_json(message: Any) -> dict[str, Any]:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def _json(value: Any, status: int = 200) -> web.Response:
    return web.json_response(value, status=status)
