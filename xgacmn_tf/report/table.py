"""The results of a run as a table for the terminal."""

from typing import Any

MEASURES = ("mAP", "mAP@50", "R@1", "R@5", "R@10", "median_rank")
DIRECTIONS = ("i2t", "t2i", "avg")


def results_table(metrics: dict[str, Any]) -> str:
    """`metrics.json` as text: every similarity, measure and direction, with chance level below.

    Args:
      metrics: as written by `experiment.run`.

    Returns:
      Lines of at most 90 columns; the headline similarity carries a star.
    """
    header = f"{'similarity':<12}{'':<5}" + "".join(f"{name:>12}" for name in MEASURES)
    lines = [header, "-" * len(header)]
    rows = [
        (name + ("*" if name == metrics["headline_similarity"] else ""), measures)
        for name, measures in metrics["test"].items()
    ]
    for name, measures in [*rows, ("chance", metrics["chance"])]:
        for direction in DIRECTIONS:
            label = name if direction == DIRECTIONS[0] else ""
            cells = "".join(_cell(measure, measures[measure][direction]) for measure in MEASURES)
            lines.append(f"{label:<12}{direction:<5}{cells}")
    lines += [
        "-" * len(header),
        "mAP ranks the whole gallery and divides by the relevant items; mAP@50 looks at",
        "the first 50 and divides by the relevant ones among them. R@K and median rank",
        "look for the query's own pair: any item of its group or of identical content.",
        f"Test split: {metrics['splits']['test']} pairs, {_queries(metrics)}.",
    ]
    if metrics["headline_similarity"] in metrics["test"]:
        # Runs of before the setting chose their epoch wherever they had a validation split.
        rule = metrics.get("settings", {}).get("choose_epoch", "best")
        chose = "best_epoch" in metrics and bool(metrics.get("validation")) and rule == "best"
        by = ", which chose the epoch on the validation split" if chose else ""
        lines.append(f"* the run's own similarity{by}.")
    lines += _items(metrics)
    lines += _unseen(metrics)
    lines += [f"warning: {warning}" for warning in metrics.get("warnings", [])]
    return "\n".join(lines)


def _items(metrics: dict[str, Any]) -> list[str]:
    """What searches by the item find, beside the category: in runs that measured it."""
    lines = []
    for name, title in (("coverage@10", "of the gallery in some top 10"), ("fine_mAP", "fine mAP")):
        means = {s: m[name]["avg"] for s, m in metrics["test"].items() if name in m}
        if means:
            cells = ", ".join(f"{similarity} {mean:.3f}" for similarity, mean in means.items())
            lines.append(f"{title}: {cells}")
    return lines


def _unseen(metrics: dict[str, Any]) -> list[str]:
    """The scores of categories that were never trained on, apart from those of the others."""
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


def _cell(measure: str, value: float) -> str:
    return f"{value:>12.1f}" if measure == "median_rank" else f"{value:>12.4f}"
