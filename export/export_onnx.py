"""Exports the encoders of a run as ONNX files; the same as `xgacmn export --format=onnx`.

python export/export_onnx.py --run=runs/openclipart-1a2b3c4d --output=onnx
    writes onnx/encode_image.onnx and onnx/encode_text.onnx. See --help.
"""

import sys

from xgacmn_tf.commands import export


def main(argv: list[str]) -> None:
    """Run the command; a mistake ends the program with one line and status 2."""
    export.main([*argv, "--format=onnx"])


if __name__ == "__main__":
    main(sys.argv)
