"""Writes the paper's results section with our numbers beside its own.

    python -m xgacmn_tf.reproduce --data_dir=DIR
        everything: DIR holds wikipedia/, pascal_sentence/ and nuswide/, as far as you have them.
    python -m xgacmn_tf.reproduce --tables=openclipart --figures= --models=cca,sm,acmr --seeds=1
        one table, without any data of your own.

Parts: tables 1, 2, 3 and openclipart; figures 3, 4 and beyond, which holds what the paper does not
show. Where data are missing the results say so. The same command goes on where it was interrupted.
Output: OUTPUT_DIR/results.md and results.tex, tables/*.csv, figures/*.png and *.svg, the scores of
every query in scores/, run folders in runs/.
"""

import os
import sys
from pathlib import Path

from absl import flags

from xgacmn_tf.errors import InputError
from xgacmn_tf.paper.contents import FIGURES, TABLES, choose
from xgacmn_tf.settings import flag_files
from xgacmn_tf.settings.command_line import parse, stop

VALUES = flags.FlagValues()
flags.DEFINE_list("tables", list(TABLES), "tables to write; empty for none", flag_values=VALUES)
flags.DEFINE_list("figures", list(FIGURES), "figures to draw; empty for none", flag_values=VALUES)
flags.DEFINE_list("models", ["all"], "systems beside X-GACMN, or all", flag_values=VALUES)
flags.DEFINE_integer("seeds", 5, "seeds 0, 1, … of each run", 1, flag_values=VALUES)
flags.DEFINE_integer(
    "ablation_seeds", None, "the same for Table 3; by default at least 10", 1, flag_values=VALUES
)
flags.DEFINE_string(
    "data_dir", None, "folder that holds the data sets' folders", flag_values=VALUES
)
flags.DEFINE_string(
    "flags_dir",
    str(flag_files.folder()),
    "folder of the settings; by default those that come with the package",
    flag_values=VALUES,
)
flags.DEFINE_string("output_dir", "reproduction", "where to write", flag_values=VALUES)
flags.DEFINE_integer(
    "jobs", os.cpu_count() or 1, "runs at a time, which share the cores", 1, flag_values=VALUES
)


def main(argv: list[str]) -> None:
    parse(VALUES, argv, __doc__)
    try:
        failures = _reproduce()
    except InputError as error:
        stop(str(error))
    except KeyboardInterrupt:
        stop("interrupted; the same command goes on with the runs that are left", status=130)
    if failures:
        stop(f"{failures} runs failed; the results name them", status=1)


def _reproduce() -> int:
    """Trains what is open and writes the results; returns how many runs failed."""
    tables = choose("tables", VALUES.tables, TABLES)
    figures = choose("figures", VALUES.figures, FIGURES)
    if not tables and not figures:
        raise InputError("--tables= --figures=: nothing is left to write; name some of either")
    # Imported here: TensorFlow takes seconds to load, and a mistake need not wait for it.
    from xgacmn_tf.paper import results
    from xgacmn_tf.paper.runs import Request, choose_rivals

    request = Request(
        rivals=choose_rivals(VALUES.models),
        seeds=VALUES.seeds,
        ablation_seeds=VALUES.ablation_seeds or max(VALUES.seeds, 10),
        flags_dir=Path(VALUES.flags_dir),
        data_dir=None if VALUES.data_dir is None else Path(VALUES.data_dir),
        output=Path(VALUES.output_dir),
    )
    return results.reproduce(request, tables, figures, VALUES.jobs)


if __name__ == "__main__":
    main(sys.argv)
