"""Evaluates the test split again with the encoders of a run, without training.

    xgacmn evaluate --run=runs/emoji-1a2b3c4d
        prints the table of scores.
    xgacmn evaluate --run=RUN --dataset=other.npz --output_dir=scores
        evaluates other data, and writes scores, embeddings and a results page.

All other flags change settings of the run.
"""

from __future__ import annotations

import dataclasses

from xgacmn_tf.commands import train
from xgacmn_tf.errors import InputError
from xgacmn_tf.settings import flag_files
from xgacmn_tf.settings.command_line import given_settings, read_flags, stop
from xgacmn_tf.settings.config import Config
from xgacmn_tf.settings.fields import Section, setting


@dataclasses.dataclass(frozen=True)
class EvaluatedRun(Section):
    """The run to evaluate."""

    run: str | None = setting(None, "run folder, as training prints it", common=True)


def main(argv: list[str]) -> None:
    """Run the command; a mistake ends the program with one line and status 2."""
    values = read_flags(argv, str(__doc__), EvaluatedRun, Config, expand=flag_files.expand)
    try:
        run = EvaluatedRun(**given_settings(values, EvaluatedRun)).run
        if run is None:
            raise InputError("--run=FOLDER must be given, the folder of a finished run. See --help")
        from xgacmn_tf.runs.folder import RunFolder

        checkpoint = RunFolder(run).best
        if not checkpoint.is_file():
            raise InputError(f"--run={run}: there is no {checkpoint}; name the folder of a run")
        train.evaluate(str(checkpoint), values)
    except InputError as error:
        stop(str(error))
    except KeyboardInterrupt:
        stop("interrupted", status=130)
