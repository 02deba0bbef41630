"""A store of features on disk, keyed by the content of the items and extracted once.

    <folder>/<hash>.npz     features of up to `PART` items, see `shards.Shard`
    <folder>/<hash>.json    the keys of these items

A folder belongs to one extractor and serves all data sets. If a data set grows, only its new items
are extracted. An interrupted extraction is resumed after the last part that was written. A damaged
part is ignored, and its items are extracted again.
"""

import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from xgacmn_tf.datasets.tables import text_hash
from xgacmn_tf.features.extractor import Extractor
from xgacmn_tf.features.shards import REFUSE, Shard, make_shard, rejection
from xgacmn_tf.groups import file_keys
from xgacmn_tf.io.files import read_json, write_json

_LOGGER = logging.getLogger(__name__)
PART = 512


def item_keys(modality: str, items: Sequence[Path | str]) -> list[str]:
    """Return a key of each item's content: equal items have equal keys.

    Args:
        modality: "image" (items are files) or "text" (items are strings). The key of a file that
            cannot be read is its path.
        items: n items; those that are equal share a key.
    """
    if modality == "image":
        return file_keys([Path(item) for item in items])
    return [text_hash(str(item)) for item in items]


class StoredFeatures:
    """The features of distinct items, filled part by part.

    Attributes:
        feature: (n, d) float32; rows of items without features are undefined.
        row: key → row in `feature`, of the items that have features.
        bad: key → the reason, of the items that have none.
    """

    def __init__(self, keys: Sequence[str]):
        self.feature = np.zeros((len(keys), 0), np.float32)
        self.row: dict[str, int] = {}
        self.bad: dict[str, str] = {}
        self._place = {key: row for row, key in enumerate(keys)}
        self._thumbnail: dict[str, bytes] = {}

    def add(self, keys: Sequence[str], shard: Shard) -> None:
        """Add those items of a part that are wanted here.

        Args:
            keys: of the part's items.
            shard: the part; its reasons name no item.
        """
        dim = shard.feature.shape[1]
        if not self.row:  # Allocated once: joining parts would take the memory twice.
            self.feature = np.zeros((len(self._place), dim), np.float32)
        usable = [keys[row] for row in shard.row.tolist()]
        pairs = [(k, self._place[key]) for k, key in enumerate(usable) if key in self._place]
        if dim != self.feature.shape[1]:
            raise ValueError(f"found {dim} features, expected {self.feature.shape[1]}")
        if pairs:
            sources, targets = map(list, zip(*pairs, strict=True))
            self.feature[targets] = shard.feature[sources]
        self.row |= {usable[k]: row for k, row in pairs}
        if shard.thumbnail:
            self._thumbnail |= {usable[k]: shard.thumbnail[k] for k, _ in pairs}
        unusable = np.delete(np.array(keys, dtype=object), shard.row).tolist()
        reasons = zip(unusable, shard.bad, strict=True)
        self.bad |= {key: reason for key, reason in reasons if key in self._place}

    def take(self, keys: Sequence[str | None]) -> np.ndarray:
        """Return (k, d) features of the items with these keys, as a view of adjacent rows.

        The features of None are zeros.
        """
        rows = [-1 if key is None else self.row[key] for key in keys]
        if rows and None not in keys and rows == list(range(rows[0], rows[0] + len(rows))):
            return self.feature[rows[0] : rows[0] + len(rows)]
        features = self.feature[rows]
        features[np.array(rows) < 0] = 0
        return features

    def thumbnails(self, keys: Sequence[str | None]) -> tuple[bytes, ...]:
        """Return the encoded small images of the items with these keys; b"" for None."""
        return tuple(b"" if key is None else self._thumbnail[key] for key in keys)


def stored_features(
    folder: Path,
    items: Mapping[str, Path | str],
    extractor: Extractor,
    on_bad_image: str = REFUSE,
    advance: Callable[[int], object] = lambda count: None,
) -> StoredFeatures:
    """Return the features of items, after extracting those that are not in the store.

    Args:
        folder: the store; it exists.
        items: key → image file or text, see `item_keys`.
        extractor: the extractor that the folder belongs to.
        on_bad_image: one of `shards.POLICIES`.
        advance: called with the number of items that are done since the last call.

    Raises:
        BadImageError: for the first image that cannot be used, if the policy is "refuse".
    """
    stored, missing = StoredFeatures([*items]), set(items)
    for path in sorted(folder.glob("*.json")):
        try:
            keys = read_json(path)
            if not missing.isdisjoint(keys):
                stored.add(keys, Shard.load(path.with_suffix(".npz"), len(keys)))
        # A damaged file raises many types of errors.
        except Exception:  # noqa: S112
            continue
        advance(len(missing.intersection(keys)))
        missing.difference_update(keys)
    for key in items:
        if on_bad_image == REFUSE and key in stored.bad:
            raise rejection(f"{items[key]}: {stored.bad[key]}")
    new = [key for key in items if key in missing]
    total = len(items)
    _LOGGER.info(
        "%d of %d %ss are in the feature cache", total - len(new), total, extractor.modality
    )
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(new), PART):
            keys = new[start : start + PART]
            shard = make_shard(extractor, [items[k] for k in keys], on_bad_image, pool, advance)
            stored.add(keys, _saved(folder, keys, items, shard))
    stored.bad = {key: stored.bad[key] for key in items if key in stored.bad}
    return stored


def _saved(
    folder: Path, keys: Sequence[str], items: Mapping[str, Path | str], shard: Shard
) -> Shard:
    """Write a part and return it, with reasons that name no item.

    The same content may have another name in another data set.
    """
    unusable = np.delete(np.array(keys, dtype=object), shard.row)
    reasons = [
        reason.removeprefix(f"{items[key]}: ")
        for key, reason in zip(unusable, shard.bad, strict=True)
    ]
    shard = dataclasses.replace(shard, bad=tuple(reasons))
    path = folder / f"{hashlib.sha256(json.dumps(keys).encode()).hexdigest()}.npz"
    shard.save(path)
    write_json(path.with_suffix(".json"), keys)  # The part is complete once its keys exist.
    return shard
