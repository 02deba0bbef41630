"""Data sets: everything that turns a name, a file or a folder into a `PairedDataset`."""

import re
from pathlib import Path

from xgacmn_tf.datasets.paired import PairedDataset, Split, hold_out
from xgacmn_tf.errors import InputError

__all__ = ["ALLOWED", "BUILT_IN", "PROTOCOLS", "PairedDataset", "Split", "hold_out", "load"]

BUILT_IN = ("openclipart", "wikipedia")
# The protocols of the data sets that have any, the default first.
PROTOCOLS: dict[str, tuple[str, ...]] = {"wikipedia": ("2173", "1300")}

ALLOWED = (
    f"allowed are a built-in data set ({', '.join(BUILT_IN)}), a path to a feature file "
    "(.npz or .mat), or a TFDS name (name, name/config, name:1.0.0)"
)
_FEATURE_FILES = (".npz", ".mat")
_TFDS_NAME = re.compile(r"[a-z][a-z0-9_]*(/[\w.=,+-]+)?(:[\d.*]+)?")


def load(
    name: str, data_dir: str | None = None, protocol: str | None = None, seed: int = 0
) -> PairedDataset:
    """The data set called `name`, checked.

    Each reader is imported only when it is asked for, so that nobody waits for libraries of
    another one.

    Args:
        name: `openclipart`, `wikipedia`, a path to a `.npz` or `.mat` file, or a TFDS name.
        data_dir: where the files are: the folder of `wikipedia`'s distribution, the folder that a
            relative path to a feature file starts from, or TFDS's data folder.
        protocol: one of `PROTOCOLS[name]`; None for the first of them.
        seed: draws the split of protocols that have a random one; others do not depend on it.

    Raises:
        InputError: if the name or protocol is not one of those allowed, or the data are unusable.
    """
    known = PROTOCOLS.get(name, ())
    if protocol is not None and protocol not in known:
        allowed = f"one of {', '.join(known)}" if known else "none, as it has no protocols"
        raise InputError(f"Protocol {protocol!r} for data set {name!r}; allowed is {allowed}.")
    if name == "openclipart":
        if data_dir is not None:
            raise InputError(
                f"Data set 'openclipart' comes with the package and reads no data_dir, found "
                f"{data_dir!r}; leave data_dir out."
            )
        from xgacmn_tf.datasets import openclipart

        return openclipart.load()
    if name == "wikipedia":
        from xgacmn_tf.datasets import wikipedia

        return wikipedia.load(data_dir, protocol or known[0], seed)
    if Path(name).suffix.lower() in _FEATURE_FILES:
        from xgacmn_tf.datasets import feature_file

        return feature_file.load(Path(data_dir or "") / name)
    if _TFDS_NAME.fullmatch(name) and not Path(name).exists():
        from xgacmn_tf.datasets import tfds_source

        return tfds_source.load(name, data_dir)
    raise InputError(f"Unknown data set {name!r}; {ALLOWED}.")
