"""Export of a run's encoders as ONNX files, with their measured loss of accuracy.

<output>/encode_image.onnx, encode_text.onnx   what ONNX Runtime loads, see `onnx_graphs`
<output>/report.json                           differences, mAP, sizes, latency, see `onnx_report`
<output>/README.md                             the same as text, and how to use the files
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from xgacmn_tf.errors import InputError
from xgacmn_tf.io.files import atomic_folder, write_json
from xgacmn_tf.runs.provenance import git_commit, versions
from xgacmn_tf.runs.trained import TrainedRun

# Maximum difference from TensorFlow in single precision: a wrong graph differs by far more.
TOLERANCE = 1e-5


def export_onnx(
    run_dir: str | os.PathLike[str],
    output: str | os.PathLike[str],
    precision: str = "float32",
    max_map_loss: float = 0.005,
) -> dict[str, Any]:
    """Export a finished run's best encoders, features to embeddings, as two ONNX files.

    Args:
      run_dir: the run folder; its data set must still be there, for the comparison.
      output: a new folder, or an empty one.
      precision: one of `onnx_graphs.PRECISIONS`.
      max_map_loss: maximum loss of mAP in either direction at any similarity.

    Returns:
      The content of report.json.

    Raises:
      InputError: there is no finished run; its data set has changed; a library is missing; the
        files would lose too much, or be more than 1e-5 off in single precision; or the folder
        cannot be written.
    """
    try:
        import onnx
        import onnxruntime
        import tf2onnx

        from xgacmn_tf.export import onnx_graphs, onnx_readme, onnx_report
    except ImportError as error:
        raise InputError(f'{error}; ONNX files need pip install "xgacmn_tf[onnx]"') from error
    if precision not in onnx_graphs.PRECISIONS:
        raise InputError(
            f"--precision={precision}: expected one of {', '.join(onnx_graphs.PRECISIONS)}"
        )
    if not max_map_loss >= 0:
        raise InputError(f"--max_map_loss={max_map_loss}: expected at least 0")
    target = _check_target(output)
    run = TrainedRun(run_dir)
    dataset = run.dataset()
    sample = dataset.train.to_fit().paired()
    training = {"image": sample.image, "text": sample.text}
    graphs = onnx_graphs.encoder_graphs(run.folder.best, precision, training)
    config = run.folder.recorded_config()
    report = {
        "dataset": config.data.dataset,
        "config_fingerprint": config.fingerprint(),
        "data_fingerprint": dataset.fingerprint,
        "headline_similarity": run.similarity,
        "precision": precision,
        "test_pairs": len(dataset.test),
        **onnx_report.compare(run.encoder, graphs, dataset.test),
    }
    _check_loss(report, max_map_loss)
    report["costs"] = onnx_report.costs(graphs, dataset.test)
    if precision != "float32":
        single = onnx_graphs.encoder_graphs(run.folder.best, "float32", training)
        report["float32_costs"] = onnx_report.costs(single, dataset.test)
    report["versions"] = versions(tf2onnx, onnx, onnxruntime)
    report["git_commit"] = git_commit()
    try:
        with atomic_folder(target) as folder:
            for modality, graph in graphs.items():
                (folder / f"encode_{modality}.onnx").write_bytes(graph.SerializeToString())
            write_json(folder / "report.json", report)
            (folder / "README.md").write_text(onnx_readme.readme(report, graphs), encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"--output={target} cannot be written ({error.strerror}); name a new folder where you "
            "may create files"
        ) from error
    return report


def _check_target(output: str | os.PathLike[str]) -> Path:
    """Return the absolute path of a folder that does not exist yet, or is empty."""
    target = Path(os.path.abspath(output))
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise InputError(f"--output={output} exists and is not empty; name a new folder")
    return target


def _check_loss(report: dict[str, Any], max_map_loss: float) -> None:
    """Raise an `InputError` if files lose more than they may."""
    precision = report["precision"]
    if precision == "float32":
        for signature, outputs in report["largest_difference"].items():
            for output, difference in outputs.items():
                if not difference <= TOLERANCE:
                    raise InputError(
                        f"{signature}.onnx would give {output}s that differ from TensorFlow's by "
                        f"{difference:.2g}, more than {TOLERANCE}; export a SavedModel"
                    )
    for similarity, scores in report["mAP"].items():
        for way in ("i2t", "t2i"):
            before, after = scores["tensorflow"][way], scores["onnx"][way]
            if before - after > max_map_loss:
                raise InputError(
                    f"--precision={precision} loses {before - after:.4f} of the test split's "
                    f"{similarity} {way} mAP ({before:.4f} to {after:.4f}), more than "
                    f"--max_map_loss={max_map_loss}; name a higher precision, or allow more"
                )
