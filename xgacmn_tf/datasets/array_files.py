"""Named arrays from `.npz` and MATLAB's `.mat` files, for files that nobody vouches for.

Nothing in a file is executed or unpickled, nothing outside it is followed, and the sizes that it
declares are bounded before memory is taken. MATLAB's strings, as character matrices or cell
arrays, come out as NumPy string arrays.
"""

import io
import math
import os
import zipfile
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from xgacmn_tf.datasets.matlab_file import Level5File, Listed
from xgacmn_tf.errors import InputError

# All arrays of a file together, as the file declares them; never more than the machine has.
MAX_BYTES = min(16 * 2**30, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
# What stands before the values in a member of an `.npz`: NumPy writes some 100 bytes.
_HEADER_BYTES = 2**16
# Values that are compressed together in HDF5 are unpacked together; MATLAB's pieces are small.
_PIECE_BYTES = 2**26

_CELLSTR = "MATLAB: name = cellstr(name); Python: np.array(values, dtype=str)"


def read(path: Path, check_names: Callable[[Collection[str]], None]) -> dict[str, np.ndarray]:
    """All arrays of the `.npz` or `.mat` file at `path`.

    Args:
        path: the suffix tells the kind; both kinds of `.mat` (up to v7, and v7.3) are told apart
            by their content.
        check_names: gets the names in the file before any array is read; raises to refuse them.

    Raises:
        InputError: if the file is missing or broken, declares more than `MAX_BYTES`, or holds
            anything but arrays of numbers and strings.
    """
    if not path.is_file():
        raise InputError(f"There is no feature file {path}.")
    try:
        if path.suffix.lower() == ".npz":
            return _read_npz(path, check_names)
        if h5py.is_hdf5(path):
            return _read_hdf5(path, check_names)
        return _read_matlab(path, check_names)
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


def _read_npz(path: Path, check_names: Callable[[Collection[str]], None]) -> dict[str, np.ndarray]:
    budget = _Budget(path)
    with zipfile.ZipFile(path) as archive:
        members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
        check_names(members)
        if len(members) != len(archive.infolist()):
            raise InputError(f"{path} holds two arrays of one name; save it again.")
        for name, member in members.items():
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
            stored = member.file_size - stream.tell()
            if dtype.hasobject:
                raise InputError(
                    f"{path}: {name} holds Python objects, which are never unpickled; save plain "
                    f"numbers or strings ({_CELLSTR})."
                )
            declared = budget.take(name, shape, dtype.itemsize)
            if declared != stored:
                raise InputError(
                    f"{path}: {name} declares {declared} bytes but {stored} are stored; the file "
                    "is damaged, save it again."
                )
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in members}


def _read_matlab(
    path: Path, check_names: Callable[[Collection[str]], None]
) -> dict[str, np.ndarray]:
    budget = _Budget(path)
    file = Level5File(path)
    listing = file.listing()
    names = [listed.name for listed in listing]
    check_names(names)
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"{path} holds {twice[0]} twice; save it again.")
    for listed in listing:
        _check_matlab_class(path, listed.name, listed.kind)
        budget.take(listed.name, listed.shape, 8)  # 8 bytes: the widest of MATLAB's numbers
    return {listed.name: _matlab_array(path, file, listed) for listed in listing}


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
        f"strings, numbers belong in a matrix."
    )


def _read_hdf5(path: Path, check_names: Callable[[Collection[str]], None]) -> dict[str, np.ndarray]:
    """MATLAB v7.3: HDF5 with the axes in reverse order and the type in an attribute."""
    budget = _Budget(path)
    with h5py.File(path, "r") as file:
        names = [name for name in file if not name.startswith("#")]  # #refs#, #subsystem#
        check_names(names)
        return {name: _hdf5_array(path, name, file, budget) for name in names}


def _hdf5_array(path: Path, name: str, file: h5py.File, budget: _Budget) -> np.ndarray:
    # Links and external storage could make a data file read any other file of this machine.
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise InputError(f"{path}: {name} is a link; save the array itself.")
    node = file[name]
    kind = _hdf5_class(node)
    if "MATLAB_sparse" in node.attrs:
        kind = "sparse"
    _check_matlab_class(path, name, kind)
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


def _hdf5_class(node: Any) -> str:
    kind = node.attrs.get("MATLAB_class", b"")
    return kind.decode("ascii", "replace") if isinstance(kind, bytes) else str(kind)


def _hdf5_values(path: Path, name: str, node: h5py.Dataset, budget: _Budget) -> np.ndarray:
    """The values as stored. MATLAB stores an empty array as its shape, with a mark."""
    if node.external or node.is_virtual:
        raise InputError(f"{path}: {name} keeps its values in other files; save them in this one.")
    if node.attrs.get("MATLAB_empty", 0) or node.shape is None:
        return np.zeros((0, 0))
    declared = budget.take(name, node.shape, node.dtype.itemsize)
    if node.chunks and math.prod(node.chunks) * node.dtype.itemsize > max(declared, _PIECE_BYTES):
        raise InputError(f"{path}: {name} is kept in pieces larger than itself; save it again.")
    return node[()]


def _characters(codes: np.ndarray) -> list[str]:
    """The rows of a character matrix stored as (columns, rows) UTF-16 codes."""
    return [row.astype("<u2").tobytes().decode("utf-16-le") for row in np.atleast_2d(codes.T)]
