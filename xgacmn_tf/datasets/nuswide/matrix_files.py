"""Matrices in text files of hundreds of megabytes, read in blocks: a row a line, values separated
by tabs or spaces, trailing ones allowed.

Every line has its number of values and its characters checked, even if its row is not asked for.
Memory is the rows asked for and a few blocks.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
from tqdm import tqdm

from xgacmn_tf.errors import InputError

BLOCK = 4 * 2**20
# Smaller files are read before a progress bar would be seen.
_LARGE = 20 * 2**20
_NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_VALUE = re.compile(rb"[^\t\r ]+")


class KnownError(NamedTuple):
    """A line that is wrong in every copy of a file, and what is read in its place."""

    line: int
    found: bytes
    instead: bytes


# Whether that image shows a lake is told by the other copy of the labels, which is preferred.
# Where only this one is there, "no" is the likelier answer: most images show none.
KNOWN_ERRORS = {"labels_lake_train.txt": KnownError(78372, b"-1130179", b"0")}


class Part(NamedTuple):
    """A file with rows of a matrix: line i holds row `rows[i]` (n,)."""

    path: Path
    rows: np.ndarray


def _kinds(of_values: bytes) -> bytes:
    """What each byte is: 0 white space, 1 part of a value, 2 nothing that may be there."""
    kinds = np.full(256, 2, np.uint8)
    kinds[list(b"\t\n\r ")] = 0
    kinds[list(of_values)] = 1
    return kinds.tobytes()


_BINARY, _DECIMAL = _kinds(b"01"), _kinds(b"0123456789+-.eE")


def gather(parts: Sequence[Part], wanted: np.ndarray, out: np.ndarray, binary: bool) -> None:
    """Read some rows of a matrix that lies in one file or in several.

    Args:
        parts: the files; each row of the matrix stands in one of them.
        wanted: (k,) the rows to read, each once.
        out: (k, columns) of any numeric dtype; takes row `wanted[i]` as its row i.
        binary: values are 0 and 1; if not, finite decimal numbers.

    Raises:
        InputError: naming the file and line of the first wrong number of values, or of the first
            value that is none; or a wrong number of lines.
    """
    place = np.full(sum(len(part.rows) for part in parts), -1, np.intp)
    place[wanted] = np.arange(len(wanted))
    for path, rows in parts:
        target, count = place[rows], 0
        for block in _blocks(path):
            lines = block.count(b"\n")
            if count + lines > len(rows):
                raise InputError(
                    f"{path} has more than {len(rows):,} lines, expected one for each image of "
                    "the image list. The files do not belong together."
                )
            of_block = target[count : count + lines]
            chosen = np.flatnonzero(of_block >= 0)
            values = _parse(block, chosen, out.shape[1], binary)
            if values is None:
                _refuse(path, count, block, out.shape[1], binary)
            out[of_block[chosen]] = values
            count += lines
        if count < len(rows):
            raise InputError(
                f"{path} ends after line {count:,}, expected {len(rows):,} lines, one for each "
                "image of the image list. The file is cut off, fetch it again."
            )


def _blocks(path: Path) -> Iterator[bytes]:
    """Yield runs of whole lines. White space at the end of the file makes no lines."""
    size = path.stat().st_size
    line, rest = 1, b""
    bar = tqdm(
        total=size,
        desc=path.name,
        unit="B",
        unit_scale=True,
        leave=False,
        disable=True if size < _LARGE else None,  # None: where nobody watches
    )
    with bar, path.open("rb") as stream:
        while content := stream.read(BLOCK):
            bar.update(len(content))
            content = rest + content
            # The last line stays back until another one follows it.
            end = content.rfind(b"\n", 0, len(content.rstrip())) + 1
            if not end and len(content) > 2 * BLOCK:
                raise InputError(
                    f"{path}, line {line:,}: longer than {BLOCK:,} bytes, expected a row of "
                    "numbers a line."
                )
            block, rest = content[:end], content[end:]
            if block:
                yield _mended(path, line, block)
                line += block.count(b"\n")
    if rest.strip():
        yield _mended(path, line, rest.rstrip() + b"\n")


def _mended(path: Path, first: int, block: bytes) -> bytes:
    """`block`, whose first line has number `first`, without the file's known error."""
    known = KNOWN_ERRORS.get(path.name.lower())
    if known is None or known.line < first:
        return block
    lines = block.split(b"\n")
    row = known.line - first
    if row < len(lines) and lines[row].strip() == known.found:
        lines[row] = known.instead
    return b"\n".join(lines)


def _parse(block: bytes, chosen: np.ndarray, columns: int, binary: bool) -> np.ndarray | None:
    """Return (k, columns) values of the `chosen` lines (k,), or None if there is anything wrong."""
    if binary:
        alike = _parse_alike(block, chosen, columns)
        if alike is not None:
            return alike
    codes = np.frombuffer(block, np.uint8)
    kinds = np.frombuffer(block.translate(_BINARY if binary else _DECIMAL), np.uint8)
    inked = kinds != 0
    begins = inked.copy()
    begins[1:] &= ~inked[:-1]
    ends = np.flatnonzero(codes == b"\n"[0])
    starts = np.concatenate([[0], ends[:-1] + 1])
    counts = np.add.reduceat(begins, starts, dtype=np.intp)
    if (kinds == 2).any() or (counts != columns).any():
        return None
    if not binary:
        return _decimals(block, chosen) if len(chosen) else np.empty((0, columns), np.float32)
    values = codes[inked] & 1
    if len(values) != len(ends) * columns:  # some have two characters
        return None
    return values.reshape(len(ends), columns)[chosen]


def _parse_alike(block: bytes, chosen: np.ndarray, columns: int) -> np.ndarray | None:
    """`_parse` for lines that differ in nothing but 0 and 1, several times as fast; or None."""
    width = block.index(b"\n") + 1
    if len(block) % width:
        return None
    first = block[:width]
    column = np.flatnonzero(np.frombuffer(first.translate(_BINARY), np.uint8))
    if len(column) != columns or (np.diff(column) == 1).any():
        return None
    lines = np.frombuffer(block, np.uint8).reshape(-1, width)
    kept = np.full(width, 0xFF, np.uint8)
    kept[column] = 0xFE  # the codes of 0 and 1 differ in this bit
    expected = np.frombuffer(first, np.uint8) & kept
    if (expected[column] != b"0"[0]).any() or ((lines & kept) != expected).any():
        return None
    return lines[chosen][:, column] & 1


def _decimals(block: bytes, chosen: np.ndarray) -> np.ndarray | None:
    """Return (k, columns) float32, or None if a value is no number or not finite."""
    lines = block.split(b"\n")
    try:
        values = np.loadtxt([lines[row] for row in chosen], np.float32, comments=None, ndmin=2)
    except ValueError:
        return None
    return values if np.isfinite(values).all() else None


def _refuse(path: Path, done: int, block: bytes, columns: int, binary: bool) -> NoReturn:
    """Find what a block was refused for, line by line."""
    for number, line in enumerate(block.split(b"\n")[:-1], done + 1):
        values = _VALUE.findall(line)
        if len(values) != columns:
            raise InputError(
                f"{path}, line {number:,}: found {len(values):,} value{'s'[: len(values) != 1]}, "
                f"expected {columns:,}; the file is damaged or another one, fetch it again."
            )
        for column, value in enumerate(values, 1):
            if not (value in (b"0", b"1") if binary else _is_number(value)):
                expected = "0 or 1" if binary else "a number"
                shown = repr(value[:20])[1:]  # bytes beyond ASCII are escaped
                raise InputError(
                    f"{path}, line {number:,}, value {column:,}: found {shown}, expected "
                    f"{expected}; the file is damaged or another one, fetch it again."
                )
    raise AssertionError("a block was refused for nothing")


def _is_number(value: bytes) -> bool:
    with np.errstate(over="ignore"):
        return bool(_NUMBER.fullmatch(value) and np.isfinite(np.float32(value.decode())))
