"""Fields of settings: help, range and type, and the leaves of a tree of dataclasses."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from typing import Any, ClassVar

from xgacmn_tf.errors import InputError
from xgacmn_tf.nearest import did_you_mean


def setting(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    affects_results: bool = True,
    of_xgacmn: bool = False,
    later: bool = False,
    before: Any = None,
    multiple: bool = False,
    common: bool = False,
) -> Any:
    """Return a dataclass field that is a setting.

    Args:
      default: the default value.
      help: what --help says.
      choices: allowed values; None for any.
      minimum, maximum: allowed range of a number.
      affects_results: whether changing it changes the numbers of a run.
      of_xgacmn: compared systems do not read it.
      later: there are run folders from before it, which behaved as with `before`, or else the
        default; with that value it is no part of the fingerprint that names a run folder.
      before: see `later`.
      multiple: the flag of a tuple can be given several times, instead of a comma-separated list.
      common: --help lists it, also where a command has so many flags that it leaves others to
        --helpfull.
    """
    return dataclasses.field(
        default=default,
        metadata={
            "help": help,
            "choices": choices,
            "minimum": minimum,
            "maximum": maximum,
            "affects_results": affects_results,
            "of_xgacmn": of_xgacmn,
            "later": later,
            "before": default if before is None else before,
            "multiple": multiple,
            "common": common,
        },
    )


@dataclasses.dataclass(frozen=True)
class Section:
    """Base of dataclasses whose fields are settings; it checks their values.

    Attributes:
      flag: what precedes the name of a setting in error messages.
      own_title: what --helpfull calls the settings that are in no section of a tree; where it is
        empty, the first line of the class's docstring.
    """

    flag: ClassVar[str] = "--"
    own_title: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for leaf in leaves(type(self)):
            if leaf.section:
                continue
            value = leaf.of(self)
            check(leaf, value, self.flag)
            if leaf.kind is float and value is not None:
                # 100 and 100.0 are the same setting, also in a fingerprint.
                object.__setattr__(self, leaf.name, float(value))


@dataclasses.dataclass(frozen=True)
class Leaf:
    """A setting in a tree of dataclasses.

    Attributes:
      field: its dataclass field.
      section: the name of the field of the tree's root that holds it; "" in the root itself.
      kind: its type, without None.
      optional: whether None is allowed.
    """

    field: dataclasses.Field[Any]
    section: str
    kind: Any
    optional: bool

    @property
    def name(self) -> str:
        return self.field.name

    @property
    def default(self) -> Any:
        return self.field.default

    @property
    def metadata(self) -> Any:
        return self.field.metadata

    def of(self, root: Any) -> Any:
        """Return the value of this setting in a tree."""
        return getattr(getattr(root, self.section) if self.section else root, self.name)


_LEAVES: dict[type, tuple[Leaf, ...]] = {}


def leaves(kind: type) -> tuple[Leaf, ...]:
    """Return the settings of a dataclass and of the dataclasses in it, in order of definition."""
    if kind in _LEAVES:
        return _LEAVES[kind]
    result: list[Leaf] = []
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        if isinstance(hint, type) and issubclass(hint, Section):
            result += [dataclasses.replace(leaf, section=field.name) for leaf in leaves(hint)]
            continue
        optional = isinstance(hint, types.UnionType)
        if optional:
            (hint,) = [t for t in typing.get_args(hint) if t is not type(None)]
        result.append(Leaf(field, "", hint, optional))
    _LEAVES[kind] = tuple(result)
    return _LEAVES[kind]


def check(leaf: Leaf, value: Any, prefix: str = "--") -> None:
    """Raise an `InputError` unless `value` has the type of a setting and lies in its range."""
    if value is None and leaf.optional:
        return
    is_list, limits = typing.get_origin(leaf.kind) is tuple, leaf.metadata
    items = value if is_list and isinstance(value, tuple) else (value,)
    flag = f"{prefix}{leaf.name}={','.join(map(str, items))}"
    item_kind = typing.get_args(leaf.kind)[0] if is_list else leaf.kind
    accepted = (int, float) if item_kind is float else item_kind
    if is_list and not (isinstance(value, tuple) and (value or item_kind is str)):
        raise InputError(f"{flag}: expected one or more numbers such as 512,100")
    for item in items:
        # A bool is an int to Python, never to a user.
        if not isinstance(item, accepted) or (isinstance(item, bool) and item_kind is not bool):
            raise InputError(f"{flag}: expected {item_kind.__name__}, received {item!r}")
        if isinstance(item, float) and not math.isfinite(item):
            raise InputError(f"{flag}: expected a finite number")
        if limits["minimum"] is not None and item < limits["minimum"]:
            raise InputError(f"{flag}: expected at least {limits['minimum']}")
        if limits["maximum"] is not None and item > limits["maximum"]:
            raise InputError(f"{flag}: expected at most {limits['maximum']}")
        if limits["choices"] and item not in limits["choices"]:
            raise InputError(
                f"{flag}: expected one of {', '.join(limits['choices'])}"
                f"{did_you_mean(str(item), limits['choices'])}"
            )


def as_json(values: dict[str, Any]) -> dict[str, Any]:
    """Return settings with lists for tuples, as JSON has them."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
