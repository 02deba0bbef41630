"""The messages that the package logs."""

import contextlib
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def logged_lines() -> Iterator[list[str]]:
    """Yield a list that receives the messages from INFO on, also where propagation is off."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = logging.getLogger("xgacmn_tf")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
