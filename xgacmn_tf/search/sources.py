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
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from xgacmn_tf import gallery
from xgacmn_tf.datasets import feature_file
from xgacmn_tf.datasets.columns import Columns
from xgacmn_tf.datasets.distribution import read_text
from xgacmn_tf.datasets.extraction.extract import title
from xgacmn_tf.datasets.extraction.feature_store import item_keys, stored_features
from xgacmn_tf.datasets.folders import IMAGE_SUFFIXES
from xgacmn_tf.datasets.table_formats import FORMATS
from xgacmn_tf.datasets.tables import LABEL_SEPARATOR, read_table
from xgacmn_tf.errors import InputError
from xgacmn_tf.features.extractor import file_hash
from xgacmn_tf.features.shards import SKIP, rejection
from xgacmn_tf.gallery import ALL, TEST, TRAIN, Gallery
from xgacmn_tf.names import MODALITIES
from xgacmn_tf.runs.trained import TrainedRun

# Columns of tables; several labels are joined by "|".
NAMES = ("id", "image", "text", "title", "label")
SPLITS = (ALL, TRAIN, TEST)
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
) -> tuple[Gallery, list[str]]:
    """Return the items of several sources as one gallery, see `gallery.join`.

    Args:
      run: the run whose extractors and encoders the features are for.
      sources: as the module describes them, at least one.
      cache: folder of cached features.
      on_bad_image: one of `shards.POLICIES`.
      columns: names of columns in tables for `NAMES`, see `table_in`.

    Returns:
      The gallery, and the reason for every image that was left out.

    Raises:
      InputError: a source cannot be used, or an image if the policy is "refuse".
    """
    bad: list[str] = []
    parts = [_read(run, one, cache, on_bad_image, columns, bad) for one in sources]
    return gallery.join(parts), bad


def _read(
    run: TrainedRun,
    source: str,
    cache: Path,
    on_bad_image: str,
    columns: Columns,
    bad: list[str],
) -> Gallery:
    path = Path(source)
    if source in SPLITS:
        return run.gallery(source)
    if path.is_dir():
        items = images_in(path)
    elif not path.is_file():
        raise InputError(f"{source}: there is no such file or folder; {_EXPECTED}")
    elif path.suffix.lower() == ".npz":
        return _features_in(run, path)
    elif path.suffix.lower() == ".txt":
        items = texts_in(path)
    elif path.suffix.lower() in FORMATS:
        items = table_in(path, columns)
    else:
        raise InputError(f"{source}: {_EXPECTED}")
    return _extracted(run, source, items, cache, on_bad_image, bad)


def images_in(folder: Path) -> list[RawItem]:
    """Return all images in a folder and the folders below it, by name, without hidden ones."""
    paths = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths += [
            Path(parent) / name
            for name in files
            if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")
        ]
    if not paths:
        raise InputError(f"{folder}: no image in it ({', '.join(IMAGE_SUFFIXES)})")
    names = [(readable(path.relative_to(folder)), path) for path in sorted(paths)]
    return [RawItem(name, Path(name).stem, path) for name, path in names]


def texts_in(path: Path) -> list[RawItem]:
    """Return the lines of a UTF-8 file that are not blank; an id is the file with the line."""
    lines = enumerate(read_text(path).split("\n"), 1)
    name = readable(path.name)
    items = [RawItem(f"{name}:{n}", title(line), text=line) for n, line in lines if line.strip()]
    if not items:
        raise InputError(f"{path}: no text in it; expected one a line")
    return items


def table_in(path: Path, columns: Columns = ()) -> list[RawItem]:
    """Return the rows of a table; the id of a row without one is its image, "image#2", or line.

    Args:
      path: the table.
      columns: names of its columns for `NAMES`, such as "text=caption".
    """
    table = read_table(path, columns, names=NAMES)
    uses: Counter[str] = Counter()
    items = []
    for number, row in enumerate(table.rows):
        image, text = row.get("image", ""), row.get("text", "")
        if not image and not text:
            raise InputError(
                f"{table.line(number)}: there is neither an image nor a text; name the right "
                "columns with --columns=image=COLUMN,text=COLUMN"
            )
        name = row.get("id") or image or f"{readable(path.name)}:{number + 1}"
        uses[name] += 1
        if uses[name] > 1 and not row.get("id"):
            name = f"{name}#{uses[name]}"
        items.append(
            RawItem(
                name,
                row.get("title") or title(text) or Path(image).stem,
                table.folder / image if image else None,
                text or None,
                ", ".join(label.strip() for label in row.get("label", "").split(LABEL_SEPARATOR)),
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
    thumbnail: list[bytes] | None = None
    for modality in MODALITIES:
        contents = [getattr(item, modality) for item in items]
        rows = [row for row, content in enumerate(contents) if content is not None]
        if not rows:
            continue
        extractor = run.extractor(modality)
        # Named after the extractor's content: features of another one are of no use.
        folder = cache / f"{modality}-{file_hash(run.folder.extractors / modality)[:16]}"
        folder.mkdir(parents=True, exist_ok=True)
        keys = item_keys(modality, [contents[row] for row in rows])
        distinct = {key: contents[row] for key, row in zip(keys, rows, strict=True)}
        with tqdm(total=len(distinct), desc=f"{modality}s: {extractor.name}", leave=False) as bar:
            stored = stored_features(folder, distinct, extractor, SKIP, bar.update)
        reasons = [
            f"{items[row].id}: {stored.bad[key]}"
            for key, row in zip(keys, rows, strict=True)
            if key in stored.bad
        ]
        if reasons and on_bad_image != SKIP:
            raise rejection(reasons[0])
        bad += reasons
        known = [(key, row) for key, row in zip(keys, rows, strict=True) if key in stored.row]
        features[modality] = np.zeros((len(items), extractor.dim), np.float32)
        has[modality] = np.zeros(len(items), bool)
        if known:
            known_keys, known_rows = map(list, zip(*known, strict=True))
            features[modality][known_rows] = stored.take(known_keys)
            has[modality][known_rows] = True
            if modality == "image":
                thumbnail = [b""] * len(items)
                for row, image in zip(known_rows, stored.thumbnails(known_keys), strict=True):
                    thumbnail[row] = image
    usable = np.any([*has.values()], axis=0)
    if not usable.any():
        raise InputError(
            f"{source}: none of its {len(items):,} items can be used; the first: {bad[0]}"
        )
    category = np.array([item.category for item in items])
    found = Gallery(
        features,
        np.array([item.id for item in items]),
        np.array([item.title for item in items]),
        category if category.astype(bool).any() else None,
        None if thumbnail is None else tuple(thumbnail),
        None,
        *(None if m not in has or has[m][usable].all() else has[m] for m in MODALITIES),
    )
    return found.take(np.flatnonzero(usable))


def readable(path: str | os.PathLike[str]) -> str:
    """Return a path as text that can be printed and written, "/" between folders."""
    name = path.as_posix() if isinstance(path, Path) else os.fspath(path)
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def summary(bad: Iterable[str], shown: int = 3) -> str:
    """Return one line on images that were left out; "" for none."""
    reasons = [*bad]
    if not reasons:
        return ""
    more = f" and {len(reasons) - shown:,} more" if len(reasons) > shown else ""
    return f"left out, as they cannot be used: {'; '.join(reasons[:shown])}{more}"
