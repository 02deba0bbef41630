"""Trains X-GACMN and evaluates it: `xgacmn train`, or `python -m xgacmn_tf.main`.

    xgacmn train
        trains on the bundled emoji, then prints the path of the results page.
    xgacmn train --dataset=pairs.csv --columns=image=file,text=caption,label=category \\
            --image_features=efficientnet_lite2 --text_features=minilm
        your own images, texts and categories.
    xgacmn train --dataset=features.npz
        your own features.
    xgacmn train --flagfile=wikipedia_shallow_2173 --data_dir=DIR
        the settings that suit a data set; those of flags/ are found from any folder.
    xgacmn train --model=pls.py:SYSTEM
        a method of your own, see docs/own_methods.md.
    xgacmn train --evaluate_only --checkpoint=RUN/checkpoints/best.keras
        evaluates the test split again, without training.

To resume an interrupted run, repeat the command.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from absl import flags

from xgacmn_tf.errors import DivergenceError, InputError, WorkerLostError
from xgacmn_tf.names import OWN_METHOD
from xgacmn_tf.settings import flag_files
from xgacmn_tf.settings.command_line import (
    config_from_flags,
    given_settings,
    interruptible,
    read_flags,
    stop,
)
from xgacmn_tf.settings.config import Config
from xgacmn_tf.settings.fields import Section, setting

# The status by which a program tells Kubernetes' TFJob (restartPolicy: ExitCode) to restart it.
RETRYABLE = 138


@dataclasses.dataclass(frozen=True)
class EvaluationOnly(Section):
    """Evaluation of a checkpoint without training."""

    evaluate_only: bool = setting(False, "evaluate the test split with --checkpoint, train nothing")
    checkpoint: str | None = setting(None, "best.keras of a run, for --evaluate_only")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.evaluate_only != bool(self.checkpoint):
            raise InputError(
                "--evaluate_only and --checkpoint=RUN/checkpoints/best.keras go together"
            )


def main(argv: list[str]) -> None:
    """Run the command; a mistake ends the program with one line and status 2."""
    values = read_flags(argv, str(__doc__), Config, EvaluationOnly, expand=flag_files.expand)
    with interruptible("repeat the command to resume from the last checkpoint"):
        try:
            _run(values)
        except InputError as error:
            stop(str(error))
        except DivergenceError as error:
            stop(str(error), status=1)
        except WorkerLostError as error:
            stop(str(error), status=RETRYABLE)
        except OSError as error:
            stop(
                f"{error.filename or 'a file of the run'} could not be written or read: {error}; "
                "repeat the command to resume from the last checkpoint once that is fixed",
                status=1,
            )


def _run(values: flags.FlagValues) -> None:
    evaluation = EvaluationOnly(**given_settings(values, EvaluationOnly))
    if evaluation.checkpoint is not None:
        evaluate(evaluation.checkpoint, values)
        return
    config = config_from_flags(values)
    # Imported here: they take seconds to load, above all TensorFlow, which neither --help nor a
    # mistake needs.
    from xgacmn_tf import datasets

    datasets.check_names(config.data, config.features)
    from xgacmn_tf import experiment

    experiment.run(config)


def evaluate(checkpoint: str, values: flags.FlagValues) -> None:
    """Evaluate a checkpoint with the settings of its run, changed by flags given."""
    config = _evaluation_config(checkpoint, values)
    from xgacmn_tf import datasets

    datasets.check_names(config.data, config.features)
    from xgacmn_tf import experiment

    experiment.evaluate_checkpoint(config, checkpoint)


def _evaluation_config(checkpoint: str, values: flags.FlagValues) -> Config:
    """Return the settings of the run that a checkpoint belongs to, changed by flags given."""
    from xgacmn_tf.runs.folder import RunFolder

    folder = RunFolder(Path(checkpoint).resolve().parent.parent)
    if not folder.config.exists():
        return config_from_flags(values)
    given = given_settings(values, Config, present_only=True)
    recorded = folder.recorded_config()
    if OWN_METHOD.match(recorded.system.model) and "model" not in given:
        # A run folder may come from anyone, so it does not decide which file is executed.
        raise InputError(
            f"{checkpoint} is of a method of your own; add --model={recorded.system.model} to run "
            "that file"
        )
    # The output folder is never that of the run itself.
    return recorded.replace(**{"output_dir": None, **given})
