"""Loops over blocks of queries, in parallel threads and with a progress bar."""

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from xgacmn_tf.evaluation.identity import Direction
from xgacmn_tf.evaluation.ranking import check_at_least_one
from xgacmn_tf.evaluation.representations import MAX_NUMBERS, Representations, similarities

# Arguments: a direction, the rows of some of its queries and their (b, n) float32 similarities.
# Returns arrays that are joined along axis 0 over all queries.
Function = Callable[[str, slice, np.ndarray], tuple[np.ndarray, ...]]

# Pairs of query and item that a thread ranks at a time: about 32 MB of working memory.
PAIRS = 2**20
# Minimum number of queries at a time: with fewer, reading a large gallery takes longer than
# multiplying it.
QUERIES = 32
# Seconds before a progress bar appears.
BAR_DELAY = 2.0


def over_queries(
    function: Function,
    ways: Mapping[str, Direction],
    image: Representations,
    text: Representations,
    block_size: int | None,
    title: str | None,
) -> dict[str, list[np.ndarray]]:
    """Return by direction the arrays of a function of all queries, joined along axis 0."""
    results = {}
    with query_bar(title, ways) as bar:
        for name, direction in ways.items():
            query, gallery = (image, text) if name == "i2t" else (text, image)
            query, gallery = query.take(direction.query), gallery.take(direction.gallery)
            in_memory = query.is_whole and gallery.is_whole
            # The representations of a gallery that is not in memory are computed again for each
            # part of the queries, so parts are as large as memory allows.
            part = max(QUERIES, 2 * MAX_NUMBERS // len(gallery))
            arrays: list[list[np.ndarray]] = []
            for rows in query.slices(len(query) if in_memory else min(query.block, part)):
                scores = None if in_memory else similarities(query[rows], gallery)
                block = partial(
                    _of_block, partial(function, name), query, gallery, scores, rows.start
                )
                queries = range(rows.start, rows.stop)
                arrays.append(in_threads(block, queries, len(gallery), block_size, bar))
            results[name] = [np.concatenate(each) for each in zip(*arrays, strict=True)]
    return results


def _of_block(
    function: Callable[[slice, np.ndarray], tuple[np.ndarray, ...]],
    query: Representations,
    gallery: Representations,
    scores: np.ndarray | None,
    start: int,
    first: int,
    last: int,
) -> tuple[np.ndarray, ...]:
    """Return a function's arrays of the queries from `first` to `last`.

    `scores` are the similarities of the queries from `start` on; None computes those of the block.
    """
    if scores is None:
        return function(slice(first, last), similarities(query[first:last], gallery))
    return function(slice(first, last), scores[first - start : last - start])


def query_bar(title: str | None, ways: Mapping[str, Direction], passes: int = 1) -> tqdm:
    """Return a progress bar over the queries of all directions; short evaluations show none."""
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
    """Return the arrays of `function(first, last)` of blocks of rows, joined along axis 0."""
    size = max(QUERIES, PAIRS // items) if block_size is None else block_size
    check_at_least_one(block_size=size)
    firsts = range(rows.start, rows.stop, size)
    lasts = [min(first + size, rows.stop) for first in firsts]
    # A process among several has its share of the cores in this variable.
    share = os.environ.get("OMP_NUM_THREADS", "")
    threads = int(share) if share.isdecimal() and int(share) else os.cpu_count() or 1
    results = []
    with contextlib.ExitStack() as stack:
        blocks: Iterable[tuple[np.ndarray, ...]] = map(function, firsts, lasts)
        if threads > 1 and len(firsts) > 1:
            # Each thread has a core, so matrix products inside of them must not ask for more.
            stack.enter_context(threadpool_limits(1, "blas"))
            blocks = stack.enter_context(ThreadPoolExecutor(threads)).map(function, firsts, lasts)
        for block, first, last in zip(blocks, firsts, lasts, strict=True):
            results.append(block)
            bar.update(last - first)
    return [np.concatenate(parts) for parts in zip(*results, strict=True)]
