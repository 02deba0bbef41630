"""The results of a run as a table for the terminal."""

from typing import Any

DIRECTIONS = ("i2t", "t2i", "avg")
# Measure and direction → title.
COLUMNS = {
    ("mAP", "i2t"): "mAP i2t",
    ("mAP", "t2i"): "mAP t2i",
    ("mAP", "avg"): "mAP",
    ("R@1", "avg"): "R@1",
    ("R@10", "avg"): "R@10",
    ("median_rank", "avg"): "MedR",
    ("fine_mAP", "avg"): "fine mAP",
    ("coverage@10", "avg"): "coverage",
}
SIMILARITY_NOTES = {
    "cosine": "angle between codes",
    "dot": "inner product of codes",
    "posterior": "inner product of class posteriors",
    "item": "posterior, and cosine of item embeddings",
}
# Columns that older runs and data sets without fine labels lack, with a note.
_OPTIONAL = {
    "fine_mAP": "fine mAP: by fine labels",
    "coverage@10": "coverage: share of the gallery in some top 10",
}


def results_table(metrics: dict[str, Any]) -> str:
    """Return `metrics.json` as text: a line for each similarity, and the chance level below.

    Args:
      metrics: as written by `experiment.run`.

    Returns:
      Lines of at most 90 columns, apart from warnings; the headline similarity carries a star.
    """
    test = metrics["test"]
    columns = {
        column: title
        for column, title in COLUMNS.items()
        if column[0] not in _OPTIONAL or any(column[0] in measures for measures in test.values())
    }
    header = f"{'similarity':<11}" + "".join(f"{title:>9}" for title in columns.values())
    lines = [header, "-" * len(header)]
    rows = [
        (name + ("*" if name == metrics["headline_similarity"] else ""), measures)
        for name, measures in test.items()
    ]
    for name, measures in [*rows, ("chance", metrics["chance"])]:
        cells = "".join(_cell(measures, *column) for column in columns)
        lines.append(f"{name:<11}{cells}")
    lines += [
        "-" * len(header),
        "mAP ranks the whole gallery by category. All columns after it are means of both",
        "directions. R@K and MedR (median rank) look for the query's own item: any item of its",
        "group or of identical content.",
    ]
    notes = [note for measure, note in _OPTIONAL.items() if (measure, "avg") in columns]
    lines += ["; ".join(notes) + "."] if notes else []
    lines.append(f"Test split: {metrics['splits']['test']} pairs, {_queries(metrics)}.")
    if metrics["headline_similarity"] in test:
        # Runs of before the setting chose their epoch wherever they had a validation split.
        rule = metrics.get("settings", {}).get("choose_epoch", "best")
        chose = "best_epoch" in metrics and bool(metrics.get("validation")) and rule == "best"
        by = ", which chose the epoch on the validation split" if chose else ""
        lines.append(f"* the run's own similarity{by}.")
    searched = metrics.get("search_similarity", metrics["headline_similarity"])
    if searched != metrics["headline_similarity"]:
        lines.append(f"Searches rank by {searched}.")
    lines += _unseen(metrics)
    lines += [f"warning: {warning}" for warning in metrics.get("warnings", [])]
    return "\n".join(lines)


def _unseen(metrics: dict[str, Any]) -> list[str]:
    """Return the scores of categories without training pairs, apart from those of the others."""
    unseen = metrics.get("unseen_categories")
    if not unseen:
        return []
    lines = ["mAP (i2t, t2i, avg) of queries with and without a category of the training pairs:"]
    for name, parts in unseen["mAP"].items():
        cells = {
            part: " ".join("–" if scores[d] is None else f"{scores[d]:.4f}" for d in DIRECTIONS)
            for part, scores in parts.items()
        }
        lines.append(f"  {name:<12}seen {cells['seen']}; unseen {cells['unseen']}")
    return lines


def _queries(metrics: dict[str, Any]) -> str:
    # Older runs have neither key.
    if not metrics.get("deduplicated_gallery"):
        return "all of them queries"
    images, texts = (metrics["queries"][way] for way in ("i2t", "t2i"))
    return f"each image once: {images} images and {texts} texts as queries and gallery"


def _cell(measures: dict[str, Any], measure: str, direction: str) -> str:
    if measure in _OPTIONAL and measure not in measures:
        return f"{'–':>9}"
    value = measures[measure][direction]
    return f"{value:>9.1f}" if measure == "median_rank" else f"{value:>9.3f}"
