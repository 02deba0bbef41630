"""`index.npz`: what an engine needs to come back, as plain arrays."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xgacmn_tf.errors import InputError
from xgacmn_tf.io import array_files
from xgacmn_tf.io.files import atomic_path

FILE = "index.npz"


def write(folder: str | os.PathLike[str], arrays: Mapping[str, Any]) -> None:
    """Writes `<folder>/index.npz`, whole or not at all, making the folder if need be."""
    folder = Path(folder)
    values = {name: np.asarray(value) for name, value in arrays.items()}
    total = sum(value.nbytes for value in values.values())
    if total > array_files.MAX_BYTES:
        raise InputError(
            f"{folder}: the index takes {total} bytes and only {array_files.MAX_BYTES} can be read "
            "back; a gallery of this size belongs into --index=milvus"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(folder / FILE) as temporary:
            np.savez(temporary, allow_pickle=False, **values)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror}); name a folder where you may create "
            "files"
        ) from error


def read(folder: str | os.PathLike[str]) -> Stored:
    """The arrays in `<folder>/index.npz`. Raises an `InputError` if there are none."""
    path = Path(folder) / FILE
    if not path.is_file():
        raise InputError(f"{folder} holds no index: there is no {path}; index a gallery first")
    return Stored(path, array_files.read(path, lambda names: None))


@dataclasses.dataclass(frozen=True)
class Stored:
    """Arrays of a file that nobody vouches for; what is taken out is checked.

    Every method raises an `InputError` if the file lacks what is asked for or it does not fit.
    """

    path: Path
    arrays: Mapping[str, np.ndarray]

    def array(self, name: str, kind: str, shape: tuple[int | None, ...]) -> np.ndarray:
        """An array of a dtype's kind ("f", "i" or "U") and a shape, None for any size."""
        value = self.arrays.get(name)
        if value is None:
            raise self.damaged(f"{name} is missing")
        fits = len(value.shape) == len(shape) and all(
            wanted in (None, size) for size, wanted in zip(value.shape, shape, strict=True)
        )
        if value.dtype.kind != kind or not fits:
            raise self.damaged(f"{name} has shape {value.shape} and dtype {value.dtype}")
        return value

    def number(self, name: str, low: int, high: int) -> int:
        """A whole number from low to high."""
        value = int(self.array(name, "i", ()))
        self.check(low <= value <= high, f"{name} is {value}")
        return value

    def text(self, name: str) -> str:
        """A string."""
        return str(self.array(name, "U", ()))

    def choice(self, name: str, allowed: Sequence[str]) -> str:
        """A string that is one of those allowed."""
        value = self.text(name)
        self.check(value in allowed, f"{name} is {value!r}, none of {', '.join(allowed)}")
        return value

    def check(self, holds: bool | np.bool_, otherwise: str) -> None:
        """Raises an `InputError` that says `otherwise` unless something holds."""
        if not holds:
            raise self.damaged(otherwise)

    def damaged(self, reason: str) -> InputError:
        """What to raise for a file that does not fit."""
        return InputError(f"{self.path} is damaged or no index: {reason}; index the gallery anew")
