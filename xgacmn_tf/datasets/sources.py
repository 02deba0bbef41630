"""A user's own images and texts as a table, in any form that `forms` tells."""

import re
from collections.abc import Sequence
from pathlib import Path

from xgacmn_tf.datasets import folders
from xgacmn_tf.datasets.distribution import cache_folder
from xgacmn_tf.datasets.encoded_images import EncodedImages
from xgacmn_tf.datasets.forms import HUGGING_FACE, RAW_TFDS, Form, file_of, form_of
from xgacmn_tf.datasets.tables import Table, make_table, read_table
from xgacmn_tf.settings.sections import DataSettings


def read_source(
    data: DataSettings,
    cache_dir: str | None = None,
    *,
    names: Sequence[str],
    required: Sequence[str] = (),
) -> Table:
    """Read a table, a folder of images, or a data set of Hugging Face or TFDS.

    Args:
        data: `dataset` in one of the forms `forms.TABULAR`, `data_dir`, `columns` and
            `label_separator`.
        cache_dir: receives the images of data set libraries; None for the user's cache folder.
        names: the columns to read.
        required: those that the source must have.

    Raises:
        InputError: see `tables.read_table` and the readers of the other forms.
    """
    form, separator = form_of(data), data.label_separator
    if form is Form.TABLE:
        return read_table(
            file_of(data), data.columns, names=names, required=required, label_separator=separator
        )
    images = EncodedImages(cache_folder(cache_dir))
    folder = images.folder
    # Libraries are imported only for their own data sets.
    if form is Form.HUGGING_FACE:
        from xgacmn_tf.datasets.huggingface import huggingface_records

        is_remote = data.dataset.startswith(HUGGING_FACE)
        name = data.dataset if is_remote else str(file_of(data))
        records = huggingface_records(name, data.data_dir if is_remote else None, images)
    elif form is Form.RAW_TFDS:
        from xgacmn_tf.datasets.tfds_raw import tfds_records

        name, records = data.dataset, tfds_records(data.dataset, data.data_dir, images)
    else:
        folder = file_of(data)
        name, records = str(folder), folders.folder_records(folder)
    return make_table(
        name,
        folder,
        records,
        data.columns,
        names=names,
        required=required,
        label_separator=separator,
    )


def name_of(data: DataSettings) -> str:
    """Return the name of a data set for tables and cache folders: "photos" for "a/photos.csv"."""
    if form_of(data) is Form.TABLE:
        return Path(data.dataset).stem
    name = data.dataset.removeprefix(HUGGING_FACE).removeprefix(RAW_TFDS)
    if name != data.dataset and not Path(name).exists():
        return re.sub(r"[/:]+", "_", name)
    return Path(name).resolve().name
