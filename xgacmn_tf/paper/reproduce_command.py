"""The command that writes the paper's results section with our numbers beside its own.

    python -m xgacmn_tf.reproduce --data_dir=DIR
        everything; DIR holds wikipedia/, pascal_sentence/ and nuswide/, as far as you have them.
    python -m xgacmn_tf.reproduce --tables=openclipart --figures= --models=cca,sm,acmr --seeds=1
        one table, without any data of your own.

Parts: tables 1, 2, 3 and openclipart; figures 3, 4 and beyond (what the paper does not show). If
data are missing, the results name them. To resume an interrupted command, repeat it. Output:
OUTPUT_DIR/results.md and results.tex, tables/*.csv, figures/*.png and *.svg, the scores of every
query in scores/, run folders in runs/.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from xgacmn_tf.errors import InputError
from xgacmn_tf.paper import run_command
from xgacmn_tf.settings import flag_files
from xgacmn_tf.settings.fields import Section, setting

TABLES = ("1", "2", "3", "openclipart")
FIGURES = ("3", "4", "beyond")

TITLE = "Results"
INTRODUCTION = (
    "Our measurements beside the paper's printed numbers. Every number names its measure, depth, "
    "normalizer, similarity and seeds; queries are all test items of one modality, the gallery all "
    "of the other, i2t is image → text, t2i text → image, avg their mean. X-GACMN has the settings "
    "of its flag files, which were chosen on validation pairs. What could not be run is named, not "
    "filled in."
)


@dataclasses.dataclass(frozen=True)
class Reproduction(Section):
    """The parts to write, their systems and seeds, and folders."""

    tables: tuple[str, ...] = setting(TABLES, "tables to write; empty for none", choices=TABLES)
    figures: tuple[str, ...] = setting(FIGURES, "figures to draw; empty for none", choices=FIGURES)
    models: tuple[str, ...] = setting(("all",), "systems beside X-GACMN, or all")
    seeds: int = setting(5, "number of seeds 0, 1, … of each run", minimum=1)
    ablation_seeds: int | None = setting(
        None, "the same for Table 3; by default at least 10", minimum=1
    )
    data_dir: str | None = setting(None, "folder above the data sets' folders")
    flags_dir: str = setting(
        str(flag_files.folder()), "folder of the flag files; by default those of the package"
    )
    output_dir: str = setting("reproduction", "folder of all output")
    jobs: int = setting(os.cpu_count() or 1, "number of runs at a time", minimum=1)


def main(argv: list[str]) -> None:
    """Run the command; a failure ends the program with one line."""
    run_command(argv, Reproduction, str(__doc__), reproduce)


def reproduce(settings: Reproduction) -> int:
    """Run, score and write; return the number of failed runs.

    Raises:
      InputError: flag files are missing, a finished run has other settings than requested, or the
        output cannot be written.
    """
    if not settings.tables and not settings.figures:
        raise InputError("--tables= --figures=: there is nothing to write; name some of either")
    if settings.data_dir is not None and not Path(settings.data_dir).is_dir():
        raise InputError(f"--data_dir={settings.data_dir}: there is no such folder")
    # Imported here, because they take seconds to load, above all TensorFlow.
    from xgacmn_tf.paper.runs import Request, Runs, choose_compared

    compared_systems = choose_compared(settings.models)
    from xgacmn_tf.paper import (
        document,
        figure_plane,
        figure_precision_scope,
        figures_beyond,
        scores,
        table_ablation,
        table_comparison,
    )

    request = Request(
        compared=compared_systems,
        seeds=settings.seeds,
        ablation_seeds=settings.ablation_seeds or max(settings.seeds, 10),
        flags_dir=Path(settings.flags_dir),
        data_dir=None if settings.data_dir is None else Path(settings.data_dir),
        output=Path(settings.output_dir),
    )
    compared = {name: table_comparison.Part(name) for name in table_comparison.TITLES}
    tables = compared | {"3": table_ablation}
    figures = {"3": figure_precision_scope, "4": figure_plane, "beyond": figures_beyond}
    # Each has the runs that it needs and its section.
    parts: list[Any] = [tables[name] for name in TABLES if name in settings.tables]
    parts += [figures[name] for name in FIGURES if name in settings.figures]
    runs = Runs(request, [run for part in parts for run in part.experiments(request)])
    try:
        request.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--output_dir={request.output}: cannot be written ({error.strerror}); name a folder "
            "where you may create files"
        ) from error
    runs.make(settings.jobs)
    scores.write_scores(request.output, [r for r in runs.experiments if r.folder.is_finished()])
    sections = [part.section(runs) for part in parts]
    if runs.missing:
        reasons = list(dict.fromkeys(runs.missing.values()))
        sections.append(document.Section("Missing data", missing=reasons))
    for table in (part for section in sections for part in section.parts):
        if isinstance(table, document.Table) and len(table.values):
            document.write_text(request.output / "tables" / f"{table.label}.csv", table.csv())
    markdown, latex = request.output / "results.md", request.output / "results.tex"
    document.write_text(markdown, document.markdown(TITLE, INTRODUCTION, sections))
    document.write_text(latex, document.latex(TITLE, INTRODUCTION, sections))
    print(f"results: {markdown}, {latex}")
    return len(runs.failed)
