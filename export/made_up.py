"""Requests for a load test: made up after a signature, or from a file."""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from client import TensorSpec

# Different requests, sent in turn, so that no cache makes the answers too cheap.
VARIETY = 16
WORDS = "red blue green apple tree cat dog bird house car flower star sun happy small old".split()
PICTURE = (240, 320)


def batches(inputs: Mapping[str, TensorSpec], rows: int, file: Path | None = None) -> list[dict]:
    """16 different inputs of a signature.

    Args:
      inputs: the signature's inputs by name.
      rows: size of the batch.
      file: `.npz` with an array for each input, whose rows are taken in turn.

    Raises:
      ValueError: the file lacks an input, or no such input can be made up.
      OSError: the file cannot be read.
    """
    if file is None:
        generator = np.random.default_rng(0)
        columns = {
            name: [_value(name, spec, generator) for _ in range(VARIETY * rows)]
            for name, spec in inputs.items()
        }
    else:
        with np.load(file, allow_pickle=False) as arrays:
            missing = sorted(set(inputs) - set(arrays))
            if missing:
                raise ValueError(f"--inputs={file}: lacks {', '.join(missing)}")
            columns = {name: list(arrays[name]) for name in inputs}
    return [
        {
            name: _stacked([values[(number * rows + row) % len(values)] for row in range(rows)])
            for name, values in columns.items()
        }
        for number in range(VARIETY)
    ]


def _value(name: str, spec: TensorSpec, generator: np.random.Generator):
    """One row."""
    shape = [1 if size is None else size for size in spec.shape[1:]]
    if spec.dtype == "string" and not shape:
        return _picture(generator) if name == "image_bytes" else _text(generator)
    if spec.dtype in ("float32", "float64"):
        return generator.random(shape).astype(spec.dtype)
    raise ValueError(f"input {name}, {spec.dtype} {spec.shape}, cannot be made up; use --inputs")


def _text(generator: np.random.Generator) -> str:
    return " ".join(generator.choice(WORDS, 3))


def _picture(generator: np.random.Generator) -> bytes:
    """A JPEG file of smooth noise."""
    from PIL import Image

    small = generator.integers(0, 256, (PICTURE[0] // 16, PICTURE[1] // 16, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(small).resize(PICTURE[::-1]).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def _stacked(values: list):
    return np.stack(values) if isinstance(values[0], np.ndarray) else values
