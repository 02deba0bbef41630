"""The runs behind the tables and figures: which are wanted, which can be had, which are there."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xgacmn_tf import datasets
from xgacmn_tf.paper import tuning, experiments
from xgacmn_tf.paper.experiments import Experiment
from xgacmn_tf.datasets.paired import PairedDataset
from xgacmn_tf.errors import InputError
from xgacmn_tf.paper.studies import STUDIES, folder_of
from xgacmn_tf.settings.config import XGACMN, Config


@dataclasses.dataclass(frozen=True)
class Request:
    """What the command was asked for.

    Attributes:
      rivals: names of compared systems, in the order of the tables.
      seeds: seeds 0, 1, … of every run.
      ablation_seeds: the same of Table 3.
      flags_dir: the folder of the flag files.
      data_dir: the folder above the data sets' own, or None.
      output: where everything is written.
    """

    rivals: tuple[str, ...]
    seeds: int
    ablation_seeds: int
    flags_dir: Path
    data_dir: Path | None
    output: Path

    def cells(
        self, label: str, models: Sequence[str] = (XGACMN,), seeds: int | None = None
    ) -> list[Experiment]:
        """The runs of some systems with the settings of the flag file called `label`.

        Raises:
          InputError: there is no such flag file, or it is broken.
        """
        path = self.flags_dir.resolve() / f"{label}.flags"
        if not path.is_file():
            raise InputError(
                f"--flags_dir={self.flags_dir}: there is no {path.name}; name a folder that has "
                "all files of the package's flags/, or leave --flags_dir out"
            )
        folder = folder_of(label)
        data_dir = None if folder is None else str((self.data_dir or Path()) / folder)
        # Flag files may name each other from the folder above theirs.
        with contextlib.chdir(path.parent.parent):
            return experiments.cells(models, [str(path)], seeds or self.seeds, data_dir, self.output)


def choose_rivals(names: Sequence[str]) -> tuple[str, ...]:
    """The compared systems of `--models`, "all" standing for all that learn a common space.

    Raises:
      InputError: one of them does not exist.
    """
    # Features as they are share no space in any of the studies.
    rivals = [name for name in experiments.choose_models(names) if name != XGACMN]
    return tuple(name for name in rivals if name != "raw" or list(names) != ["all"])


class Runs:
    """The runs that a request's parts want, trained as far as that is possible.

    Args:
      request: what was asked for.
      wanted: the runs of all parts; the same run may be wanted by several.

    Attributes:
      missing: flag file's label → why its data set cannot be read. None of its runs are made.
      failed: runs that ended in an error, with the reason.

    Raises:
      InputError: a finished run has other settings than are wanted now.
    """

    def __init__(self, request: Request, wanted: Sequence[Experiment]):
        self.request = request
        self.wanted: list[Experiment] = list(dict.fromkeys(wanted))
        self.missing: dict[str, str] = {}
        self.failed: dict[Experiment, str] = {}
        _check_settings(self.wanted)

    def open_data(self) -> None:
        """Reads every data set once, which also extracts features before runs share them."""
        reasons: dict[tuple[Any, ...], str] = {}
        for label in dict.fromkeys(cell.label for cell in self.wanted):
            cells = [cell for cell in self.wanted if cell.label == label]
            if all(cell.folder.is_finished() for cell in cells):
                continue
            source = _source(cells[0].config)
            if source not in reasons:
                reasons[source] = self._why_missing(cells[0])
            if reasons[source]:
                self.missing[label] = reasons[source]

    def tune(self, jobs: int) -> None:
        """Chooses settings of compared systems where a study wants it, `jobs` systems at a time.

        Raises:
          InputError: a finished run has other settings.
        """
        labels = {study.label for study in STUDIES if study.tuned} - set(self.missing)
        open_cells = [cell for cell in self.wanted if cell.label in labels]
        found, self.failed = tuning.tuned(open_cells, jobs)
        _check_settings(found)
        self.wanted = [c for c in self.wanted if c.label not in labels] + found

    def train(self, jobs: int) -> None:
        """Makes the runs that are not finished, `jobs` at a time."""
        todo = [cell for cell in self.wanted if cell.label not in self.missing]
        self.failed |= experiments.run(todo, jobs)

    def finished(
        self, label: str, model: str | None = XGACMN, seeds: int | None = None
    ) -> list[Experiment]:
        """The finished runs of a flag file.

        Args:
          label: the flag file.
          model: one system, or None for all.
          seeds: only seeds below; by default those of the request, although Table 3 may have more.
        """
        return [
            cell
            for cell in self.wanted
            if cell.label == label
            and model in (None, cell.config.model)
            and cell.config.seed < (seeds or self.request.seeds)
            and cell.folder.is_finished()
        ]

    def short_reason(self, label: str) -> str:
        """Why a data set cannot be read, without what would help."""
        return self.missing[label].split(": ")[0]

    def reasons(self, label: str) -> dict[str, str]:
        """System → why some of its runs of a flag file failed."""
        return {c.config.model: why for c, why in self.failed.items() if c.label == label}

    def _why_missing(self, cell: Experiment) -> str:
        folder = folder_of(cell.label)
        if folder is not None and self.request.data_dir is None:
            return f"data not found: --data_dir names the folder that holds {folder}/"
        where = cell.config.data_dir
        if where is not None and not Path(where).is_dir():
            return f"data not found under {where}"
        try:
            dataset(cell.config)
        except InputError as error:
            made = cell.config.image_features
            what = "data" if made is None else f"{made} features"
            return f"{what} not found under {where}: {error}" if where else str(error)
        return ""


def _check_settings(cells: Sequence[Experiment]) -> None:
    """Nothing is retrained silently, and nothing old passes for new."""
    for cell in cells:
        if cell.folder.is_finished():
            cell.folder.claim(cell.config, cell.folder.read_config()["data_fingerprint"])


def dataset(config: Config) -> PairedDataset:
    """The data set of a run, with the parts that the run saw."""
    return datasets.for_config(config)


def _source(config: Config) -> tuple[Any, ...]:
    """What decides whether a data set can be read."""
    return (
        config.dataset,
        config.data_dir,
        config.protocol,
        config.image_features,
        config.text_features,
    )
