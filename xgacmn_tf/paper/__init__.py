"""The paper's experiments: comparisons of systems, and its results section with our numbers.

`experiments` plans and runs systems × data sets × seeds, `tuning` chooses their settings on
validation pairs, `comparison` averages and tests their scores, `published` holds the paper's
numbers, and `document` writes tables and figures. Each table and figure of the paper is a module
that names the runs it needs and returns a section.
"""

import importlib.util

from xgacmn_tf.errors import InputError


def check_requirements() -> None:
    """Raise an `InputError` if a package that the tables are written with is missing."""
    for name in ("pandas", "tabulate"):
        if importlib.util.find_spec(name) is None:
            raise InputError(f"{name} is not installed; pip install xgacmn_tf[paper]")
