"""The search service beside bare TensorFlow: latency and throughput of searches.

    python benchmarks/serving.py --run=RUN
    python benchmarks/serving.py --run=RUN --serve=--index=hnsw --clients=16

Bare TensorFlow is the search signature of the same SavedModel, called in this process. Both get the
same queries, in turn for a fraction of the time each, so that other work on the machine slows both.
Service and clients share the machine's cores.
"""

import argparse
import contextlib
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).resolve().parent.parent
# The client is made to be copied, not installed.
sys.path.append(str(REPOSITORY / "export"))
from client import ServiceClient, hits_of  # noqa: E402
from load_test import VARIETY, Outcome, image, run, summary, text  # noqa: E402

READY = re.compile(r"serving: (http://\S+)")
ROUNDS = 10
# By kind of query: the signature and its input.
SEARCHES = {
    "text": ("search_images_by_raw_text", "text"),
    "image": ("search_texts_by_image_bytes", "image_bytes"),
}


@contextlib.contextmanager
def running_service(run_folder: Path, flags: list[str]) -> Iterator[str]:
    """Start the service; yield its URL."""
    with tempfile.TemporaryDirectory() as items, tempfile.TemporaryFile("w+") as log:
        command = [sys.executable, "-m", "xgacmn_tf", "serve", f"--run={run_folder}", "--port=0"]
        command += [f"--items_dir={items}", *flags]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=REPOSITORY
        )
        try:
            assert process.stdout is not None
            ready = next(filter(None, map(READY.match, process.stdout)), None)
            if not ready:
                log.seek(0)
                raise SystemExit(f"error: the service did not start: {log.read()}")
            yield ready[1]
        finally:
            process.terminate()
            process.wait()


def bare_search(signature: Any, name: str, queries: list[Any]) -> Callable[[int], Any]:
    """Return the search of one query by the signature."""
    import tensorflow as tf

    def search(number: int) -> Any:
        outputs = signature(**{name: tf.constant([queries[number % VARIETY]])})
        return {key: value.numpy() for key, value in outputs.items()}

    return search


def measure(ways: dict[str, Callable[[int], Any]], clients: int, seconds: float) -> dict[str, Any]:
    """Return the summary of each way's load, measured in turn."""
    outcomes = {way: Outcome([], Counter(), 0.0, 0.0) for way in ways}
    for _ in range(ROUNDS):
        for way, send in ways.items():
            part, whole = run(send, clients, seconds / ROUNDS), outcomes[way]
            whole.latency += part.latency
            whole.errors += part.errors
            whole.seconds += part.seconds
    return {way: summary(outcome) for way, outcome in outcomes.items()}


def table(run_folder: Path, url: str, clients: int, seconds: float) -> Iterator[str]:
    """Yield the rows of the results."""
    import tensorflow as tf

    with contextlib.suppress(ImportError):
        import tensorflow_text  # noqa: F401 - operations of models that take sentences

    models = run_folder / "models" / "xgacmn"
    version = max(int(path.name) for path in models.iterdir() if path.name.isdecimal())
    signatures = tf.saved_model.load(str(models / str(version))).signatures
    generator = np.random.default_rng(0)
    yield "| query | clients | p50 / p99, ms: bare | service | requests a second: bare | service |"
    yield "|---|---|---|---|---|---|"
    with ServiceClient(url, os.environ.get("XGACMN_API_KEY"), retries=0) as service:
        for kind, (signature, name) in SEARCHES.items():
            if signature not in signatures:
                continue
            queries = [(text if kind == "text" else image)(generator) for _ in range(VARIETY)]
            bare = bare_search(signatures[signature], name, queries)
            find = "image" if kind == "text" else "text"

            def ask(number: int, kind=kind, find=find, queries=queries) -> Any:
                return service.search(**{kind: queries[number % VARIETY]}, find=find, k=10)

            for number in range(VARIETY):  # also warms both up
                expected = [hit["id"].decode() for hit in hits_of(bare(number))]
                if expected != [hit["id"] for hit in ask(number)["hits"]]:
                    print(f"{kind} query {number}: other items than bare TensorFlow's", flush=True)
            for number_of_clients in (1, clients):
                found = measure({"bare": bare, "service": ask}, number_of_clients, seconds)
                assert not any(numbers["errors"] for numbers in found.values()), found
                times = [n["latency_ms"] for n in found.values()]
                cells = [kind, str(number_of_clients)]
                cells += [f"{t['p50']:.2f} / {t['p99']:.2f}" for t in times]
                cells += [f"{n['requests_per_second']:,.0f}" for n in found.values()]
                yield f"| {' | '.join(cells)} |"


def main() -> None:
    """Run the benchmark."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--run", type=Path, required=True, help="run folder")
    parser.add_argument("--serve", action="append", default=[], help="flag of xgacmn serve")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each number")
    parser.add_argument("--clients", type=int, default=8, help="for the throughput")
    flags = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with running_service(flags.run.resolve(), flags.serve) as url:
        for line in table(flags.run, url, flags.clients, flags.seconds):
            print(line, flush=True)


if __name__ == "__main__":
    main()
