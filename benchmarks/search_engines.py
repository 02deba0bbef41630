"""Search engines side by side: time to build, recall of cross-modal queries, queries a second.

    python benchmarks/search_engines.py                           10,000 and 200,000 embeddings
    python benchmarks/search_engines.py --sizes=1000000 --engines=exact,flat,ivf
    python benchmarks/search_engines.py --run=RUN --sizes=30000   with the encoders of a run
    python benchmarks/search_engines.py --json=numbers.json

Without a run, an embedding of the gallery is the sum of three random unit vectors, one of its
category (10), one of its topic (100 in each category) and one of its own, brought to unit length,
in 100 dimensions. A query of the other modality lies between two topics of its category, and is
shifted by a fourth unit vector, the gap between the modalities.

With a run, the gallery are image embeddings, and the queries are all texts of the validation and
test splits. The images are mixtures of two images of the run's data set plus noise of .05 of their
standard deviation. Every similarity that the run defines is measured.

Every engine is built and tuned to a recall@10 of .99 as the search command does it, with 200
queries of the other modality; recall is then that of all of them. The last column is for
comparison: what is reported where the engine is tuned with 200 items of the gallery, and what the
recall@10 of the queries is then. The engines of a size answer in turn, three times over, and the
median counts. "Single" are queries one at a time; both kinds want 50 items each.

FAISS is left out where it is not installed. Milvus takes part where --milvus_uri names a server, on
which the gallery xgacmn_benchmark stays, or where the package `milvus` is installed, which starts
one that listens on all interfaces while it runs. HNSW takes many minutes to build for a million
embeddings on two cores; --engines can leave it out.
"""

import contextlib
import importlib.util
import json
import os
import platform
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from arguments import Parser, sizes, some_of

from xgacmn_tf.search import Index, make_index, tune
from xgacmn_tf.search.recall import exact_scores, recall_at

DIM, CATEGORIES, TOPICS = 100, 10, 100
QUERIES, K = 1000, 50
# Items of the gallery as queries, and rows encoded at once.
SAMPLE, ROWS_AT_ONCE = 200, 8192
ROUNDS, SECONDS = 3, 1.0
ENGINES = ("exact", "flat", "ivf", "hnsw", "milvus")


class Data(NamedTuple):
    """Embeddings to search: a name, the gallery (n, d) and queries of the other modality (q, d)."""

    name: str
    gallery: np.ndarray
    queries: np.ndarray


def generate(size: int, seed: int = 0) -> Data:
    """Two modalities in DIM dimensions, see above; QUERIES queries."""
    generator = np.random.default_rng(seed)

    def unit(rows: int) -> np.ndarray:
        return normalised(generator.standard_normal((rows, DIM), np.float32))

    topics = np.repeat(unit(CATEGORIES), TOPICS, axis=0) + unit(CATEGORIES * TOPICS)
    gallery = normalised(topics[generator.integers(len(topics), size=size)] + unit(size))
    topic = generator.integers(len(topics), size=QUERIES)
    other = topic // TOPICS * TOPICS + generator.integers(TOPICS, size=QUERIES)
    between = (topics[topic] + topics[other]) / 2
    return Data("clusters", gallery, normalised(between + unit(QUERIES) + unit(1)))


def of_run(path: str, size: int, seed: int = 0) -> Iterator[Data]:
    """Embeddings by a run's encoders, once for each similarity."""
    from xgacmn_tf.runs.trained import TrainedRun

    run = TrainedRun(path)
    splits = dict(run.dataset().splits())
    images = np.concatenate([split.in_memory().image for split in splits.values()])
    texts = [splits[name].text for name in ("validation", "test") if name in splits]
    generator = np.random.default_rng(seed)
    noise = 0.05 * images.std()
    gallery_codes = []
    for first in range(0, size, ROWS_AT_ONCE):
        rows = min(ROWS_AT_ONCE, size - first)
        one, other = generator.integers(len(images), size=(2, rows))
        part = generator.random((rows, 1), np.float32)
        mixed = part * images[one] + (1 - part) * images[other]
        mixed += noise * generator.standard_normal(mixed.shape, np.float32)
        gallery_codes.append(
            run.encoder.codes_of("image", abs(mixed) if images.min() >= 0 else mixed)
        )
    text = np.concatenate(texts)
    for similarity in run.encoder.similarities():
        run.similarity = similarity
        parts = [run.encoder.represent(codes, similarity).numpy() for codes in gallery_codes]
        yield Data(similarity, np.concatenate(parts), run.represent("text", text))


def normalised(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def per_second(ask: Callable[[int], Any], queries: int) -> float:
    """Queries a second of calls that ask so many each, for at least a second."""
    calls, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        ask(calls)
        calls += 1
    return calls * queries / (time.perf_counter() - start)


def compare(data: Data, engines: list[str], milvus_uri: str | None) -> list[dict]:
    """One row of the table for each engine."""
    gallery, queries = data.gallery, data.queries
    size, count = len(gallery), len(queries)
    truth = exact_scores(queries, gallery)
    items = gallery[np.random.default_rng(1).permutation(size)[:SAMPLE]]
    indexes: dict[str, Index] = {}
    results: dict[str, dict] = {}
    for name in engines:
        index = indexes[name] = make_index(
            name, size, milvus_uri=milvus_uri, milvus_collection="xgacmn_benchmark"
        )
        start = time.perf_counter()
        index.index(gallery)
        seconds = time.perf_counter() - start

        def recall(m: int, index: Index = index) -> float:
            return recall_at(m, index.query(queries, m).scores, truth)

        by_items = tune(index, gallery, items)
        by_items_true = recall(10)
        tuned = tune(index, gallery, queries)
        results[name] = {
            "engine": name,
            "embeddings": data.name,
            "size": size,
            "build_seconds": seconds,
            "effort": tuned.effort,
            "recall_at_10": recall(10),
            "recall_at_50": recall(50),
            "tuned_with_items": {
                "effort": by_items.effort,
                "reported_recall_at_10": by_items.at10,
                "recall_at_10": by_items_true,
            },
        }
        print(f"{data.name}, {name}: built and tuned", file=sys.stderr)
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in engines}
    for _ in range(ROUNDS):
        for name, index in indexes.items():
            batched = per_second(lambda _, index=index: index.query(queries, K), count)
            single = per_second(lambda i, index=index: index.query(queries[[i % count]], K), 1)
            rates[name].append((batched, single))
    for name, measured in rates.items():
        for kind, values in zip(("batched", "single"), zip(*measured, strict=True), strict=True):
            results[name][f"{kind}_per_second"] = statistics.median(values)
    return list(results.values())


def table(results: list[dict]) -> str:
    exact = {(r["embeddings"], r["size"]): r for r in results if r["engine"] == "exact"}
    lines = [
        "| size | embeddings | engine | build, s | effort | recall@10 | recall@50 "
        "| batched, queries/s | × exact | single, queries/s | × exact "
        "| tuned with gallery items: effort, recall@10 reported / true |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in results:
        cells = [f"{r['size']:,}", r["embeddings"], r["engine"], f"{r['build_seconds']:.1f}"]
        cells += [r["effort"] or "", *(f"{r[f'recall_at_{m}']:.3f}" for m in (10, 50))]
        for kind in ("batched", "single"):
            rate = r[f"{kind}_per_second"]
            base = exact.get((r["embeddings"], r["size"]), {}).get(f"{kind}_per_second")
            cells += [f"{rate:,.0f}", f"{rate / base:.1f}" if base else ""]
        other = r["tuned_with_items"]
        recalls = f"{other['reported_recall_at_10']:.3f} / {other['recall_at_10']:.3f}"
        cells.append(f"{other['effort']}, {recalls}" if other["effort"] else recalls)
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


@contextlib.contextmanager
def milvus_server(uri: str | None, wanted: bool) -> Iterator[str | None]:
    """Yields the address of a Milvus server, one of its own if none is given; None if none is."""
    if uri or not wanted or importlib.util.find_spec("milvus") is None:
        yield uri
        return
    from milvus import MilvusServer

    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 2380)) == 0:
            sys.exit("error: a Milvus server runs here already; name it with --milvus_uri")
    with tempfile.TemporaryDirectory() as folder:
        server = MilvusServer()
        server.set_base_dir(folder)
        server.start()
        try:
            yield f"http://127.0.0.1:{server.listen_port}"
        finally:
            server.stop()


def main() -> None:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--sizes", type=sizes, default="10000,200000", help="embeddings, comma-separated"
    )
    parser.add_argument(
        "--engines", type=some_of(ENGINES), default=",".join(ENGINES), help="which, comma-separated"
    )
    parser.add_argument("--run", help="run folder: embeddings by its encoders, not generated ones")
    parser.add_argument("--milvus_uri", help="a running Milvus server")
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    arguments = parser.parse_args()
    engines = arguments.engines
    if importlib.util.find_spec("faiss") is None:
        engines = [name for name in engines if name in ("exact", "milvus")]
    results = []
    with milvus_server(arguments.milvus_uri, "milvus" in engines) as uri:
        if uri is None:
            engines = [name for name in engines if name != "milvus"]
        for size in arguments.sizes:
            for data in of_run(arguments.run, size) if arguments.run else [generate(size)]:
                results += compare(data, engines, uri)
                print(table(results), flush=True)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{os.cpu_count()} CPU cores; load averages of 1, 5 and 15 minutes at the end: {load}")
    if arguments.json:
        about = {"python": platform.python_version(), "cores": os.cpu_count(), "load": load}
        arguments.json.write_text(json.dumps({**about, "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
