"""The printed table of an answer: the query, notes, and a line per hit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xgacmn_tf.search.searcher import Answer, Hit

TITLE, CATEGORY = 40, 20


def answer_table(answer: Answer, width: int = 100) -> str:
    """Return the query with its most probable category, notes where due, and a line per hit.

    A hit's line has its rank, score, title, category with the posterior of that category, and id.
    A category that the gallery does not have and the run predicts ends in "?".

    Args:
      answer: the answer.
      width: characters a line; ids are cut to it.
    """
    lines = [_clean(answer.query.shown)]
    if answer.category_posterior is not None:
        posterior = f"{answer.category_posterior:.2f}"
        lines.append(f"  most probable category: {_clean(answer.category)} ({posterior})")
    lines += [f"  {note}" for note in (answer.note(), answer.match_note()) if note]
    columns = [
        _column([hit.title for hit in answer.hits], TITLE),
        _column([_category(hit) for hit in answer.hits], CATEGORY),
        _column([_posterior(hit) for hit in answer.hits], CATEGORY),
    ]
    for row, hit in enumerate(answer.hits):
        cells = [column[row] for column in columns if any(column)]
        # Where nothing better is known the id is the title.
        cells += [_clean(hit.id)] if hit.id != hit.title else []
        line = f"  {hit.rank:2}  {hit.score:.3f}  {'  '.join(cells)}".rstrip()
        lines.append(_cut(line, width))
    return "\n".join(lines)


def _category(hit: Hit) -> str:
    return hit.category if hit.category_known else f"{hit.category}?"


def _posterior(hit: Hit) -> str:
    return "" if hit.category_posterior is None else f"{hit.category_posterior:.2f}"


def _column(values: Sequence[str], limit: int) -> list[str]:
    cells = [_cut(_clean(value), limit) for value in values]
    width = max(map(len, cells), default=0)
    return [cell.ljust(width) for cell in cells]


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _clean(text: str) -> str:
    """Return a text without characters that would control a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)
