"""export/load_test.py: the right number of requests, latencies from their due time, errors."""

import importlib
import json
import sys
from collections import Counter

import numpy as np
import pytest
from tensorflow_serving.apis import get_model_metadata_pb2

from tests.tf_serving.running import REPOSITORY
from tests.tf_serving.scripted import Script, scripted

sys.path.append(str(REPOSITORY / "export"))
client, load_test = map(importlib.import_module, ("client", "load_test"))


def sender(script):
    """A function that does what the script says without a server."""

    def send(number):
        code = script.next(number)
        if code:
            raise client.ServingError(code, "")

    return send


def test_a_closed_loop_keeps_all_clients_busy():
    script = Script(0.05)
    outcome = load_test.run(sender(script), clients=5, seconds=0.5)
    assert len(outcome.latency) == len(script.requests) >= 30
    assert min(outcome.latency) >= 0.05 and not outcome.errors


def test_an_open_loop_sends_what_was_ordered():
    script = Script(None)
    outcome = load_test.run(sender(script), clients=100, seconds=0.5, rate=100)
    assert len(script.requests) == len(outcome.latency) == 50
    assert 0.49 <= outcome.seconds < 5


def test_a_stall_counts_for_all_that_it_delays():
    # With one client, the requests due in the first 0.3 s wait for the first answer, after 0.5 s.
    outcome = load_test.run(sender(Script(0.5, None)), clients=1, seconds=0.4, rate=100)
    assert len(outcome.latency) == 40
    assert sum(seconds >= 0.2 for seconds in outcome.latency) >= 30


def test_summary():
    latency = [0.001 * n for n in range(1, 1001)]  # 1 to 1000 ms
    outcome = load_test.Outcome(latency, Counter(UNAVAILABLE=2), seconds=20.0, busy_cores=0.25)
    numbers = load_test.summary(outcome, batch=8)
    assert numbers["answered"] == 1000 and numbers["errors"] == {"UNAVAILABLE": 2}
    assert numbers["requests_per_second"] == 50 and numbers["rows_per_second"] == 400
    # NumPy interpolates: the p-th percentile lies at 1 + 999 p / 100.
    expected = {"p50": 500.5, "p90": 900.1, "p99": 990.01, "p99.9": 999.001}
    assert numbers["latency_ms"] == pytest.approx(expected)


def test_batches():
    signature = get_model_metadata_pb2.SignatureDefMap().signature_def["s"]
    for name, dtype, shape in (("x", 1, (-1, 3)), ("text", 7, (-1,)), ("image_bytes", 7, (-1,))):
        signature.inputs[name].dtype = dtype
        for size in shape:
            signature.inputs[name].tensor_shape.dim.add(size=size)
    made = load_test.batches(signature.inputs, rows=2)
    assert len({batch["x"].tobytes() for batch in made}) == load_test.VARIETY
    assert made[0]["x"].shape == (2, 3) and made[0]["x"].dtype == np.float32
    assert all(len(text.split()) == 3 for text in made[0]["text"])
    assert all(image.startswith(b"\xff\xd8\xff") for image in made[0]["image_bytes"])


def test_over_both_protocols(capsys):
    script = Script(None, "INVALID_ARGUMENT", None)
    with scripted("grpc", script) as port:
        flags = [f"--grpc=localhost:{port}", "--signature=s", "--batch=2"]
        assert load_test.main([*flags, "--seconds=0.2", "--rate=100", "--json"]) == 0
        numbers = json.loads(capsys.readouterr().out)
        # Before the load, one request is tried.
        assert numbers["answered"] == 19 and numbers["errors"] == {"INVALID_ARGUMENT": 1}
        assert script.requests[0].inputs["x"].tensor_shape.dim[0].size == 2
    with scripted("rest", Script(None)) as port:
        flags = [f"--rest=http://localhost:{port}", "--seconds=0.1", "--rate=100"]
        assert load_test.main(flags) == 0
        assert "answered: 10\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, status, message",
    [
        (["--rate=0"], 2, "--rate=0.0: expected more than 0"),
        (["--signature=t"], 2, "--signature=t: expected one of s"),
        (["--signature=s"], 1, "signature s of xgacmn: INTERNAL: it says so"),
    ],
)
def test_what_is_wrong(arguments, status, message, capsys):
    with scripted("grpc", Script("INTERNAL")) as port:
        try:
            assert load_test.main([f"--grpc=localhost:{port}", *arguments]) == status
        except SystemExit as end:
            assert end.code == status
    assert message in capsys.readouterr().err
