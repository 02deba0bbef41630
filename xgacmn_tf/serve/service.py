"""The service without HTTP: searches, writes and reloads over one store and one live gallery."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import threading
import time
from pathlib import Path
from typing import NamedTuple

from xgacmn_tf import gallery as galleries
from xgacmn_tf.errors import InputError
from xgacmn_tf.names import SEARCH_SPLITS
from xgacmn_tf.search.engines import make_index
from xgacmn_tf.search.index import Index
from xgacmn_tf.serve import schemas
from xgacmn_tf.serve.encoder import Encoded, Encoder
from xgacmn_tf.serve.errors import RequestError
from xgacmn_tf.serve.images import check_image, make_thumbnail
from xgacmn_tf.serve.live_gallery import LiveGallery
from xgacmn_tf.serve.metrics import Metrics
from xgacmn_tf.serve.model_version import ModelVersion, latest_version
from xgacmn_tf.serve.options import ServiceOptions
from xgacmn_tf.serve.queries import base_thumbnail_path, search, thumbnail_path
from xgacmn_tf.serve.runners import Runner, make_runner
from xgacmn_tf.serve.store import Item, Parts, Store

# Items that are added to an index at once.
_ITEMS_AT_ONCE = 256
logger = logging.getLogger(__name__)


class Live(NamedTuple):
    """A version that is served, what runs its signatures, and what it searches."""

    version: ModelVersion
    run: Runner
    gallery: LiveGallery


class Service:
    """Answers requests; methods may be called from several threads after `start`.

    Args:
      options: the options.
      metrics: counts writes that an index did not take, and reloads.
    """

    def __init__(self, options: ServiceOptions, metrics: Metrics):
        assert options.run is not None
        self.options, self.metrics = options, metrics
        self.store = Store(Path(options.items_dir or Path(options.run) / "items"))
        self._live: Live | None = None
        # Serializes writes and the switch of versions.
        self._lock = threading.Lock()
        self._reloading = threading.Lock()
        self._generation = 0

    @property
    def live(self) -> Live:
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
            raise RequestError(f"k: {request.k}; expected at most {self.options.max_k}")
        if request.image is not None:
            check_image(request.image, self.options.max_pixels)
        live = self.live
        return search(live.gallery, live.version.number, request)

    # ---- Items

    def put(self, request: schemas.ItemRequest) -> schemas.ItemAnswer:
        """Store an item and make it searchable."""
        thumbnail = None
        if request.image is not None:
            check_image(request.image, self.options.max_pixels)
            thumbnail = make_thumbnail(request.image)
        live = self.live
        parts = _parts(live.gallery.encoder, request.text, request.image)
        item = Item(request.id, request.text, request.title, request.category)
        with self._lock:
            if self.live is not live:
                live = self.live
                parts = _parts(live.gallery.encoder, request.text, request.image)
            stored = self.store.get(item.id)
            exists = item.id in live.gallery if stored is None else not stored.deleted
            fingerprint = live.version.fingerprint
            item = self.store.put(item, request.image, thumbnail, fingerprint, parts)
            # From here on the item is stored, and the answer must say so.
            searchable = any(parts.values()) and self._change(live, item, parts)
        return schemas.ItemAnswer(id=item.id, created=not exists, searchable=searchable)

    def delete(self, key: str) -> None:
        """Delete an item.

        Raises:
          RequestError: there is none of this id.
        """
        with self._lock:
            live = self.live
            stored = self.store.get(key)
            if key not in live.gallery if stored is None else stored.deleted:
                raise _unknown(key)
            self.store.delete(key)
            self._change(live, Item(key, deleted=True), {})

    def _change(self, live: Live, item: Item, parts: Parts) -> bool:
        """Change the gallery as the store was changed, and return whether that succeeded."""
        try:
            if item.deleted:
                live.gallery.delete(item.id)
            else:
                live.gallery.put([(item, parts)])
        except Exception:
            self.metrics.index_errors.inc()
            logger.exception(
                "item %r is stored, but not in the index until the next reload", item.id
            )
            return False
        finally:
            self.metrics.items.set(len(live.gallery))
        return True

    def item(self, key: str) -> schemas.StoredItem:
        """Return an item; raises a `RequestError` if there is none of this id."""
        stored = self.store.get(key)
        if stored is not None and not stored.deleted:
            thumbnail = thumbnail_path(key, stored.revision) if stored.has_image else None
            title = stored.title or stored.text or key
            return schemas.StoredItem(
                id=key, title=title, text=stored.text, category=stored.category, written=True,
                thumbnail=thumbnail,
            )  # fmt: skip
        gallery = self.live.gallery
        row = gallery.base_row(key)
        if row is None:
            raise _unknown(key)
        base = gallery.base
        return schemas.StoredItem(
            id=key,
            title=str(base.title[row]),
            text=None,
            category=None if base.category is None else str(base.category[row]) or None,
            written=False,
            thumbnail=base_thumbnail_path(gallery, key),
        )

    def thumbnail(self, key: str) -> bytes:
        """Return an encoded thumbnail; raises a `RequestError` if there is none."""
        stored = self.store.get(key)
        row = self.live.gallery.base_row(key)
        data = None
        if stored is not None:
            data = self.store.thumbnail(key)
        elif row is not None and self.live.gallery.base.thumbnail is not None:
            data = self.live.gallery.base.thumbnail[row]
        if not data:
            raise RequestError(f"item {key!r} has no thumbnail", 404)
        return data

    # ---- Versions

    def reload(self) -> Live:
        """Serve the highest version in the run folder, with all items, and return it.

        Requests are answered by the earlier version meanwhile.

        Raises:
          RequestError: another reload is running.
          InputError: the version or the gallery cannot be used; the earlier one is still served.
        """
        if not self._reloading.acquire(blocking=False):
            raise RequestError("another reload is running; wait for it", 409)
        start = time.monotonic()
        try:
            live, revision = self._build()
            revision = self._replay(live, revision)
            with self._lock:
                self._replay(live, revision)
                self._live = live
                self.store.keep_embeddings_of(live.version.fingerprint)
        except Exception:
            self.metrics.reloads.labels("failure").inc()
            raise
        finally:
            self._reloading.release()
            _release_memory()
        self.metrics.reloads.labels("success").inc()
        self.metrics.model_version.set(live.version.number)
        self.metrics.items.set(len(live.gallery))
        seconds = time.monotonic() - start
        logger.info("serves version %d after %.1f s", live.version.number, seconds)
        return live

    def _build(self) -> tuple[Live, int]:
        """Return the highest version with all items, and the store's last revision of these."""
        options = self.options
        version = ModelVersion(latest_version(str(options.run)))
        run = make_runner(version, options.encoder, options.encoder_timeout)
        encoder = Encoder(version, run)
        encoder.warm_up()
        dims = encoder.input_dims()
        try:
            parts = [
                galleries.from_file(path, dims)
                for path in options.gallery or (version.gallery_file,)
            ]
        except InputError as error:
            remedy = "" if options.gallery else "; export the run again with xgacmn export"
            raise InputError(f"{error}{remedy}") from error
        split = SEARCH_SPLITS[1]
        if not options.gallery:
            split = version.record["gallery"]["split"]
        items = self.store.changes()
        revision = items[-1].revision if items else 0
        self._generation += 1
        live = LiveGallery(
            encoder, galleries.join(parts), split, {item.id for item in items}, self._make_index
        )
        served = Live(version, run, live)
        self._apply(served, items)
        return served, revision

    def _make_index(self, modality: str, size: int) -> Index:
        options = self.options
        # The collections of the earlier version answer until the switch.
        name = f"{options.milvus_collection}_{modality}_{self._generation % 2}"
        return make_index(
            options.index,
            size,
            milvus_uri=options.milvus_uri,
            milvus_collection=name,
            milvus_token=options.milvus_token,
        )

    def _replay(self, live: Live, since: int) -> int:
        """Apply what was written after a revision, and return the last revision."""
        items = self.store.changes(since)
        self._apply(live, items)
        return items[-1].revision if items else since

    def _apply(self, live: Live, items: list[Item]) -> None:
        encoder, fingerprint = live.gallery.encoder, live.version.fingerprint
        batch: list[tuple[Item, Parts]] = []
        for item in items:
            if item.deleted:
                live.gallery.delete(item.id)
                continue
            parts = self.store.embeddings(item, fingerprint)
            if parts is None:
                image = self.store.image(item.id) if item.has_image else None
                try:
                    parts = _parts(encoder, item.text, image)
                except RequestError as error:
                    if error.status == 503:
                        raise InputError(error.message) from error
                    logger.error("item %r is not searchable: %s", item.id, error.message)
                    parts = {}
                self.store.put_embeddings(item, fingerprint, parts)
            batch.append((item, parts))
            if len(batch) == _ITEMS_AT_ONCE:
                live.gallery.put(batch)
                batch = []
        live.gallery.put(batch)


def _parts(encoder: Encoder, text: str | None, image: bytes | None) -> dict[str, Encoded | None]:
    parts = {}
    if image is not None:
        parts["image"] = encoder.encode("image", "raw", image)
    if text is not None:
        parts["text"] = encoder.encode("text", "raw", text)
    return parts


def _release_memory() -> None:
    """Return the memory of the earlier version to the operating system."""
    gc.collect()  # The functions of a SavedModel refer to each other.
    with contextlib.suppress(OSError, AttributeError, TypeError):  # Of GNU's C library only.
        ctypes.CDLL(None).malloc_trim(0)


def _unknown(key: str) -> RequestError:
    return RequestError(f"there is no item {key!r}", 404)
