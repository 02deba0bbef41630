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
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xgacmn_tf.errors import InputError, one_line
from xgacmn_tf.names import MODALITIES
from xgacmn_tf.serve.encoder import Encoded

# Files of earlier versions lack the last two columns of the items.
_FEATURES = tuple(f"{modality}_features" for modality in MODALITIES)
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
            self._writer.executescript(_SCHEMA)
            columns = {row[1] for row in self._writer.execute("PRAGMA table_info(items)")}
            for name in {*_FEATURES} - columns:
                self._writer.execute(f"ALTER TABLE items ADD COLUMN {name} BLOB")
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

    def _read(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self._reading:
            return self._reader.execute(query, values).fetchall()

    # ---- Writes

    def put(
        self,
        item: Item,
        sources: Sources,
        files: Mapping[str, bytes],
        fingerprint: str,
        parts: Parts,
    ) -> Item:
        """Store an item with its embeddings, instead of one with the same id, and return it.

        Args:
          item: the item.
          sources: what it is encoded from.
          files: "image" and its "thumbnail", if it has one.
          fingerprint, parts: its embeddings and the version that made them.
        """
        item = dataclasses.replace(item, revision=self.latest + 1, has_image="image" in files)
        row = {"text": item.text, "title": item.title, "category": item.category, **files}
        for modality, (form, value) in sources.items():
            if form == "features":
                row[f"{modality}_features"] = np.asarray(value, np.float32).tobytes()
        with self._writing, self._writer:
            self._put_row({"id": item.id, "revision": item.revision, "deleted": 0} | row)
            self._put_embeddings([(item, parts)], fingerprint)
        self.latest = item.revision
        return item

    def delete(self, key: str) -> None:
        """Store that there is no item of this id."""
        with self._writing, self._writer:
            self._put_row({"id": key, "revision": self.latest + 1, "deleted": 1})
            self._writer.execute("DELETE FROM embeddings WHERE id = ?", (key,))
        self.latest += 1

    def put_embeddings(self, items: Iterable[tuple[Item, Parts]], fingerprint: str) -> None:
        """Store the embeddings of items by another version."""
        with self._writing, self._writer:
            self._put_embeddings(items, fingerprint)

    def keep_embeddings_of(self, fingerprint: str) -> None:
        """Delete the embeddings by all other versions."""
        with self._writing, self._writer:
            self._writer.execute("DELETE FROM embeddings WHERE fingerprint != ?", (fingerprint,))

    def _put_row(self, row: Mapping[str, Any]) -> None:
        names, places = ", ".join(row), ", ".join("?" * len(row))
        query = f"INSERT OR REPLACE INTO items ({names}) VALUES ({places})"
        self._writer.execute(query, tuple(row.values()))

    def _put_embeddings(self, items: Iterable[tuple[Item, Parts]], fingerprint: str) -> None:
        for item, parts in items:
            self._writer.execute(
                "DELETE FROM embeddings WHERE id = ? AND fingerprint = ?", (item.id, fingerprint)
            )
            for modality, part in parts.items():
                embedding = b"" if part is None else part.embedding.tobytes()
                more = None if part is None or part.captions is None else part.captions.tobytes()
                self._writer.execute(
                    "INSERT INTO embeddings VALUES (?, ?, ?, ?, ?, ?)",
                    (item.id, fingerprint, modality, item.revision, embedding, more),
                )

    # ---- Reads

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
        sources: dict[str, tuple[str, Any]] = {}
        query = f"SELECT image, {', '.join(_FEATURES)} FROM items WHERE id = ?"
        ((image, *features),) = self._read(query, item.id)
        if image is not None:
            sources["image"] = "raw", image
        if item.text is not None:
            sources["text"] = "raw", item.text
        for modality, values in zip(MODALITIES, features, strict=True):
            if values is not None:
                sources[modality] = "features", np.frombuffer(values, np.float32)
        return sources

    def embeddings(self, item: Item, fingerprint: str) -> Parts | None:
        """Return the stored embeddings of an item, or None if they must be computed."""
        rows = self._read(
            "SELECT modality, embedding, captions FROM embeddings "
            "WHERE id = ? AND fingerprint = ? AND revision = ?",
            *(item.id, fingerprint, item.revision),
        )
        parts: dict[str, Encoded | None] = {}
        for modality, embedding, captions in rows:
            more = None if captions is None else np.frombuffer(captions, np.float32)
            vector = np.frombuffer(embedding, np.float32)
            parts[modality] = Encoded(vector, more) if embedding else None
        return parts or None

    def thumbnail(self, key: str) -> bytes | None:
        """Return the thumbnail of an item."""
        rows = self._read("SELECT thumbnail FROM items WHERE id = ?", key)
        return rows[0][0] if rows else None

    def close(self) -> None:
        with self._writing, self._reading:
            self._writer.close()
            self._reader.close()
