"""The folder of a run, and the check that it belongs to the run.

config.json       every setting, and the fingerprint of the data
data_report.json  counts, notes and warnings on the data, written before training
checkpoints/      best.keras, the encoders, ready for use; and the files for resuming:
                  selected.keras of the best epoch, refitted.keras of all pairs, resume/, refit/,
                  and teacher/ of the first training with pseudo-labels
tensorboard/      event files, embedding projector
extractors/       extractors of features from raw images and texts, if there are any
embeddings.npz    of the test split: codes as trained (image, text), class posteriors and the
                  calibration factors of the class logits that they come with (calibration_image,
                  calibration_text), label, id; without the posteriors where these would be more
                  than `representations.MAX_NUMBERS`, as they follow from codes and checkpoint
per_query.npz     average precision of every test query, at every similarity
pairs.npz         which test pairs are the same items, and hashes of the groups that were trained on
results.html      the results page
query.webp        an image of the test split to search with; also .png or .jpeg
model_card.md     data, scores, intended use, limits, licenses and commands, to share with the model
models/           the trained encoders as a SavedModel for serving
cache/            features, galleries and indexes of searches
search.html       the page of the last search
items/            items written to the search service
metrics.json      results, written last: its presence means that the run is complete
.lock             locked while a process writes into the folder
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from xgacmn_tf.errors import InputError
from xgacmn_tf.io import array_files
from xgacmn_tf.io.file_lock import locked
from xgacmn_tf.io.files import atomic_path, delete_stale, read_json, write_json
from xgacmn_tf.names import DIRECTIONS, XGACMN, model_name
from xgacmn_tf.settings.config import Config
from xgacmn_tf.settings.fields import leaves


class RunFolder:
    """The paths of a run folder, and functions that read and write its files atomically."""

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.data_report = self.path / "data_report.json"
        self.metrics = self.path / "metrics.json"
        self.embeddings = self.path / "embeddings.npz"
        self.per_query = self.path / "per_query.npz"
        self.pairs = self.path / "pairs.npz"
        self.results_page = self.path / "results.html"
        self.model_card = self.path / "model_card.md"
        self.tensorboard = self.path / "tensorboard"
        self.best = self.path / "checkpoints" / "best.keras"
        self.selected = self.path / "checkpoints" / "selected.keras"
        self.refitted = self.path / "checkpoints" / "refitted.keras"
        self.extractors = self.path / "extractors"
        self.models = self.path / "models"
        self.resume = self.path / "checkpoints" / "resume"
        self.refit = self.path / "checkpoints" / "refit"

    @property
    def teacher(self) -> "RunFolder":
        """The folder of the first training with pseudo-labels; it holds checkpoints alone."""
        return RunFolder(self.path / "checkpoints" / "teacher")

    @classmethod
    def for_config(cls, config: Config) -> "RunFolder":
        """Return `--output_dir`, or runs/<data set>-<fingerprint of the settings>."""
        if config.output.output_dir:
            return cls(config.output.output_dir)
        name = (
            Path(config.data.dataset).stem
            if config.data.dataset.endswith((".npz", ".mat"))
            else config.data.dataset.replace("/", "-").replace(":", "-")
        )
        model = "" if config.system.model == XGACMN else f"{model_name(config.system.model)}-"
        return cls(Path("runs") / f"{name}-{model}{config.fingerprint()}")

    def check_free(self, config: Config) -> None:
        """Check what can be checked before the data are read, which may take long.

        Raises:
          InputError: the folder holds a run with other settings, or files of anything else; or
            another process writes into it.
        """
        if not self.config.exists():
            self._check_empty()
            return
        self._reject(self._differences(config))
        if not self.is_finished():
            with self.locked():
                pass

    def claim(self, config: Config, data_fingerprint: str) -> None:
        """Create the folder for a run, or check that it belongs to the run.

        Raises:
          InputError: the folder holds a run with other settings or other data, or files of
            anything else; or it cannot be written.
        """
        try:
            if not self.config.exists():
                self._start(config, data_fingerprint)
            delete_stale(self.path)
            self.best.parent.mkdir(exist_ok=True)
            self.tensorboard.mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(
                f"--output_dir={self.path}: cannot be written ({error.strerror}); name a folder "
                "where you may create files"
            ) from error
        differences = self._differences(config)
        if self.read_config()["data_fingerprint"] != data_fingerprint:
            differences.append("the data set's contents, or what is held out of them")
        self._reject(differences)

    def _differences(self, config: Config) -> list[str]:
        """Return how the recorded settings differ from `config`."""
        recorded = {
            **Config().result_settings(),
            **Config.earlier(config.system.model),
            **self.read_config()["settings"],
        }
        return [
            f"{name} {recorded.get(name)!r} there, {value!r} now"
            for name, value in config.result_settings().items()
            if recorded.get(name) != value
        ]

    def _reject(self, differences: list[str]) -> None:
        if differences:
            raise InputError(
                f"--output_dir={self.path} holds another run, which differs in: "
                f"{'; '.join(differences)}. Name a new folder, or delete that one"
            )

    def _check_empty(self) -> None:
        if self.path.is_dir() and any(".partial" not in p.name for p in self.path.iterdir()):
            raise InputError(
                f"--output_dir={self.path}: the folder is not empty and holds no run "
                "(no config.json); name a new folder"
            )

    def _start(self, config: Config, data_fingerprint: str) -> None:
        """Write config.json first, so that a run that is killed here can be resumed."""
        self.path.mkdir(parents=True, exist_ok=True)
        self._check_empty()
        record = {"settings": config.flat(), "data_fingerprint": data_fingerprint}
        write_json(self.config, record)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder during the block against other processes.

        The lock of a killed process is released.

        Raises:
          InputError: another process holds the folder.
        """
        with locked(self.path / ".lock") as free:
            if not free:
                raise InputError(
                    f"--output_dir={self.path}: another process is writing into this folder; wait "
                    "until it has ended, or name a new folder"
                )
            yield

    def read_config(self) -> dict[str, Any]:
        """Return the record that `claim` wrote."""
        try:
            record = read_json(self.config)
            return {
                **record,
                "settings": dict(record["settings"]),
                "data_fingerprint": str(record["data_fingerprint"]),
            }
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{self.config} cannot be read as a run's settings ({error}); name a new "
                "--output_dir, or delete that folder"
            ) from error

    def recorded_config(self) -> Config:
        """Return the settings that `claim` wrote, validated like all settings."""
        settings = self.read_config()["settings"]
        unknown = sorted(set(settings) - {leaf.name for leaf in leaves(Config)})
        if unknown:
            raise InputError(
                f"{self.config} names settings that this version does not have: "
                f"{', '.join(unknown)}; use the version that trained the run"
            )
        return Config.of_recorded(settings)

    def is_finished(self) -> bool:
        return self.metrics.exists()

    def check_finished(self) -> None:
        """Raise an `InputError` unless the folder holds a finished run."""
        missing = [file.name for file in (self.metrics, self.config) if not file.exists()]
        if missing:
            raise InputError(
                f"{self.path}: there is no finished run (no {' and '.join(missing)}); name the "
                "folder of one, as `xgacmn train` prints it"
            )

    def read_metrics(self) -> dict[str, Any]:
        try:
            return dict(read_json(self.metrics))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(
                f"{self.metrics} cannot be read as a run's results ({error}); delete it to "
                "evaluate the run again"
            ) from error

    def write_embeddings(self, arrays: dict[str, np.ndarray]) -> None:
        """Write embeddings.npz; row i of every array that has rows belongs to the same pair."""
        _write_arrays(self.embeddings, arrays)

    def write_pairs(self, arrays: dict[str, np.ndarray]) -> None:
        """Write pairs.npz, see `test_pairs.TestPairs`."""
        _write_arrays(self.pairs, arrays)

    def write_per_query(self, ids: np.ndarray, scores: dict[str, np.ndarray]) -> None:
        """Write per_query.npz: the pairs' ids, and "<similarity>_<direction>" → (q,) AP.

        Where image queries are fewer than pairs, `scores` holds their ids as "id_i2t".
        """
        _write_arrays(self.per_query, {"id": ids, **scores})

    def read_per_query(self, similarity: str) -> dict[str, float]:
        """Return "<direction>/<id>" → average precision over the whole gallery."""
        try:
            arrays = array_files.read(self.per_query)
            return {
                f"{way}/{query}": float(score)
                for way in DIRECTIONS
                for query, score in zip(
                    arrays.get(f"id_{way}", arrays["id"]),
                    arrays[f"{similarity}_{way}"],
                    strict=True,
                )
            }
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{self.per_query} cannot be read ({error}); delete {self.metrics} and run the "
                "same command again"
            ) from error


def _write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **arrays)
