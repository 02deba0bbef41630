"""Answers as aligned lines for a terminal."""

from collections.abc import Sequence

from xgacmn_tf.search.searcher import Answer, Hit

TITLE, CATEGORY = 40, 20


def answer_table(answer: Answer, width: int = 100) -> str:
    """The query, a note where one is due, and a line a hit: rank, score, title, category, id.

    Args:
      width: characters a line; ids are cut to it.
    """
    lines = [_clean(answer.query.shown)]
    if answer.note():
        lines.append(f"  {answer.note()}")
    columns = [_column(answer.hits, "title", TITLE), _column(answer.hits, "category", CATEGORY)]
    for row, hit in enumerate(answer.hits):
        cells = [column[row] for column in columns if any(column)]
        # Where nothing better is known the id is the title.
        cells += [_clean(hit.id)] if hit.id != hit.title else []
        line = f"  {hit.rank:2}  {hit.score:.3f}  {'  '.join(cells)}".rstrip()
        lines.append(_cut(line, width))
    return "\n".join(lines)


def _column(hits: Sequence[Hit], name: str, most: int) -> list[str]:
    values = [_cut(_clean(getattr(hit, name)), most) for hit in hits]
    width = max(map(len, values), default=0)
    return [value.ljust(width) for value in values]


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _clean(text: str) -> str:
    """Without characters that would steer a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)
