"""Sections as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from xgacmn_tf.paper.document import Cell, Figure, Section, Table

_STYLES = {"best": "**{}**", "second": "<u>{}</u>", "": "{}"}


def write(title: str, introduction: str, sections: Sequence[Section]) -> str:
    """The whole document."""
    parts = [f"# {title}", introduction]
    for section in sections:
        parts += [f"## {section.title}", *section.paragraphs]
        for part in section.parts:
            parts.append(_table(part) if isinstance(part, Table) else _picture(part))
        if section.missing:
            parts.append("\n".join(f"- {line}" for line in section.missing))
    return "\n\n".join(parts) + "\n"


def _table(table: Table) -> str:
    lines = [list(table.header), ["---", *["---:"] * (len(table.header) - 1)]]
    for block in table.blocks:
        if block.title:
            lines.append([f"*{block.title}*", *[""] * (len(table.header) - 1)])
        lines += [[_cell(cell) for cell in line] for line in block.lines]
    rows = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    notes = "".join(f"\n- {note}" for note in table.notes)
    return f"**{table.caption}**\n\n{rows}" + (f"\n{notes}" if notes else "")


def _picture(picture: Figure) -> str:
    return f"![{picture.label}]({picture.path})\n\n**{picture.caption}**"


def _cell(cell: str | Cell) -> str:
    text, mark = (cell, "") if isinstance(cell, str) else (cell.text, cell.mark)
    return _STYLES[mark].format(text.replace("|", r"\|"))
