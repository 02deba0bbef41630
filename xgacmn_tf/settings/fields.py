"""What a setting is: a field of a dataclass with its help, its range and its kind."""

import dataclasses
import math
import types
import typing
from typing import Any

from xgacmn_tf.errors import InputError


def setting(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] | None = None,
    least: float | None = None,
    most: float | None = None,
    shapes_result: bool = True,
    own: bool = False,
    later: bool = False,
    before: Any = None,
) -> Any:
    """A field of `Config`.

    `shapes_result=False`: changing it does not change a run's numbers. `own=True`: it is X-GACMN's
    own, and the compared systems have no use for it. `later=True`: there are run folders from
    before it, which did what `before`, or else the default, does; with that value it is no part of
    the fingerprint that names a run folder.
    """
    return dataclasses.field(
        default=default,
        metadata={
            "help": help,
            "choices": choices,
            "least": least,
            "most": most,
            "shapes_result": shapes_result,
            "own": own,
            "later": later,
            "before": default if before is None else before,
        },
    )


def check(field: dataclasses.Field[Any], value: Any) -> None:
    """Raises an `InputError` unless `value` has the field's type and lies in its range."""
    kind, optional = kind_of(field)
    if value is None and optional:
        return
    flag, limits = f"--{field.name}={value}", field.metadata
    is_list = typing.get_origin(kind) is tuple
    items = value if is_list and isinstance(value, tuple) else (value,)
    item_kind = typing.get_args(kind)[0] if is_list else kind
    accepted = (int, float) if item_kind is float else item_kind
    if is_list and not (isinstance(value, tuple) and (value or item_kind is str)):
        raise InputError(f"{flag}: expected one or more numbers such as 512,100")
    for item in items:
        # A bool is an int to Python, never to a user.
        if not isinstance(item, accepted) or (isinstance(item, bool) and item_kind is not bool):
            raise InputError(f"{flag}: expected {item_kind.__name__}, received {item!r}")
        if isinstance(item, float) and not math.isfinite(item):
            raise InputError(f"{flag}: expected a finite number")
        if limits["least"] is not None and item < limits["least"]:
            raise InputError(f"{flag}: expected at least {limits['least']}")
        if limits["most"] is not None and item > limits["most"]:
            raise InputError(f"{flag}: expected at most {limits['most']}")
        if limits["choices"] and item not in limits["choices"]:
            raise InputError(f"{flag}: expected one of {', '.join(limits['choices'])}")


def kind_of(field: dataclasses.Field[Any]) -> tuple[Any, bool]:
    """A field's type without None, and whether None is allowed."""
    if isinstance(field.type, types.UnionType):
        (kind,) = [t for t in typing.get_args(field.type) if t is not type(None)]
        return kind, True
    return field.type, False
