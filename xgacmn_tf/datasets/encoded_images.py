"""Encoded images of data set libraries, written to files for extraction."""

import hashlib
from pathlib import Path

from xgacmn_tf.io.files import atomic_path


class EncodedImages:
    """A folder of image files that are named by their content.

    Args:
        cache_dir: the folder for all caches.

    Attributes:
        folder: where the paths that `save` returns start.
    """

    def __init__(self, cache_dir: Path):
        self.folder = cache_dir / "images"

    def save(self, content: bytes) -> str:
        """Write an encoded image, unless it is there, and return its path in the folder."""
        key = hashlib.sha256(content).hexdigest()[:24]
        name = f"{key[:2]}/{key}"
        path = self.folder / name
        if not path.is_file() or path.stat().st_size != len(content):
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary:
                temporary.write_bytes(content)
        return name
