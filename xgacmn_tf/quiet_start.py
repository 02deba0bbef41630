"""Import of TensorFlow without its start-up lines on the terminal.

TensorFlow's libraries write to file descriptor 2 before any setting of theirs is read, and report a
missing GPU driver as an error. `install`, which the package's `__init__` calls, therefore holds the
descriptor in a temporary file while TensorFlow is imported, whichever module imports it first.
Afterwards everything is written to the terminal except for known lines that nobody can act on. If
the import fails, all lines are written.

TF_CPP_MIN_LOG_LEVEL=0 in the environment shows every line at once, also those of an import that
ends the process. By default the variable is 2, which shows errors.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_NO_DRIVER = rb"Could not find cuda drivers on your machine"
# Error 303 of cuInit means that there is no driver; errors of a driver that is there are shown.
_NOISE = re.compile(
    rb"^(WARNING: All log messages before absl::InitializeLog\(\) is called"
    rb"|To enable the following instructions: .* rebuild TensorFlow"
    rb"|.*\b(cpu_feature_guard\.cc:\d+\] This TensorFlow binary is optimized"
    rb"|port\.cc:\d+\] oneDNN custom operations are on"
    rb"|util\.cc:\d+\] oneDNN supports DT_\w+ only on platforms with AVX-512"
    rb"|cuda_platform\.cc:\d+\] failed call to cuInit: .*\(303\)"
    rb"|cudart_stub\.cc:\d+\] " + _NO_DRIVER + rb"))"
)


def install() -> None:
    """Make the first import of TensorFlow in this process quiet."""
    if "tensorflow" not in sys.modules and not any(isinstance(f, _Finder) for f in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder:
    """Finds TensorFlow as the other finders do, with a loader that imports it quietly."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "tensorflow":
            return None
        others = [finder for finder in sys.meta_path if finder is not self]
        specs = (finder.find_spec(name, path, target) for finder in others)
        spec = next(filter(None, specs), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self)  # type: ignore[assignment]
        return spec


class _Loader:
    """A module's own loader, which stands here only until the module is executed."""

    def __init__(self, loader: Any, finder: _Finder):
        self._loader, self._finder = loader, finder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        if os.environ.setdefault(LEVEL, "2") in ("0", "1"):
            self._loader.exec_module(module)
        else:
            with _held_stderr() as held:
                self._loader.exec_module(module)
            if _NO_DRIVER in b"".join(held):
                # TensorFlow would report that again when it first looks for devices.
                with _held_stderr():
                    module.config.list_physical_devices()
            with contextlib.suppress(ImportError, AttributeError):
                _quiet_first_operation(module)
        with contextlib.suppress(ValueError):
            sys.meta_path.remove(self._finder)


def _quiet_first_operation(tensorflow: ModuleType) -> None:
    """Hold the lines that TensorFlow writes when its first operation starts the devices.

    Once in a process, the first transposition of integers reports that oneDNN does not have their
    type, as an error. It is provoked here, for TensorFlow has no setting against it.
    """
    from tensorflow.python.eager.context import Context

    start, lock = Context.ensure_initialized, threading.Lock()

    def ensure_initialized(context: Context) -> None:
        # A second thread that came here at the same time must not hold the descriptor, too.
        with lock:
            if Context.ensure_initialized is not start:
                Context.ensure_initialized = start
                with _held_stderr():
                    start(context)
                    with tensorflow.device("CPU"):
                        tensorflow.transpose(tensorflow.zeros((1, 1), tensorflow.int64))
        start(context)

    Context.ensure_initialized = ensure_initialized


@contextlib.contextmanager
def _held_stderr() -> Iterator[list[bytes]]:
    """Hold file descriptor 2 during the block, then write all but the known lines to it.

    Lines of other threads are held as well. If the block raises an error, all lines are written.

    Yields:
      A list, which receives all lines at the end of the block.
    """
    import tempfile

    held: list[bytes] = []
    with contextlib.ExitStack() as stack:
        try:
            stderr = os.dup(2)
            stack.callback(os.close, stderr)
            file = stack.enter_context(tempfile.TemporaryFile())
        except OSError:  # There is no standard error, or no place for files.
            yield held
            return
        if not faulthandler.is_enabled():
            # Shows where TensorFlow ends a process, as it does on an old processor.
            faulthandler.enable(stderr)
            stack.callback(faulthandler.disable)
        _flush()
        os.dup2(file.fileno(), 2)
        hidden = re.compile(b"(?!)")
        try:
            yield held
            hidden = _NOISE
        finally:
            _flush()
            os.dup2(stderr, 2)
            file.seek(0)
            held += file
            with contextlib.suppress(OSError), open(2, "wb", closefd=False) as terminal:
                terminal.writelines(line for line in held if not hidden.match(line))


def _flush() -> None:
    # Standard error may be missing or closed.
    with contextlib.suppress(AttributeError, ValueError, OSError):
        sys.stderr.flush()
