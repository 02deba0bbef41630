"""Reader of matrices in text files: a row per line, values separated by white space.

The files have hundreds of megabytes, so blocks of lines are read, and memory is bounded by the rows
that are wanted and one block. The number of values is checked in every line.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from xgacmn_tf.errors import InputError

LINES = 1000
# Longer lines are rejected; the longest ones of the distribution have about 10,000 bytes.
_MAX_LINE = 2**16
_WHITE_SPACE = b" \t\r\n"
# Line 78,372 of this file is wrong in every copy. The other copy of the labels is preferred; where
# there is none, 0 is the most likely value.
_WRONG_FILE, _WRONG_ROW, _WRONG_LINE = "labels_lake_train.txt", 78_371, b"-1130179"


class Part(NamedTuple):
    """A file with rows of a matrix: line i holds row `rows[i]` (n,)."""

    path: Path
    rows: np.ndarray


def gather(parts: Sequence[Part], wanted: np.ndarray, out: np.ndarray, binary: bool) -> None:
    """Read some rows of a matrix that is stored in one file or in several.

    Args:
        parts: the files; each row of the matrix is in one of them.
        wanted: (k,) the rows to read, each once.
        out: (k, columns) of any numeric dtype; receives row `wanted[i]` as its row i.
        binary: whether all values are 0 or 1; otherwise they are finite decimal numbers.

    Raises:
        InputError: naming the file and the first line with a wrong number of values or a wrong
            value, or a wrong number of lines.
    """
    position = np.full(sum(len(part.rows) for part in parts), -1, np.intp)
    position[wanted] = np.arange(len(wanted))
    for path, rows in parts:
        first = 0
        with (
            path.open("rb") as stream,
            tqdm(total=len(rows), desc=path.name, leave=False, disable=None, delay=1) as bar,
        ):
            read = iter(lambda: stream.readline(_MAX_LINE), b"")  # noqa: B023
            while first < len(rows):
                lines = list(itertools.islice(read, min(LINES, len(rows) - first)))
                if not lines:
                    raise InputError(
                        f"{path} ends after line {first:,}, expected {len(rows):,} lines, one for "
                        "each image of the image list; the file is cut off, fetch it again"
                    )
                wrong = _WRONG_ROW - first
                if path.name.lower() == _WRONG_FILE and 0 <= wrong < len(lines):
                    lines[wrong] = lines[wrong].replace(_WRONG_LINE, b"0")
                target = position[rows[first : first + len(lines)]]
                selected = np.flatnonzero(target >= 0)
                values = _parse(lines, selected, out.shape[1], binary)
                if values is None:
                    raise _wrong_line(path, first, lines, out.shape[1], binary)
                out[target[selected]] = values
                first += len(lines)
                bar.update(len(lines))
            if any(line.strip() for line in read):
                raise InputError(
                    f"{path} has more than {len(rows):,} lines, expected one for each image of the "
                    "image list; the files do not belong together"
                )


def _parse(
    lines: list[bytes], selected: np.ndarray, columns: int, binary: bool
) -> np.ndarray | None:
    """Return (k, columns) values of the selected lines, or None if a line is wrong.

    Unlike numbers, zeros and ones are checked in all lines.
    """
    if binary:
        digits = [line.translate(None, _WHITE_SPACE) for line in lines]
        block = b"".join(lines)
        values = np.frombuffer(b"".join(digits), np.uint8) - ord("0")
        is_wrong = any(len(line) != columns for line in digits) or (values > 1).any()
        if is_wrong or any(pair in block for pair in (b"00", b"01", b"10", b"11")):
            return None
        return values.reshape(-1, columns)[selected]
    if any(len(line.split()) != columns for line in lines):
        return None
    if not len(selected):
        return np.empty((0, columns), np.float32)
    try:
        values = np.loadtxt([lines[row] for row in selected], np.float32, comments=None, ndmin=2)
    except ValueError:
        return None
    return values if np.isfinite(values).all() else None


def _wrong_line(
    path: Path, first: int, lines: list[bytes], columns: int, binary: bool
) -> InputError:
    """Return the error for the first wrong line of a block."""
    one = np.arange(1)
    row = next(i for i, line in enumerate(lines) if _parse([line], one, columns, binary) is None)
    values = lines[row].split()
    wrong = [value for value in values if _parse([value], one, 1, binary) is None]
    return InputError(
        f"{path}, line {first + row + 1:,}: found {len(values):,} values"
        f"{f', {wrong[0][:20]!r} among them' if wrong else ''}; expected {columns:,}, "
        f"{'each 0 or 1' if binary else 'finite numbers'}; the file is damaged or another one, "
        "fetch it again"
    )
