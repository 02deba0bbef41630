"""A Milvus server, and the collections on it that are galleries of this package."""

from __future__ import annotations

import contextlib
import importlib
import logging
import re
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from xgacmn_tf.errors import InputError

# Milvus plans its segments by the maximum size of strings.
MAX_BYTES = 512
MAX_CATEGORIES = 64
# HNSW: neighbors of each node, and candidates while building.
GRAPH = {"M": 16, "efConstruction": 128}
# pymilvus's code for a server that it could not connect to.
UNREACHED = 2
SECONDS, SECONDS_TO_CONNECT = 60.0, 10.0
FIELDS = ("id", "category", "embedding")


class MilvusServer:
    """A server and the name of one gallery on it. Nothing is sent before the first call.

    Args:
      uri, collection, token: as of `MilvusIndex`; an empty token for none.

    Raises:
      InputError: pymilvus is not installed, or an argument does not fit.
    """

    def __init__(self, uri: str, collection: str, token: str):
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
        self.uri, self._name, self._token = uri, collection, token
        self._pymilvus = _import_pymilvus()
        self._network_error = importlib.import_module("grpc").RpcError
        self._client: Any = None
        self._connecting = threading.Lock()

    @contextlib.contextmanager
    def calls(self) -> Iterator[Any]:
        """Yield a client; errors of the server or of the network become an `InputError`."""
        try:
            with self._connecting:
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
        """Return the gallery's collection and its dimensions; None if there is no such gallery."""
        if not client.has_collection(self._name, timeout=SECONDS):
            return None
        found = client.describe_collection(self._name, timeout=SECONDS)
        name, fields = found["collection_name"], {field["name"]: field for field in found["fields"]}
        if not name.startswith(f"{self._name}_") or set(fields) != {*FIELDS}:
            raise InputError(
                f"Milvus at {self.uri} has a collection {self._name!r} that is not an index of "
                "ours and stays untouched; give another --milvus_collection"
            )
        return name, int(fields["embedding"]["params"]["dim"])

    def create(self, client: Any, name: str, dim: int) -> None:
        """Create an empty collection, loaded for searching."""
        kinds, size = self._pymilvus.DataType, {"max_length": MAX_BYTES}
        schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("id", kinds.VARCHAR, is_primary=True, **size)
        array = {"element_type": kinds.VARCHAR, "max_capacity": MAX_CATEGORIES, **size}
        schema.add_field("category", kinds.ARRAY, **array)
        schema.add_field("embedding", kinds.FLOAT_VECTOR, dim=dim)
        graph = client.prepare_index_params()
        graph.add_index("embedding", index_type="HNSW", metric_type="IP", params=GRAPH)
        client.create_collection(
            name, schema=schema, index_params=graph, consistency_level="Session", timeout=SECONDS
        )

    def count(self, client: Any, expression: str = "") -> int:
        """Return the number of items that an expression holds for, all writes considered."""
        found = client.query(
            self._name,
            filter=expression,
            output_fields=["count(*)"],
            consistency_level="Strong",
            timeout=SECONDS,
        )
        return int(found[0]["count(*)"])


def wait_until_indexed(client: Any, name: str) -> None:
    """Wait until the server has built the graphs of everything in a collection."""
    client.flush(name)  # Without a limit: both may take as long as the gallery is large.
    while True:
        state = client.describe_index(name, "embedding", timeout=SECONDS)
        if state["state"] == "Failed":
            raise InputError(f"Milvus could not build its index of {name}; see the server's log")
        if not state["pending_index_rows"]:
            return
        time.sleep(0.2)


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
