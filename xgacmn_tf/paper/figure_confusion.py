"""Beyond the paper: which categories a query of each category finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xgacmn_tf.evaluation.ranking import rank_gallery
from xgacmn_tf.paper import document, drawing
from xgacmn_tf.paper.document import Figure
from xgacmn_tf.paper.runs import Runs, dataset
from xgacmn_tf.paper.scores import DIRECTIONS, Codes, read_codes
from xgacmn_tf.paper.studies import Study

DEPTHS = (1, 10)


def picture(runs: Runs, study: Study) -> Figure:
    """X-GACMN's confusion on a study, at the similarity of its runs."""
    cells = runs.finished(study.label)
    similarity = cells[0].folder.read_metrics()["headline_similarity"]
    names = dataset(cells[0].config).label_names
    codes = [read_codes(cell.folder) for cell in cells]
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
        f"Categories found, {study.title}: share of each category (column) among the first "
        f"{' and the first '.join(map(str, DEPTHS))} results of a query's category (row), in "
        f"percent; rows add up to 100. X-GACMN, {similarity} similarity, test split, "
        f"{document.seeds_in_words(len(cells)).replace(' ± sd', '')}.",
        draw(matrices, names, runs.request.output, name),
    )


def confusion(codes: Codes, similarity: str, way: str, depth: int, classes: int) -> np.ndarray:
    """(c, c): entry (i, j) is the share of category j among the first results of category i.

    With several labels an item counts for each of them in equal parts. A category without a
    query has a row of zeros.
    """
    image, text = codes.represented[similarity]
    query, gallery = (image, text) if way == "i2t" else (text, image)
    rows, _ = rank_gallery(query, gallery, depth)
    targets = codes.targets()
    shares = np.zeros((len(targets), classes))
    shares[:, : targets.shape[1]] = targets / np.maximum(targets.sum(axis=1, keepdims=True), 1)
    found = shares[rows].mean(axis=1)
    totals = shares.sum(axis=0)[:, None]
    return shares.T @ found / np.where(totals > 0, totals, 1)


def draw(
    matrices: dict[tuple[str, int], np.ndarray], names: tuple[str, ...], output: Path, name: str
) -> str:
    """Draws a panel for each direction and depth; returns the PNG's path."""
    side = 0.34 * len(names) + 1.4
    with drawing.figure(2 * side, len(DEPTHS) * side) as figure:
        axes = figure.subplots(len(DEPTHS), len(DIRECTIONS), sharex=True, sharey=True)
        for row, depth in zip(axes, DEPTHS, strict=True):
            for panel, way in zip(row, DIRECTIONS, strict=True):
                matrix = 100 * matrices[way, depth]
                panel.imshow(matrix, cmap="Blues", vmin=0, vmax=100)
                for (i, j), value in np.ndenumerate(matrix):
                    if value >= 0.5:
                        colour = "white" if value > 55 else "#333333"
                        panel.text(
                            j, i, f"{value:.0f}", ha="center", va="center", color=colour, size=6.5
                        )
                panel.grid(False)
                panel.set_title(f"{drawing.DIRECTION[way]}, first {depth}")
                panel.set_xticks(range(len(names)), names, rotation=60, ha="right")
                panel.set_yticks(range(len(names)), names)
        figure.supylabel("category of the query")
        figure.supxlabel("category of what is found")
        return drawing.save(figure, output, name)
