"""export/load_test.py: the right number of requests, honest latencies, errors by code."""

import asyncio
import importlib
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
EXPORT = HERE.parents[1] / "export"
sys.path += [str(HERE), str(EXPORT)]
client, load_test, made_up, stub_servers = map(
    importlib.import_module, ("client", "load_test", "made_up", "stub_servers")
)
WAIT, Script = stub_servers.WAIT, stub_servers.Script


def make_load(protocol, port, **settings):
    with load_test.connect(protocol, address_of(protocol, port)) as served:
        target = client.Target("m", None, None)
        x = np.array([[1.0, 2.0, 3.0]], np.float32)
        settings["bodies"] = (served.encode({"x": x}, "s", target),)
        path = load_test.path_of(protocol, target)
    return load_test.Load(protocol, address_of(protocol, port), path, **settings)


def address_of(protocol, port):
    return f"localhost:{port}" if protocol == "grpc" else f"http://localhost:{port}"


@pytest.fixture(params=["grpc", "rest"])
def protocol(request):
    if request.param == "rest":
        pytest.importorskip("aiohttp", reason="sends requests over REST")
    return request.param


def test_closed_loop_keeps_all_clients_busy(protocol):
    script = Script(0.05)
    with stub_servers.stub(protocol, script) as port:
        outcome = load_test.run_load(make_load(protocol, port, seconds=0.5, concurrency=5))
    assert script.most_under_way == 5
    assert len(outcome.latency) == script.attempts > 5, "clients asked again"
    assert min(outcome.latency) >= 0.05 and not outcome.errors
    np.testing.assert_array_equal(script.inputs[-1], [[1, 2, 3]])


def test_open_loop_sends_what_was_ordered(protocol, monkeypatch):
    script, waits, sleep = Script(None), [], asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", lambda wait: waits.append(wait) or sleep(wait))
    with stub_servers.stub(protocol, script) as port:
        load = make_load(protocol, port, seconds=0.5, concurrency=1000, rate=100)
        outcome = load_test.run_load(load)
    assert script.attempts == len(outcome.latency) == 50
    assert outcome.seconds >= 0.49, "the last one was due then"
    assert max(waits) <= 0.49, "nobody waits for those that would follow"


def test_a_stall_counts_for_all_that_it_delays(protocol):
    # With one client, the requests due in the first .3 s wait for the first answer, after .5 s.
    script = Script(0.5, None)
    with stub_servers.stub(protocol, script) as port:
        outcome = load_test.run_load(
            make_load(protocol, port, seconds=0.4, concurrency=1, rate=100)
        )
    assert len(outcome.latency) == 40
    assert sum(seconds >= 0.2 for seconds in outcome.latency) >= 30


def test_errors_by_code(protocol):
    script = Script("UNAVAILABLE", "INVALID_ARGUMENT", None)
    with stub_servers.stub(protocol, script) as port:
        outcome = load_test.run_load(
            make_load(protocol, port, seconds=0.1, concurrency=1, rate=100)
        )
    assert outcome.errors == {"UNAVAILABLE": 1, "INVALID_ARGUMENT": 1}
    assert len(outcome.latency) == 8


def test_a_server_that_does_not_answer(protocol):
    script = Script(WAIT)
    with stub_servers.stub(protocol, script) as port:
        load = make_load(protocol, port, seconds=0.1, concurrency=1, rate=100, timeout=0.3)
        outcome = load_test.run_load(load)
    # The first one waited .3 s, so the others were late before they could be sent.
    assert outcome.errors == {"DEADLINE_EXCEEDED": 10} and not outcome.latency


def test_no_server(protocol):
    load = make_load(protocol, 1, seconds=0.1, concurrency=1, rate=50)
    outcome = load_test.run_load(load)
    assert outcome.errors == {"UNAVAILABLE": 5}


def test_processes_share_the_load():
    load = load_test.Load("grpc", "a", "p", (b"",), 1.0, 7, rate=30.0)
    parts = load.split(3)
    assert [part.concurrency for part in parts] == [3, 2, 2]
    assert [part.rate for part in parts] == [10.0] * 3
    assert [part.concurrency for part in load.split(8)] == [1] * 8
    assert load_test.Load("grpc", "a", "p", (b"",), 1.0, 7).split(2)[0].rate is None


def test_summary():
    latency = [0.001 * n for n in range(1, 1001)]  # 1 to 1000 ms
    outcome = load_test.Outcome(latency, Counter(UNAVAILABLE=2), seconds=20.0, busy=0.25)
    numbers = load_test.summary(outcome, batch=8)
    assert numbers["answered"] == 1000 and numbers["errors"] == {"UNAVAILABLE": 2}
    assert numbers["requests_per_second"] == 50 and numbers["items_per_second"] == 400
    # NumPy interpolates: the p-th percentile lies at 1 + 999 p / 100.
    expected = {"p50": 500.5, "p90": 900.1, "p99": 990.01, "p99.9": 999.001, "max": 1000}
    assert numbers["latency_ms"] == pytest.approx(expected)
    assert "50.0 requests/s, 400.0 items/s, 1,000 answered" in load_test.report(numbers, 1)
    assert "errors: UNAVAILABLE 2" in load_test.report(numbers, 1)
    assert "raise --processes" not in load_test.report(numbers, 1)
    assert "raise --processes" in load_test.report(numbers | {"generator_cores": 0.9}, 1)
    assert "raise --processes" not in load_test.report(numbers | {"generator_cores": 0.9}, 2)


def test_made_up_requests():
    inputs = {
        "x": client.TensorSpec("float32", (None, 3)),
        "text": client.TensorSpec("string", (None,)),
        "image_bytes": client.TensorSpec("string", (None,)),
    }
    made = made_up.batches(inputs, rows=2)
    assert len(made) == 16
    assert len({batch["x"].tobytes() for batch in made}) == 16
    assert made[0]["x"].shape == (2, 3) and made[0]["x"].dtype == np.float32
    assert len(made[0]["text"]) == 2 and all(len(t.split()) == 3 for t in made[0]["text"])
    assert all(picture.startswith(b"\xff\xd8\xff") for picture in made[0]["image_bytes"])
    with pytest.raises(ValueError, match="input n, int32 .* cannot be made up; use --inputs"):
        made_up.batches({"n": client.TensorSpec("int32", (None,))}, 1)


def test_requests_from_a_file(tmp_path):
    path = tmp_path / "inputs.npz"
    np.savez(path, x=np.arange(5), text=np.array(["a", "b", "c", "d", "e"]))
    spec = client.TensorSpec("int64", (None,))
    made = made_up.batches({"x": spec, "text": spec}, rows=2, file=path)
    assert [np.asarray(batch["x"]).tolist() for batch in made[:3]] == [[0, 1], [2, 3], [4, 0]]
    assert made[2]["text"] == ["e", "a"]
    with pytest.raises(ValueError, match=r"inputs\.npz: lacks y"):
        made_up.batches({"y": spec}, 1, path)


def command(*arguments):
    return subprocess.run(
        [sys.executable, str(EXPORT / "load_test.py"), *arguments], capture_output=True, text=True
    )


def test_command_with_two_processes():
    script = Script(None)
    with stub_servers.stub("grpc", script) as port:
        run = command(
            f"--address=localhost:{port}",
            "--signature=s",
            "--batch=2",
            "--seconds=0.2",
            "--rate=100",
            "--processes=2",
            "--json",
        )
    assert run.returncode == 0, run.stderr
    numbers = json.loads(run.stdout)
    # Each of two processes sends 50 a second; before, one request is tried.
    assert numbers["answered"] == 20 == script.attempts - 1
    assert script.inputs[0].shape == (2, 3) and numbers["errors"] == {}


@pytest.mark.parametrize(
    "arguments, status, message",
    [
        (["--rate=0"], 2, "error: --rate=0.0: expected more than 0; see --help\n"),
        (["--signature=t"], 2, "error: --signature=t: the model has s; see --help\n"),
        (["--signature=s", "--inputs=none.npz"], 2, "No such file or directory: 'none.npz'"),
        (["--signature=s", "--seconds=0.1"], 1, "signature s of model xgacmn: INTERNAL: it says"),
    ],
)
def test_command_says_what_is_wrong(arguments, status, message):
    with stub_servers.stub("grpc", Script("INTERNAL")) as port:
        run = command(f"--address=localhost:{port}", *arguments)
    assert run.returncode == status
    assert message in run.stderr and run.stderr.count("\n") == 1 and not run.stdout
