"""Load on a model server: throughput, latency percentiles, errors by code.

    python export/load_test.py --signature=encode_text --concurrency=16
        closed loop: 16 clients, each of which asks again as soon as it is answered.
    python export/load_test.py --signature=search_images_by_raw_text --rate=200
        open loop: 200 requests a second, come what may, as independent users send them. Latency
        counts from when a request was due, so that a stall counts for all that it delays.
    python export/load_test.py --protocol=rest --address=http://localhost:8501 --batch=8 --json
        over REST, 8 rows a request.

Inputs are made up (features uniform in [0, 1), common words, small noisy pictures) or come from
--inputs=FILE.npz, arrays named as the signature's inputs. Requests are encoded before the start and
answers are not decoded, so that the generator does not limit what it measures: a request costs it
about .2 ms of a core. How busy it was is part of the result; near one core for each process, raise
--processes.
"""

import argparse
import asyncio
import dataclasses
import itertools
import json
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from client import (
    HTTP_CODES,
    PREDICT,
    Client,
    GrpcClient,
    Parser,
    RestClient,
    ServingError,
    Target,
    rest_path,
)
from made_up import batches

ADDRESSES = {"grpc": "localhost:8500", "rest": "http://localhost:8501"}
# Clients of a closed loop; in the open loop, how many requests may be under way.
CONCURRENCY = {"closed": 16, "open": 256}
BUSY = 0.8
PERCENTILES = (50, 90, 99, 99.9)


@dataclasses.dataclass(frozen=True)
class Load:
    """What one process sends.

    Attributes:
      protocol: "grpc" or "rest".
      address: host:port, or a URL.
      path: what is called: the gRPC method or the URL's path.
      bodies: encoded requests, sent in turn.
      seconds: how long requests are sent.
      concurrency: requests under way at once, at most.
      rate: requests a second, or None for a closed loop.
      timeout: seconds until a request counts as failed.
    """

    protocol: str
    address: str
    path: str
    bodies: tuple[bytes, ...]
    seconds: float
    concurrency: int
    rate: float | None = None
    timeout: float = 10.0

    def split(self, processes: int) -> list["Load"]:
        rate = self.rate and self.rate / processes
        # The remainder goes to the first ones; nobody is left without a client.
        shares = [max(len(range(i, self.concurrency, processes)), 1) for i in range(processes)]
        return [dataclasses.replace(self, concurrency=n, rate=rate) for n in shares]


@dataclasses.dataclass
class Outcome:
    """latency: seconds of each answered request; errors: by code; seconds: until the last answer;
    busy: cores that the generator used, on average."""

    latency: list[float]
    errors: Counter[str]
    seconds: float
    busy: float


Send = Callable[[bytes, float], Awaitable[str | None]]


async def _generate(load: Load, send: Send) -> Outcome:
    """`send` takes a body and a timeout, and returns None or the code of an error."""
    latency: list[float] = []
    errors: Counter[str] = Counter()
    numbers = itertools.count()
    start, cpu = time.perf_counter(), time.process_time()

    async def client() -> None:
        for number in numbers:
            due = start + number / load.rate if load.rate else time.perf_counter()
            if due >= start + load.seconds:
                return
            await asyncio.sleep(max(due - time.perf_counter(), 0))
            # What nobody was free to send in time has failed for the one who waited for it.
            left = due + load.timeout - time.perf_counter()
            body = load.bodies[number % len(load.bodies)]
            error = await send(body, left) if left > 0 else "DEADLINE_EXCEEDED"
            if error:
                errors[error] += 1
            else:
                latency.append(time.perf_counter() - due)

    await asyncio.gather(*(client() for _ in range(load.concurrency)))
    seconds = time.perf_counter() - start
    return Outcome(latency, errors, seconds, (time.process_time() - cpu) / seconds)


async def _over_grpc(load: Load) -> Outcome:
    import grpc

    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(load.address, options) as channel:
        call = channel.unary_unary(load.path)  # bytes in, bytes out

        async def send(body: bytes, timeout: float) -> str | None:
            try:
                await call(body, timeout=timeout)
            except grpc.aio.AioRpcError as error:
                return error.code().name
            return None

        return await _generate(load, send)


async def _over_rest(load: Load) -> Outcome:
    import aiohttp

    url, headers = load.address + load.path, {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def send(body: bytes, timeout: float) -> str | None:
            limit = aiohttp.ClientTimeout(total=timeout)
            try:
                async with session.post(url, data=body, headers=headers, timeout=limit) as answer:
                    await answer.read()
            except TimeoutError:
                return "DEADLINE_EXCEEDED"
            except aiohttp.ClientError:
                return "UNAVAILABLE"
            return None if answer.status == 200 else HTTP_CODES.get(answer.status, "UNKNOWN")

        return await _generate(load, send)


def run_load(load: Load) -> Outcome:
    """Sends the load from this process."""
    return asyncio.run((_over_grpc if load.protocol == "grpc" else _over_rest)(load))


def run_processes(load: Load, processes: int) -> Outcome:
    """Sends the load from several processes at once."""
    if processes == 1:
        return run_load(load)
    # gRPC does not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context) as pool:
        parts = list(pool.map(run_load, load.split(processes)))
    return Outcome(
        latency=[seconds for part in parts for seconds in part.latency],
        errors=sum((part.errors for part in parts), Counter()),
        seconds=max(part.seconds for part in parts),
        busy=sum(part.busy for part in parts),
    )


def summary(outcome: Outcome, batch: int) -> dict:
    """Requests and rows a second, latency in milliseconds, errors."""
    answered = len(outcome.latency)
    times = 1000 * np.array(outcome.latency or [np.nan])
    latency = {f"p{p}": float(np.percentile(times, p)) for p in PERCENTILES}
    return {
        "answered": answered,
        "errors": dict(sorted(outcome.errors.items())),
        "requests_per_second": answered / outcome.seconds,
        "items_per_second": answered * batch / outcome.seconds,
        "latency_ms": latency | {"max": float(times.max())} if answered else None,
        "generator_cores": outcome.busy,
    }


def report(numbers: dict, processes: int) -> str:
    rate, items = numbers["requests_per_second"], numbers["items_per_second"]
    failed = ", ".join(f"{code} {count}" for code, count in numbers["errors"].items())
    lines = [f"{rate:,.1f} requests/s, {items:,.1f} items/s, {numbers['answered']:,} answered"]
    if numbers["latency_ms"]:
        times = "  ".join(f"{name} {value:.2f}" for name, value in numbers["latency_ms"].items())
        lines.append(f"latency, ms: {times}")
    lines.append(f"errors: {failed or 'none'}")
    lines.append(f"generator: {numbers['generator_cores']:.2f} cores busy")
    if numbers["generator_cores"] > BUSY * processes:
        lines.append("the generator itself may be the limit; raise --processes")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    layout = argparse.RawDescriptionHelpFormatter
    parser = Parser(description=__doc__, formatter_class=layout, allow_abbrev=False)
    parser.add_argument("--protocol", choices=tuple(ADDRESSES), default="grpc")
    parser.add_argument("--address", help="host:port, or a URL (default: localhost)")
    parser.add_argument("--model", default="xgacmn", help="name (default: %(default)s)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--version", type=int, help="default: the newest")
    which.add_argument("--label", help="such as stable or canary")
    parser.add_argument("--signature", default="serving_default", help="default: %(default)s")
    parser.add_argument("--batch", type=int, default=1, help="rows a request (default: 1)")
    parser.add_argument("--inputs", type=Path, metavar="FILE.npz", help="instead of made-up ones")
    parser.add_argument("--seconds", type=float, default=10.0, help="default: 10")
    parser.add_argument("--concurrency", type=int, help=f"default: {CONCURRENCY}")
    parser.add_argument("--rate", type=float, help="requests a second: the open loop")
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds (default: 10)")
    parser.add_argument("--processes", type=int, default=1, help="generators (default: 1)")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    return parser


def connect(protocol: str, address: str) -> Client:
    return GrpcClient(address) if protocol == "grpc" else RestClient(address)


def path_of(protocol: str, target: Target) -> str:
    return PREDICT if protocol == "grpc" else f"{rest_path(target)}:predict"


def encoded(
    client: Client, target: Target, signature: str, batch: int, inputs: Path | None = None
) -> tuple[bytes, ...]:
    """Requests to send; the first was answered once.

    Raises:
      ServingError: the server is not there, or refuses.
      ValueError: the inputs do not fit the signature.
    """
    found = client.metadata(target.model, target.version, target.label)
    if signature not in found:
        raise ValueError(f"--signature={signature}: the model has {', '.join(sorted(found))}")
    made = batches(found[signature].inputs, batch, inputs)
    client.predict(made[0], signature, target.model, target.version, target.label)
    return tuple(client.encode(each, signature, target) for each in made)


def main(argv: list[str] | None = None) -> int:
    parser = _parser()
    arguments = parser.parse_args(argv)
    for name in ("batch", "seconds", "concurrency", "rate", "timeout", "processes"):
        value = getattr(arguments, name)
        if value is not None and not value > 0:
            parser.error(f"--{name}={value}: expected more than 0")
    address = arguments.address or ADDRESSES[arguments.protocol]
    target = Target(arguments.model, arguments.version, arguments.label)
    try:
        with connect(arguments.protocol, address) as client:
            bodies = encoded(client, target, arguments.signature, arguments.batch, arguments.inputs)
        loop = "open" if arguments.rate else "closed"
        load = Load(
            arguments.protocol,
            address.rstrip("/"),
            path_of(arguments.protocol, target),
            bodies,
            arguments.seconds,
            arguments.concurrency or CONCURRENCY[loop],
            arguments.rate,
            arguments.timeout,
        )
        numbers = summary(run_processes(load, arguments.processes), arguments.batch)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    except ServingError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(json.dumps(numbers, indent=2) if arguments.json else report(numbers, arguments.processes))
    return 0 if numbers["answered"] else 1


if __name__ == "__main__":
    sys.exit(main())
