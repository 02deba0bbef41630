"""Checks and strings that both formats of MATLAB files share."""

from pathlib import Path

import numpy as np

from xgacmn_tf.errors import InputError


def check_matlab_class(path: Path, name: str, matlab_class: str) -> None:
    """Raise an `InputError` if arrays of this MATLAB class are not numbers or strings."""
    if matlab_class == "sparse":
        raise InputError(f"{path}: {name} is sparse; save {name} = full({name})")
    if matlab_class in ("string", "opaque"):
        raise InputError(f"{path}: {name} is an array of string objects; save cellstr({name})")
    if matlab_class in ("struct", "object", "function", "function_handle", "unknown"):
        raise InputError(
            f"{path}: {name} is a MATLAB {matlab_class}; expected an array of numbers or strings"
        )


def cell_text(path: Path, name: str, row: int, lines: list[str] | None) -> str:
    """Return the text of a cell.

    Args:
        path, name, row: of the cell, for error messages.
        lines: the cell's rows of characters; None if it holds anything else.

    Raises:
        InputError: if the cell is not a row of characters.
    """
    if lines is None or len(lines) > 1:
        raise InputError(
            f"{path}: cell {row} of {name} is not a row of characters; a cell array may hold only "
            "strings, numbers belong in a matrix (cell2mat)"
        )
    return "".join(lines)


def stripped(rows: list[str]) -> np.ndarray:
    """Return the rows of a character matrix without the blanks that MATLAB pads them with."""
    return np.char.rstrip(np.array(rows, dtype=str))
