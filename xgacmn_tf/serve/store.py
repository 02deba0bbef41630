"""The written items of a service, in one SQLite file.

A write is on the disk when its method returns: the journal is written ahead and flushed at every
commit. Deleted items leave a row without content, so that items of the base gallery stay deleted.
Every write has a number, its revision, which is never used again; `changes` returns what was
written after one.

Embeddings are stored under the fingerprint of the version that made them. They are a cache: items
of another fingerprint or an older revision are encoded again.
"""

from __future__ import annotations

import dataclasses
import sqlite3
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xgacmn_tf.errors import InputError, one_line
from xgacmn_tf.names import MODALITIES
from xgacmn_tf.serve.encoder import Encoded

_SCHEMA = """
CREATE TABLE IF NOT EXISTS items (
    id TEXT PRIMARY KEY, revision INTEGER NOT NULL, deleted INTEGER NOT NULL,
    text TEXT, title TEXT, category TEXT, image BLOB, thumbnail BLOB);
CREATE INDEX IF NOT EXISTS items_by_revision ON items (revision);
CREATE TABLE IF NOT EXISTS features (id TEXT PRIMARY KEY, image BLOB, text BLOB);
CREATE TABLE IF NOT EXISTS encoded (
    id TEXT PRIMARY KEY, revision INTEGER, fingerprint TEXT, image BLOB, text BLOB, captions BLOB);
DROP TABLE IF EXISTS embeddings;
"""
_PUT_ITEM = "INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_PUT_ENCODED = "INSERT OR REPLACE INTO encoded VALUES (?, ?, ?, ?, ?, ?)"
_SELECT = "SELECT id, text, title, category, image IS NOT NULL, revision, deleted FROM items "

# Modality → what it is encoded from: "raw" with an image file or a text, or "features" with (d,).
Sources = Mapping[str, tuple[str, Any]]
# Modality → its embedding; None where the encoder sees nothing in it.
Parts = Mapping[str, Encoded | None]


@dataclass(frozen=True)
class Item:
    """A written item, or the trace of a deleted one.

    Attributes:
      id: unique.
      text: a caption, or None.
      title: shown to people, or None.
      category: as known, several joined by ", "; or None.
      has_image: whether there is an image.
      revision: number of the write; 0 before it.
      deleted: whether it was deleted.
    """

    id: str
    text: str | None = None
    title: str | None = None
    category: str | None = None
    has_image: bool = False
    revision: int = 0
    deleted: bool = False


class Store:
    """The items in `<folder>/items.db`; its methods may be called from several threads.

    Args:
      folder: created if it does not exist.

    Raises:
      InputError: the file cannot be opened or is no such database.
    """

    def __init__(self, folder: Path):
        self.path = folder / "items.db"
        # Reads do not wait for the flush of a write.
        self._reading, self._writing = threading.Lock(), threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._writer, self._reader = self._connect(), self._connect()
            found = self._read(
                "SELECT name FROM sqlite_schema WHERE type NOT IN ('table', 'index')"
            )
            if found:
                raise InputError(
                    f"{self.path} has a trigger or view, {found[0][0]!r}, which this service never "
                    "makes; delete the file, or restore it from a backup"
                )
            self._writer.executescript(_SCHEMA)
            ((written,),) = self._read("SELECT COALESCE(MAX(revision), 0) FROM items")
            ((before,),) = self._read("PRAGMA user_version")  # See `forget`.
            self.latest = max(int(written), int(before))
        except (OSError, sqlite3.Error) as error:
            raise InputError(
                f"--items_dir={folder}: {self.path.name} cannot be opened ({one_line(error)}); "
                "name a folder where you may create files, or restore the file"
            ) from error

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=30, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA trusted_schema = OFF")
        return connection

    def _read(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self._reading:
            return self._reader.execute(query, values).fetchall()

    def put(
        self,
        item: Item,
        sources: Sources,
        image: bytes | None,
        thumbnail: bytes | None,
        fingerprint: str,
        parts: Parts,
    ) -> Item:
        """Store an item instead of one with the same id, and return it.

        Args:
          item: the item.
          sources: what it is encoded from.
          image, thumbnail: what is shown.
          fingerprint, parts: the version that encoded it, and its embeddings.
        """
        forms = [sources.get(modality, ("raw", None)) for modality in MODALITIES]
        features = [None if f == "raw" else np.asarray(v, np.float32).tobytes() for f, v in forms]
        with self._writing, self._writer as writer:
            revision = self.latest + 1
            item = dataclasses.replace(item, revision=revision, has_image=image is not None)
            values = (item.id, item.revision, 0, item.text, item.title, item.category)
            writer.execute(_PUT_ITEM, (*values, image, thumbnail))
            writer.execute("INSERT OR REPLACE INTO features VALUES (?, ?, ?)", (item.id, *features))
            writer.execute(_PUT_ENCODED, _encoded_row(item, fingerprint, parts))
            self.latest = revision
        return item

    def delete(self, key: str) -> None:
        """Store that there is no item of this id."""
        with self._writing, self._writer as writer:
            revision = self.latest + 1
            writer.execute(_PUT_ITEM, (key, revision, 1, *[None] * 5))
            writer.execute("DELETE FROM features WHERE id = ?", (key,))
            writer.execute("DELETE FROM encoded WHERE id = ?", (key,))
            self.latest = revision

    def forget(self, key: str) -> None:
        """Remove every trace of an id, as if it had never been written or deleted."""
        with self._writing, self._writer as writer:
            writer.execute("DELETE FROM items WHERE id = ?", (key,))
            # Its revision may have been the latest one.
            writer.execute(f"PRAGMA user_version = {self.latest}")
            writer.execute("DELETE FROM features WHERE id = ?", (key,))
            writer.execute("DELETE FROM encoded WHERE id = ?", (key,))

    def put_embeddings(self, items: Iterable[tuple[Item, Parts]], fingerprint: str) -> None:
        """Store the embeddings of items by another version."""
        rows = [_encoded_row(item, fingerprint, parts) for item, parts in items]
        with self._writing, self._writer as writer:
            writer.executemany(_PUT_ENCODED, rows)

    def get(self, key: str) -> Item | None:
        """Return an item, which may be deleted; None if this id was never written."""
        rows = self._read(_SELECT + "WHERE id = ?", key)
        return Item(*rows[0]) if rows else None

    def changes(self, since: int = 0) -> list[Item]:
        """Return the items that were written or deleted after a revision, the oldest first."""
        rows = self._read(_SELECT + "WHERE revision > ? ORDER BY revision", since)
        return [Item(*row) for row in rows]

    def sources(self, item: Item) -> Sources:
        """Return what a stored item is encoded from."""
        rows = self._read("SELECT image FROM items WHERE id = ?", item.id)
        raw = {"image": rows[0][0], "text": item.text}
        sources = {modality: ("raw", value) for modality, value in raw.items() if value is not None}
        for row in self._read("SELECT image, text FROM features WHERE id = ?", item.id):
            for modality, values in zip(MODALITIES, row, strict=True):
                if values is not None:
                    sources[modality] = "features", np.frombuffer(values, np.float32)
        return sources

    def embeddings(self, item: Item, fingerprint: str) -> Parts | None:
        """Return the stored embeddings of an item, or None if they must be computed."""
        query = "SELECT image, text, captions FROM encoded WHERE id = ? AND revision = ?"
        query += " AND fingerprint = ?"
        parts: dict[str, Encoded | None] = {}
        for row in self._read(query, item.id, item.revision, fingerprint):
            image, text, captions = (v if v is None else np.frombuffer(v, np.float32) for v in row)
            if image is not None:
                parts["image"] = Encoded(image)
            if text is not None:
                parts["text"] = Encoded(text, captions)
        return parts or None

    def thumbnail(self, key: str) -> bytes | None:
        """Return the thumbnail of an item."""
        rows = self._read("SELECT thumbnail FROM items WHERE id = ?", key)
        return rows[0][0] if rows else None

    def close(self) -> None:
        with self._writing, self._reading:
            self._writer.close()
            self._reader.close()


def _encoded_row(item: Item, fingerprint: str, parts: Parts) -> tuple[Any, ...]:
    image, text = parts.get("image"), parts.get("text")
    blobs = [None if part is None else part.embedding.tobytes() for part in (image, text)]
    captions = None if text is None or text.captions is None else text.captions.tobytes()
    return (item.id, item.revision, fingerprint, *blobs, captions)
