"""The searchable items of one modality: an index with the facts of each item."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from xgacmn_tf.gallery import Gallery
from xgacmn_tf.search.index import Index

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """An item under which a modality is found.

    Attributes:
      id: its id.
      title: for people.
      category: as known, or "".
      embedding: (e,) float32.
      image_revision: revision of a written item with an image; None without one.
    """

    id: str
    title: str
    category: str
    embedding: np.ndarray
    image_revision: int | None = None


class Shelf:
    """Entries in an index; its methods may be called from several threads.

    The items of the base gallery stay in arrays, so that a large one needs no object per item.

    Args:
      index: an index, whose content is replaced.
      items, embeddings: n items of the base gallery, and (n, e) float32; None without any.
    """

    def __init__(self, index: Index, items: Gallery | None, embeddings: np.ndarray | None):
        self.index = index
        self._items, self._embeddings = items, embeddings
        self._row: dict[str, int] = {}
        self._entries: dict[str, Entry] = {}
        if items is not None and embeddings is not None:
            self._row = {str(key): row for row, key in enumerate(items.id)}
            index.index(embeddings, items.id, items.category)

    def __len__(self) -> int:
        return len(self._row) + len(self._entries)

    def put(self, entries: Sequence[Entry]) -> None:
        """Add entries; one whose id is there already is replaced."""
        if not entries:
            return
        # First the facts, then the index: a search finds nothing of which it has no facts.
        for entry in entries:
            self._entries[entry.id] = entry
            self._row.pop(entry.id, None)
        embeddings = np.stack([entry.embedding for entry in entries])
        ids, categories = [e.id for e in entries], [e.category for e in entries]
        self.index.upsert(ids, embeddings, categories)

    def remove(self, key: str) -> None:
        """Remove the entry of this id, if there is one."""
        is_here = self._entries.pop(key, None) is not None
        is_here = self._row.pop(key, None) is not None or is_here
        if is_here:
            self.index.delete([key])

    def entry(self, key: str) -> Entry | None:
        """Return the entry of an id."""
        entry, row = self._entries.get(key), self._row.get(key)
        if entry is not None or row is None or self._items is None or self._embeddings is None:
            return entry
        category = "" if self._items.category is None else str(self._items.category[row])
        return Entry(key, str(self._items.title[row]), category, self._embeddings[row])

    def nearest(
        self, embedding: np.ndarray, k: int, category: str | None
    ) -> list[tuple[Entry, float]]:
        """Return the nearest entries with their scores, best first.

        Args:
          embedding: (e,) float32 of the query.
          k: number of entries.
          category: None for items of all.
        """
        if not len(self):
            return []
        found = self.index.query(embedding[np.newaxis], k, category)
        hits = []
        for key, score in zip(found.ids[0].tolist(), found.scores[0].tolist(), strict=True):
            # An item that was deleted meanwhile has no entry any more.
            entry = self.entry(key) if key else None
            if entry is not None:
                hits.append((entry, score))
        return hits

    def tune(self, queries: Callable[[], np.ndarray]) -> None:
        """Choose how much of an approximate index each query visits, by recall of queries.

        Args:
          queries: returns (q, e) float32 embeddings of the other modality.
        """
        if self._embeddings is None or not self.index.efforts():
            return
        from xgacmn_tf.search.recall import tune

        logger.info("%s", tune(self.index, self._embeddings, queries()))
