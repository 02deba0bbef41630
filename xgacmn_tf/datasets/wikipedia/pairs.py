"""Texts and images of the Wikipedia distribution, found by the ids of its lists."""

import html
import re
from pathlib import Path

from xgacmn_tf.datasets.distribution import Files, read_text
from xgacmn_tf.datasets.raw import RawPair
from xgacmn_tf.datasets.wikipedia.lists import Listed
from xgacmn_tf.errors import InputError

_OPENING = re.compile(r"<text\b[^>]*>")
# A text that is not closed ends where the next element begins.
_CLOSINGS = ("</text>", "<imageset", "</document>")


def raw_pairs(
    files: Files, rows: dict[str, list[Listed]], names: tuple[str, ...]
) -> dict[str, list[RawPair]]:
    """Return the pairs of each split, with images and texts found by their ids.

    Raises:
        InputError: naming missing texts and images; if a text is broken.
    """
    every = [row for of_part in rows.values() for row in of_part]
    expected = [f"images/{names[row.label]}/{row.image_id}.jpg" for row in every]
    images = iter(files.all_images([(path, None) for path in expected]))
    missing: list[str] = []
    pairs: dict[str, list[RawPair]] = {}
    for part, of_part in rows.items():
        pairs[part] = []
        for row in of_part:
            text, image = f"texts/{row.text_id}.xml", next(images)
            if image is None:
                missing.append(f"images/{names[row.label]}/{row.image_id}.jpg")
            if not files.has(text):
                missing.append(text)
            elif image is not None:
                content = document_text(files.path(text))
                pairs[part].append(RawPair(row.text_id, image, content, row.label))
    if missing:
        raise files.missing(missing)
    return pairs


def document_text(path: Path) -> str:
    """Return the content of the <text> element of a document, with entities resolved.

    No XML parser is used: many of these files are not XML, because of bare & and <, and a parser
    would resolve entities that a file defines.

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
