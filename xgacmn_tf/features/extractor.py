"""Base class of feature extractors, which turn items into rows of numbers."""

import abc
import contextlib
import hashlib
import importlib.util
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from xgacmn_tf import shell
from xgacmn_tf.errors import InputError, one_line
from xgacmn_tf.io.files import write_json

MANIFEST = "extractor.json"
NO_DEPS = "--no-deps "


class Extractor(abc.ABC):
    """Turns images, or texts, into features.

    The work on one item (`prepare`) and the work on a batch (`encode`) are apart, because the
    first runs in several threads and the second is what fills an accelerator.

    Attributes:
        name: its name in commands.
        modality: "image" (items are RGB `PIL.Image`s) or "text" (items are strings).
        learns: whether `fit` must see the training split first.
        fit_limit: most training items that `fit` is given; None for all of them.
        batch_size: items that are encoded at once. It can be changed at any time, as features do
            not depend on it but for rounding.
    """

    name: str
    modality: ClassVar[str]
    learns: ClassVar[bool] = False
    fit_limit: ClassVar[int | None] = None
    batch_size: int = 32

    @property
    @abc.abstractmethod
    def dim(self) -> int:
        """The number of features. An extractor that learns knows it after `fit`."""

    @abc.abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return all that the features depend on except data, for JSON; weights as a hash."""

    def fit(self, items: Iterable[Any]) -> None:
        """Learn from training items, which are read once. Most extractors do not learn."""
        raise TypeError(f"{self.name} does not learn")

    def prepare(self, item: Any) -> Any:
        """Return the input of `encode` for one item; thread-safe."""
        return item

    @abc.abstractmethod
    def encode(self, prepared: Sequence[Any]) -> np.ndarray:
        """Return (n, dim) float32 features of n prepared items, each as if it stood alone."""

    def missing(self) -> tuple[str, ...]:
        """Return missing requirements of `encode`, as arguments of `install_command`."""
        return ()

    def check(self) -> None:
        """Check the requirements of `encode`, without loading them.

        Raises:
            InputError: a package or weights are missing, or the weights have changed.
        """
        if self.missing():
            raise InputError(
                f"{self.name} features need what is not installed; run "
                f"`{install_command(self.missing())}`"
            )

    def save(self, folder: Path) -> None:
        """Write all that `load_extractor` needs; the manifest, which marks completeness, is last.

        JSON, `.npz` and Keras files only: nothing in them is executed on loading.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._save_files(folder)
        self.save_manifest(folder)

    def save_manifest(self, folder: Path) -> None:
        """Write name, modality and settings, without the other files."""
        manifest = {"modality": self.modality, "name": self.name, "settings": self.settings()}
        write_json(folder / MANIFEST, manifest)

    @abc.abstractmethod
    def _save_files(self, folder: Path) -> None: ...

    @classmethod
    @abc.abstractmethod
    def _load(cls, folder: Path, name: str, settings: dict[str, Any]) -> Self: ...


def file_hash(path: Path) -> str:
    """SHA-256 (hex) of a file, or of all files under a folder with their names."""
    digest = hashlib.sha256()
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for file in files:
        if path.is_dir():
            digest.update(f"{file.relative_to(path)}\0{file.stat().st_size}\0".encode())
        with open(file, "rb") as stream:
            while block := stream.read(2**20):
                digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def readable(path: Path, kind: str, expected: str) -> Iterator[None]:
    """Turn any error of the block into an `InputError` that says what was expected at `path`.

    Args:
        path: the file or folder that the block reads.
        kind: what it cannot be read as, with an article.
        expected: what it should be.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # A crafted or cut file fails in a dozen ways.
        raise InputError(
            f"{path}: cannot be read as {kind} ({one_line(error)}); expected {expected}"
        ) from error


def install_command(requirements: Iterable[str]) -> str:
    """Return the command that installs requirements.

    Args:
        requirements: as pip takes them; those that begin with "--no-deps " are installed without
            their dependencies, because only their data are wanted.
    """
    unique = sorted(set(requirements))
    alone = [each.removeprefix(NO_DEPS) for each in unique if each.startswith(NO_DEPS)]
    others = [each for each in unique if not each.startswith(NO_DEPS)]
    install = f"{shell.program('pip', 'pip')} install"
    commands = [f"{install} {shlex.join(others)}"] if others else []
    commands += [f"{install} {NO_DEPS}{shlex.join(alone)}"] if alone else []
    return " && ".join(commands)


def package_folder(package: str) -> Path | None:
    """Return the folder of an installed top-level package, without running its code."""
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    return Path(folders[0]) if folders else None
