"""One search from flags to page: run → gallery → index → answers."""

from __future__ import annotations

import shutil
import webbrowser
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from xgacmn_tf.datasets.distribution import read_text
from xgacmn_tf.errors import InputError
from xgacmn_tf.gallery import TEST, Gallery
from xgacmn_tf.names import OTHER
from xgacmn_tf.runs.trained import TrainedRun
from xgacmn_tf.search.checks import category_names
from xgacmn_tf.search.indexing import PLURAL, RunItems, Source, open_source
from xgacmn_tf.search.kept import KeptGallery, default_folder
from xgacmn_tf.search.kept_index import open_engine
from xgacmn_tf.search.page import write_answers_page
from xgacmn_tf.search.precision import precision_of_test_split
from xgacmn_tf.search.searcher import Answer, Query, answer, picture_query, text_query
from xgacmn_tf.search.table import answer_table

_SHOWN = 3


@dataclass(frozen=True)
class Search:
    """What the command is asked for; the fields are its flags, `words` what stands beside them."""

    run_dir: str
    words: Sequence[str] = ()
    queries: str | None = None
    image: Sequence[str] = ()
    k: int = 10
    category: str | None = None
    gallery: str | None = None
    search_split: str | None = None
    captions: bool = True
    index_dir: str | None = None
    on_bad_image: str = "skip"
    index: str = "auto"
    milvus_uri: str | None = None
    similarity: str | None = None
    page: str | None = None
    open: bool = False
    evaluate: bool = False


def search(asked: Search, say: Callable[[str], None] = print) -> list[Answer]:
    """Answers all queries, says what was found, and writes one page.

    Raises:
      InputError: something asked for cannot be used. Nothing is indexed before all is looked at.
    """
    queries = _queries(asked)
    run = _run(asked)
    facts = []
    if asked.evaluate:
        # Of the test split whatever is searched: the encoders were trained on the other items.
        facts.append(str(precision_of_test_split(run)))
        say(facts[0])
    if not queries:
        return []
    source = open_source(run, asked.gallery, asked.search_split)
    if isinstance(source, RunItems) and source.note is not None:
        say(f"only the test split is searched: {source.note}")
    kinds = [kind for kind in OTHER if any(query.modality == kind for query in queries)]
    for kind in kinds:
        source.check(OTHER[kind])
        run.extractor(kind).check()  # Raises an error if the run takes no such queries.
    answers: list[Answer] = []
    sizes: dict[str, int] = {}
    for kind in kinds:
        kept = _open(asked, run, source, OTHER[kind], say)
        index, manner = open_engine(kept, run, asked.index, asked.milvus_uri, say)
        questions = [query for query in queries if query.modality == kind]
        split = source.split if isinstance(source, RunItems) else TEST
        answers += answer(run, kept.items, index, questions, asked.k, asked.category, split)
        sizes[kept.modality] = len(kept.items)
        facts.append(f"{len(kept.items):,} {PLURAL[kept.modality]} searched {manner}")
    page = Path(asked.page) if asked.page else run.folder.path / "search.html"
    write_answers_page(
        page,
        answers,
        run=run.folder.path.resolve().name,
        gallery=source.name,
        sizes=sizes,
        similarity=run.similarity,
        folder=source.place,
        facts=facts,
    )
    width = shutil.get_terminal_size((100, 24)).columns
    for one in answers:
        say(f"\n{answer_table(one, width)}")
    say("\n" + "\n".join([source.name, *facts[asked.evaluate :], f"page: {page}"]))
    if asked.open:
        webbrowser.open(page.resolve().as_uri())
    return answers


def _queries(asked: Search) -> list[Query]:
    """All queries, in words first."""
    lines: list[str] = []
    if asked.queries is not None:
        try:
            lines = [line for line in read_text(Path(asked.queries)).splitlines() if line.strip()]
        except OSError as error:
            raise InputError(
                f"--queries={asked.queries}: cannot be read ({error.strerror})"
            ) from error
        if not lines:
            raise InputError(f"--queries={asked.queries}: no query in it; expected one a line")
    texts = [text_query(text) for text in (*asked.words, *lines)]
    return texts + [picture_query(path) for path in asked.image]


def _run(asked: Search) -> TrainedRun:
    run = TrainedRun(asked.run_dir)
    similarities = run.encoder.similarities()
    if asked.similarity is not None:
        if asked.similarity not in similarities:
            raise InputError(
                f"--similarity={asked.similarity}: the encoders of {asked.run_dir} define "
                f"{', '.join(similarities)}"
            )
        run.similarity = asked.similarity
    return run


def _open(
    asked: Search, run: TrainedRun, source: Source, modality: str, say: Callable[[str], None]
) -> KeptGallery:
    """The gallery's items of a modality, from the last time or indexed now."""
    folder = default_folder(run, source, asked.captions)
    folder = Path(asked.index_dir) if asked.index_dir else folder
    kept = KeptGallery(folder, run, source, modality, say, asked.captions)
    bad = kept.left_out
    if bad and asked.on_bad_image == "refuse":
        raise InputError(
            f"{bad[0]}; repair or remove it, or leave such pictures out with --on_bad_image=skip"
        )
    if bad:
        more = f" and {len(bad) - _SHOWN:,} more, listed in {kept.record}"
        shown = "; ".join(bad[:_SHOWN]) + (more if len(bad) > _SHOWN else "")
        say(f"left out, as they cannot be used: {shown}")
    if asked.category is not None:
        _check_category(asked.category, kept.items, source.name)
    return kept


def _check_category(category: str, items: Gallery, name: str) -> None:
    known = set() if items.category is None else set(items.category.tolist())
    if not any(category in category_names(several) for several in known):
        there = f"there are {', '.join(sorted(known))}" if known else "its items have none"
        raise InputError(f"--category={category}: no item of {name} has it; {there}")
