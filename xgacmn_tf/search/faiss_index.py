"""Search by FAISS: a flat scan, inverted lists (IVF) or a graph (HNSW), in single precision.

All compare by the inner product, of vectors of any length. IVF and HNSW look at a part of the
gallery only; how much they find depends on it, so `recall.tune` measures that. A search within a
category always looks at all of its items. Of items with equal scores at the end of a result any
may be left out. Tombstones are left out by FAISS's selectors.
"""

from __future__ import annotations

import abc
import math
from pathlib import Path
from typing import Any

import numpy as np

from xgacmn_tf.errors import InputError
from xgacmn_tf.search.index import GRAPH_EFFORTS, import_engine
from xgacmn_tf.search.memory import MemoryIndex

# K-means for IVF sees at most this many vectors for each list: more takes longer and finds no more.
TRAINING_PER_LIST = 64
# Fewer vectors for each list than this make poor centroids, as FAISS warns.
MIN_PER_LIST = 39
# An IVF index is trained again once its rows call for more than this times its lists: in a large
# index, at 2.25 times the rows.
OUTGROWN = 1.5
# HNSW: neighbors of each node, doubled on the lowest level, and candidates while building.
NEIGHBORS = 32
CANDIDATES = 80
MAX_SEED = 2**31 - 1


def make_faiss_index(kind: str, seed: int = 0) -> FaissIndex:
    """Return an empty index.

    Args:
      kind: "flat", "ivf" or "hnsw".
      seed: of k-means and of the graph, from 0 to `MAX_SEED`.

    Raises:
      InputError: FAISS is not installed, or a setting is out of range.
    """
    if not 0 <= seed <= MAX_SEED:
        raise InputError(f"seed is {seed}; it must be from 0 to {MAX_SEED}")
    engines: dict[str, type[Any]] = {"flat": FlatIndex, "ivf": IvfIndex, "hnsw": HnswIndex}
    return engines[kind](seed)


class FaissIndex(MemoryIndex):
    """The common part of the three. The structure is a FAISS index, the only copy of the vectors.

    A saved index is FAISS's own file. Its reader trusts what it reads, so a file is read only if
    its size and SHA-256 are those in index.json, which was written after it: a damaged, cut or
    exchanged file never reaches FAISS, and nothing larger than the file is allocated for it. Only
    somebody who can write to RUN/cache can forge both, and can replace the encoders as well; delete
    that folder in a run from a stranger, it is made again.
    """

    file = "index.faiss"

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self._faiss, self._seed = _import_faiss(), seed

    @abc.abstractmethod
    def _empty(self, dim: int, lists: int = 1) -> Any:
        """Return an empty FAISS index."""

    @abc.abstractmethod
    def _part(self, structure: Any, k: int, selector: dict[str, Any]) -> Any:
        """Return FAISS's search parameters for the effort at hand."""

    def _all(self, structure: Any, selector: dict[str, Any]) -> tuple[Any, Any]:
        """Return a FAISS index and the parameters with which it compares all selected vectors."""
        return structure, self._faiss.SearchParameters(**selector)

    def _build(self, vectors: np.ndarray) -> Any:
        return self._extend(self._empty(vectors.shape[1]), vectors)

    def _extend(self, structure: Any, vectors: np.ndarray) -> Any:
        structure.add(vectors)
        return structure

    def _vectors(self, structure: Any) -> np.ndarray:
        return structure.reconstruct_n(0, structure.ntotal)

    def _nearest(
        self, structure: Any, queries: np.ndarray, k: int, rows: np.ndarray | None, all_rows: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        selector: dict[str, Any] = {}
        if rows is not None:
            bits = np.packbits(rows, bitorder="little")
            selector["sel"] = self._faiss.IDSelectorBitmap(bits)
        found = np.full((len(queries), k), -1)
        scores = np.zeros((len(queries), k), np.float32)
        if not all_rows:
            part = self._part(structure, k, selector)
            scores, found = structure.search(queries, k, params=part)
        short = (found < 0).any(axis=1)
        if short.any():  # The part that was looked at holds fewer than k items.
            scan, parameters = self._all(structure, selector)
            scores[short], found[short] = scan.search(queries[short], k, params=parameters)
        # Best first, and equal items in the order of rows.
        order = np.lexsort((found, -scores), axis=1)
        return np.take_along_axis(found, order, 1), np.take_along_axis(scores, order, 1)

    def _write(self, structure: Any, path: Path) -> None:
        self._faiss.write_index(structure, str(path))

    def _read(self, path: Path) -> tuple[Any, int, int]:
        structure = self._faiss.read_index(str(path))
        if type(structure) is not type(self._empty(structure.d)):
            raise ValueError("another kind of index")
        return structure, structure.ntotal, structure.d


class FlatIndex(FaissIndex):
    """Compares with every vector, in single precision: half the memory of exact search."""

    kind = "flat"

    def _empty(self, dim: int, lists: int = 1) -> Any:
        return self._faiss.IndexFlatIP(dim)

    def _part(self, structure: Any, k: int, selector: dict[str, Any]) -> Any:
        return self._faiss.SearchParameters(**selector)


class IvfIndex(FaissIndex):
    """About 2√n lists of vectors of similar direction; a query looks at the nearest `effort`."""

    kind = "ivf"
    effort = 16

    def efforts(self) -> tuple[int, ...]:
        if not len(self):
            return ()
        lists = self._structure.nlist
        return (*(2**i for i in range((lists - 1).bit_length())), lists)

    def _empty(self, dim: int, lists: int = 1) -> Any:
        faiss = self._faiss
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, lists, faiss.METRIC_INNER_PRODUCT)
        # Lists by direction: by the plain inner product long centroids would draw everything in.
        index.cp.spherical = True
        index.cp.seed = self._seed
        index.cp.max_points_per_centroid = TRAINING_PER_LIST
        index.cp.min_points_per_centroid = 1
        return index

    def _build(self, vectors: np.ndarray) -> Any:
        index = self._empty(vectors.shape[1], _lists(len(vectors)))
        index.train(vectors)
        return self._extend(index, vectors)

    def _is_outgrown(self, structure: Any, rows: int) -> bool:
        return _lists(rows) > OUTGROWN * structure.nlist

    def _part(self, structure: Any, k: int, selector: dict[str, Any]) -> Any:
        lists = max(1, min(self.effort, structure.nlist))
        return self._faiss.SearchParametersIVF(nprobe=lists, **selector)

    def _all(self, structure: Any, selector: dict[str, Any]) -> tuple[Any, Any]:
        return structure, self._faiss.SearchParametersIVF(nprobe=structure.nlist, **selector)


class HnswIndex(FaissIndex):
    """A graph of neighbors, walked with `effort` candidates. Slow to build."""

    kind = "hnsw"
    effort = 128

    def efforts(self) -> tuple[int, ...]:
        return GRAPH_EFFORTS

    def _empty(self, dim: int, lists: int = 1) -> Any:
        faiss = self._faiss
        index = faiss.IndexHNSWFlat(dim, NEIGHBORS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = CANDIDATES
        index.hnsw.rng = faiss.RandomGenerator(self._seed)
        return index

    def _part(self, structure: Any, k: int, selector: dict[str, Any]) -> Any:
        # Tombstones are candidates, too, which take the places of items.
        candidates = math.ceil(max(self.effort, k) * structure.ntotal / max(1, len(self)))
        return self._faiss.SearchParametersHNSW(efSearch=candidates, **selector)

    def _all(self, structure: Any, selector: dict[str, Any]) -> tuple[Any, Any]:
        return super()._all(structure.storage, selector)


def _lists(rows: int) -> int:
    """Return the number of lists of an IVF index."""
    return max(1, min(round(2 * rows**0.5), rows // MIN_PER_LIST))


def _import_faiss() -> Any:
    return import_engine(
        "faiss",
        'flat, IVF and HNSW indexes need FAISS: pip install "xgacmn_tf[faiss]"; '
        "--index=exact needs nothing",
    )
