"""Flag files: settings, one `--name=value` a line, under a name that `--flagfile` takes.

The files of `flags/` are part of the package and are found from any folder, as
`--flagfile=wikipedia_shallow_2173` or `--flagfile=flags/wikipedia_shallow_2173.flags`. Files may
name each other. absl's own `--flagfile` is not used, because it finds only files below the current
folder, also those that a file names, and ignores a file that names itself.
"""

import os
from collections.abc import Sequence
from pathlib import Path, PurePath

from xgacmn_tf.errors import InputError
from xgacmn_tf.nearest import did_you_mean

SUFFIX = ".flags"
_FLAGS = ("--flagfile", "-flagfile")


def folder() -> Path:
    """Return `flags/`, which is inside an installed package and beside it in a checkout.

    setup.py moves it.
    """
    package = Path(__file__).parents[1]
    installed = package / "flags"
    return installed if installed.is_dir() else package.parent / "flags"


def names() -> list[str]:
    """Return the names of the package's flag files, without ".flags"."""
    return sorted(path.stem for path in folder().glob(f"*{SUFFIX}"))


def find(name: str) -> Path:
    """Return the flag file called `name`: the one at this path, or else the package's.

    Raises:
      InputError: there is neither.
    """
    path = Path(os.path.expanduser(name))
    if _is_there(path):
        return path
    pure = PurePath(name)
    stem = pure.name.removesuffix(SUFFIX)
    if str(pure.parent) in (".", "flags") and stem in names():
        return folder() / f"{stem}{SUFFIX}"
    raise InputError(
        f"--flagfile={name}: there is no such file, nor one of that name among those that come "
        f"with the package: {', '.join(names())}{did_you_mean(stem, names())}"
    )


def expand(arguments: Sequence[str]) -> list[str]:
    """Return arguments with each flag file replaced by its lines.

    Args:
      arguments: of a command line, without the program's name.

    Raises:
      InputError: a file is not there, cannot be read, or names itself.
    """
    found: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            return [*found, argument, *rest]
        flag, equals, name = argument.partition("=")
        if flag not in _FLAGS:
            found.append(argument)
            continue
        if not equals and not rest:
            raise InputError(f"{argument}: the name of a file is missing")
        name = name if equals else rest.pop(0)
        found += _lines(find(name), ())
    return found


def _lines(path: Path, readers: tuple[Path, ...]) -> list[str]:
    """Return the arguments in a file; `readers` are the files that name it, outermost first."""
    here = path.resolve()
    if here in readers:
        raise InputError(f"--flagfile={path}: this file names itself, by way of {readers[-1]}")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"--flagfile={path} cannot be read ({error}); expected a file of UTF-8 text"
        ) from error
    found: list[str] = []
    for line in map(str.strip, text.splitlines()):
        if not line or line.startswith(("#", "//")):
            continue
        flag, equals, name = line.partition("=")
        if flag in _FLAGS and equals:
            # A file beside this one takes precedence over any other of that name.
            beside = path.parent / os.path.expanduser(name)
            found += _lines(beside if _is_there(beside) else find(name), (*readers, here))
        else:
            found.append(line)
    return found


def _is_there(path: Path) -> bool:
    # A pipe is as good as a file: --flagfile=<(command).
    return os.path.exists(path) and not os.path.isdir(path)
