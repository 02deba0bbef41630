"""Texts and pictures of the Wikipedia distribution, found by the ids of its lists."""

import html
import re
from pathlib import Path

from xgacmn_tf.datasets.distribution import read_text
from xgacmn_tf.datasets.raw import RawPair
from xgacmn_tf.datasets.wikipedia.lists import Listed
from xgacmn_tf.errors import InputError

_OPENING = re.compile(r"<text\b[^>]*>")
# A text that is not closed ends where the next element begins.
_CLOSINGS = ("</text>", "<imageset", "</document>")


def raw_pair(folder: Path, row: Listed, names: tuple[str, ...], lacking: list[str]) -> RawPair:
    """The pair of one line of a list. Files that are not there are added to `lacking`."""
    text = folder / "texts" / f"{row.text_id}.xml"
    nested = folder / "images" / names[row.label] / f"{row.image_id}.jpg"
    flat = folder / "images" / nested.name
    image = flat if flat.is_file() and not nested.is_file() else nested
    there = text.is_file()
    lacking += [path.relative_to(folder).as_posix() for path in (text, image) if not path.is_file()]
    return RawPair(row.text_id, image, document_text(text) if there else "", row.label)


def document_text(path: Path) -> str:
    """What stands in the <text> element of a document, entities resolved.

    Found without an XML parser: bare & and < make many of these files no XML, and a parser would
    follow entities that a file defines.

    Raises:
        InputError: if the file has no <text> element, was cut off inside it, or is not UTF-8.
    """
    content = read_text(path)
    opening = _OPENING.search(content)
    if opening is None:
        raise InputError(f"{path} has no <text> element; expected <document><text>…</text>.")
    for closing in _CLOSINGS:
        end = content.rfind(closing, opening.end())
        if end >= 0:
            return html.unescape(content[opening.end() : end]).strip()
    raise InputError(f"{path} ends inside its <text> element; the file is cut off, fetch it again.")
