"""Griffe extension that marks the doctests of docstrings as code, for the API pages."""

from __future__ import annotations

import re
from typing import Any

import griffe


class Doctests(griffe.Extension):
    """Fences each block of doctest lines, which Markdown would read as quotations."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Change the docstring of an object."""
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)


def fenced(docstring: str) -> str:
    """Return a docstring whose doctests, up to the next empty line, are fenced."""
    return re.sub(
        r"^( *)>>> .*(?:\n *\S.*)*",
        lambda match: f"{match[1]}```pycon\n{match[0]}\n{match[1]}```",
        docstring,
        flags=re.MULTILINE,
    )
