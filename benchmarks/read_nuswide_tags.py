"""Reading NUS-WIDE's matrix of 1,000 tags at its full size: throughput and peak memory.

    python benchmarks/read_nuswide_tags.py                 all 269,648 rows, 540 MB
    python benchmarks/read_nuswide_tags.py --rows=20000 --output=numbers.json

The matrix is generated to the layout of `AllTags1k.txt` in a temporary folder, at the density of
the real one (5.8 tags a picture), so it lies in the page cache. Readers work one after the other,
each in a process of its own that has read a small matrix before; what they read must add up to what
was generated. Peak memory is what a reader took on top, its result included. pandas, which is no
dependency, is left out where it is not installed.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from machine import described, machine
from process_memory import peak_memory

ROWS, COLUMNS = 269_648, 1000
TAGS_A_ROW = 5.8
# For readers that take too long, or too much memory, for all rows.
SAMPLE = 20_000
WARM_UP = 100


def package(path: Path, rows: int) -> np.ndarray:
    from xgacmn_tf.datasets.nuswide.matrix_files import Part, gather

    out = np.empty((rows, COLUMNS), np.uint8)
    gather([Part(path, np.arange(rows))], np.arange(rows), out, binary=True)
    return out


def package_10k(path: Path, rows: int) -> np.ndarray:
    """What protocol 10k takes, for training; all other rows are checked as well."""
    from xgacmn_tf.datasets.nuswide.matrix_files import Part, gather

    wanted = np.sort(np.random.default_rng(0).permutation(rows)[:10_000])
    out = np.empty((len(wanted), COLUMNS), np.float32)
    gather([Part(path, np.arange(rows))], wanted, out, binary=True)
    return out


def pandas_uint8(path: Path, rows: int) -> np.ndarray:
    """By somebody who minds the memory."""
    import pandas

    table = pandas.read_csv(path, header=None, sep="\t", usecols=range(COLUMNS), dtype="uint8")
    return table.to_numpy()


def pandas_plain(path: Path, rows: int) -> np.ndarray:
    """As most scripts for this data set have it."""
    import pandas

    return pandas.read_csv(path, header=None, sep="\t").dropna(axis=1).to_numpy()


def loadtxt(path: Path, rows: int) -> np.ndarray:
    """By somebody who has no pandas."""
    return np.loadtxt(path, np.uint8)


# Name, reader, whether it reads the sample only.
READERS: tuple[tuple[str, Callable[[Path, int], np.ndarray], bool], ...] = (
    ("xgacmn_tf, uint8", package, False),
    ("xgacmn_tf, 10,000 of the rows, float32", package_10k, False),
    ("pandas.read_csv, dtype uint8", pandas_uint8, False),
    ("xgacmn_tf, uint8", package, True),
    ("pandas.read_csv, dtype uint8", pandas_uint8, True),
    ("pandas.read_csv", pandas_plain, True),
    ("numpy.loadtxt, dtype uint8", loadtxt, True),
)


def generate(path: Path, rows: int) -> int:
    """Writes the matrix, a tab after every value; returns the number of ones."""
    generator = np.random.default_rng(0)
    ones = 0
    with path.open("wb") as stream:
        for start in range(0, rows, 1000):
            hot = generator.random((min(1000, rows - start), COLUMNS)) < TAGS_A_ROW / COLUMNS
            text = np.full((len(hot), 2 * COLUMNS + 1), ord("\t"), np.uint8)
            text[:, 0:-1:2] = hot + ord("0")
            text[:, -1] = ord("\n")
            stream.write(text.tobytes())
            ones += int(hot.sum())
    return ones


def measure(
    reader: Callable[[Path, int], np.ndarray], path: Path, rows: int, warm_up: Path
) -> dict:
    """One reader's time, memory and result, in this process."""
    reader(warm_up, WARM_UP)
    before = peak_memory()
    start = time.perf_counter()
    result = reader(path, rows)
    seconds = time.perf_counter() - start
    memory = peak_memory() - before
    return {
        "seconds": seconds,
        "peak_memory": memory,
        "result_memory": result.nbytes,
        "shape": result.shape,
        "ones": int(np.count_nonzero(result)),
    }


def run(folder: Path, rows: int) -> list[dict]:
    """Generates the files and measures every reader in a process of its own."""
    sizes = {False: rows, True: min(rows, SAMPLE)}
    paths = {sample: folder / f"tags{size}.txt" for sample, size in sizes.items()}
    ones = {sample: generate(path, sizes[sample]) for sample, path in paths.items()}
    generate(folder / "warm_up.txt", WARM_UP)
    results = []
    for index, (name, _, sample) in enumerate(READERS):
        if "pandas" in name and importlib.util.find_spec("pandas") is None:
            continue
        path = paths[sample]
        command = [sys.executable, __file__, "--measure", str(index), str(path)]
        command += [str(sizes[sample]), str(folder / "warm_up.txt")]
        result = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        everything = result["shape"][0] == sizes[sample]
        if result["shape"][1] != COLUMNS or (everything and result["ones"] != ones[sample]):
            raise AssertionError(f"{name} read something else: {result}")
        size = path.stat().st_size
        results.append({"reader": name, "rows": sizes[sample], "bytes": size, **result})
    return results


def table(results: list[dict]) -> str:
    lines = [
        "| reader | rows | seconds | MB/s | rows/s | peak memory, MB | of it the result, MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in results:
        lines.append(
            f"| {r['reader']} | {r['rows']:,} | {r['seconds']:.2f} "
            f"| {r['bytes'] / r['seconds'] / 1e6:,.0f} | {r['rows'] / r['seconds']:,.0f} "
            f"| {r['peak_memory'] / 1e6:,.0f} | {r['result_memory'] / 1e6:,.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=ROWS, help="rows to generate")
    parser.add_argument("--output", type=Path, help="JSON file to write the numbers to")
    parser.add_argument("--measure", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        index, path, rows, warm_up = arguments.measure
        reader = READERS[int(index)][1]
        print(json.dumps(measure(reader, Path(path), int(rows), Path(warm_up))))
        return
    about = machine()
    print(described(about), end="\n\n")
    with tempfile.TemporaryDirectory() as folder:
        results = run(Path(folder), arguments.rows)
    print(table(results))
    if arguments.output:
        arguments.output.write_text(
            json.dumps({"machine": about, "results": results}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
