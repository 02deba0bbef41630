"""`python -m xgacmn_tf.serve`, from its flags to its end."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import requests
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from tests.serve.running import running_server
from xgacmn_tf.errors import InputError
from xgacmn_tf.serve import __main__ as command
from xgacmn_tf.serve.__main__ import VALUES, main


@pytest.fixture(scope="module")
def exported(finished_run):
    """The folder of an export's versions: images 8-D, texts 5-D, codes 6-D."""
    return finished_run[0] / "models" / "xgacmn"


@pytest.fixture
def flags():
    yield
    VALUES.unparse_flags()


def test_an_export_is_served_by_both_protocols_until_the_end(exported, tmp_path):
    pytest.importorskip("aiohttp")
    files = {
        "models": f"""model_config_list {{ config {{
            name: 'xgacmn' base_path: '{exported}' model_platform: 'tensorflow'
            version_labels {{ key: 'stable' value: 1 }} }} }}""",
        "batching": "max_batch_size { value: 16 } batch_timeout_micros { value: 1000 }",
        "monitoring": "prometheus_config { enable: true }",
    }
    for name, text in files.items():
        (tmp_path / f"{name}.config").write_text(text)
    queries = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    model = tf.saved_model.load(str(exported / "1"))
    expected = model.signatures["search_images_by_text"](text_features=tf.constant(queries))
    with running_server(
        f"--model_config_file={tmp_path / 'models.config'}",
        "--enable_batching",
        f"--batching_parameters_file={tmp_path / 'batching.config'}",
        f"--monitoring_config_file={tmp_path / 'monitoring.config'}",
    ) as server:
        by_rest = requests.post(
            f"{server.rest_url}/v1/models/xgacmn/labels/stable:predict",
            json={"signature_name": "search_images_by_text", "inputs": queries.tolist()},
        ).json()["outputs"]
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "xgacmn"
        request.model_spec.signature_name = "search_images_by_text"
        request.inputs["text_features"].CopyFrom(tf.make_tensor_proto(queries))
        with grpc.insecure_channel(server.grpc_address) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            answer = stub.Predict(request)
        by_grpc = {name: tf.make_ndarray(value) for name, value in answer.outputs.items()}
        metrics = requests.get(f"{server.rest_url}/monitoring/prometheus/metrics").text
    assert by_rest["ids"] == [[key.decode() for key in row] for row in expected["ids"].numpy()]
    assert by_grpc["ids"].tolist() == expected["ids"].numpy().tolist()
    for scores in (by_rest["scores"], by_grpc["scores"]):
        np.testing.assert_allclose(scores, expected["scores"], atol=1e-6)
    for protocol in ("rest", "grpc"):
        assert f'protocol="{protocol}",signature="search_images_by_text",status="OK"' in metrics


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_signals_end_it(flags, monkeypatch, capsys, toy_versions, number, status):
    pytest.importorskip("aiohttp")
    monkeypatch.setattr(command, "_ready", lambda *addresses: os.kill(os.getpid(), number))
    ended = 0
    try:
        main(["serve", f"--model_base_path={toy_versions}", "--port=0", "--rest_api_port=0"])
    except SystemExit as end:
        ended = end.code
    assert ended == status
    assert ("error: interrupted" in capsys.readouterr().err) == (number == signal.SIGINT)


def test_an_address_that_is_taken(toy, start):
    for flag, address in [("grpc_port", toy.address), ("rest_port", toy.url)]:
        port = int(address.split(":")[-1])
        with pytest.raises(InputError, match=f"port={port}: cannot listen at 127.0.0.1:{port}; "):
            start(**{flag: port})


def test_what_has_come_is_answered_before_the_end(publish, start, gate):
    publish(1)
    server = start()
    host, port = server.url.removeprefix("http://").split(":")

    def is_closed():
        # A connection at the moment of closing would be one that asyncio never closes.
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                other.bind((host, int(port)))
                return True
        return False

    with ThreadPoolExecutor() as pool:
        by_grpc = pool.submit(server.ask, 1)
        path, body = "/v1/models/toy:predict", {"instances": [[1, 1, 1]]}
        by_rest = pool.submit(server.post, path, json=body)
        for _ in range(2):
            assert gate.reached.acquire(timeout=60)
        server.end()
        server.until(is_closed)
        gate.open()
        assert by_grpc.result() == 3
        assert by_rest.result().json() == {"predictions": [[3, 3, 3]]}


def test_without_the_extra(flags, monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "xgacmn_tf.serve.server", raising=False)
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(SystemExit):
        main(["serve", "--model_base_path=."])
    assert 'pip install "xgacmn_tf[serve]"' in capsys.readouterr().err


def test_help_does_not_wait_for_tensorflow():
    script = "import sys; from xgacmn_tf.serve.__main__ import main; main(['serve', '--help'])"
    script += "; assert 'tensorflow' not in sys.modules"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert "--model_base_path" in answer.stdout and "(default: '8500')" in answer.stdout


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "give --model_base_path=FOLDER or --model_config_file=FILE; see --help"),
        (["--model_base_path=a", "--model_config_file=b"], "give --model_base_path=FOLDER or"),
        (["--model_base_path=nowhere"], "model 'default': its base path 'nowhere' is not a folder"),
        (["--model_config_file=none.config"], "none.config cannot be read: No such file"),
        (["--model_base_path=.", "--model_name=a/b"], "model name 'a/b': expected some characters"),
        (
            ["--model_base_path=.", "--batching_parameters_file=b"],
            "--batching_parameters_file needs --enable_batching",
        ),
        (["--port=70000"], "--port=70000"),
        (["--request_timeout_seconds=0"], "--request_timeout_seconds=0"),
        (["--grpc_port=1"], "Unknown command line flag 'grpc_port'"),
        (["models"], "'models' is not a flag"),
        (["--model_base_path=.", "--host=256.0.0.1", "--port=0"], "cannot listen at 256.0.0.1:0"),
    ],
)
def test_mistakes(flags, capsys, arguments, message):
    with pytest.raises(SystemExit) as caught:
        main(["serve", *arguments])
    error = capsys.readouterr().err
    assert caught.value.code == 2
    assert error.startswith("error: ") and message in error and error.count("\n") == 1
