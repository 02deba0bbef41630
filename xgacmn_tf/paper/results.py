"""The results section: runs, scores and writes all of its parts."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from xgacmn_tf.errors import InputError
from xgacmn_tf.paper import (
    document,
    figure_plane,
    figure_precision_scope,
    figures_beyond,
    scores,
    table_ablation,
    table_comparison,
)
from xgacmn_tf.paper.document import Section, Table
from xgacmn_tf.paper.experiments import Experiment
from xgacmn_tf.paper.runs import Request, Runs

# The runs that a part needs, and its section.
Part = tuple[Callable[[Request], list[Experiment]], Callable[[Runs], Section]]

_FIGURES: dict[str, Part] = {
    "3": (figure_precision_scope.experiments, figure_precision_scope.section),
    "4": (figure_plane.experiments, figure_plane.section),
    "beyond": (figures_beyond.experiments, figures_beyond.section),
}

TITLE = "Results"
INTRODUCTION = (
    "Our measurements beside the paper's printed numbers. Every number names its measure, depth, "
    "normalizer, similarity and seeds; queries are all test items of one modality, the gallery all "
    "of the other, i2t is image → text, t2i text → image, avg their mean. X-GACMN has the settings "
    "of its flag files, which were chosen on validation pairs. What could not be run is named, not "
    "filled in."
)


def reproduce(request: Request, tables: Sequence[str], figures: Sequence[str], jobs: int) -> int:
    """Run, score and write; return the number of failed runs.

    Args:
      request: systems, seeds and folders.
      tables, figures: the parts, of `reproduce_command.TABLES` and `FIGURES`.
      jobs: number of runs at a time.

    Raises:
      InputError: flag files are missing, a finished run has other settings than requested, or the
        output cannot be written.
    """
    parts = [_table_part(name) for name in tables] + [_FIGURES[name] for name in figures]
    runs = Runs(request, [run for experiments, _ in parts for run in experiments(request)])
    try:
        request.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--output_dir={request.output}: cannot be written ({error.strerror}); name a folder "
            "where you may create files"
        ) from error
    runs.open_data()
    runs.tune(jobs)
    runs.run(jobs)
    finished = [run for run in runs.experiments if run.folder.is_finished()]
    scores.write_scores(request.output, finished)
    sections = [section(runs) for _, section in parts]
    if runs.missing:
        reasons = list(dict.fromkeys(runs.missing.values()))
        sections.append(Section("Missing data", missing=reasons))
    _write(request, sections)
    return len(runs.failed)


def _table_part(name: str) -> Part:
    if name == "3":
        return table_ablation.experiments, table_ablation.section
    return (
        functools.partial(table_comparison.experiments, table=name),
        functools.partial(table_comparison.section, table=name),
    )


def _write(request: Request, sections: Sequence[Section]) -> None:
    output = request.output
    for part in (part for section in sections for part in section.parts):
        if isinstance(part, Table) and len(part.values):
            document.write_text(output / "tables" / f"{part.label}.csv", part.csv())
    texts = (TITLE, INTRODUCTION, sections)
    document.write_text(output / "results.md", document.markdown(*texts))
    document.write_text(output / "results.tex", document.latex(*texts))
    print(f"results: {output / 'results.md'}, {output / 'results.tex'}")
