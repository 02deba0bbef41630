"""A model that is served, and loaded here too, so that tests of clients can compare."""

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

HERE = Path(__file__).parent
EXPORT = HERE.parents[1] / "export"
sys.path += [str(HERE.parent / "serve"), str(EXPORT)]
client, made_up, running = map(importlib.import_module, ("client", "made_up", "running"))

ADDRESSES = ("XGACMN_SERVING_GRPC", "XGACMN_SERVING_REST", "XGACMN_SERVING_MODELS")
NAMED = [name for name in ADDRESSES if os.environ.get(name)]
SERVERS = ["development server"] + ["TensorFlow Serving"] * bool(NAMED)
PROTOCOLS = ("gRPC", "REST")
LARGEST_REQUEST = 2_000_000


@dataclass(frozen=True)
class Served:
    """A server, and the folder of the model that it serves."""

    grpc: str
    rest: str
    model: Path
    development: bool

    def client(self, protocol: str):
        if protocol == "gRPC":
            return client.GrpcClient(self.grpc, timeout=60)
        return client.RestClient(self.rest, timeout=60)

    def in_process(self, version: int):
        """The signatures of a version, as TensorFlow runs them here."""
        return tf.saved_model.load(str(self.model / str(version))).signatures


@contextlib.contextmanager
def development_server(model: Path) -> Iterator[Served]:
    """Serves a folder's versions; 1 is stable and 2 is canary."""
    config = model.parent / "models.config"
    shipped = (EXPORT / "serving" / "models.config").read_text()
    config.write_text(
        shipped.replace("/models/xgacmn", str(model)).replace(
            '"canary" value: 1', '"canary" value: 2'
        )
    )
    flags = (
        f"--model_config_file={config}",
        "--allow_version_labels_for_unavailable_models=true",
        "--enable_batching=true",
        f"--batching_parameters_file={EXPORT / 'serving' / 'batching.config'}",
        f"--max_request_bytes={LARGEST_REQUEST}",
    )
    with running.running_server(*flags) as server:
        yield Served(server.grpc_address, server.rest_url, model, development=True)


def tensorflow_serving() -> Served:
    """The one that the environment names."""
    assert len(NAMED) == len(ADDRESSES), f"give all of {', '.join(ADDRESSES)}, or none"
    grpc, rest, models = (os.environ[name] for name in ADDRESSES)
    return Served(grpc, rest, Path(models) / "xgacmn", development=False)


def specs_of(tensors):
    def dtype(spec):
        return "string" if spec.dtype == tf.string else spec.dtype.name

    return {name: client.TensorSpec(dtype(s), tuple(s.shape)) for name, s in tensors.items()}


def inputs_for(function, rows):
    return made_up.batches(specs_of(function.structured_input_signature[1]), rows)[0]


def assert_answers(answer, function, inputs):
    """The names, dtypes and values that the function gives here."""
    specs = function.structured_input_signature[1]
    tensors = {name: tf.constant(value, specs[name].dtype) for name, value in inputs.items()}
    expected = {name: value.numpy() for name, value in function(**tensors).items()}
    assert set(answer) == set(expected)
    for name, value in expected.items():
        if value.dtype == object:
            text = [each.decode() for each in value.ravel()]
            assert answer[name].ravel().tolist() == text
            assert answer[name].shape == value.shape
        else:
            assert answer[name].dtype == value.dtype
            np.testing.assert_allclose(answer[name], value, atol=1e-6, rtol=0)


def refused(served, inputs, signature, **whom):
    with pytest.raises(client.ServingError) as caught:
        served.predict(inputs, signature, **({"version": 1} | whom))
    assert "\n" not in caught.value.message and 10 < len(caught.value.message) < 1000
    return caught.value
