"""Load on a server: throughput, latency percentiles, errors by code.

    python export/load_test.py --clients=16
        closed loop on POST /search of the service: 16 clients, each of which sends its next query
        as soon as it has an answer.
    python export/load_test.py --rate=200
        open loop: 200 queries a second, as independent users send them. Latency counts from the
        moment when a query was due, so that a stall counts for all that it delays.
    python export/load_test.py --grpc=localhost:8500 --signature=encode_text --batch=8 --json
        TensorFlow Serving. Features are uniform in [0, 1), images are small and noisy.

Queries are made up. Clients are threads of one process, which can send about 2,000 small requests a
second; above 0.8 busy cores the load test may be the limit.
"""

import argparse
import dataclasses
import io
import itertools
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from client import GrpcClient, ServiceClient, ServingError, stub

VARIETY = 16  # different requests, so that no cache makes the answers too cheap
WORDS = "red blue green apple tree cat dog bird house car flower star sun happy small old".split()
PERCENTILES = (50, 90, 99, 99.9)


@dataclasses.dataclass
class Outcome:
    """Results of a load.

    Attributes:
      latency: seconds of each answered request.
      errors: number of failed requests by code.
      seconds: from the start to the last answer.
      busy_cores: mean number of cores that this process used.
    """

    latency: list[float]
    errors: Counter[str]
    seconds: float
    busy_cores: float


def run(
    send: Callable[[int], Any], clients: int, seconds: float, rate: float | None = None
) -> Outcome:
    """Call `send(number)` from several threads.

    Args:
      send: sends the request of a number and waits for its answer; raises `ServingError`.
      clients: number of threads.
      seconds: time during which requests are sent.
      rate: requests a second of an open loop; None for a closed loop.
    """
    latency: list[float] = []
    errors: Counter[str] = Counter()
    numbers = itertools.count()
    start, cpu = time.perf_counter(), time.process_time()

    def client(_: int) -> None:
        for number in numbers:
            due = start + number / rate if rate else time.perf_counter()
            if due >= start + seconds:
                return
            time.sleep(max(due - time.perf_counter(), 0))
            try:
                send(number)
            except ServingError as error:
                errors[error.code] += 1
            else:
                latency.append(time.perf_counter() - due)

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(client, range(clients)))
    elapsed = time.perf_counter() - start
    return Outcome(latency, errors, elapsed, (time.process_time() - cpu) / elapsed)


def summary(outcome: Outcome, batch: int = 1) -> dict[str, Any]:
    """Return requests and rows a second, latency in milliseconds, and errors."""
    answered = len(outcome.latency)
    times = 1000 * np.array(outcome.latency)
    latency = {f"p{p}": float(np.percentile(times, p)) for p in PERCENTILES} if answered else None
    return {
        "answered": answered,
        "errors": dict(sorted(outcome.errors.items())),
        "requests_per_second": answered / outcome.seconds,
        "rows_per_second": answered * batch / outcome.seconds,
        "latency_ms": latency,
        "busy_cores": outcome.busy_cores,
    }


def text(generator: np.random.Generator) -> str:
    """Three common words."""
    return " ".join(generator.choice(WORDS, 3))


def image(generator: np.random.Generator) -> bytes:
    """A JPEG file of smooth noise, 320 × 240 pixels."""
    from PIL import Image

    stream = io.BytesIO()
    noise = Image.fromarray(generator.integers(0, 256, (15, 20, 3), np.uint8))
    noise.resize((320, 240)).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def batches(inputs: Mapping[str, Any], rows: int) -> list[dict[str, Any]]:
    """Return 16 different inputs of a signature.

    Args:
      inputs: the `TensorInfo` by input of its `SignatureDef`.
      rows: size of the batch.
    """
    generator = np.random.default_rng(0)

    def column(name: str, tensor: Any) -> Any:
        if tensor.dtype == 7:  # DT_STRING
            return [
                image(generator) if name == "image_bytes" else text(generator) for _ in range(rows)
            ]
        shape = [dim.size for dim in tensor.tensor_shape.dim[1:]]
        return generator.random((rows, *shape)).astype(np.float32)

    return [{k: column(k, tensor) for k, tensor in inputs.items()} for _ in range(VARIETY)]


def signature_inputs(serving: GrpcClient, signature: str, model: str = "xgacmn") -> Any:
    """Return the `TensorInfo` by input of a signature of the newest version.

    Raises:
      ValueError: there is no such signature.
    """
    api = stub("get_model_metadata", "_pb2")
    request = api.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = model
    method = serving.predictions.GetModelMetadata
    answer = serving.call(method, request, f"metadata of {model}")
    found = api.SignatureDefMap()
    answer.metadata["signature_def"].Unpack(found)
    if signature not in found.signature_def:
        names = ", ".join(sorted(found.signature_def))
        raise ValueError(f"--signature={signature}: expected one of {names}")
    return found.signature_def[signature].inputs


def _parser() -> argparse.ArgumentParser:
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    server = parser.add_mutually_exclusive_group()
    server.add_argument("--rest", default="http://127.0.0.1:8080", help="default: %(default)s")
    server.add_argument("--grpc", metavar="HOST:PORT", help="TensorFlow Serving instead")
    parser.add_argument("--signature", default="search_images_by_raw_text", help="for gRPC")
    parser.add_argument("--batch", type=int, default=1, help="rows a request, for gRPC")
    parser.add_argument("--seconds", type=float, default=10.0, help="default: 10")
    parser.add_argument("--clients", type=int, default=16, help="default: 16")
    parser.add_argument("--rate", type=float, help="requests a second of an open loop")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    return parser


def _measure(flags: argparse.Namespace) -> dict[str, Any]:
    # Without retries: a rejected request is an error here.
    if flags.grpc:
        with GrpcClient(flags.grpc, retries=0) as serving:
            made = batches(signature_inputs(serving, flags.signature), flags.batch)

            def send(number: int) -> Any:
                return serving.predict(made[number % VARIETY], flags.signature)

            send(0)  # a server that rejects it ends the test here
            return summary(run(send, flags.clients, flags.seconds, flags.rate), flags.batch)
    generator = np.random.default_rng(0)
    texts = [text(generator) for _ in range(VARIETY)]
    with ServiceClient(flags.rest, os.environ.get("XGACMN_API_KEY"), retries=0) as service:
        service.search(text=texts[0])
        ask = lambda number: service.search(text=texts[number % VARIETY])  # noqa: E731
        return summary(run(ask, flags.clients, flags.seconds, flags.rate))


def main(argv: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = _parser()
    flags = parser.parse_args(argv)
    for name in ("batch", "seconds", "clients", "rate"):
        value = getattr(flags, name)
        if value is not None and not value > 0:
            parser.error(f"--{name}={value}: expected more than 0")
    try:
        numbers = _measure(flags)
    except (ValueError, ImportError) as error:
        parser.error(str(error))
    except ServingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if flags.json:
        print(json.dumps(numbers, indent=2))
    else:
        for name, value in numbers.items():
            print(f"{name}: {value:,.1f}" if isinstance(value, float) else f"{name}: {value}")
    return 0 if numbers["answered"] else 1


if __name__ == "__main__":
    sys.exit(main())
