"""Sections as LaTeX, for \\input into a document that loads booktabs and graphicx."""

from __future__ import annotations

from collections.abc import Sequence

from xgacmn_tf.paper.document import Cell, Figure, Section, Table

_STYLES = {"best": r"\textbf{{{}}}", "second": r"\underline{{{}}}", "": "{}"}
# A table that is wider than the text shrinks to it; the others keep their size.
_FIT = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
_CHARACTERS = {
    "\\": r"\textbackslash{}",
    **{character: "\\" + character for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "−": "$-$",
    "–": "--",
    "→": r"$\to$",
    "÷": r"$\div$",
    "×": r"$\times$",
    "<": "$<$",
    ">": "$>$",
    "§": r"\S",
    "…": r"\dots{}",
    "λ": r"$\lambda$",
    "θ": r"$\theta$",
    "χ": r"$\chi$",
    "Δ": r"$\Delta$",
    "‖": r"$\|$",
    "²": r"$^2$",
    "°": r"$^\circ$",
    "√": r"$\surd$",
}


def escape(text: str) -> str:
    """Text as LaTeX that pdfTeX sets."""
    return "".join(_CHARACTERS.get(character, character) for character in text)


def write(title: str, introduction: str, sections: Sequence[Section]) -> str:
    """The whole document, from \\section on."""
    parts = [
        "% Needs \\usepackage[T1]{fontenc}, booktabs and graphicx.",
        rf"\section{{{escape(title)}}}",
        escape(introduction),
    ]
    for section in sections:
        parts += [rf"\subsection{{{escape(section.title)}}}", *map(escape, section.paragraphs)]
        for part in section.parts:
            parts.append(_table(part) if isinstance(part, Table) else _picture(part))
        if section.missing:
            parts.append(_items(section.missing))
    return "\n\n".join(parts) + "\n"


def _table(table: Table) -> str:
    columns = len(table.header)
    lines = [
        r"\begin{table}",
        r"\centering\small",
        rf"\caption{{{escape(table.caption)}}}",
        rf"\label{{tab:{table.label}}}",
        _FIT,
        rf"\begin{{tabular}}{{l{'r' * (columns - 1)}}}",
        r"\toprule",
        " & ".join(map(escape, table.header)) + r" \\",
    ]
    for block in table.blocks:
        lines.append(r"\midrule")
        if block.title:
            lines.append(rf"\multicolumn{{{columns}}}{{l}}{{\emph{{{escape(block.title)}}}}} \\")
        lines += [" & ".join(map(_cell, line)) + r" \\" for line in block.lines]
    lines += [r"\bottomrule", r"\end{tabular}}", r"\end{table}"]
    return "\n".join(lines) + (f"\n{_items(table.notes)}" if table.notes else "")


def _picture(picture: Figure) -> str:
    lines = [
        r"\begin{figure}",
        r"\centering",
        rf"\includegraphics[width=\linewidth]{{{picture.path}}}",
        rf"\caption{{{escape(picture.caption)}}}",
        rf"\label{{fig:{picture.label}}}",
        r"\end{figure}",
    ]
    return "\n".join(lines)


def _items(lines: Sequence[str]) -> str:
    items = "\n".join(rf"\item {escape(line)}" for line in lines)
    return f"\\begin{{itemize}}\n{items}\n\\end{{itemize}}"


def _cell(cell: str | Cell) -> str:
    text, mark = (cell, "") if isinstance(cell, str) else (cell.text, cell.mark)
    return _STYLES[mark].format(escape(text))
