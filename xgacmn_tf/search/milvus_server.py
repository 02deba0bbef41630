"""A Milvus server: reaching it, and its collections that are ours.

A gallery is known by an alias. Indexing anew fills another collection and then moves the alias, so
that whoever searches meanwhile finds either all the old items or all the new ones.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import re
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from xgacmn_tf.errors import InputError

# Marks the collections that may be written to and dropped; others are somebody else's.
MARK = "xgacmn_tf index"
# Milvus plans its segments by the most that a string may take.
MOST_BYTES = 512
MOST_CATEGORIES = 64
# HNSW: neighbours of each node, and candidates while building.
GRAPH = {"M": 16, "efConstruction": 128}
# pymilvus's code for a server that it could not connect to.
UNREACHED = 2
SECONDS = 60.0
SECONDS_TO_CONNECT = 10.0


class MilvusServer:
    """A server, and the name of one gallery on it. Nothing is sent before the first call.

    Args:
      uri: "http://host:port" or "https://host:port".
      gallery: an alias.
      token: "user:password" or a key; empty where the server asks for none.

    Raises:
      InputError: pymilvus is not installed, or uri or gallery is none.
    """

    def __init__(self, uri: str, gallery: str, token: str):
        parts = urlsplit(uri)
        if parts.username is not None or parts.password is not None:
            raise InputError("--milvus_uri holds a password, which would be saved; use the token")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"--milvus_uri={uri}: expected http://HOST:PORT or https://HOST:PORT")
        if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]{0,199}", gallery):
            raise InputError(
                f"--milvus_collection={gallery}: expected a letter or '_', then up to 199 letters, "
                "digits and '_'"
            )
        self.uri, self.gallery = uri, gallery
        self._token = token
        self._pymilvus = _import_pymilvus()
        self._network_error = importlib.import_module("grpc").RpcError
        self._client: Any = None

    @contextlib.contextmanager
    def calls(self) -> Iterator[Any]:
        """Yields a client; what the server refuses or the network loses becomes an `InputError`."""
        try:
            if self._client is None:
                self._client = self._pymilvus.MilvusClient(
                    self.uri, token=self._token, timeout=SECONDS_TO_CONNECT
                )
            yield self._client
        except (self._pymilvus.MilvusException, self._network_error) as error:
            reason = getattr(error, "message", error)
            if getattr(error, "code", None) == UNREACHED or isinstance(error, self._network_error):
                reason = (
                    f"does not answer ({reason}); is the server up, and are --milvus_uri and the "
                    "token right?"
                )
            raise InputError(" ".join(f"Milvus at {self.uri}: {reason}".split())) from error

    def target(self, client: Any) -> tuple[str, int] | None:
        """The gallery's collection and its dimensions; None if there is no gallery of the name."""
        if not client.has_collection(self.gallery, timeout=SECONDS):
            return None
        found = client.describe_collection(self.gallery, timeout=SECONDS)
        name = found["collection_name"]
        if found.get("description") != MARK or name == self.gallery:
            raise InputError(
                f"Milvus at {self.uri} has a collection {self.gallery!r} that is not an index of "
                "ours and stays untouched; give another --milvus_collection"
            )
        fields = {field["name"]: field for field in found["fields"]}
        return name, int(fields["embedding"]["params"]["dim"])

    def create(self, client: Any, name: str, dim: int) -> None:
        """Makes an empty collection, loaded for searching."""
        kinds = self._pymilvus.DataType
        schema = client.create_schema(auto_id=False, enable_dynamic_field=False, description=MARK)
        schema.add_field("id", kinds.VARCHAR, is_primary=True, max_length=MOST_BYTES)
        schema.add_field(
            "category",
            kinds.ARRAY,
            element_type=kinds.VARCHAR,
            max_capacity=MOST_CATEGORIES,
            max_length=MOST_BYTES,
        )
        schema.add_field("embedding", kinds.FLOAT_VECTOR, dim=dim)
        graph = client.prepare_index_params()
        graph.add_index("embedding", index_type="HNSW", metric_type="IP", params=GRAPH)
        client.create_collection(
            name,
            schema=schema,
            index_params=graph,
            # What a client has written, its next search finds.
            consistency_level="Session",
            timeout=SECONDS,
        )

    def count(self, client: Any, expression: str = "") -> int:
        """Items of the gallery that an expression holds for, all writes considered."""
        found = client.query(
            self.gallery,
            filter=expression,
            output_fields=["count(*)"],
            consistency_level="Strong",
            timeout=SECONDS,
        )
        return int(found[0]["count(*)"])


def wait_until_indexed(client: Any, name: str) -> None:
    """Waits until the server has built the graphs of everything in a collection."""
    client.flush(name)  # Without a limit: both may take as long as the gallery is large.
    while True:
        state = client.describe_index(name, "embedding", timeout=SECONDS)
        if state["state"] == "Failed":
            raise InputError(f"Milvus could not build its index of {name}; see the server's log")
        if not state["pending_index_rows"]:
            return
        time.sleep(0.2)


def quoted(value: str | list[str]) -> str:
    """A string or a list of them as Milvus's expressions take it, however hostile it is."""
    # JSON escapes quotes, backslashes and control characters the way Milvus reads them.
    return json.dumps(value, ensure_ascii=False)


def _import_pymilvus() -> Any:
    try:
        pymilvus = importlib.import_module("pymilvus")
    except ImportError as error:
        raise InputError(
            '--index=milvus needs pymilvus: pip install "xgacmn_tf[milvus]"'
        ) from error
    # It logs each error with a traceback before raising it.
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
    return pymilvus
