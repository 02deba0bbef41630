"""Programs of this installation as they are typed in a shell."""

import shlex
import shutil
import sys
from pathlib import Path


def program(script: str, module: str) -> str:
    """Return the start of a command line that runs a program of this Python environment.

    Args:
      script: the name of its console script, which is returned if a shell finds this one.
      module: what `python -m` runs instead, such as where the environment is not activated.
    """
    found, python = shutil.which(script), Path(sys.executable)
    if found and Path(found).resolve().parent == python.parent.resolve():
        return script
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    return f"{shlex.quote(str(python))} -m {module}"
