"""The written items of a service, in one SQLite file.

A write is on the disk when its method returns: the journal is written ahead and flushed at every
commit. Deleted items leave a row without content, so that items of the base gallery stay deleted.
Every write has a number, its revision; `changes` returns what was written after one.

Embeddings are stored under the fingerprint of the version that made them. They are a cache: items
of another fingerprint or an older revision are encoded again.
"""

from __future__ import annotations

import dataclasses
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xgacmn_tf.errors import InputError, one_line
from xgacmn_tf.serve.encoder import Encoded

_SCHEMA = """
CREATE TABLE IF NOT EXISTS items (
    id TEXT PRIMARY KEY, revision INTEGER NOT NULL, deleted INTEGER NOT NULL,
    text TEXT, title TEXT, category TEXT, image BLOB, thumbnail BLOB);
CREATE INDEX IF NOT EXISTS items_by_revision ON items (revision);
CREATE TABLE IF NOT EXISTS embeddings (
    id TEXT, fingerprint TEXT, modality TEXT, revision INTEGER NOT NULL,
    embedding BLOB NOT NULL, captions BLOB, PRIMARY KEY (id, fingerprint, modality));
"""
_SELECT = "SELECT id, text, title, category, image IS NOT NULL, revision, deleted FROM items "

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
            self._writer.executescript(_SCHEMA)
            self.latest = int(self._read("SELECT COALESCE(MAX(revision), 0) FROM items")[0][0])
        except (OSError, sqlite3.Error) as error:
            raise InputError(
                f"--items_dir={folder}: {self.path.name} cannot be opened ({one_line(error)}); "
                "name a folder where you may create files, or restore the file"
            ) from error

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=30, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        return connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._writing, self._writer:
            yield self._writer

    def _read(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self._reading:
            return self._reader.execute(query, values).fetchall()

    def put(
        self,
        item: Item,
        image: bytes | None,
        thumbnail: bytes | None,
        fingerprint: str,
        parts: Parts,
    ) -> Item:
        """Store an item with its embeddings, instead of one with the same id, and return it."""
        item = dataclasses.replace(item, revision=self.latest + 1, has_image=image is not None)
        with self._transaction() as writer:
            values = (item.id, item.revision, 0, item.text, item.title, item.category)
            writer.execute(
                "INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*values, image, thumbnail),
            )
            self._put_embeddings(writer, item, fingerprint, parts)
        self.latest = item.revision
        return item

    def delete(self, key: str) -> None:
        """Store that there is no item of this id."""
        with self._transaction() as writer:
            writer.execute(
                "INSERT OR REPLACE INTO items (id, revision, deleted) VALUES (?, ?, 1)",
                (key, self.latest + 1),
            )
            writer.execute("DELETE FROM embeddings WHERE id = ?", (key,))
        self.latest += 1

    def put_embeddings(self, item: Item, fingerprint: str, parts: Parts) -> None:
        """Store the embeddings of an item by another version."""
        with self._transaction() as writer:
            self._put_embeddings(writer, item, fingerprint, parts)

    def _put_embeddings(
        self, writer: sqlite3.Connection, item: Item, fingerprint: str, parts: Parts
    ) -> None:
        writer.execute(
            "DELETE FROM embeddings WHERE id = ? AND fingerprint = ?", (item.id, fingerprint)
        )
        for modality, part in parts.items():
            captions = None if part is None or part.captions is None else part.captions.tobytes()
            embedding = b"" if part is None else part.embedding.tobytes()
            writer.execute(
                "INSERT INTO embeddings VALUES (?, ?, ?, ?, ?, ?)",
                (item.id, fingerprint, modality, item.revision, embedding, captions),
            )

    def keep_embeddings_of(self, fingerprint: str) -> None:
        """Delete the embeddings by all other versions."""
        with self._transaction() as writer:
            writer.execute("DELETE FROM embeddings WHERE fingerprint != ?", (fingerprint,))

    def embeddings(self, item: Item, fingerprint: str) -> Parts | None:
        """Return the stored embeddings of an item, or None if they must be computed."""
        rows = self._read(
            "SELECT modality, embedding, captions FROM embeddings "
            "WHERE id = ? AND fingerprint = ? AND revision = ?",
            *(item.id, fingerprint, item.revision),
        )
        parts: dict[str, Encoded | None] = {}
        for modality, embedding, captions in rows:
            parts[modality] = None
            if embedding:
                vector = np.frombuffer(embedding, np.float32)
                more = None if captions is None else np.frombuffer(captions, np.float32)
                parts[modality] = Encoded(vector, more)
        return parts or None

    def get(self, key: str) -> Item | None:
        """Return an item, which may be deleted; None if this id was never written."""
        rows = self._read(_SELECT + "WHERE id = ?", key)
        return _item(rows[0]) if rows else None

    def changes(self, since: int = 0) -> list[Item]:
        """Return the items that were written or deleted after a revision, the oldest first."""
        rows = self._read(_SELECT + "WHERE revision > ? ORDER BY revision", since)
        return [_item(row) for row in rows]

    def image(self, key: str) -> bytes | None:
        """Return the image of an item."""
        return self._value("SELECT image FROM items WHERE id = ?", key)

    def thumbnail(self, key: str) -> bytes | None:
        """Return the thumbnail of an item."""
        return self._value("SELECT thumbnail FROM items WHERE id = ?", key)

    def _value(self, query: str, key: str) -> bytes | None:
        rows = self._read(query, key)
        return rows[0][0] if rows else None

    def close(self) -> None:
        with self._writing, self._reading:
            self._writer.close()
            self._reader.close()


def _item(row: tuple[Any, ...]) -> Item:
    key, text, title, category, has_image, revision, deleted = row
    return Item(key, text, title, category, bool(has_image), revision, bool(deleted))
