"""Memory and CPU time of the search service by the size of its gallery.

    python benchmarks/service_memory.py --run=RUN --sizes=1000,10000,50000

The galleries repeat the items of the run's gallery with noise on their features, so that no two
items are the same. Each is served by a process of its own. Memory is the resident memory after the
start and the searches. Times are CPU time of the service's process, because wall time would include
the waiting for other processes. The run folder is copied.
"""

import argparse
import os
import shutil
import signal
import tempfile
from pathlib import Path

import httpx2 as httpx
import numpy as np
from arguments import Parser, sizes
from service_soak import Service

from xgacmn_tf.errors import InputError
from xgacmn_tf.gallery import data_set
from xgacmn_tf.gallery.items import Gallery
from xgacmn_tf.runs.trained import TrainedRun

SEARCHES = 100


def enlarged(items: Gallery, size: int) -> dict[str, np.ndarray]:
    """Return the arrays of a gallery file of `size` distinct items."""
    rows = np.arange(size) % len(items)
    arrays = items.take(rows).arrays()
    generator = np.random.default_rng(0)
    for modality in items.features:
        noise = generator.normal(1, 0.01, arrays[modality].shape)
        arrays[modality] = (arrays[modality] * noise).astype(np.float32)
    suffix = np.char.add(" #", np.arange(size).astype(str))
    return arrays | {name: np.char.add(arrays[name], suffix) for name in ("id", "title")}


def cpu_seconds(process: int) -> float:
    """Return the CPU time of a process so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Print a table with a row for each size."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="folder of a finished run")
    parser.add_argument("--sizes", type=sizes, default=[1000, 10_000, 50_000])
    parser.add_argument("--index", default="exact", help="engine, as of `xgacmn serve`")
    options = parser.parse_args()
    try:
        dataset = TrainedRun(options.run).dataset()
    except InputError as error:
        parser.error(str(error))
    items = data_set.from_dataset(dataset, data_set.ALL)
    print("| items | memory (MiB) | start (s) | text search (ms) |\n|---|---|---|---|")
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            copy, gallery = Path(folder) / "run", Path(folder) / "gallery.npz"
            shutil.copytree(options.run, copy, ignore=shutil.ignore_patterns("cache", "items"))
            np.savez(gallery, allow_pickle=False, **enlarged(items, size))
            service = Service(copy, Path(folder) / "log.txt")
            service.start(f"--gallery={gallery}", f"--index={options.index}")
            started = cpu_seconds(service.process.pid)
            with httpx.Client(base_url=service.address, timeout=60) as http:
                for _ in range(SEARCHES):
                    http.post("/search", json={"text": "a red apple"}).raise_for_status()
            spent = 1e3 * (cpu_seconds(service.process.pid) - started) / SEARCHES
            memory = service.memory_mib()
            service.stop(signal.SIGTERM)
        print(f"| {size:,} | {memory:,.0f} | {started:.0f} | {spent:.0f} |", flush=True)


if __name__ == "__main__":
    main()
