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

import os
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from xgacmn_tf.errors import InputError
from xgacmn_tf.paper import check_requirements
from xgacmn_tf.settings import flag_files
from xgacmn_tf.settings.command_line import parse, stop

TABLES = ("1", "2", "3", "openclipart")
FIGURES = ("3", "4", "beyond")

VALUES = flags.FlagValues()
flags.DEFINE_list("tables", list(TABLES), "tables to write; empty for none", flag_values=VALUES)
flags.DEFINE_list("figures", list(FIGURES), "figures to draw; empty for none", flag_values=VALUES)
flags.DEFINE_list("models", ["all"], "systems beside X-GACMN, or all", flag_values=VALUES)
flags.DEFINE_integer("seeds", 5, "number of seeds 0, 1, … of each run", 1, flag_values=VALUES)
flags.DEFINE_integer(
    "ablation_seeds", None, "the same for Table 3; by default at least 10", 1, flag_values=VALUES
)
flags.DEFINE_string("data_dir", None, "folder above the data sets' folders", flag_values=VALUES)
flags.DEFINE_string(
    "flags_dir",
    str(flag_files.folder()),
    "folder of the flag files; by default those of the package",
    flag_values=VALUES,
)
flags.DEFINE_string("output_dir", "reproduction", "folder of all output", flag_values=VALUES)
flags.DEFINE_integer("jobs", os.cpu_count() or 1, "number of runs at a time", 1, flag_values=VALUES)


def main(argv: list[str]) -> None:
    """Run the command; a failure ends the program with one line."""
    parse(VALUES, argv, __doc__ or "")
    try:
        check_requirements()
        failures = _reproduce()
    except InputError as error:
        stop(str(error))
    except KeyboardInterrupt:
        stop("interrupted; repeat the command to resume", status=130)
    if failures:
        stop(f"{failures} runs failed; the results name them", status=1)


def _reproduce() -> int:
    """Run the unfinished experiments and write the results; return the number of failed runs."""
    tables = choose_parts("tables", VALUES.tables, TABLES)
    figures = choose_parts("figures", VALUES.figures, FIGURES)
    if not tables and not figures:
        raise InputError("--tables= --figures=: there is nothing to write; name some of either")
    # Imported here, because TensorFlow takes seconds to load.
    from xgacmn_tf.paper import results
    from xgacmn_tf.paper.runs import Request, choose_compared

    request = Request(
        compared=choose_compared(VALUES.models),
        seeds=VALUES.seeds,
        ablation_seeds=VALUES.ablation_seeds or max(VALUES.seeds, 10),
        flags_dir=Path(VALUES.flags_dir),
        data_dir=None if VALUES.data_dir is None else Path(VALUES.data_dir),
        output=Path(VALUES.output_dir),
    )
    return results.reproduce(request, tables, figures, VALUES.jobs)


def choose_parts(flag: str, names: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Return the named parts in the paper's order.

    Args:
      flag: name of the flag, for the message.
      names: its value; an empty list or one empty string names none.
      known: the parts that exist.

    Raises:
      InputError: a part does not exist.
    """
    unknown = [name for name in names if name and name not in known]
    if unknown:
        raise InputError(
            f"--{flag}={','.join(names)}: there is no {', '.join(unknown)}; expected some of "
            f"{', '.join(known)}, or --{flag}= for none"
        )
    return tuple(name for name in known if name in names)
