"""Tables, figures and sections, written as Markdown, LaTeX and CSV."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from xgacmn_tf.io.files import atomic_path

_MARKDOWN = {"best": "**{}**", "second": "<u>{}</u>", "": "{}", "group": "*{}*"}
_LATEX = {"best": r"\textbf{{{}}}", "second": r"\underline{{{}}}", "": "{}"}
_LATEX["group"] = r"\midrule \emph{{{}}}"
# A table that is wider than the text is scaled down to it.
_FIT = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
# The characters of our texts that LaTeX treats specially, or that pdfTeX does not know.
_LATEX_CHARACTERS = str.maketrans(
    {character: "\\" + character for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"±": r"$\pm$", "−": "$-$", "–": "--", "→": r"$\to$", "÷": r"$\div$", "×": r"$\times$"}
    | {"<": "$<$", ">": "$>$", "‖": r"$\|$", "²": r"$^2$", "°": r"$^\circ$", "√": r"$\surd$"}
    | {"§": r"\S", "…": r"\dots{}", "λ": r"$\lambda$", "θ": r"$\theta$", "χ": r"$\chi$"}
    | {"Δ": r"$\Delta$"}
)


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """A table.

    Attributes:
      label: name of its files and of its LaTeX label.
      caption: states the measure, depth, normalizer, similarity and seeds.
      cells: the printed cells. Rows with the same index value form a group, whose title it is; the
        title of a group without one is empty.
      values: the unrounded values for the CSV file.
      marks: column of `cells` → "best", "second" or "" for each row.
      notes: sentences below the table, one per line.
    """

    label: str
    caption: str
    cells: pd.DataFrame
    values: pd.DataFrame
    marks: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    notes: Sequence[str] = ()

    def markdown(self) -> str:
        """The table with its caption and notes as Markdown."""
        cells = self._styled(_MARKDOWN, lambda text: text.replace("|", r"\|"))
        align = ("left", *["right"] * (len(cells.columns) - 1))
        rows = cells.to_markdown(index=False, disable_numparse=True, colalign=align)
        notes = "".join(f"\n- {note}" for note in self.notes)
        return f"**{self.caption}**\n\n{rows}" + (f"\n{notes}" if notes else "")

    def latex(self) -> str:
        """The table with its caption and notes as LaTeX that needs booktabs and graphicx."""
        cells = self._styled(_LATEX, escape_latex)
        columns = "l" + "r" * (len(cells.columns) - 1)
        tabular = cells.style.hide(axis="index").to_latex(hrules=True, column_format=columns)
        notes = f"\n{_latex_items(self.notes)}" if self.notes else ""
        heading = rf"\caption{{{escape_latex(self.caption)}}}" + f"\n\\label{{tab:{self.label}}}"
        content = f"{heading}\n{_FIT}\n{tabular.rstrip()}}}"
        return f"\\begin{{table}}\n\\centering\\small\n{content}\n\\end{{table}}{notes}"

    def csv(self) -> str:
        """The values as CSV; a missing one is an empty field."""
        return self.values.to_csv(index=False, lineterminator="\n")

    def _styled(self, styles: Mapping[str, str], escape: Callable[[str], str]) -> pd.DataFrame:
        """The cells with their marks, and a row with the title before each group."""
        cells = self.cells.map(escape)
        for column, marks in self.marks.items():
            pairs = zip(cells[column], marks, strict=True)
            cells[column] = [styles[mark].format(cell) for cell, mark in pairs]
        cells.columns = cells.columns.map(escape)
        rows: list[list[str]] = []
        for title, group in cells.groupby(level=0, sort=False):
            if title:
                heading = styles["group"].format(escape(str(title)))
                # The header already ends in a rule.
                heading = heading if rows else heading.removeprefix(r"\midrule ")
                rows.append([heading, *[""] * (len(cells.columns) - 1)])
            rows += group.to_numpy().tolist()
        return pd.DataFrame(rows, columns=cells.columns)


@dataclasses.dataclass(frozen=True)
class Figure:
    """A drawn figure.

    Attributes:
      label: name of its files and of its LaTeX label.
      caption: states what is shown.
      path: its PNG file, relative to the document; an SVG file of that name is beside it.
    """

    label: str
    caption: str
    path: str

    def markdown(self) -> str:
        """The figure with its caption as Markdown."""
        return f"![{self.label}]({self.path})\n\n**{self.caption}**"

    def latex(self) -> str:
        """The figure with its caption as LaTeX that needs graphicx."""
        image = rf"\includegraphics[width=\linewidth]{{{self.path}}}"
        caption = rf"\caption{{{escape_latex(self.caption)}}}" + f"\n\\label{{fig:{self.label}}}"
        return f"\\begin{{figure}}\n\\centering\n{image}\n{caption}\n\\end{{figure}}"


@dataclasses.dataclass(frozen=True)
class Section:
    """A titled part of the document: tables and figures, then what is missing and why."""

    title: str
    parts: Sequence[Table | Figure] = ()
    missing: Sequence[str] = ()


def markdown(title: str, introduction: str, sections: Sequence[Section]) -> str:
    """The whole document as Markdown."""
    blocks = [f"# {title}", introduction]
    for section in sections:
        blocks += [f"## {section.title}", *(part.markdown() for part in section.parts)]
        if section.missing:
            blocks.append("\n".join(f"- {line}" for line in section.missing))
    return "\n\n".join(blocks) + "\n"


def latex(title: str, introduction: str, sections: Sequence[Section]) -> str:
    r"""The whole document as LaTeX, for \input."""
    blocks = [
        "% Needs \\usepackage[T1]{fontenc}, booktabs and graphicx.",
        rf"\section{{{escape_latex(title)}}}",
        escape_latex(introduction),
    ]
    for section in sections:
        blocks.append(rf"\subsection{{{escape_latex(section.title)}}}")
        blocks += [part.latex() for part in section.parts]
        if section.missing:
            blocks.append(_latex_items(section.missing))
    return "\n\n".join(blocks) + "\n"


def _latex_items(lines: Sequence[str]) -> str:
    items = "\n".join(rf"\item {escape_latex(line)}" for line in lines)
    return f"\\begin{{itemize}}\n{items}\n\\end{{itemize}}"


def escape_latex(text: str) -> str:
    """Text as LaTeX that pdfTeX can typeset."""
    return text.translate(_LATEX_CHARACTERS)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def number(value: float | None, digits: int = 3) -> str:
    """Return the value without a leading zero: .342, −.013; a dash for None."""
    if value is None:
        return "–"
    text = f"{abs(value):.{digits}f}".removeprefix("0")
    return f"−{text}" if value < 0 and float(f"{value:.{digits}f}") != 0 else text


def p_value(value: float | None) -> str:
    """A p-value, or a dash for the row that the others are tested against."""
    if value is None:
        return "–"
    return "< .001" if value < 0.001 else number(value)


def spread(values: np.ndarray | None) -> str:
    """Mean ± standard deviation over seeds; the mean alone of one seed, a dash of none."""
    if values is None:
        return "–"
    mean = number(float(values.mean()))
    return mean if len(values) < 2 else f"{mean} ± {number(deviation(values))}"


def deviation(values: np.ndarray | pd.Series) -> float | None:
    """The standard deviation over seeds, None for a single seed."""
    return float(values.std(ddof=1)) if len(values) > 1 else None


def means(values: Mapping[str, np.ndarray | None]) -> dict[str, float | None]:
    """Return name → mean over seeds, and name + "_sd" → standard deviation, for a CSV file."""
    scores: dict[str, float | None] = {}
    for name, seeds in values.items():
        scores[name] = None if seeds is None else float(seeds.mean())
        scores[f"{name}_sd"] = None if seeds is None else deviation(seeds)
    return scores


def seeds_in_words(count: int) -> str:
    """The seeds, as a caption names them."""
    return "seed 0" if count == 1 else f"mean ± sd over seeds 0–{count - 1}"


def marks(values: Sequence[float | None], groups: Sequence[str | None] | None = None) -> list[str]:
    """ "best", "second" or "" for each value of a column.

    Args:
      values: values that are equal when printed share a mark; None has none.
      groups: the group that each value is ranked in; by default all form one. Values of the group
        None are not ranked.
    """
    groups = [""] * len(values) if groups is None else groups
    rounded = pd.Series(values, dtype=float).round(3)
    ranks = rounded.groupby(pd.Series(groups, dtype=object)).rank(method="dense", ascending=False)
    return ranks.map({1.0: "best", 2.0: "second"}).fillna("").tolist()
