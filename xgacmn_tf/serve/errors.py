"""Errors of requests, with their HTTP statuses."""

from __future__ import annotations

import re

# TensorFlow's message also names nodes of the graph and lines of the exporter's source.
_NOISE = re.compile(
    r"Graph execution error:|Detected at node .*|<stack traces unavailable>|\s*File \".*"
    r"|\[\[.*?\]\]|\[Op:[^\]]*\]|\d+ root error\(s\) found\.|\(\d+\) [A-Z_]+:"
)
_ASSERTED = re.compile(r"assertion failed: \[(.*)\]")
MAX_MESSAGE = 1000


class RequestError(Exception):
    """A request that cannot be answered.

    Args:
      message: one line for the client.
      status: the HTTP status; 400 for mistakes of the client.
    """

    def __init__(self, message: str, status: int = 400):
        self.message = " ".join(message.split())[:MAX_MESSAGE]
        self.status = status
        super().__init__(self.message)


def model_message(message: str) -> str:
    """Return the part of a TensorFlow error message that concerns the client."""
    words = " ".join(_NOISE.sub(" ", message).split())
    asserted = _ASSERTED.fullmatch(words)
    return asserted[1] if asserted else words
