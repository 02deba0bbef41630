"""Records in files: comma- and tab-separated values, JSON Lines, and Parquet."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from xgacmn_tf.datasets.distribution import read_text
from xgacmn_tf.errors import InputError, one_line
from xgacmn_tf.io.array_budget import Budget

# A small file can declare any number of equal rows.
MAX_ROWS = 50_000_000
# Rows of Parquet that are read at once; a small file can hold one long text in each of them.
_ROWS_AT_ONCE = 256
_ROW_BYTES = 336  # A record of one short cell.
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "|"}


class Records(NamedTuple):
    """The records of a source, read once.

    Attributes:
        header: the names of its columns.
        read: called with the columns that are wanted, yields the place of each record, such as
            "line 7", and its cells by column.
    """

    header: list[str]
    read: Callable[[Sequence[str]], Iterator[tuple[str, Mapping[str, Any]]]]


def _separated(path: Path) -> Records:
    """Open a UTF-8 table with cells separated by commas, tabs (.tsv) or what its header has."""
    content = read_text(path)
    separator = _separator(content, "\t" if path.suffix.lower() == ".tsv" else ",")
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=separator, strict=True)

    def read(columns: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        start = reader.line_num + 1
        try:
            for cells in reader:
                if cells and len(cells) != len(header):
                    raise InputError(
                        f"{path}, line {reader.line_num}: {len(cells)} cells; expected "
                        f"{len(header)}: {', '.join(header)}. Separate them by "
                        f"{_SEPARATORS[separator]}, and quote texts that hold one or quotes"
                    )
                if cells:
                    yield f"line {reader.line_num}", dict(zip(header, cells, strict=True))
                start = reader.line_num + 1
        except csv.Error as error:
            raise _malformed(path, start, error) from None

    try:
        header = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
        raise _malformed(path, 1, error) from None
    return Records(header, read)


def _separator(content: str, usual: str) -> str:
    """Return what separates the cells: another one where that alone divides the header."""
    header = content.lstrip("\r\n").split("\n", 1)[0]
    if usual in header:
        return usual
    return max(_SEPARATORS, key=lambda one: (header.count(one), one == usual))


def _malformed(path: Path, line: int, error: csv.Error) -> InputError:
    """Return the error of a row that begins in a line and is no row of cells."""
    reason = one_line(error)
    if "unexpected end" in reason:
        reason = 'a cell that opens with " is not closed; close it, and write " within it as ""'
    elif "field larger" in reason:
        reason = (
            f"a cell has more than {csv.field_size_limit():,} characters; close it if it opens "
            'with ", shorten it, or write the table as JSON Lines'
        )
    elif "expected after" in reason:
        reason = 'text follows the " that closes a cell; write " within a cell as ""'
    return InputError(f"{path}, line {line}: {reason}")


def _json_lines(path: Path) -> Records:
    """Open a file with a JSON object in each line; the columns are the fields of all of them."""
    records: list[tuple[str, dict[str, Any]]] = []
    header: dict[str, None] = {}
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{path}, line {number}: no JSON ({one_line(error)}); expected an object in each "
                "line"
            ) from None
        if not isinstance(record, dict):
            raise InputError(
                f"{path}, line {number}: {type(record).__name__}; expected a JSON object, such as "
                '{"image": "1.jpg", "text": "a cat", "label": "animal"}'
            )
        records.append((f"line {number}", record))
        header |= dict.fromkeys(record)
    return Records([*header], lambda columns: iter(records))


def _parquet(path: Path) -> Records:
    """Open a Parquet file, of which only the wanted columns are read."""
    parquet = parquet_library()
    try:
        file = parquet.ParquetFile(path)
        header = file.schema_arrow.names
    except Exception as error:  # PyArrow raises many types for damaged files.
        raise _unreadable(path, error) from error
    if file.metadata.num_rows > MAX_ROWS:
        raise InputError(
            f"{path}: {file.metadata.num_rows:,} rows; expected at most {MAX_ROWS:,}, so divide it"
        )

    def read(columns: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        row, budget = 0, Budget(path)
        try:
            for batch in file.iter_batches(_ROWS_AT_ONCE, columns=[*columns]):
                budget.take(f"row {row + 1}", (batch.nbytes + _ROW_BYTES * len(batch),), 1)
                for record in batch.to_pylist():
                    row += 1
                    yield f"row {row}", record
        except InputError:
            raise
        except Exception as error:
            raise _unreadable(path, error) from error

    return Records(header, read)


def parquet_library() -> Any:
    """Return `pyarrow.parquet`.

    Raises:
        InputError: if PyArrow is not installed.
    """
    try:
        import pyarrow.parquet
    except ImportError:
        raise InputError(
            "Parquet files need pyarrow; run `pip install 'xgacmn_tf[parquet]'`"
        ) from None
    return pyarrow.parquet


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"{path}: cannot be read as Parquet ({one_line(error)}); write it again")


# By suffix.
FORMATS: dict[str, Callable[[Path], Records]] = {
    ".csv": _separated,
    ".tsv": _separated,
    ".jsonl": _json_lines,
    ".parquet": _parquet,
}
