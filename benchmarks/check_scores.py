"""Scores of finished runs, computed again with NumPy and ranx, without code of this package.

    pip install -e ".[benchmarks]"
    python benchmarks/check_scores.py RUN [RUN ...]

RUN is a run folder. Its metrics.json is compared with what follows from embeddings.npz (codes,
class posteriors, embeddings of the search, labels) and pairs.npz (groups, identical items, fine
labels): every measure of the test split at every similarity, and the chance levels. "AP" is the
average precision of each query in per_query.npz. One line per run has the largest difference per
measure; for AP, the mean over the queries. A table has the recomputed mAP of the runs that differ
in the seed alone, as in docs/results.md: i2t / t2i (mean ± standard deviation over seeds).

The exit status is 1 if a difference exceeds 1e-4 or a stored score cannot be recomputed. 1e-4 is
less than the tables show, which have three decimals. Older runs whose codes are nearly one-hot may
differ by more in cosine, because codes were brought to unit length in single precision.

The encoders are not run: codes, class posteriors and which items are identical are taken as stored.
A run with more than 33 million class posteriors stores none, and the differences are nan. Time and
memory grow with the square of the number of test pairs.
"""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import ranx
from arguments import Parser
from tables import header, mean_and_deviation

TOLERANCE = 1e-4
BLOCK = 256  # Queries that are ranked at a time.
DEPTHS = (1, 5, 10)
SPREAD_QUERIES = 10_000  # Maximum number for "distinct_first" and "coverage@10", evenly spaced.
STORED = {"dot": "{}", "cosine": "{}", "posterior": "{}_posterior", "item": "search_{}"}
WAYS = ("i2t", "t2i")
# (similarity or "chance", measure, direction) → score. That of "AP" is an array.
Scores = dict[tuple[str, str, str], Any]


def measures(
    query: np.ndarray, gallery: np.ndarray, relevant: np.ndarray, own: np.ndarray
) -> dict[str, Any]:
    """Return measure → score of one direction.

    Args:
        query, gallery: (q, d) and (n, d), whose inner products are the similarity.
        relevant, own: (q, n) bool, relevant items and those that count as the own pair.
    """
    parts = defaultdict(list)
    for start in range(0, len(query), BLOCK):
        rows = slice(start, start + BLOCK)
        # Single precision, so that identical items tie. Ties go to the lower row of the gallery.
        scores = (query[rows] @ gallery.T).astype(np.float32)
        order = np.argsort(-scores, axis=1, kind="stable")
        parts["first"].append(order[:, :10])
        run = np.stack([order, np.take_along_axis(scores, order, axis=1)], axis=-1).astype(float)
        items = np.broadcast_to(np.arange(len(gallery)), order.shape)
        for judged, names in (
            (relevant, ["map", "map@50", "hits@50"]),
            (own, ["mrr", *(f"hit_rate@{k}" for k in DEPTHS)]),
        ):
            qrels = np.stack([items, judged[rows]], axis=-1).astype(float)
            for name, values in ranx.evaluate(qrels, run, names, return_mean=False).items():
                parts[name].append(values)
    found = {name: np.concatenate(values) for name, values in parts.items()}
    count, selected = relevant.sum(axis=1), min(len(query), SPREAD_QUERIES)
    first = found["first"][np.linspace(0, len(query) - 1, selected).astype(int)]
    total = found["map@50"] * count  # ranx divides by the number of relevant items.
    return {
        "AP": found["map"],
        "mAP": found["map"].mean(),
        "mAP@50": (total / np.maximum(found["hits@50"], 1)).mean(),
        "mAP@50/min": (total / np.clip(count, 1, 50)).mean(),
        **{f"R@{k}": found[f"hit_rate@{k}"].mean() for k in DEPTHS},
        "median_rank": np.median(1 / found["mrr"]),
        "distinct_first": len(np.unique(first[:, 0])),
        "coverage@10": len(np.unique(first)) / len(gallery),
    }


def chance(relevant: np.ndarray, own: np.ndarray) -> dict[str, Any]:
    """Return measure → expected score of a random ranking; for the arguments see `measures`."""
    n, depth = relevant.shape[1], min(50, relevant.shape[1])

    def precisions(count: int, items: int, depth: int) -> Any:
        """Sum over ranks: the probability of a relevant item times the expected precision."""
        before = np.arange(depth) * (count - 1) / max(items - 1, 1)
        return count / items * np.sum((1 + before) / np.arange(1, depth + 1))

    def by_hits(count: int) -> float:
        """Mean over the hypergeometric number of hits, which lie anywhere within the depth."""
        ways = [comb(count, hits) * comb(n - count, depth - hits) for hits in range(depth + 1)]
        means = [precisions(hits, depth, depth) / max(hits, 1) for hits in range(depth + 1)]
        return sum(way / comb(n, depth) * mean for way, mean in zip(ways, means, strict=True))

    def own_within(count: int) -> np.ndarray:
        """Probability of an own pair among the first 1, 2, … n items."""
        return 1 - np.cumprod(np.maximum(n - count - np.arange(n), 0) / (n - np.arange(n)))

    def mean(function: Callable[[int], Any], matrix: np.ndarray) -> Any:
        counts, queries = np.unique(matrix.sum(axis=1), return_counts=True)
        return np.average([function(c) for c in counts.tolist()], axis=0, weights=queries)

    within = mean(own_within, own)
    return {
        "mAP": mean(lambda count: precisions(count, n, n) / max(count, 1), relevant),
        "mAP@50": mean(by_hits, relevant),
        "mAP@50/min": mean(lambda c: precisions(c, n, depth) / np.clip(c, 1, 50), relevant),
        **{f"R@{k}": within[min(k, n) - 1] for k in DEPTHS},
        # Of an even number of values, the median lies between the two in the middle.
        "median_rank": 1 + (np.argmax(within > 0.5 - 1e-9) + np.argmax(within > 0.5 + 1e-9)) / 2,
    }


def fine_rows(fine: np.ndarray, labels: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
    """Return measure → the pairs that it is of.

    A finer label is not named like a category, nor are its items exactly those of a category.
    """
    plain = [" ".join(re.findall(r"[^\W_]+", name.casefold())) for name in [*names, *fine.tolist()]]
    finer = np.array([name not in plain[: len(names)] for name in plain[len(names) :]])
    for items in fine == np.unique(fine)[:, np.newaxis]:
        finer[items] &= not (labels.T == items).all(axis=1).any()
    rows = {"fine_mAP": np.arange(len(fine)), "fine_mAP/finer": np.flatnonzero(finer)}
    return rows if 0 < finer.sum() < len(fine) else {"fine_mAP": rows["fine_mAP"]}


def same(values: np.ndarray) -> np.ndarray:
    """Return (n, n) bool, which values are equal."""
    return np.asarray(values[:, np.newaxis] == values)


def representations(arrays: Any, similarity: str) -> list[np.ndarray] | None:
    """Return those of the images and texts, or None where the run has not stored them."""
    names = [STORED[similarity].format(modality) for modality in ("image", "text")]
    if not {*names} <= {*arrays}:
        return None
    sides = [arrays[name].astype(float) for name in names]
    if similarity == "cosine":
        sides = [x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in sides]
    return sides


def recomputed(run: Path, metrics: dict[str, Any]) -> Scores:
    """Return the scores of a run with this metrics.json."""
    arrays, pairs = np.load(run / "embeddings.npz"), np.load(run / "pairs.npz")
    label, names = arrays["label"], metrics["label_names"]
    labels = label[:, np.newaxis] == np.arange(len(names)) if label.ndim == 1 else label > 0
    group, image, text = (pairs[f"identity_{name}"] for name in ("group", "image", "text"))
    every: np.ndarray = np.arange(len(label))
    images, members = every, np.eye(len(label), dtype=bool)
    if metrics["deduplicated_gallery"]:  # An image has the labels and groups of all its pairs.
        images = np.sort(np.unique(image, return_index=True)[1])
        members = image[images, np.newaxis] == image
    relevant, own_text, own_image = (
        np.stack([matrix[pairs_of_image].any(axis=0) for pairs_of_image in members])
        for matrix in (
            labels.astype(np.float32) @ labels.T > 0,
            same(group) | same(text),
            same(group) | same(image),
        )
    )
    cases = [("", images, every, {"i2t": (relevant, own_text), "t2i": (relevant.T, own_image.T)})]
    if "fine_label" in pairs:
        for measure, rows in fine_rows(pairs["fine_label"], labels, names).items():
            alike = same(pairs["fine_label"][rows])
            cases.append((measure, rows, rows, dict.fromkeys(WAYS, (alike, alike))))
    scores: Scores = {}
    for measure, image_rows, text_rows, judged in cases:
        for way, step in zip(WAYS, (1, -1), strict=True):
            results = {"chance": chance(*judged[way])}
            for similarity in metrics["test"]:
                sides = representations(arrays, similarity)
                if sides is not None:
                    query, gallery = [sides[0][image_rows], sides[1][text_rows]][::step]
                    results[similarity] = measures(query, gallery, *judged[way])
            for part, of_part in results.items():
                of_part = {measure: of_part["mAP"]} if measure else of_part
                scores |= {(part, name, way): score for name, score in of_part.items()}
    return scores


def differences(run: Path, metrics: dict[str, Any], scores: Scores) -> dict[tuple[str, str], float]:
    """Return (similarity or "chance", measure) → largest difference; NaN of a missing score."""
    per_query = np.load(run / "per_query.npz")
    largest: dict[tuple[str, str], float] = defaultdict(float)
    for part, of_part in {**metrics["test"], "chance": metrics["chance"]}.items():
        stored = {(name, way): of_part[name][way] for name in of_part for way in of_part[name]}
        if part != "chance":
            stored |= {("AP", way): per_query[f"{part}_{way}"] for way in WAYS}
        for (measure, way), score in stored.items():
            ways = WAYS if way == "avg" else (way,)
            found = np.mean([scores.get((part, measure, each), np.nan) for each in ways], axis=0)
            difference = np.mean(np.abs(found - score))
            largest[part, measure] = float(np.maximum(largest[part, measure], difference))
    return largest


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="folder of a run")
    status, seeds = 0, defaultdict(list)
    runs = parser.parse_args(argv).runs
    for run in runs:
        if not (run / "metrics.json").exists():
            parser.error(f"{run}: there is no metrics.json, expected the folder of a finished run")
    for run in runs:
        metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        scores = recomputed(run, metrics)
        largest = differences(run, metrics, scores)
        wrong = dict.fromkeys(
            part for (part, _), value in largest.items() if not value <= TOLERANCE
        )
        status |= bool(wrong)
        by_measure: dict[str, float] = defaultdict(float)
        for (part, measure), value in largest.items():
            name = f"chance {measure}" if part == "chance" else measure
            by_measure[name] = float(np.maximum(by_measure[name], value))
        print(f"{run} {'DIFFERS in ' + ', '.join(wrong) if wrong else 'agrees'}:", end=" ")
        print(*(f"{name} {value:.0e}" for name, value in by_measure.items()), sep=", ")
        settings = json.dumps({**metrics["settings"], "seed": None})
        for part, measure, way in scores:
            if (measure, way) == ("mAP", "i2t") and part != "chance":
                means = [scores[part, "mAP", each] for each in WAYS]
                seeds[metrics["dataset"], metrics["model"], part, settings].append(means)
    print("", *header("data set", "system", "similarity", "seeds", "mAP"), sep="\n")
    for (*names, _), values in seeds.items():
        i2t, t2i = np.mean(values, axis=0)
        score = f"{i2t:.3f} / {t2i:.3f} ({mean_and_deviation(np.mean(values, axis=1).tolist())})"
        print(f"| {' | '.join([*names, str(len(values)), score.replace('0.', '.')])} |")
    return status


if __name__ == "__main__":
    raise SystemExit(main())
