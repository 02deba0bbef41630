"""Search engines: time to build, recall of cross-modal queries, and latency.

    python benchmarks/search_engines.py                           10,000 and 200,000 embeddings
    python benchmarks/search_engines.py --sizes=1000000 --engines=ivf
    python benchmarks/search_engines.py --run=RUN --sizes=1000000 --engines=exact --similarity=item
    python benchmarks/search_engines.py --json=numbers.json

Without a run, an embedding of the gallery is the sum of three random unit vectors, one of its
category (10), one of its topic (100 in each category) and one of its own, brought to unit length,
in 100 dimensions. A query of the other modality lies between two topics of its category, and is
shifted by a fourth unit vector, the gap between the modalities.

With a run, the gallery are image embeddings, and the queries are all texts of the validation and
test splits. The images are mixtures of two images of the run's data set plus noise of 0.05 of their
standard deviation. Every similarity that the run defines is measured, or that of --similarity.

Engines are measured one after another, and each is deleted before the next, so that --engines=NAME
gives the same numbers. Each is built, and tuned to a recall@10 of 0.99 with 200 queries of the
other modality, as the search command does it; recall is then that of all queries. p50 and p99 are
those of 1,000 single queries for 10 items, after 20 that are not counted.

FAISS is left out where it is not installed. Milvus takes part where --milvus_uri names a server, or
a file PATH.db of Milvus Lite, on which the gallery xgacmn_benchmark stays. HNSW takes many minutes
to build for a million embeddings on two cores.
"""

import importlib.util
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from arguments import Parser, sizes, some_of
from machine import described, machine

from xgacmn_tf.search import make_index, tune
from xgacmn_tf.search.recall import exact_scores, recall_at

DIM, CATEGORIES, TOPICS = 100, 10, 100
QUERIES, K = 1000, 10
WARMUP, CALLS = 20, 1000
ROWS_AT_ONCE = 8192
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
        return normalized(generator.standard_normal((rows, DIM), np.float32))

    topics = np.repeat(unit(CATEGORIES), TOPICS, axis=0) + unit(CATEGORIES * TOPICS)
    gallery = normalized(topics[generator.integers(len(topics), size=size)] + unit(size))
    topic = generator.integers(len(topics), size=QUERIES)
    other = topic // TOPICS * TOPICS + generator.integers(TOPICS, size=QUERIES)
    between = (topics[topic] + topics[other]) / 2
    return Data("clusters", gallery, normalized(between + unit(QUERIES) + unit(1)))


def of_run(path: str, size: int, similarity: str | None, seed: int = 0) -> Iterator[Data]:
    """Embeddings by a run's encoders, of one similarity, or once for each."""
    from xgacmn_tf.runs.trained import TrainedRun

    run = TrainedRun(path)
    splits = dict(run.dataset().splits())
    images = np.concatenate([split.in_memory().image for split in splits.values()])
    texts = [splits[name].text for name in ("validation", "test") if name in splits]
    generator = np.random.default_rng(seed)
    noise = 0.05 * images.std()
    encodings = []
    for first in range(0, size, ROWS_AT_ONCE):
        rows = min(ROWS_AT_ONCE, size - first)
        one, other = generator.integers(len(images), size=(2, rows))
        part = generator.random((rows, 1), np.float32)
        mixed = part * images[one] + (1 - part) * images[other]
        mixed += noise * generator.standard_normal(mixed.shape, np.float32)
        features = abs(mixed) if images.min() >= 0 else mixed
        encodings.append(run.encoder.encodings_of("image", features))
    text = np.concatenate(texts)
    for name in [similarity] if similarity else run.encoder.similarities():
        run.similarity = name
        parts = [run.encoder.represent(block, name, "image").numpy() for block in encodings]
        yield Data(name, np.concatenate(parts), run.represent("text", text))


def normalized(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def measure(data: Data, truth: np.ndarray, name: str, milvus_uri: str | None) -> dict:
    """Return one row of the table."""
    size, queries = len(data.gallery), data.queries
    index = make_index(name, size, milvus_uri=milvus_uri, milvus_collection="xgacmn_benchmark")
    start = time.perf_counter()
    index.index(data.gallery)
    built = time.perf_counter()
    tuned = tune(index, data.gallery, queries)
    seconds = time.perf_counter() - built
    print(f"{data.name}, {name}: built and tuned", file=sys.stderr)
    latency = []
    for number in range(WARMUP + CALLS):
        query = queries[[number % len(queries)]]
        asked = time.perf_counter()
        index.query(query, K)
        latency.append(1000 * (time.perf_counter() - asked))
    p50, p99 = np.percentile(latency[WARMUP:], [50, 99])
    return {
        "engine": name,
        "embeddings": data.name,
        "size": size,
        "build_seconds": built - start,
        "tune_seconds": seconds,
        "effort": tuned.effort,
        "recall_at_10": recall_at(10, index.query(queries, 10).scores, truth),
        "recall_at_50": recall_at(50, index.query(queries, 50).scores, truth),
        "p50_ms": float(p50),
        "p99_ms": float(p99),
    }


def table(results: list[dict]) -> str:
    """Return the results as a Markdown table."""
    lines = [
        "| size | embeddings | engine | build (s) | tune (s) | effort | recall@10 | recall@50 "
        "| p50 (ms) | p99 (ms) |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in results:
        cells = [f"{r['size']:,}", r["embeddings"], r["engine"], f"{r['build_seconds']:.1f}"]
        cells += [f"{r['tune_seconds']:.1f}", str(r["effort"] or "")]
        cells += [f"{r[f'recall_at_{m}']:.3f}" for m in (10, 50)]
        cells += [f"{r['p50_ms']:.2f}", f"{r['p99_ms']:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--sizes", type=sizes, default="10000,200000", help="embeddings, comma-separated"
    )
    parser.add_argument(
        "--engines", type=some_of(ENGINES), default=",".join(ENGINES), help="which, comma-separated"
    )
    parser.add_argument("--run", help="run folder: embeddings by its encoders, not generated ones")
    parser.add_argument("--similarity", help="of the run; by default each that it defines")
    parser.add_argument("--milvus_uri", help="a running Milvus server, or a file PATH.db")
    parser.add_argument("--json", type=Path, help="file to write the numbers to")
    arguments = parser.parse_args()
    engines = [name for name in arguments.engines if name != "milvus" or arguments.milvus_uri]
    if importlib.util.find_spec("faiss") is None:
        engines = [name for name in engines if name in ("exact", "milvus")]
    about = machine()
    print(described(about), end="\n\n")
    results = []
    for size in arguments.sizes:
        run = arguments.run
        for data in of_run(run, size, arguments.similarity) if run else [generate(size)]:
            truth = exact_scores(data.queries, data.gallery)
            results += [measure(data, truth, name, arguments.milvus_uri) for name in engines]
            print(table(results), flush=True)
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"machine": about, "results": results}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
