"""Trains X-GACMN and evaluates it: `python -m xgacmn_tf.main`.

    python -m xgacmn_tf.main
        trains on the bundled clip art, then open the results page it names.
    python -m xgacmn_tf.main --flagfile=wikipedia_shallow_2173 --data_dir=DIR
        the settings that suit a data set; those of flags/ are found from any folder.
    python -m xgacmn_tf.main --dataset=features.npz
        your own features.
    python -m xgacmn_tf.main --model=pls.py:SYSTEM
        a method of your own, see docs/own_methods.md.
    python -m xgacmn_tf.main --evaluate_only --checkpoint=RUN/checkpoints/best.keras
        the test split again, without training.

Running the same command again continues a run that was interrupted.
"""

import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

from absl import app, flags, logging

from xgacmn_tf.errors import DivergenceError, InputError, WorkerLostError
from xgacmn_tf.names import OWN_METHOD
from xgacmn_tf.settings import command_line, flag_files
from xgacmn_tf.settings.command_line import (
    HELP,
    config_from_flags,
    define_flags,
    given_settings,
    stop,
)
from xgacmn_tf.settings.config import Config
from xgacmn_tf.settings.fields import leaves

FLAGS = flags.FLAGS

# The status by which a program tells Kubernetes' TFJob (restartPolicy: ExitCode) to start it again.
RETRYABLE = 138

define_flags()
flags.DEFINE_bool(
    "evaluate_only", False, "evaluate the test split with --checkpoint, train nothing"
)
flags.DEFINE_string("checkpoint", None, "best.keras of a run, for --evaluate_only")
flags.adopt_module_key_flags(command_line)


def parse_flags(argv: list[str]) -> list[str]:
    """Parses the command line; a mistake ends the program with a line that says what is allowed."""
    # absl's own --help ends with status 1, as if asking for help were a mistake.
    if any(argument in HELP for argument in argv[1:]):
        print(f"{__doc__}\nflags:\n{FLAGS.main_module_help()}")
        sys.exit(0)
    try:
        rest = FLAGS([argv[0], *flag_files.expand(argv[1:])])
    except flags.UnrecognizedFlagError as error:
        names = ", ".join(f"--{name}" for name in allowed_flags())
        stop(f"{error} Allowed: {names}. See --help")
    except (flags.Error, InputError) as error:
        stop(str(error))
    if len(rest) > 1:
        stop(f"{rest[1]!r} is not a flag; every setting is given as --name=value. See --help")
    return rest


def allowed_flags() -> list[str]:
    """Names of this command's own flags."""
    return [leaf.name for leaf in leaves(Config)] + ["evaluate_only", "checkpoint", "flagfile"]


def evaluation_config(checkpoint: str) -> Config:
    """The settings of the run that a checkpoint lies in, where it does; given flags go before."""
    from xgacmn_tf.runs.folder import RunFolder

    given = config_from_flags()
    folder = RunFolder(Path(checkpoint).resolve().parent.parent)
    if not folder.config.exists():
        return given
    named = given_settings(FLAGS, Config, present_only=True)
    recorded = folder.recorded_config()
    if OWN_METHOD.match(recorded.system.model) and "model" not in named:
        # A run folder may come from anyone, so it does not decide which file is executed.
        raise InputError(
            f"--checkpoint={checkpoint} is of a method of your own; add "
            f"--model={recorded.system.model} to run that file"
        )
    # The evaluation is another output than the run's own.
    return recorded.replace(**{"output_dir": None, **named})


def main(argv: list[str]) -> None:
    del argv
    signal.signal(signal.SIGTERM, _terminate)
    # TensorFlow's start-up notes would bury the progress bar; errors still show.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if not FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)
    try:
        if FLAGS.evaluate_only != bool(FLAGS.checkpoint):
            raise InputError(
                "--evaluate_only and --checkpoint=RUN/checkpoints/best.keras go together"
            )
        if FLAGS.evaluate_only:
            config = evaluation_config(FLAGS.checkpoint)
        else:
            config = config_from_flags()
        # Imported here: TensorFlow takes seconds to load, which neither --help nor a mistake needs.
        from xgacmn_tf import experiment

        if FLAGS.evaluate_only:
            experiment.evaluate_checkpoint(config, FLAGS.checkpoint)
        else:
            experiment.run(config)
    except InputError as error:
        stop(str(error))
    except DivergenceError as error:
        stop(str(error), status=1)
    except WorkerLostError as error:
        stop(str(error), status=RETRYABLE)
    except OSError as error:
        stop(
            f"{error.filename or 'a file of the run'} could not be written or read: {error}; the "
            "same command goes on from the last checkpoint once that is mended",
            status=1,
        )
    except KeyboardInterrupt as error:
        word, status = ("terminated", 143) if error.args else ("interrupted", 130)
        stop(f"{word}; the same command goes on from the last checkpoint", status)


def _terminate(number: int, frame: object) -> NoReturn:
    """Ends the program as Ctrl-C does, where Kubernetes or a batch system asks for it."""
    del frame
    raise KeyboardInterrupt(number)


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
