"""Reader of raw pairs from a table with an image's path, a text and a label in each row.

    image,text,label,split
    photos/1.jpg,"A cat, asleep",animal|indoors,train

`image`, `text` and `label` are always there; paths start from the table's folder and stay in it;
several labels are joined by "|". `split` (train, validation, test), `id`, `group` and `fine_label`
are optional. Rows of one group, or of the same image where no group is given, are never divided by
a split that is drawn.
"""

import csv
import io
from collections import Counter
from dataclasses import replace
from pathlib import Path

from xgacmn_tf.datasets.columns import Columns, parse_columns
from xgacmn_tf.datasets.distribution import read_text
from xgacmn_tf.datasets.raw import RawPair, RawPairs
from xgacmn_tf.errors import InputError
from xgacmn_tf.groups import file_keys, in_part

SUFFIXES = (".csv", ".tsv")
REQUIRED = ("image", "text", "label")
OPTIONAL = ("split", "id", "group", "fine_label")
SPLITS = ("train", "validation", "test")
# Expected share of the groups that test where the table does not say which do.
TEST_FRACTION = 0.2
_SHOWN = 3


def load_raw(path: Path, seed: int = 0, columns: Columns = ()) -> RawPairs:
    """Read the pairs in a comma- (.csv) or tab-separated (.tsv) table, UTF-8, named after the file.

    Labels are sorted by name. The id of a pair without one is its path, for a path's second use
    "path#2". A pair's group is its cell in the column `group` or, where that is missing or empty,
    that of another row with the same image or, without one, the content of its image file. Without
    a column `split`, a group belongs to the test split if a hash of the seed and the group falls
    below `TEST_FRACTION`, so that new rows move no existing pair.

    Args:
        path: the suffix determines the separator.
        seed: draws the test split where the table has none; without effect otherwise.
        columns: names of columns in the table for names of this package, see `parse_columns`.

    Raises:
        InputError: naming the line of the first unknown split, empty cell or wrong number of
            cells; or columns, images or splits that are missing.
    """
    if not path.is_file():
        raise InputError(f"There is no table {path}.")
    rows = _rows(path, parse_columns(columns, (*REQUIRED, *OPTIONAL)))
    names = tuple(sorted({label for line, row in rows for label in _labels(path, line, row)}))
    number = {name: index for index, name in enumerate(names)}
    several = any("|" in row["label"] for _, row in rows)
    uses: Counter[str] = Counter()
    pairs, missing = [], []
    for line, row in rows:
        labels = tuple(sorted({number[label] for label in _labels(path, line, row)}))
        uses[row["image"]] += 1
        use = uses[row["image"]]
        image = path.parent / row["image"]
        if not image.is_file():
            missing.append(f"{row['image']} (line {line})")
        name = row.get("id") or (row["image"] if use == 1 else f"{row['image']}#{use}")
        label = labels if several else labels[0]
        pairs.append(RawPair(name, image, row["text"], label, fine_label=row.get("fine_label")))
    if missing:
        more = f" and {len(missing) - _SHOWN:,} more" if len(missing) > _SHOWN else ""
        raise InputError(
            f"{path}: {len(missing):,} of {len(pairs):,} images are missing: "
            f"{', '.join(missing[:_SHOWN])}{more}; paths start from {path.parent}."
        )
    contents = file_keys([pair.image for pair in pairs])
    # An image with a group in one of its rows has it in those without one, too.
    group_of: dict[str, str] = {}
    for content, (_, row) in zip(contents, rows, strict=True):
        if row.get("group"):
            group_of.setdefault(content, row["group"])
    pairs = [
        replace(pair, group=row.get("group") or group_of.get(content, content))
        for pair, content, (_, row) in zip(pairs, contents, rows, strict=True)
    ]
    if "split" in rows[0][1]:
        parts = [row["split"] for _, row in rows]
    else:
        groups = [str(pair.group) for pair in pairs]
        parts = ["test" if in_part(group, TEST_FRACTION, seed) else "train" for group in groups]
        if len(set(parts)) < 2:
            raise InputError(
                f"{path}: all {len(pairs)} pairs, in {len(set(groups))} groups, were drawn into "
                f"the {parts[0]} split; add a column split (train, validation, test), or use "
                "another --seed."
            )
    splits = {
        part: tuple(pair for pair, of in zip(pairs, parts, strict=True) if of == part)
        for part in SPLITS
    }
    return RawPairs(path.stem, splits["train"], splits["test"], names, splits["validation"])


def _rows(path: Path, in_file: dict[str, str]) -> list[tuple[int, dict[str, str]]]:
    """Return (line, cells by column) of every row; labels are left to `_labels`."""
    of_column = {column: name for name, column in in_file.items()}
    dialect = csv.excel_tab if path.suffix.lower() == ".tsv" else csv.excel
    reader = csv.reader(io.StringIO(read_text(path), newline=""), dialect, strict=True)
    rows: list[tuple[int, dict[str, str]]] = []
    try:
        header = [name.strip() for name in next(reader, [])]
        absent = [column for column in of_column if column not in header]
        if absent:
            raise InputError(
                f"{path}, line 1: there is no column {absent[0]!r}, which --columns names; the "
                f"columns are {', '.join(header)[:200]}"
            )
        header = [of_column.get(name, name) for name in header]
        _check_header(path, header)
        for cells in reader:
            if not cells:
                continue
            line = reader.line_num
            if len(cells) != len(header):
                raise InputError(
                    f"{path}, line {line}: {len(cells)} cells; expected {len(header)}: "
                    f"{', '.join(header)}. Quote texts that hold the separator or quotes."
                )
            row = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
            if not row["image"] or "\0" in row["image"]:
                raise InputError(
                    f"{path}, line {line}: the image is {row['image']!r}; name a file."
                )
            # A table from elsewhere must not make other images of this machine part of a model.
            if Path(row["image"]).is_absolute() or ".." in Path(row["image"]).parts:
                raise InputError(
                    f"{path}, line {line}: the image {row['image'][:80]!r} leads out of "
                    f"{path.parent}; put images below it, or a link to their folder."
                )
            if "id" in row and not row["id"]:
                raise InputError(f"{path}, line {line}: the id is empty; every pair needs one.")
            if row.get("split", "train") not in SPLITS:
                raise InputError(
                    f"{path}, line {line}: the split is {row['split'][:40]!r}; expected "
                    f"{', '.join(SPLITS)}."
                )
            rows.append((line, row))
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}.") from None
    if not rows:
        raise InputError(f"{path} holds no pairs below its header.")
    return rows


def _check_header(path: Path, header: list[str]) -> None:
    allowed = (*REQUIRED, *OPTIONAL)
    lacking = [name for name in REQUIRED if name not in header]
    unknown = [name for name in header if name not in allowed]
    twice = [name for name, count in Counter(header).items() if count > 1]
    wrong = [f"{name} is missing" for name in lacking]
    wrong += [f"{name[:40]!r} is unknown" for name in unknown]
    wrong += [f"{name} is a duplicate" for name in twice if name in allowed]
    if wrong:
        separator = "tabs" if path.suffix.lower() == ".tsv" else "commas"
        raise InputError(
            f"{path}, line 1: the columns are {', '.join(map(repr, header))[:200] or 'missing'}; "
            f"{', '.join(wrong)}; expected {', '.join(REQUIRED)} and optionally "
            f"{', '.join(OPTIONAL)}, separated by {separator}"
        )


def _labels(path: Path, line: int, row: dict[str, str]) -> list[str]:
    labels = [label.strip() for label in row["label"].split("|")]
    if "" in labels:
        raise InputError(
            f"{path}, line {line}: the label is {row['label'][:40]!r}; expected a name, or names "
            "joined by |."
        )
    return labels
