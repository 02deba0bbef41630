"""The search service under load, and killed at random moments.

    python benchmarks/service_soak.py --run=RUN --model=served/xgacmn load --seconds=300
        16 clients search, write, delete and send bad requests while new model versions appear.
    python benchmarks/service_soak.py --run=RUN --model=served/xgacmn kill --rounds=20
        clients write until the service is killed; afterwards every acknowledged write is looked up.

`--model` is a folder that this script makes: copies of the run's exported model under new version
numbers. They answer alike, so that every answer can be checked. A client owns the items of one
category of its own, and knows which of them exist. Answers of fixed queries among the run's own
items must be those of the beginning. Latency stands beside bare calls of the same signature.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np

TIMEOUT = 60.0
READY_SECONDS = 180.0
QUERIES = ("a red apple", "a smiling face", "the flag of a country", "a cat", "a train at night")
BAD_REQUESTS: tuple[tuple[str, str, Any, tuple[int, ...]], ...] = (
    ("POST", "/search", {"text": ""}, (400,)),
    ("POST", "/search", {"text": "cat", "k": 0}, (400,)),
    ("POST", "/search", {"text": "cat", "k": 10**9}, (400,)),
    ("POST", "/search", {"image": {"b64": "bm90IGFuIGltYWdl"}}, (400,)),
    ("POST", "/search", {"image": "http://127.0.0.1/a.png"}, (400,)),
    ("POST", "/search", {"text_features": [float("1e308")] * 3}, (400,)),
    ("POST", "/items", {"items": [{"id": ""}]}, (400,)),
    ("POST", "/items", {"items": [{"id": "x"}]}, (400,)),
    ("DELETE", "/items/no-such-item", None, (404,)),
    ("GET", "/items/no-such-item", None, (404,)),
    ("GET", "/no/such/route", None, (404,)),
)


@dataclasses.dataclass
class Service:
    """A running service."""

    url: str
    process: subprocess.Popen

    def resident(self) -> int:
        """Return the bytes of memory that the process holds."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith("VmRSS")]
        return int(line.split()[1]) * 1024


@contextlib.contextmanager
def service(arguments: argparse.Namespace, log: Path) -> Iterator[Service]:
    """Start the service and wait until it is ready."""
    command = [sys.executable, "-m", "xgacmn_tf.serve", f"--run={arguments.model}"]
    command += [f"--gallery={arguments.gallery}", f"--items_dir={arguments.items}"]
    command += [f"--port={arguments.port}", f"--index={arguments.index}"]
    with log.open("ab") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream)
    try:
        url = f"http://127.0.0.1:{arguments.port}"
        limit = time.monotonic() + READY_SECONDS
        while True:
            if process.poll() is not None:
                raise SystemExit(f"error: the service did not start, see {log}")
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{url}/ready", timeout=5).status_code == 200:
                    break
            if time.monotonic() > limit:
                raise SystemExit(f"error: the service is not ready, see {log}")
            time.sleep(0.1)
        yield Service(url, process)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(30)


def publish(arguments: argparse.Namespace) -> int:
    """Copy the run's exported model as the next version; return its number."""
    (source,) = [p.parent for p in Path(arguments.run).glob("models/*/*/saved_model.pb")][:1]
    folder = Path(arguments.model)
    folder.mkdir(parents=True, exist_ok=True)
    number = max((int(p.name) for p in folder.iterdir() if p.name.isdigit()), default=0) + 1
    partial = folder / f".{number}.partial"
    shutil.copytree(source, partial)
    partial.rename(folder / str(number))
    return number


class Client:
    """A client that knows which of its own items exist.

    Args:
        url: of the service.
        number: of the client; determines its category and what it draws.
        expected: fixed query → ids of its hits among the run's own items of a category.
    """

    def __init__(self, url: str, number: int, expected: dict[tuple[str, str], list[str]]):
        self.http = httpx.Client(base_url=url, timeout=TIMEOUT)
        self.draw = random.Random(number)  # noqa: S311
        self.category, self.expected = f"client {number}", expected
        self.items: dict[str, str] = {}
        # An item whose last write was not acknowledged may or may not exist.
        self.uncertain: set[str] = set()
        self.latencies: dict[str, list[float]] = {}
        self.counts: Counter[str] = Counter()
        self._number = 0

    def step(self) -> None:
        """Send one request and check its answer."""
        kind = self.draw.choices(("search", "own", "upsert", "delete", "bad"), (8, 2, 3, 1, 2))[0]
        start = time.perf_counter()
        getattr(self, f"_{kind}")()
        self.latencies.setdefault(kind, []).append(time.perf_counter() - start)
        self.counts[kind] += 1

    def _send(self, method: str, path: str, body: Any, allowed: tuple[int, ...] = (200,)) -> Any:
        while True:
            content = None if body is None else json.dumps(body)
            headers = {"Content-Type": "application/json"}
            answer = self.http.request(method, path, content=content, headers=headers)
            if answer.status_code != 429:
                break
            self.counts["429"] += 1
            time.sleep(0.05)
        if answer.status_code not in allowed:
            raise AssertionError(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
        return answer.json()

    def _search(self) -> None:
        (text, category), ids = self.draw.choice(list(self.expected.items()))
        body = {"text": text, "category": category, "k": 10}
        hits = self._send("POST", "/search", body)["hits"]
        if [hit["id"] for hit in hits] != ids:
            raise AssertionError(f"{body}: {hits}, expected {ids}")

    def _own(self) -> None:
        body = {"text": self.draw.choice(QUERIES), "category": self.category, "k": 1000}
        hits = {hit["id"] for hit in self._send("POST", "/search", body)["hits"]}
        if hits != set(self.items):
            raise AssertionError(f"{self.category}: {hits ^ set(self.items)} differ")

    def _upsert(self) -> None:
        if self.items and self.draw.random() < 0.3:
            name = self.draw.choice(sorted(self.items))
        else:
            self._number += 1
            name = f"{self.category}/{self._number}"
        text = f"{self.draw.choice(QUERIES)} {self._number}"
        self.uncertain.add(name)
        item = {"id": name, "text": text, "category": self.category}
        self._send("POST", "/items", {"items": [item]})
        self.items[name] = text
        self.uncertain.discard(name)

    def _delete(self) -> None:
        if not self.items:
            return
        name = self.draw.choice(sorted(self.items))
        self.uncertain.add(name)
        self._send("DELETE", f"/items/{name.replace(' ', '%20')}", None)
        del self.items[name]
        self.uncertain.discard(name)

    def _bad(self) -> None:
        method, path, body, statuses = self.draw.choice(BAD_REQUESTS)
        answer = self._send(method, path, body, statuses)
        if not answer.get("error"):
            raise AssertionError(f"{method} {path} {body}: {answer} has no error")

    def check(self) -> None:
        """Check that exactly the acknowledged items exist."""
        for name, text in self.items.items():
            if name not in self.uncertain:
                item = self._send("GET", f"/items/{name.replace(' ', '%20')}", None)
                if item["texts"] != [text]:
                    raise AssertionError(f"{name}: {item['texts']}, expected {text!r}")
        body = {"text": QUERIES[0], "category": self.category, "k": 1000}
        hits = {hit["id"] for hit in self._send("POST", "/search", body)["hits"]}
        if (hits ^ set(self.items)) - self.uncertain:
            raise AssertionError(f"{self.category}: {hits ^ set(self.items)} differ")
        # What was uncertain is settled now.
        self.items = {
            name: self._send("GET", f"/items/{name.replace(' ', '%20')}", None)["texts"][0]
            for name in sorted(hits)
        }
        self.uncertain.clear()


def expected_hits(url: str) -> dict[tuple[str, str], list[str]]:
    """Return the hits of the fixed queries among the run's own items."""
    with httpx.Client(base_url=url, timeout=TIMEOUT) as http:
        categories = http.get("/model").json()["categories"][:4]
        return {
            (text, category): [
                hit["id"]
                for hit in http.post(
                    "/search", json={"text": text, "category": category, "k": 10}
                ).json()["hits"]
            ]
            for text in QUERIES
            for category in categories
        }


def run_clients(
    clients: list[Client], over: threading.Event, tolerated: tuple[type[Exception], ...] = ()
) -> tuple[list[threading.Thread], list[str]]:
    """Let clients send requests until an event is set; return their threads and failures."""
    failures: list[str] = []

    def work(client: Client) -> None:
        while not over.is_set():
            try:
                client.step()
            except tolerated:
                return
            except Exception as error:  # A thread's exception would be lost.
                failures.append(f"{type(error).__name__}: {error}")
                over.set()

    threads = [threading.Thread(target=work, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    return threads, failures


def load(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run clients for some time with two model switches."""
    publish(arguments)
    over, memory = threading.Event(), []
    with service(arguments, Path(arguments.log)) as running:
        expected = expected_hits(running.url)
        clients = [Client(running.url, n, expected) for n in range(arguments.clients)]
        threads, failures = run_clients(clients, over)
        start, switches = time.monotonic(), []
        switch_at = [arguments.seconds / 3, 2 * arguments.seconds / 3]
        while not over.wait(1) and time.monotonic() - start < arguments.seconds:
            memory.append(running.resident())
            if switch_at and time.monotonic() - start > switch_at[0]:
                switch_at.pop(0)
                version = publish(arguments)
                answer = httpx.post(f"{running.url}/reload", timeout=READY_SECONDS)
                assert answer.status_code == 200, answer.text
                assert answer.json()["version"] == version, answer.text
                switches.append(answer.json()["seconds"])
        over.set()
        for thread in threads:
            thread.join(TIMEOUT)
        for client in clients:
            client.check()
        seconds = time.monotonic() - start
        alone = _latency_alone(running.url)
    if failures:
        raise SystemExit("error: " + failures[0])
    counts = sum((client.counts for client in clients), Counter())
    return {
        "seconds": round(seconds),
        "requests": dict(counts),
        "requests_per_second": round(sum(counts.values()) / seconds, 1),
        "switch_seconds": switches,
        "milliseconds": {
            kind: _percentiles([t for client in clients for t in client.latencies.get(kind, [])])
            for kind in ("search", "own", "upsert", "delete", "bad")
        },
        "one_client_search": alone,
        "bare_tensorflow": _bare(arguments),
        "memory_mib": {
            "after_quarter": memory[len(memory) // 4] >> 20,
            "at_end": memory[-1] >> 20,
            "maximum": max(memory) >> 20,
        },
    }


def kill(arguments: argparse.Namespace) -> dict[str, Any]:
    """Kill the service at random moments; check all acknowledged writes after each restart."""
    publish(arguments)
    draw, clients = random.Random(arguments.seed), []  # noqa: S311
    counts: Counter[str] = Counter()
    for number in range(arguments.rounds):
        over = threading.Event()
        with service(arguments, Path(arguments.log)) as running:
            expected = expected_hits(running.url)
            if not clients:
                clients = [Client(running.url, n, expected) for n in range(arguments.clients)]
            for client in clients:
                if client.expected != expected:
                    raise SystemExit(f"error: round {number}: fixed queries have other hits")
                client.check()
            threads, failures = run_clients(clients, over, (httpx.TransportError,))
            time.sleep(draw.uniform(0.2, 4.0))
            running.process.send_signal(signal.SIGKILL)
            running.process.wait()
            over.set()
            for thread in threads:
                thread.join(TIMEOUT)
        if failures:
            raise SystemExit(f"error: round {number}: {failures[0]}")
        counts["kills"] += 1
        counts["uncertain"] += sum(len(client.uncertain) for client in clients)
    with service(arguments, Path(arguments.log)):
        for client in clients:
            client.check()
    for client in clients:
        counts += client.counts
    return {"counts": dict(counts), "items": sum(len(client.items) for client in clients)}


def _latency_alone(url: str, requests: int = 300) -> dict[str, float]:
    """Return the latency of one client that sends text searches, in milliseconds."""
    with httpx.Client(base_url=url, timeout=TIMEOUT) as http:

        def call(number: int) -> None:
            http.post("/search", json={"text": QUERIES[number % len(QUERIES)]}).raise_for_status()

        return _timed(call, requests)


def _bare(arguments: argparse.Namespace, calls: int = 300) -> dict[str, float]:
    """Return the latency of the exported search called in this process, in milliseconds."""
    import tensorflow as tf

    with contextlib.suppress(ImportError):
        import tensorflow_text  # noqa: F401
    folder = max(Path(arguments.model).glob("[0-9]*"), key=lambda path: int(path.name))
    function = tf.saved_model.load(str(folder)).signatures["search_images_by_raw_text"]

    def call(number: int) -> None:
        function(text=tf.constant([QUERIES[number % len(QUERIES)]]))["ids"].numpy()

    return _timed(call, calls)


def _timed(call: Callable[[int], None], times: int) -> dict[str, float]:
    latencies = []
    for number in range(times + 20):
        start = time.perf_counter()
        call(number)
        latencies.append(time.perf_counter() - start)
    return _percentiles(latencies[20:])


def _percentiles(seconds: list[float]) -> dict[str, float]:
    if not seconds:
        return {}
    p50, p99 = np.percentile(np.array(seconds) * 1000, (50, 99))
    return {"n": len(seconds), "p50": round(float(p50), 2), "p99": round(float(p99), 2)}


def main() -> None:
    """Run the command and print its figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("load", "kill"))
    parser.add_argument("--run", required=True, help="run folder with an exported model")
    parser.add_argument("--model", required=True, help="new folder for copies of the model")
    parser.add_argument("--gallery", default="", help="gallery file; by default that of the run")
    parser.add_argument("--items", default=None, help="folder of the items; by default new")
    parser.add_argument("--index", default="auto")
    parser.add_argument("--port", type=int, default=8511)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", default="service.log", help="file for the service's log")
    arguments = parser.parse_args()
    arguments.items = arguments.items or f"{arguments.model}-items"
    print(json.dumps({"load": load, "kill": kill}[arguments.what](arguments), indent=2))


if __name__ == "__main__":
    main()
