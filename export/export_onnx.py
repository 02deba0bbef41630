"""Exports a run's encoders, features to embeddings, as ONNX files.

    python export/export_onnx.py --run=runs/openclipart-1a2b3c4d --output=onnx
        writes onnx/encode_image.onnx and onnx/encode_text.onnx, equal to TensorFlow to 1e-5.
    python export/export_onnx.py --run=RUN --output=onnx8 --precision=int8
        smaller and less exact files; nothing is written if they lose more than --max_map_loss.

README.md and report.json in the new folder say what was measured on the run's test split. Pictures,
raw texts and searches need a SavedModel: see export_savedmodel.py.
"""

import sys

from absl import flags

from xgacmn_tf.errors import InputError
from xgacmn_tf.settings.command_line import configure_logging, parse, stop

VALUES = flags.FlagValues()
flags.DEFINE_string("run", None, "run folder, as training prints it", flag_values=VALUES)
flags.DEFINE_string("output", None, "new folder of the files", flag_values=VALUES)
flags.DEFINE_enum(
    "precision",
    "float32",
    ["float32", "float16", "int8"],
    "what the encoders compute with; inputs and outputs are always float32",
    flag_values=VALUES,
)
flags.DEFINE_float(
    "max_map_loss",
    0.005,
    "the most test mAP that the files may lose, in either direction at any similarity",
    flag_values=VALUES,
)


def main(argv: list[str]) -> None:
    parse(VALUES, argv, __doc__)
    configure_logging()
    if not VALUES.run or not VALUES.output:
        stop("--run=FOLDER and --output=FOLDER must be given; see --help")
    try:
        # Imported here: TensorFlow takes seconds to load, and --help need not wait for it.
        from xgacmn_tf.export.onnx_files import export_onnx

        export_onnx(VALUES.run, VALUES.output, VALUES.precision, VALUES.max_map_loss)
    except InputError as error:
        stop(str(error))
    except KeyboardInterrupt:
        stop("interrupted; nothing was exported", status=130)
    print(VALUES.output)


if __name__ == "__main__":
    main(sys.argv)
