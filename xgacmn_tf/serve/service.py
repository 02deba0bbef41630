"""The service without HTTP: searches, writes and reloads over one store and one live gallery."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

from xgacmn_tf import gallery as galleries
from xgacmn_tf.errors import InputError
from xgacmn_tf.export.versions import latest_version
from xgacmn_tf.names import MODALITIES
from xgacmn_tf.serve import schemas
from xgacmn_tf.serve.encoder import Encoded, Encoder
from xgacmn_tf.serve.errors import RequestError
from xgacmn_tf.serve.images import check_image, make_thumbnail
from xgacmn_tf.serve.indexes import index_maker
from xgacmn_tf.serve.live_gallery import LiveGallery
from xgacmn_tf.serve.memory import release_later
from xgacmn_tf.serve.metrics import Metrics
from xgacmn_tf.serve.model_version import ModelVersion
from xgacmn_tf.serve.options import ServiceOptions
from xgacmn_tf.serve.queries import search, thumbnail_path
from xgacmn_tf.serve.runners import make_runner
from xgacmn_tf.serve.store import Item, Parts, Sources, Store

# Written items that are encoded and added to an index at once.
_ITEMS_AT_ONCE = 64
logger = logging.getLogger(__name__)


class Service:
    """Answers requests; methods may be called from several threads after `reload`.

    Args:
      options: the options.

    Raises:
      InputError: the written items cannot be opened.
    """

    def __init__(self, options: ServiceOptions):
        self.options, self.metrics = options, Metrics()
        self.store = Store(options.items_folder)
        self._live: LiveGallery | None = None
        # Serializes writes and the switch of versions.
        self._lock = threading.Lock()
        self._reloading = threading.Lock()
        self._generation = 0

    @property
    def live(self) -> LiveGallery:
        """The version that is served.

        Raises:
          RequestError: the gallery is not encoded yet.
        """
        live = self._live
        if live is None:
            raise RequestError("the gallery is being encoded; try again later", 503)
        return live

    # ---- Searches

    def search(self, request: schemas.SearchRequest) -> schemas.SearchAnswer:
        """Return the items nearest to a query."""
        if request.k > self.options.max_k:
            raise RequestError(f"k: expected at most {self.options.max_k}")
        if request.image is not None:
            check_image(request.image, self.options.max_pixels)
        try:
            return search(self.live, request)
        except InputError as error:  # The server of the index does not answer.
            message = "the index cannot be searched; the log has the reason"
            raise RequestError(message, 503, str(error)) from error

    # ---- Items

    def put(self, request: schemas.ItemRequest) -> dict[str, Any]:
        """Store an item and make it searchable."""
        image, thumbnail = request.image, None
        if image is not None:
            check_image(image, self.options.max_pixels)
            thumbnail = make_thumbnail(image)
        live, sources = self.live, request.sources()
        (parts,) = _encode(live.encoder, [sources])
        item = Item(request.id, request.text, request.title, request.category)
        with self._lock:
            if self.live is not live:
                live = self.live
                (parts,) = _encode(live.encoder, [sources])
            stored = self.store.get(item.id)
            exists = item.id in live if stored is None else not stored.deleted
            item = self.store.put(
                item, sources, image, thumbnail, live.encoder.version.fingerprint, parts
            )
            # From here on the item is stored, and the answer must say so.
            searchable = any(parts.values()) and self._change(live, item, parts)
        return {"id": item.id, "created": not exists, "searchable": searchable}

    def delete(self, key: str) -> None:
        """Delete an item.

        Raises:
          RequestError: there is none of this id.
        """
        with self._lock:
            live = self.live
            stored = self.store.get(key)
            if key not in live if stored is None else stored.deleted:
                raise _unknown(key)
            self.store.delete(key)
            self._change(live, Item(key, deleted=True), {})

    def restore(self, key: str) -> None:
        """Forget what was written or deleted under an id; the next reload reads the base item.

        Raises:
          RequestError: nothing was written under this id, or a reload is running.
        """
        if not self._reloading.acquire(blocking=False):
            raise RequestError("a reload is running; try again later", 503)
        try:
            with self._lock:
                if self.store.get(key) is None:
                    raise RequestError(f"item {key!r} was neither written nor deleted", 404)
                self.store.forget(key)
                self._change(self.live, Item(key, deleted=True), {})
        finally:
            self._reloading.release()

    def _change(self, live: LiveGallery, item: Item, parts: Parts) -> bool:
        """Change the gallery as the store was changed, and return whether that succeeded."""
        try:
            if item.deleted:
                live.delete(item.id)
            else:
                live.put([(item, parts)])
        except Exception:
            self.metrics.index_errors.inc()
            logger.exception(
                "item %r is stored, but not in the index until the next reload", item.id
            )
            return False
        finally:
            self.metrics.items.set(len(live))
        return True

    def item(self, key: str) -> dict[str, Any]:
        """Return an item; raises a `RequestError` if there is none of this id."""
        item = self.store.get(key)
        if item is None or item.deleted:
            item = self.live.base_item(key)
        if item is None:
            raise _unknown(key)
        revision = item.revision if item.has_image else None
        return {
            "id": key,
            "title": item.title or item.text or key,
            "text": item.text,
            "category": item.category,
            "written": item.revision > 0,  # Else it is from the base gallery.
            "thumbnail": thumbnail_path(self.live, key, revision),
        }

    def thumbnail(self, key: str) -> bytes:
        """Return an encoded thumbnail; raises a `RequestError` if there is none."""
        data = self.store.thumbnail(key) or self.live.base_thumbnail(key)
        if not data:
            raise RequestError(f"item {key!r} has no thumbnail", 404)
        return data

    # ---- Versions

    def reload(self) -> LiveGallery:
        """Serve the highest version in the run folder, with all items, and return it.

        Requests are answered by the earlier version meanwhile.

        Raises:
          RequestError: another reload is running.
          InputError: the version or the gallery cannot be used; the earlier one is still served.
        """
        if not self._reloading.acquire(blocking=False):
            if self._live is None:
                raise RequestError("the service is still starting; try again later", 503)
            raise RequestError("another reload is running; wait for it", 409)
        start, earlier = time.monotonic(), self._live
        try:
            live = self._build()
            revision = self._replay(live, self._replay(live, 0))
            with self._lock:
                self._replay(live, revision)
                self._live = live
                self._generation += 1
        except Exception:
            self.metrics.reloads.labels("failure").inc()
            raise
        finally:
            self._reloading.release()
        if earlier is not None:
            release_later(earlier)
        self.metrics.reloads.labels("success").inc()
        self.metrics.version.set(live.encoder.version.number)
        self.metrics.items.set(len(live))
        seconds = time.monotonic() - start
        logger.info("serves version %d after %.1f s", live.encoder.version.number, seconds)
        return live

    def _build(self) -> LiveGallery:
        """Return the base gallery of the highest version, without written and deleted items."""
        options = self.options
        version = ModelVersion(latest_version(str(options.run)))
        run = make_runner(version, options.encoder, options.encoder_timeout)
        encoder = Encoder(version, run)
        encoder.warm_up()
        dims = encoder.input_dims()
        files = options.gallery or (version.gallery_file,)
        try:
            base = galleries.join([galleries.from_file(path, dims) for path in files])
        except InputError as error:
            remedy = "" if options.gallery else "; export the run again with xgacmn export"
            raise InputError(f"{error}{remedy}") from error
        split = galleries.TEST if options.gallery else version.record["gallery"]["split"]
        hidden = {item.id for item in self.store.changes()}
        return LiveGallery(encoder, base, split, hidden, index_maker(options, self._generation + 1))

    def _replay(self, live: LiveGallery, since: int) -> int:
        """Apply what was written after a revision, and return the last revision."""
        items = self.store.changes(since)
        fingerprint = live.encoder.version.fingerprint
        for start in range(0, len(items), _ITEMS_AT_ONCE):
            parts: dict[Item, Parts] = {}
            new = []
            for item in items[start : start + _ITEMS_AT_ONCE]:
                if item.deleted:
                    live.delete(item.id)
                elif stored := self.store.embeddings(item, fingerprint):
                    parts[item] = stored
                else:
                    new.append(item)
            encoded = dict(zip(new, self._encoded(live.encoder, new), strict=True))
            self.store.put_embeddings(encoded.items(), fingerprint)
            self._add(live, [*(parts | encoded).items()])
        return items[-1].revision if items else since

    def _add(self, live: LiveGallery, items: Sequence[tuple[Item, Parts]]) -> None:
        """Add items to a gallery; those that its index rejects are logged."""
        try:
            live.put(items)
        except InputError as error:
            if error.__cause__ is not None:  # No check of the items: the index itself failed.
                raise
            if len(items) > 1:
                for each in items:
                    self._add(live, [each])
            else:
                self.metrics.index_errors.inc()
                logger.error("item %r is not searchable: %s", items[0][0].id, error)

    def _encoded(self, encoder: Encoder, items: list[Item]) -> list[Parts]:
        """Return the encoded images and texts of items; nothing of those that are rejected."""
        try:
            return _encode(encoder, [self.store.sources(item) for item in items])
        except RequestError as error:
            if error.status == 503:
                raise InputError(str(error)) from error
            if len(items) > 1:
                return [self._encoded(encoder, [item])[0] for item in items]
            logger.error("item %r is not searchable: %s", items[0].id, error)
            return [{}]


def _encode(encoder: Encoder, items: Sequence[Sources]) -> list[Parts]:
    """Encode the images and texts of items, all of one kind at once."""
    parts: list[dict[str, Encoded | None]] = [{} for _ in items]
    for modality, form in itertools.product(MODALITIES, ("raw", "features")):
        rows = [row for row, item in enumerate(items) if item.get(modality, ("",))[0] == form]
        if rows:
            encoded = encoder.encode(modality, form, [items[row][modality][1] for row in rows])
            for row, each in zip(rows, encoded, strict=True):
                parts[row][modality] = each
    return [*parts]


def _unknown(key: str) -> RequestError:
    return RequestError(f"there is no item {key!r}", 404)
