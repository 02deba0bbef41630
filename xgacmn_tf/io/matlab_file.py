"""Arrays of numbers and strings in MATLAB's level 5 files (`save -v6`, `save -v7`).

SciPy's reader is not used: of 6,000 files with a few wrong bytes, `whosmat` and `loadmat` of SciPy
1.17.1 ended the process with a segmentation fault or bus error at 84, and a compressed array may
decompress to any size. Here every size is compared with the data, and an array is decompressed no
further than its declared shape needs.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from xgacmn_tf.errors import InputError
from xgacmn_tf.io.array_budget import Budget, Choose, chosen_names, string_array
from xgacmn_tf.io.matlab_text import cell_text, check_matlab_class, stripped

# NumPy's types by the type number of an element that holds numbers.
_NUMBERS = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
# Encodings by the type number of an element that holds characters; "{}" is the byte order.
_CHARACTERS = {1: "ascii", 2: "ascii", 4: "utf-16-{}", 16: "utf-8", 17: "utf-16-{}"}
_MATRIX, _COMPRESSED = 14, 15
_CLASSES = {
    1: "cell", 2: "struct", 3: "object", 4: "char", 5: "sparse", 6: "double", 7: "single",
    8: "int8", 9: "uint8", 10: "int16", 11: "uint16", 12: "int32", 13: "uint32", 14: "int64",
    15: "uint64", 16: "function", 17: "opaque",
}  # fmt: skip
_WITHOUT_SHAPE = ("function", "opaque")
_COMPLEX = 0x0800
# Upper bound of flags, shape and name, which come first; names have at most 63 characters.
_HEADER_BYTES = 4096
# Bound for cell arrays, which do not declare the lengths of their strings.
_CELLS_BYTES = 2**30


def read_matlab(path: Path, choose: Choose) -> dict[str, np.ndarray]:
    """Read arrays of a level 5 file; see `array_files.read`."""
    budget = Budget(path)
    file = _Level5File(path)
    entries = file.entries()
    names = chosen_names(choose, {entry.name: entry.shape for entry in entries})
    repeated = [name for name, n in Counter(entry.name for entry in entries).items() if n > 1]
    if repeated:
        raise InputError(f"{path}: two arrays have the name {repeated[0]}; write the file again")
    entries = [entry for entry in entries if entry.name in set(names)]
    for entry in entries:
        check_matlab_class(path, entry.name, entry.matlab_class)
        budget.take(entry.name, entry.shape, 8)  # The widest of MATLAB's numbers has 8 bytes.
    return {entry.name: _array(path, file, entry, budget) for entry in entries}


def _array(path: Path, file: _Level5File, entry: _Entry, budget: Budget) -> np.ndarray:
    if entry.matlab_class == "char":
        return stripped(file.rows(entry))
    if entry.matlab_class != "cell":
        return file.numbers(entry)
    cells = enumerate(file.cells(entry))
    texts = [cell_text(path, entry.name, row, lines) for row, lines in cells]
    return string_array(entry.name, texts, budget)


class _Entry(NamedTuple):
    """An array of a file: `matlab_class` is its class, `start` the offset of its element."""

    name: str
    shape: tuple[int, ...]
    matlab_class: str
    start: int


class _Level5File:
    """The file at `path`.

    Methods raise `ValueError`, `KeyError`, `struct.error` or `zlib.error` if the file is damaged.
    """

    def __init__(self, path: Path):
        self._path, self._size = path, path.stat().st_size
        with path.open("rb") as file:
            order = {b"IM": "<", b"MI": ">"}.get(file.read(128)[126:])
        if order is None:
            raise ValueError("it does not begin as files of MATLAB's save -v6, -v7 or -v7.3")
        self._order = order

    def entries(self) -> list[_Entry]:
        """List the named arrays, reading no more than the beginning of each."""
        entries = []
        for start, kind, size in self._elements():
            raw = self._raw(start, min(size, _HEADER_BYTES))
            if kind == _COMPRESSED:
                raw = zlib.decompressobj().decompress(raw, _HEADER_BYTES)
                kind = self._unpack("II", raw, 0)[0]
                raw = raw[8:]
            if kind != _MATRIX:
                raise ValueError(f"its element at byte {start} is not an array")
            head = self._head(memoryview(raw))
            if head.name:  # Workspaces of functions have none.
                entries.append(_Entry(head.name, head.shape, head.matlab_class, start))
        return entries

    def numbers(self, entry: _Entry) -> np.ndarray:
        """Return a numeric array as it is stored."""
        data = self._matrix(entry)
        head = self._head(data)
        kind, values, at = self._element(data, head.end)
        array = np.frombuffer(values, self._order + _NUMBERS[kind])
        if head.flags & _COMPLEX:
            kind, values, at = self._element(data, at)
            array = array + 1j * np.frombuffer(values, self._order + _NUMBERS[kind])
        return array.reshape(head.shape, order="F")

    def rows(self, entry: _Entry) -> list[str]:
        """Return the rows of a character matrix."""
        return self._rows(self._matrix(entry))

    def cells(self, entry: _Entry) -> Iterator[list[str] | None]:
        """Yield the rows of characters in each cell, column by column; None if not text."""
        data = self._matrix(entry)
        at = self._head(data).end
        for _ in range(math.prod(entry.shape)):
            kind, cell, at = self._element(data, at)
            is_text = kind == _MATRIX and len(cell) and self._head(cell).matlab_class == "char"
            yield self._rows(cell) if is_text else None

    def _rows(self, data: memoryview) -> list[str]:
        head = self._head(data)
        kind, values, _ = self._element(data, head.end)
        order = "le" if self._order == "<" else "be"
        text = bytes(values).decode(_CHARACTERS[kind].format(order))
        rows, columns = head.shape
        if rows == 1:
            return [text]
        if len(text) != rows * columns:
            raise ValueError(f"{len(text)} characters for {rows} rows of {columns}")
        return [text[row::rows] for row in range(rows)]

    def _elements(self) -> Iterator[tuple[int, int, int]]:
        """Yield the start of the content, the type and the size of each element of the file."""
        at = 128
        while at < self._size:
            kind, size = self._unpack("II", self._raw(at, 8), 0)
            yield at + 8, kind, size
            at += 8 + size

    def _raw(self, start: int, size: int) -> bytes:
        if start + size > self._size:
            raise ValueError("it is cut off")
        with self._path.open("rb") as file:
            file.seek(start)
            return file.read(size)

    def _matrix(self, entry: _Entry) -> memoryview:
        """Return the decompressed content of an array's element."""
        kind, size = self._unpack("II", self._raw(entry.start - 8, 8), 0)
        raw = self._raw(entry.start, size)
        if kind == _MATRIX:
            return memoryview(raw)
        # A number takes at most 8 bytes, or 16 with an imaginary part.
        needed = _CELLS_BYTES if entry.matlab_class == "cell" else 16 * math.prod(entry.shape)
        limit = _HEADER_BYTES + needed
        content = zlib.decompressobj().decompress(raw, limit + 1)
        if len(content) > limit:
            raise ValueError(
                f"{entry.name} decompresses to more than its shape {entry.shape} needs"
            )
        return self._element(memoryview(content), 0)[1]

    def _head(self, data: memoryview) -> _Head:
        _, flags, at = self._element(data, 0)
        (bits,) = self._unpack("I", flags, 0)
        matlab_class, shape = _CLASSES[bits & 0xFF], ()
        if matlab_class not in _WITHOUT_SHAPE:
            _, sizes, at = self._element(data, at)
            shape = tuple(np.frombuffer(sizes, self._order + "i4").tolist())
            if len(shape) < 2 or min(shape) < 0:
                raise ValueError(f"an array has shape {shape}")
        _, name, at = self._element(data, at)
        return _Head(bytes(name).decode("ascii"), shape, matlab_class, bits, at)

    def _element(self, data: memoryview, at: int) -> tuple[int, memoryview, int]:
        """Return the type and content of the element at `at`, and the offset of the next one."""
        kind, size = self._unpack("II", data, at)
        if kind >> 16:  # The short form has the content in the place of the size.
            kind, size, start, end = kind & 0xFFFF, kind >> 16, at + 4, at + 8
        else:
            start = at + 8
            end = start + -(-size // 8) * 8
        content = data[start : start + size]
        if len(content) < size or start + size > end:
            raise ValueError("an element ends beyond its array")
        return kind, content, end

    def _unpack(self, form: str, data: bytes | memoryview, at: int) -> tuple[int, ...]:
        return struct.unpack_from(self._order + form, data, at)


class _Head(NamedTuple):
    """The beginning of an array; `end` is the offset of its values."""

    name: str
    shape: tuple[int, ...]
    matlab_class: str
    flags: int
    end: int
