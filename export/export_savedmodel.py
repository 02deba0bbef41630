"""Exports a run folder as a SavedModel that a server can load.

    python export/export_savedmodel.py --run=runs/openclipart-1a2b3c4d --output=models
        writes models/xgacmn/1/; again, models/xgacmn/2/.
    python export/export_savedmodel.py --run=RUN --output=models --gallery=items.npz --depth=50
        the same encoders with other items to find: arrays image, text or both, id, title.
    python export/export_savedmodel.py --run=RUN --output=models --gallery=all,more.npz
        with all items of the run's data set and more; `test` is its test split.

assets.extra/README.md in the new folder lists the signatures.
"""

import sys

from absl import flags

from xgacmn_tf.errors import InputError
from xgacmn_tf.settings.command_line import configure_logging, parse, stop

VALUES = flags.FlagValues()
flags.DEFINE_string("run", None, "run folder, as training prints it", flag_values=VALUES)
flags.DEFINE_string("output", None, "folder of the models", flag_values=VALUES)
flags.DEFINE_string("name", "xgacmn", "what clients call the model", flag_values=VALUES)
flags.DEFINE_integer(
    "version", None, "number of the new version; by default the next one", flag_values=VALUES
)
flags.DEFINE_list(
    "gallery",
    None,
    ".npz files of items to search; `all` stands for the items of the run's data set, `test` for "
    "its test split. By default all, or test where the training split is streamed or all features "
    "take more than 1 GiB",
    flag_values=VALUES,
)
flags.DEFINE_integer("depth", 10, "items that a search returns", flag_values=VALUES)


def main(argv: list[str]) -> None:
    parse(VALUES, argv, __doc__)
    configure_logging()
    if not VALUES.run or not VALUES.output:
        stop("--run=FOLDER and --output=FOLDER must be given; see --help")
    try:
        # Imported here: TensorFlow takes seconds to load, and --help need not wait for it.
        from xgacmn_tf.datasets.extraction.extractor_files import missing_note
        from xgacmn_tf.export import export_run
        from xgacmn_tf.runs.folder import RunFolder

        version = export_run(
            VALUES.run, VALUES.output, VALUES.name, VALUES.version, VALUES.gallery, VALUES.depth
        )
        note = missing_note(RunFolder(VALUES.run).extractors)
    except InputError as error:
        stop(str(error))
    except KeyboardInterrupt:
        stop("interrupted; nothing was exported", status=130)
    print(version)
    if note:
        print(note, file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv)
