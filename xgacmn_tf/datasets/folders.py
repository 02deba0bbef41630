"""Folders of images as tables: one folder per category, metadata files, and numbered shards.

    DIR/cat/1.jpg, DIR/cat/1.txt           a folder per category, and texts of the images' names
    DIR/metadata.csv                       Hugging Face's ImageFolder: a column `file_name`
    DIR/00000/000000000.jpg, ….txt, ….json the shards that img2dataset writes

The first two may have folders train, validation and test above them.
"""

import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from xgacmn_tf.datasets.distribution import read_text
from xgacmn_tf.datasets.table_formats import FORMATS, Records
from xgacmn_tf.errors import InputError
from xgacmn_tf.io.files import read_json

_LOGGER = logging.getLogger(__name__)
# Usual names of folders and splits.
SPLIT_OF = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "val", "valid", "dev", "eval"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm")
_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_SHARD = re.compile(r"\d{5,}")


def chosen_splits(source: str, names: Iterable[str]) -> list[str]:
    """Return the splits of a library's data set that are read; all others are logged.

    These are the splits with usual names or, without any, the first one. A single one is divided
    like a table without a column `split`.

    Args:
        source: what log lines call the data set.
        names: of all its splits.
    """
    present = [*names]
    usual = [name for name in present if name.lower() in SPLIT_OF]
    splits = usual or present[:1]
    ignored = [name for name in present if name not in splits]
    if ignored:
        _LOGGER.info(
            "%s: read splits: %s; ignored splits: %s", source, ", ".join(splits), ", ".join(ignored)
        )
    return splits


def folder_records(folder: Path) -> Records:
    """Open a folder of images in any of the forms above.

    The columns `image`, `text` and `label` are there where the form has them, and `split` where
    there are folders of splits; those of metadata files come with them.

    Raises:
        InputError: if the folder has none of these forms, or a file in it is damaged.
    """
    parts = _parts(folder)
    metadata = [
        (part, part / name)
        for part in (folder, *parts)
        for name in _METADATA
        if (part / name).is_file()
    ]
    if metadata:
        return _with_metadata(folder, metadata)
    images = [*images_below(folder)]
    if not images:
        raise InputError(
            f"{folder} holds no images ({', '.join(IMAGE_SUFFIXES)}); expected a folder for each "
            "category with images in it, or metadata.csv with a column file_name"
        )
    if _is_sharded(images):
        return _of_shards(folder, images)
    return _of_categories(folder, images, bool(parts))


def images_below(folder: Path) -> Iterator[Path]:
    """Yield the paths of the images in a folder and those below it, relative to it, sorted."""
    visited: set[str] = set()
    for directory, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(directory)
        if real in visited:  # Links can form circles.
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith("."):
                yield Path(directory, name).relative_to(folder)


def _parts(folder: Path) -> list[Path]:
    """Return the folders of splits, if all folders but hidden ones are."""
    visible = (path for path in folder.iterdir() if not path.name.startswith("."))
    below = sorted(path for path in visible if path.is_dir())
    return below if all(path.name.lower() in SPLIT_OF for path in below) else []


def _split_of(name: str) -> dict[str, str]:
    return {"split": SPLIT_OF[name.lower()]} if name.lower() in SPLIT_OF else {}


def _with_metadata(folder: Path, metadata: Sequence[tuple[Path, Path]]) -> Records:
    """Join metadata files; their paths of images start from the folder that each is in."""
    opened = [(part, path, FORMATS[path.suffix](path)) for part, path in metadata]
    columns = dict.fromkeys(name for _, _, records in opened for name in records.header)
    if "file_name" not in columns:
        raise InputError(
            f"{metadata[0][1]}: there is no column 'file_name' with the paths of images; the "
            f"columns are {', '.join(columns)[:200]}"
        )
    header = ["image", *(name for name in columns if name not in ("file_name", "image"))]
    header += ["split"] if metadata[0][0] != folder and "split" not in header else []

    def read(wanted: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for part, path, records in opened:
            there = [name for name in wanted if name in records.header]
            place = path.relative_to(folder)
            for line, record in records.read([*{*there, "file_name"}]):
                image = str(record.get("file_name") or "")
                if image:
                    image = str(part.relative_to(folder) / image)
                yield f"{place}, {line}", {**_split_of(part.name), **record, "image": image}

    return Records(header, read)


def _is_sharded(images: Sequence[Path]) -> bool:
    """Whether all folders are numbered and every image's name begins with its folder's number."""
    return all(
        len(path.parts) == 2
        and _SHARD.fullmatch(path.parts[0])
        and path.name.startswith(path.parts[0])
        for path in images
    )


def _of_shards(folder: Path, images: Sequence[Path]) -> Records:
    """Read img2dataset's shards: a caption in a text file and all else in a JSON file.

    Numbers of shards are no categories: those are a field of the JSON files, see `--columns`.
    """
    records: list[tuple[str, dict[str, Any]]] = []
    header = dict.fromkeys(["image", "text"])
    for path in images:
        described = folder / path.with_suffix(".json")
        try:
            record = read_json(described) if described.is_file() else {}
        except (OSError, ValueError) as error:
            raise InputError(f"{described}: cannot be read as JSON ({error})") from None
        if not isinstance(record, dict):
            raise InputError(f"{described}: {type(record).__name__}; expected a JSON object")
        text = _caption(folder / path)
        record |= {"image": str(path), "text": record.get("caption") if text is None else text}
        header |= dict.fromkeys(record)
        records.append((str(path), record))
    return Records([*header], lambda columns: iter(records))


def _of_categories(folder: Path, images: Sequence[Path], has_splits: bool) -> Records:
    """Read a folder for each category, whose name is that of the folder."""
    depth = 2 if has_splits else 1
    stray = next((path for path in images if len(path.parts) <= depth), None)
    if stray is not None:
        raise InputError(
            f"{folder / stray}: expected the image in the folder of its category, such as "
            f"{folder / stray.parent / 'cat' / stray.name}, or metadata.csv with a column file_name"
        )

    def read(columns: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for path in images:
            record = {
                "image": str(path),
                "text": _caption(folder / path),
                "label": path.parts[depth - 1],
            }
            yield str(path), {**record, **(_split_of(path.parts[0]) if has_splits else {})}

    return Records(["image", "text", "label", *(["split"] if has_splits else [])], read)


def _caption(image: Path) -> str | None:
    """Return the text of the file that has an image's name, or None."""
    path = image.with_suffix(".txt")
    return read_text(path) if path.is_file() else None
