"""Loading a `PairedDataset` by name, file or folder."""

import importlib
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from xgacmn_tf.datasets import raw_table, sources
from xgacmn_tf.datasets.catalog import ALLOWED, BUILDERS, BUILT_IN, DISTRIBUTED, check_protocol
from xgacmn_tf.datasets.columns import Columns
from xgacmn_tf.datasets.distribution import PICKLE_SUFFIXES, Files, check_data_dir, pickle_note
from xgacmn_tf.datasets.forms import NAMED, RAW_TFDS, TABULAR, Form, file_of, form_of
from xgacmn_tf.datasets.paired import PairedDataset, give_back, hold_out, in_complete_groups
from xgacmn_tf.datasets.raw import RawPairs
from xgacmn_tf.datasets.tables import LABEL_SEPARATOR
from xgacmn_tf.errors import InputError
from xgacmn_tf.names import FEW_PAIRS
from xgacmn_tf.nearest import did_you_mean
from xgacmn_tf.settings.config import Config
from xgacmn_tf.settings.sections import DataSettings, FeatureSpec

_RAW = (
    f"{', '.join(DISTRIBUTED)}, a .csv, .tsv, .jsonl or .parquet table, a folder of images, "
    "hf:NAME or tfds:NAME"
)


def for_config(config: Config) -> PairedDataset:
    """Return a run's data set, with a validation split held out if it has none of its own."""
    dataset = _load(config.data, config.features, config.seed)
    return _with_validation(dataset, config.held_out, config.seed)


def check_names(data: DataSettings, features: FeatureSpec) -> None:
    """Reject names of data sets, protocols and features that do not exist.

    No file is read, and TensorFlow is not loaded, so that mistakes end a command at once. Names
    that only TFDS knows are checked by `for_config`, and so is all else.

    Raises:
        InputError: it names the nearest names.
    """
    form, image, text = form_of(data), features.image_features, features.text_features
    if form is Form.BUNDLED:
        from xgacmn_tf.datasets import bundled

        bundled.check_names(data, image, text)
    elif form is Form.DISTRIBUTED:
        _check_features(data.dataset, _module(data), image, text)
    elif form in TABULAR:
        _check_features(data.dataset, None, image, text)
    elif form is Form.TFDS:
        _check_tfds_name(data)


def _check_tfds_name(data: DataSettings) -> None:
    """Reject a name that TFDS neither has nor has prepared.

    `namespace:name` is a data set of TFDS's community, of which it loads a list on demand.
    """
    name = re.split("[/:]", data.dataset)[0]
    folder = data.data_dir or os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    if name in BUILDERS or Path(folder).expanduser().joinpath(name).is_dir():
        return
    near = did_you_mean(name, BUILT_IN)
    is_community = re.match(r"\w+:[a-z]", data.dataset)
    if not near and not is_community:
        import tensorflow_datasets as tfds

        if name not in tfds.list_builders(with_community_datasets=False):
            near = f"; {ALLOWED}"
    if near:
        raise InputError(f"unknown data set {data.dataset!r}{near}")


def load_dataset(
    name: str, *, validation_fraction: float | None = None, seed: int = 0, **options: Any
) -> PairedDataset:
    """Load a data set with a validation split, as a training run does.

    Args:
        name: a bundled data set ("emoji", "openclipart"), one of the paper's, a file of features, a
            table of images and texts, or a TFDS name; see `load`.
        validation_fraction: share of the training pairs to hold out where the data set has no
            validation split of its own, in [0, 1); 0 holds out none, and None takes 0.2, or none
            of fewer than 250 pairs.
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


def _with_validation(dataset: PairedDataset, fraction: float | None, seed: int) -> PairedDataset:
    """Hold out a fraction of the training split, or give back what was held out.

    None stands for the default of `hold_out`, unless that is too few pairs.
    """
    if fraction is None and dataset.validation is None:
        pairs = int(np.count_nonzero(in_complete_groups(dataset)))
        if pairs < FEW_PAIRS:
            which = " in complete groups" if dataset.train.masks() else ""
            note = (
                f"{pairs} training pairs{which} are too few to hold out a validation split: the "
                "number of epochs follows a fixed rule, and class posteriors are not calibrated"
            )
            return replace(dataset, notes=(*dataset.notes, note))
    if dataset.validation is None and (fraction is None or fraction > 0):
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
    label_separator: str = LABEL_SEPARATOR,
    **features: Any,
) -> PairedDataset:
    """Load a data set and check it.

    Args:
        name: one of `BUILT_IN`; a path to a `.npz`, `.mat`, `.h5` or `.hdf5` file of features, to
            a `.csv`, `.tsv`, `.jsonl` or `.parquet` table of images, texts and labels, or to a
            folder of images, of embeddings or of Hugging Face's `save_to_disk`; `hf:NAME`,
            `tfds:NAME`, or the TFDS name of a data set of features. See docs/your_data.md.
        data_dir: the folder of a built-in data set's distribution, the folder that a relative path
            starts from, or TFDS's data folder.
        protocol: one of the data set's `PROTOCOLS`; None for its default.
        seed: of random splits and of what extractors learn.
        streaming: whether to leave the training split in its files (TFDS only); see
            `streamed.StreamedSplit`.
        columns: names in a feature file or table for the names that this package uses, as a
            mapping or as strings such as "image_train=I_tr".
        label_separator: separates the labels in a cell of a table.
        **features: fields of `settings.config.FeatureSpec`: `image_features` and `text_features`
            are each one of `features.IMAGE_EXTRACTORS` and `features.TEXT_EXTRACTORS`; without
            both, the data set's own features are read. `nuswide` has several of images, and its
            own of texts are read where only images are named. `cache_dir` also receives what is
            unpacked from zip archives.

    Raises:
        InputError: if the name or protocol is not one of those allowed, features are named for
            data without images, or the data are unusable.
    """
    named = {"protocol": protocol, "label_separator": label_separator, "streaming": streaming}
    data = _data_settings(name, data_dir, columns, **named)
    return _load(data, FeatureSpec(**{key: _text(value) for key, value in features.items()}), seed)


def load_raw(
    name: str,
    data_dir: str | None = None,
    protocol: str | None = None,
    seed: int = 0,
    *,
    columns: Columns = (),
    label_separator: str = LABEL_SEPARATOR,
    cache_dir: str | os.PathLike[str] | None = None,
) -> RawPairs:
    """Load the images and texts of a data set; arguments and errors as of `load`."""
    data = _data_settings(
        name, data_dir, columns, protocol=protocol, label_separator=label_separator
    )
    return _load_raw(data, _text(cache_dir), seed)


def _data_settings(
    name: str, data_dir: str | None, columns: Columns, **others: Any
) -> DataSettings:
    pairs = [f"{k}={v}" for k, v in columns.items()] if isinstance(columns, Mapping) else columns
    return DataSettings(dataset=name, data_dir=_text(data_dir), columns=tuple(pairs), **others)


def _text(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _load(data: DataSettings, features: FeatureSpec, seed: int) -> PairedDataset:
    """Load a data set. Readers are imported late, each with its own libraries."""
    name, image, text = data.dataset, features.image_features, features.text_features
    form = form_of(data)
    if form is Form.RAW_TFDS and image is None and text is None:
        # Without extractors, the data set has to have features.
        data, form = replace(data, dataset=name.removeprefix(RAW_TFDS)), Form.TFDS
    if data.streaming and form is not Form.TFDS:
        raise InputError(
            f"--streaming reads the files of TFDS data sets, and {name!r} is not one; name one, "
            "such as nuswide/full or what `python -m xgacmn_tf.features` writes, or leave "
            "--streaming out"
        )
    _check_columns(data, form)
    if form is Form.BUNDLED:
        from xgacmn_tf.datasets import bundled

        return bundled.load(data, image, text)
    if image is None and text is None:
        if features.image_weights or features.text_weights:
            raise InputError(
                "--image_weights and --text_weights have no use without --image_features and "
                "--text_features; name those too"
            )
        return _load_features(data, form, features.cache_dir, seed)
    named = f"image_features={image}, text_features={text}"
    if form not in (*TABULAR, Form.DISTRIBUTED):
        raise InputError(
            f"data set {name!r} comes with its features and takes no others ({named}); leave them "
            f"out, or name a data set of images and texts: {_RAW}"
        )
    module: Any = _module(data) if form is Form.DISTRIBUTED else None
    _check_features(name, module, image, text)
    if image in getattr(module, "IMAGE_FEATURES", ()):
        if text is not None:
            raise InputError(
                f"{named}: the former come with data set {name!r}, and so do its texts' features; "
                "leave text_features out"
            )
        return _load_features(data, form, features.cache_dir, seed, image)
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
    form = form_of(data)
    _check_columns(data, form)
    if form is Form.DISTRIBUTED:
        module = _module(data)
        files = module.DISTRIBUTION.open(data.data_dir, cache_dir=cache_dir, images=True)
        return module.load_raw(files, data.protocol, seed)
    if form not in TABULAR:
        raise InputError(
            f"data set {data.dataset!r} has no images and texts to read; expected one of {_RAW}"
        )
    check_protocol(data.dataset, data.protocol, ())
    table = sources.read_source(data, cache_dir, names=raw_table.NAMES, required=raw_table.REQUIRED)
    return raw_table.raw_pairs(table, sources.name_of(data), seed, data.label_separator)


def _load_features(
    data: DataSettings, form: Form, cache_dir: str | None, seed: int, *image_features: str | None
) -> PairedDataset:
    """Load the features that are in the files; some data sets have several of images."""
    name = data.dataset
    if form is Form.DISTRIBUTED:
        module = _module(data)
        files = module.DISTRIBUTION.open(data.data_dir, cache_dir=cache_dir)
        return module.load(files, data.protocol, seed, *image_features)
    check_protocol(name, data.protocol, ())
    if form is Form.FEATURE_FILE:
        from xgacmn_tf.datasets import feature_file

        return feature_file.load(file_of(data), data.columns)
    if form is Form.EMBEDDINGS:
        from xgacmn_tf.datasets import embeddings

        return embeddings.load(file_of(data), data.columns, data.label_separator, seed)
    if form in TABULAR:
        raise _name_both(f"{name} is {form.value} and holds no features")
    if Path(name).suffix.lower() in PICKLE_SUFFIXES:
        raise InputError(pickle_note(Path(data.data_dir or "") / name))
    if form is Form.TFDS:
        from xgacmn_tf.datasets import tfds_source

        return tfds_source.load(name, data.data_dir, data.streaming)
    raise InputError(f"unknown data set {name!r}; {ALLOWED}")


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
                f"{', '.join(allowed)}{did_you_mean(value, allowed)}"
            )


def _check_columns(data: DataSettings, form: Form) -> None:
    if data.columns and form not in NAMED:
        raise InputError(
            f"--columns names arrays of feature files and columns of tables, and {data.dataset!r} "
            "is neither; leave it out"
        )


def _name_both(problem: str) -> InputError:
    from xgacmn_tf.features import IMAGE_EXTRACTORS, TEXT_EXTRACTORS

    return InputError(
        f"{problem}: name both image_features ({', '.join(IMAGE_EXTRACTORS)}) and text_features "
        f"({', '.join(TEXT_EXTRACTORS)})"
    )
