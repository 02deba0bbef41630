"""User-defined systems, in a Python file that the command line names."""

import dataclasses
import hashlib
import importlib.util
import sys
import typing
from pathlib import Path
from types import ModuleType

from xgacmn_tf.errors import InputError
from xgacmn_tf.names import CODE_SIMILARITIES, OWN_METHOD

if typing.TYPE_CHECKING:
    from xgacmn_tf.baselines import System


def load_own_system(model: str) -> "System":
    """Import the file of "path/to/file.py:NAME" and return its `System`.

    The file is executed, so `model` must come from the user's command line, never from a run
    folder or another file. It is imported once per process.

    Raises:
      InputError: the file is missing or fails, or it has no such system.
    """
    from xgacmn_tf.baselines import System

    own = OWN_METHOD.match(model)
    assert own is not None
    flag, path = f"--model={model}", Path(own["path"]).expanduser()
    if not path.is_file():
        raise InputError(f"{flag}: there is no file {path} in {Path.cwd()}; give its path")
    system = getattr(_import(flag, path.resolve()), own["name"], None)
    if not isinstance(system, System):
        raise InputError(
            f"{flag}: {path} has no System called {own['name']}; define one as in "
            "docs/own_methods.md"
        )
    if system.similarity not in CODE_SIMILARITIES:
        raise InputError(
            f"{flag}: its similarity is {system.similarity!r}; expected one of "
            f"{', '.join(CODE_SIMILARITIES)}"
        )
    try:
        if not dataclasses.is_dataclass(system.settings):
            raise TypeError("no dataclass")
        system.settings()
    except TypeError as error:
        raise InputError(
            f"{flag}: its settings are not a dataclass whose fields all have defaults ({error})"
        ) from error
    return system


def _import(flag: str, path: Path) -> ModuleType:
    # Two files may have the same name.
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:8]
    name = f"xgacmn_tf_own_{path.stem}_{digest}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Dataclasses look their module up.
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise InputError(
            f"{flag}: {path} cannot be imported ({type(error).__name__}: {error})"
        ) from error
    return module
