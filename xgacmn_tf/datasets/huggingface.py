"""Data sets of the library `datasets` of Hugging Face as records.

A data set is a folder that `save_to_disk` wrote, or `hf:ORGANIZATION/NAME[/CONFIG]`, which is
downloaded; `hf:FOLDER` reads a folder of files in any form that the library knows.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from xgacmn_tf.datasets.encoded_images import EncodedImages
from xgacmn_tf.datasets.folders import SPLIT_OF, chosen_splits
from xgacmn_tf.datasets.forms import HUGGING_FACE
from xgacmn_tf.datasets.table_formats import Records
from xgacmn_tf.errors import InputError, one_line


def is_saved(folder: Path) -> bool:
    """Return whether `save_to_disk` wrote a folder."""
    return any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))


def huggingface_records(name: str, cache_dir: str | None, images: EncodedImages) -> Records:
    """Open a data set.

    Labels of the type ClassLabel are read as names. Encoded images are written to files.

    Args:
        name: "hf:…" or a folder that `save_to_disk` wrote.
        cache_dir: where the library stores what it downloads; None for its default.
        images: receives the images.

    Raises:
        InputError: if the library is not installed, or the data set is unknown or damaged.
    """
    try:
        import datasets
    except ImportError:
        raise InputError(
            f"{name}: data sets of Hugging Face need the package datasets; run "
            "`pip install 'xgacmn_tf[huggingface]'`"
        ) from None
    datasets.disable_progress_bars()
    try:
        if name.startswith(HUGGING_FACE):
            loaded = datasets.load_dataset(*_path_and_config(name), cache_dir=cache_dir)
        else:
            loaded = datasets.load_from_disk(name)
    except Exception as error:  # The library and those below it raise many types.
        raise InputError(
            f"{name}: Hugging Face's library cannot load it ({one_line(error)}); expected a folder "
            "of save_to_disk or hf:ORGANIZATION/NAME[/CONFIG]"
        ) from error
    roots = _roots(name, cache_dir)
    splits = loaded if isinstance(loaded, datasets.DatasetDict) else {"": loaded}
    parts = {part: splits[part] for part in chosen_splits(name, splits)}
    first = next(iter(parts.values()))
    header = [*first.column_names]
    divided = len(parts) > 1 and "split" not in header

    def read(columns: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for part, split in parts.items():
            own = {"split": SPLIT_OF[part.lower()]} if divided else {}
            rows = split.select_columns([name for name in columns if name in split.column_names])
            features = {
                column: _decoder(feature, images, roots)
                for column, feature in rows.features.items()
            }
            for column, feature in rows.features.items():
                if isinstance(feature, datasets.Image):
                    rows = rows.cast_column(column, datasets.Image(decode=False))
            for number, record in enumerate(rows, 1):
                decoded = {column: features[column](value) for column, value in record.items()}
                yield f"row {number}{f' of {part}' * bool(part)}", {**decoded, **own}

    return Records([*header, *(["split"] if divided else [])], read)


def _path_and_config(name: str) -> list[str]:
    path = name.removeprefix(HUGGING_FACE)
    if os.path.exists(path):
        return [path]
    *front, last = path.split("/")
    return ["/".join(front), last] if len(front) > 1 else [path]


def _roots(name: str, cache_dir: str | None) -> list[Path]:
    """Return the folders whose image files a data set may name: its own and the downloaded ones."""
    import datasets
    from huggingface_hub import constants

    roots = [constants.HF_HUB_CACHE, cache_dir or datasets.config.HF_DATASETS_CACHE]
    folder = name.removeprefix(HUGGING_FACE)
    return [Path(root).resolve() for root in (*roots, *([folder] if Path(folder).is_dir() else []))]


def _decoder(feature: Any, images: EncodedImages, roots: Sequence[Path]) -> Callable[[Any], Any]:
    """Return the function from a stored value to a cell."""
    import datasets

    if isinstance(feature, datasets.ClassLabel):
        # −1 stands for a missing label, as in the test splits of benchmarks.
        return lambda value: "" if value is None or value < 0 else feature.int2str(value)
    if isinstance(feature, datasets.Image):
        return lambda value: "" if value is None else images.save(_content(value, roots))
    if isinstance(feature, (datasets.List, datasets.LargeList)):
        decode = _decoder(feature.feature, images, roots)
        return lambda values: [decode(value) for value in values or ()]
    return lambda value: value


def _content(stored: Mapping[str, Any], roots: Sequence[Path]) -> bytes:
    """Return an encoded image, which is stored in the data set or in a file of its own."""
    if stored.get("bytes"):
        return bytes(stored["bytes"])
    path = Path(str(stored.get("path"))).resolve()
    # A data set from elsewhere could name any image of this machine.
    if not any(path.is_relative_to(root) for root in roots) or not path.is_file():
        raise InputError(
            f"the data set names the image {str(path)[:80]!r} outside its folder; save the data "
            "set with its images, as save_to_disk does"
        )
    return path.read_bytes()
