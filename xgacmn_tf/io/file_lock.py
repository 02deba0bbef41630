"""A lock on a file that the operating system releases when its process ends, however it ends.

Hand-written because the package needs 20 lines of the library `filelock`, and no dependency.
"""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path

# Errors of file systems without locks, such as some network storage.
_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


@contextlib.contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold an exclusive lock on a file during the block, without waiting for it.

    The file is created if need be and stays: if it were deleted, another process might lock a new
    file of that name beside a third process that still holds the old one. On a file system without
    locks the block runs without one.

    Args:
        path: a file in a folder that exists.

    Yields:
        Whether the lock was free.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        yield _lock(file)
    finally:
        os.close(file)  # This releases the lock.


def _lock(file: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in _UNSUPPORTED
    return True
