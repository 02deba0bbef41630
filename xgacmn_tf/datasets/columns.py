"""Mapping of array and column names of a file: `--columns=image_train=I_tr`."""

from collections.abc import Mapping, Sequence

from xgacmn_tf.errors import InputError

Columns = Mapping[str, str] | Sequence[str]


def parse_columns(columns: Columns, allowed: Sequence[str]) -> dict[str, str]:
    """Return the name in the file for each name that this package uses.

    Args:
        columns: that mapping, or strings such as "image_train=I_tr".
        allowed: names that this package uses.

    Raises:
        InputError: if an item is no pair of names, or its first name is unknown or given twice.
    """
    if isinstance(columns, Mapping):
        pairs = [(str(name), str(in_file)) for name, in_file in columns.items()]
    else:
        pairs = []
        for item in columns:
            name, _, in_file = item.partition("=")
            pairs.append((name.strip(), in_file.strip()))
    names: dict[str, str] = {}
    for name, in_file in pairs:
        if name not in allowed or not in_file:
            raise InputError(
                f"--columns={name}={in_file}: expected NAME=NAME_IN_THE_FILE, where NAME is one of "
                f"{', '.join(allowed)}"
            )
        if name in names:
            raise InputError(f"--columns names {name} twice: {names[name]} and {in_file}")
        names[name] = in_file
    return names
