"""What a comparison found: one table a data set, as Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xgacmn_tf import baselines
from xgacmn_tf.paper.experiments import Experiment
from xgacmn_tf.paper.significance import holm, mean_by_query, randomisation_test
from xgacmn_tf.io.files import atomic_path
from xgacmn_tf.names import CODE_SIMILARITIES, SIMILARITIES
from xgacmn_tf.settings.config import XGACMN

WAYS = ("i2t", "t2i", "avg")
# Measures beside mAP, of which a table has the mean of both directions, and what they are.
ITEM_MEASURES = {
    "R@10": "share of queries with their own pair among the first 10",
    "fine_mAP": "mAP by finer labels, which training never reads",
    "coverage@10": "share of the gallery among the first 10 of some query",
}


@dataclasses.dataclass
class Row:
    """A system at one similarity on one data set, over its finished seeds.

    Attributes:
      model, similarity: which.
      own: whether it is the similarity that the system itself names.
      scores: direction → (seeds,) full-gallery mAP.
      queries: "<direction>/<id>" → mean average precision over the seeds, both directions.
      seconds: median time of training.
      p: p-value of the difference from the best row of its group, corrected for the number of
        rows; None for the best itself.
      settings: those that were not left at their defaults, and the seeds where these differ.
      group: rows of one group are ranked and tested against each other.
      items: measure of `ITEM_MEASURES` → (seeds,) mean of both directions. A measure is missing
        where the data have no fine labels, or a run is of a version that did not measure it.
    """

    model: str
    similarity: str
    own: bool
    scores: dict[str, np.ndarray]
    queries: dict[str, float]
    seconds: float
    p: float | None = None
    settings: str = ""
    group: str = ""
    items: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    @property
    def title(self) -> str:
        if self.ranked:
            return "X-GACMN" if self.model == XGACMN else baselines.system(self.model).title
        return "X-GACMN, item"

    @property
    def ranked(self) -> bool:
        """Whether it is ranked and tested; not at "item", which is beyond the paper."""
        return self.similarity in CODE_SIMILARITIES

    @property
    def mean(self) -> float:
        return float(self.scores["avg"].mean())


def rows(cells: Sequence[Experiment], all_similarities: bool = False) -> list[Row]:
    """The rows of one data set, in the order of the cells' systems.

    Args:
      cells: of one data set; those that are not finished are left out.
      all_similarities: a row for every similarity that a system defines, not for its own alone.
        Each similarity is then a group: a system beside itself at another one says nothing of
        systems.

    Where X-GACMN has item embeddings, a row of its own shows the similarity "item", without p.
    """
    found = uncompared_rows(cells, all_similarities)
    for group in dict.fromkeys(row.group for row in found):
        compare_with_best([row for row in found if row.group == group and row.ranked])
    return found


def uncompared_rows(cells: Sequence[Experiment], all_similarities: bool = False) -> list[Row]:
    """`rows` without p-values, for who compares some of them only."""
    finished = [cell for cell in cells if cell.folder.is_finished()]
    found = []
    for model in dict.fromkeys(cell.config.model for cell in finished):
        mine = [cell for cell in finished if cell.config.model == model]
        runs = [cell.folder for cell in mine]
        metrics = [run.read_metrics() for run in runs]
        own = metrics[0]["headline_similarity"]
        defined = [s for s in metrics[0]["test"] if s in CODE_SIMILARITIES]
        shown = defined if all_similarities else [own]
        # Compared systems have no item embeddings, and X-GACMN has them only by default.
        if all("item" in m["test"] for m in metrics):
            shown = [*shown, "item"]
        for similarity in shown:
            scores = {
                way: np.array([m["test"][similarity]["mAP"][way] for m in metrics]) for way in WAYS
            }
            queries = mean_by_query([run.read_per_query(similarity) for run in runs])
            seconds = float(np.median([m["training_time_s"] for m in metrics]))
            row = Row(model, similarity, similarity == own, scores, queries, seconds)
            row.settings = _settings(mine)
            row.group = similarity if all_similarities else ""
            row.items = {
                name: np.array([m["test"][similarity][name]["avg"] for m in metrics])
                for name in ITEM_MEASURES
                if all(name in m["test"][similarity] for m in metrics)
            }
            found.append(row)
    # Stable: within a similarity the systems keep their order.
    found.sort(key=lambda row: SIMILARITIES.index(row.group) if row.group else 0)
    return found


def _settings(cells: Sequence[Experiment]) -> str:
    """ "c=30, centre=true", or with the seeds that have them where not all have the same."""
    seeds: dict[str, list[str]] = {}
    for cell in cells:
        seeds.setdefault(", ".join(cell.config.model_settings), []).append(str(cell.config.seed))
    if len(seeds) == 1:
        return next(iter(seeds))
    return "; ".join(
        f"{settings or 'defaults'} (seeds {', '.join(those)})" for settings, those in seeds.items()
    )


def compare_with_best(found: Sequence[Row]) -> None:
    """Sets `p` of every row: against the best of these, corrected for their number."""
    if not found:
        return
    best = max(found, key=lambda row: row.mean)
    others = [row for row in found if row is not best]
    p_values = []
    for row in others:
        queries = sorted(best.queries.keys() & row.queries.keys())
        p_values.append(
            randomisation_test(
                np.array([best.queries[q] for q in queries]),
                np.array([row.queries[q] for q in queries]),
                # A query is "<direction>/<id of its pair>", see `RunFolder.read_per_query`.
                [q.partition("/")[2] for q in queries],
            )
        )
    for row, p in zip(others, holm(p_values), strict=True):
        row.p = p


def write_tables(
    folder: Path,
    label: str,
    dataset: str,
    found: Sequence[Row],
    failed: Mapping[str, str],
    published: Mapping[str, tuple[float, float]],
) -> str:
    """Writes `<label>.md`, `.tex` and `.csv`; returns the Markdown.

    Args:
      folder: where to.
      label: what the files are called.
      dataset: the data set's name.
      found: from `rows`.
      failed: system → why it has no row.
      published: system → the paper's figures on the same features, image → text and text → image.
    """
    table = [_cells(row, published) for row in found]
    groups = [row.group if row.ranked else None for row in found]
    marks = [_ranks([entry[way] for entry in table], groups) for way in WAYS]
    measures = [name for name in ITEM_MEASURES if any(name in row.items for row in found)]
    seeds = max((len(row.scores["avg"]) for row in found), default=0)
    within = " of each similarity; * the system's own" if any(row.group for row in found) else ""
    note = (
        f"Full-gallery mAP on the test split of {dataset}, mean ± sd over {seeds} seeds; best in "
        f"bold, second underlined{within}. p: paired randomisation test against the best row, over "
        "pairs (both queries of a pair are exchanged together), Holm-corrected; the best row was "
        f"found on the same queries. {_item_note(found, measures)}Fit: median seconds."
    )
    changed = dict.fromkeys(f"{row.title}: {row.settings}" for row in found if row.settings)
    if changed:
        note += f" Settings: {'; '.join(changed)}."
    texts = {
        "md": _markdown(table, marks, measures, note, failed),
        "tex": _latex(table, marks, measures, note),
        "csv": _csv(table),
    }
    for suffix, text in texts.items():
        with atomic_path(folder / f"{label}.{suffix}") as temporary:
            temporary.write_text(text, encoding="utf-8")
    return texts["md"]


def _item_note(found: Sequence[Row], measures: Sequence[str]) -> str:
    """The note's sentences on the measures beside mAP and on the row that is ours."""
    note = "; ".join(f"{_column(name)}: {ITEM_MEASURES[name]}" for name in measures)
    if note:
        note += " (means of both directions, neither ranked nor tested). "
    if not all(row.ranked for row in found):
        note += (
            "X-GACMN, item is ours, beyond the paper: X-GACMN ranked by its similarity item, class "
            "posteriors and item embeddings together; it takes no part in ranks and tests. "
        )
    return note


def _cells(row: Row, published: Mapping[str, tuple[float, float]]) -> dict[str, Any]:
    paper = published.get(row.model)
    deviation = 1 if len(row.scores["avg"]) > 1 else 0
    return {
        "system": row.title,
        "similarity": row.similarity,
        "mark": "*" if row.group and row.own else "",
        "settings": row.settings,
        "paper": paper if row.ranked else None,
        **{way: float(row.scores[way].mean()) for way in WAYS},
        **{f"{way}_sd": float(row.scores[way].std(ddof=deviation)) for way in WAYS},
        **{name: float(values.mean()) for name, values in row.items.items()},
        **{f"{name}_sd": float(x.std(ddof=deviation)) for name, x in row.items.items()},
        "seeds": len(row.scores["avg"]),
        "p": row.p,
        "seconds": row.seconds,
    }


def _ranks(values: Sequence[float], groups: Sequence[str | None]) -> list[str]:
    """ "best", "second" or "" for each value in its group; equal values share a rank.

    Values without a group are not ranked.
    """
    names: dict[tuple[str | None, float], str] = {}
    for group in {group for group in groups if group is not None}:
        those = {round(v, 3) for v, g in zip(values, groups, strict=True) if g == group}
        ordered = [(group, value) for value in sorted(those, reverse=True)]
        names |= dict(zip(ordered, ("best", "second"), strict=False))
    return [names.get((g, round(v, 3)), "") for v, g in zip(values, groups, strict=True)]


def _number(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")


def _p(value: float | None) -> str:
    if value is None:
        return "–"
    return "< .001" if value < 0.001 else _number(value)


def _spread(entry: Mapping[str, Any], name: str, style: str = "{}") -> str:
    """A measure's mean in `style`, with its deviation where there are several seeds."""
    if name not in entry:
        return "–"
    text = style.format(_number(entry[name]))
    return f"{text} ± {_number(entry[f'{name}_sd'])}" if entry["seeds"] > 1 else text


def _body(
    table: Sequence[Mapping[str, Any]],
    marks: Sequence[Sequence[str]],
    measures: Sequence[str],
    styles: Mapping[str, str],
) -> list[list[str]]:
    """The cells of all rows as text; `styles` has a format for each mark."""
    lines = []
    for number, entry in enumerate(table):
        paper = " / ".join(map(_number, entry["paper"])) if entry["paper"] else "–"
        one, other, both = (styles[mark[number]] for mark in marks)
        lines.append(
            [
                entry["system"],
                entry["similarity"] + entry["mark"],
                paper,
                one.format(_number(entry["i2t"])),
                other.format(_number(entry["t2i"])),
                _spread(entry, "avg", both),
                _p(entry["p"]),
                *(_spread(entry, name) for name in measures),
                f"{entry['seconds']:.1f}",
            ]
        )
    return lines


def _header(measures: Sequence[str]) -> list[str]:
    columns = ["system", "similarity", "paper i2t / t2i", *WAYS, "p"]
    return [*columns, *map(_column, measures), "fit (s)"]


def _column(measure: str) -> str:
    return measure.replace("_", " ")


def _markdown(
    table: Sequence[Mapping[str, Any]],
    marks: Sequence[Sequence[str]],
    measures: Sequence[str],
    note: str,
    failed: Mapping[str, str],
) -> str:
    styles = {"best": "**{}**", "second": "<u>{}</u>", "": "{}"}
    header = _header(measures)
    lines = [header, ["---"] * len(header), *_body(table, marks, measures, styles)]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    missing = "".join(f"\n- {name}: no row: {reason}" for name, reason in failed.items())
    return f"{text}\n\n{note}\n{missing}".rstrip() + "\n"


def _latex(
    table: Sequence[Mapping[str, Any]],
    marks: Sequence[Sequence[str]],
    measures: Sequence[str],
    note: str,
) -> str:
    styles = {"best": r"\textbf{{{}}}", "second": r"\underline{{{}}}", "": "{}"}
    header = _header(measures)
    lines = [
        "% needs booktabs",
        rf"\begin{{tabular}}{{ll{'r' * (len(header) - 2)}}}",
        r"\toprule",
        " & ".join(header) + r" \\",
        r"\midrule",
        *(
            " & ".join(cell.replace("±", r"$\pm$").replace("<", "$<$") for cell in line) + r" \\"
            for line in _body(table, marks, measures, styles)
        ),
        r"\bottomrule",
        r"\end{tabular}",
        "% " + note.replace("±", "+-"),
    ]
    return "\n".join(lines) + "\n"


def _csv(table: Sequence[Mapping[str, Any]]) -> str:
    stream = io.StringIO()
    names = ["system", "similarity", "paper_i2t", "paper_t2i"]
    names += [*WAYS, *(f"{way}_sd" for way in WAYS)]
    names += [f"{name}{suffix}" for name in ITEM_MEASURES for suffix in ("", "_sd")]
    names += ["seeds", "p", "seconds", "settings"]
    writer = csv.DictWriter(stream, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for entry in table:
        paper = entry["paper"] or ("", "", "")
        writer.writerow({**entry, "paper_i2t": paper[0], "paper_t2i": paper[1]})
    return stream.getvalue()
