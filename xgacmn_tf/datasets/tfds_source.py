"""Paired features from TensorFlow Datasets (TFDS): any builder whose examples have our features."""

import importlib
import re
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import json_format

from xgacmn_tf.datasets import ALLOWED, BUILDERS
from xgacmn_tf.datasets.catalog import BUILT_IN
from xgacmn_tf.datasets.feature_file import SPLITS, class_names, numbered_ids
from xgacmn_tf.datasets.paired import PairedDataset, Split
from xgacmn_tf.datasets.streamed import Shards, open_streamed, unreadable
from xgacmn_tf.errors import InputError, one_line
from xgacmn_tf.nearest import did_you_mean

_EXPECTED = (
    "image and text (vectors of floats), label (a ClassLabel, an integer, or a multi-hot vector), "
    "and, where wanted, id and group (Text or an integer), title (Text) and thumbnail (Text, an "
    "encoded image)"
)


def load(name: str, data_dir: str | None = None, streaming: bool = False) -> PairedDataset:
    """Load a TFDS data set, such as `pairs`, `pairs/config` or `pairs/config:1.0.0`.

    It is prepared (and, where its builder does that, downloaded) if `data_dir` does not hold it
    yet, but only after its declared features have been found to fit.

    Args:
        name: as `tfds.builder` takes it.
        data_dir: TFDS's data folder; None for its default, `~/tensorflow_datasets`.
        streaming: leave the training split in its files, see `streamed.StreamedSplit`. Titles and
            thumbnails of its pairs are not read.

    Raises:
        InputError: if TFDS does not know the name, cannot prepare the data, the features do not
            fit or cannot be streamed, train or test is missing, or the data fail `paired.check`.
    """
    try:
        return _load(name, data_dir, streaming)
    except InputError:
        raise
    except (json_format.Error, ValueError, LookupError, TypeError, AttributeError) as error:
        # TFDS raises these if its JSON files beside the data are damaged.
        raise InputError(
            f"TFDS data set {name!r} cannot be read ({one_line(error)}); prepare it again"
        ) from error


def _load(name: str, data_dir: str | None, streaming: bool) -> PairedDataset:
    builder = _builder(name, data_dir)
    source = f"TFDS data set {builder.info.full_name}"
    names = _fitting(source, builder.info.features)
    _prepare(builder, source)
    parts = [part for part in SPLITS if part in builder.info.splits]
    if not {"train", "test"} <= set(parts):
        raise InputError(
            f"{source} has the splits {', '.join(builder.info.splits) or 'none'}; expected train, "
            "test and optionally validation"
        )
    stored_as = builder.info.file_format.value
    if stored_as == "array_record" or (streaming and stored_as != "tfrecord"):
        raise InputError(
            f"{source} is stored as {stored_as}, expected tfrecord; prepare it with `tfds build "
            "--file_format=tfrecord`"
        )
    in_files = ["train"] if streaming else []
    examples = {part: _examples(builder, part, names, part in in_files) for part in parts}
    class_list = getattr(builder.info.features["label"], "names", None)
    if class_list is None:  # `paired_builder` stores those of multi-hot labels here.
        class_list = (builder.info.metadata or {}).get("label_names")
    label_names = class_names(
        [columns["label"] for columns in examples.values()],
        tuple(class_list) if class_list else None,
        source,
    )
    splits: dict[str, Any] = {}
    for part, columns in examples.items():
        if part in in_files:
            ids, groups = _ids(part, columns, source), _groups(columns, source)
            shards = _shards(builder, part)
            splits[part] = open_streamed(shards, columns["label"], ids, source, groups)
        else:
            splits[part] = _split(part, columns, source)
    return PairedDataset(
        name, splits["train"], splits["test"], label_names, splits.get("validation"), source
    )


def prepared_builder(name: str, data_dir: str | None) -> Any:
    """Return the builder of a data set, once its files are in `data_dir`; errors as of `load`."""
    builder = _builder(name, data_dir)
    _prepare(builder, f"TFDS data set {builder.info.full_name}")
    return builder


def _prepare(builder: Any, source: str) -> None:
    try:
        builder.download_and_prepare()
    except Exception as error:  # A builder's own code may raise anything.
        raise InputError(
            f"{source} could not be prepared in {builder.data_dir}: {error}"
        ) from error


def _builder(name: str, data_dir: str | None) -> Any:
    import tensorflow_datasets as tfds

    ours = BUILDERS.get(re.split("[/:]", name)[0])
    if ours is not None:
        importlib.import_module(ours)  # This registers the builder.
    try:
        return tfds.builder(name, data_dir=data_dir)
    except (tfds.core.DatasetNotFoundError, ValueError, AssertionError) as error:
        reason = str(error).strip().partition("\n")[0] or repr(error)
        detail = did_you_mean(name, BUILT_IN) or f"; {ALLOWED}. TFDS reports: {reason}"
        raise InputError(f"unknown data set {name!r}{detail}") from error


def _examples(builder: Any, part: str, names: list[str], in_files: bool) -> dict[str, Any]:
    """Return the columns of a split, or only those that stay in memory if it is streamed."""
    import tensorflow_datasets as tfds

    read = [key for key in names if key in ("label", "id", "group")] if in_files else names
    try:
        return tfds.as_numpy(
            builder.as_dataset(
                split=part,
                batch_size=-1,
                shuffle_files=False,
                decoders=tfds.decode.PartialDecoding(dict.fromkeys(read, True)),
                # One file after another, as streaming numbers the rows.
                read_config=tfds.ReadConfig(interleave_cycle_length=1) if in_files else None,
            )
        )
    except tf.errors.OpError as error:
        raise unreadable(f"TFDS data set {builder.info.full_name}", error) from error


def _shards(builder: Any, part: str) -> Shards:
    """Return the files of a split, once their features are known to be plain."""
    info, features = builder.info, builder.info.features
    for name in ("image", "text"):
        stored = features[name].get_serialized_info()
        if stored.shape != features[name].shape:
            raise InputError(
                f"TFDS data set {info.full_name} keeps {name} encoded ({stored}); --streaming "
                "reads plain floats. Prepare it without an encoding, or leave --streaming out."
            )
    split = info.splits[part]
    return Shards(
        tuple(map(str, split.filepaths)),
        tuple(split.shard_lengths),
        features["image"].shape[0],
        features["text"].shape[0],
    )


def _split(part: str, columns: dict[str, Any], source: str) -> Split:
    title, thumbnail = (columns.get(key) for key in ("title", "thumbnail"))
    return Split(
        image=columns["image"],
        text=columns["text"],
        label=columns["label"],
        id=_ids(part, columns, source),
        title=None if title is None else _decoded(title, source),
        thumbnail=None if thumbnail is None else tuple(thumbnail.tolist()),
        group=_groups(columns, source),
    )


def _groups(columns: dict[str, Any], source: str) -> np.ndarray | None:
    group = columns.get("group")
    return None if group is None else _decoded(group, source)


def _ids(part: str, columns: dict[str, Any], source: str) -> np.ndarray:
    ids = columns.get("id")
    return numbered_ids(part, len(columns["label"])) if ids is None else _decoded(ids, source)


def _decoded(values: np.ndarray, source: str) -> np.ndarray:
    """TFDS hands texts out as bytes."""
    if values.dtype.kind != "O":
        return values
    try:
        return np.array([value.decode() for value in values], dtype=str)
    except UnicodeDecodeError as error:
        raise InputError(f"{source}: an id, group or title is not UTF-8: {error}.") from None


def _is_vector(feature: Any) -> bool:
    return _rank(feature) == 1 and feature.shape[0] is not None and _kind(feature) == "f"


def _is_label(feature: Any) -> bool:
    known = _rank(feature) == 0 or (_rank(feature) == 1 and feature.shape[0] is not None)
    return known and _kind(feature) in "iub"


def _is_bytes(feature: Any) -> bool:
    return _rank(feature) == 0 and _kind(feature) == "O"


def _is_id(feature: Any) -> bool:
    return _rank(feature) == 0 and _kind(feature) in "Oiu"


def _rank(feature: Any) -> int:
    """-1 for nested features, whose shape is a dictionary."""
    return len(feature.shape) if isinstance(feature.shape, tuple) else -1


def _kind(feature: Any) -> str:
    return np.dtype(feature.np_dtype).kind


_REQUIRED = {"image": _is_vector, "text": _is_vector, "label": _is_label}
_OPTIONAL = {"id": _is_id, "group": _is_id, "title": _is_bytes, "thumbnail": _is_bytes}


def _fitting(source: str, features: Any) -> list[str]:
    """Return the names of the features to read; others, such as the raw images, are left alone."""
    declared = dict(features.items()) if hasattr(features, "items") else {}
    checks = {**_REQUIRED, **_OPTIONAL}
    names = [key for key in checks if key in declared]
    wrong = [key for key in _REQUIRED if key not in declared]
    wrong += [key for key in names if not checks[key](declared[key])]
    if wrong:
        shown = [f"{key} ({type(value).__name__} {value.shape})" for key, value in declared.items()]
        raise InputError(
            f"{source} does not fit in {', '.join(wrong)}. Its examples hold "
            f"{', '.join(shown) or features}; expected are {_EXPECTED}."
        )
    return names
