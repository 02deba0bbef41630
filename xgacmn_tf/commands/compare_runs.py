"""Compares two finished runs on their common test pairs: `xgacmn compare-runs`.

    xgacmn compare-runs runs/shop-1a2b3c4d runs/shop-5e6f7a8b
        prints every measure of the old and the new run with p-values, and the categories that lost
        and gained most.
    xgacmn compare-runs OLD NEW --output=comparison.json
        writes all rows, too.
    xgacmn compare-runs OLD NEW --gate=item/R@10 --max_loss=0.01 && deploy
        exits with 1 if the new run is worse: if it loses more than --max_loss, significantly
        (p < 0.05, paired randomization test over pairs).

Exit status: 0, the new run is not worse; 1, it is worse; 2, the runs cannot be compared.
"""

from __future__ import annotations

import dataclasses
import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from xgacmn_tf.errors import InputError
from xgacmn_tf.io.files import write_json
from xgacmn_tf.settings.command_line import read_words_and_settings, stop
from xgacmn_tf.settings.fields import Section, setting

if TYPE_CHECKING:
    from xgacmn_tf.runs.comparison import Comparison, Row

SHOWN = 5
logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class CompareRuns(Section):
    """The gate and the file of a comparison."""

    gate: str | None = setting(
        None,
        "similarity/measure that decides the exit status, such as item/R@10; by default mAP by the "
        "headline similarity of the new run",
    )
    max_loss: float = setting(0.0, "loss of that measure that is accepted", minimum=0.0)
    output: str | None = setting(None, "JSON file to write all rows to")


def main(argv: list[str]) -> None:
    """Run the command; a mistake ends the program with one line and status 2."""
    try:
        runs, request = read_words_and_settings(CompareRuns, argv, str(__doc__))
        if len(runs) != 2:
            raise InputError(f"two run folders must be given, OLD NEW; {len(runs)} are. See --help")
        from xgacmn_tf.runs.comparison import compare_runs

        comparison = compare_runs(*runs)
        gate = request.gate or comparison.headline
        worse = comparison.is_worse(gate, request.max_loss)
        logger.info("%s", _text(comparison, gate, worse))
        if request.output is not None:
            _write(comparison, request.output, gate, worse)
    except InputError as error:
        stop(str(error))
    except KeyboardInterrupt:
        stop("interrupted", status=130)
    sys.exit(int(worse))


def _write(comparison: Comparison, output: str, gate: str, worse: bool) -> None:
    record = comparison.as_dict() | {"gate": gate, "worse": worse}
    try:
        write_json(output, record)
    except OSError as error:
        raise InputError(
            f"--output={output}: cannot be written ({error.strerror}); name a file in a folder "
            "where you may create files"
        ) from error


def _text(comparison: Comparison, gate: str, worse: bool) -> str:
    """Return the comparison as it is printed."""
    counts = comparison.counts
    lines = [
        f"old: {comparison.old} ({counts['old_test']:,} test pairs)",
        f"new: {comparison.new} ({counts['new_test']:,} test pairs)",
        f"compared: {comparison.pairs:,} pairs in both test splits, without "
        f"{counts['excluded_as_trained_on']:,} whose image either run was trained on",
        *(f"note: {note}" for note in comparison.notes),
        "",
        *_table("measure (mean of both directions)", comparison.measures, "p (Holm)"),
    ]
    categories = comparison.categories
    title = f"category, mean AP by {comparison.headline.split('/')[0]}"
    if len(categories) > 2 * SHOWN:
        title += f": the {SHOWN} largest losses and gains of {len(categories):,}"
        categories = (*categories[:SHOWN], *categories[-SHOWN:])
    row = comparison.measure(gate)
    lines += ["", *_table(title, categories, "p (Holm)", with_pairs=True), ""]
    p = "" if row.raw_p is None else f", p = {row.raw_p:.4f}"
    verdict = "worse" if worse else "not worse"
    lines.append(
        f"gate {gate}: {row.old:.3f} → {row.new:.3f} ({row.difference:+.3f}{p}): {verdict}"
    )
    return "\n".join(lines)


def _table(title: str, rows: Sequence[Row], p_title: str, with_pairs: bool = False) -> list[str]:
    width = max([len(title), *(len(row.name) for row in rows)])
    pairs = f"{'pairs':>7}" if with_pairs else ""
    lines = [f"{title:{width}}{pairs}{'old':>9}{'new':>9}{'change':>9}  {p_title}"]
    for row in rows:
        count = f"{row.pairs:>7,}" if with_pairs else ""
        p = "" if row.p is None else f"{row.p:.4f}"
        scores = f"{row.old:>9.3f}{row.new:>9.3f}{row.difference:>+9.3f}"
        lines.append(f"{row.name:{width}}{count}{scores}  {p}".rstrip())
    return lines
