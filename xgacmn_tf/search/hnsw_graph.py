"""A graph of HNSW as plain arrays, and back with every number checked.

Each of n nodes stands on the levels 0 to its highest, and has room for a number of neighbours on
each: NEIGHBOURS·2 on level 0, NEIGHBOURS above, filled up with −1. FAISS keeps the room of all
nodes, of all their levels, in one array.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from xgacmn_tf.search.faiss_library import import_faiss
from xgacmn_tf.search.stored import Stored


def arrays_of(hnsw: Any) -> dict[str, Any]:
    """What `restore` needs: (n,) levels of each node, (sum of room,) neighbours, where to enter."""
    faiss = import_faiss()

    return {
        "levels": faiss.vector_to_array(hnsw.levels),
        "neighbours": faiss.vector_to_array(hnsw.neighbors),
        "entry": hnsw.entry_point,
    }


def restore(hnsw: Any, arrays: Stored, rows: int) -> None:
    """Fills an empty graph of `rows` nodes.

    FAISS follows neighbours without looking whether they exist, so that a wrong one would make it
    read memory that is not the graph's.

    Raises:
      InputError: a neighbour does not exist, or not on the level where it is named.
    """
    faiss = import_faiss()

    # room[l]: of a node on l levels.
    room = faiss.vector_to_array(hnsw.cum_nneighbor_per_level).astype(np.int64)
    levels = arrays.array("levels", "i", (rows,)).astype(np.int32)
    arrays.check(levels.min() >= 1 and levels.max() < len(room), "levels are out of range")
    offsets = np.concatenate([[0], np.cumsum(room[levels])])
    neighbours = arrays.array("neighbours", "i", (int(offsets[-1]),)).astype(np.int32)
    for level in range(int(levels.max())):
        nodes = np.flatnonzero(levels > level)
        start, end = room[level], room[level + 1]
        named = neighbours[offsets[nodes, None] + np.arange(start, end)]
        named = named[named != -1]
        arrays.check(
            bool(((named >= 0) & (named < rows)).all()) and bool((levels[named] > level).all()),
            f"a neighbour on level {level} does not exist",
        )
    entry = arrays.number("entry", 0, rows - 1)
    arrays.check(levels[entry] == levels.max(), f"entry is {entry}, which is not on all levels")
    faiss.copy_array_to_vector(levels, hnsw.levels)
    faiss.copy_array_to_vector(offsets.astype(np.uint64), hnsw.offsets)
    faiss.copy_array_to_vector(neighbours, hnsw.neighbors)
    hnsw.entry_point = entry
    hnsw.max_level = int(levels.max()) - 1
