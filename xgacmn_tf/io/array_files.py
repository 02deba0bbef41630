"""Named arrays from untrusted `.npz`, HDF5 (`.h5`, `.hdf5`) and MATLAB (`.mat`) files.

Nothing in a file is executed or unpickled, links to other files are not followed, and declared
sizes are bounded before memory is allocated. NumPy, h5py and SciPy check none of these bounds.
MATLAB's strings, as character matrices or cell arrays, are returned as NumPy string arrays.
"""

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from xgacmn_tf.errors import InputError
from xgacmn_tf.io.array_budget import MAX_BYTES, Budget, Choose, Shapes, chosen_names, shown
from xgacmn_tf.io.hdf5_file import SUFFIXES as HDF5_SUFFIXES
from xgacmn_tf.io.hdf5_file import read_hdf5
from xgacmn_tf.io.matlab_file import read_matlab

__all__ = ["HDF5_SUFFIXES", "MAX_BYTES", "Choose", "Shapes", "read", "read_named", "shown"]

# Upper bound of the header of an array in an `.npz` file; NumPy writes about 100 bytes.
_HEADER_BYTES = 2**16


def read(path: Path, choose: Choose = lambda shapes: None) -> dict[str, np.ndarray]:
    """Read arrays of the file at `path`.

    Args:
        path: the suffix states the format; the two formats of `.mat` files (up to v7, and v7.3)
            are distinguished by their content.
        choose: called with the names and shapes in the file before any array is read; returns the
            names to read, or None for all, the default; raises to reject them.

    Raises:
        InputError: if the file is missing or damaged, declares more than `MAX_BYTES`, or a chosen
            array holds anything but numbers and strings.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; check the path")
    try:
        if path.suffix.lower() == ".npz":
            return _read_npz(path, choose)
        if path.suffix.lower() in HDF5_SUFFIXES or h5py.is_hdf5(path):
            return read_hdf5(path, choose)
        return read_matlab(path, choose)
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(
            f"{path}: its arrays take more memory than there is; use a machine with more memory, "
            "or fewer rows"
        ) from error
    except Exception as error:  # The libraries raise many types for damaged files.
        raise InputError(
            f"{path}: damaged, or not a {path.suffix} file ({error or type(error).__name__}); "
            "write the file again"
        ) from error


def read_named(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Read the arrays of these names; see `read`.

    Raises:
        InputError: if the file lacks one of them.
    """

    def check(shapes: Shapes) -> Sequence[str]:
        missing = [name for name in names if name not in shapes]
        if missing:
            raise InputError(
                f"{path} lacks {', '.join(missing)}; expected {', '.join(names)}, found "
                f"{', '.join(sorted(shapes)) or 'nothing'}"
            )
        return names

    return read(path, check)


class _Header(NamedTuple):
    """Header of an array in an `.npz` file; `stored` is the size of its values in bytes."""

    shape: tuple[int, ...]
    dtype: np.dtype
    stored: int


def _read_npz(path: Path, choose: Choose) -> dict[str, np.ndarray]:
    budget = Budget(path)
    with zipfile.ZipFile(path) as archive:
        members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
        headers = {name: _npz_header(archive, member) for name, member in members.items()}
        names = chosen_names(choose, {name: header.shape for name, header in headers.items()})
        if len(members) != len(archive.infolist()):
            raise InputError(f"{path}: two arrays have the same name; write the file again")
        for name in names:
            shape, dtype, stored = headers[name]
            if dtype.hasobject:
                raise InputError(
                    f"{path}: {name} holds Python objects, which are never unpickled; save "
                    f"{name}.astype(np.float32) where its values are numbers, "
                    f"np.stack({name}).astype(np.float32) where they are rows, or "
                    f"np.array({name}, dtype=str) where they are strings"
                )
            declared = budget.take(name, shape, dtype.itemsize)
            if declared != stored:
                raise InputError(
                    f"{path}: {name} declares {declared} bytes but {stored} are stored; the file "
                    "is damaged, write it again"
                )
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in names}


def _npz_header(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> _Header:
    with archive.open(member) as file:
        # NumPy would read a header of any length that the file declares.
        stream = io.BytesIO(file.read(_HEADER_BYTES))
    version = np.lib.format.read_magic(stream)
    # Version 3 exists only for records with field names beyond Latin-1.
    read_header = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, _, dtype = read_header(stream)
    return _Header(shape, dtype, member.file_size - stream.tell())
