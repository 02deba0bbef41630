"""A served model beside bare TensorFlow: latency and throughput of every signature.

    python benchmarks/serving.py --model=RUN/models/xgacmn
        starts the development server on the newest version, with the batching we ship.
    python benchmarks/serving.py --model=models/xgacmn --grpc=host:8500 --rest=http://host:8501
        measures a server that runs already and has the same version.

Bare TensorFlow is the same SavedModel's signature, called in this process. Latency is that of one
client that asks again as soon as it is answered; throughput that of --concurrency=8 of them, for
bare TensorFlow as many threads. Before anything is measured, server and bare TensorFlow must give
the same answers. Server and clients share this host's cores, so on few cores clients cost
throughput, too; ratios to bare TensorFlow are of the same run.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

EXPORT = Path(__file__).resolve().parent.parent / "export"
# The client is made to be copied, not installed.
sys.path.append(str(EXPORT))
from client import Target  # noqa: E402
from load_test import Load, Outcome, connect, path_of, run_load, summary  # noqa: E402
from made_up import batches  # noqa: E402

WAYS = ("bare", "grpc", "rest")
BATCHES = (1, 8, 64)
READY = re.compile(r"serving: gRPC on (\S+), REST on (\S+)")
# Eight clients with the slowest batch, 64 pictures, wait long where cores are few.
TIMEOUT = 120


@contextlib.contextmanager
def development_server(model: Path) -> Iterator[dict[str, str]]:
    """Starts the development server; yields the addresses by protocol."""
    command = [sys.executable, "-m", "xgacmn_tf.serve", "--port=0", "--rest_api_port=0"]
    command += [f"--model_name={model.name}", f"--model_base_path={model}", "--enable_batching"]
    command += [f"--batching_parameters_file={EXPORT / 'serving' / 'batching.config'}"]
    command += [f"--request_timeout_seconds={TIMEOUT}"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        ready = READY.match(process.stdout.readline())
        if not ready:
            raise SystemExit(f"error: the server did not start; try {' '.join(command)}")
        yield {"grpc": ready[1], "rest": ready[2]}
    finally:
        process.terminate()
        process.wait()


def tensors(function: Any, inputs: dict) -> dict:
    import tensorflow as tf

    specs = function.structured_input_signature[1]
    return {name: tf.constant(value, specs[name].dtype) for name, value in inputs.items()}


def bare_load(function: Any, inputs: list[dict], clients: int, seconds: float) -> Outcome:
    """The closed loop of a load test, with calls instead of requests."""
    ready = [tensors(function, each) for each in inputs]
    latency: list[float] = []
    start = time.perf_counter()

    def client(first: int) -> None:
        number = first
        while (began := time.perf_counter()) < start + seconds:
            for output in function(**ready[number % len(ready)]).values():
                output.numpy()
            latency.append(time.perf_counter() - began)
            number += 1

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(client, range(clients)))
    return Outcome(latency, Counter(), time.perf_counter() - start, 0.0)


def check_same(answer: dict[str, np.ndarray], function: Any, inputs: dict) -> None:
    """Raises an `AssertionError` unless a server and bare TensorFlow agree."""
    for name, output in function(**tensors(function, inputs)).items():
        expected = output.numpy()
        if expected.dtype == object:
            texts = [text.decode() for text in expected.ravel()]
            assert answer[name].ravel().tolist() == texts, name
        else:
            np.testing.assert_allclose(answer[name], expected, atol=1e-6, rtol=0)


def measure(
    model: Path, version: int, addresses: dict[str, str], seconds: float, concurrency: int
) -> list[dict]:
    """Numbers for each signature, batch and way."""
    import tensorflow as tf

    with contextlib.suppress(ImportError):
        import tensorflow_text  # noqa: F401 - has operations of models that take sentences

    loaded = tf.saved_model.load(str(model / str(version)))
    target = Target(model.name, version, None)
    results = []
    for signature in sorted(set(loaded.signatures) - {"serving_default"}):
        function = loaded.signatures[signature]
        print(f"measuring {signature}", file=sys.stderr)
        for batch in BATCHES:
            with connect("grpc", addresses["grpc"]) as client:
                made = batches(client.metadata(*target)[signature].inputs, batch)
            bare_load(function, made, 1, 0.2)  # the first calls of a shape are slow
            run = partial(bare_load, function, made, seconds=seconds)
            results.append(numbers("bare", signature, batch, run, concurrency))
            for way, address in addresses.items():
                with connect(way, address) as client:
                    answer = client.predict(made[0], signature, *target, timeout=TIMEOUT)
                    check_same(answer, function, made[0])
                    bodies = tuple(client.encode(each, signature, target) for each in made)
                load = Load(way, address, path_of(way, target), bodies, seconds, 1, None, TIMEOUT)
                run = partial(served_load, load)
                results.append(numbers(way, signature, batch, run, concurrency))
    return results


def served_load(load: Load, clients: int) -> Outcome:
    return run_load(dataclasses.replace(load, concurrency=clients))


def numbers(
    way: str, signature: str, batch: int, run: Callable[[int], Outcome], concurrency: int
) -> dict:
    """One way's latency with one client and throughput with several."""
    alone, together = (summary(run(clients), batch) for clients in (1, concurrency))
    assert not alone["errors"] and not together["errors"], (way, signature, alone, together)
    return {
        "signature": signature,
        "batch": batch,
        "way": way,
        "p50_ms": alone["latency_ms"]["p50"],
        "p99_ms": alone["latency_ms"]["p99"],
        "items_per_second": together["items_per_second"],
    }


def table(results: list[dict]) -> str:
    lines = [
        "| signature | batch | p50 / p99, ms: bare | gRPC | REST "
        "| items/s: bare | gRPC (÷ bare) | REST (÷ bare) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for start in range(0, len(results), len(WAYS)):
        ways = results[start : start + len(WAYS)]
        times = [f"{r['p50_ms']:.2f} / {r['p99_ms']:.2f}" for r in ways]
        rates = [r["items_per_second"] for r in ways]
        ratios = [f"{rate:,.0f} ({rate / rates[0]:.2f})" for rate in rates[1:]]
        cells = [ways[0]["signature"], str(ways[0]["batch"]), *times, f"{rates[0]:,.0f}", *ratios]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="folder of versions")
    parser.add_argument("--grpc", help="host:port of a server that runs")
    parser.add_argument("--rest", help="its URL")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each measurement")
    parser.add_argument("--concurrency", type=int, default=8, help="clients, for throughput")
    parser.add_argument("--output", type=Path, help="JSON file to write the numbers to")
    arguments = parser.parse_args()
    if (arguments.grpc is None) != (arguments.rest is None):
        parser.error("--grpc and --rest name one server: give both or neither")
    versions = [int(p.name) for p in arguments.model.glob("*") if p.name.isdecimal()]
    if not versions:
        parser.error(f"--model={arguments.model}: expected versions in it, such as 1/")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    started = contextlib.nullcontext({"grpc": arguments.grpc, "rest": arguments.rest})
    with started if arguments.grpc else development_server(arguments.model) as addresses:
        results = measure(
            arguments.model, max(versions), addresses, arguments.seconds, arguments.concurrency
        )
    print(table(results))
    if arguments.output:
        about = {"python": platform.python_version(), "cores": os.cpu_count()}
        arguments.output.write_text(json.dumps({**about, "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
