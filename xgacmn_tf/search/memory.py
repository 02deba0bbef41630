"""Base of the engines that hold the gallery in this process: ids, categories, changes and files.

An engine appends rows. It replaces them in place if it can; otherwise, the row of a replaced item
stays as a tombstone, as that of a deleted one does. Searches pass over tombstones. Once more than
`MAX_DEAD` of all rows are tombstones, the structure is built again.

A structure is searched, and changed in place, under a lock; a new one, which may take minutes to
build, is built outside of it and then replaces the old one.
"""

from __future__ import annotations

import abc
import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from xgacmn_tf.errors import InputError
from xgacmn_tf.io.files import atomic_path, write_json
from xgacmn_tf.search.index import FORMAT, RECORD, Hits, Index, Items, category_names

MAX_DEAD = 1 / 3


class MemoryIndex(Index):
    """Ids and categories by row; the engine's structure holds the vectors in the same order.

    Attributes:
      file: the name of the structure's file.
    """

    file: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._structure: Any = None
        self._dim: int | None = None
        self._rows = _Rows([], [])

    @abc.abstractmethod
    def _build(self, vectors: np.ndarray) -> Any:
        """Return the structure of (n, d) float32 vectors, n at least 1."""

    @abc.abstractmethod
    def _extend(self, structure: Any, vectors: np.ndarray) -> Any:
        """Return a structure with these (m, d) float32 vectors appended."""

    @abc.abstractmethod
    def _vectors(self, structure: Any) -> np.ndarray:
        """Return the (n, d) float32 vectors."""

    @abc.abstractmethod
    def _nearest(
        self, structure: Any, queries: np.ndarray, k: int, rows: np.ndarray | None, all_rows: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return (q, k) rows and (q, k) float32 inner products, best first; row −1 is no hit.

        Args:
          structure: the structure.
          queries: (q, d) float32.
          k: number of hits, at most the number of rows to choose from.
          rows: (n,) bool, the rows to choose from; None for all.
          all_rows: compare the queries with every one of these rows.
        """

    @abc.abstractmethod
    def _write(self, structure: Any, path: Path) -> None:
        """Write a structure to a file."""

    @abc.abstractmethod
    def _read(self, path: Path) -> tuple[Any, int, int]:
        """Return the structure in a file that `_write` wrote, its number of rows, and d."""

    def _overwrite(self, structure: Any, rows: np.ndarray, vectors: np.ndarray) -> bool:
        """Replace the vectors at some rows; return False if the engine cannot."""
        return False

    def _is_outgrown(self, structure: Any, rows: int) -> bool:
        """Tell whether a structure should be built again for this number of rows."""
        return False

    def __len__(self) -> int:
        return len(self._rows.row_of)

    def _reading(self) -> contextlib.AbstractContextManager[Any]:
        return self._lock

    def _width(self) -> int | None:
        return self._dim

    def _index(self, items: Items) -> None:
        self._replace(items.vectors, _Rows(items.ids, items.categories))

    def _upsert(self, items: Items) -> None:
        old, vectors = self._rows, items.vectors
        place = np.array([old.row_of.get(name, -1) for name in items.ids])
        known, new = np.flatnonzero(place >= 0), np.flatnonzero(place < 0)
        replaced = place[known]
        with self._lock:
            if self._overwrite(self._structure, replaced, vectors[known]):
                for row, at in zip(replaced.tolist(), known.tolist(), strict=True):
                    old.set_category(row, items.categories[at])
                known, replaced, appended = known[:0], replaced[:0], new
            else:
                appended = np.arange(len(place))
        size, total = len(old.ids), len(old.ids) + len(appended)
        dead = size - len(old.row_of) + len(replaced)
        if dead > MAX_DEAD * total or self._is_outgrown(self._structure, total):
            # An item that is replaced keeps its place.
            order = np.arange(size)
            order[replaced] = size + known
            order = np.append(order[old.alive], size + new)
            both = np.concatenate([self._vectors(self._structure), vectors])
            joined = _Rows([*old.ids, *items.ids], [*old.categories, *items.categories])
            self._replace(both[order], joined.at(order))
        elif len(appended):
            with self._lock:
                self._structure = self._extend(self._structure, vectors[appended])
                old.bury(replaced.tolist())
                numbers = appended.tolist()
                old.add([items.ids[n] for n in numbers], [items.categories[n] for n in numbers])

    def _delete(self, names: list[str]) -> int:
        old = self._rows
        gone = [old.row_of[name] for name in names if name in old.row_of]
        dead = len(old.ids) - len(old.row_of) + len(gone)
        if dead == len(old.ids):
            with self._lock:
                self._structure, self._rows, self._dim = None, _Rows([], []), None
        elif gone and dead > MAX_DEAD * len(old.ids):
            remain = np.setdiff1d(np.flatnonzero(old.alive), gone)
            self._replace(self._vectors(self._structure)[remain], old.at(remain))
        else:
            with self._lock:
                old.bury(gone)
        return len(gone)

    def _search(self, queries: np.ndarray, k: int, category: str | None) -> Hits:
        rows, count = self._rows.selected(category)
        shape = len(queries), min(k, count)
        if 0 in shape:
            return Hits(np.empty(shape, "U1"), np.empty(shape, np.float32))
        nearest, scores = self._nearest(
            self._structure, queries, shape[1], rows, category is not None
        )
        names = [self._rows.ids[row] if row >= 0 else "" for row in nearest.ravel().tolist()]
        ids = np.array(names, str).reshape(nearest.shape)
        return Hits(ids, np.where(nearest >= 0, scores, -np.inf).astype(np.float32))

    def save(self, folder: str | os.PathLike[str]) -> None:
        folder = Path(folder)
        with self._writing:
            if not len(self):
                raise InputError("the index is empty and cannot be saved; index a gallery first")
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with atomic_path(folder / self.file) as temporary:
                    self._write(self._structure, temporary)
                record = {
                    "format": FORMAT,
                    "kind": self.kind,
                    "effort": self.effort,
                    "sha256": _sha256(folder / self.file, self._rows.ids, self._rows.categories),
                    "bytes": (folder / self.file).stat().st_size,
                    # Tombstones have no id.
                    "ids": self._rows.ids,
                    "categories": self._rows.categories,
                }
                write_json(folder / RECORD, record)
            except OSError as error:
                raise InputError(
                    f"{folder} cannot be written ({error.strerror}); name a folder where you may "
                    "create files"
                ) from error

    def restore(self, folder: Path, record: Mapping[str, Any]) -> None:
        """Load what `save` wrote.

        Args:
          folder: the folder.
          record: the content of its index.json.

        Raises:
          InputError: the file of the structure is missing, or is not the one that was written with
            this record; or the record does not fit it.
        """
        path = folder / self.file
        damaged = InputError(f"{path} is damaged or of another index; index the gallery again")
        try:
            ids, categories, effort = record["ids"], record["categories"], int(record["effort"])
            living = [name for name in ids if name is not None]
            fits = (
                path.stat().st_size == record["bytes"]
                and _sha256(path, ids, categories) == record["sha256"]
                and len(ids) == len(categories)
                and all(isinstance(text, str) for text in (*living, *categories))
                and len(set(living)) == len(living) > 0
                and 0 <= effort < 2**31
            )
            if not fits:
                raise damaged
            structure, rows, dim = self._read(path)
        except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise damaged from error
        if rows != len(ids):
            raise damaged
        self.effort, self._dim = effort, dim
        self._structure, self._rows = structure, _Rows(ids, categories)

    def _replace(self, vectors: np.ndarray, rows: _Rows) -> None:
        structure = self._build(vectors)
        with self._lock:
            self._structure, self._rows, self._dim = structure, rows, vectors.shape[1]


class _Rows:
    """The ids and categories of n rows; the id of a tombstone is None.

    Attributes:
      ids, categories: n each. alive: (n,) bool.
      row_of: id → row, of those that are no tombstones.
    """

    def __init__(self, ids: list[Any], categories: list[str]):
        self.ids: list[Any] = []
        self.categories: list[str] = []
        self.alive = np.zeros(0, bool)
        self.row_of: dict[str, int] = {}
        self._of_category: dict[str, set[int]] = {}
        self.add(ids, categories)

    def add(self, ids: list[Any], categories: list[str]) -> None:
        first = len(self.ids)
        self.ids += ids
        self.categories += categories
        self.alive = np.append(self.alive, [name is not None for name in ids])
        for row, (name, category) in enumerate(zip(ids, categories, strict=True), first):
            if name is not None:
                self.row_of[name] = row
                for one in category_names(category):
                    self._of_category.setdefault(one, set()).add(row)

    def bury(self, rows: list[int]) -> None:
        """Make tombstones of rows."""
        for row in rows:
            del self.row_of[self.ids[row]]
            self.ids[row] = None
            for one in category_names(self.categories[row]):
                self._of_category[one].discard(row)
        self.alive[rows] = False

    def set_category(self, row: int, category: str) -> None:
        """Change the category of a row that is no tombstone."""
        for one in category_names(self.categories[row]):
            self._of_category[one].discard(row)
        self.categories[row] = category
        for one in category_names(category):
            self._of_category.setdefault(one, set()).add(row)

    def selected(self, category: str | None) -> tuple[np.ndarray | None, int]:
        """Return (n,) bool of the rows of a category, or None for all, and their number."""
        if category is None:
            return (None if self.alive.all() else self.alive), len(self.row_of)
        members = self._of_category.get(category, ())
        rows = np.zeros(len(self.ids), bool)
        rows[np.fromiter(members, np.int64, len(members))] = True
        return rows, len(members)

    def at(self, rows: np.ndarray) -> _Rows:
        numbers = rows.tolist()
        return _Rows([self.ids[n] for n in numbers], [self.categories[n] for n in numbers])


def _sha256(path: Path, *names: Any) -> str:
    """Return SHA-256 (hex) of a file, and of names in JSON."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(json.dumps(names).encode())
    return digest.hexdigest()
