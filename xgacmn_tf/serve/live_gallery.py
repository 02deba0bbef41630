"""Searchable items of one model version: the base gallery and the items written since.

Images and texts are searched separately, on one shelf each. The base gallery is embedded as in the
version's own searches, so that both find the same. Of equal images in it, the first one stands for
all (`Gallery.distinct`); when it is deleted, the remaining ones are embedded again.

Searches may run at any time; the service serializes `put` and `delete`.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from xgacmn_tf.gallery import Gallery, combines, compares_features, search_embeddings
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.names import MODALITIES, OTHER
from xgacmn_tf.search.index import Index, category_names
from xgacmn_tf.search.recall import QUERIES, tune
from xgacmn_tf.serve.encoder import Encoded, Encoder
from xgacmn_tf.serve.store import Item, Parts

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
    """Entries of one modality in an index; its methods may be called from several threads."""

    def __init__(self, index: Index):
        self.index = index
        self._entries: dict[str, Entry] = {}
        self._is_indexed = False

    def fill(self, entries: Sequence[Entry], queries: Callable[[], np.ndarray]) -> None:
        """Replace the content of the index, at least one entry, and choose its effort by recall.

        Args:
          entries: the entries.
          queries: returns (q, e) float32 embeddings of the other modality; q may be 0.
        """
        self._entries = {entry.id: entry for entry in entries}
        embeddings = np.stack([entry.embedding for entry in entries])
        self.index.index(embeddings, [e.id for e in entries], [e.category for e in entries])
        self._is_indexed = True
        if efforts := self.index.efforts():
            sample = queries()
            if len(sample):
                logger.info("%s", tune(self.index, embeddings, sample))
            else:
                self.index.effort = max(efforts)

    def put(self, entries: Sequence[Entry]) -> None:
        """Add entries; one whose id is there already is replaced."""
        if not entries:
            return
        # First the facts, then the index: a search finds nothing of which it has no facts.
        self._entries |= {entry.id: entry for entry in entries}
        embeddings = np.stack([entry.embedding for entry in entries])
        ids, categories = [e.id for e in entries], [e.category for e in entries]
        if self._is_indexed:
            self.index.upsert(ids, embeddings, categories)
        else:  # A server may still hold what an earlier process wrote.
            self.index.index(embeddings, ids, categories)
            self._is_indexed = True

    def remove(self, key: str) -> None:
        """Remove the entry of this id, if there is one."""
        if self._entries.pop(key, None) is not None:
            self.index.delete([key])

    def categories(self) -> set[str]:
        """Return the categories by which entries are found, see `category_names`."""
        several = {entry.category for entry in [*self._entries.values()] if entry.category}
        return {name for each in several for name in category_names(each)}

    def nearest(
        self, embedding: np.ndarray, k: int, category: str | None
    ) -> list[tuple[Entry, float]]:
        """Return the nearest k entries of a category or of all, with their scores, best first."""
        if not self._entries:
            return []
        found = self.index.query(embedding[np.newaxis], k, category)
        scores = zip(found.ids[0].tolist(), found.scores[0].tolist(), strict=True)
        # An item that was deleted meanwhile has no entry any more.
        entries = [(self._entries.get(key), score) for key, score in scores]
        return [(entry, score) for entry, score in entries if entry is not None]


class LiveGallery:
    """The searchable items of a version.

    Args:
      encoder: the version's encoders.
      base: the base gallery, with features.
      split: "all" if the encoders were trained on items of it, else "test".
      hidden: ids of the base gallery that were deleted or replaced.
      make_index: makes the index of a modality for a number of items.
    """

    def __init__(
        self,
        encoder: Encoder,
        base: Gallery,
        split: str,
        hidden: Collection[str],
        make_index: Callable[[str, int], Index],
    ):
        self.encoder, self.split = encoder, split
        # `search_embeddings` needs no more of an encoder than `Encoder` has.
        self._model = cast(CommonSpaceEncoder, encoder)
        self.combined = combines(self._model, encoder.similarity, base)
        self.captions = compares_features(self._model, encoder.similarity, base)
        self.base = base = base.take(np.flatnonzero(~np.isin(base.id, np.array([*hidden], str))))
        self._base_row = {str(key): row for row, key in enumerate(base.id)}
        self._written: set[str] = set()
        self._group: dict[str, np.ndarray] = {}
        entries = {modality: self._entries(base, modality) for modality in MODALITIES}
        self.shelves = {m: Shelf(make_index(m, len(each))) for m, each in entries.items()}
        for modality in MODALITIES:
            if entries[modality]:
                self._group[modality] = base.distinct(modality)[1]
                sample = functools.partial(self._sample, modality)
                self.shelves[modality].fill(entries[modality], sample)

    def __len__(self) -> int:
        return len(self._base_row) + len(self._written)

    def __contains__(self, key: str) -> bool:
        return key in self._base_row or key in self._written

    def base_item(self, key: str) -> Item | None:
        """Return an item of the base gallery; None if it is deleted, replaced or unknown."""
        row, category = self._base_row.get(key), self.base.category
        if row is None:
            return None
        known = None if category is None else str(category[row]) or None
        return Item(key, title=str(self.base.title[row]), category=known)

    def base_thumbnail(self, key: str) -> bytes:
        """Return the encoded thumbnail of an item of the base gallery, or b""."""
        row, thumbnails = self._base_row.get(key), self.base.thumbnail
        return b"" if row is None or thumbnails is None else thumbnails[row]

    # ---- Changes

    def put(self, items: Sequence[tuple[Item, Parts]]) -> None:
        """Add items with their encoded image and text; one with a known id is replaced."""
        entries: dict[str, list[Entry]] = {modality: [] for modality in MODALITIES}
        for item, parts in items:
            self._release(item.id)
            self._written.add(item.id)
            for modality in MODALITIES:
                embedding = self._embedding(modality, parts)
                if embedding is None:
                    self.shelves[modality].remove(item.id)
                    continue
                title = item.title or item.text or item.id
                revision = item.revision if item.has_image else None
                entry = Entry(item.id, title, item.category or "", embedding, revision)
                entries[modality].append(entry)
        for modality, shelf in self.shelves.items():
            shelf.put(entries[modality])

    def delete(self, key: str) -> None:
        """Remove an item; nothing happens if there is none of this id."""
        self._release(key)
        self._written.discard(key)
        for shelf in self.shelves.values():
            shelf.remove(key)

    def _release(self, key: str) -> None:
        """Forget a row of the base gallery, and embed those again that it stood for or was in."""
        row = self._base_row.pop(key, None)
        if row is None:
            return
        for modality, group in self._group.items():
            members = np.flatnonzero(group == group[row])
            if group[row] < 0 or len(members) == 1:
                continue
            ids = self.base.id[members].tolist()
            rest = [m for m, name in zip(members, ids, strict=True) if name in self._base_row]
            # One of these names is on the shelf.
            for name in ids:
                self.shelves[modality].remove(name)
            remaining = self.base.take(np.array(rest, np.int64))
            self.shelves[modality].put(self._entries(remaining, modality))

    # ---- Searches

    def query_embedding(self, modality: str, find: str, query: Encoded) -> np.ndarray:
        """Return what a query is compared with items by, (e,) float32.

        Args:
          modality: of the query.
          find: the modality of the items.
          query: the encoded query.
        """
        captions = query.captions if modality == "text" else None
        return self._with_captions(find, query.embedding, captions)

    def _embedding(self, modality: str, parts: Parts) -> np.ndarray | None:
        """Return what searches find an item by, as `search_embeddings` does for the base."""
        own, other = parts.get(modality), parts.get(OTHER[modality])
        if own is None:
            return None
        embedding, captions = own.embedding, None
        if self.combined and other is not None:
            embedding = ((own.embedding + other.embedding) / 2).astype(np.float32)
            captions = other.captions
        return self._with_captions(modality, embedding, captions)

    def _with_captions(
        self, find: str, embedding: np.ndarray, captions: np.ndarray | None
    ) -> np.ndarray:
        """Return an embedding (e,) as wide as those of the items that are found."""
        if not (self.captions and find == "image"):
            return embedding
        if captions is None:
            captions = np.zeros(self.encoder.text_map.output_dim, np.float32)
        both = self.encoder.with_caption_features(embedding[np.newaxis], captions[np.newaxis])
        return np.asarray(both[0], np.float32)

    def _entries(self, base: Gallery, modality: str) -> list[Entry]:
        """Return the entries of a modality for items of the base gallery."""
        if modality not in base.features or not base.has(modality).any():
            return []
        items, embeddings = search_embeddings(
            self._model, self.encoder.similarity, base, modality, self.combined, self.captions
        )
        categories = np.full(len(items), "") if items.category is None else items.category
        facts = (items.id.tolist(), items.title.tolist(), categories.tolist(), embeddings)
        return [Entry(*each) for each in zip(*facts, strict=True)]

    def _sample(self, find: str) -> np.ndarray:
        """Return embeddings (q, e) of base items of the other modality, as queries."""
        modality = OTHER[find]
        features = self.base.features.get(modality, np.empty((0, 0)))
        features = features[features.any(axis=1)]
        rows = np.random.default_rng(0).permutation(len(features))[:QUERIES]
        encoded = self.encoder.encode(modality, "features", [*features[rows]]) if len(rows) else []
        queries = [self.query_embedding(modality, find, q) for q in encoded if q is not None]
        return np.stack(queries) if queries else np.empty((0, 0), np.float32)
