"""Loading a `PairedDataset` by name, file or folder."""

import importlib
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from xgacmn_tf.datasets.catalog import ALLOWED, BUILT_IN, BUNDLED, DISTRIBUTED, check_protocol
from xgacmn_tf.datasets.columns import Columns
from xgacmn_tf.datasets.distribution import PICKLE_SUFFIXES, Files, check_data_dir, pickle_note
from xgacmn_tf.datasets.paired import PairedDataset, give_back, hold_out
from xgacmn_tf.datasets.raw import RawPairs
from xgacmn_tf.errors import InputError
from xgacmn_tf.settings.config import Config
from xgacmn_tf.settings.sections import DataSettings, FeatureSpec

_FEATURE_FILES = (".npz", ".mat", ".h5", ".hdf5", ".h5py")
_TABLES = (".csv", ".tsv")
_TFDS_NAME = re.compile(r"[a-z][a-z0-9_]*(/[\w.=,+-]+)?(:[\d.*]+)?")


def for_config(config: Config) -> PairedDataset:
    """Return a run's data set, with a validation split held out if it has none of its own."""
    dataset = _load(config.data, config.features, config.seed)
    return _with_validation(dataset, config.held_out, config.seed)


def load_dataset(
    name: str, *, validation_fraction: float = 0.2, seed: int = 0, **options: Any
) -> PairedDataset:
    """Load a data set with a validation split, as a training run does.

    Args:
        name: a bundled data set ("emoji", "openclipart"), one of the paper's, a file of features, a
            table of images and texts, or a TFDS name; see `load`.
        validation_fraction: share of the training pairs to hold out where the data set has no
            validation split of its own, in [0, 1); 0 holds out none.
        seed: of the pairs that are held out, and of what `load` draws.
        **options: further arguments of `load`, such as `data_dir` and `protocol`.

    Raises:
        InputError: there is no such data set, or its files are damaged.

    Example:

    >>> import xgacmn_tf as xg
    >>> data = xg.load_dataset("emoji")
    >>> data.num_classes, len(data.validation) > 0
    (9, True)
    """
    dataset = load(name, seed=seed, **options)
    return _with_validation(dataset, validation_fraction, seed)


def _with_validation(dataset: PairedDataset, fraction: float, seed: int) -> PairedDataset:
    """Hold out a fraction of the training split, or give back what was held out."""
    if dataset.validation is None and fraction > 0:
        return hold_out(dataset, fraction, seed)
    if dataset.held_out and fraction == 0:
        return give_back(dataset)
    return dataset


def load(
    name: str,
    data_dir: str | None = None,
    protocol: str | None = None,
    seed: int = 0,
    *,
    streaming: bool = False,
    columns: Columns = (),
    **features: Any,
) -> PairedDataset:
    """Load a data set and check it.

    Args:
        name: one of `BUILT_IN`; a path to a `.npz`, `.mat`, `.h5` or `.hdf5` file of features, or
            to a `.csv` or `.tsv` table of images, texts and labels; or a TFDS name.
        data_dir: the folder of a built-in data set's distribution, the folder that a relative path
            starts from, or TFDS's data folder.
        protocol: one of the data set's `PROTOCOLS`; None for its default.
        seed: of random splits and of what extractors learn.
        streaming: whether to leave the training split in its files (TFDS only); see
            `streamed.StreamedSplit`.
        columns: names in a feature file or table for the names that this package uses, as a
            mapping or as strings such as "image_train=I_tr".
        **features: fields of `settings.config.FeatureSpec`: `image_features` and `text_features`
            are each one of `features.IMAGE_EXTRACTORS` and `features.TEXT_EXTRACTORS`; without
            both, the data set's own features are read. `nuswide` has several of images, and its
            own of texts are read where only images are named. `cache_dir` also receives what is
            unpacked from zip archives.

    Raises:
        InputError: if the name or protocol is not one of those allowed, features are named for
            data without images, or the data are unusable.
    """
    data = _data_settings(name, data_dir, protocol, columns, streaming)
    return _load(data, FeatureSpec(**{key: _text(value) for key, value in features.items()}), seed)


def load_raw(
    name: str,
    data_dir: str | None = None,
    protocol: str | None = None,
    seed: int = 0,
    *,
    columns: Columns = (),
    cache_dir: str | os.PathLike[str] | None = None,
) -> RawPairs:
    """Load the images and texts of a data set; arguments and errors as of `load`."""
    data = _data_settings(name, data_dir, protocol, columns)
    return _load_raw(data, _text(cache_dir), seed)


def _data_settings(
    name: str,
    data_dir: str | None,
    protocol: str | None,
    columns: Columns,
    streaming: bool = False,
) -> DataSettings:
    pairs = [f"{k}={v}" for k, v in columns.items()] if isinstance(columns, Mapping) else columns
    return DataSettings(
        dataset=name,
        data_dir=_text(data_dir),
        columns=tuple(pairs),
        protocol=protocol,
        streaming=streaming,
    )


def _text(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _load(data: DataSettings, features: FeatureSpec, seed: int) -> PairedDataset:
    """Load a data set. Readers are imported late, each with its own libraries."""
    name, image, text = data.dataset, features.image_features, features.text_features
    if data.streaming and not _is_tfds(name):
        raise InputError(
            f"--streaming reads the files of TFDS data sets, and {name!r} is not one; name one, "
            "such as nuswide/full or what `python -m xgacmn_tf.features` writes, or leave "
            "--streaming out"
        )
    _check_columns(data)
    if name in BUNDLED:
        return _load_bundled(data, image, text)
    if image is None and text is None:
        if features.image_weights or features.text_weights:
            raise InputError(
                "--image_weights and --text_weights have no use without --image_features and "
                "--text_features; name those too"
            )
        return _load_features(data, features.cache_dir, seed)
    named = f"image_features={image}, text_features={text}"
    if name not in DISTRIBUTED and not _is_table(name):
        raise InputError(
            f"data set {name!r} comes with its features and takes no others ({named}); leave them "
            f"out, or name a data set of images and texts: {', '.join(DISTRIBUTED)}, a .csv or "
            "a .tsv"
        )
    module: Any = _module(data) if name in DISTRIBUTED else None
    _check_features(name, module, image, text)
    if image in getattr(module, "IMAGE_FEATURES", ()):
        if text is not None:
            raise InputError(
                f"{named}: the former come with data set {name!r}, and so do its texts' features; "
                "leave text_features out"
            )
        return _load_features(data, features.cache_dir, seed, image)
    own_texts: Any = getattr(module, "own_texts", None)
    if image is None or (text is None and own_texts is None):
        raise _name_both(f"data set {name!r} with {named}")

    from xgacmn_tf.datasets.extraction import extract_features

    pairs = _load_raw(data, features.cache_dir, seed)
    dataset = extract_features(pairs, replace(features, text_features=text or "bow"), seed=seed)
    if text:
        return dataset
    files = module.DISTRIBUTION.open(data.data_dir, cache_dir=features.cache_dir)
    return _with_texts(dataset, own_texts, files)


def _load_raw(data: DataSettings, cache_dir: str | None, seed: int) -> RawPairs:
    _check_columns(data)
    if data.dataset in DISTRIBUTED:
        module = _module(data)
        files = module.DISTRIBUTION.open(data.data_dir, cache_dir=cache_dir, images=True)
        return module.load_raw(files, data.protocol, seed)
    if not _is_table(data.dataset):
        raise InputError(
            f"data set {data.dataset!r} has no images and texts to read; expected one of "
            f"{', '.join(DISTRIBUTED)}, or a path to a .csv or .tsv table"
        )
    check_protocol(data.dataset, data.protocol, ())
    from xgacmn_tf.datasets import raw_table

    return raw_table.load_raw(_file(data), seed, data.columns)


def _load_features(
    data: DataSettings, cache_dir: str | None, seed: int, *image_features: str | None
) -> PairedDataset:
    """Load the features that are in the files; some data sets have several of images."""
    name = data.dataset
    if name in DISTRIBUTED:
        module = _module(data)
        files = module.DISTRIBUTION.open(data.data_dir, cache_dir=cache_dir)
        return module.load(files, data.protocol, seed, *image_features)
    check_protocol(name, data.protocol, ())
    if _is_feature_file(name):
        from xgacmn_tf.datasets import feature_file

        return feature_file.load(_file(data), data.columns)
    if _is_table(name):
        raise _name_both(f"the table {name} holds no features")
    if Path(name).suffix.lower() in PICKLE_SUFFIXES:
        raise InputError(pickle_note(Path(data.data_dir or "") / name))
    if _is_tfds(name):
        from xgacmn_tf.datasets import tfds_source

        return tfds_source.load(name, data.data_dir, data.streaming)
    raise InputError(f"unknown data set {name!r}; {ALLOWED}")


def _load_bundled(data: DataSettings, image: str | None, text: str | None) -> PairedDataset:
    """Load a data set that comes with this package."""
    from xgacmn_tf.datasets.bundled import IMAGE_FEATURES

    name = data.dataset
    wrong = f"--data_dir={data.data_dir}" if data.data_dir is not None else ""
    if image not in (None, IMAGE_FEATURES):
        wrong = f"--image_features={image}"
    if wrong:
        raise InputError(
            f"{wrong}: data set {name!r} comes with the package and {IMAGE_FEATURES} features of "
            "its images; leave the flag out"
        )
    module: Any = importlib.import_module(f"xgacmn_tf.datasets.{name}")
    return getattr(module, name.upper()).load(text, data.protocol)


def _with_texts(dataset: PairedDataset, own_texts: Any, files: Files) -> PairedDataset:
    """Replace the text features by those that the distribution has for the same ids.

    The source is empty then, because that folder has the extractor of the features replaced.
    """
    parts = dict(dataset.splits())
    # In one call, because reading the files can take minutes.
    texts = own_texts(files, np.concatenate([split.id for split in parts.values()]))
    ends = np.cumsum([len(split) for split in parts.values()])[:-1]
    splits: dict[str, Any] = {
        part: replace(parts[part], text=text)
        for part, text in zip(parts, np.split(texts, ends), strict=True)
    }
    return replace(dataset, source="", **splits)


def _module(data: DataSettings) -> Any:
    """Return the module of one of the paper's data sets, after checking folder and protocol."""
    if data.data_dir is not None:
        check_data_dir(data.data_dir)
    module = importlib.import_module(f"xgacmn_tf.datasets.{data.dataset}")
    check_protocol(data.dataset, data.protocol, tuple(module.PROTOCOLS))
    return module


def _check_features(name: str, module: Any, image: str | None, text: str | None) -> None:
    """Reject unknown names of features before any file is read."""
    from xgacmn_tf.features import IMAGE_EXTRACTORS, TEXT_EXTRACTORS

    own = getattr(module, "IMAGE_FEATURES", ())
    for modality, value, allowed in (
        ("image", image, (*own, *IMAGE_EXTRACTORS)),
        ("text", text, TEXT_EXTRACTORS),
    ):
        if value is not None and value not in allowed:
            raise InputError(
                f"--{modality}_features={value} is unknown for data set {name!r}; allowed are "
                f"{', '.join(allowed)}"
            )


def _check_columns(data: DataSettings) -> None:
    if data.columns and not (_is_table(data.dataset) or _is_feature_file(data.dataset)):
        raise InputError(
            f"--columns names arrays of feature files and columns of tables, and {data.dataset!r} "
            "is neither; leave it out"
        )


def _is_tfds(name: str) -> bool:
    fits = name not in BUILT_IN and _TFDS_NAME.fullmatch(name)
    return bool(fits) and not Path(name).exists()


def _file(data: DataSettings) -> Path:
    """Return the path of a file that may start from `data_dir`."""
    if data.data_dir is not None and not Path(data.dataset).is_absolute():
        check_data_dir(data.data_dir)
    return Path(data.data_dir or "") / data.dataset


def _is_feature_file(name: str) -> bool:
    return Path(name).suffix.lower() in _FEATURE_FILES


def _is_table(name: str) -> bool:
    return Path(name).suffix.lower() in _TABLES


def _name_both(problem: str) -> InputError:
    from xgacmn_tf.features import IMAGE_EXTRACTORS, TEXT_EXTRACTORS

    return InputError(
        f"{problem}: name both image_features ({', '.join(IMAGE_EXTRACTORS)}) and text_features "
        f"({', '.join(TEXT_EXTRACTORS)})"
    )
