"""Search by Milvus, for galleries beyond one machine, through pymilvus.

What this process has written, its next query finds; what others write is found within about a
second. The server keeps an HNSW graph, compared by the inner product.

A gallery is known by an alias of a collection. Indexing anew fills another collection and then
moves the alias, so that concurrent searches find either all the old items or all the new ones.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xgacmn_tf.errors import InputError
from xgacmn_tf.io.files import write_json
from xgacmn_tf.search.checks import (
    category_names,
    checked_categories,
    checked_embeddings,
    checked_ids,
    checked_queries,
    strings,
)
from xgacmn_tf.search.index import (
    COLLECTION,
    FORMAT,
    GRAPH_EFFORTS,
    RECORD,
    Hits,
    Index,
    for_understood,
)
from xgacmn_tf.search.milvus_server import (
    FIELDS,
    MAX_BYTES,
    MAX_CATEGORIES,
    SECONDS,
    MilvusServer,
    wait_until_indexed,
)

# The server's own limits: hits of a query, and 64 MiB of a message.
MAX_HITS = 16384
BYTES_AT_ONCE = 4 * 2**20
HITS_AT_ONCE = 2**17
QUERIES_AT_ONCE = 1024
IDS_AT_ONCE = 1000
# After a write of this process, queries wait for all writes: under the consistency "Session", a
# search right after a deletion may still find the deleted item.
SECONDS_STRONG = 5.0


class MilvusIndex(Index):
    """A gallery on a server, which outlives this process.

    `index` replaces the gallery for all clients, at once. `upsert` and `delete` go to the server in
    parts; repeat one that was interrupted. Of a gallery that does not fit into memory, `index` the
    first part and `upsert` the others.

    Args:
      uri: "http://HOST:PORT", "https://HOST:PORT", or a file "PATH.db" of Milvus Lite, which runs
        in this process.
      collection: the gallery's name on the server.
      token: "user:password" or a key; None where the server requires none.

    Raises:
      InputError: pymilvus is not installed, or an argument does not fit.
    """

    kind = "milvus"
    effort = 128

    def __init__(self, uri: str, collection: str = COLLECTION, token: str | None = None):
        self._server = MilvusServer(uri, collection, token or "")
        self._name = collection
        self._dim: int | None = None
        self._written = -np.inf
        self._writing = threading.RLock()

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
        with self._writing, self._server.calls() as client:
            before = self._server.target(client)
            name = f"{self._name}_{uuid.uuid4().hex}"
            try:
                self._server.create(client, name, vectors.shape[1])
                items.send(lambda part: client.insert(name, part, timeout=SECONDS))
                wait_until_indexed(client, name)
                point = client.alter_alias if before else client.create_alias
                point(name, self._name, timeout=SECONDS)
            except BaseException:
                with contextlib.suppress(Exception):
                    client.drop_collection(name, timeout=SECONDS)
                raise
            self._dim, self._written = vectors.shape[1], time.monotonic()
            if before:
                client.drop_collection(before[0], timeout=SECONDS)

    def upsert(
        self,
        ids: Sequence[str] | np.ndarray,
        embeddings: Any,
        categories: Sequence[str] | np.ndarray | None = None,
    ) -> None:
        with self._writing, self._server.calls() as client:
            dim = self._find_dim(client)
            if dim is None:
                return self.index(embeddings, ids, categories)
            items = _Items(checked_embeddings("the gallery", embeddings, dim), ids, categories)
            try:
                items.send(lambda part: client.upsert(self._name, part, timeout=SECONDS))
            finally:
                self._written = time.monotonic()

    def delete(self, ids: Sequence[str] | np.ndarray) -> int:
        names = list(dict.fromkeys(strings("ids", ids, len(ids)).tolist()))
        deleted = 0
        with self._writing, self._server.calls() as client:
            if self._find_dim(client) is None:
                return 0
            for first in range(0, len(names), IDS_AT_ONCE):
                these = f"id in {_quoted(names[first : first + IDS_AT_ONCE])}"
                deleted += self._server.count(client, these)
                try:
                    client.delete(self._name, filter=these, timeout=SECONDS)
                finally:
                    self._written = time.monotonic()
        return deleted

    def query(self, embeddings: Any, k: int, category: str | None = None) -> Hits:
        with self._server.calls() as client:
            dim = self._find_dim(client)
            if dim is None:
                raise InputError(
                    f"Milvus at {self._server.uri} has no gallery {self._name!r}; index one first"
                )
            queries = checked_queries(embeddings, k, dim)
            if k > MAX_HITS:
                raise InputError(f"k is {k}; Milvus gives at most {MAX_HITS}")
            wanted = "" if category is None else f"array_contains(category, {_quoted(category)})"
            recent = time.monotonic() - self._written < SECONDS_STRONG
            at_once = max(1, min(QUERIES_AT_ONCE, HITS_AT_ONCE // k))

            def search(queries: np.ndarray) -> Hits:
                found: list[Any] = []
                for first in range(0, len(queries), at_once):
                    found += client.search(
                        self._name,
                        data=queries[first : first + at_once].tolist(),
                        limit=k,
                        filter=wanted,
                        anns_field="embedding",
                        search_params={"metric_type": "IP", "params": {"ef": max(self.effort, k)}},
                        consistency_level="Strong" if recent else "Session",
                        timeout=SECONDS,
                    )
                return _hits(found)

            return for_understood(queries, search)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the gallery's address, without the token; the gallery stays on the server."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        record = {"format": FORMAT, "kind": self.kind, "effort": self.effort}
        write_json(folder / RECORD, record | {"uri": self._server.uri, "collection": self._name})

    @classmethod
    def of_record(cls, record: Mapping[str, Any], token: str | None) -> MilvusIndex:
        """Return the index whose address `save` wrote.

        Raises:
          InputError: the record is damaged.
        """
        effort = record.get("effort")
        if not isinstance(effort, int) or not 0 < effort <= MAX_HITS:
            raise InputError(f"the record of a Milvus index holds effort {effort!r}; index again")
        index = cls(str(record.get("uri")), str(record.get("collection")), token)
        index.effort = effort
        return index

    def __len__(self) -> int:
        with self._server.calls() as client:
            return 0 if self._find_dim(client) is None else self._server.count(client)

    def _find_dim(self, client: Any) -> int | None:
        """Return the gallery's dimensions; None while there is no gallery."""
        if self._dim is None:
            found = self._server.target(client)
            if found is not None:
                client.load_collection(found[0], timeout=SECONDS)
                self._dim = found[1]
        return self._dim


class _Items:
    """Rows as Milvus takes them, checked against the limits of its collections."""

    def __init__(self, vectors: np.ndarray, ids: Any, categories: Any):
        self.vectors = vectors
        self.ids = checked_ids(ids, len(vectors)).tolist()
        names = checked_categories(categories, len(vectors)).tolist()
        self.categories = [category_names(name) for name in names]
        for name in self.ids:
            _check_text("id", name)
        for name in sorted({name for several in self.categories for name in several}):
            _check_text("category", name)
        largest = max(map(len, self.categories))
        if largest > MAX_CATEGORIES:
            raise InputError(
                f"an item has {largest - 1} categories; Milvus takes {MAX_CATEGORIES - 1}"
            )

    def send(self, write: Callable[[list[dict[str, Any]]], Any]) -> None:
        """Write all rows, in parts."""
        at_once = max(1, BYTES_AT_ONCE // (4 * self.vectors.shape[1] + 4 * MAX_BYTES))
        for first in range(0, len(self.vectors), at_once):
            part = slice(first, first + at_once)
            columns = zip(self.ids[part], self.categories[part], self.vectors[part], strict=True)
            write([dict(zip(FIELDS, (i, c, v.tolist()), strict=True)) for i, c, v in columns])


def _quoted(value: str | list[str]) -> str:
    """Return a string or a list of them as an expression of Milvus, however hostile it is."""
    # JSON escapes quotes, backslashes and control characters the way Milvus reads them.
    return json.dumps(value, ensure_ascii=False)


def _check_text(what: str, value: str) -> None:
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise InputError(f"{what} {value[:40]!r} is no valid Unicode; Milvus takes UTF-8") from None
    if size > MAX_BYTES:
        raise InputError(
            f"{what} {value[:40]!r}… takes {size} bytes as UTF-8; Milvus takes {MAX_BYTES}"
        )


def _hits(found: list[Any]) -> Hits:
    """Return results of different lengths as one table."""
    width = max(map(len, found))
    rows = [[hit["id"] for hit in hits] + [""] * (width - len(hits)) for hits in found]
    scores = np.full((len(found), width), -np.inf, np.float32)
    for row, hits in enumerate(found):
        scores[row, : len(hits)] = [hit["distance"] for hit in hits]
    return Hits(np.array(rows, str).reshape(scores.shape), scores)
