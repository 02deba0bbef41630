"""Parts that all commands share: flags, plain log lines, and exit with a one-line message."""

import dataclasses
import logging
import os
import sys
import typing
from typing import Any, NoReturn

from absl import flags
from absl import logging as absl_logging
from tqdm import tqdm

from xgacmn_tf.errors import InputError
from xgacmn_tf.settings.config import Config
from xgacmn_tf.settings.fields import kind_of

HELP = ("--help", "-help", "-h", "--helpshort")


def parse(
    values: flags.FlagValues, argv: list[str], description: str, takes_words: bool = False
) -> list[str]:
    """Reads the flags of a command.

    Args:
      values: the command's own flags; absl's global ones are those of `main`.
      argv: the program's name and its arguments.
      description: what --help prints above the flags.
      takes_words: arguments that are no flags are wanted.

    Returns:
      Those arguments. --help ends the program, and so does a mistake, with one line and status 2.
    """
    if any(argument in HELP for argument in argv[1:]):
        print(f"{description}\nflags:\n{values.get_help()}")
        sys.exit(0)
    # TensorFlow's start-up notes would bury the answer; errors still show.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    absl_logging.set_verbosity(absl_logging.WARNING)
    configure_logging()
    try:
        values.unparse_flags()
        for name in values:
            values[name].unparse()  # to its default, for a process that calls commands repeatedly
        rest = values(argv)[1:]
    except flags.UnrecognizedFlagError as error:
        names = ", ".join(f"--{name}" for name in sorted(values))
        stop(f"{error} Allowed: {names}. See --help")
    except flags.Error as error:
        stop(f"{error}; see --help")
    if rest and not takes_words:
        stop(f"{rest[0]!r} is not a flag; every setting is given as --name=value. See --help")
    return list(rest)


class _PlainHandler(logging.Handler):
    """Prints messages to standard output, above the progress bars that are shown."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record))


def configure_logging() -> None:
    """Print what this package logs, from INFO on, as plain lines to standard output.

    Commands call it once they have parsed their flags, after absl has installed its own handler.
    """
    logger = logging.getLogger("xgacmn_tf")
    logger.setLevel(logging.INFO)
    logger.propagate = False  # absl would print the messages again, to standard error.
    if not logger.handlers:
        logger.addHandler(_PlainHandler())


def stop(message: str, status: int = 2) -> NoReturn:
    """Ends the program with one line."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(status)


_DEFINE: dict[type, Any] = {
    bool: flags.DEFINE_bool,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
}


def define_flags(values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines one absl flag for each field of `Config`, with its default and help."""
    for field in dataclasses.fields(Config):
        kind, _ = kind_of(field)
        name, help = field.name, field.metadata["help"]
        default: Any = field.default
        if field.metadata["choices"]:
            choices = list(field.metadata["choices"])
            flags.DEFINE_enum(name, default, choices, help, flag_values=values)
        elif kind in _DEFINE:
            _DEFINE[kind](name, default, help, flag_values=values)
        else:
            flags.DEFINE_list(name, [str(v) for v in default], help, flag_values=values)


def config_from_flags(values: flags.FlagValues = flags.FLAGS) -> Config:
    """The `Config` that the parsed flags stand for."""
    settings: dict[str, Any] = {}
    for field in dataclasses.fields(Config):
        value: Any = values[field.name].value
        kind, _ = kind_of(field)
        if kind == tuple[str, ...]:
            value = tuple(value)
        elif typing.get_origin(kind) is tuple:
            try:
                value = tuple(int(item) for item in value)
            except ValueError:
                raise InputError(
                    f"--{field.name}={','.join(value)}: expected whole numbers such as 512,100"
                ) from None
        settings[field.name] = value
    return Config(**settings)
