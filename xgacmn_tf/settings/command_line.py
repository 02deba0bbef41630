"""Flags made from dataclasses of settings, and commands that end with one line on a mistake."""

from __future__ import annotations

import os
import sys
import typing
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from absl import flags, logging

from xgacmn_tf.errors import InputError
from xgacmn_tf.settings.config import Config
from xgacmn_tf.settings.fields import Leaf, Section, leaves

HELP = ("--help", "-help", "-h", "--helpshort")

Settings = TypeVar("Settings", bound=Section)

_DEFINE: dict[type, Callable[..., Any]] = {
    bool: flags.DEFINE_bool,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
}


def define_flags(
    values: flags.FlagValues = flags.FLAGS, kind: type[Section] = Config
) -> flags.FlagValues:
    """Define one absl flag per setting of a dataclass, with its default, help and choices.

    Args:
      values: receives the flags.
      kind: the dataclass, whose fields are settings or dataclasses of settings.

    Returns:
      `values`.
    """
    for leaf in leaves(kind):
        name, help, default = leaf.name, leaf.metadata["help"], leaf.default
        if leaf.metadata["choices"] and typing.get_origin(leaf.kind) is not tuple:
            choices = list(leaf.metadata["choices"])
            flags.DEFINE_enum(name, default, choices, help, flag_values=values)
        elif leaf.kind in _DEFINE:
            _DEFINE[leaf.kind](name, default, help, flag_values=values)
        elif leaf.metadata["multiple"]:
            flags.DEFINE_multi_string(name, list(default), help, flag_values=values)
        else:
            flags.DEFINE_list(name, [str(v) for v in default], help, flag_values=values)
    return values


def given_settings(
    values: flags.FlagValues, kind: type[Section], present_only: bool = False
) -> dict[str, Any]:
    """Return the values of parsed flags by name.

    Args:
      values: flags that `define_flags` made.
      kind: the dataclass that it made them from.
      present_only: return those alone that were given.
    """
    return {
        leaf.name: _value(leaf, values)
        for leaf in leaves(kind)
        if values[leaf.name].present or not present_only
    }


def config_from_flags(values: flags.FlagValues = flags.FLAGS) -> Config:
    """Return the `Config` of parsed flags."""
    return Config.of(**given_settings(values, Config))


def _value(leaf: Leaf, values: flags.FlagValues) -> Any:
    value: Any = values[leaf.name].value
    if leaf.kind == tuple[str, ...]:
        return tuple(value)
    if typing.get_origin(leaf.kind) is tuple:
        try:
            return tuple(int(item) for item in value)
        except ValueError:
            raise InputError(
                f"--{leaf.name}={','.join(value)}: expected whole numbers such as 512,100"
            ) from None
    return value


def read_settings(
    kind: type[Settings], argv: list[str], description: str, *required: str
) -> Settings:
    """Return the settings that the arguments of a command give.

    Args:
      kind: a flat dataclass of settings.
      argv: the program's name and its arguments.
      description: printed by --help above the flags.
      required: names of flags that must be given.

    Raises:
      InputError: a value is out of range, or a required flag is missing.
      SystemExit: --help was given, or something that is no flag of this command.
    """
    values = define_flags(flags.FlagValues(), kind)
    parse(values, argv, description)
    lacking = [f"--{name}" for name in required if values[name].value is None]
    if lacking:
        raise InputError(f"{' and '.join(lacking)} must be given. See --help")
    return kind(**given_settings(values, kind))


def parse(
    values: flags.FlagValues, argv: list[str], description: str, takes_words: bool = False
) -> list[str]:
    """Parse the flags of a command.

    Args:
      values: the command's own flags; absl's global ones are those of `main`.
      argv: the program's name and its arguments.
      description: printed by --help above the flags.
      takes_words: accept arguments that are no flags.

    Returns:
      Those arguments.

    Raises:
      SystemExit: --help was given, or a mistake, which is printed on one line with status 2.
    """
    if any(argument in HELP for argument in argv[1:]):
        print(f"{description}\nflags:\n{values.get_help()}")
        sys.exit(0)
    quiet_libraries()
    try:
        values.unparse_flags()
        for name in values:
            values[name].unparse()  # To its default, for processes that call commands repeatedly.
        rest = values(argv)[1:]
    except flags.UnrecognizedFlagError as error:
        names = ", ".join(f"--{name}" for name in sorted(values))
        stop(f"{error} Allowed: {names}. See --help")
    except flags.Error as error:
        stop(f"{error}; see --help")
    if rest and not takes_words:
        stop(f"{rest[0]!r} is not a flag; every setting is given as --name=value. See --help")
    return list(rest)


def quiet_libraries() -> None:
    """Hide the notes that TensorFlow prints when it starts; its errors are still printed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.set_verbosity(logging.WARNING)


def stop(message: str, status: int = 2) -> NoReturn:
    """Print an error on one line and end the program."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(status)
