"""The runs behind the tables and figures: those that are needed, possible and finished."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xgacmn_tf import datasets
from xgacmn_tf.errors import InputError
from xgacmn_tf.names import XGACMN
from xgacmn_tf.paper import experiments, tuning
from xgacmn_tf.paper.experiments import Experiment
from xgacmn_tf.paper.studies import STUDIES, Study, folder_of


@dataclasses.dataclass(frozen=True)
class Request:
    """The options of the command.

    Attributes:
      compared: names of compared systems, in the order of the tables.
      seeds: number of seeds 0, 1, … of every run.
      ablation_seeds: the same for Table 3.
      flags_dir: folder of the flag files.
      data_dir: folder above the data sets' folders, or None.
      output: folder of all output.
    """

    compared: tuple[str, ...]
    seeds: int
    ablation_seeds: int
    flags_dir: Path
    data_dir: Path | None
    output: Path

    def experiments(
        self, label: str, models: Sequence[str] = (XGACMN,), seeds: int | None = None
    ) -> list[Experiment]:
        """Return the runs of some systems with the settings of the flag file `label`.

        Raises:
          InputError: the flag file is missing or invalid.
        """
        path = self.flags_dir.resolve() / f"{label}.flags"
        if not path.is_file():
            raise InputError(
                f"--flags_dir={self.flags_dir}: there is no {path.name}; name a folder that has "
                "all files of the package's flags/, or leave --flags_dir out"
            )
        folder = folder_of(label)
        data_dir = None if folder is None else str((self.data_dir or Path()) / folder)
        # Flag files name each other relative to the folder above theirs.
        with contextlib.chdir(path.parent.parent):
            return experiments.plan(models, [str(path)], seeds or self.seeds, data_dir, self.output)


def choose_compared(names: Sequence[str]) -> tuple[str, ...]:
    """Return the compared systems that `--models` names, see `experiments.choose_models`."""
    return tuple(name for name in experiments.choose_models(names) if name != XGACMN)


class Runs:
    """The runs of a request, as far as they are possible.

    Args:
      request: the options of the command.
      needed: the runs of all parts, some of which may need the same.

    Attributes:
      experiments: the runs, each once.
      missing: label of a flag file → why its data set cannot be read; its runs are not made.
      failed: run → error.

    Raises:
      InputError: a finished run has other settings than requested.
    """

    def __init__(self, request: Request, needed: Sequence[Experiment]):
        self.request = request
        self.experiments = list(dict.fromkeys(needed))
        self.missing: dict[str, str] = {}
        self.failed: dict[Experiment, str] = {}
        _check_settings(self.experiments)

    def make(self, jobs: int) -> None:
        """Tune and run the unfinished experiments whose data can be read, `jobs` at a time.

        Compared systems are tuned for the studies with tuning.

        Raises:
          InputError: a finished run has other settings than those that were chosen.
        """
        reasons: dict[tuple[Any, ...], str] = {}
        for label in dict.fromkeys(run.label for run in self.experiments):
            of_label = [run for run in self.experiments if run.label == label]
            if all(run.folder.is_finished() for run in of_label):
                continue
            data, features = of_label[0].config.data, of_label[0].config.features
            source = (
                *(data.dataset, data.data_dir, data.protocol),
                *(features.image_features, features.text_features),
            )
            if source not in reasons:
                # Reading the data here also extracts features before runs share them.
                reasons[source] = self._why_missing(of_label[0])
            if reasons[source]:
                self.missing[label] = reasons[source]
        labels = {study.label for study in STUDIES if study.tuned} - set(self.missing)
        untuned = [run for run in self.experiments if run.label in labels]
        tuned, self.failed = tuning.tune(untuned, jobs)
        _check_settings(tuned)
        self.experiments = [run for run in self.experiments if run.label not in labels] + tuned
        possible = [run for run in self.experiments if run.label not in self.missing]
        self.failed |= experiments.run(possible, jobs)

    def finished(
        self, label: str, model: str | None = XGACMN, seeds: int | None = None
    ) -> list[Experiment]:
        """Return the finished runs of a flag file.

        Args:
          label: the flag file.
          model: one system, or None for all.
          seeds: maximum number of seeds; by default that of the request, although Table 3 may have
            more.
        """
        return [
            run
            for run in self.experiments
            if run.label == label
            and model in (None, run.model)
            and run.config.seed < (seeds or self.request.seeds)
            and run.folder.is_finished()
        ]

    def short_reason(self, label: str) -> str:
        """Return why a data set cannot be read, without the remedy."""
        return self.missing[label].split(": ")[0]

    def why_not(self, study: Study) -> str:
        """Return a line on why a study has no figures; empty if it has."""
        if study.label in self.missing:
            return f"{study.title}: {self.short_reason(study.label)}"
        return "" if self.finished(study.label) else f"{study.title}: X-GACMN has no finished run"

    def errors(self, label: str) -> dict[str, str]:
        """Return system → error of one of its failed runs of a flag file."""
        return {run.model: error for run, error in self.failed.items() if run.label == label}

    def _why_missing(self, run: Experiment) -> str:
        folder = folder_of(run.label)
        if folder is not None and self.request.data_dir is None:
            return f"data not found: --data_dir names the folder that holds {folder}/"
        where = run.config.data.data_dir
        if where is not None and not Path(where).is_dir():
            return f"data not found under {where}"
        try:
            datasets.for_config(run.config)
        except InputError as error:
            extracted = run.config.features.image_features
            what = "data" if extracted is None else f"{extracted} features"
            return f"{what} not found under {where}: {error}" if where else str(error)
        return ""


def _check_settings(runs: Sequence[Experiment]) -> None:
    """Raise an `InputError` if a finished run has other settings than requested."""
    for run in runs:
        if run.folder.is_finished():
            run.folder.claim(run.config, run.folder.read_config()["data_fingerprint"])
