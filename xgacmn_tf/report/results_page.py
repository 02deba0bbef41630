"""The results page of a run: scores, curves, and the best, typical and worst queries.

The page contains all its styles, charts and images, and loads nothing from other places. It has no
scripts, and its template escapes every text, so that a hostile title has no effect.
"""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import numpy as np

from xgacmn_tf.datasets.paired import Split
from xgacmn_tf.errors import InputError
from xgacmn_tf.evaluation.fine_labels import has_finer_label, plain_name
from xgacmn_tf.evaluation.identity import Identity
from xgacmn_tf.evaluation.representations import Representations
from xgacmn_tf.io.files import atomic_path
from xgacmn_tf.report import pages
from xgacmn_tf.report.curves import COLORS, draw_charts
from xgacmn_tf.report.examples import (
    GRADE_NAMES,
    GRADES,
    QUANTILES,
    Example,
    examples_by_rank,
)
from xgacmn_tf.report.images import data_uri
from xgacmn_tf.report.table import SIMILARITY_NOTES

WAYS = ("i2t", "t2i", "avg")
# Categories in the page's table, at most; metrics.json has all.
MAX_CATEGORIES = 1000
# A text longer than this is cut for the page; articles run to thousands of characters.
MAX_CHARACTERS = 220
_KINDS = {0.0: "best", 0.5: "typical", 1.0: "worst"}
_NORMALIZERS = {
    "relevant": "÷ relevant items in the gallery",
    "hits": "÷ relevant items among them",
    "min": "÷ the most that could be among them",
}
_MEASURE_NOTES = {
    "distinct_first": "number of different items that are some query's first result",
    "fine_mAP": "mAP by fine labels, which training never saw",
    "fine_mAP/finer": "among the pairs whose fine label says more than their category",
    "median_rank": "of the query's own item; lower is better",
}


def write_results_page(
    path: str | os.PathLike[str],
    *,
    settings: Mapping[str, Any],
    metrics: Mapping[str, Any],
    history: Sequence[Mapping[str, Any]],
    split: Split,
    label_names: Sequence[str],
    image_representation: Any,
    text_representation: Any,
    identity: Identity,
    depth: int = 8,
    seed: int = 0,
) -> dict[str, list[Example]]:
    """Write the page, whole or not at all. The same arguments give the same bytes.

    Args:
      path: the .html file to write.
      settings: name → value, shown folded up.
      metrics: what metrics.json holds. `test` is required; of the rest (`chance`, `dataset`,
        `headline_similarity`, `normalizer`, `versions`, …) the page shows what is there. `date`,
        if given, stands beside the title.
      history: one dict of logged numbers an epoch; empty for a run that only evaluated.
      split: the test split, n pairs; its images and titles are shown where it has any.
      label_names: c class names.
      image_representation, text_representation: (n, d) float, finite, or `Representations`; their
        inner products rank the gallery, ties by row.
      identity: which items are the same.
      depth: number of results shown of each query.
      seed: breaks ties between queries, see `examples.examples_by_rank`.

    Returns:
      The queries on the page with their first results, by direction.

    Raises:
      InputError: the representations do not fit the split or are not finite, or `metrics` has no
        results for the test split.
    """
    image, text = _checked_sides(image_representation, text_representation, split)
    if not metrics.get("test"):
        raise InputError("metrics: no 'test' results; expected similarity → measure → numbers")
    items = Items(split, label_names)
    examples = examples_by_rank(image, text, split, label_names, identity, depth, seed)
    shown = [
        {"way": way, "examples": [items.example(example) for example in of_way]}
        for way, of_way in examples.items()
    ]
    has_fine = any(items.finer)
    headline = metrics["headline_similarity"]
    similarities = [headline, *(name for name in metrics["test"] if name != headline)]
    page = (
        _environment()
        .get_template("results.html.j2")
        .render(
            metrics=metrics,
            dataset=metrics.get("dataset") or "results",
            headline=headline,
            searched=metrics.get("search_similarity", headline),
            cards=_headline_cards(metrics, headline),
            similarities=similarities,
            similarity_note=SIMILARITY_NOTES,
            measures=_measure_rows(metrics, similarities),
            without_relevant=[
                (way, count)
                for way, count in metrics.get("queries_without_relevant", {}).items()
                if count
            ],
            categories=_categories(metrics.get("categories", [])),
            unseen=metrics.get("unseen_categories"),
            report=metrics.get("data_report"),
            warnings=metrics.get("warnings", []),
            colors=COLORS,
            charts=draw_charts(history, metrics.get("best_epoch")),
            directions=shown,
            grades={
                grade: {"mark": mark, "name": GRADE_NAMES[grade]}
                for grade, mark in GRADES.items()
                if has_fine or grade != "fine"
            },
            quantiles=[f"{100 * quantile:g}" for quantile in QUANTILES],
            seed=seed,
            depth=min(depth, len(split)),
            pairs=len(split),
            classes=len(label_names),
            settings=sorted(settings.items()),
            facts=_facts(metrics),
        )
    )
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")
    return examples


def _checked_sides(image: Any, text: Any, split: Split) -> tuple[Representations, Representations]:
    """Return the representations of both modalities; raise an `InputError` if they do not fit."""
    image = Representations.of("image_representation", image)
    text = Representations.of("text_representation", text)
    for side in (image, text):
        if len(side) != len(split):
            raise InputError(
                f"{side.name} has shape {side.shape}; expected one row for each of the split's "
                f"{len(split)} pairs"
            )
    if image.shape != text.shape:
        raise InputError(
            f"representations of images {image.shape} and texts {text.shape} must have one shape "
            "to be compared"
        )
    return image, text


class Items:
    """The pairs of a split as they are shown."""

    def __init__(self, split: Split, label_names: Sequence[str]):
        self.split, self.label_names = split, label_names
        self.finer = np.zeros(len(split), bool)
        if split.fine_label is not None:
            self.finer = has_finer_label(split.fine_label, split.label, label_names)

    def pair(self, row: int) -> dict[str, Any]:
        """Return id, title (or id), labels and image (a data URI or None) of one pair."""
        split = self.split
        text = str(split.id[row]) if split.title is None else str(split.title[row])
        text = " ".join(text.split()) or str(split.id[row])
        if len(text) > MAX_CHARACTERS:
            text = text[:MAX_CHARACTERS].rstrip() + "…"
        label = split.label[row]
        labels = np.flatnonzero(label) if split.label.ndim == 2 else [label]
        names = [self.label_names[int(k)] for k in labels]
        if self.finer[row] and split.fine_label is not None:
            # A line may break behind a slash or an underscore.
            fine = re.sub(r"(?<=[/_])(?=.)", "\u200b", str(split.fine_label[row]))
            # "animals/birds" names the category already.
            named = plain_name(fine).startswith(tuple(map(plain_name, names)))
            names = [fine] if named else [*names, fine]
        return {
            "id": str(split.id[row]),
            "text": text,
            "labels": ", ".join(names),
            "image": None if split.thumbnail is None else data_uri(split.thumbnail[row]),
        }

    def example(self, example: Example) -> dict[str, Any]:
        """Return a query and its hits, each with its pair."""
        grades = [hit.grade for hit in example.hits]
        return {
            "query": self.pair(example.row),
            "quantile": f"{100 * example.quantile:g}",
            "kind": _KINDS.get(example.quantile, ""),
            "ap": example.average_precision,
            "own_rank": example.own_rank,
            "counts": {grade: grades.count(grade) for grade in GRADES if grade in grades},
            "hits": [
                {"rank": hit.rank, "grade": hit.grade, **self.pair(hit.row)} for hit in example.hits
            ],
        }


def _environment() -> jinja2.Environment:
    environment = pages.environment("xgacmn_tf.report")
    environment.filters["score"] = lambda value: "–" if value is None else f"{value:.3f}"
    return environment


def _headline_cards(metrics: Mapping[str, Any], headline: str) -> list[dict[str, Any]]:
    """Return full mAP both ways and on average, with chance and the own item's rank where known."""
    scores = metrics["test"][headline].get("mAP", {})
    chance = metrics.get("chance", {}).get("mAP", {})
    searched = metrics.get("search_similarity", headline)
    own = metrics["test"].get(searched, {})
    recall, rank = (own.get(measure, {}) for measure in ("R@10", "median_rank"))
    return [
        {
            "way": way,
            "score": scores[way],
            "chance": chance.get(way),
            "recall": recall.get(way),
            "median_rank": rank.get(way),
        }
        for way in WAYS
        if way in scores
    ]


def _measure_rows(metrics: Mapping[str, Any], similarities: list[str]) -> list[dict[str, Any]]:
    """Return a row per measure: its cells for every similarity and for chance, the best flagged."""
    test, rows = metrics["test"], []
    for measure in test[similarities[0]]:
        results = {name: test[name].get(measure, {}) for name in similarities}
        best_of = min if measure == "median_rank" else max
        best = {
            way: best_of(values)
            for way in WAYS
            # Where all are equal none is best.
            if len(values := {r[way] for r in results.values() if r.get(way) is not None}) > 1
        }
        show = "{:.1f}" if measure in ("median_rank", "distinct_first") else "{:.3f}"
        groups = []
        for name in [*similarities, *(["chance"] if metrics.get("chance") else [])]:
            values = results.get(name, metrics.get("chance", {}).get(measure, {}))
            groups.append(
                [
                    {
                        "text": "–" if values.get(way) is None else show.format(values[way]),
                        "best": name in results and values.get(way) == best.get(way, object()),
                    }
                    for way in WAYS
                ]
            )
        rows.append(
            {
                "name": measure.replace("_", " "),
                "note": _measure_note(measure, metrics.get("normalizer", {})),
                "groups": groups,
            }
        )
    return rows


def _measure_note(measure: str, normalizer: Mapping[str, str]) -> str:
    """Return the meaning of a measure: its depth and its normalizer."""
    kind, _, depth = measure.partition("@")
    depth = depth.partition("/")[0]  # "mAP@50/min" names its normalizer after the depth.
    if kind == "coverage":
        return f"share of the gallery in the top {depth} of some query"
    if measure in _MEASURE_NOTES:
        return _MEASURE_NOTES[measure]
    if kind == "R":
        return f"share of queries with their own item in the top {depth}"
    if kind != "mAP":
        return ""
    scope = f"top {depth} only" if depth else "whole ranking"
    chosen = normalizer.get(measure, "")
    return ", ".join(part for part in (scope, _NORMALIZERS.get(chosen, chosen)) if part)


def _categories(table: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the table of categories, each row with its place in every order of the page."""
    largest_first = sorted(table, key=lambda entry: -entry["queries"]["t2i"])
    largest = {id(entry) for entry in largest_first[:MAX_CATEGORIES]}
    rows = [dict(entry) for entry in table if id(entry) in largest]
    keys = {
        "queries": lambda row: -row["queries"]["t2i"],
        "i2t": lambda row: row["mAP"]["i2t"],
        "t2i": lambda row: row["mAP"]["t2i"],
        "pairs": lambda row: row["train_pairs"],
    }
    for row in rows:
        row["place"] = {}
    for name, key in keys.items():
        for place, row in enumerate(sorted(rows, key=key)):
            row["place"][name] = place
    return {"rows": rows, "total": len(table)}


def _facts(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the data, splits, seed, times and versions of the run."""
    facts = [
        ("data set", metrics.get("dataset")),
        ("data fingerprint", metrics.get("data_fingerprint")),
    ]
    facts += [(f"pairs in {name}", count) for name, count in metrics.get("splits", {}).items()]
    facts += [("seed", metrics.get("seed")), ("best epoch", metrics.get("best_epoch"))]
    for key, name, unit in (
        ("wall_time_s", "wall time", " s"),
        ("training_time_s", "training time", " s"),
        ("examples_per_second", "training speed", " pairs/s"),
    ):
        if metrics.get(key) is not None:
            facts.append((name, f"{metrics[key]:,.0f}{unit}"))
    facts += list(metrics.get("versions", {}).items())
    return [(name, str(value)) for name, value in facts if value is not None]
