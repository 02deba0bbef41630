"""Search by a Milvus server, for galleries beyond one machine, through pymilvus.

What this process has written, its next query finds; what others write is found within about a
second. The server keeps an HNSW graph, compared by the inner product.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xgacmn_tf.errors import InputError
from xgacmn_tf.search import stored
from xgacmn_tf.search.checks import (
    category_names,
    checked_categories,
    checked_embeddings,
    checked_ids,
    checked_queries,
    strings,
)
from xgacmn_tf.search.index import COLLECTION, GRAPH_EFFORTS, Hits, Index, for_understood
from xgacmn_tf.search.milvus_server import (
    MOST_BYTES,
    MOST_CATEGORIES,
    SECONDS,
    MilvusServer,
    quoted,
    wait_until_indexed,
)

# The server's own limits: hits of a query, and 64 MiB of a message.
MOST_HITS = 16384
BYTES_AT_ONCE = 4 * 2**20
HITS_AT_ONCE = 2**17
QUERIES_AT_ONCE = 1024
IDS_AT_ONCE = 1000


class MilvusIndex(Index):
    """A gallery on a server, which outlives this process.

    `index` replaces the gallery for all who search it, at once. `upsert` and `delete` go to the
    server in parts; where one breaks off, do it again. Of a gallery that does not fit into memory
    `index` the first part and `upsert` the others.

    Args:
      uri, collection, token: as in `MilvusServer`, whose errors it raises.
    """

    kind = "milvus"
    effort = 128

    def __init__(self, uri: str, collection: str = COLLECTION, token: str | None = None):
        self._server = MilvusServer(uri, collection, token or "")
        self._name = collection
        self._dim: int | None = None
        self._wrote = False

    def efforts(self) -> tuple[int, ...]:
        return GRAPH_EFFORTS

    def index(
        self,
        embeddings: Any,
        ids: Sequence[str] | np.ndarray | None = None,
        categories: Sequence[str] | np.ndarray | None = None,
    ) -> None:
        vectors = checked_embeddings("the gallery", embeddings)
        items = _Items(vectors, ids, categories)
        with self._server.calls() as client:
            before = self._server.target(client)
            made = f"{self._name}_{uuid.uuid4().hex}"
            try:
                self._server.create(client, made, vectors.shape[1])
                items.send(lambda part: client.insert(made, part, timeout=SECONDS))
                wait_until_indexed(client, made)
                point = client.alter_alias if before else client.create_alias
                point(made, self._name, timeout=SECONDS)
            except BaseException:
                with contextlib.suppress(Exception):
                    client.drop_collection(made, timeout=SECONDS)
                raise
            self._dim, self._wrote = vectors.shape[1], True
            if before:
                client.drop_collection(before[0], timeout=SECONDS)

    def upsert(
        self,
        ids: Sequence[str] | np.ndarray,
        embeddings: Any,
        categories: Sequence[str] | np.ndarray | None = None,
    ) -> None:
        with self._server.calls() as client:
            dim = self._find_dim(client)
            if dim is None:
                return self.index(embeddings, ids, categories)
            items = _Items(checked_embeddings("the gallery", embeddings, dim), ids, categories)
            try:
                items.send(lambda part: client.upsert(self._name, part, timeout=SECONDS))
            finally:
                self._wrote = True

    def delete(self, ids: Sequence[str] | np.ndarray) -> int:
        names = list(dict.fromkeys(strings("ids", ids, len(ids)).tolist()))
        gone = 0
        with self._server.calls() as client:
            if self._find_dim(client) is None:
                return 0
            for first in range(0, len(names), IDS_AT_ONCE):
                these = f"id in {quoted(names[first : first + IDS_AT_ONCE])}"
                gone += self._server.count(client, these)
                try:
                    client.delete(self._name, filter=these, timeout=SECONDS)
                finally:
                    self._wrote = True
        return gone

    def query(self, embeddings: Any, k: int, category: str | None = None) -> Hits:
        with self._server.calls() as client:
            dim = self._find_dim(client)
            if dim is None:
                raise InputError(
                    f"Milvus at {self._server.uri} has no gallery {self._name!r}; index one first"
                )
            queries = checked_queries(embeddings, k, dim)
            if k > MOST_HITS:
                raise InputError(f"k is {k}; Milvus gives at most {MOST_HITS}")
            wanted = "" if category is None else f"array_contains(category, {quoted(category)})"
            # Under "Session" a search right after a deletion may still find what is gone.
            level = "Strong" if self._wrote else "Session"
            self._wrote = False
            at_once = max(1, min(QUERIES_AT_ONCE, HITS_AT_ONCE // k))

            def search(queries: np.ndarray) -> Hits:
                found: list[Any] = []
                for first in range(0, len(queries), at_once):
                    found += client.search(
                        self._name,
                        data=list(queries[first : first + at_once]),
                        limit=k,
                        filter=wanted,
                        anns_field="embedding",
                        search_params={"metric_type": "IP", "params": {"ef": max(self.effort, k)}},
                        consistency_level=level,
                        timeout=SECONDS,
                    )
                return _hits(found)

            return for_understood(queries, search)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Writes where the gallery is, without the token; the gallery stays on the server."""
        stored.write(
            folder,
            {
                "kind": self.kind,
                "effort": self.effort,
                "uri": self._server.uri,
                "collection": self._name,
            },
        )

    @classmethod
    def from_arrays(cls, arrays: stored.Stored, token: str | None) -> MilvusIndex:
        """What `save` wrote."""
        index = cls(arrays.text("uri"), arrays.text("collection"), token)
        index.effort = arrays.number("effort", 1, MOST_HITS)
        return index

    def __len__(self) -> int:
        with self._server.calls() as client:
            return 0 if self._find_dim(client) is None else self._server.count(client)

    def _find_dim(self, client: Any) -> int | None:
        """The gallery's dimensions; None while there is no gallery."""
        if self._dim is None:
            found = self._server.target(client)
            if found is not None:
                client.load_collection(found[0], timeout=SECONDS)
                self._dim = found[1]
        return self._dim


class _Items:
    """Rows as Milvus takes them, checked against what its collections hold."""

    def __init__(self, vectors: np.ndarray, ids: Any, categories: Any):
        self.vectors = vectors
        self.ids = checked_ids(ids, len(vectors)).tolist()
        names = checked_categories(categories, len(vectors)).tolist()
        self.categories = [category_names(name) for name in names]
        for name in self.ids:
            _check_text("id", name)
        for name in sorted({name for several in self.categories for name in several}):
            _check_text("category", name)
        most = max(map(len, self.categories))
        if most > MOST_CATEGORIES:
            raise InputError(
                f"an item has {most - 1} categories; Milvus takes {MOST_CATEGORIES - 1}"
            )

    def send(self, write: Callable[[list[dict[str, Any]]], Any]) -> None:
        """Writes all rows, in parts."""
        at_once = max(1, BYTES_AT_ONCE // (4 * self.vectors.shape[1] + 4 * MOST_BYTES))
        for first in range(0, len(self.vectors), at_once):
            part = slice(first, first + at_once)
            columns = zip(self.ids[part], self.categories[part], self.vectors[part], strict=True)
            write([{"id": i, "category": c, "embedding": v} for i, c, v in columns])


def _check_text(what: str, value: str) -> None:
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise InputError(f"{what} {value!r} is no valid Unicode, which Milvus needs") from None
    if size > MOST_BYTES:
        raise InputError(
            f"{what} {value[:40]!r}… takes {size} bytes as UTF-8; Milvus takes {MOST_BYTES}"
        )


def _hits(found: list[Any]) -> Hits:
    """Results of any lengths as one table."""
    width = max(map(len, found))
    rows = [[hit["id"] for hit in hits] + [""] * (width - len(hits)) for hits in found]
    scores = np.full((len(found), width), -np.inf, np.float32)
    for row, hits in enumerate(found):
        scores[row, : len(hits)] = [hit["distance"] for hit in hits]
    return Hits(np.array(rows, str).reshape(scores.shape), scores)
