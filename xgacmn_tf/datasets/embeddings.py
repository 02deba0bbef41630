"""Embeddings in a folder, in the layout of clip-retrieval or as a pair of `.npy` files.

    DIR/img_emb/img_emb_0.npy, DIR/text_emb/text_emb_0.npy, DIR/metadata/metadata_0.parquet, …
    DIR/image.npy, DIR/text.npy, DIR/metadata.parquet (or .csv, .tsv, .jsonl)

Row i of both arrays and of the metadata is one pair. Arrays are memory-mapped, so that only the
float32 features of the splits are in memory. The metadata need a column `label`; `id`, `title`,
`group`, `fine_label` and `split` are optional.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xgacmn_tf.datasets.columns import Columns
from xgacmn_tf.datasets.labels import label_array, table_labels
from xgacmn_tf.datasets.paired import PairedDataset, Split
from xgacmn_tf.datasets.raw_table import SPLITS, table_parts
from xgacmn_tf.datasets.tables import LABEL_SEPARATOR, Table, check_ids, read_table
from xgacmn_tf.errors import InputError
from xgacmn_tf.features.extractor import readable
from xgacmn_tf.groups import content_keys
from xgacmn_tf.io.array_budget import Budget, string_array
from xgacmn_tf.names import MODALITIES

NAMES = ("label", "id", "title", "group", "fine_label", "split")
_FOLDERS = {"image": "img_emb", "text": "text_emb"}
_METADATA = (".parquet", ".csv", ".tsv", ".jsonl")


def is_embeddings(folder: Path) -> bool:
    """Return whether a folder holds embeddings of images."""
    return (folder / _FOLDERS["image"]).is_dir() or (folder / "image.npy").is_file()


def load(
    folder: Path,
    columns: Columns = (),
    label_separator: str = LABEL_SEPARATOR,
    seed: int = 0,
) -> PairedDataset:
    """Read the data set in a folder, named after it.

    Pairs without ids get "0", "1", …. Without a column `split`, a test split is drawn by groups or,
    without these, by identical images, see `raw_table.table_parts`.

    Args:
        folder: see above.
        columns: names in the metadata for the names above, such as "label=category".
        label_separator: separates the labels of a cell.
        seed: draws the test split where there is none.

    Raises:
        InputError: if a file is missing or damaged, the numbers of rows differ, the metadata lack a
            column `label`, or the data fail `paired.check`.
    """
    parts = _parts(folder)
    arrays = {modality: [_opened(part[modality]) for part in parts] for modality in MODALITIES}
    table = _metadata([part["metadata"] for part in parts], columns, label_separator)
    for modality, opened in arrays.items():
        rows = sum(map(len, opened))
        if rows != len(table.rows):
            raise InputError(
                f"{folder}: {rows} {modality} embeddings, but {len(table.rows)} rows of metadata; "
                "expected a row of each for every pair"
            )
    names, labels = table_labels(table, label_separator)
    features = {modality: _joined(opened) for modality, opened in arrays.items()}
    groups = _column(table, "group")
    keys = content_keys(features["image"])
    if groups is not None:
        groups = np.where(groups == "", keys, groups)
    drawn_by = keys if groups is None else groups
    parts_of = table_parts(table, drawn_by.tolist(), [label is None for label in labels], seed)
    check_ids(table)
    ids = _column(table, "id")
    multi_label = any(isinstance(label, tuple) for label in labels)
    everything = Split(
        image=features["image"],
        text=features["text"],
        label=label_array(labels, len(names), multi_label),
        id=np.arange(len(labels)).astype(str) if ids is None else ids,
        title=_column(table, "title"),
        group=groups,
        fine_label=_column(table, "fine_label"),
    )
    splits = {part: everything.take(np.array(parts_of) == part) for part in SPLITS}
    validation = splits["validation"] if len(splits["validation"]) else None
    return PairedDataset(
        folder.name, splits["train"], splits["test"], names, validation, str(folder)
    )


def _parts(folder: Path) -> list[dict[str, Path]]:
    """Return the files of each part of the data set, in order."""
    if not (folder / _FOLDERS["image"]).is_dir():
        tables = [folder / f"metadata{suffix}" for suffix in _METADATA]
        table = next((path for path in tables if path.is_file()), tables[0])
        parts = [{"image": folder / "image.npy", "text": folder / "text.npy", "metadata": table}]
    else:
        parts = []
        for path in sorted((folder / _FOLDERS["image"]).glob("img_emb_*.npy"), key=_number):
            number = path.stem.removeprefix("img_emb_")
            text = folder / _FOLDERS["text"] / f"text_emb_{number}.npy"
            table = folder / "metadata" / f"metadata_{number}.parquet"
            parts.append({"image": path, "text": text, "metadata": table})
    missing = [path for part in parts for path in part.values() if not path.is_file()]
    if missing or not parts:
        lacking = missing[0] if missing else folder / _FOLDERS["image"] / "img_emb_0.npy"
        raise InputError(
            f"{lacking}: there is no such file; expected embeddings of images and of texts, and "
            "metadata with a column of categories"
        )
    return parts


def _number(path: Path) -> tuple[int, str]:
    digits = re.search(r"\d+$", path.stem)
    return int(digits.group()) if digits else -1, path.name


def _opened(path: Path) -> np.ndarray:
    """Return a memory-mapped array (n, d)."""
    with readable(path, "an .npy file", "an array (pairs, features)"):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind != "f":
        raise InputError(f"{path}: expected an array (pairs, features) of floating point numbers")
    return array


def _joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Return arrays one below the other as float32, without a further copy of them."""
    try:
        joined = np.empty((sum(map(len, arrays)), arrays[0].shape[1]), np.float32)
        with np.errstate(over="ignore"):  # Too large for float32 turns infinite and is reported.
            np.concatenate(arrays, out=joined, casting="same_kind")
    except ValueError as error:
        raise InputError(f"embeddings of different parts have different widths ({error})") from None
    return joined


def _metadata(paths: Sequence[Path], columns: Columns, label_separator: str) -> Table:
    """Return the metadata of all parts as one table."""
    tables = [
        read_table(path, columns, names=NAMES, required=["label"], label_separator=label_separator)
        for path in paths
    ]
    for path, table in zip(paths, tables, strict=True):
        different = sorted({*table.rows[0]} ^ {*tables[0].rows[0]})
        if different:
            raise InputError(
                f"{path} and {paths[0].name} do not both have the column {different[0]!r}; give "
                "all parts of the metadata the same columns"
            )
    rows = tuple(row for table in tables for row in table.rows)
    lines = tuple(
        f"{path.name}, {line}"
        for path, table in zip(paths, tables, strict=True)
        for line in table.lines
    )
    return Table(str(paths[0].parent), paths[0].parent, rows, lines, tables[0].ignored)


def _column(table: Table, name: str) -> np.ndarray | None:
    """Return a column as (n,) str, or None if the table has none."""
    if name not in table.rows[0]:
        return None
    return string_array(name, [row[name] for row in table.rows], Budget(Path(table.source)))
