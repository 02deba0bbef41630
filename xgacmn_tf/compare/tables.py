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
from xgacmn_tf.compare.grid import Cell
from xgacmn_tf.compare.significance import holm, mean_by_query, randomisation_test
from xgacmn_tf.config import XGACMN
from xgacmn_tf.files import atomic_path
from xgacmn_tf.names import CODE_SIMILARITIES

WAYS = ("i2t", "t2i", "avg")


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

    @property
    def title(self) -> str:
        return "X-GACMN" if self.model == XGACMN else baselines.system(self.model).title

    @property
    def mean(self) -> float:
        return float(self.scores["avg"].mean())


def rows(cells: Sequence[Cell], all_similarities: bool = False) -> list[Row]:
    """The rows of one data set, in the order of the cells' systems.

    Args:
      cells: of one data set; those that are not finished are left out.
      all_similarities: a row for every similarity that a system defines, not for its own alone.
        Each similarity is then a group: a system beside itself at another one says nothing of
        systems.
    """
    found = uncompared_rows(cells, all_similarities)
    for group in dict.fromkeys(row.group for row in found):
        compare_with_best([row for row in found if row.group == group])
    return found


def uncompared_rows(cells: Sequence[Cell], all_similarities: bool = False) -> list[Row]:
    """`rows` without p-values, for who compares some of them only."""
    finished = [cell for cell in cells if cell.folder.is_finished()]
    found = []
    for model in dict.fromkeys(cell.config.model for cell in finished):
        mine = [cell for cell in finished if cell.config.model == model]
        runs = [cell.folder for cell in mine]
        metrics = [run.read_metrics() for run in runs]
        own = metrics[0]["headline_similarity"]
        # Compared systems have no item embeddings.
        defined = [s for s in metrics[0]["test"] if s in CODE_SIMILARITIES]
        for similarity in defined if all_similarities else [own]:
            scores = {
                way: np.array([m["test"][similarity]["mAP"][way] for m in metrics]) for way in WAYS
            }
            queries = mean_by_query([run.read_per_query(similarity) for run in runs])
            seconds = float(np.median([m["training_time_s"] for m in metrics]))
            row = Row(model, similarity, similarity == own, scores, queries, seconds)
            row.settings = _settings(mine)
            row.group = similarity if all_similarities else ""
            found.append(row)
    # Stable: within a similarity the systems keep their order.
    found.sort(key=lambda row: CODE_SIMILARITIES.index(row.group) if row.group else 0)
    return found


def _settings(cells: Sequence[Cell]) -> str:
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
    marks = [_ranks([entry[way] for entry in table], [row.group for row in found]) for way in WAYS]
    seeds = max((len(row.scores["avg"]) for row in found), default=0)
    within = " of each similarity; * the system's own" if any(row.group for row in found) else ""
    note = (
        f"Full-gallery mAP on the test split of {dataset}, mean ± sd over {seeds} seeds; best in "
        f"bold, second underlined{within}. p: paired randomisation test against the best row, over "
        "pairs (both queries of a pair are exchanged together), Holm-corrected; the best row was "
        "found on the same queries. Fit: median seconds."
    )
    changed = dict.fromkeys(f"{row.title}: {row.settings}" for row in found if row.settings)
    if changed:
        note += f" Settings: {'; '.join(changed)}."
    texts = {
        "md": _markdown(table, marks, note, failed),
        "tex": _latex(table, marks, note),
        "csv": _csv(table),
    }
    for suffix, text in texts.items():
        with atomic_path(folder / f"{label}.{suffix}") as temporary:
            temporary.write_text(text, encoding="utf-8")
    return texts["md"]


def _cells(row: Row, published: Mapping[str, tuple[float, float]]) -> dict[str, Any]:
    paper = published.get(row.model)
    deviation = 1 if len(row.scores["avg"]) > 1 else 0
    return {
        "system": row.title,
        "similarity": row.similarity,
        "mark": "*" if row.group and row.own else "",
        "settings": row.settings,
        "paper": paper and (*paper, sum(paper) / 2),
        **{way: float(row.scores[way].mean()) for way in WAYS},
        **{f"{way}_sd": float(row.scores[way].std(ddof=deviation)) for way in WAYS},
        "seeds": len(row.scores["avg"]),
        "p": row.p,
        "seconds": row.seconds,
    }


def _ranks(values: Sequence[float], groups: Sequence[str]) -> list[str]:
    """ "best", "second" or "" for each value in its group; equal values share a rank."""
    names: dict[tuple[str, float], str] = {}
    for group in set(groups):
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


def _body(
    table: Sequence[Mapping[str, Any]], marks: Sequence[Sequence[str]], styles: Mapping[str, str]
) -> list[list[str]]:
    """The cells of all rows as text; `styles` has a format for each mark."""
    lines = []
    for number, entry in enumerate(table):
        paper = " / ".join(map(_number, entry["paper"][:2])) if entry["paper"] else "–"
        scores = [
            styles[marks[k][number]].format(_number(entry[way])) for k, way in enumerate(WAYS)
        ]
        if entry["seeds"] > 1:
            scores[2] += f" ± {_number(entry['avg_sd'])}"
        lines.append(
            [
                entry["system"],
                entry["similarity"] + entry["mark"],
                paper,
                *scores,
                _p(entry["p"]),
                f"{entry['seconds']:.1f}",
            ]
        )
    return lines


HEADER = ("system", "similarity", "paper i2t / t2i", *WAYS, "p", "fit (s)")


def _markdown(
    table: Sequence[Mapping[str, Any]],
    marks: Sequence[Sequence[str]],
    note: str,
    failed: Mapping[str, str],
) -> str:
    styles = {"best": "**{}**", "second": "<u>{}</u>", "": "{}"}
    lines = [list(HEADER), ["---"] * len(HEADER), *_body(table, marks, styles)]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    missing = "".join(f"\n- {name}: no row: {reason}" for name, reason in failed.items())
    return f"{text}\n\n{note}\n{missing}".rstrip() + "\n"


def _latex(table: Sequence[Mapping[str, Any]], marks: Sequence[Sequence[str]], note: str) -> str:
    styles = {"best": r"\textbf{{{}}}", "second": r"\underline{{{}}}", "": "{}"}
    lines = [
        "% needs booktabs",
        rf"\begin{{tabular}}{{ll{'r' * (len(HEADER) - 2)}}}",
        r"\toprule",
        " & ".join(HEADER) + r" \\",
        r"\midrule",
        *(
            " & ".join(cell.replace("±", r"$\pm$").replace("<", "$<$") for cell in line) + r" \\"
            for line in _body(table, marks, styles)
        ),
        r"\bottomrule",
        r"\end{tabular}",
        "% " + note.replace("±", "+-"),
    ]
    return "\n".join(lines) + "\n"


def _csv(table: Sequence[Mapping[str, Any]]) -> str:
    stream = io.StringIO()
    names = ["system", "similarity", "paper_i2t", "paper_t2i"]
    names += [*WAYS, *(f"{way}_sd" for way in WAYS), "seeds", "p", "seconds", "settings"]
    writer = csv.DictWriter(stream, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for entry in table:
        paper = entry["paper"] or ("", "", "")
        writer.writerow({**entry, "paper_i2t": paper[0], "paper_t2i": paper[1]})
    return stream.getvalue()
