"""Figure beyond the paper: categories of the first hits for queries of each category."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from xgacmn_tf import datasets
from xgacmn_tf.evaluation.ranking import rank_gallery
from xgacmn_tf.names import DIRECTIONS
from xgacmn_tf.paper import document, drawing
from xgacmn_tf.paper.document import Figure
from xgacmn_tf.paper.runs import Runs
from xgacmn_tf.paper.scores import Codes, read_codes
from xgacmn_tf.paper.studies import Study

DEPTHS = (1, 10)


def figure(runs: Runs, study: Study) -> Figure:
    """Return the figure of X-GACMN on a study, at the similarity of its runs."""
    finished = runs.finished(study.label)
    similarity = finished[0].folder.read_metrics()["headline_similarity"]
    names = datasets.for_config(finished[0].config).label_names
    codes = [read_codes(run.folder) for run in finished]
    matrices = {
        (way, depth): np.mean(
            [confusion(code, similarity, way, depth, len(names)) for code in codes], axis=0
        )
        for depth in DEPTHS
        for way in DIRECTIONS
    }
    name = f"confusion_{study.label}"
    return Figure(
        name,
        f"Categories of hits, {study.title}: share of each category (column) among the first "
        f"{' and the first '.join(map(str, DEPTHS))} hits for queries of each category (row), in "
        f"percent; rows add up to 100. X-GACMN, {similarity} similarity, test split, "
        f"{document.seeds_in_words(len(finished)).replace(' ± sd', '')}.",
        draw(matrices, names, runs.request.output, name),
    )


def confusion(codes: Codes, similarity: str, way: str, depth: int, classes: int) -> np.ndarray:
    """Return (c, c): entry (i, j) is the share of category j among the first hits of category i.

    An item with several labels counts in equal parts for each of them. A category without queries
    has a row of zeros.

    Args:
      codes: of the test split.
      similarity, way: what ranks, and the direction.
      depth: number of hits.
      classes: number of categories.
    """
    image, text = codes.represented[similarity]
    query, gallery = (image, text) if way == "i2t" else (text, image)
    rows, _ = rank_gallery(query, gallery, depth)
    targets = codes.targets()
    shares = np.zeros((len(targets), classes))
    shares[:, : targets.shape[1]] = targets / np.maximum(targets.sum(axis=1, keepdims=True), 1)
    of_hits = shares[rows].mean(axis=1)
    totals = shares.sum(axis=0)[:, None]
    return shares.T @ of_hits / np.where(totals > 0, totals, 1)


def draw(
    matrices: dict[tuple[str, int], np.ndarray], names: tuple[str, ...], output: Path, name: str
) -> str:
    """Draw a panel for each direction and depth; return the path of the PNG."""
    side = 0.34 * len(names) + 1.4

    def draw_panel(panel: Any, depth: int, way: str) -> None:
        matrix = 100 * matrices[way, depth]
        panel.imshow(matrix, cmap="Blues", vmin=0, vmax=100)
        for (i, j), value in np.ndenumerate(matrix):
            if value >= 0.5:
                color = "white" if value > 55 else "#333333"
                panel.text(j, i, f"{value:.0f}", ha="center", va="center", color=color, size=6.5)
        panel.grid(False)
        panel.set_title(f"{drawing.DIRECTION[way]}, first {depth}")
        panel.set_xticks(range(len(names)), names, rotation=60, ha="right")
        panel.set_yticks(range(len(names)), names)

    def finish(figure: Any, axes: np.ndarray) -> None:
        figure.supylabel("category of the query")
        figure.supxlabel("category of the hits")

    size = 2 * side, len(DEPTHS) * side
    return drawing.grid(output, name, size, DEPTHS, DIRECTIONS, draw_panel, finish)
