"""export/client.py with servers that fail: retries, deadlines, readable errors, TLS."""

import importlib
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

HERE = Path(__file__).parent
sys.path += [str(HERE), str(HERE.parents[1] / "export")]
client, stub_servers = map(importlib.import_module, ("client", "stub_servers"))
ANSWER, HTTP_STATUS, WAIT, Script, stub = (
    getattr(stub_servers, name) for name in ("ANSWER", "HTTP_STATUS", "WAIT", "Script", "stub")
)


def connect(protocol, port, **options):
    if protocol == "grpc":
        return client.GrpcClient(f"localhost:{port}", **options)
    return client.RestClient(f"http://localhost:{port}", **options)


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


def test_unavailable_is_tried_again(protocol, no_pauses):
    script = Script("UNAVAILABLE", "UNAVAILABLE", None)
    with stub(protocol, script) as port, connect(protocol, port) as served:
        answer = served.predict({"x": [1.0]}, "s")
    np.testing.assert_array_equal(answer["y"], ANSWER)
    assert answer["y"].dtype == np.float32
    assert script.attempts == 3


@pytest.mark.parametrize("code", [code for code in HTTP_STATUS if code != "UNAVAILABLE"])
def test_other_failures_are_not(protocol, no_pauses, code):
    script = Script(code)
    with (
        stub(protocol, script) as port,
        connect(protocol, port) as served,
        pytest.raises(client.ServingError) as caught,
    ):
        served.predict({"x": [1.0]}, "s", version=7)
    assert script.attempts == 1 and no_pauses == []
    assert (caught.value.code, caught.value.message) == (code, "it says so")
    asked = f"localhost:{port}, signature s of model xgacmn, version 7: {code}: it says so"
    assert str(caught.value).removeprefix("http://") == asked


def test_pauses_double_up_to_a_limit(protocol, no_pauses):
    script = Script("UNAVAILABLE")
    with (
        stub(protocol, script) as port,
        connect(protocol, port, retries=7, timeout=60) as served,
        pytest.raises(client.ServingError, match="UNAVAILABLE: it says so"),
    ):
        served.predict({"x": [1.0]}, "s", label="stable")
    assert script.attempts == 8
    longest = np.array([0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0])
    assert (no_pauses <= longest).all() and (no_pauses >= longest / 2).all()
    assert len(set(no_pauses / longest)) > 1, "without jitter all clients return at once"


def test_no_retry_goes_beyond_the_deadline(protocol):
    script = Script("UNAVAILABLE")
    with (
        stub(protocol, script) as port,
        connect(protocol, port, retries=10**9, timeout=1) as served,
        pytest.raises(client.ServingError, match="UNAVAILABLE: it says so"),
    ):
        served.predict({"x": [1.0]}, "s")
    assert (
        2 <= script.attempts <= 6
    )  # after .1, .2, .4 at the longest; .05, .1, .2, .4 the shortest


def test_a_server_that_does_not_answer(protocol):
    script = Script(WAIT)
    with (
        stub(protocol, script) as port,
        connect(protocol, port) as served,
        pytest.raises(client.ServingError) as caught,
    ):
        served.predict({"x": [1.0]}, "s", timeout=0.3)
    assert caught.value.code == "DEADLINE_EXCEEDED" and script.attempts == 1


def test_no_time_at_all(protocol):
    script = Script(None)
    with (
        stub(protocol, script) as port,
        connect(protocol, port) as served,
        pytest.raises(client.ServingError, match="DEADLINE_EXCEEDED"),
    ):
        served.predict({"x": [1.0]}, "s", timeout=0)
    assert script.attempts == 0


def free_port():
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def test_a_server_that_appears_late(protocol):
    port, done = free_port(), threading.Event()
    failed = threading.Event()

    def late():
        failed.wait()
        with stub(protocol, Script(None), port):
            done.wait()

    thread = threading.Thread(target=late)
    thread.start()
    try:
        with connect(protocol, port, retries=0) as served:
            with pytest.raises(client.ServingError) as caught:
                served.predict({"x": [1.0]}, "s")
        assert caught.value.code == "UNAVAILABLE"
        with connect(protocol, port, retries=10**9, timeout=60) as served:
            failed.set()
            np.testing.assert_array_equal(served.predict({"x": [1.0]}, "s")["y"], ANSWER)
    finally:
        failed.set()
        done.set()
        thread.join()


@pytest.mark.parametrize("trouble", [429, 502, 503, "drop"])
def test_troubles_of_http_that_pass(no_pauses, trouble):
    script = Script(trouble, None)
    with stub("rest", script) as port, connect("rest", port) as served:
        np.testing.assert_array_equal(served.predict({"x": [1.0]}, "s")["y"], ANSWER)
    assert script.attempts == 2


@pytest.mark.parametrize(
    "page, code, message",
    [
        (200, "UNKNOWN", "HTTP status 200: <html>hello</html>"),
        (404, "NOT_FOUND", "HTTP status 404: <html>hello</html>"),
        (418, "UNKNOWN", "HTTP status 418: <html>hello</html>"),
    ],
)
def test_another_kind_of_server(page, code, message):
    with (
        stub("rest", Script({"page": page})) as port,
        connect("rest", port) as served,
        pytest.raises(client.ServingError) as caught,
    ):
        served.predict({"x": [1.0]}, "s")
    assert (caught.value.code, caught.value.message) == (code, message)


def test_an_answer_that_never_ends():
    with (
        stub("rest", Script("drip")) as port,
        connect("rest", port) as served,
        pytest.raises(client.ServingError, match="DEADLINE_EXCEEDED"),
    ):
        served.predict({"x": [1.0]}, "s", timeout=0.3)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """One that vouches for itself, and its key, in one file."""
    pem = tmp_path_factory.mktemp("tls") / "both.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    command += f" -addext subjectAltName=DNS:localhost -keyout {pem} -out {pem}.crt"
    try:
        subprocess.run(command.split(), check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the command openssl, to make a certificate")
    pem.write_bytes(pem.read_bytes() + Path(f"{pem}.crt").read_bytes())
    return pem


def connect_safely(protocol, port, roots):
    if protocol == "grpc":
        return client.GrpcClient(f"localhost:{port}", tls=True, root_certificates=roots, retries=0)
    return client.RestClient(f"https://localhost:{port}", root_certificates=roots, retries=0)


def test_tls(protocol, certificate):
    with stub(protocol, Script(None), certificate=certificate) as port:
        with connect_safely(protocol, port, str(certificate)) as served:
            np.testing.assert_array_equal(served.predict({"x": [1.0]}, "s")["y"], ANSWER)
        # Nobody has signed it whom the system trusts.
        with connect_safely(protocol, port, None) as served:
            with pytest.raises(client.ServingError) as caught:
                served.predict({"x": [1.0]}, "s")
    assert caught.value.code == "UNAVAILABLE"
