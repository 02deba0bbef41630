"""Provenance of results: versions of this package and its libraries, and the commit."""

import platform
import subprocess
from pathlib import Path
from types import ModuleType

import keras
import numpy as np
import scipy
import sklearn
import tensorflow as tf

from xgacmn_tf.version import __version__


def versions(*more: ModuleType) -> dict[str, str]:
    """Return package → version, of the dependencies of training and of `more` modules."""
    packages = (tf, keras, np, scipy, sklearn, *more)
    return {
        "python": platform.python_version(),
        "xgacmn_tf": __version__,
        **{package.__name__: package.__version__ for package in packages},
    }


def git_commit() -> str | None:
    """Return the commit of this package's checkout, "-dirty" if files differ; None without one."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - fixed
        return done.stdout.strip()

    try:
        # An installed copy may be inside the checkout of another project.
        git("ls-files", "--error-unmatch", Path(__file__).name)
        return git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return None
