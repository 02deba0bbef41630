"""Exports a run folder as a SavedModel that a server can load.

    python export/export_savedmodel.py --run=runs/openclipart-1a2b3c4d --output=models
        writes models/xgacmn/1/; again, models/xgacmn/2/.
    python export/export_savedmodel.py --run=RUN --output=models --gallery=items.npz --depth=50
        the same encoders with other items to find: arrays image, text or both, id, title.
    python export/export_savedmodel.py --run=RUN --output=models --gallery=test,more.npz
        with the run's test split and more items.

assets.extra/README.md in the new folder lists the signatures.
"""

import os
import sys
from typing import NoReturn

from absl import flags, logging

from xgacmn_tf.errors import InputError

VALUES = flags.FlagValues()
flags.DEFINE_string("run", None, "run folder, as training prints it", flag_values=VALUES)
flags.DEFINE_string("output", None, "folder of the models", flag_values=VALUES)
flags.DEFINE_string("name", "xgacmn", "what clients call the model", flag_values=VALUES)
flags.DEFINE_integer(
    "version", None, "number of the new version; by default the next one", flag_values=VALUES
)
flags.DEFINE_list(
    "gallery",
    ["test"],
    ".npz files of items to search; `test` stands for the run's test split",
    flag_values=VALUES,
)
flags.DEFINE_integer("depth", 10, "items that a search returns", flag_values=VALUES)


def main(argv: list[str]) -> None:
    if any(argument in ("--help", "-help", "-h", "--helpshort") for argument in argv[1:]):
        print(f"{__doc__}\nflags:\n{VALUES.get_help()}")
        return
    try:
        rest = VALUES(argv)
    except flags.Error as error:
        _stop(f"{error}; see --help")
    if len(rest) > 1:
        _stop(f"{rest[1]!r} is not a flag; every setting is given as --name=value. See --help")
    if not VALUES.run or not VALUES.output:
        _stop("--run=FOLDER and --output=FOLDER must be given; see --help")
    # TensorFlow's start-up notes would bury the answer; errors still show.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.set_verbosity(logging.WARNING)
    try:
        # Imported here: TensorFlow takes seconds to load, and --help need not wait for it.
        from xgacmn_tf.export import export_run

        version = export_run(
            VALUES.run, VALUES.output, VALUES.name, VALUES.version, VALUES.gallery, VALUES.depth
        )
    except InputError as error:
        _stop(str(error))
    except KeyboardInterrupt:
        _stop("interrupted; nothing was exported", status=130)
    print(version)


def _stop(message: str, status: int = 2) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main(sys.argv)
