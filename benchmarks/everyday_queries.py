"""Searches of a run's gallery in everyday words, scored by a file of relevant items.

    python benchmarks/everyday_queries.py RUN                   each query, then the totals
    python benchmarks/everyday_queries.py RUN1 RUN2 RUN3        totals of each run, mean and sd
    python benchmarks/everyday_queries.py RUN --markdown        a table of the first ten queries

Each query searches the images that `xgacmn search` searches by default, with the run's own
similarity and index. The file of queries has the columns `query` and `id`, one row per query and
relevant item; everyday_queries.tsv, for runs on the emoji, was written before any training.

P@10 is the share of relevant items among the first ten; P@10/max divides their number by that of
the best possible answer, min(10, relevant items). The rank of the first relevant item is one more
than the size of the gallery where none is found.
"""

import csv
import dataclasses
import os
import statistics
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from arguments import Parser

from xgacmn_tf.datasets.distribution import read_text
from xgacmn_tf.datasets.emoji import EMOJI
from xgacmn_tf.errors import InputError
from xgacmn_tf.runs.trained import TrainedRun
from xgacmn_tf.search.opening import OpenGallery
from xgacmn_tf.search.searcher import Answer, Hit, answer, text_query

QUERIES = Path(__file__).with_suffix(".tsv")
COLUMNS = ("query", "id")
DEPTH = 10
TITLES, MARKDOWN_TITLES = 5, 3


@dataclasses.dataclass(frozen=True)
class Result:
    """The scores of one query.

    Attributes:
        query: the text.
        relevant: ids of the relevant items.
        hits: the first items, best first.
        rank: of the first relevant item, from 1; one more than the gallery's size without any.
        no_good_match: whether the search flags it so; None for a run without a threshold.
    """

    query: str
    relevant: frozenset[str]
    hits: tuple[Hit, ...]
    rank: int
    no_good_match: bool | None

    @classmethod
    def of(cls, found: Answer, relevant: Collection[str], items: int) -> "Result":
        """The scores of an answer that ranks all items of a gallery."""
        ranks = (hit.rank for hit in found.hits if hit.id in relevant)
        return cls(
            query=found.query.shown,
            relevant=frozenset(relevant),
            hits=found.hits[:DEPTH],
            rank=next(ranks, items + 1),
            no_good_match=found.no_good_match,
        )

    @property
    def precision(self) -> float:
        return sum(hit.id in self.relevant for hit in self.hits) / DEPTH

    @property
    def reached(self) -> float:
        """The share of the highest possible precision."""
        return self.precision * DEPTH / min(DEPTH, len(self.relevant))


def read_queries(path: Path) -> dict[str, list[str]]:
    """Return the ids of the relevant items of each query.

    Raises:
        InputError: the file cannot be read, or has other columns or an empty field.
    """
    try:
        rows = csv.DictReader(read_text(path).splitlines(), dialect="excel-tab")
    except OSError as error:
        raise InputError(f"--queries={path}: cannot be read ({error.strerror})") from error
    if tuple(rows.fieldnames or ()) != COLUMNS:
        raise InputError(f"--queries={path}: expected a first line with the columns query and id")
    relevant: dict[str, list[str]] = {}
    for row in rows:
        if not all(row.get(column) for column in COLUMNS) or len(row) > len(COLUMNS):
            raise InputError(
                f"--queries={path}: line {rows.line_num} needs a query and an id, with one tab "
                "between them"
            )
        relevant.setdefault(" ".join(row["query"].split()), []).append(row["id"])
    if not relevant:
        raise InputError(f"--queries={path}: no query in it; expected one query and id per line")
    return relevant


def search(
    run: TrainedRun, relevant: Mapping[str, Collection[str]], file: Path, captions: bool = True
) -> list[Result]:
    """Search a run's default gallery with each query of a file.

    Args:
        run: the run. relevant: query → ids of relevant items. file: where they are from.
        captions: whether images are found by their captions, too.

    Raises:
        InputError: a relevant item is not in the gallery.
    """
    gallery = OpenGallery(run)
    images = gallery.embedded("image", captions)
    items = set(images.id.tolist())
    missing = [name for ids in relevant.values() for name in ids if name not in items]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(
            f"--queries={file}: {missing[0]!r}{more} is not in the gallery of {run.folder.path} "
            f"({gallery.name}); name items of it, of identical images the first"
        )
    index, _ = gallery.engine(images, "auto")
    queries = [text_query(query) for query in relevant]
    answers = answer(run, images, index, queries, len(items), split=gallery.split)
    return [
        Result.of(found, ids, len(items))
        for found, ids in zip(answers, relevant.values(), strict=True)
    ]


def totals(results: Sequence[Result]) -> dict[str, float]:
    """Return the scores of all queries together."""
    return {
        "relevant first item": sum(result.rank == 1 for result in results),
        "P@10": statistics.mean(result.precision for result in results),
        "P@10/max": statistics.mean(result.reached for result in results),
        "median rank": statistics.median(result.rank for result in results),
        "no good match": sum(bool(result.no_good_match) for result in results),
    }


def query_lines(results: Sequence[Result]) -> list[str]:
    """Return a line per query; relevant titles are marked with a star."""
    width = max(len("query"), *(len(result.query) for result in results))
    lines = [f"{'query':{width}}  P@10  P@10/max  first   rank  the first {TITLES} items"]
    for result in results:
        titles = [
            f"{hit.title}{'*' if hit.id in result.relevant else ''}" for hit in result.hits[:TITLES]
        ]
        first = "yes" if result.rank == 1 else "no"
        note = "  (no good match)" if result.no_good_match else ""
        lines.append(
            f"{result.query:{width}}  {result.precision:4.2f}  {result.reached:8.2f}  {first:>5}  "
            f"{result.rank:5}  {'; '.join(titles)}{note}"
        )
    return lines


def total_lines(scores: Mapping[str, Mapping[str, float]], queries: int) -> list[str]:
    """Return a Markdown table with a row per run, and mean and sd of several."""
    names = list(next(iter(scores.values())))
    heads = [f"{name}, of {queries}" if name == "relevant first item" else name for name in names]
    lines = [f"| run | {' | '.join(heads)} |", f"|---|{'---|' * len(names)}"]
    for run, values in scores.items():
        cells = [
            f"{values[name]:.3f}" if name.startswith("P@") else f"{values[name]:g}"
            for name in names
        ]
        lines.append(f"| {run} | {' | '.join(cells)} |")
    if len(scores) > 1:
        cells = []
        for name in names:
            column = [values[name] for values in scores.values()]
            digits = 3 if name.startswith("P@") else 1
            mean, deviation = statistics.mean(column), statistics.stdev(column)
            cells.append(f"{mean:.{digits}f} ± {deviation:.{digits}f}")
        lines.append(f"| mean ± sd | {' | '.join(cells)} |")
    return lines


def markdown_lines(results: Sequence[Result], characters: Mapping[str, str]) -> list[str]:
    """Return a Markdown table of the first items, relevant ones in bold.

    Args:
        results: of the queries.
        characters: what is printed before the title, by id; such as the emoji itself.
    """
    lines = [f"| query | first {MARKDOWN_TITLES} items |", "|---|---|"]
    for result in results:
        cells = []
        for hit in result.hits[:MARKDOWN_TITLES]:
            title = hit.title.replace("|", r"\|")
            title = f"**{title}**" if hit.id in result.relevant else title
            cells.append(f"{characters.get(hit.id, '')} {title}".strip())
        lines.append(f"| {result.query} | {', '.join(cells)} |")
    return lines


def emoji_of(run: TrainedRun) -> dict[str, str]:
    """Return the emoji by their ids, for a run on them; nothing for other runs."""
    if run.folder.recorded_config().data.dataset != EMOJI.name:
        return {}
    return {row["id"]: row["emoji"] for row in EMOJI.entries()}


def main(argv: Sequence[str] | None = None) -> None:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a finished run")
    parser.add_argument("--queries", type=Path, default=QUERIES, help="another file of queries")
    parser.add_argument(
        "--show", type=int, help="number of queries to print; all, or 10 with --markdown"
    )
    parser.add_argument(
        "--nocaptions",
        dest="captions",
        action="store_false",
        help="find images by what they show alone, not by their captions",
    )
    parser.add_argument("--markdown", action="store_true", help="print a table of the first items")
    arguments = parser.parse_args(argv)
    if arguments.markdown and len(arguments.runs) > 1:
        parser.error(f"--markdown shows one run, and there are {len(arguments.runs)}")
    if arguments.show is not None and arguments.show < 1:
        parser.error(f"--show={arguments.show}: expected at least 1")
    try:
        relevant = read_queries(arguments.queries)
        shown = slice(arguments.show or (10 if arguments.markdown else None))
        scores = {}
        for path in arguments.runs:
            run = TrainedRun(path)
            results = search(run, relevant, arguments.queries, arguments.captions)
            if arguments.markdown:
                print("\n".join(markdown_lines(results[shown], emoji_of(run))))
                return
            if len(arguments.runs) == 1:
                print("\n".join(query_lines(results[shown])), end="\n\n")
            scores[path] = totals(results)
    except InputError as error:
        sys.exit(f"error: {error}")
    print("\n".join(total_lines(scores, len(relevant))))


if __name__ == "__main__":
    main()
