"""Evaluation of queries against a gallery in blocks, in several threads, with bounded memory."""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from xgacmn_tf.evaluation.identity import Direction
from xgacmn_tf.evaluation.ranking import check_at_least_one
from xgacmn_tf.evaluation.representations import MAX_NUMBERS, Representations, similarities

# Pairs of query and item that a thread ranks at a time: about 32 MB of working memory.
PAIRS = 2**20
# Queries at a time at least: with fewer, reading a large gallery takes longer than multiplying it.
QUERIES = 32
# Seconds before a progress bar appears.
BAR_DELAY = 2.0

# A direction, some of its queries and their (b, n) float32 similarities → arrays of b rows each.
BlockFunction = Callable[[str, slice, np.ndarray], tuple[np.ndarray, ...]]


def over_ways(
    function: BlockFunction,
    ways: Mapping[str, Direction],
    image: Representations,
    text: Representations,
    block_size: int | None,
    title: str | None,
) -> dict[str, list[np.ndarray]]:
    """By direction: what a function finds in each block of queries, joined along axis 0."""
    found = {}
    with progress_bar(title, ways) as bar:
        for name, direction in ways.items():
            query, gallery = (image, text) if name == "i2t" else (text, image)
            query, gallery = query.take(direction.query), gallery.take(direction.gallery)
            parts: list[list[np.ndarray]] = []
            for rows, similarity in _similarities(query, gallery):
                block = partial(_of_block, function, name, similarity)
                parts.append(in_threads(block, rows, len(gallery), block_size, bar))
            found[name] = [np.concatenate(each) for each in zip(*parts, strict=True)]
    return found


def _similarities(
    query: Representations, gallery: Representations
) -> Iterator[tuple[range, Callable[[int, int], np.ndarray]]]:
    """Ranges of queries, with a function (first, last) → (last − first, n) float32 similarities.

    There is one range where both sides are in memory. Otherwise each has as many queries as keep
    blocks small, and their similarities are computed before they are asked for.
    """
    if query.is_whole and gallery.is_whole:
        queries, items = query[:], gallery[:]
        yield (
            range(len(query)),
            lambda first, last: (queries[first:last] @ items.T).astype(np.float32),
        )
        return
    for rows in query.slices(min(query.block, max(QUERIES, 2 * MAX_NUMBERS // len(gallery)))):
        scores = similarities(query[rows], gallery)
        yield range(rows.start, rows.stop), _Rows(scores, rows.start)


def _of_block(
    function: BlockFunction,
    name: str,
    similarity: Callable[[int, int], np.ndarray],
    first: int,
    last: int,
) -> tuple[np.ndarray, ...]:
    """What a function finds for the queries from `first` to `last`."""
    return function(name, slice(first, last), similarity(first, last))


@dataclass(frozen=True)
class _Rows:
    """Rows of a matrix, called by their places among all queries.

    Attributes:
      values: (b, n) float32.
      start: the place of the first row.
    """

    values: np.ndarray
    start: int

    def __call__(self, first: int, last: int) -> np.ndarray:
        return self.values[first - self.start : last - self.start]


def progress_bar(title: str | None, ways: Mapping[str, Direction], passes: int = 1) -> tqdm:
    """A progress bar over the queries of all directions, which a short evaluation never shows."""
    return tqdm(
        total=passes * sum(len(direction.query) for direction in ways.values()),
        desc=title,
        unit="query",
        dynamic_ncols=True,
        delay=BAR_DELAY,
        disable=True if title is None else None,
    )


def in_threads(
    function: Callable[[int, int], tuple[np.ndarray, ...]],
    rows: range,
    items: int,
    block_size: int | None,
    bar: tqdm,
) -> list[np.ndarray]:
    """Join along axis 0 what `function(first, last)` gives for blocks of rows against items."""
    size = max(QUERIES, PAIRS // items) if block_size is None else block_size
    check_at_least_one(block_size=size)
    firsts = range(rows.start, rows.stop, size)
    lasts = [min(first + size, rows.stop) for first in firsts]
    # A process among several has its share of the cores in this variable.
    share = os.environ.get("OMP_NUM_THREADS", "")
    threads = int(share) if share.isdecimal() and int(share) else os.cpu_count() or 1
    found = []
    with contextlib.ExitStack() as stack:
        blocks: Iterable[tuple[np.ndarray, ...]] = map(function, firsts, lasts)
        if threads > 1 and len(firsts) > 1:
            # Each thread has a core, so matrix products inside of them must not ask for more.
            stack.enter_context(threadpool_limits(1, "blas"))
            blocks = stack.enter_context(ThreadPoolExecutor(threads)).map(function, firsts, lasts)
        for block, first, last in zip(blocks, firsts, lasts, strict=True):
            found.append(block)
            bar.update(last - first)
    return [np.concatenate(parts) for parts in zip(*found, strict=True)]
