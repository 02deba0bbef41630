"""What is checked of a request's inputs before a model sees them, for both protocols alike."""

from collections.abc import Collection, Mapping

import numpy as np

from xgacmn_tf.serve.failure import invalid
from xgacmn_tf.serve.servable import Input, Signature


def check_names(signature: Signature, names: Collection[str]) -> None:
    """Raises a `RequestError` unless these are the signature's inputs."""
    if set(names) != signature.inputs.keys():
        expected = "; ".join(f"{name!r}: {each}" for name, each in signature.inputs.items())
        given = ", ".join(map(repr, sorted(names))) or "none"
        raise invalid(f"Signature {signature.name!r} takes the inputs {expected}; given: {given}.")


def check_inputs(signature: Signature, inputs: Mapping[str, np.ndarray], most_rows: int) -> int:
    """Checks inputs that have the right names and dtypes; returns the number of rows.

    Rows are counted along dimension 0; a signature that is not batched counts as one row.

    Raises:
      RequestError: a shape is not the signature's, there are no or too many rows, a number is NaN
        or infinite, or a text is not UTF-8.
    """
    for name, array in inputs.items():
        _check_array(signature.inputs[name], array)
    if not signature.is_batched:
        return 1
    rows = {name: len(array) for name, array in inputs.items()}
    count = next(iter(rows.values()))
    if set(rows.values()) != {count}:
        given = ", ".join(f"{name!r}: {n}" for name, n in rows.items())
        raise invalid(f"All inputs must have the same number of rows; given: {given}.")
    if not 1 <= count <= most_rows:
        raise invalid(f"A request has 1 to {most_rows} rows; this one has {count}.")
    return count


def _check_array(expected: Input, array: np.ndarray) -> None:
    if not expected.shape.is_compatible_with(array.shape):
        raise invalid(f"Input {expected.name!r} is {expected}; given: shape {array.shape}.")
    if expected.dtype.is_floating and not np.isfinite(array).all():
        # The model would answer NaN, or worse, something that looks like an answer.
        place = np.argwhere(~np.isfinite(array))[0].tolist()
        raise invalid(
            f"Input {expected.name!r} holds NaN, infinity or a number beyond "
            f"{expected.dtype.name} at {place}."
        )
    if expected.is_text:
        for place, value in np.ndenumerate(array):
            _check_text(expected.name, list(place), value)


def _check_text(name: str, place: list[int], value: bytes) -> None:
    # A picture sent as a text is a common mistake; one bad text must not fail a batch.
    try:
        value.decode()
    except UnicodeDecodeError as error:
        raise invalid(
            f"Input {name!r} is a text, but at {place} it is not UTF-8: {error}."
        ) from error
