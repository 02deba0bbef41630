"""README.md beside ONNX files, generated from the graphs and their report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xgacmn_tf.export.signature_readme import MEANING

_USE = """
```python
import onnxruntime

session = onnxruntime.InferenceSession("encode_text.onnx")
embedding = session.run(["embedding"], {"text_features": features})[0]  # features (n, d) float32
```
"""


def readme(report: Mapping[str, Any], graphs: Mapping[str, Any]) -> str:
    """Return Markdown that describes ONNX files.

    Args:
      report: what report.json holds, see `onnx_files`.
      graphs: the ONNX models by modality.
    """
    precision, versions = report["precision"], report["versions"]
    lines = [
        f"# Encoders in ONNX, {precision}",
        "",
        f"- trained on: `{report['dataset']}`, data {report['data_fingerprint']}",
        f"- settings: {report['config_fingerprint']}",
        f"- TensorFlow {versions['tensorflow']}, tf2onnx {versions['tf2onnx']}, "
        f"ONNX Runtime {versions['onnxruntime']}",
        "",
        "n is the size of the batch. A row with NaN or infinite features gives NaN.",
    ]
    for modality, graph in graphs.items():
        lines += ["", f"## encode_{modality}.onnx", "", "| | name | shape | |", "|---|---|---|---|"]
        for way, values in (("input", graph.graph.input), ("output", graph.graph.output)):
            for value in values:
                _, size = value.type.tensor_type.shape.dim
                lines.append(
                    f"| {way} | `{value.name}` | (n, {size.dim_value}) float32 | "
                    f"{MEANING[value.name]} |"
                )
    lines += [_USE, *_measured(report)]
    return "\n".join(lines) + "\n"


def _measured(report: Mapping[str, Any]) -> list[str]:
    precision, headline = report["precision"], report["headline_similarity"]
    lines = [
        f"## Measured on the test split, {report['test_pairs']} pairs",
        "",
        f"| full-gallery mAP, i2t / t2i | TensorFlow | ONNX, {precision} |",
        "|---|---|---|",
    ]
    for similarity, scores in report["mAP"].items():
        cells = [f"{scores[x]['i2t']:.4f} / {scores[x]['t2i']:.4f}" for x in ("tensorflow", "onnx")]
        note = ", which the run ranks by" if similarity == headline else ""
        lines.append(f"| {similarity}{note} | {' | '.join(cells)} |")
    if headline not in report["mAP"]:
        lines += [
            "",
            f"The run ranks by `{headline}`, which needs the codes' lengths; these files leave "
            "them out.",
        ]
    lines += [
        "",
        "| | largest difference from TensorFlow | bytes | µs a call of 1 row | of 64 rows |",
        "|---|---|---|---|---|",
    ]
    for signature, differences in report["largest_difference"].items():
        cells = [f"{output} {value:.2g}" for output, value in differences.items()]
        lines.append(
            f"| `{signature}` | {', '.join(cells)} | {_cost(report['costs'][signature])} |"
        )
        if "float32_costs" in report:
            cost = _cost(report["float32_costs"][signature])
            lines.append(f"| the same in float32 | | {cost} |")
    lines += ["", "By ONNX Runtime on the exporting processor, one thread."]
    return lines


def _cost(cost: Mapping[str, Any]) -> str:
    return " | ".join([f"{cost['bytes']:,}", *(f"{v:,.0f}" for v in cost["microseconds"].values())])
