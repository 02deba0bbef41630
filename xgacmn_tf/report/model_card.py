"""The model card of a run: its data, scores, intended use, limits, licenses and commands."""

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xgacmn_tf.io.files import atomic_path
from xgacmn_tf.names import DIRECTIONS, XGACMN
from xgacmn_tf.report import pages
from xgacmn_tf.report.licenses import licenses
from xgacmn_tf.report.table import COLUMNS, SIMILARITY_NOTES

# Categories in the card, at most; metrics.json has all.
MAX_CATEGORIES = 50
_MEASURES = {measure: title for (measure, way), title in COLUMNS.items() if way == "avg"}


def write_model_card(
    path: str | os.PathLike[str],
    metrics: Mapping[str, Any],
    arguments: Sequence[str],
    extractors: Mapping[str, str],
) -> str:
    """Write the card as Markdown, whole or not at all, and return it.

    Args:
      path: the file to write.
      metrics: the content of metrics.json.
      arguments: of `xgacmn train`, which make the same run, see `Config.arguments`.
      extractors: modality → name of the extractor of the run's features; empty where there is none.
    """
    with atomic_path(Path(path)) as temporary:
        card = model_card(metrics, arguments, extractors)
        temporary.write_text(card, encoding="utf-8")
    return card


def model_card(
    metrics: Mapping[str, Any], arguments: Sequence[str], extractors: Mapping[str, str]
) -> str:
    """Return the card as Markdown, see `write_model_card`."""
    report = metrics["data_report"]
    dataset, searched = metrics["dataset"], metrics.get("search_similarity")
    categories = _categories(metrics)
    shown = categories[:MAX_CATEGORIES]
    environment = pages.environment("xgacmn_tf.report")
    environment.filters["cell"] = _cell
    return environment.get_template("model_card.md.j2").render(
        metrics=metrics,
        model="X-GACMN" if metrics["model"] == XGACMN else metrics["model"],
        dataset=dataset,
        features=" and ".join(f"{m}s by {name}" for m, name in sorted(extractors.items()))
        or "given as numbers",
        versions=[metrics["versions"].get(p, "–") for p in ("xgacmn_tf", "tensorflow", "keras")],
        searched=searched or metrics["headline_similarity"],
        columns=list(next(iter(report["splits"].values()))),
        splits={n: [_number(v) for v in c.values()] for n, c in report["splits"].items()},
        notes=report["notes"],
        warnings=metrics["warnings"],
        score_columns=list(_MEASURES.values()),
        scores=_scores(metrics),
        similarities={n: SIMILARITY_NOTES[n] for n in metrics["test"] if n in SIMILARITY_NOTES},
        categories=shown,
        shortened=f"; {len(shown)} of {len(categories)}" if shown != categories else "",
        no_match=_no_match(metrics),
        unseen="; metrics.json has their scores" if metrics.get("unseen_categories") else "",
        licenses=licenses(dataset, extractors.values()),
        commands=_commands(arguments, extractors),
    )


def _cell(text: object) -> str:
    """Return a text that stays within one cell of a Markdown table."""
    return " ".join(str(text).split()).replace("|", "\\|")


def _scores(metrics: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    rows = [*metrics["test"].items(), ("chance", metrics["chance"])]
    return [
        (name, [_number(measures.get(m, {}).get("avg"), _digits(m)) for m in _MEASURES])
        for name, measures in rows
    ]


def _digits(measure: str) -> int:
    return 1 if measure == "median_rank" else 3


def _categories(metrics: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return name, training pairs and mAP of both directions; the lowest mean mAP first."""
    rows = []
    for each in metrics.get("categories", []):
        values = [each["mAP"].get(way) for way in DIRECTIONS]
        scores = [value for value in values if value is not None]
        if scores:
            cells = each["name"], _number(each["train_pairs"]), *(_number(v, 3) for v in values)
            rows.append((sum(scores) / len(scores), cells))
    return [cells for _, cells in sorted(rows)]


def _no_match(metrics: Mapping[str, Any]) -> str:
    match = metrics.get("item_embedding", {}).get("match", {}).get("test")
    if not match:
        return "This model has no threshold that would tell."
    caught = " and ".join(
        f"{100 * v['unmatched_rejected']:.0f} % of {m}s" for m, v in match.items()
    )
    return (
        "A threshold flags 5 % of validation queries whose category is in the gallery; of those "
        f"whose category is missing, it flags {caught}."
    )


def _commands(arguments: Sequence[str], extractors: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return purpose and command; RUN stands for the run folder, wherever it lies by then."""
    # In one line, because a line break would end the block of code that Markdown makes of it.
    train = " ".join(shlex.join(["xgacmn", "train", *arguments]).split())
    commands = [("Train again", train)]
    if "text" in extractors:
        commands.append(("Search", 'xgacmn search --run=RUN "a text"'))
    return [
        *commands,
        ("Search from other programs and a browser", "xgacmn serve --run=RUN"),
        ("Export with other items", "xgacmn export --run=RUN --output=DIR --gallery=items.npz"),
        ("Compare with a newer run", "xgacmn compare-runs RUN NEW_RUN"),
    ]


def _number(value: float | None, digits: int = 0) -> str:
    if value is None:
        return "–"
    return f"{value:,.{digits}f}" if digits or value == int(value) else f"{value:.2f}"
