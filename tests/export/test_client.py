"""export/client.py: answers, deadlines, retries, one-line errors, TLS; no TensorFlow."""

import base64
import importlib
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.tf_serving.running import REPOSITORY
from tests.tf_serving.scripted import DROP, WAIT, Script, scripted

sys.path.append(str(REPOSITORY / "export"))
client = importlib.import_module("client")
X = np.array([[1.5, -2.0]], np.float32)
# By protocol: the failure that is repeated, and those that are not.
OVERLOADED = {"grpc": "UNAVAILABLE", "rest": 503}
FINAL = [("grpc", code) for code in ("INVALID_ARGUMENT", "NOT_FOUND", "DEADLINE_EXCEEDED")]
FINAL += [("rest", status) for status in (400, 401, 404, 413, 500)]


class Connection:
    """A client of either protocol, with one way to send something."""

    def __init__(self, protocol, port, **options):
        self.protocol = protocol
        kind = client.GrpcClient if protocol == "grpc" else client.ServiceClient
        tls = "s" if "root_certificates" in options else ""
        scheme = "" if protocol == "grpc" else f"http{tls}://"
        self.client = kind(f"{scheme}localhost:{port}", **options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.__exit__()

    def send(self, timeout=None):
        if self.protocol == "grpc":
            return self.client.predict({"x": X}, "s", timeout=timeout)["x"].tolist()
        return self.client.request("POST", "/search", {"text": "a"}, timeout=timeout)["hits"]


EXPECTED = {"grpc": X.tolist(), "rest": []}


@pytest.fixture(params=["grpc", "rest"])
def protocol(request):
    return request.param


@pytest.fixture
def no_pauses(monkeypatch):
    """Pauses take no time; returns their lengths."""
    lengths = []
    quick = SimpleNamespace(monotonic=client.time.monotonic, sleep=lengths.append)
    monkeypatch.setattr(client, "time", quick)
    return lengths


def test_an_overloaded_server_is_asked_again(protocol, no_pauses):
    script = Script(OVERLOADED[protocol], OVERLOADED[protocol], None)
    with scripted(protocol, script) as port, Connection(protocol, port) as connection:
        assert connection.send() == EXPECTED[protocol]
    assert len(script.requests) == 3


@pytest.mark.parametrize("protocol, code", FINAL)
def test_other_failures_end_in_one_line(protocol, no_pauses, code):
    script = Script(code)
    with scripted(protocol, script) as port, Connection(protocol, port) as connection:
        with pytest.raises(client.ServingError) as caught:
            connection.send()
    name = code if protocol == "grpc" else f"HTTP {code}"
    what = "signature s of xgacmn" if protocol == "grpc" else "POST /search"
    assert str(caught.value).endswith(f"localhost:{port}, {what}: {name}: it says so")
    assert caught.value.code == name and len(script.requests) == 1 and no_pauses == []


def test_pauses_double_up_to_a_limit(protocol, no_pauses):
    script = Script(OVERLOADED[protocol])
    options = {"retries": 7, "timeout": 60}
    with scripted(protocol, script) as port, Connection(protocol, port, **options) as connection:
        with pytest.raises(client.ServingError, match="it says so"):
            connection.send()
    longest = np.array([0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0])
    assert (no_pauses <= longest).all() and (no_pauses >= longest / 2).all()
    assert len(set(no_pauses / longest)) > 1, "without jitter all clients return at once"


def test_retries_end_at_the_deadline(protocol):
    script = Script(OVERLOADED[protocol])
    options = {"retries": 1000, "timeout": 1}
    with scripted(protocol, script) as port, Connection(protocol, port, **options) as connection:
        with pytest.raises(client.ServingError, match="it says so"):
            connection.send()
    assert 2 <= len(script.requests) <= 6


def test_a_server_that_does_not_answer(protocol):
    script = Script(WAIT)
    with scripted(protocol, script) as port, Connection(protocol, port) as connection:
        with pytest.raises(client.ServingError) as caught:
            connection.send(timeout=0.3)
    assert caught.value.code == "DEADLINE_EXCEEDED" and len(script.requests) == 1


def test_a_server_that_appears_late(protocol):
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    with Connection(protocol, port, retries=0) as connection:
        with pytest.raises(client.ServingError, match="UNAVAILABLE"):
            connection.send()
    over = threading.Event()

    def late():
        with scripted(protocol, Script(None), port):
            over.wait()

    thread = threading.Timer(0.5, late)
    thread.start()
    try:
        with Connection(protocol, port, retries=1000, timeout=60) as connection:
            assert connection.send() == EXPECTED[protocol]
    finally:
        over.set()
        thread.join()


def test_a_broken_connection_repeats_reads_and_not_writes(no_pauses):
    for method, path, attempts in (("POST", "/search", 2), ("POST", "/items", 1)):
        script = Script(DROP, None)
        with scripted("rest", script) as port, Connection("rest", port) as connection:
            if attempts == 2:
                connection.client.request(method, path, {})
            else:
                with pytest.raises(client.ServingError, match="UNAVAILABLE"):
                    connection.client.request(method, path, {})
        assert len(script.requests) == attempts


def test_another_kind_of_server():
    with scripted("rest", Script(418)) as port, Connection("rest", port) as connection:
        with pytest.raises(client.ServingError, match="HTTP 418: <html>hello</html>"):
            connection.send()


def test_what_the_service_gets():
    script = Script(None)
    with scripted("rest", script) as port:
        url = f"http://localhost:{port}/"
        with client.ServiceClient(url, api_key="secret") as service:
            service.search(image=b"\xff\0", image_features=np.ones(2, np.float32), k=3)
    ((method, path, headers, content),) = script.requests
    assert (method, path, headers["X-API-Key"]) == ("POST", "/search", "secret")
    image = base64.b64encode(b"\xff\0").decode()
    assert content == {"image": image, "image_features": [1.0, 1.0], "k": 3}


@pytest.mark.parametrize(
    "value, expected",
    [
        ([[1.0, 2]], np.array([[1, 2]], np.float32)),
        (np.ones((2, 3)), np.ones((2, 3), np.float32)),
        (np.zeros((1, 4), np.float32), np.zeros((1, 4), np.float32)),
        (["a", "grün", b"\xc3\xa4\0"], np.array(["a", "grün", "ä\0"], object)),
        (np.array(["b"]), np.array(["b"], object)),
    ],
)
def test_tensors_there_and_back(value, expected):
    with scripted("grpc", Script(None)) as port, Connection("grpc", port) as connection:
        answer = connection.client.predict({"x": value}, "s")["x"]
    np.testing.assert_array_equal(answer, expected)
    assert answer.dtype == expected.dtype


def test_every_dtype_of_an_answer_packed_or_not():
    for array in (np.array([0.5, 0.5], np.float32), np.array([3, 3]), np.array([True, True])):
        api = pytest.importorskip("tensorflow")
        tensor = api.make_tensor_proto(array)
        np.testing.assert_array_equal(client._array(tensor), array)
        one_value = api.make_tensor_proto(array[0], shape=(2,))
        one_value.tensor_shape.dim[0].size = 5
        np.testing.assert_array_equal(client._array(one_value), np.resize(array, 5))


HITS = {"ids": np.array([["a", ""]]), "titles": np.array([["A", ""]]), "scores": np.ones((1, 2))}


def test_answers_of_older_models():
    """They had arbitrary items for a text without a known word, and named no categories."""
    hit = {"id": "a", "title": "A", "score": 1.0, "category": ""}
    assert client.hits_of(HITS) == [hit]
    assert client.hits_of(HITS | {"known_words": np.array([0])}) == []
    named = HITS | {"known_words": np.array([2]), "category": np.array([["food", ""]])}
    assert client.hits_of(named) == [hit | {"category": "food"}]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-signed certificate and its key, in one file."""
    pem = tmp_path_factory.mktemp("tls") / "both.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    command += f" -addext subjectAltName=DNS:localhost -keyout {pem} -out {pem}.crt"
    try:
        subprocess.run(command.split(), check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the command openssl, to make a certificate")
    pem.write_bytes(pem.read_bytes() + Path(f"{pem}.crt").read_bytes())
    return pem


def test_tls(protocol, certificate):
    options = {"root_certificates": str(certificate), "retries": 0}
    with scripted(protocol, Script(None), certificate=certificate) as port:
        with Connection(protocol, port, **options) as connection:
            assert connection.send() == EXPECTED[protocol]
        if protocol == "rest":  # the system trusts nobody who signed it
            with client.ServiceClient(f"https://localhost:{port}", retries=0) as service:
                with pytest.raises(client.ServingError, match="UNAVAILABLE"):
                    service.search(text="a")


def test_tensorflow_is_not_loaded_and_can_be_loaded_later():
    code = """
import json, sys, client
with client.GrpcClient("localhost:1") as serving:
    assert not hasattr(sys.modules.get("tensorflow"), "constant")
import tensorflow as tf
print(tf.make_tensor_proto([1.0]).dtype)
"""
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY / "export", capture_output=True, text=True
    )
    assert run.stdout == "1\n", run.stderr


def test_command(capsys):
    with scripted("rest", Script(None)) as port:
        rest = f"--rest=http://localhost:{port}"
        assert client.main(["--search=a", rest]) == 0
        assert capsys.readouterr().out == ""
    for arguments, status, message in (
        (["--image=none.jpg"], 2, "none.jpg: there is no such file"),
        (["--search=a", "--rest=localhost:1"], 2, "--rest=localhost:1: expected a URL, such as"),
        (["--search=a", "--grpc=localhost:1", "--timeout=.1"], 1, "raw_text of xgacmn: "),
    ):
        assert client.main(arguments) == status
        errors = capsys.readouterr().err
        assert errors.startswith("error: ") and errors.count("\n") == 1 and message in errors
