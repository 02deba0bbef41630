"""The paper's experiments: comparisons of systems, and its results section with our numbers.

`experiments` plans and runs systems × data sets × seeds, `tuning` chooses their settings on
validation pairs, `comparison` averages and tests their scores, `published` holds the paper's
numbers, and `document` writes tables and figures. Each table and figure of the paper is a module
that names the runs it needs and returns a section.
"""

import importlib.util
from collections.abc import Callable

from xgacmn_tf.errors import InputError
from xgacmn_tf.settings.command_line import Settings, interruptible, read_settings, stop


def run_command(
    argv: list[str], kind: type[Settings], description: str, run: Callable[[Settings], int]
) -> None:
    """Run a command of this subpackage; a failure ends the program with one line.

    Args:
      argv: the program's name and its arguments.
      kind: the dataclass of the command's settings.
      description: printed by --help above the flags.
      run: returns the number of failed runs.
    """
    with interruptible("repeat the command to resume"):
        try:
            settings = read_settings(kind, argv, description)
            for name in ("pandas", "tabulate"):
                if importlib.util.find_spec(name) is None:
                    raise InputError(f"{name} is not installed; pip install 'xgacmn_tf[paper]'")
            failures = run(settings)
        except InputError as error:
            stop(str(error))
    if failures:
        stop(f"{failures} runs failed; the tables name them", status=1)
