"""Flags made from dataclasses of settings, log lines, and exit with a one-line message."""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
import textwrap
import typing
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn, TypeVar

from absl import flags
from absl import logging as absl_logging
from tqdm import tqdm

from xgacmn_tf.errors import InputError
from xgacmn_tf.nearest import did_you_mean
from xgacmn_tf.settings.config import Config
from xgacmn_tf.settings.fields import Leaf, Section, leaves

HELP = ("--help", "-help", "-h", "--helpshort")
FULL_HELP = ("--helpfull", "-helpfull")
# Where a command has more flags, --help shows the common ones, and --helpfull all.
MAX_SHORT_HELP = 12
_EXAMPLE_FILE = "wikipedia_shallow_2173"

Settings = TypeVar("Settings", bound=Section)

_DEFINE: dict[type, Callable[..., Any]] = {
    bool: flags.DEFINE_bool,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
}


def define_flags(values: flags.FlagValues, kind: type[Section] = Config) -> None:
    """Define one absl flag per setting of a dataclass, with its default and help.

    Ranges and choices are checked when the dataclass is made.

    Args:
      values: receives the flags.
      kind: the dataclass, whose fields are settings or dataclasses of settings.
    """
    for leaf in leaves(kind):
        name, help, default = leaf.name, leaf.metadata["help"], leaf.default
        if leaf.kind in _DEFINE:
            _DEFINE[leaf.kind](name, default, help, flag_values=values)
        elif leaf.metadata["multiple"]:
            flags.DEFINE_multi_string(name, list(default), help, flag_values=values)
        else:
            flags.DEFINE_list(name, [str(v) for v in default], help, flag_values=values)


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


def config_from_flags(values: flags.FlagValues) -> Config:
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


def read_flags(
    argv: list[str],
    description: str,
    *kinds: type[Section],
    expand: Callable[[list[str]], list[str]] | None = None,
) -> flags.FlagValues:
    """Parse the arguments of a command whose flags are those of dataclasses of settings.

    Args:
      argv: the program's name and its arguments.
      description: printed by --help above the flags.
      kinds: the dataclasses.
      expand: replaces arguments, such as a flag file by the flags in it.

    Raises:
      SystemExit: --help was given, or a mistake, which is printed on one line with status 2.
    """
    return _read(argv, description, kinds, expand)[0]


def _read(
    argv: list[str],
    description: str,
    kinds: Sequence[type[Section]],
    expand: Callable[[list[str]], list[str]] | None = None,
    takes_words: bool = False,
) -> tuple[flags.FlagValues, list[str]]:
    """Return the flags of a command, and the arguments that are no flags."""
    values = flags.FlagValues()
    for kind in kinds:
        define_flags(values, kind)
    full = any(argument in FULL_HELP for argument in argv[1:])
    if full or any(argument in HELP for argument in argv[1:]):
        text = help_text(*kinds, full=full, takes_files=expand is not None)
        print(f"{description.rstrip()}\n{text}")
        sys.exit(0)
    try:
        arguments = argv[1:] if expand is None else expand(argv[1:])
    except InputError as error:
        stop(str(error))
    words = _parse(values, [argv[0], *arguments], takes_words)
    configure_logging()
    return values, words


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
      SystemExit: as of `read_flags`.
    """
    values = read_flags(argv, description, kind)
    missing = [f"--{name}" for name in required if values[name].value is None]
    if missing:
        raise InputError(f"{' and '.join(missing)} must be given. See --help")
    return kind(**given_settings(values, kind))


def read_words_and_settings(
    kind: type[Settings], argv: list[str], description: str
) -> tuple[list[str], Settings]:
    """Return the arguments of a command that are no flags, and the settings that the flags give.

    Args, `InputError` and `SystemExit` are those of `read_settings`.
    """
    values, words = _read(argv, description, [kind], takes_words=True)
    return words, kind(**given_settings(values, kind))


def help_text(*kinds: type[Section], full: bool, takes_files: bool = False) -> str:
    """Return the flags of dataclasses of settings, with defaults and help.

    Args:
      kinds: the dataclasses.
      full: all flags, by section; otherwise the common ones, where there are many.
      takes_files: describe --flagfile as well.
    """
    every = [(kind, leaf) for kind in kinds for leaf in leaves(kind)]
    shortened = not full and len(every) > MAX_SHORT_HELP
    lines: list[str] = []
    group = ""
    for kind, leaf in every:
        if shortened and not leaf.metadata["common"]:
            continue
        title = "Common settings" if shortened else section_title(kind, leaf.section)
        if title != group:
            group = title
            lines.append(f"\n{title}")
        choices = leaf.metadata["choices"]
        help = leaf.metadata["help"] + (f" ({', '.join(choices)})" if choices else "")
        lines += _flag_lines(leaf.name, shown_default(leaf.default), help)
    if takes_files:
        lines += [] if shortened else ["\nFiles of settings"]
        help = f"file of settings: a path, or the name of one in flags/, such as {_EXAMPLE_FILE}"
        lines += _flag_lines("flagfile", "", help)
    if shortened:
        hidden = len(every) - sum(bool(leaf.metadata["common"]) for _, leaf in every)
        lines.append(f"\n--helpfull lists {hidden} more settings, by subject.")
    return "\n".join(lines)


def section_title(kind: type[Section], section: str) -> str:
    """Return the title of a section of a dataclass, or of the fields that are in none."""
    if not section and kind.own_title:
        return kind.own_title
    owner = typing.get_type_hints(kind)[section] if section else kind
    return str(owner.__doc__).splitlines()[0].rstrip(".")


def _flag_lines(name: str, default: str, help: str) -> list[str]:
    indent = " " * 6
    return [
        f"  --{name}={default}",
        *textwrap.wrap(help, 92, initial_indent=indent, subsequent_indent=indent),
    ]


def shown_default(default: Any) -> str:
    """Return a default as it would be given on the command line."""
    if default is None:
        return ""
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    return str(default).lower() if isinstance(default, bool) else str(default)


def _parse(values: flags.FlagValues, argv: list[str], takes_words: bool) -> list[str]:
    """Parse the flags of a command, and return the arguments that are no flags.

    Args:
      values: the flags of the command.
      argv: the program's name and its arguments.
      takes_words: accept arguments that are no flags.

    Raises:
      SystemExit: a mistake, which is printed on one line with status 2.
    """
    absl_logging.set_verbosity(absl_logging.WARNING)
    try:
        rest = values(argv)[1:]
    except flags.UnrecognizedFlagError as error:
        near = did_you_mean(error.flagname, values, "--")
        help = "--helpfull" if len(values) > MAX_SHORT_HELP else "--help"
        end = f"{near} See {help}" if near else f"; {help} lists all flags"
        stop(f"there is no flag --{error.flagname}{end}")
    except flags.Error as error:
        stop(f"{error}; see --help")
    if rest and not takes_words:
        stop(f"{rest[0]!r} is not a flag; every setting is given as --name=value. See --help")
    return list(rest)


class _PlainHandler(logging.Handler):
    """Prints messages to standard output, above the progress bars that are shown."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record))


def configure_logging(handler: logging.Handler | None = None) -> None:
    """Print what this package logs, from INFO on.

    Commands call it once they have parsed their flags, after absl has installed its own handler.

    Args:
      handler: where it is printed; None for plain lines on standard output.
    """
    logger = logging.getLogger("xgacmn_tf")
    logger.setLevel(logging.INFO)
    logger.propagate = False  # absl would print the messages again, to standard error.
    logger.handlers = [handler or _PlainHandler()]


def interrupt(number: int, frame: object) -> NoReturn:
    """End the program as Ctrl-C does: a handler of SIGTERM, for Kubernetes and batch systems."""
    del frame
    raise KeyboardInterrupt(number)


@contextlib.contextmanager
def interruptible(advice: str) -> Iterator[None]:
    """End the program with one line when it receives SIGINT or SIGTERM in this context.

    Args:
        advice: how to go on, the end of the line.
    """
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt as error:
        # Ctrl-C has no arguments.
        word, status = ("terminated", 143) if error.args else ("interrupted", 130)
        stop(f"{word}; {advice}", status)
    finally:
        signal.signal(signal.SIGTERM, before)


def stop(message: str, status: int = 2) -> NoReturn:
    """Print an error on one line and end the program."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(status)
