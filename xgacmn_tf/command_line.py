"""What the commands beside `main` share: reading their flags, and ending with one line."""

import os
import sys
from typing import NoReturn

from absl import flags, logging

HELP = ("--help", "-help", "-h", "--helpshort")


def parse(values: flags.FlagValues, argv: list[str], description: str) -> None:
    """Reads flags of a command that takes nothing else.

    Args:
      values: the command's own flags; absl's global ones are those of `main`.
      argv: the program's name and its arguments.
      description: what --help prints above the flags.

    --help ends the program, and so does a mistake, with one line and status 2.
    """
    if any(argument in HELP for argument in argv[1:]):
        print(f"{description}\nflags:\n{values.get_help()}")
        sys.exit(0)
    try:
        rest = values(argv)
    except flags.Error as error:
        stop(f"{error}; see --help")
    if len(rest) > 1:
        stop(f"{rest[1]!r} is not a flag; every setting is given as --name=value. See --help")
    # TensorFlow's start-up notes would bury the answer; errors still show.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.set_verbosity(logging.WARNING)


def stop(message: str, status: int = 2) -> NoReturn:
    """Ends the program with one line."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(status)
