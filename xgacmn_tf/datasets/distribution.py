"""Folders that a user fetched by hand: finding what is needed in them, or one message that says
which files are missing, where they come from and how they are laid out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xgacmn_tf.errors import InputError

PICKLE_SUFFIXES = (".pkl", ".pickle", ".p")
_SHOWN = 5


@dataclass(frozen=True)
class Distribution:
    """How a data set is handed out.

    Attributes:
        name: as `datasets.load` calls it.
        layout: what lies where in the folder, in a sentence.
        origin: who hands the files out, in a sentence.
        below: names of a folder that its archive may have put around everything.
    """

    name: str
    layout: str
    origin: str
    below: tuple[str, ...] = ()

    @property
    def instructions(self) -> str:
        """What TFDS shows where nothing is in its manual folder."""
        return f"{self.origin} {self.layout}"

    def find(self, data_dir: str | None, needed: Sequence[str]) -> Path:
        """`data_dir`, or the folder in it named by `below`, whichever holds all of `needed`.

        Args:
            data_dir: as the user gave it.
            needed: relative paths of files and folders.

        Raises:
            InputError: if `data_dir` is None, or neither folder holds everything.
        """
        if data_dir is None:
            raise InputError(
                f"Data set {self.name!r} needs data_dir, the folder that holds "
                f"{', '.join(needed)}. {self.instructions}"
            )
        folders = [Path(data_dir), *(Path(data_dir) / name for name in self.below)]
        missing = {f: [path for path in needed if not (f / path).exists()] for f in folders}
        # The folder that lacks least is the one meant; the outer one where they are equal.
        folder = min(folders, key=lambda candidate: len(missing[candidate]))
        if missing[folder]:
            raise self.missing(folder, missing[folder])
        return folder

    def missing(self, folder: Path, paths: Sequence[str], note: str = "") -> InputError:
        """The error for files that are not there; `note` says what else would do."""
        shown = ", ".join(paths[:_SHOWN])
        if len(paths) > _SHOWN:
            shown += f" and {len(paths) - _SHOWN:,} more"
        pickles = []
        if folder.is_dir():
            pickles = sorted(p for p in folder.iterdir() if p.suffix.lower() in PICKLE_SUFFIXES)
        return InputError(
            " ".join(
                part
                for part in (
                    f"Missing in {folder}: {shown}.",
                    note,
                    self.instructions,
                    pickle_note(pickles[0]) if pickles else "",
                )
                if part
            )
        )


def pickle_note(path: Path) -> str:
    """Why a pickled release is not read, and how to turn it into a feature file."""
    return (
        f"{path} is a pickle, and reading a pickle can run any program hidden in it, so none is "
        "ever read here. Where you trust its source, convert it once: load its arrays with pickle "
        "(encoding='latin1' for those of Python 2), save them with np.savez('features.npz', "
        "image_train=…, text_train=…, label_train=…, image_test=…, text_test=…, label_test=…), "
        "labels from 0, and name that file as the data set."
    )


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, with or without a byte order mark.

    Raises:
        InputError: if it is not UTF-8, naming the line.
    """
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path} is not UTF-8 text: line {line} holds the byte 0x{content[error.start]:02x}; "
            "save it as UTF-8."
        ) from None
