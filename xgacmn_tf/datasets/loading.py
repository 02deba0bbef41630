"""Loading a `PairedDataset` by name, file or folder."""

import importlib
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from xgacmn_tf.datasets.catalog import ALLOWED, BUILT_IN, BUNDLED, DISTRIBUTED
from xgacmn_tf.datasets.columns import Columns
from xgacmn_tf.datasets.distribution import (
    PICKLE_SUFFIXES,
    check_data_dir,
    default_cache_dir,
    pickle_note,
)
from xgacmn_tf.datasets.paired import PairedDataset, give_back, hold_out
from xgacmn_tf.datasets.raw import RawPairs
from xgacmn_tf.errors import InputError
from xgacmn_tf.settings.config import Config

_FEATURE_FILES = (".npz", ".mat", ".h5", ".hdf5", ".h5py")
_TABLES = (".csv", ".tsv")
_TFDS_NAME = re.compile(r"[a-z][a-z0-9_]*(/[\w.=,+-]+)?(:[\d.*]+)?")


def for_config(config: Config) -> PairedDataset:
    """Return a run's data set, with a validation part held out where it brings none of its own."""
    dataset = load(
        config.data.dataset,
        data_dir=config.data.data_dir,
        protocol=config.data.protocol,
        seed=config.seed,
        image_features=config.features.image_features,
        text_features=config.features.text_features,
        cache_dir=config.features.cache_dir,
        image_weights=config.features.image_weights,
        text_weights=config.features.text_weights,
        on_bad_image=config.features.on_bad_image,
        streaming=config.data.streaming,
        columns=config.data.columns,
    )
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
    """`dataset` with so large a part of its training split held out, or with none of it."""
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
    image_features: str | None = None,
    text_features: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    image_weights: str | None = None,
    text_weights: str | None = None,
    on_bad_image: str = "refuse",
    streaming: bool = False,
    columns: Columns = (),
) -> PairedDataset:
    """Return the data set called `name`, checked.

    Each reader is imported only when it is asked for, so that nobody waits for libraries of
    another one.

    Args:
        name: one of `BUILT_IN`; a path to a `.npz`, `.mat`, `.h5` or `.hdf5` file of features, or
            to a `.csv` or `.tsv` table of images, texts and labels; or a TFDS name.
        data_dir: where the files are: the folder of a built-in data set's distribution, the
            folder that a relative path starts from, or TFDS's data folder.
        protocol: one of the data set's `PROTOCOLS`; None for its default.
        seed: draws the split of protocols that have a random one, and what features learn.
        image_features, text_features: what to make of the images and texts: one of
            `features.IMAGE_EXTRACTORS` and `features.TEXT_EXTRACTORS`. Both None: the features
            that the data set comes with. `nuswide` has some of its own to name for images, and
            stays with its own for texts where only images are named.
        cache_dir: stores extracted features, and what is unpacked from zip archives, for later
            runs; None for `default_cache_dir()`.
        image_weights, text_weights, on_bad_image: see `features.extract_features`.
        streaming: leave the training split in its files, which TFDS alone can; see
            `streamed.StreamedSplit`.
        columns: names in a feature file or table for the names that this package uses, as a
            mapping or as strings such as "image_train=I_tr".

    Raises:
        InputError: if the name or protocol is not one of those allowed, features are named for
            data that have no images, or the data are unusable.
    """
    if streaming and not _is_tfds(name):
        raise InputError(
            f"--streaming reads the files of TFDS data sets, and {name!r} is none; name one, such "
            "as nuswide/full or what `python -m xgacmn_tf.features` writes, or leave --streaming "
            "out."
        )
    _check_columns(name, columns)
    if name in BUNDLED:
        return _load_bundled(name, data_dir, protocol, image_features, text_features)
    if image_features is None and text_features is None:
        if image_weights or text_weights:
            raise InputError(
                f"image_weights={image_weights}, text_weights={text_weights}: weights have no use "
                "without image_features and text_features; name those too."
            )
        return _load_features(name, data_dir, protocol, seed, streaming, cache_dir, columns)
    asked = f"image_features={image_features}, text_features={text_features}"
    if name not in DISTRIBUTED and not _is_table(name):
        raise InputError(
            f"Data set {name!r} comes with its features and takes no others ({asked}); leave them "
            f"out, or name a data set of images and texts: {', '.join(DISTRIBUTED)}, a .csv or "
            "a .tsv."
        )
    module: Any = _distributed(name, protocol, data_dir) if name in DISTRIBUTED else None
    _check_features(name, module, image_features, text_features)
    if image_features in getattr(module, "IMAGE_FEATURES", ()):
        if text_features is not None:
            raise InputError(
                f"{asked}: the former come with data set {name!r}, and so do its texts' features; "
                "leave text_features out."
            )
        return module.load(data_dir, protocol, seed, image_features, cache_dir=cache_dir)
    own_texts: Any = getattr(module, "own_texts", None)
    if image_features is None or (text_features is None and own_texts is None):
        raise _name_both(f"Data set {name!r} with {asked}")

    from xgacmn_tf.datasets.extraction import extract_features

    dataset = extract_features(
        load_raw(name, data_dir, protocol, seed, cache_dir, columns),
        image_features,
        text_features or "bow",
        cache_dir=Path(cache_dir) if cache_dir else default_cache_dir(),
        image_weights=image_weights,
        text_weights=text_weights,
        on_bad_image=on_bad_image,
        seed=seed,
    )
    return dataset if text_features else _with_texts(dataset, own_texts, data_dir, cache_dir)


def load_raw(
    name: str,
    data_dir: str | None = None,
    protocol: str | None = None,
    seed: int = 0,
    cache_dir: str | os.PathLike[str] | None = None,
    columns: Columns = (),
) -> RawPairs:
    """The images and texts of the data set called `name`; arguments and errors as of `load`."""
    _check_columns(name, columns)
    if name in DISTRIBUTED:
        module = _distributed(name, protocol, data_dir)
        return module.load_raw(data_dir, protocol, seed, cache_dir=cache_dir)
    if not _is_table(name):
        raise InputError(
            f"Data set {name!r} has no images and texts to read; expected one of "
            f"{', '.join(DISTRIBUTED)}, or a path to a .csv or .tsv table."
        )
    _refuse_protocol(name, protocol)
    from xgacmn_tf.datasets import raw_table

    return raw_table.load_raw(_file(name, data_dir), seed, columns)


def _load_features(
    name: str,
    data_dir: str | None,
    protocol: str | None,
    seed: int,
    streaming: bool,
    cache_dir: str | os.PathLike[str] | None,
    columns: Columns,
) -> PairedDataset:
    """`load` where no features are named: those that are in the files."""
    if name in DISTRIBUTED:
        module = _distributed(name, protocol, data_dir)
        return module.load(data_dir, protocol, seed, cache_dir=cache_dir)
    _refuse_protocol(name, protocol)
    suffix = Path(name).suffix.lower()
    if _is_feature_file(name):
        from xgacmn_tf.datasets import feature_file

        return feature_file.load(_file(name, data_dir), columns)
    if suffix in _TABLES:
        raise _name_both(f"The table {name} holds no features")
    if suffix in PICKLE_SUFFIXES:
        raise InputError(pickle_note(Path(data_dir or "") / name))
    if _is_tfds(name):
        from xgacmn_tf.datasets import tfds_source

        return tfds_source.load(name, data_dir, streaming)
    raise InputError(f"Unknown data set {name!r}; {ALLOWED}.")


def _load_bundled(
    name: str, data_dir: str | None, protocol: str | None, image: str | None, text: str | None
) -> PairedDataset:
    """`load` of a data set that comes with this package."""
    from xgacmn_tf.datasets.bundled import IMAGE_FEATURES

    if data_dir is not None:
        raise InputError(
            f"Data set {name!r} comes with the package and reads no data_dir, found "
            f"{data_dir!r}; leave data_dir out."
        )
    if image not in (None, IMAGE_FEATURES):
        raise InputError(
            f"--image_features={image}: data set {name!r} comes with {IMAGE_FEATURES}; leave "
            "image_features out"
        )
    module: Any = importlib.import_module(f"xgacmn_tf.datasets.{name}")
    return getattr(module, name.upper()).load(text, protocol)


def _with_texts(
    dataset: PairedDataset,
    own_texts: Any,
    data_dir: str | None,
    cache_dir: str | os.PathLike[str] | None,
) -> PairedDataset:
    """`dataset` with its texts' features replaced by those that its distribution has for its ids.

    It has no source any more: that folder keeps the extractor of the features replaced.
    """
    parts = dict(dataset.splits())
    # Asked for once, because its files can take minutes to read.
    ids = np.concatenate([split.id for split in parts.values()])
    texts = own_texts(data_dir, ids, cache_dir=cache_dir)
    ends = np.cumsum([len(split) for split in parts.values()])[:-1]
    splits: dict[str, Any] = {
        part: replace(parts[part], text=text)
        for part, text in zip(parts, np.split(texts, ends), strict=True)
    }
    return replace(dataset, source="", **splits)


def _distributed(name: str, protocol: str | None, data_dir: str | None) -> Any:
    """The module of one of the paper's data sets, once folder and protocol prove to exist."""
    if data_dir is not None:
        check_data_dir(data_dir)
    module = importlib.import_module(f"xgacmn_tf.datasets.{name}")
    if protocol is not None and protocol not in module.PROTOCOLS:
        raise InputError(
            f"Protocol {protocol!r} for data set {name!r}; allowed is one of "
            f"{', '.join(module.PROTOCOLS)}."
        )
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


def _check_columns(name: str, columns: Columns) -> None:
    if columns and not (_is_table(name) or _is_feature_file(name)):
        raise InputError(
            f"--columns names arrays of feature files and columns of tables, and {name!r} is "
            "neither; leave it out"
        )


def _refuse_protocol(name: str, protocol: str | None) -> None:
    if protocol is not None:
        raise InputError(
            f"Protocol {protocol!r} for data set {name!r}; allowed is none, as it has no protocols."
        )


def _is_tfds(name: str) -> bool:
    fits = name not in BUILT_IN and _TFDS_NAME.fullmatch(name)
    return bool(fits) and not Path(name).exists()


def _file(name: str, data_dir: str | None) -> Path:
    """Return the path of a file that may start from `data_dir`."""
    if data_dir is not None and not Path(name).is_absolute():
        check_data_dir(data_dir)
    return Path(data_dir or "") / name


def _is_feature_file(name: str) -> bool:
    return Path(name).suffix.lower() in _FEATURE_FILES


def _is_table(name: str) -> bool:
    return Path(name).suffix.lower() in _TABLES


def _name_both(found: str) -> InputError:
    from xgacmn_tf.features import IMAGE_EXTRACTORS, TEXT_EXTRACTORS

    return InputError(
        f"{found}: name both image_features ({', '.join(IMAGE_EXTRACTORS)}) and text_features "
        f"({', '.join(TEXT_EXTRACTORS)})."
    )
