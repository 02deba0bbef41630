"""Arrays of numbers and strings in HDF5 files, including MATLAB's (`save -v7.3`).

MATLAB reverses the axes and states the types in attributes; Python does neither.
"""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from xgacmn_tf.errors import InputError
from xgacmn_tf.io.array_budget import Budget, Choose, chosen_names, string_array
from xgacmn_tf.io.matlab_text import cell_text, check_matlab_class, stripped

# Suffixes of HDF5 files that are not MATLAB's, with axes in Python's order.
SUFFIXES = (".h5", ".hdf5", ".h5py")
# A chunk is decompressed as a whole; MATLAB's chunks are small.
_MAX_CHUNK_BYTES = 2**26
# Deflate reduces data by at most this factor.
_DEFLATE_RATIO = 1032
_UNWRITTEN_BYTES = 2**30
# HDF5's storage of a string of variable length.
_REFERENCE = np.dtype([("length", "<u4"), ("address", "<u8"), ("index", "<u4")])
# Maximum depth of groups that are searched; the names of arrays in them are paths.
_GROUP_DEPTH = 4
_MAX_ARRAYS, _MAX_LINKS = 10_000, 100_000


def read_hdf5(path: Path, choose: Choose) -> dict[str, np.ndarray]:
    """Read arrays of an HDF5 file; see `array_files.read`."""
    budget = Budget(path)
    with h5py.File(path, "r") as file:
        # In MATLAB's files, a group is a struct, and #refs# and #subsystem# are internal.
        depth = _GROUP_DEPTH if path.suffix.lower() in SUFFIXES else 1
        shapes = dict(
            itertools.islice(_shapes(file, depth, visited=itertools.count()), _MAX_ARRAYS)
        )
        names = chosen_names(choose, shapes)
        return {name: _array(path, name, file, budget) for name in names}


def _shapes(
    group: h5py.Group, depth: int, prefix: str = "", *, visited: Iterator[int]
) -> Iterator[tuple[str, tuple[int, ...] | None]]:
    """Yield the names of the arrays in a group and its subgroups, with their shapes.

    Groups may be linked in circles and fans, so `visited` counts all links up to `_MAX_LINKS`.
    """
    for name in group:
        if next(visited) >= _MAX_LINKS:
            return
        if name.startswith("#"):
            continue
        node = group[name] if isinstance(group.get(name, getlink=True), h5py.HardLink) else None
        if isinstance(node, h5py.Group) and depth > 1:
            yield from _shapes(node, depth - 1, f"{prefix}{name}/", visited=visited)
        elif isinstance(node, h5py.Dataset):
            shape = node.shape
            yield prefix + name, shape[::-1] if shape and _matlab_class(node) else shape
        else:
            yield prefix + name, None


def _array(path: Path, name: str, file: h5py.File, budget: Budget) -> np.ndarray:
    # Links and external storage could make a data file read any other file of this machine.
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise InputError(f"{path}: {name} is a link; save the array itself")
    node = file[name]
    matlab_class = "sparse" if "MATLAB_sparse" in node.attrs else _matlab_class(node)
    check_matlab_class(path, name, matlab_class)
    is_python = path.suffix.lower() in SUFFIXES and isinstance(node, h5py.Dataset)
    if is_python and not matlab_class:
        return _python_array(path, name, node, budget)
    if not isinstance(node, h5py.Dataset) or not matlab_class:
        raise InputError(
            f"{path}: {name} has no MATLAB_class, so the order of its axes is unknown; save it "
            "with MATLAB's save -v7.3, or as .npz from Python"
        )
    if matlab_class == "cell":
        # Stored reversed, so that the flat order is column by column.
        references = _values(path, name, node, budget).ravel()
        texts = [
            cell_text(path, name, row, _cell_lines(path, name, file, reference, budget))
            for row, reference in enumerate(references)
        ]
        return string_array(name, texts, budget)
    array = _values(path, name, node, budget)
    return stripped(_characters(array)) if matlab_class == "char" else array.T


def _cell_lines(
    path: Path, name: str, file: h5py.File, reference: Any, budget: Budget
) -> list[str] | None:
    """Return the rows of characters in a cell; None if it holds anything but characters."""
    cell = file[reference] if isinstance(reference, h5py.Reference) else None
    if not isinstance(cell, h5py.Dataset) or _matlab_class(cell) != "char":
        return None
    return _characters(_values(path, name, cell, budget))


def _python_array(path: Path, name: str, node: h5py.Dataset, budget: Budget) -> np.ndarray:
    """Return an array of numbers or strings that Python wrote."""
    if h5py.check_string_dtype(node.dtype) is None:
        if node.dtype.hasobject:
            raise InputError(
                f"{path}: {name} holds references; save an array of numbers or strings"
            )
        return _values(path, name, node, budget)
    if node.dtype.kind == "S":
        return _values(path, name, node, budget)
    _check_stored(path, name, node, budget)
    if len(node.shape) != 1:
        raise InputError(f"{path}: {name} has shape {node.shape}; expected one string per pair")
    lengths = _string_lengths(path, name, node)
    if int(lengths.max(initial=0)) > path.stat().st_size:
        raise InputError(
            f"{path}: {name} declares strings longer than the file; write the file again"
        )
    # NumPy allocates the length of the longest string for each.
    budget.take(name, (len(lengths), int(lengths.max(initial=0))), 4)
    return np.array([text.decode() for text in node[()].tolist()], dtype=str)


def _string_lengths(path: Path, name: str, node: h5py.Dataset) -> np.ndarray:
    """Return the lengths of the strings in an array, from the file's references to them.

    HDF5 allocates memory by these numbers before it checks them, and many elements can refer to
    one long string.
    """
    blocks = [(node.id.get_offset(), node.id.get_storage_size())]
    if node.chunks:
        chunks = map(node.id.get_chunk_info, range(node.id.get_num_chunks()))
        blocks = [(chunk.byte_offset, chunk.size) for chunk in chunks]
    if node.id.get_create_plist().get_nfilters() or any(start is None for start, _ in blocks):
        raise InputError(
            f"{path}: {name} holds compressed strings; save them without compression, or as "
            f"np.array({name}, dtype='S')"
        )
    with path.open("rb") as file:
        stored = []
        for start, size in blocks:
            file.seek(start)
            stored.append(file.read(min(size, path.stat().st_size)))
    return np.frombuffer(b"".join(stored), _REFERENCE)["length"].astype(np.int64)


def _matlab_class(node: Any) -> str:
    value = node.attrs.get("MATLAB_class", b"")
    return value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)


def _values(path: Path, name: str, node: h5py.Dataset, budget: Budget) -> np.ndarray:
    """Return the values as stored. MATLAB stores an empty array as its shape, with a mark."""
    if node.attrs.get("MATLAB_empty", 0) or node.shape is None:
        return np.zeros((0, 0))
    _check_stored(path, name, node, budget)
    return node[()]


def _check_stored(path: Path, name: str, node: h5py.Dataset, budget: Budget) -> None:
    """Reject values in other files, and sizes beyond the budget."""
    if node.external or node.is_virtual:
        raise InputError(f"{path}: {name} stores its values in other files; save them in this one")
    declared = budget.take(name, node.shape, node.dtype.itemsize)
    stored, filters = node.id.get_storage_size(), node.id.get_create_plist().get_nfilters()
    # Chunks that were never written are zeros, which are accepted up to a harmless size.
    largest = max(_UNWRITTEN_BYTES, stored * (_DEFLATE_RATIO if filters else 1))
    if declared > largest:
        raise InputError(
            f"{path}: {name} declares {declared} bytes but {stored} are stored; the file is "
            "damaged, write it again"
        )
    limit = max(declared, _MAX_CHUNK_BYTES)
    if node.chunks and math.prod(node.chunks) * node.dtype.itemsize > limit:
        raise InputError(f"{path}: {name} has chunks larger than itself; write the file again")


def _characters(codes: np.ndarray) -> list[str]:
    """Return the rows of a character matrix stored as (columns, rows) UTF-16 codes."""
    return [row.astype("<u2").tobytes().decode("utf-16-le") for row in np.atleast_2d(codes.T)]
