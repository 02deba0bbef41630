"""TensorFlow Serving's REST API over the version that is served: predict, metadata and status.

It lets client code run unchanged without a container. With `--encoder`, TensorFlow Serving itself
answers these requests.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from google.protobuf import json_format

from xgacmn_tf.serve import json_tensors
from xgacmn_tf.serve.errors import RequestError
from xgacmn_tf.serve.service import Live, Service

_MODEL = "/v1/models/{name}"
_VERSION = _MODEL + "/versions/{version}"
router = APIRouter(tags=["TensorFlow Serving"])


def _live(request: Request) -> Live:
    """Return what is served if the address names it."""
    name, version = request.path_params["name"], request.path_params.get("version")
    service: Service = request.app.state.service
    live = service.live
    if service.options.encoder is not None:
        raise RequestError("--encoder is set; send this request to TensorFlow Serving", 501)
    if name != live.version.name or version not in (None, str(live.version.number)):
        wanted = name if version is None else f"{name}, version {version}"
        raise RequestError(
            f"Servable not found for request: {wanted}; served is {live.version.name}, version "
            f"{live.version.number}",
            404,
        )
    return live


Served = Annotated[Live, Depends(_live)]


@router.post(_MODEL + ":predict")
@router.post(_VERSION + ":predict")
async def predict(request: Request, live: Served) -> dict[str, Any]:
    """Run a signature on `instances` or `inputs`."""
    return await run_in_threadpool(_predict, live, await request.body())


def _predict(live: Live, body: bytes) -> dict[str, Any]:
    values = json_tensors.parse(body)
    name = values.get("signature_name", "") or "serving_default"
    signature = live.version.signatures.get(name)
    if signature is None:
        known = ", ".join(sorted(live.version.signatures))
        raise RequestError(f"signature_name: {name!r} is not a signature; expected one of {known}")
    outputs = live.run(name, json_tensors.arrays_of(values, signature))
    return json_tensors.answer(values, outputs)


@router.get(_MODEL + "/metadata")
@router.get(_VERSION + "/metadata")
def metadata(live: Served) -> dict[str, Any]:
    """Describe the signatures."""
    described = json_format.MessageToDict(
        live.version.signature_def,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )
    version = str(live.version.number)
    spec = {"name": live.version.name, "signature_name": "", "version": version}
    return {"model_spec": spec, "metadata": {"signature_def": described}}


@router.get(_MODEL)
@router.get(_VERSION)
def status(live: Served) -> dict[str, Any]:
    """Return the state of the version."""
    state = {
        "version": str(live.version.number),
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }
    return {"model_version_status": [state]}
