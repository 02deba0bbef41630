"""The server under load for a while: right answers, hostile requests, new versions all the time.

XGACMN_SOAK=600 python -m pytest tests/serve/test_soak.py soaks for ten minutes.
"""

import os
import random
import shutil
import socket
import threading
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

pytest.importorskip("aiohttp", reason="the server is an extra: xgacmn_tf[serve]")
from tests.serve.running import running_server

SECONDS = float(os.environ.get("XGACMN_SOAK", "60"))
SWAP_SECONDS = 3.0
# From a quarter of the time on, when caches and pools have their size.
GROWTH = 0.10
CLIENTS = 2


def resident(process) -> int:
    """Bytes that a process holds."""
    (line,) = [
        line
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines()
        if line.startswith("VmRSS")
    ]
    return int(line.split()[1]) * 1024


def ask_by_rest(server, draw) -> None:
    x = draw.uniform(-9, 9)
    answer = requests.post(
        f"{server.rest_url}/v1/models/toy:predict", json={"instances": [[x, 0.0, 1.0]]}, timeout=60
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"][0] == pytest.approx([2 * x + 1, 1.0, 3.0], abs=1e-5)


def ask_by_grpc(stub, draw) -> None:
    rows = draw.choice((1, 3, 64))
    x = np.full((rows, 3), draw.uniform(-9, 9), np.float32)
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "toy"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(x))
    found = tf.make_ndarray(stub.Predict(request, timeout=60).outputs["y"])
    np.testing.assert_allclose(found, 2 * x + 1, atol=1e-5)


def hostile(server, stub, draw) -> None:
    """One request that no server should answer; raises where it is answered as if it were fine."""
    url = f"{server.rest_url}/v1/models/toy:predict"
    match draw.randrange(8):
        case 0:
            assert requests.post(url, data=draw.randbytes(2000), timeout=60).status_code == 400
        case 1:
            body = {"instances": [[1.0] * draw.choice((1, 2, 4, 100))]}
            assert requests.post(url, json=body, timeout=60).status_code == 400
        case 2:
            body = '{"instances": ' + "[" * 5000 + "]" * 5000 + "}"
            assert requests.post(url, data=body, timeout=60).status_code == 400
        case 3:
            body = {"instances": [[1.0, 2.0, 3.0]] * 20_000}
            assert requests.post(url, json=body, timeout=60).status_code in (400, 413)
        case 4:
            paths = ("/../../etc/passwd", "/v1/models/%00", "/v1/models/none:predict", "/v1/" * 99)
            answer = requests.get(server.rest_url + draw.choice(paths), timeout=60)
            assert answer.status_code in (400, 404, 405, 414)
        case 5:
            host, port = server.rest_url.removeprefix("http://").split(":")
            with socket.create_connection((host, int(port)), timeout=60) as stream:
                stream.sendall(b"POST /v1/models/toy:predict HTTP/1.1\r\nContent-Length: 99999\r\n")
        case 6:
            host, port = server.grpc_address.split(":")
            with socket.create_connection((host, int(port)), timeout=60) as stream:
                stream.sendall(draw.randbytes(500))
        case _:
            request = predict_pb2.PredictRequest()
            request.model_spec.name = "toy"
            tensor = request.inputs["x"]
            tensor.dtype = draw.choice((1, 2, 7, 99))
            for size in draw.choice(((2**40, 3), (-1, 3), (0, 2**62), (5,), (1, 4))):
                tensor.tensor_shape.dim.add().size = size
            with pytest.raises(grpc.RpcError) as refused:
                stub.Predict(request, timeout=60)
            assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.slow
def test_a_soak_loses_no_answer_and_holds_memory(toy_versions, tmp_path, record_property):
    folder = tmp_path / "toy"
    folder.mkdir()

    def publish(version: int) -> None:
        """Every version answers as the toy's first, so that answers can be checked."""
        aside = folder / f".{version}.partial"
        shutil.copytree(toy_versions / "1", aside)
        aside.rename(folder / str(version))

    publish(1)
    counts, failures = {"rest": 0, "grpc": 0, "hostile": 0, "versions": 1}, []
    lock, over = threading.Lock(), threading.Event()

    def work(kind: str, seed: int) -> None:
        draw = random.Random(seed)
        with grpc.insecure_channel(server.grpc_address) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            while not over.is_set():
                try:
                    if kind == "rest":
                        ask_by_rest(server, draw)
                    elif kind == "grpc":
                        ask_by_grpc(stub, draw)
                    else:
                        hostile(server, stub, draw)
                except BaseException as failure:
                    failures.append((kind, repr(failure)[:500]))
                    over.set()
                with lock:
                    counts[kind] += 1

    flags = (
        "--model_name=toy", f"--model_base_path={folder}",
        "--file_system_poll_wait_seconds=1",
    )  # fmt: skip
    with running_server(*flags) as server:
        threads = [
            threading.Thread(target=work, args=(kind, seed))
            for seed in range(CLIENTS)
            for kind in ("rest", "grpc", "hostile")
        ]
        for thread in threads:
            thread.start()
        started, memory = time.monotonic(), []
        while not over.wait(SWAP_SECONDS) and time.monotonic() - started < SECONDS:
            counts["versions"] += 1
            publish(counts["versions"])
            memory.append(resident(server.process))
        over.set()
        for thread in threads:
            thread.join(120)
        assert server.process.poll() is None
    assert not failures, failures
    early, late = memory[len(memory) // 4], memory[-1]
    for name, value in {**counts, "early_bytes": early, "late_bytes": late}.items():
        record_property(name, value)
    print(counts, early, late)
    assert late < early * (1 + GROWTH)
    assert min(counts.values()) >= 5
