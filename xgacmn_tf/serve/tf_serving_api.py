"""TensorFlow Serving's REST API over the version that is served: predict, metadata and status.

It lets client code run unchanged without a container. With `--encoder`, TensorFlow Serving itself
answers these requests.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Request
from google.protobuf import json_format

from xgacmn_tf.serve import json_tensors
from xgacmn_tf.serve.encoder import Encoder
from xgacmn_tf.serve.errors import RequestError
from xgacmn_tf.serve.images import check_images
from xgacmn_tf.serve.service import Service

_MODEL = "/v1/models/{name}"
_VERSION = _MODEL + "/versions/{version}"
router = APIRouter(tags=["TensorFlow Serving"])


def _served_encoder(name: str, request: Request, version: str | None = None) -> Encoder:
    """Return the encoder of the served version if the address names it."""
    service: Service = request.app.state.service
    encoder = service.live.encoder
    if service.options.encoder is not None:
        raise RequestError("--encoder is set; send this request to TensorFlow Serving", 501)
    served = encoder.version
    if name != served.name or version not in (None, str(served.number)):
        raise RequestError(
            f"Servable not found for request: {name}, version {version or 'any'}; served is "
            f"{served.name}, version {served.number}",
            404,
        )
    return encoder


async def _body(request: Request) -> bytes:
    return await request.body()


Served = Annotated[Encoder, Depends(_served_encoder)]


@router.post(_MODEL + ":predict")
@router.post(_VERSION + ":predict")
def predict(
    http: Request, body: Annotated[bytes, Depends(_body)], encoder: Served
) -> dict[str, Any]:
    """Run a signature on `instances` or `inputs`."""
    request = json_tensors.parse(body)
    name = request.get("signature_name") or "serving_default"
    if not isinstance(name, str) or name not in encoder.version.signatures:
        known = ", ".join(sorted(encoder.version.signatures))
        raise RequestError(f"signature_name: {name!r} is not a signature; expected one of {known}")
    arrays = json_tensors.arrays_of(request, encoder.version.signatures[name])
    service: Service = http.app.state.service
    check_images(arrays.get("image_bytes", np.empty(0)).flat, service.options.max_pixels)
    outputs = encoder.run(name, arrays)
    return json_tensors.answer(request, outputs)


@router.get(_MODEL + "/metadata")
@router.get(_VERSION + "/metadata")
def metadata(encoder: Served) -> dict[str, Any]:
    """Describe the signatures."""
    described = json_format.MessageToDict(
        encoder.version.signature_def,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )
    spec = {
        "name": encoder.version.name,
        "signature_name": "",
        "version": str(encoder.version.number),
    }
    return {"model_spec": spec, "metadata": {"signature_def": described}}


@router.get(_MODEL)
@router.get(_VERSION)
def status(encoder: Served) -> dict[str, Any]:
    """Return the state of the version."""
    state = {"version": str(encoder.version.number), "state": "AVAILABLE"}
    is_ok = {"error_code": "OK", "error_message": ""}
    return {"model_version_status": [state | {"status": is_ok}]}
