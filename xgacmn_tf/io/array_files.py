"""Named arrays from untrusted `.npz`, HDF5 (`.h5`, `.hdf5`) and MATLAB (`.mat`) files.

Nothing in a file is executed or unpickled, nothing outside it is followed, and the sizes that it
declares are bounded before memory is taken. MATLAB's strings, as character matrices or cell
arrays, come out as NumPy string arrays.
"""

import io
import itertools
import math
import os
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from xgacmn_tf.errors import InputError
from xgacmn_tf.io.matlab_file import Level5File, Listed

# All arrays of a file together, as the file declares them; never more than the machine has.
MAX_BYTES = min(16 * 2**30, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
# What stands before the values in a member of an `.npz`: NumPy writes some 100 bytes.
_HEADER_BYTES = 2**16
# Values that are compressed together in HDF5 are unpacked together; MATLAB's pieces are small.
_PIECE_BYTES = 2**26

# Deflate makes data at most this many times smaller.
_DEFLATE_RATIO = 1032
_UNWRITTEN_BYTES = 2**30
# How HDF5 stores a string of any length.
_REFERENCE = np.dtype([("length", "<u4"), ("address", "<u8"), ("index", "<u4")])
# Suffixes of HDF5 files that are not MATLAB's, with axes in the order that Python has them.
HDF5_SUFFIXES = (".h5", ".hdf5", ".h5py")
# Groups of HDF5 files are searched this deep; the names of arrays in them are paths.
_GROUP_DEPTH = 4
_MAX_ARRAYS = 10_000
_SHOWN = 12

# Names in a file with the shapes of their arrays, None where that is unknown.
Shapes = Mapping[str, tuple[int, ...] | None]
Choose = Callable[[Shapes], Iterable[str] | None]


def read(path: Path, choose: Choose) -> dict[str, np.ndarray]:
    """Read arrays of the file at `path`.

    Args:
        path: the suffix states the format; both kinds of `.mat` (up to v7, and v7.3) are told
            apart by their content.
        choose: takes the names and shapes in the file before any array is read; returns the names
            to read, or None for all; raises to reject them.

    Raises:
        InputError: if the file is missing or broken, declares more than `MAX_BYTES`, or an array
            to read holds anything but numbers and strings.
    """
    if not path.is_file():
        raise InputError(f"There is no feature file {path}.")
    try:
        if path.suffix.lower() == ".npz":
            return _read_npz(path, choose)
        if path.suffix.lower() in HDF5_SUFFIXES or h5py.is_hdf5(path):
            return _read_hdf5(path, choose)
        return _read_matlab(path, choose)
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(
            f"{path}: its arrays take more memory than there is; use a machine with more, or "
            "fewer rows"
        ) from error
    except Exception as error:  # the libraries raise a dozen kinds for broken files
        raise InputError(
            f"{path} is broken or no {path.suffix} file: {error or type(error).__name__}"
        ) from error


class _Budget:
    """Adds up what a file declares and refuses it once it passes `MAX_BYTES`."""

    def __init__(self, path: Path):
        self.path, self.total = path, 0

    def take(self, name: str, shape: tuple[int, ...], itemsize: int) -> int:
        size = math.prod(shape) * itemsize  # Python's integers cannot overflow
        self.total += size
        if min(shape, default=0) < 0 or self.total > MAX_BYTES:
            raise InputError(
                f"{self.path}: {name} declares shape {shape}, {size} bytes; the arrays of one "
                f"file may take {MAX_BYTES} bytes together."
            )
        return size


def _chosen(choose: Choose, shapes: Shapes) -> list[str]:
    names = choose(shapes)
    return list(shapes) if names is None else list(dict.fromkeys(names))


def shown(shapes: Shapes) -> str:
    """The names and shapes for an error message, such as "I_tr (2173 × 128), notes"."""
    parts = [
        name if shape is None else f"{name} ({' × '.join(map(str, shape)) or 'one value'})"
        for name, shape in sorted(shapes.items())
    ]
    more = f" and {len(parts) - _SHOWN} more" if len(parts) > _SHOWN else ""
    return ", ".join(parts[:_SHOWN]) + more or "nothing"


class _Header(NamedTuple):
    """What a member of an `.npz` file declares; `stored` is the size of its values in bytes."""

    shape: tuple[int, ...]
    dtype: np.dtype
    stored: int


def _read_npz(path: Path, choose: Choose) -> dict[str, np.ndarray]:
    budget = _Budget(path)
    with zipfile.ZipFile(path) as archive:
        members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
        headers = {name: _npz_header(archive, member) for name, member in members.items()}
        names = _chosen(choose, {name: header.shape for name, header in headers.items()})
        if len(members) != len(archive.infolist()):
            raise InputError(f"{path} holds two arrays of one name; save it again.")
        for name in names:
            shape, dtype, stored = headers[name]
            if dtype.hasobject:
                raise InputError(_objects(path, name, shape))
            declared = budget.take(name, shape, dtype.itemsize)
            if declared != stored:
                raise InputError(
                    f"{path}: {name} declares {declared} bytes but {stored} are stored; the file "
                    "is damaged, save it again."
                )
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in names}


def _npz_header(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> _Header:
    with archive.open(member) as file:
        # NumPy would read a header of any length that the file declares.
        stream = io.BytesIO(file.read(_HEADER_BYTES))
    version = np.lib.format.read_magic(stream)
    # Version 3 exists only for records with field names beyond Latin-1.
    header = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, _, dtype = header(stream)
    return _Header(shape, dtype, member.file_size - stream.tell())


def _objects(path: Path, name: str, shape: tuple[int, ...]) -> str:
    """The error for an array of Python objects; one with several axes can only hold numbers."""
    remedy = f"save {name}.astype(np.float32)"
    if len(shape) < 2:
        remedy += (
            f" where its values are numbers, np.stack({name}).astype(np.float32) where they are "
            f"rows, or np.array({name}, dtype=str) where they are strings"
        )
    return f"{path}: {name} holds Python objects, which are never unpickled; {remedy}"


def _read_matlab(path: Path, choose: Choose) -> dict[str, np.ndarray]:
    budget = _Budget(path)
    file = Level5File(path)
    listing = file.listing()
    names = _chosen(choose, {listed.name: listed.shape for listed in listing})
    twice = [name for name, count in Counter(item.name for item in listing).items() if count > 1]
    if twice:
        raise InputError(f"{path} holds {twice[0]} twice; save it again.")
    chosen = [listed for listed in listing if listed.name in set(names)]
    for listed in chosen:
        _check_matlab_class(path, listed.name, listed.kind)
        budget.take(listed.name, listed.shape, 8)  # 8 bytes: the widest of MATLAB's numbers
    return {listed.name: _matlab_array(path, file, listed) for listed in chosen}


def _matlab_array(path: Path, file: Level5File, listed: Listed) -> np.ndarray:
    if listed.kind == "char":  # MATLAB fills the rows up with blanks
        return np.char.rstrip(np.array(file.rows(listed), dtype=str))
    if listed.kind != "cell":
        return file.numbers(listed)
    texts = []
    for row, lines in enumerate(file.cells(listed)):
        if lines is None or len(lines) > 1:
            raise InputError(_not_text(path, listed.name, row))
        texts.append("".join(lines))
    return np.array(texts, dtype=str)


def _check_matlab_class(path: Path, name: str, kind: str) -> None:
    if kind == "sparse":
        raise InputError(f"{path}: {name} is sparse; save {name} = full({name}).")
    if kind in ("string", "opaque"):
        raise InputError(f"{path}: {name} is an array of string objects; save cellstr({name}).")
    if kind in ("struct", "object", "function", "function_handle", "unknown"):
        raise InputError(
            f"{path}: {name} is a MATLAB {kind}; expected an array of numbers or strings."
        )


def _not_text(path: Path, name: str, row: int) -> str:
    return (
        f"{path}: cell {row} of {name} is not a row of characters; a cell array may hold only "
        f"strings, numbers belong in a matrix (cell2mat)."
    )


def _read_hdf5(path: Path, choose: Choose) -> dict[str, np.ndarray]:
    """MATLAB v7.3 reverses the axes and states types in attributes; Python does neither."""
    budget = _Budget(path)
    with h5py.File(path, "r") as file:
        # In MATLAB's files, a group is a struct, and #refs# and #subsystem# are its own.
        depth = _GROUP_DEPTH if path.suffix.lower() in HDF5_SUFFIXES else 1
        shapes = dict(itertools.islice(_hdf5_shapes(file, depth), _MAX_ARRAYS))
        names = _chosen(choose, shapes)
        return {name: _hdf5_array(path, name, file, budget) for name in names}


def _hdf5_shapes(
    group: h5py.Group, depth: int, prefix: str = ""
) -> Iterator[tuple[str, tuple[int, ...] | None]]:
    """The names of arrays in a group and in those below it, and their shapes."""
    for name in group:
        if name.startswith("#"):
            continue
        node = group[name] if isinstance(group.get(name, getlink=True), h5py.HardLink) else None
        if isinstance(node, h5py.Group) and depth > 1:
            yield from _hdf5_shapes(node, depth - 1, f"{prefix}{name}/")
        elif isinstance(node, h5py.Dataset):
            shape = node.shape
            yield prefix + name, shape[::-1] if shape and _hdf5_class(node) else shape
        else:
            yield prefix + name, None


def _hdf5_array(path: Path, name: str, file: h5py.File, budget: _Budget) -> np.ndarray:
    # Links and external storage could make a data file read any other file of this machine.
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise InputError(f"{path}: {name} is a link; save the array itself.")
    node = file[name]
    kind = _hdf5_class(node)
    if "MATLAB_sparse" in node.attrs:
        kind = "sparse"
    _check_matlab_class(path, name, kind)
    plain = path.suffix.lower() in HDF5_SUFFIXES and isinstance(node, h5py.Dataset)
    if plain and not kind:
        return _plain_array(path, name, node, budget)
    if not isinstance(node, h5py.Dataset) or not kind:
        raise InputError(
            f"{path}: {name} has no MATLAB_class, so the order of its axes is unknown; save it "
            "with MATLAB's save -v7.3, or as .npz from Python."
        )
    if kind == "cell":
        cells = _hdf5_values(path, name, node, budget).ravel()  # stored reversed: column by column
        texts = []
        for row, reference in enumerate(cells):
            cell = file[reference] if isinstance(reference, h5py.Reference) else None
            if not isinstance(cell, h5py.Dataset) or _hdf5_class(cell) != "char":
                raise InputError(_not_text(path, name, row))
            lines = _characters(_hdf5_values(path, name, cell, budget))
            if len(lines) > 1:
                raise InputError(_not_text(path, name, row))
            texts.append("".join(lines))
        return np.array(texts, dtype=str)
    array = _hdf5_values(path, name, node, budget)
    if kind == "char":
        return np.char.rstrip(np.array(_characters(array), dtype=str))
    return array.T


def _plain_array(path: Path, name: str, node: h5py.Dataset, budget: _Budget) -> np.ndarray:
    """An array as Python wrote it: numbers, or strings."""
    if h5py.check_string_dtype(node.dtype) is None:
        if node.dtype.hasobject:
            raise InputError(
                f"{path}: {name} holds references; save an array of numbers or strings."
            )
        return _hdf5_values(path, name, node, budget)
    if node.dtype.kind == "S":
        return _hdf5_values(path, name, node, budget)
    _check_stored(path, name, node, budget)
    if len(node.shape) != 1:
        raise InputError(f"{path}: {name} has shape {node.shape}; expected one string a pair.")
    lengths = _string_lengths(path, name, node)
    if int(lengths.max(initial=0)) > path.stat().st_size:
        raise InputError(f"{path}: {name} holds strings longer than the file; save it again.")
    # NumPy gives every string the room of the longest.
    budget.take(name, (len(lengths), int(lengths.max(initial=0))), 4)
    return np.array([text.decode() for text in node[()].tolist()], dtype=str)


def _string_lengths(path: Path, name: str, node: h5py.Dataset) -> np.ndarray:
    """The lengths of the strings in an array, from the file's references to them.

    HDF5 takes memory by these numbers before it checks them, and many elements can refer to one
    long string.
    """
    pieces = [(node.id.get_offset(), node.id.get_storage_size())]
    if node.chunks:
        chunks = map(node.id.get_chunk_info, range(node.id.get_num_chunks()))
        pieces = [(chunk.byte_offset, chunk.size) for chunk in chunks]
    if node.id.get_create_plist().get_nfilters() or any(start is None for start, _ in pieces):
        raise InputError(
            f"{path}: {name} holds packed strings; save them without compression, or as "
            f"np.array({name}, dtype='S')"
        )
    with path.open("rb") as file:
        stored = []
        for start, size in pieces:
            file.seek(start)
            stored.append(file.read(min(size, path.stat().st_size)))
    return np.frombuffer(b"".join(stored), _REFERENCE)["length"].astype(np.int64)


def _hdf5_class(node: Any) -> str:
    kind = node.attrs.get("MATLAB_class", b"")
    return kind.decode("ascii", "replace") if isinstance(kind, bytes) else str(kind)


def _hdf5_values(path: Path, name: str, node: h5py.Dataset, budget: _Budget) -> np.ndarray:
    """The values as stored. MATLAB stores an empty array as its shape, with a mark."""
    if node.attrs.get("MATLAB_empty", 0) or node.shape is None:
        return np.zeros((0, 0))
    _check_stored(path, name, node, budget)
    return node[()]


def _check_stored(path: Path, name: str, node: h5py.Dataset, budget: _Budget) -> None:
    """Reject values in other files, and sizes beyond the budget."""
    if node.external or node.is_virtual:
        raise InputError(f"{path}: {name} keeps its values in other files; save them in this one.")
    declared = budget.take(name, node.shape, node.dtype.itemsize)
    stored, filters = node.id.get_storage_size(), node.id.get_create_plist().get_nfilters()
    # Chunks that were never written are zeros, which are accepted up to a size that does no harm.
    largest = max(_UNWRITTEN_BYTES, stored * (_DEFLATE_RATIO if filters else 1))
    if declared > largest and (not filters or node.compression == "gzip"):
        raise InputError(
            f"{path}: {name} declares {declared} bytes but {stored} are stored; the file is "
            "damaged, save it again."
        )
    if node.chunks and math.prod(node.chunks) * node.dtype.itemsize > max(declared, _PIECE_BYTES):
        raise InputError(f"{path}: {name} is kept in pieces larger than itself; save it again.")


def _characters(codes: np.ndarray) -> list[str]:
    """The rows of a character matrix stored as (columns, rows) UTF-16 codes."""
    return [row.astype("<u2").tobytes().decode("utf-16-le") for row in np.atleast_2d(codes.T)]
