"""The search service under load, with upserts, deletes, bad requests, model switches and SIGKILLs.

    python benchmarks/service_soak.py --run=RUN --seconds=300 --clients=16 --reloads=2
        searches, writes and deletes items while the model is switched; prints latencies beside
        those of a bare TensorFlow call, memory over time, and every wrong answer.
    python benchmarks/service_soak.py --run=RUN --kills=20
        kills the service at random moments under load, starts it again and looks for lost writes.

The run folder is copied, so that RUN stays as it is. Exits with status 1 if an acknowledged write
is lost, an answer is wrong, or a request fails that was not meant to.
"""

import argparse
import base64
import contextlib
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
from PIL import Image

from xgacmn_tf.export.savedmodel import export_run

READY = re.compile(r"serving: (http://\S+)")
WORDS = (
    "red blue small happy wild old fast green sleepy golden round tiny cat house tree car".split()
)
# Of text searches, image searches, upserts, deletes and bad requests, in per cent.
SHARES = (50, 10, 20, 8, 12)
# Requests that must be rejected, with the status.
BAD: tuple[tuple[str, str, Any, int], ...] = (
    ("POST", "/search", {"text": ""}, 400),
    ("POST", "/search", {"image": "http://example.invalid/a.png"}, 400),
    ("POST", "/search", {"text": "a cat", "k": -1}, 400),
    ("POST", "/search", {"image": base64.b64encode(b"no image").decode()}, 400),
    ("GET", "/items/no-such-item", None, 404),
    ("DELETE", "/items/no-such-item", None, 404),
)


class Service:
    """The service's process over one run folder."""

    def __init__(self, run: Path, log: Path):
        self.run, self.log = run, log
        self.process: subprocess.Popen[str] | None = None
        self.address = ""

    def start(self, *options: str) -> None:
        """Start the process with options of the command, and wait until it is ready."""
        command = [sys.executable, "-m", "xgacmn_tf", "serve", f"--run={self.run}", "--port=0"]
        command += options
        with open(self.log, "a", encoding="utf-8") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if ready := READY.search(line):
                self.address = ready[1]
                # Whatever else it prints must not fill the pipe.
                threading.Thread(target=self.process.stdout.read, daemon=True).start()
                return
        raise SystemExit(f"error: the service did not start; see {self.log}")

    def stop(self, number: int) -> None:
        """Send a signal and wait for the end."""
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait()

    def memory_mib(self) -> float:
        """Return the resident memory."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]


class Journal:
    """What the service has acknowledged: id → text of each item, None once it is deleted.

    Every client owns its ids, so that the order of writes to one item is known.
    """

    def __init__(self) -> None:
        self.acknowledged: dict[str, str | None] = {}
        # Writes without an answer: the service may hold the item as before or as after.
        self.unanswered: dict[str, list[str | None]] = {}


class Client(threading.Thread):
    """One client, which sends its next request as soon as the last one is answered."""

    def __init__(self, number: int, service: Service, end: threading.Event, seed: int):
        super().__init__(daemon=True)
        self.number, self.service, self.end = number, service, end
        self.random = random.Random(f"{seed} {number}")
        self.journal = Journal()
        self.seconds: dict[str, list[float]] = {}
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.wrong: list[str] = []
        self.killed = False

    def run(self) -> None:
        with httpx.Client(base_url=self.service.address, timeout=60) as http:
            while not self.end.is_set():
                (send,) = self.random.choices(
                    (
                        self._search_text,
                        self._search_image,
                        self._upsert_item,
                        self._delete_item,
                        self._send_bad,
                    ),
                    SHARES,
                )
                try:
                    send(http)
                except httpx.HTTPError as error:
                    if not self.killed:
                        self.wrong.append(repr(error))
                    return

    def _send(
        self, http: httpx.Client, kind: str, method: str, path: str, body: Any, expected: set[int]
    ) -> httpx.Response:
        start = time.perf_counter()
        response = http.request(method, path, json=body)
        self.seconds.setdefault(kind, []).append(time.perf_counter() - start)
        self.statuses[kind, response.status_code] += 1
        if response.status_code not in expected:
            self.wrong.append(f"{kind}: status {response.status_code}: {response.text[:200]}")
        return response

    def _text(self) -> str:
        return " ".join(self.random.choices(WORDS, k=3))

    def _search_text(self, http: httpx.Client) -> None:
        self._search(http, "search text", {"text": self._text(), "k": 10})

    def _search_image(self, http: httpx.Client) -> None:
        self._search(http, "search image", {"image": image(self.random), "k": 10})

    def _search(self, http: httpx.Client, kind: str, body: dict[str, Any]) -> None:
        deleted = {name for name, text in self.journal.acknowledged.items() if text is None}
        response = self._send(http, kind, "POST", "/search", body, {200})
        if response.status_code != 200:
            return
        hits = response.json()["hits"]
        scores = [hit["score"] for hit in hits]
        if scores != sorted(scores, reverse=True) or len({hit["id"] for hit in hits}) != len(hits):
            self.wrong.append(f"{kind}: hits out of order or twice: {hits}")
        if stale := deleted & {hit["id"] for hit in hits}:
            self.wrong.append(f"{kind}: deleted items {stale} are found")

    def _upsert_item(self, http: httpx.Client) -> None:
        name, text = f"c{self.number}-{self.random.randrange(40)}", self._text()
        body = {"id": name, "text": text, "title": text, "category": "made up"}
        if self.random.random() < 0.3:
            body["image"] = image(self.random)
        self._write(http, "upsert", name, text, "POST", "/items", body, {200, 201})

    def _delete_item(self, http: httpx.Client) -> None:
        known = [name for name, text in self.journal.acknowledged.items() if text is not None]
        if known:
            name = self.random.choice(known)
            self._write(http, "delete", name, None, "DELETE", f"/items/{name}", None, {200})

    def _write(
        self,
        http: httpx.Client,
        kind: str,
        name: str,
        text: str | None,
        method: str,
        path: str,
        body: Any,
        expected: set[int],
    ) -> None:
        self.journal.unanswered[name] = [self.journal.acknowledged.get(name), text]
        response = self._send(http, kind, method, path, body, expected)
        del self.journal.unanswered[name]
        if response.status_code in expected:
            self.journal.acknowledged[name] = text

    def _send_bad(self, http: httpx.Client) -> None:
        method, path, body, status = self.random.choice(BAD)
        response = self._send(http, "bad", method, path, body, {status})
        if "error" not in response.json():
            self.wrong.append(f"bad: no error in {response.text[:200]}")


def image(draw: random.Random) -> str:
    """Return a small PNG of one color, in base64."""
    stream = io.BytesIO()
    color = tuple(draw.randrange(256) for _ in range(3))
    Image.new("RGB", (64, 64), color).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def lost_writes(address: str, journals: list[Journal]) -> list[str]:
    """Return what the service does not hold as it acknowledged it; settles unanswered writes."""
    lost = []
    with httpx.Client(base_url=address, timeout=60) as http:
        for journal in journals:
            for name in {*journal.acknowledged, *journal.unanswered}:
                expected = journal.unanswered.get(name, [journal.acknowledged.get(name)])
                response = http.get(f"/items/{name}")
                found = response.json()["text"] if response.status_code == 200 else None
                if found not in expected:
                    lost.append(f"{name}: {found!r}, expected {expected}")
                journal.acknowledged[name] = found
            journal.unanswered.clear()
    return lost


def bare_seconds(run: Path, calls: int = 200) -> list[float]:
    """Return the seconds of calls of the exported search signature, in this process."""
    import tensorflow as tf

    with contextlib.suppress(ImportError):
        import tensorflow_text  # noqa: F401
    newest = max((run / "models" / "xgacmn").iterdir(), key=lambda folder: int(folder.name))
    search = tf.saved_model.load(str(newest)).signatures["search_images_by_raw_text"]
    (name,) = search.structured_input_signature[1]
    draw, seconds = random.Random(0), []
    for _ in range(calls + 5):
        text = tf.constant([" ".join(draw.choices(WORDS, k=3))])
        start = time.perf_counter()
        search(**{name: text})
        seconds.append(time.perf_counter() - start)
    return seconds[5:]


def percentiles(seconds: list[float]) -> str:
    """Return p50 and p99 in milliseconds."""
    p50, p99 = np.percentile(seconds, (50, 99)) * 1000
    return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms"


def soak(service: Service, options: argparse.Namespace) -> list[str]:
    """Run clients for a while with model switches between; return all that went wrong."""
    end = threading.Event()
    clients = [Client(n, service, end, options.seed) for n in range(options.clients)]
    print("one client alone, before the load:")
    alone = Client(-1, service, end, options.seed)
    with httpx.Client(base_url=service.address, timeout=60) as http:
        for _ in range(200):
            alone._search_text(http)
    print(f"  search text: {percentiles(alone.seconds['search text'])}")
    print(f"  bare signature, same process: {percentiles(bare_seconds(service.run))}")
    start = time.monotonic()
    for client in clients:
        client.start()
    memory, switches = [], list(range(1, options.reloads + 1))
    while (passed := time.monotonic() - start) < options.seconds:
        if switches and passed > options.seconds * switches[0] / (options.reloads + 1):
            switches.pop(0)
            began = time.monotonic()
            version = export_run(service.run, service.run / "models")
            exported = time.monotonic()
            reply = httpx.post(f"{service.address}/reload", timeout=300)
            print(
                f"  {passed:4.0f} s: version {version.name} exported in {exported - began:.1f} s, "
                f"/reload {reply.status_code} in {time.monotonic() - exported:.1f} s"
            )
            if reply.status_code != 200:
                clients[0].wrong.append(f"reload: {reply.status_code} {reply.text[:200]}")
        memory.append((passed, service.memory_mib()))
        time.sleep(1)
    end.set()
    for client in clients:
        client.join()
    report(clients, time.monotonic() - start)
    for share in (0.1, 0.25, 0.5, 0.75, 1):
        passed, mib = memory[int(share * (len(memory) - 1))]
        print(f"  memory at {passed:4.0f} s: {mib:.0f} MiB")
    wrong = [line for client in clients for line in client.wrong]
    wrong += lost_writes(service.address, [client.journal for client in clients])
    service.stop(signal.SIGTERM)
    service.start()
    return wrong + lost_writes(service.address, [client.journal for client in clients])


def report(clients: list[Client], seconds: float) -> None:
    """Print requests per second, statuses and latencies."""
    statuses = sum((client.statuses for client in clients), Counter[tuple[str, int]]())
    print(f"{len(clients)} clients, {seconds:.0f} s: {statuses.total() / seconds:.1f} requests/s")
    for kind in sorted({kind for kind, _ in statuses}):
        own = [value for client in clients for value in client.seconds.get(kind, [])]
        counts = {status: n for (k, status), n in sorted(statuses.items()) if k == kind}
        print(f"  {kind}: {counts}, {percentiles(own)}")


def kills(service: Service, options: argparse.Namespace) -> list[str]:
    """Kill the service again and again under load; return all that went wrong."""
    draw, journals = random.Random(options.seed), [Journal() for _ in range(options.clients)]
    wrong: list[str] = []
    for number in range(1, options.kills + 1):
        end = threading.Event()
        clients = [Client(n, service, end, options.seed + number) for n in range(options.clients)]
        for client, journal in zip(clients, journals, strict=True):
            client.journal = journal
            client.start()
        time.sleep(draw.uniform(0.2, 3))
        for client in clients:
            client.killed = True
        service.stop(signal.SIGKILL)
        end.set()
        for client in clients:
            client.join()
        began = time.monotonic()
        service.start()
        lost = lost_writes(service.address, journals)
        wrong += [line for client in clients for line in client.wrong] + lost
        writes = sum(len(journal.acknowledged) for journal in journals)
        print(
            f"kill {number}: ready after {time.monotonic() - began:.1f} s, {writes} items, {lost=}"
        )
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", required=True, type=Path, help="a finished run folder")
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--reloads", type=int, default=2)
    parser.add_argument("--kills", type=int, default=0, help="kill this often instead")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with temporary_copy(options.run) as run:
        service = Service(run, run / "service.log")
        service.start()
        try:
            wrong = (kills if options.kills else soak)(service, options)
        finally:
            service.stop(signal.SIGTERM)
        errors = [
            line
            for line in service.log.read_text(encoding="utf-8").splitlines()
            if "Traceback" in line
        ]
        wrong += [f"{len(errors)} tracebacks in the service's log"] if errors else []
        if wrong:
            shutil.copy(service.log, "service.log")
            print("\n".join(wrong[:50]))
            raise SystemExit(f"error: {len(wrong)} things went wrong; see service.log")
        print(json.dumps({"wrong": 0, "cores": os.cpu_count()}))


@contextlib.contextmanager
def temporary_copy(run: Path) -> Iterator[Path]:
    """Yield a copy of a run folder, deleted at the end."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(shutil.copytree(run, Path(folder, "run")))


if __name__ == "__main__":
    main()
