"""What can be asked for, and checking what was."""

from __future__ import annotations

from collections.abc import Sequence

from xgacmn_tf.errors import InputError

TABLES = ("1", "2", "3", "openclipart")
FIGURES = ("3", "4", "beyond")


def choose(flag: str, asked: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The parts asked for, in the paper's order.

    Args:
      flag: the flag's name, for the message.
      asked: as given; nothing, or one empty word, asks for none.
      known: what exists.

    Raises:
      InputError: one of them does not exist.
    """
    words = [word for word in asked if word]
    unknown = [word for word in words if word not in known]
    if unknown:
        raise InputError(
            f"--{flag}={','.join(asked)}: there is no {', '.join(unknown)}; expected some of "
            f"{', '.join(known)}, or --{flag}= for none"
        )
    return tuple(name for name in known if name in words)
