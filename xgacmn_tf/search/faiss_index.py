"""Search by FAISS: a flat scan, inverted lists (IVF) or a graph (HNSW), in single precision.

All compare by the inner product, of vectors of any length. IVF and HNSW look at a part of the
gallery only; how much they find depends on it, so `recall.tune` measures that. A search within a
category always looks at all of its items. Of items with equal scores at the end of a result any
may be left out.
"""

from __future__ import annotations

import abc
from typing import Any

import numpy as np

from xgacmn_tf.errors import InputError
from xgacmn_tf.search import hnsw_graph, stored
from xgacmn_tf.search.faiss_library import import_faiss
from xgacmn_tf.search.index import GRAPH_EFFORTS
from xgacmn_tf.search.memory import MemoryIndex

# K-means for IVF sees at most this many vectors for each list: more takes longer and finds no more.
TRAINING_PER_LIST = 64
# Fewer vectors for each list than this make poor centroids, as FAISS warns.
LEAST_PER_LIST = 39
# HNSW: neighbours of each node, doubled on the lowest level, and candidates while building.
NEIGHBOURS = 32
CANDIDATES = 80
LARGEST_SEED = 2**31 - 1


def make_faiss_index(kind: str, seed: int = 0, threads: int | None = None) -> FaissIndex:
    """An empty index: "flat", "ivf" or "hnsw".

    Args:
      kind: which.
      seed: of k-means and of the graph.
      threads: of FAISS in the whole process, None for as it is. Results do not depend on it.

    Raises:
      InputError: FAISS is not installed, or a setting is out of range.
    """
    faiss = import_faiss()
    if not 0 <= seed <= LARGEST_SEED:
        raise InputError(f"seed is {seed}; it must be from 0 to {LARGEST_SEED}")
    if threads is not None:
        if threads < 1:
            raise InputError(f"threads is {threads}; it must be at least 1")
        faiss.omp_set_num_threads(threads)
    engines: tuple[type[Any], ...] = (FlatIndex, IvfIndex, HnswIndex)
    return next(engine for engine in engines if engine.kind == kind)(seed)


class FaissIndex(MemoryIndex):
    """What the three have in common. FAISS holds the only copy of the vectors."""

    _faiss: Any

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self._seed = seed

    @abc.abstractmethod
    def _scan(self) -> tuple[Any, dict[str, Any]]:
        """The FAISS index to search, and settings with which it compares with all vectors."""

    def _settings(self, k: int) -> Any:
        """FAISS's search parameters for the effort at hand."""
        return None

    def restore(self, arrays: stored.Stored) -> None:
        self._seed = arrays.number("seed", 0, LARGEST_SEED)
        super().restore(arrays)

    def _structure(self) -> dict[str, Any]:
        return {"seed": self._seed}

    def _extend(self, vectors: np.ndarray) -> None:
        self._faiss.add(vectors)

    def _vectors(self) -> np.ndarray:
        return self._faiss.reconstruct_n(0, self._faiss.ntotal)

    def _search(
        self, queries: np.ndarray, k: int, rows: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        if rows is not None:
            return self._search_all(queries, k, rows)
        scores, found = self._faiss.search(queries, k, params=self._settings(k))
        short = (found < 0).any(axis=1)
        if short.any():
            # What was looked at held fewer than k items.
            found[short], scores[short] = self._search_all(queries[short], k, None)
        return _sorted(found, scores)

    def _search_all(
        self, queries: np.ndarray, k: int, rows: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The best of these rows, or of all: every one is compared."""
        faiss = import_faiss()
        index, settings = self._scan()
        if rows is not None:
            chosen = np.zeros(self._faiss.ntotal, bool)
            chosen[rows] = True
            settings["sel"] = faiss.IDSelectorBitmap(np.packbits(chosen, bitorder="little"))
        kind = faiss.SearchParametersIVF if "nprobe" in settings else faiss.SearchParameters
        scores, found = index.search(queries, k, params=kind(**settings))
        return _sorted(found, scores)


class FlatIndex(FaissIndex):
    """Compares with every vector, in single precision: half the memory of exact search."""

    kind = "flat"

    def _build(self, vectors: np.ndarray) -> None:
        faiss = import_faiss()
        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(vectors)
        self._faiss = index

    def _scan(self) -> tuple[Any, dict[str, Any]]:
        return self._faiss, {}


class IvfIndex(FaissIndex):
    """About 2√n lists of vectors of similar direction; a query looks at the nearest `effort`."""

    kind = "ivf"
    effort = 16

    def efforts(self) -> tuple[int, ...]:
        if not len(self):
            return ()
        lists = self._faiss.nlist
        return (*(2**i for i in range((lists - 1).bit_length())), lists)

    def _build(self, vectors: np.ndarray) -> None:
        rows = len(vectors)
        lists = max(1, min(round(2 * rows**0.5), rows // LEAST_PER_LIST))
        index = self._empty(vectors.shape[1], lists)
        index.train(vectors)
        index.add(vectors)
        self._faiss, self._trained_on = index, rows

    def _empty(self, dim: int, lists: int) -> Any:
        faiss = import_faiss()
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, lists, faiss.METRIC_INNER_PRODUCT)
        # Lists by direction: by the plain inner product long centroids would draw everything in.
        index.cp.spherical = True
        index.cp.seed = self._seed
        index.cp.max_points_per_centroid = TRAINING_PER_LIST
        index.cp.min_points_per_centroid = 1
        return index

    def _extend(self, vectors: np.ndarray) -> None:
        if len(self) + len(vectors) > 2 * self._trained_on:
            self._build(np.concatenate([self._vectors(), vectors]))
        else:
            super()._extend(vectors)

    def _settings(self, k: int) -> Any:
        faiss = import_faiss()
        return faiss.SearchParametersIVF(nprobe=max(1, min(self.effort, self._faiss.nlist)))

    def _scan(self) -> tuple[Any, dict[str, Any]]:
        return self._faiss, {"nprobe": self._faiss.nlist}

    def _structure(self) -> dict[str, Any]:
        centroids = self._faiss.quantizer.reconstruct_n(0, self._faiss.nlist)
        own = {"centroid": centroids, "trained_on": self._trained_on}
        return super()._structure() | own

    def _rebuild(self, vectors: np.ndarray, arrays: stored.Stored) -> None:
        centroids = arrays.array("centroid", "f", (None, vectors.shape[1]))
        arrays.check(
            0 < len(centroids) <= len(vectors) and np.isfinite(centroids).all(),
            f"centroid has shape {centroids.shape} for {len(vectors)} items, or NaN",
        )
        index = self._empty(vectors.shape[1], len(centroids))
        index.quantizer.add(np.ascontiguousarray(centroids, np.float32))
        index.is_trained = True
        index.add(vectors)
        self._faiss = index
        self._trained_on = arrays.number("trained_on", 1, 2**62)


class HnswIndex(FaissIndex):
    """A graph of neighbours, walked with `effort` candidates. Slow to build."""

    kind = "hnsw"
    effort = 128

    def efforts(self) -> tuple[int, ...]:
        return GRAPH_EFFORTS

    def _build(self, vectors: np.ndarray) -> None:
        index = self._empty(vectors.shape[1])
        index.add(vectors)
        self._faiss = index

    def _empty(self, dim: int) -> Any:
        faiss = import_faiss()
        index = faiss.IndexHNSWFlat(dim, NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = CANDIDATES
        index.hnsw.rng = faiss.RandomGenerator(self._seed)
        return index

    def _settings(self, k: int) -> Any:
        faiss = import_faiss()
        return faiss.SearchParametersHNSW(efSearch=max(self.effort, k))

    def _scan(self) -> tuple[Any, dict[str, Any]]:
        return self._faiss.storage, {}

    def _vectors(self) -> np.ndarray:
        return self._faiss.storage.reconstruct_n(0, self._faiss.ntotal)

    def _structure(self) -> dict[str, Any]:
        return super()._structure() | hnsw_graph.arrays_of(self._faiss.hnsw)

    def _rebuild(self, vectors: np.ndarray, arrays: stored.Stored) -> None:
        index = self._empty(vectors.shape[1])
        index.storage.add(vectors)
        hnsw_graph.restore(index.hnsw, arrays, len(vectors))
        index.ntotal = len(vectors)
        self._faiss = index


def _sorted(found: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Best first, and among equals in the order of rows."""
    order = np.lexsort((found, -scores), axis=1)
    return np.take_along_axis(found, order, 1), np.take_along_axis(scores, order, 1)
