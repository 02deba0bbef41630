"""Arrays of numbers and strings in MATLAB's level 5 files (`save -v6`, `save -v7`).

SciPy's reader follows a file's type numbers and sizes in C without checking them: one wrong byte
can end the whole process, and a compressed array can unpack to any size. Here every size is
compared with what is there, and an array is unpacked no further than its declared shape needs.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

# Type numbers of the elements that hold numbers, as NumPy calls them.
_NUMBERS = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
# Type numbers of the elements that hold characters; "{}" is the file's byte order.
_CHARACTERS = {1: "ascii", 2: "ascii", 4: "utf-16-{}", 16: "utf-8", 17: "utf-16-{}"}
_MATRIX, _COMPRESSED = 14, 15
_KINDS = {
    1: "cell", 2: "struct", 3: "object", 4: "char", 5: "sparse", 6: "double", 7: "single",
    8: "int8", 9: "uint8", 10: "int16", 11: "uint16", 12: "int32", 13: "uint32", 14: "int64",
    15: "uint64", 16: "function", 17: "opaque",
}  # fmt: skip
_WITHOUT_SHAPE = ("function", "opaque")
_COMPLEX = 0x0800
# Flags, shape and name come first; MATLAB's names have 63 characters at most.
_HEADER_BYTES = 4096
# Nothing declares how long the strings of a cell array are.
_CELLS_BYTES = 2**30


class Listed(NamedTuple):
    """An array of a file: `kind` is MATLAB's class, `start` where its element begins."""

    name: str
    shape: tuple[int, ...]
    kind: str
    start: int


class Level5File:
    """The file at `path`.

    A damaged one raises `ValueError`, `KeyError`, `struct.error` or `zlib.error` somewhere.
    """

    def __init__(self, path: Path):
        self._path, self._size = path, path.stat().st_size
        with path.open("rb") as file:
            order = {b"IM": "<", b"MI": ">"}.get(file.read(128)[126:])
        if order is None:
            raise ValueError("it does not begin as MATLAB's save -v6, -v7 or -v7.3 write")
        self._order = order

    def listing(self) -> list[Listed]:
        """The named arrays. No more than the beginning of each is read."""
        found = []
        for start, kind, size in self._elements():
            raw = self._raw(start, min(size, _HEADER_BYTES))
            if kind == _COMPRESSED:
                raw = zlib.decompressobj().decompress(raw, _HEADER_BYTES)
                kind = self._unpack("II", raw, 0)[0]
                raw = raw[8:]
            if kind != _MATRIX:
                raise ValueError(f"its element at byte {start} is no array")
            head = self._head(memoryview(raw))
            if head.name:  # Workspaces of functions have none.
                found.append(Listed(head.name, head.shape, head.kind, start))
        return found

    def numbers(self, listed: Listed) -> np.ndarray:
        """A numeric array, as it is stored."""
        data = self._matrix(listed)
        head = self._head(data)
        kind, values, at = self._element(data, head.end)
        array = np.frombuffer(values, self._order + _NUMBERS[kind])
        if head.flags & _COMPLEX:
            kind, values, at = self._element(data, at)
            array = array + 1j * np.frombuffer(values, self._order + _NUMBERS[kind])
        return array.reshape(head.shape, order="F")

    def rows(self, listed: Listed) -> list[str]:
        """The rows of a character matrix."""
        return self._rows(self._matrix(listed))

    def cells(self, listed: Listed) -> Iterator[list[str] | None]:
        """The rows of each cell of a cell array, column by column; None for other than text."""
        data = self._matrix(listed)
        at = self._head(data).end
        for _ in range(math.prod(listed.shape)):
            kind, cell, at = self._element(data, at)
            is_text = kind == _MATRIX and len(cell) and self._head(cell).kind == "char"
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
        """(start of the content, type, size) of each element of the file."""
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

    def _matrix(self, listed: Listed) -> memoryview:
        """What stands in an array's element, unpacked."""
        kind, size = self._unpack("II", self._raw(listed.start - 8, 8), 0)
        raw = self._raw(listed.start, size)
        if kind == _MATRIX:
            return memoryview(raw)
        # No number takes more than 8 bytes, or 16 with an imaginary part.
        needed = _CELLS_BYTES if listed.kind == "cell" else 16 * math.prod(listed.shape)
        limit = _HEADER_BYTES + needed
        unpacked = zlib.decompressobj().decompress(raw, limit + 1)
        if len(unpacked) > limit:
            raise ValueError(f"{listed.name} unpacks to more than its shape {listed.shape} needs")
        return self._element(memoryview(unpacked), 0)[1]

    def _head(self, data: memoryview) -> _Head:
        _, flags, at = self._element(data, 0)
        (bits,) = self._unpack("I", flags, 0)
        kind, shape = _KINDS[bits & 0xFF], ()
        if kind not in _WITHOUT_SHAPE:
            _, sizes, at = self._element(data, at)
            shape = tuple(np.frombuffer(sizes, self._order + "i4").tolist())
            if len(shape) < 2 or min(shape) < 0:
                raise ValueError(f"an array has shape {shape}")
        _, name, at = self._element(data, at)
        return _Head(bytes(name).decode("ascii"), shape, kind, bits, at)

    def _element(self, data: memoryview, at: int) -> tuple[int, memoryview, int]:
        """(type, content, where the next one begins) of the element at `at`."""
        kind, size = self._unpack("II", data, at)
        if kind >> 16:  # The short form: the content stands in the place of the size.
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
    """How an array begins; `end` is where its values do."""

    name: str
    shape: tuple[int, ...]
    kind: str
    flags: int
    end: int
