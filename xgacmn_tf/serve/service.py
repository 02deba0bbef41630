"""The service without HTTP: searches, writes and reloads over one store and one live gallery."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import io
import itertools
import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from xgacmn_tf import gallery as galleries
from xgacmn_tf.errors import InputError
from xgacmn_tf.features.image_files import thumbnail
from xgacmn_tf.features.image_preprocessing import read
from xgacmn_tf.names import MODALITIES, SEARCH_SPLITS
from xgacmn_tf.search.engines import make_index
from xgacmn_tf.search.index import Index
from xgacmn_tf.serve import schemas
from xgacmn_tf.serve.encoder import Encoded, Encoder
from xgacmn_tf.serve.errors import RequestError
from xgacmn_tf.serve.live_gallery import LiveGallery
from xgacmn_tf.serve.model_version import ModelVersion, latest_version
from xgacmn_tf.serve.options import ServiceOptions
from xgacmn_tf.serve.queries import search, thumbnail_path
from xgacmn_tf.serve.runners import Runner, make_runner
from xgacmn_tf.serve.store import Item, Parts, Sources, Store

# Written items that are encoded and added to an index at once.
_ITEMS_AT_ONCE = 64
_BROKEN = "image: broken or of another format; expected a whole JPEG or PNG file"
logger = logging.getLogger(__name__)


class Metrics:
    """Prometheus metrics of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = own = CollectorRegistry()
        labels = ["route", "status"]
        self.requests = Counter("xgacmn_requests", "Answered requests", labels, registry=own)
        self.seconds = Histogram(
            "xgacmn_request_seconds", "Seconds until the answer", ["route"], registry=own
        )
        self.items = Gauge("xgacmn_items", "Items in the gallery", registry=own)
        self.version = Gauge("xgacmn_model_version", "Version that is served", registry=own)
        self.index_errors = Counter(
            "xgacmn_index_errors", "Stored writes that an index did not take", registry=own
        )
        self.reloads = Counter("xgacmn_reloads", "Reloads by result", ["result"], registry=own)


class Live(NamedTuple):
    """A version that is served, what runs its signatures, and what it searches."""

    version: ModelVersion
    run: Runner
    gallery: LiveGallery


class Service:
    """Answers requests; methods may be called from several threads after `start`.

    Args:
      options: the options.
    """

    def __init__(self, options: ServiceOptions):
        self.options, self.metrics = options, Metrics()
        self.store = Store(Path(options.items_dir or Path(str(options.run)) / "items"))
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
            _check_image(request.image, self.options.max_pixels)
        live = self.live
        return search(live.gallery, live.version.number, request)

    # ---- Items

    def put(self, request: schemas.ItemRequest) -> schemas.ItemAnswer:
        """Store an item and make it searchable."""
        files = {}
        if request.image is not None:
            _check_image(request.image, self.options.max_pixels)
            files = {"image": request.image, "thumbnail": _make_thumbnail(request.image)}
        live, sources = self.live, request.sources()
        (parts,) = _encode(live.gallery.encoder, [sources])
        item = Item(request.id, request.text, request.title, request.category)
        with self._lock:
            if self.live is not live:
                live = self.live
                (parts,) = _encode(live.gallery.encoder, [sources])
            stored = self.store.get(item.id)
            exists = item.id in live.gallery if stored is None else not stored.deleted
            item = self.store.put(item, sources, files, live.version.fingerprint, parts)
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
        stored, gallery = self.store.get(key), self.live.gallery
        if stored is not None and not stored.deleted:
            revision = stored.revision if stored.has_image else None
            facts = stored.title or stored.text or key, stored.text, stored.category
        else:
            row, base, revision = gallery.base_row(key), gallery.base, None
            if row is None:
                raise _unknown(key)
            category = None if base.category is None else str(base.category[row]) or None
            facts = str(base.title[row]), None, category
        title, text, category = facts
        return schemas.StoredItem(
            id=key,
            title=title,
            text=text,
            category=category,
            written=stored is not None,
            thumbnail=thumbnail_path(gallery, key, revision),
        )

    def thumbnail(self, key: str) -> bytes:
        """Return an encoded thumbnail; raises a `RequestError` if there is none."""
        data = self.store.thumbnail(key) or self.live.gallery.base_thumbnail(key)
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
        self.metrics.version.set(live.version.number)
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
        files = options.gallery or (version.gallery_file,)
        try:
            base = galleries.join([galleries.from_file(path, dims) for path in files])
        except InputError as error:
            remedy = "" if options.gallery else "; export the run again with xgacmn export"
            raise InputError(f"{error}{remedy}") from error
        split = SEARCH_SPLITS[1] if options.gallery else version.record["gallery"]["split"]
        items = self.store.changes()
        revision = items[-1].revision if items else 0
        self._generation += 1
        hidden = {item.id for item in items}
        gallery = LiveGallery(encoder, base, split, hidden, self._make_index)
        live = Live(version, run, gallery)
        self._apply(live, items)
        return live, revision

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
        for start in range(0, len(items), _ITEMS_AT_ONCE):
            parts: dict[Item, Parts] = {}
            new = []
            for item in items[start : start + _ITEMS_AT_ONCE]:
                stored = None if item.deleted else self.store.embeddings(item, fingerprint)
                if item.deleted:
                    live.gallery.delete(item.id)
                elif stored is None:
                    new.append(item)
                else:
                    parts[item] = stored
            encoded = dict(zip(new, self._encoded(encoder, new), strict=True))
            if encoded:
                self.store.put_embeddings(encoded.items(), fingerprint)
            live.gallery.put([*(parts | encoded).items()])

    def _encoded(self, encoder: Encoder, items: list[Item]) -> list[Parts]:
        """Return the encoded images and texts of items; nothing of those that are rejected."""
        try:
            return _encode(encoder, [self.store.sources(item) for item in items])
        except RequestError as error:
            if error.status == 503:
                raise InputError(error.message) from error
            if len(items) > 1:
                return [self._encoded(encoder, [item])[0] for item in items]
            logger.error("item %r is not searchable: %s", items[0].id, error.message)
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


def _check_image(data: bytes, max_pixels: int) -> None:
    """Raise a `RequestError` unless the header is of a JPEG or PNG file of moderate size."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            width, height = image.size
    except Exception as error:  # Pillow's readers raise many types for damaged files.
        raise RequestError(_BROKEN) from error
    if width * height > max_pixels:
        message = f"image: {width} × {height} pixels; at most {max_pixels:,} are accepted"
        raise RequestError(message, 413)


def _make_thumbnail(data: bytes) -> bytes:
    """Return a small WebP file of a checked image, for people to see."""
    pixels = read(data)
    if pixels is None:
        raise RequestError(_BROKEN)
    return thumbnail(Image.fromarray(pixels))


def _release_memory() -> None:
    """Return the memory of the earlier version to the operating system."""
    gc.collect()  # The functions of a SavedModel refer to each other.
    with contextlib.suppress(OSError, AttributeError, TypeError):  # Of GNU's C library only.
        ctypes.CDLL(None).malloc_trim(0)


def _unknown(key: str) -> RequestError:
    return RequestError(f"there is no item {key!r}", 404)
