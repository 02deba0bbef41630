"""Bounds on the memory that a file of arrays may declare, and the choice of arrays to read."""

import math
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from xgacmn_tf.errors import InputError

# Maximum size of all arrays of a file, as the file declares them; never more than the machine has,
# which Windows does not tell.
MAX_BYTES = 16 * 2**30
if hasattr(os, "sysconf"):
    MAX_BYTES = min(MAX_BYTES, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
_MAX_SHOWN = 12

# Array names of a file with their shapes, None where the shape is unknown.
Shapes = Mapping[str, tuple[int, ...] | None]
Choose = Callable[[Shapes], Iterable[str] | None]


class Budget:
    """Sum of the sizes that a file declares; it raises once the sum exceeds `MAX_BYTES`."""

    def __init__(self, path: Path):
        self.path, self.total = path, 0

    def take(self, name: str, shape: tuple[int, ...], itemsize: int) -> int:
        """Add an array to the sum.

        Returns:
            The size of the array in bytes.

        Raises:
            InputError: if the sum exceeds `MAX_BYTES`, or a dimension is negative.
        """
        size = math.prod(shape) * itemsize  # Python's integers cannot overflow.
        # Rows without content take space after conversions.
        self.total += math.prod(max(length, 1) for length in shape) * max(itemsize, 1)
        if min(shape, default=0) < 0 or self.total > MAX_BYTES:
            raise InputError(
                f"{self.path}: {name} declares shape {shape}, {size} bytes; the arrays of one "
                f"file may take {MAX_BYTES} bytes together"
            )
        return size


def chosen_names(choose: Choose, shapes: Shapes) -> list[str]:
    """Return the distinct names that `choose` selects, all of them if it returns None."""
    names = choose(shapes)
    return list(shapes) if names is None else list(dict.fromkeys(names))


def shown(shapes: Shapes) -> str:
    """Return names and shapes for an error message, such as "I_tr (2173 × 128), notes"."""
    parts = [
        name if shape is None else f"{name} ({' × '.join(map(str, shape)) or 'one value'})"
        for name, shape in sorted(shapes.items())
    ]
    more = f" and {len(parts) - _MAX_SHOWN} more" if len(parts) > _MAX_SHOWN else ""
    return ", ".join(parts[:_MAX_SHOWN]) + more or "nothing"
