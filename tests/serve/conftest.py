"""A toy model whose answers can be worked out by hand, and servers of it in this process."""

import asyncio
import concurrent.futures
import contextlib
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis import (
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from xgacmn_tf.serve import config_files
from xgacmn_tf.serve.servable import Servable

# Longer than anything here takes; only a server that hangs meets it.
PATIENCE = 60


class ToyModel(tf.Module):
    """Answers `y = 2 x + version`, texts in capitals, the size of pictures."""

    def __init__(self, version: int):
        self.version = tf.Variable(float(version))

    def double(self, x):
        return {"y": 2 * x + self.version}

    def shout(self, text):
        return {"upper": tf.strings.upper(text), "length": tf.strings.length(text)}

    def measure(self, image_bytes):
        def height(picture):
            return tf.shape(tf.io.decode_png(picture))[0]

        heights = tf.map_fn(height, image_bytes, fn_output_signature=tf.int32)
        return {"height": heights, "copy_bytes": image_bytes}

    def pick(self, either, choose):
        return {"picked": tf.where(choose, either, -either)}

    def total(self, x):
        """Not one answer for each row: cannot be batched, but TensorFlow cannot know."""
        return {"total": tf.reduce_sum(x), "unit": tf.constant("points")}

    def negate(self, number):
        return {"negative": -number}

    def signatures(self) -> dict[str, Any]:
        rows = {
            "serving_default": (self.double, {"x": ([None, 3], tf.float32)}),
            "wide": (self.double, {"x": ([None, None], tf.float32)}),
            "shout": (self.shout, {"text": ([None], tf.string)}),
            "measure": (self.measure, {"image_bytes": ([None], tf.string)}),
            "pick": (self.pick, {"either": ([None], tf.int32), "choose": ([None], tf.bool)}),
            "total": (self.total, {"x": ([None, 3], tf.float32)}),
            "negate": (self.negate, {"number": ([], tf.float64)}),
        }
        return {
            name: tf.function(function).get_concrete_function(
                **{key: tf.TensorSpec(*spec, name=key) for key, spec in inputs.items()}
            )
            for name, (function, inputs) in rows.items()
        }


@pytest.fixture(scope="session")
def toy_versions(tmp_path_factory) -> Path:
    """The toy model's versions 1, 2 and 3, to be copied."""
    folder = tmp_path_factory.mktemp("toy")
    for version in (1, 2, 3):
        model = ToyModel(version)
        tf.saved_model.save(model, str(folder / str(version)), model.signatures())
    return folder


@pytest.fixture
def base_path(tmp_path) -> Path:
    folder = tmp_path / "models" / "toy"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def publish(toy_versions, base_path):
    """Puts a version into the served folder, whole at once as an export does."""

    def publish(version: int) -> None:
        aside = base_path / f".{version}.partial"
        shutil.copytree(toy_versions / str(version), aside)
        aside.rename(base_path / str(version))

    return publish


class Server:
    """A server on a thread of this process, and clients of it."""

    def __init__(self, settings: Any):
        self._started: concurrent.futures.Future = concurrent.futures.Future()
        self._thread = threading.Thread(target=asyncio.run, args=[self._main(settings)])
        self._thread.start()
        self._loop, self._stop, (self.address, self.url) = self._started.result(PATIENCE)
        self.channel = grpc.insecure_channel(self.address)
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.model = model_service_pb2_grpc.ModelServiceStub(self.channel)
        self._session = requests.Session()

    async def _main(self, settings: Any) -> None:
        from xgacmn_tf.serve.server import running

        stop = asyncio.Event()
        try:
            async with running(settings) as addresses:
                self._started.set_result((asyncio.get_running_loop(), stop, addresses))
                await stop.wait()
        except BaseException as error:
            if self._started.done():
                raise
            self._started.set_exception(error)

    def end(self) -> None:
        """Tells the server to end, as a signal does."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)

    def close(self) -> None:
        self._session.close()
        self.channel.close()
        self.end()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def request(self, signature: str = "", model: str = "toy", **inputs: Any):
        """A gRPC request; inputs are arrays or, with a dtype of their own, tensors."""
        request = predict_pb2.PredictRequest(
            model_spec=model_pb2.ModelSpec(name=model, signature_name=signature)
        )
        for name, value in inputs.items():
            if not isinstance(value, TensorProto):
                value = tf.make_tensor_proto(value)
            request.inputs[name].CopyFrom(value)
        return request

    def predict(self, request, timeout: float = PATIENCE) -> dict[str, np.ndarray]:
        answer = self.prediction.Predict(request, timeout=timeout)
        return {name: tf.make_ndarray(value) for name, value in answer.outputs.items()}

    def ask(self, value: float) -> float:
        """Asks the toy model's default signature one row, answers its first number."""
        row = np.full((1, 3), value, np.float32)
        return float(self.predict(self.request(x=row))["y"][0, 0])

    def get(self, path: str):
        return self._session.get(self.url + path, timeout=PATIENCE)

    def post(self, path: str, **keywords: Any):
        return self._session.post(self.url + path, timeout=PATIENCE, **keywords)

    def states(self, model: str = "toy") -> dict[str, str]:
        """Version → state."""
        found = self.get(f"/v1/models/{model}").json().get("model_version_status", ())
        return {status["version"]: status["state"] for status in found}

    def until(self, condition: Callable[[], bool]) -> None:
        """Returns once the condition holds."""
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.005)

    def metric(self, name: str, **labels: str) -> float:
        """The value of a metric with just these labels; 0 where it has not been seen."""
        from prometheus_client.parser import text_string_to_metric_families

        text = self.get(config_files.DEFAULT_METRICS_PATH).text
        samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
        return sum(s.value for s in samples if s.name == name and s.labels == labels)


def serve_toy(base_path: Path, policy=None, labels=None, **settings: Any) -> Server:
    """Starts a server of the toy model; keywords replace what `Settings` says."""
    reason = "the server is an extra: xgacmn_tf[serve]"
    pytest.importorskip("aiohttp", reason=reason)
    pytest.importorskip("prometheus_client", reason=reason)
    from xgacmn_tf.serve.server import Settings

    policy = policy or config_files.VersionPolicy()
    model = config_files.model("toy", str(base_path), policy, labels or {})
    defaults: dict[str, Any] = {
        "models": {"toy": model},
        "batching": None,
        "metrics_path": config_files.DEFAULT_METRICS_PATH,
        "allow_any_label": False,
        "poll_seconds": 0.02,
        "host": "127.0.0.1",
        "grpc_port": 0,
        "rest_port": 0,
        "largest_bytes": 2**20,
        "most_rows": 64,
        "timeout": float(PATIENCE),
    }
    return Server(Settings(**{**defaults, **settings}))


@pytest.fixture
def start(base_path):
    """Starts servers of the toy model's versions in `base_path`, see `serve_toy`."""
    with contextlib.ExitStack() as stack:

        def start(**keywords: Any) -> Server:
            server = serve_toy(base_path, **keywords)
            stack.callback(server.close)
            return server

        yield start


@pytest.fixture(scope="session")
def toy(toy_versions):
    """A server of all versions of the toy model, for requests that change nothing."""
    everything = config_files.VersionPolicy(latest=None)
    server = serve_toy(toy_versions, everything, {"stable": 2}, poll_seconds=0)
    yield server
    server.close()


class Gate:
    """Holds back what models compute until it is opened, so that requests pile up."""

    def __init__(self) -> None:
        self._opened = threading.Event()
        self.reached = threading.Semaphore(0)
        self.rows: list[tuple[int, ...]] = []  # of each batch that the model got

    def open(self) -> None:
        self._opened.set()

    def wait(self, inputs: Any) -> None:
        self.rows.append(next(iter(inputs.values())).shape[:1])
        self.reached.release()
        assert self._opened.wait(PATIENCE)


@pytest.fixture
def gate(monkeypatch):
    gate, run = Gate(), Servable.run

    def held_back(servable, signature, inputs):
        gate.wait(inputs)
        return run(servable, signature, inputs)

    monkeypatch.setattr(Servable, "run", held_back)
    yield gate
    gate.open()
