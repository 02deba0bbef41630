"""Items to search, from folders of images, files of texts, tables, feature files and data sets.

    all, train, test    items of the run's data set
    photos/             the images in a folder and the folders below it, by name
    captions.txt        one text a line
    items.csv           a table, see `tables.read_table`, with any of the columns `NAMES`, at least
                        an image or a text; also .tsv, .jsonl and .parquet
    items.npz           a gallery file, or the feature file of a data set

Images and texts go through the run's extractors. Their features are cached by content, so that only
new items are extracted.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from xgacmn_tf import gallery
from xgacmn_tf.datasets import feature_file
from xgacmn_tf.datasets.columns import Columns
from xgacmn_tf.datasets.distribution import cache_folder, read_text
from xgacmn_tf.datasets.extraction.cache import FeatureCache
from xgacmn_tf.datasets.extraction.extract import title
from xgacmn_tf.datasets.extraction.feature_store import item_keys, stored_features
from xgacmn_tf.datasets.folders import IMAGE_SUFFIXES, images_below
from xgacmn_tf.datasets.table_formats import FORMATS
from xgacmn_tf.datasets.tables import (
    LABEL_SEPARATOR,
    check_ids,
    image_path,
    read_table,
    row_ids,
    text_id,
)
from xgacmn_tf.errors import InputError
from xgacmn_tf.features.extractor import Extractor, file_hash
from xgacmn_tf.features.shards import SKIP
from xgacmn_tf.gallery import ALL, TEST, TRAIN, Gallery
from xgacmn_tf.names import MODALITIES
from xgacmn_tf.runs.trained import TrainedRun

# Columns of tables.
NAMES = ("id", "image", "text", "title", "label")
SPLITS = (ALL, TRAIN, TEST)
_SHOWN = 3
_EXPECTED = (
    "expected all, train, test, a folder of images, a .txt file with one text a line, a table "
    f"({', '.join(FORMATS)}), or an .npz file with features"
)


@dataclass(frozen=True)
class RawItem:
    """An item without features.

    Attributes:
      id: unique in its source.
      image: an image file, or None. text: a text, or None; an item has at least one of them.
      category: several are joined by ", "; "" where it is not known.
    """

    id: str
    title: str
    image: Path | None = None
    text: str | None = None
    category: str = ""


def read_sources(
    run: TrainedRun,
    sources: Sequence[str],
    cache: Path,
    on_bad_image: str = SKIP,
    columns: Columns = (),
    label_separator: str = LABEL_SEPARATOR,
) -> tuple[Gallery, list[str]]:
    """Return the items of several sources as one gallery, see `gallery.join`.

    Args:
      run: the run whose extractors and encoders the features are for.
      sources: as the module describes them, at least one.
      cache: folder of cached features of extractors that were learned; those of networks are in the
        default cache of training.
      on_bad_image: one of `shards.POLICIES`.
      columns, label_separator: of tables, see `table_in`.

    Returns:
      The gallery, and the reason for every image that was left out.

    Raises:
      InputError: a source cannot be used, or an image if the policy is "refuse".
    """
    bad: list[str] = []
    parts = []
    for source in sources:
        path = Path(source)
        if source in SPLITS:
            parts.append(run.gallery(source))
        elif path.is_file() and path.suffix.lower() == ".npz":
            parts.append(_features_in(run, path))
        else:
            items = _items_in(source, path, columns, label_separator)
            parts.append(_extracted(run, source, items, cache, on_bad_image, bad))
    return gallery.join(parts, sources), bad


def _items_in(source: str, path: Path, columns: Columns, label_separator: str) -> list[RawItem]:
    if path.is_dir():
        return images_in(path)
    if not path.is_file():
        raise InputError(f"{source}: there is no such file or folder; {_EXPECTED}")
    if path.suffix.lower() == ".txt":
        return texts_in(path)
    if path.suffix.lower() in FORMATS:
        return table_in(path, columns, label_separator)
    raise InputError(f"{source}: {_EXPECTED}")


def images_in(folder: Path) -> list[RawItem]:
    """Return all images in a folder and the folders below it, by name, without hidden ones."""
    paths = sorted(images_below(folder))
    if not paths:
        raise InputError(f"{folder}: no image in it ({', '.join(IMAGE_SUFFIXES)})")
    return [RawItem(readable(path), Path(readable(path)).stem, folder / path) for path in paths]


def texts_in(path: Path) -> list[RawItem]:
    """Return the distinct lines of a UTF-8 file that are not blank; ids are hashes of the texts."""
    lines = [line.strip() for line in read_text(path).split("\n")]
    items = [
        RawItem(text_id(line), title(line), text=line) for line in dict.fromkeys(lines) if line
    ]
    if not items:
        raise InputError(f"{path}: no text in it; expected one a line")
    return items


def table_in(
    path: Path, columns: Columns = (), label_separator: str = LABEL_SEPARATOR
) -> list[RawItem]:
    """Return the rows of a table as items.

    Ids of rows without one are those of `row_ids`. Rows without an id that have the same image,
    text and title are one item with the labels of all.

    Args:
      path: the table.
      columns: names of its columns for `NAMES`, such as "text=caption".
      label_separator: separates the labels of a cell.

    Raises:
      InputError: the table cannot be read, a row has neither an image nor a text, or two rows have
        one id.
    """
    table = read_table(path, columns, names=NAMES, label_separator=label_separator)
    rows: dict[tuple[str, ...], int] = {}
    labels: dict[int, dict[str, None]] = {}
    for number, row in enumerate(table.rows):
        image, text = row.get("image", ""), row.get("text", "")
        if not image and not text:
            raise InputError(
                f"{table.line(number)}: there is neither an image nor a text; name the right "
                "columns with --columns=image=COLUMN,text=COLUMN"
            )
        content = (row.get("title", ""), image, text)
        # An id that is given twice is an error, not one item.
        key = (row["id"], str(number)) if row.get("id") else content
        own = (label.strip() for label in row.get("label", "").split(label_separator))
        labels.setdefault(rows.setdefault(key, number), {}).update(dict.fromkeys(own))
    ids = row_ids([table.rows[number] for number in labels])
    lines = tuple(table.lines[number] for number in labels)
    check_ids(replace(table, rows=tuple({"id": name} for name in ids), lines=lines))
    items = []
    for name, (number, named) in zip(ids, labels.items(), strict=True):
        row = table.rows[number]
        image, text = row.get("image", ""), row.get("text", "")
        items.append(
            RawItem(
                name,
                row.get("title") or title(text) or Path(image).stem,
                image_path(table.folder, image) if image else None,
                text or None,
                ", ".join(label for label in named if label),
            )
        )
    return items


def _features_in(run: TrainedRun, path: Path) -> Gallery:
    """Return the items of a gallery file or of the feature file of a data set."""
    try:
        with zipfile.ZipFile(path) as archive:
            of_data_set = "image_train.npy" in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        of_data_set = False  # Reading it as a gallery names the reason.
    if not of_data_set:
        return gallery.from_file(path, run.dims)
    dataset = feature_file.load(path)
    dims = {"image": dataset.image_dim, "text": dataset.text_dim}
    if dims != run.dims:
        raise InputError(f"{path} has {dims} features; the run was trained on {run.dims}")
    return gallery.from_dataset(dataset, ALL)


def _extracted(
    run: TrainedRun,
    source: str,
    items: list[RawItem],
    cache: Path,
    on_bad_image: str,
    bad: list[str],
) -> Gallery:
    """Return items with their features; reasons for images that are left out go to `bad`."""
    features, has = {}, {}
    thumbnail: tuple[bytes, ...] | None = None
    for modality in MODALITIES:
        contents = {row: getattr(item, modality) for row, item in enumerate(items)}
        contents = {row: content for row, content in contents.items() if content is not None}
        if not contents:
            continue
        extractor = run.extractor(modality)
        folder = _feature_folder(run, extractor, cache)
        keys = item_keys(modality, [*contents.values()])
        distinct = dict(zip(keys, contents.values(), strict=True))
        with tqdm(total=len(distinct), desc=f"{modality}s: {extractor.name}", leave=False) as bar:
            stored = stored_features(folder, distinct, extractor, on_bad_image, bar.update)
        key_of: list[str | None] = [None] * len(items)
        for key, row in zip(keys, contents, strict=True):
            if key in stored.row:
                key_of[row] = key
            else:
                bad.append(f"{items[row].id}: {stored.bad[key]}")
        has[modality] = np.array([key is not None for key in key_of])
        if has[modality].any():
            features[modality] = stored.take(key_of)
            thumbnail = stored.thumbnails(key_of) if modality == "image" else thumbnail
        else:
            features[modality] = np.zeros((len(items), extractor.dim), np.float32)
    usable = np.any([*has.values()], axis=0)
    if not usable.any():
        raise InputError(
            f"{source}: none of its {len(items):,} items can be used; the first: {bad[0]}"
        )
    category = np.array([item.category for item in items])
    all_items = Gallery(
        features,
        np.array([item.id for item in items]),
        np.array([item.title for item in items]),
        category if category.astype(bool).any() else None,
        thumbnail,
        None,
        *(None if m not in has or has[m][usable].all() else has[m] for m in MODALITIES),
    )
    return all_items.take(np.flatnonzero(usable))


def _feature_folder(run: TrainedRun, extractor: Extractor, cache: Path) -> Path:
    """Return the folder of an extractor's features; networks share the default cache."""
    if not extractor.learns:
        shared = cache_folder()  # A run from elsewhere must not choose where files are written.
        return FeatureCache(shared, extractor, (), SKIP).features_folder
    # Named after the extractor's content: features of another one are of no use.
    name = f"{extractor.modality}-{file_hash(run.folder.extractors / extractor.modality)[:16]}"
    folder = cache / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def readable(path: str | os.PathLike[str]) -> str:
    """Return a path as text that can be printed and written, "/" between folders."""
    name = path.as_posix() if isinstance(path, Path) else os.fspath(path)
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def summary(bad: Sequence[str]) -> str:
    """Return one line on images that were left out, at least one."""
    more = f" and {len(bad) - _SHOWN:,} more" if len(bad) > _SHOWN else ""
    return f"left out, as they cannot be used: {'; '.join(bad[:_SHOWN])}{more}"
