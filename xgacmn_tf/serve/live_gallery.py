"""What one version of a model searches: a base gallery and the items written since.

Images and texts are searched separately, on one shelf each. The base gallery is embedded as in the
version's own searches, so that both find the same. Of equal images in it, the first one stands for
all (`Gallery.distinct`); when it is deleted, the remaining ones are embedded again.

Searches may run at any time; the service serializes `put` and `delete`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from typing import Any, cast

import numpy as np

from xgacmn_tf.gallery import Gallery, combines, compares_features, search_embeddings
from xgacmn_tf.model.encoders import CommonSpaceEncoder
from xgacmn_tf.names import MODALITIES, OTHER
from xgacmn_tf.search.index import Index
from xgacmn_tf.search.recall import QUERIES
from xgacmn_tf.serve.encoder import Encoded, Encoder
from xgacmn_tf.serve.shelf import Entry, Shelf
from xgacmn_tf.serve.store import Item, Parts


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
        base = _rows(base, np.flatnonzero(~np.isin(base.id, np.array(list(hidden), str))))
        self.base = base
        self._base_row = {str(key): row for row, key in enumerate(base.id)}
        self._written: set[str] = set()
        self.shelves: dict[str, Shelf] = {}
        self._group: dict[str, np.ndarray] = {}
        for modality in MODALITIES:
            items = embeddings = None
            if modality in base.features and len(base):
                items, embeddings = self._embedded(base, modality)
                self._group[modality] = base.distinct(modality)[1]
            index = make_index(modality, 0 if items is None else len(items))
            self.shelves[modality] = Shelf(index, items, embeddings)
        for modality, shelf in self.shelves.items():
            shelf.tune(lambda modality=modality: self._sample(modality))  # type: ignore[misc]

    def __len__(self) -> int:
        return len(self._base_row) + len(self._written)

    def __contains__(self, key: str) -> bool:
        return key in self._base_row or key in self._written

    def base_row(self, key: str) -> int | None:
        """Return the row of an item in `base`, or None if it is deleted, replaced or unknown."""
        return self._base_row.get(key)

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
            if len(members) == 1:
                continue
            ids = self.base.id[members].tolist()
            rest = [m for m, name in zip(members, ids, strict=True) if name in self._base_row]
            # One of these names is on the shelf.
            for name in ids:
                self.shelves[modality].remove(name)
            if rest:
                remaining, embeddings = self._embedded(_rows(self.base, np.array(rest)), modality)
                self.shelves[modality].put(_entries(remaining, embeddings))

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

    def _embedded(self, items: Gallery, modality: str) -> tuple[Gallery, np.ndarray]:
        items, embeddings = search_embeddings(
            self._model, self.encoder.similarity, items, modality, self.combined, self.captions
        )
        if embeddings.shape[1] == self.encoder.width:
            # Without a known caption among these items there are no caption features.
            embeddings = np.stack([self._with_captions(modality, e, None) for e in embeddings])
        return items, embeddings

    def _sample(self, find: str) -> np.ndarray:
        """Return embeddings (q, e) of base items of the other modality, as queries."""
        modality = OTHER[find] if OTHER[find] in self.base.features else find
        features = self.base.features[modality]
        features = features[features.any(axis=1)]
        rows = np.random.default_rng(0).permutation(len(features))[:QUERIES]
        queries = [self.encoder.encode(modality, "features", features[row]) for row in rows]
        return np.stack([self.query_embedding(modality, find, q) for q in queries if q is not None])


def _entries(items: Gallery, embeddings: np.ndarray) -> list[Entry]:
    categories = np.full(len(items), "") if items.category is None else items.category
    facts = zip(items.id, items.title, categories, embeddings, strict=True)
    return [Entry(str(key), str(title), str(category), e) for key, title, category, e in facts]


def _rows(gallery: Gallery, rows: np.ndarray) -> Gallery:
    """Return some items of a gallery, whatever arrays it has."""

    def taken(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return value[rows]
        if isinstance(value, tuple):
            return tuple(value[row] for row in rows)
        if isinstance(value, dict):
            return {name: taken(each) for name, each in value.items()}
        return value

    fields = {f.name: taken(getattr(gallery, f.name)) for f in dataclasses.fields(gallery)}
    return Gallery(**fields)
