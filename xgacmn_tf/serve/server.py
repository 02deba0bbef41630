"""The server: both protocols on one event loop."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

import grpc
from aiohttp import web
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from xgacmn_tf.errors import InputError
from xgacmn_tf.serve.batching import Batcher
from xgacmn_tf.serve.config_files import Batching, ModelConfig
from xgacmn_tf.serve.failure import RequestError
from xgacmn_tf.serve.grpc_services import Failures, ModelService, PredictionService
from xgacmn_tf.serve.models import ModelManager
from xgacmn_tf.serve.monitoring import Metrics
from xgacmn_tf.serve.page import add_page
from xgacmn_tf.serve.requests import Predictor
from xgacmn_tf.serve.rest import RestApi, errors_as_json


@dataclass(frozen=True)
class Settings:
    """What the flags say.

    Attributes:
      models: by name.
      batching: how requests are joined; None: not at all.
      metrics_path: address of the metrics' page; None: there is none.
      allow_any_label: whether a new label may stand for a version that is not loaded.
      poll_seconds: how often new versions are looked for; 0: only at the start.
      host: address to listen at.
      grpc_port, rest_port: 0 takes any that is free.
      largest_bytes: of a request.
      most_rows: of a request.
      timeout: seconds after which a request is given up.
    """

    models: Mapping[str, ModelConfig]
    batching: Batching | None
    metrics_path: str | None
    allow_any_label: bool
    poll_seconds: float
    host: str
    grpc_port: int
    rest_port: int
    largest_bytes: int
    most_rows: int
    timeout: float


async def serve(settings: Settings, ready: Callable[[str, str], None]) -> bool:
    """Serves until SIGTERM or SIGINT, then answers what has come and ends.

    Args:
      ready: called with gRPC's address (host:port) and REST's URL once both answer.

    Returns:
      Whether it was SIGINT, Ctrl-C.

    Raises:
      InputError: see `running`.
    """
    ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, _end, ended, number)
    async with running(settings) as addresses:
        ready(*addresses)
        return await ended == signal.SIGINT


@contextlib.asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[tuple[str, str]]:
    """A server that runs for the block, with its models loaded; yields both addresses.

    Raises:
      InputError: an address cannot be had, or a label stands for a version that is not loaded.
    """
    metrics = Metrics()
    models = ModelManager(settings.allow_any_label, metrics)
    batcher = Batcher(settings.batching, metrics)
    predictor = Predictor(models, batcher, metrics, settings.most_rows, settings.timeout)
    try:
        await models.configure(settings.models)
    except RequestError as error:
        raise InputError(error.message) from error
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(batcher.close)
        grpc_address = await _start_grpc(stack, settings, models, predictor)
        rest_url = await _start_rest(stack, settings, models, predictor, metrics)
        if settings.poll_seconds > 0:
            watching = asyncio.create_task(models.watch(settings.poll_seconds))
            stack.callback(watching.cancel)
        yield grpc_address, rest_url


def _end(ended: asyncio.Future[int], number: int) -> None:
    # A second signal ends the process at once.
    asyncio.get_running_loop().remove_signal_handler(number)
    if not ended.done():
        ended.set_result(number)


async def _start_grpc(
    stack: contextlib.AsyncExitStack,
    settings: Settings,
    models: ModelManager,
    predictor: Predictor,
) -> str:
    server = grpc.aio.server(
        interceptors=[Failures()],
        options=[
            ("grpc.max_receive_message_length", settings.largest_bytes),
            ("grpc.max_send_message_length", -1),
            # Otherwise a second server takes the same port and half of the requests.
            ("grpc.so_reuseport", 0),
        ],
    )
    prediction = PredictionService(models, predictor, settings.largest_bytes)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(prediction, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(models), server)
    try:
        port = server.add_insecure_port(_address(settings.host, settings.grpc_port))
    except RuntimeError as error:
        raise InputError(_taken("port", settings.host, settings.grpc_port)) from error
    await server.start()
    stack.push_async_callback(server.stop, settings.timeout)
    return _address(settings.host, port)


async def _start_rest(
    stack: contextlib.AsyncExitStack,
    settings: Settings,
    models: ModelManager,
    predictor: Predictor,
    metrics: Metrics,
) -> str:
    app = web.Application(middlewares=[errors_as_json], client_max_size=settings.largest_bytes)
    app.router.add_route(
        "*", "/{api:[vV]1}/{rest:.*}", RestApi(models, predictor, settings.timeout).handle
    )
    if settings.metrics_path:
        app.router.add_get(settings.metrics_path, metrics.page)
    add_page(app, models)
    runner = web.AppRunner(
        app,
        access_log=None,
        # Also how long a client may take to send its request's head.
        keepalive_timeout=settings.timeout,
        shutdown_timeout=settings.timeout,
    )
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    try:
        await web.TCPSite(runner, settings.host, settings.rest_port).start()
    except OSError as error:
        raise InputError(_taken("rest_api_port", settings.host, settings.rest_port)) from error
    port = runner.addresses[0][1]
    return f"http://{_address(settings.host, port)}"


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _taken(flag: str, host: str, port: int) -> str:
    return (
        f"--{flag}={port}: cannot listen at {_address(host, port)}; is another server running, or "
        f"is --host={host} not an address of this computer? --{flag}=0 takes any free port"
    )
