"""Names of the built-in data sets and of their TFDS builders."""

from collections.abc import Collection

from xgacmn_tf.errors import InputError
from xgacmn_tf.nearest import did_you_mean

# The paper's data sets: each is a module of that name, with `PROTOCOLS`, `DISTRIBUTION`,
# `load(files, protocol, seed)` (the features in its distribution) and `load_raw` (its images and
# texts). One with several features of its images lists them as `IMAGE_FEATURES`, which `load` takes
# as a fourth argument; `own_texts(files, ids)`, if it exists, returns its texts' features (n, d_t).
DISTRIBUTED = ("wikipedia", "pascal_sentence", "nuswide")
# Those that come with this package; each module has a `bundled.Bundled` of its name in capitals.
BUNDLED = ("emoji", "openclipart")
BUILT_IN = (*BUNDLED, *DISTRIBUTED)
# TFDS names of the same, with the modules that register them. TFDS has a `wikipedia` of its own.
BUILDERS = {
    "wikipedia_pairs": "xgacmn_tf.datasets.wikipedia.wikipedia_dataset_builder",
    "pascal_sentence": "xgacmn_tf.datasets.pascal_sentence.pascal_sentence_dataset_builder",
    "nuswide": "xgacmn_tf.datasets.nuswide.nuswide_dataset_builder",
}

ALLOWED = (
    f"allowed are a built-in data set ({', '.join(BUILT_IN)}), a path to a feature file "
    "(.npz, .mat, .h5 or .hdf5), to a table of images, texts and labels (.csv, .tsv, .jsonl or "
    ".parquet) or to a folder of images or embeddings, hf:NAME, tfds:NAME, or the TFDS name of a "
    "data set of features (name, name/config, name:1.0.0)"
)


def check_protocol(name: str, protocol: str | None, protocols: Collection[str]) -> None:
    """Raise an `InputError` unless `protocol` is None or one of the data set's protocols."""
    if protocol is not None and protocol not in protocols:
        allowed = f"one of {', '.join(protocols)}" if protocols else "none, as it has no protocols"
        near = did_you_mean(protocol, protocols)
        raise InputError(f"protocol {protocol!r} for data set {name!r}; allowed is {allowed}{near}")
