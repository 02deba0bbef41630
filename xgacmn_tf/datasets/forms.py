"""Detection of a data set's form from its name and path."""

import enum
import re
from pathlib import Path

from xgacmn_tf.datasets.catalog import BUNDLED, DISTRIBUTED
from xgacmn_tf.datasets.distribution import check_data_dir
from xgacmn_tf.datasets.table_formats import FORMATS
from xgacmn_tf.errors import InputError
from xgacmn_tf.settings.sections import DataSettings

_FEATURE_FILES = (".npz", ".mat", ".h5", ".hdf5", ".h5py")
_TFDS_NAME = re.compile(r"[a-z][a-z0-9_]*(/[\w.=,+-]+)?(:[\d.*]+)?")
HUGGING_FACE, RAW_TFDS = "hf:", "tfds:"  # Prefixes of names.


class Form(enum.Enum):
    """What a data set is stored as."""

    BUNDLED = "a bundled data set"
    DISTRIBUTED = "the distribution of one of the paper's data sets"
    FEATURE_FILE = "a file of features"
    EMBEDDINGS = "a folder of embeddings"
    TABLE = "a table of images and texts"
    FOLDER = "a folder of images"
    HUGGING_FACE = "a data set of Hugging Face's library"
    RAW_TFDS = "a TFDS data set of images and texts"
    TFDS = "a TFDS data set of features"
    UNKNOWN = "unknown"


# Forms of a user's own images and texts, which are read as tables.
TABULAR = (Form.TABLE, Form.FOLDER, Form.HUGGING_FACE, Form.RAW_TFDS)
# Forms whose columns or arrays can have other names.
NAMED = (*TABULAR, Form.FEATURE_FILE, Form.EMBEDDINGS)


def form_of(data: DataSettings) -> Form:
    """Return the form of a data set; that of a path follows from what is there."""
    name = data.dataset
    if name in BUNDLED or name in DISTRIBUTED:
        return Form.BUNDLED if name in BUNDLED else Form.DISTRIBUTED
    if name in (HUGGING_FACE, RAW_TFDS):
        example = "hf:ORGANIZATION/NAME" if name == HUGGING_FACE else "tfds:NAME"
        raise InputError(f"--dataset={name} names no data set; expected {example}")
    if name.startswith((HUGGING_FACE, RAW_TFDS)):
        return Form.HUGGING_FACE if name.startswith(HUGGING_FACE) else Form.RAW_TFDS
    suffix = Path(name).suffix.lower()
    path = Path(data.data_dir or "") / name
    if name and path.is_dir() and not _is_prepared(path):
        return _form_of_folder(path)
    if suffix in _FEATURE_FILES or suffix in FORMATS:
        return Form.FEATURE_FILE if suffix in _FEATURE_FILES else Form.TABLE
    if _TFDS_NAME.fullmatch(name) and not Path(name).exists():
        return Form.TFDS
    return Form.UNKNOWN


def file_of(data: DataSettings) -> Path:
    """Return the path of a file or folder, which may start from `data_dir`."""
    if data.data_dir is not None and not Path(data.dataset).is_absolute():
        check_data_dir(data.data_dir)
    return Path(data.data_dir or "") / data.dataset


def _form_of_folder(folder: Path) -> Form:
    # Imported late, because embeddings need all that splits need.
    from xgacmn_tf.datasets import embeddings, huggingface

    if embeddings.is_embeddings(folder):
        return Form.EMBEDDINGS
    return Form.HUGGING_FACE if huggingface.is_saved(folder) else Form.FOLDER


def _is_prepared(folder: Path) -> bool:
    """Return whether TFDS has prepared a data set, of several versions or configs, in a folder."""
    return any(any(folder.glob(f"{below}features.json")) for below in ("*/", "*/*/"))
