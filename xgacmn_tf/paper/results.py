"""From what was asked for to the written results."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from xgacmn_tf.paper.experiments import Experiment
from xgacmn_tf.errors import InputError
from xgacmn_tf.paper import (
    document,
    figure_plane,
    figure_precision_scope,
    figures_beyond,
    latex,
    markdown,
    scores,
    table_ablation,
    table_comparison,
)
from xgacmn_tf.paper.document import Section, Table
from xgacmn_tf.paper.runs import Request, Runs

Part = tuple[Callable[[Request], list[Experiment]], Callable[[Runs], Section]]

_FIGURES: dict[str, Part] = {
    "3": (figure_precision_scope.cells, figure_precision_scope.section),
    "4": (figure_plane.cells, figure_plane.section),
    "beyond": (figures_beyond.cells, figures_beyond.section),
}

TITLE = "Results"
INTRODUCTION = (
    "Our measurements beside the paper's printed figures. Every number names its measure, depth, "
    "normaliser, similarity and seeds; queries are all test items of one modality, the gallery all "
    "of the other, i2t is image → text, t2i text → image, avg their mean. X-GACMN has the "
    "settings of its flag files, which were chosen on validation pairs. What could not be run is "
    "named, not filled in."
)


def reproduce(request: Request, tables: Sequence[str], figures: Sequence[str], jobs: int) -> int:
    """Trains, scores and writes; returns how many runs failed.

    Args:
      request: systems, seeds, folders.
      tables, figures: what to write, from `contents`.
      jobs: runs at a time.

    Raises:
      InputError: flag files are missing, a finished run has other settings than are wanted now, or
        the output cannot be written.
    """
    parts = [_table_part(name) for name in tables] + [_FIGURES[name] for name in figures]
    runs = Runs(request, [cell for cells, _ in parts for cell in cells(request)])
    try:
        request.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--output_dir={request.output}: cannot be written ({error.strerror}); name a folder "
            "where you may create files"
        ) from error
    runs.open_data()
    runs.tune(jobs)
    runs.train(jobs)
    finished = [cell for cell in runs.wanted if cell.folder.is_finished()]
    scores.keep_scores(request.output, finished)
    sections = [section(runs) for _, section in parts]
    if runs.missing:
        reasons = list(dict.fromkeys(runs.missing.values()))
        sections.append(Section("Data that were not found", missing=reasons))
    _write(request, sections)
    return len(runs.failed)


def _table_part(name: str) -> Part:
    if name == "3":
        return table_ablation.cells, table_ablation.section
    return (
        functools.partial(table_comparison.cells, table=name),
        functools.partial(table_comparison.section, table=name),
    )


def _write(request: Request, sections: Sequence[Section]) -> None:
    output = request.output
    for section in sections:
        for part in section.parts:
            if isinstance(part, Table) and part.rows:
                document.write_csv(output / "tables" / f"{part.label}.csv", part.rows)
    text = markdown.write(TITLE, INTRODUCTION, sections)
    document.write_text(output / "results.md", text)
    document.write_text(output / "results.tex", latex.write(TITLE, INTRODUCTION, sections))
    print(f"results: {output / 'results.md'}, {output / 'results.tex'}")
