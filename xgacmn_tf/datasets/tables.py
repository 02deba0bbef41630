"""Tables of images, texts and labels, whatever stores them: files, folders or data set libraries.

A `Table` has rows under the names of this package. `read_table` makes one from a file, `make_table`
from the records of any other source.
"""

import hashlib
import logging
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np

from xgacmn_tf.datasets.columns import Columns, parse_columns
from xgacmn_tf.datasets.table_formats import FORMATS, Records
from xgacmn_tf.errors import InputError

_LOGGER = logging.getLogger(__name__)
LABEL_SEPARATOR = "|"
TEXT_ID = "text-"  # The start of ids that are hashes of texts.
_SHOWN = 200


@dataclass(frozen=True)
class Table:
    """Rows of cells by name; all that a cell can be is a string, empty where nothing is given.

    Attributes:
        source: what errors call the table.
        folder: where relative paths of images start.
        rows: the cells of each row by name; every row has the same names.
        lines: where each row stands in the source.
        ignored: columns of the source that are not used.
    """

    source: str
    folder: Path
    rows: tuple[dict[str, str], ...]
    lines: tuple[str, ...]
    ignored: tuple[str, ...] = ()

    def line(self, row: int) -> str:
        """Return where a row stands, for errors: "pairs.csv, line 7"."""
        return f"{self.source}, {self.lines[row]}"


def read_table(
    path: Path,
    columns: Columns = (),
    *,
    names: Sequence[str],
    required: Sequence[str] = (),
    label_separator: str = LABEL_SEPARATOR,
) -> Table:
    """Read a table from a `.csv`, `.tsv`, `.jsonl` or `.parquet` file.

    Paths of images start from the file's folder and stay in it.

    Args:
        path: the suffix determines the format.
        columns: names in the file for names of this package, such as "text=caption".
        names: the columns to read; others are logged once and ignored.
        required: those that the file must have.
        label_separator: joins the labels of a list cell.

    Raises:
        InputError: if the file is missing, damaged or empty, lacks columns, or a cell holds
            anything but strings and numbers; naming file, line and column.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such table")
    records = FORMATS[path.suffix.lower()](path)
    return make_table(
        str(path),
        path.parent,
        records,
        columns,
        names=names,
        required=required,
        label_separator=label_separator,
    )


def make_table(
    source: str,
    folder: Path,
    records: Records,
    columns: Columns = (),
    *,
    names: Sequence[str],
    required: Sequence[str] = (),
    label_separator: str = LABEL_SEPARATOR,
) -> Table:
    """Return the table of records, such as those of a data set library.

    A list of texts makes as many rows, with ids of their own; a list of labels is one cell with all
    of them.

    Args:
        source: what errors call the table.
        folder: where relative paths of images start.
        records: columns of the source and their cells.

    All other arguments, and errors, are those of `read_table`.
    """
    selected = _selected(source, records.header, parse_columns(columns, names), names, required)
    ignored = tuple(name for name in records.header if name not in selected.values())
    if ignored:
        _LOGGER.info("%s: ignored columns: %s", source, ", ".join(ignored)[:_SHOWN])
    rows: list[dict[str, str]] = []
    lines: list[str] = []
    empty: list[str] = []
    for line, record in records.read([*selected.values()]):
        where = f"{source}, {line}"
        cells = {
            name: _cell(record.get(column), f"{where}: column {column!r}")
            for name, column in selected.items()
        }
        # Every row of embeddings' metadata counts, also one without cells.
        if "image" in names and cells and not any(cells.values()):
            empty.append(line)
            continue
        _check_path(where, folder, cells.get("image", ""))
        for row in _rows(cells, where, label_separator):
            rows.append(row)
            lines.append(line)
    if empty:
        _LOGGER.info("%s: skipped empty rows: %s, the first in %s", source, len(empty), empty[0])
    if not rows:
        raise InputError(f"{source} holds no rows; expected at least one below the column names")
    return Table(source, folder, tuple(rows), tuple(lines), ignored)


def text_hash(text: str) -> str:
    """Return 24 hexadecimal digits that follow from a text, for ids."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def text_id(text: str) -> str:
    """Return the id of an item that has a text alone."""
    return f"{TEXT_ID}{text_hash(text)}"


def row_ids(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the id of each row: its own, or one that follows from its content.

    That is the image or, without one, a hash of the text. Where rows of different texts or titles
    have one image, a hash of text and title follows. Further rows of equal content end in "#2", ….
    """
    names = [row.get("image") or text_id(row.get("text", "")) for row in rows]
    contents = [f"{row.get('text', '')}\0{row.get('title', '')}" for row in rows]
    contents_of: dict[str, set[str]] = {}
    for row, name, content in zip(rows, names, contents, strict=True):
        if not row.get("id"):
            contents_of.setdefault(name, set()).add(content)
    uses: Counter[str] = Counter()
    ids = []
    for row, name, content in zip(rows, names, contents, strict=True):
        if not row.get("id"):
            name += f"#{text_hash(content)[:12]}" if len(contents_of[name]) > 1 else ""
            uses[name] += 1
        ids.append(row.get("id") or (name if uses[name] == 1 else f"{name}#{uses[name]}"))
    return ids


def check_ids(table: Table) -> None:
    """Reject an id that two rows have.

    Raises:
        InputError: naming the lines of both.
    """
    first: dict[str, int] = {}
    for row, cells in enumerate(table.rows):
        name = cells.get("id")
        if name and first.setdefault(name, row) != row:
            raise InputError(
                f"{table.line(row)}: the id {name[:80]!r} is also in {table.lines[first[name]]}; "
                "give every row an id of its own"
            )


def image_path(folder: Path, name: str) -> Path:
    """Return the path of an image that a cell names, whether or not there is such a file.

    Tables and files often come from different systems: macOS decomposes accented letters in file
    names, and Windows writes backslashes.
    """
    path = folder / name
    spellings = (name, name.replace("\\", "/"))
    forms = (folder / normalize(form, each) for each in spellings for form in ("NFC", "NFD"))
    return path if path.is_file() else next((each for each in forms if each.is_file()), path)


def _selected(
    source: str,
    header: Sequence[str],
    in_source: dict[str, str],
    names: Sequence[str],
    required: Sequence[str],
) -> dict[str, str]:
    """Return the column of the source for each name that is read."""
    shown = ", ".join(header)[:_SHOWN] or "missing"
    absent = [column for column in in_source.values() if column not in header]
    if absent:
        raise InputError(
            f"{source}: there is no column {absent[0]!r}, which --columns names; the columns are "
            f"{shown}"
        )
    taken = set(in_source.values())
    selected = {name: name for name in names if name in header and name not in taken} | in_source
    lacking = [name for name in required if name not in selected]
    if lacking:
        raise InputError(
            f"{source}: {' and '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} missing; "
            f"the columns are {shown}; name the right ones with --columns={lacking[0]}=COLUMN,…"
        )
    twice = [
        column for column, n in Counter(header).items() if n > 1 and column in taken | {*names}
    ]
    if twice:
        raise InputError(f"{source}: the column {twice[0]!r} is a duplicate; rename one of them")
    return selected


def _cell(value: Any, where: str) -> str | list[str]:
    """Return a cell of any source as a string, or a list of strings."""
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, str):
        return value.strip()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # Libraries turn whole numbers into floats where cells are empty.
    if isinstance(value, (bool, int, float)):
        return str(value)
    if isinstance(value, (list, tuple)):
        cells = [_cell(item, where) for item in value]
        if all(isinstance(cell, str) for cell in cells):
            return [cell for cell in cells if isinstance(cell, str)]
    raise InputError(
        f"{where} holds {type(value).__name__} values; expected strings, numbers or lists of them"
    )


def _rows(
    cells: dict[str, str | list[str]], where: str, label_separator: str
) -> Iterator[dict[str, str]]:
    """Yield a row for each of the texts of a record."""
    row: dict[str, str] = {}
    texts: list[str] = []
    for name, cell in cells.items():
        if isinstance(cell, str):
            row[name] = cell
        elif name == "text":
            row[name], *texts = cell or [""]
        elif name == "label":
            if any(label_separator in label for label in cell):
                raise InputError(
                    f"{where}: a label holds {label_separator!r}, which separates labels; give "
                    "another one with --label_separator"
                )
            row[name] = label_separator.join(cell)
        else:
            raise InputError(f"{where}: {name} is a list; expected one value")
    yield row
    for text in texts:
        own = {"id": f"{row['id']}#{text_hash(text)[:12]}"} if row.get("id") else {}
        yield {**row, "text": text, **own}


def _check_path(where: str, folder: Path, image: Any) -> None:
    """Reject an image outside the table's folder.

    A table from elsewhere must not make other images of this machine part of a model.
    """
    shown = repr(str(image)[:80])
    paths = [Path(str(image)), Path(str(image).replace("\\", "/"))]  # See `image_path`.
    if "\0" in str(image):
        raise InputError(
            f"{where}: the image {shown} is not a file name, as it holds a NUL; expected a path "
            f"below {folder}"
        )
    if any(path.is_absolute() or ".." in path.parts for path in paths):
        raise InputError(
            f"{where}: the image {shown} is outside the table's folder {folder}; put the images or "
            "a link to their folder below it, and give paths that start from it"
        )
