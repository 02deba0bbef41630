"""Exports a run for serving, as a SavedModel or as ONNX files: `xgacmn export`.

    xgacmn export --run=runs/openclipart-1a2b3c4d --output=models
        writes models/xgacmn/1/; again, models/xgacmn/2/.
    xgacmn export --run=RUN --output=models --gallery=items.npz --depth=50
        the same encoders with another gallery: arrays image, text or both, id, title.
    xgacmn export --run=RUN --output=models --gallery=all,more.npz
        with all items of the run's data set and more; `train` and `test` are its splits.
    xgacmn export --run=RUN --output=onnx --format=onnx
        writes onnx/encode_image.onnx and onnx/encode_text.onnx, equal to TensorFlow to 1e-5.
    xgacmn export --run=RUN --output=onnx8 --format=onnx --precision=int8
        smaller and less exact files; nothing is written if they lose more than --max_map_loss.

assets.extra/README.md in the new version lists the signatures of a SavedModel. README.md and
report.json beside ONNX files hold what was measured on the run's test split; images, raw texts and
searches need a SavedModel.
"""

from __future__ import annotations

import dataclasses
import sys

from xgacmn_tf.errors import InputError
from xgacmn_tf.runs.folder import RunFolder
from xgacmn_tf.settings.command_line import read_settings, stop
from xgacmn_tf.settings.fields import Section, setting


@dataclasses.dataclass(frozen=True)
class Export(Section):
    """The run, the format and the place of the files."""

    run: str | None = setting(None, "run folder, as training prints it")
    output: str | None = setting(
        None, "folder of the models; with --format=onnx the new folder of the files"
    )
    format: str = setting("savedmodel", "format of the files", choices=("savedmodel", "onnx"))
    name: str = setting("xgacmn", "the name by which clients address the SavedModel")
    version: int | None = setting(
        None, "number of the new version of the SavedModel; by default the next one"
    )
    gallery: tuple[str, ...] = setting(
        (),
        ".npz files of items to search in the SavedModel, as `xgacmn gallery` writes them; `all` "
        "stands for the items of the run's data set, `train` and `test` for those of a split. By "
        "default all, or test if the training split is streamed or all features take more than "
        "1 GiB",
    )
    depth: int = setting(10, "number of items that a search of the SavedModel returns")
    precision: str = setting(
        "float32",
        "number format of ONNX encoders; their inputs and outputs are always float32",
        choices=("float32", "float16", "int8"),
    )
    max_map_loss: float = setting(
        0.005,
        "maximum test mAP that ONNX files may lose, in either direction at any similarity",
        minimum=0.0,
    )


def main(argv: list[str]) -> None:
    """Run the command; a mistake ends the program with one line and status 2."""
    try:
        request = read_settings(Export, argv, str(__doc__), "run", "output")
        _export(request)
    except InputError as error:
        stop(str(error))
    except KeyboardInterrupt:
        stop("interrupted; nothing was exported", status=130)


def _export(request: Export) -> None:
    assert request.run and request.output
    folder = RunFolder(request.run)
    folder.check_finished()
    # Imported here: TensorFlow takes seconds to load, and --help need not wait for it.
    if request.format == "onnx":
        from xgacmn_tf.export.onnx_files import export_onnx

        export_onnx(request.run, request.output, request.precision, request.max_map_loss)
        print(request.output)
        return
    from xgacmn_tf.datasets.extraction.extractor_files import missing_note
    from xgacmn_tf.export.savedmodel import export_run

    version = export_run(
        request.run,
        request.output,
        request.name,
        request.version,
        request.gallery or None,
        request.depth,
    )
    print(version)
    if note := missing_note(folder.extractors):
        print(note, file=sys.stderr)
