"""TFDS data sets of images and texts as records: `tfds:NAME[/CONFIG][:VERSION]`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from xgacmn_tf.datasets.encoded_images import EncodedImages
from xgacmn_tf.datasets.folders import SPLIT_OF, chosen_splits
from xgacmn_tf.datasets.forms import RAW_TFDS
from xgacmn_tf.datasets.streamed import unreadable
from xgacmn_tf.datasets.table_formats import Records
from xgacmn_tf.datasets.tfds_source import prepared_builder
from xgacmn_tf.errors import InputError


def tfds_records(name: str, data_dir: str | None, images: EncodedImages) -> Records:
    """Open a data set, which TFDS prepares if `data_dir` does not hold it yet.

    Labels of the type ClassLabel are read as names. Encoded images are written to files.

    Args:
        name: as `tfds.builder` takes it, after "tfds:".
        data_dir: TFDS's data folder; None for its default.
        images: receives the images.

    Raises:
        InputError: if TFDS does not know the name or cannot prepare the data.
    """
    import tensorflow_datasets as tfds

    builder = prepared_builder(name.removeprefix(RAW_TFDS), data_dir)
    source = f"TFDS data set {builder.info.full_name}"
    features = dict(builder.info.features.items())
    parts = chosen_splits(source, builder.info.splits)
    divided = len(parts) > 1 and "split" not in features

    def read(columns: Sequence[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        wanted = {column: features[column] for column in columns if column in features}
        encoded = [name for name, each in wanted.items() if isinstance(each, tfds.features.Image)]
        for part in parts:
            own = {"split": SPLIT_OF[part.lower()]} if divided else {}
            examples = builder.as_dataset(
                split=part,
                shuffle_files=False,
                decoders=tfds.decode.PartialDecoding(
                    dict.fromkeys(wanted, True), dict.fromkeys(encoded, tfds.decode.SkipDecoding())
                ),
            )
            try:
                for number, example in enumerate(tfds.as_numpy(examples), 1):
                    place = f"row {number} of {part}"
                    cells = {
                        column: images.save(example[column])
                        if column in encoded
                        else _cell(example[column], feature, f"{source}, {place}")
                        for column, feature in wanted.items()
                    }
                    yield place, {**cells, **own}
            except tf.errors.OpError as error:
                raise unreadable(source, error) from error

    return Records([*features, *(["split"] if divided else [])], read)


def _cell(value: Any, feature: Any, where: str) -> Any:
    """Return a stored value as strings and numbers; TFDS has texts as bytes."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, list):
        return [_cell(item, getattr(feature, "feature", feature), where) for item in value]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise InputError(f"{where}: a text is not UTF-8: {error}") from None
    if isinstance(value, int) and getattr(feature, "names", None):
        return feature.int2str(value) if value >= 0 else ""  # −1 stands for a missing label.
    return value
