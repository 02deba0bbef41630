"""Release of the memory of versions that are no longer served."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import threading
import time
import weakref

# Seconds in which the last requests to an earlier version end.
_PATIENCE = 60


def release_later(earlier: object) -> None:
    """Free an object in the background once nothing else refers to it.

    Python's collector alone would come late: SavedModels refer to themselves, and in a large heap
    full collections are rare.
    """
    reference = weakref.ref(earlier)
    threading.Thread(target=_release, args=(reference,), daemon=True).start()


def _release(reference: weakref.ref[object]) -> None:
    end = time.monotonic() + _PATIENCE
    while reference() is not None and time.monotonic() < end:
        time.sleep(1)
    gc.collect()
    with contextlib.suppress(OSError, AttributeError, TypeError):  # Of GNU's C library only.
        ctypes.CDLL(None).malloc_trim(0)
