"""Bounds on the memory that a file of arrays may declare, and the choice of arrays to read."""

import contextlib
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from xgacmn_tf.errors import InputError


def _max_bytes(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return at most 16 GiB, and never more than the machine or its container has."""
    limits = [16 * 2**30]
    if hasattr(os, "sysconf"):  # Windows does not tell.
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for name in ("memory.max", "memory/memory.limit_in_bytes"):  # Of cgroups 2 and 1.
        with contextlib.suppress(OSError, ValueError):  # Without a limit, the file holds "max".
            limits.append(int((cgroup / name).read_text()))
    return min(limits)


# Maximum size of all arrays of a file, as the file declares them.
MAX_BYTES = _max_bytes()
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
        self.total += math.prod(max(length, 1) for length in shape) * (itemsize or 4)
        if min(shape, default=0) < 0 or self.total > MAX_BYTES:
            raise InputError(
                f"{self.path}: {name} declares shape {shape}, {size} bytes; the arrays of one "
                f"file may take {MAX_BYTES} bytes together"
            )
        return size


def string_array(name: str, texts: Sequence[str], budget: Budget) -> np.ndarray:
    """Return strings as an array, for each of which NumPy allocates the length of the longest.

    Raises:
        InputError: if that exceeds the budget.
    """
    budget.take(name, (len(texts), max(map(len, texts), default=0)), 4)
    return np.array(texts, dtype=str)


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
