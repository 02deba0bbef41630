"""Search by Milvus, for galleries beyond one machine, through pymilvus.

What this process has written, its next query finds; what others write appears within about a
second. The server keeps an HNSW graph, compared by the inner product.

A gallery is known by an alias of a collection. Indexing anew fills another collection and then
moves the alias, so that concurrent searches find either all the old items or all the new ones.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import os
import re
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from xgacmn_tf.errors import InputError
from xgacmn_tf.io.files import write_json
from xgacmn_tf.search.index import (
    COLLECTION,
    FORMAT,
    GRAPH_EFFORTS,
    RECORD,
    Hits,
    Index,
    Items,
    category_names,
    import_engine,
)

FIELDS = ("id", "category", "embedding")
# Variable with the token. Not a flag: command lines are visible to other users of a machine.
TOKEN = "MILVUS_TOKEN"  # noqa: S105 - the name of a variable
# Milvus plans its segments by the maximum size of strings.
MAX_BYTES = 512
MAX_CATEGORIES = 64
# HNSW: neighbors of each node, and candidates while building.
GRAPH = {"M": 16, "efConstruction": 128}
# pymilvus's code for a server that it could not connect to.
UNREACHED = 2
SECONDS, SECONDS_TO_CONNECT = 60.0, 10.0
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
    """A gallery on a server, which outlives this process. Nothing is sent before the first call.

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
        super().__init__()
        parts = urlsplit(uri)
        if parts.username is not None or parts.password is not None:
            raise InputError("--milvus_uri holds a password, which would be saved; use the token")
        is_server = parts.scheme in ("http", "https") and parts.hostname
        if not (is_server or (not parts.scheme and uri.endswith(".db"))):
            raise InputError(
                f"--milvus_uri={uri}: expected http://HOST:PORT, https://HOST:PORT or a file "
                "PATH.db of Milvus Lite"
            )
        if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]{0,199}", collection):
            raise InputError(
                f"--milvus_collection={collection}: expected a letter or '_', then up to 199 "
                "letters, digits and '_'"
            )
        self._uri, self._name, self._token = uri, collection, token or ""
        advice = '--index=milvus needs pymilvus: pip install "xgacmn_tf[milvus]"'
        self._pymilvus = import_engine("pymilvus", advice)
        # It logs each error with a traceback before raising it.
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
        self._network_error = importlib.import_module("grpc").RpcError
        self._client: Any = None
        self._connecting = threading.Lock()
        self._dim: int | None = None
        self._written = -np.inf

    def efforts(self) -> tuple[int, ...]:
        return GRAPH_EFFORTS

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """Connect; errors of the server or of the network become an `InputError`."""
        try:
            with self._connecting:
                if self._client is None:
                    self._client = self._pymilvus.MilvusClient(
                        self._uri, token=self._token, timeout=SECONDS_TO_CONNECT
                    )
            yield
        except (self._pymilvus.MilvusException, self._network_error) as error:
            reason = getattr(error, "message", error)
            if getattr(error, "code", None) == UNREACHED or isinstance(error, self._network_error):
                reason = (
                    f"does not answer ({reason}); is the server up, and are --milvus_uri and the "
                    "token right?"
                )
            raise InputError(" ".join(f"Milvus at {self._uri}: {reason}".split())) from error

    @contextlib.contextmanager
    def _calls(self) -> Iterator[None]:
        with self._reading():
            try:
                yield
            finally:
                self._written = time.monotonic()

    def _width(self) -> int | None:
        if self._dim is None and (target := self._target()) is not None:
            self._client.load_collection(target[0], timeout=SECONDS)
            self._dim = target[1]
        return self._dim

    def _target(self) -> tuple[str, int] | None:
        """Return the gallery's collection and its dimensions; None if there is no such gallery."""
        if not self._client.has_collection(self._name, timeout=SECONDS):
            return None
        description = self._client.describe_collection(self._name, timeout=SECONDS)
        name = description["collection_name"]
        fields = {field["name"]: field for field in description["fields"]}
        if not name.startswith(f"{self._name}_") or set(fields) != {*FIELDS}:
            raise InputError(
                f"Milvus at {self._uri} has a collection {self._name!r} that is not an index of "
                "ours and stays untouched; give another --milvus_collection"
            )
        return name, int(fields["embedding"]["params"]["dim"])

    def _checked(self, *arguments: Any) -> Items:
        items = super()._checked(*arguments)
        categories = [category_names(category) for category in items.categories]
        for name in items.ids:
            _check_text("id", name)
        for name in sorted({name for several in categories for name in several}):
            _check_text("category", name)
        largest = max(map(len, categories)) - 1
        if largest >= MAX_CATEGORIES:
            raise InputError(f"an item has {largest} categories; Milvus takes {MAX_CATEGORIES - 1}")
        return items

    def _index(self, items: Items) -> None:
        client, before = self._client, self._target()
        name, dim = f"{self._name}_{uuid.uuid4().hex}", items.vectors.shape[1]
        kinds, size = self._pymilvus.DataType, {"max_length": MAX_BYTES}
        array = {"element_type": kinds.VARCHAR, "max_capacity": MAX_CATEGORIES, **size}
        schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("id", kinds.VARCHAR, is_primary=True, **size)
        schema.add_field("category", kinds.ARRAY, **array)
        schema.add_field("embedding", kinds.FLOAT_VECTOR, dim=dim)
        graph = client.prepare_index_params()
        graph.add_index("embedding", index_type="HNSW", metric_type="IP", params=GRAPH)
        try:
            consistent = {"consistency_level": "Session", "timeout": SECONDS}
            client.create_collection(name, schema=schema, **consistent)
            for part in _parts(items):
                client.insert(name, part, timeout=SECONDS)
            # Without a limit: these may take as long as the gallery is large.
            client.flush(name)
            client.create_index(name, graph)
            client.load_collection(name)
            point = client.alter_alias if before else client.create_alias
            point(name, self._name, timeout=SECONDS)
        except BaseException:
            with contextlib.suppress(Exception):
                client.drop_collection(name, timeout=SECONDS)
            raise
        self._dim = dim
        if before:
            client.drop_collection(before[0], timeout=SECONDS)

    def _upsert(self, items: Items) -> None:
        for part in _parts(items):
            self._client.upsert(self._name, part, timeout=SECONDS)

    def _delete(self, names: list[str]) -> int:
        deleted = 0
        for first in range(0, len(names), IDS_AT_ONCE):
            these = f"id in {_quoted(names[first : first + IDS_AT_ONCE])}"
            deleted += self._count(these)
            self._client.delete(self._name, filter=these, timeout=SECONDS)
        return deleted

    def _search(self, queries: np.ndarray, k: int, category: str | None) -> Hits:
        if self._width() is None:
            raise InputError(
                f"Milvus at {self._uri} has no gallery {self._name!r}; index one first"
            )
        if k > MAX_HITS:
            raise InputError(f"k is {k}; Milvus gives at most {MAX_HITS}")
        recent = time.monotonic() - self._written < SECONDS_STRONG
        at_once = max(1, min(QUERIES_AT_ONCE, HITS_AT_ONCE // k))
        hits: list[Any] = []
        for first in range(0, len(queries), at_once):
            hits += self._client.search(
                self._name,
                data=queries[first : first + at_once].tolist(),
                limit=k,
                filter="" if category is None else f"array_contains(category, {_quoted(category)})",
                anns_field="embedding",
                search_params={"metric_type": "IP", "params": {"ef": max(self.effort, k)}},
                consistency_level="Strong" if recent else "Session",
                timeout=SECONDS,
            )
        # Results of different lengths as one table.
        width = max(map(len, hits), default=0)
        ids = np.full((len(hits), width), "", object)
        scores = np.full((len(hits), width), -np.inf, np.float32)
        for row, own in enumerate(hits):
            ids[row, : len(own)] = [hit["id"] for hit in own]
            scores[row, : len(own)] = [hit["distance"] for hit in own]
        return Hits(ids.astype(str), scores)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the gallery's address, without the token; the gallery stays on the server."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        record = {"format": FORMAT, "kind": self.kind, "effort": self.effort}
        write_json(folder / RECORD, record | {"uri": self._uri, "collection": self._name})

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
        with self._reading():
            return 0 if self._width() is None else self._count()

    def _count(self, expression: str = "") -> int:
        """Return the number of items that an expression holds for, all writes considered."""
        rows = self._client.query(
            self._name,
            filter=expression,
            output_fields=["count(*)"],
            consistency_level="Strong",
            timeout=SECONDS,
        )
        return int(rows[0]["count(*)"])


def _parts(items: Items) -> Iterator[list[dict[str, Any]]]:
    """Yield rows as Milvus takes them, in parts."""
    at_once = max(1, BYTES_AT_ONCE // (4 * items.vectors.shape[1] + 4 * MAX_BYTES))
    for first in range(0, len(items.ids), at_once):
        rows = zip(*(each[first : first + at_once] for each in items), strict=True)
        yield [
            dict(zip(FIELDS, (name, category_names(category), vector.tolist()), strict=True))
            for vector, name, category in rows
        ]


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
