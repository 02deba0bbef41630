"""Searches images by words and texts by images: `xgacmn search`.

    xgacmn search --run=runs/openclipart-1a2b3c4d "a red apple" guitar
        prints the ten nearest images of the run's data set to each, and writes a page of them.
    xgacmn search --run=RUN photo.jpg
        the ten nearest texts to an image.
    xgacmn search --run=RUN
        asks for one query after the other, in a terminal.
    xgacmn search --run=RUN --gallery=photos/ "a red apple"
        the same in a folder of images, a table, a .txt file with one text a line, or an .npz.
    xgacmn search --run=RUN --gallery=train,items.npz "a red apple"
        in the training split and a file of more items.

An argument that ends in .jpg, .png or another image suffix is an image. Features and indexes are
cached in RUN/cache, so that later searches only read what is new.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import os
import shutil
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xgacmn_tf.errors import InputError
from xgacmn_tf.names import OTHER, SIMILARITIES
from xgacmn_tf.runs.folder import RunFolder
from xgacmn_tf.search.answer_table import answer_table
from xgacmn_tf.search.engines import KINDS
from xgacmn_tf.settings.command_line import read_words_and_settings, stop
from xgacmn_tf.settings.fields import Section, setting

if TYPE_CHECKING:
    from xgacmn_tf.gallery import Gallery
    from xgacmn_tf.runs.trained import TrainedRun
    from xgacmn_tf.search.index import Index
    from xgacmn_tf.search.opening import OpenGallery
    from xgacmn_tf.search.searcher import Answer, Query

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Search(Section):
    """The run, the gallery and the number of hits."""

    run: str | None = setting(None, "run folder, as training prints it")
    queries: str | None = setting(None, "file of queries in words, one a line")
    k: int = setting(10, "number of hits", minimum=1)
    category: str | None = setting(None, "find only items of this category")
    gallery: tuple[str, ...] = setting(
        (),
        "items to search: `all`, `train` or `test` items of the run's data set, folders of images, "
        ".txt files with one text a line, tables, or .npz files with features. By default all, or "
        "test if the training split is streamed or all features take more than 1 GiB",
    )
    captions: bool = setting(
        True,
        "compare queries with both the image and the caption of each item, where the gallery has "
        "both and the run has item embeddings; --nocaptions: with the other modality alone",
    )
    index: str = setting(
        "auto",
        "search engine: exact; FAISS, flat or IVF by size unless it is named; or a Milvus server. "
        "auto is exact up to 100,000 items",
        choices=KINDS,
    )
    milvus_uri: str | None = setting(
        None,
        "address of the Milvus server, such as http://localhost:19530; the environment variable "
        "MILVUS_TOKEN holds its token or user:password",
    )
    similarity: str | None = setting(
        None,
        "what hits are ranked by; by default item, where the run has item embeddings",
        choices=SIMILARITIES,
    )
    cache_dir: str | None = setting(
        None, "folder of cached features and indexes; default RUN/cache"
    )
    page: str | None = setting(None, "page to write; by default RUN/search.html")
    open: bool = setting(False, "open the page in the browser")


def main(argv: list[str]) -> None:
    """Run the command; a mistake ends the program with one line and status 2."""
    try:
        words, request = read_words_and_settings(Search, argv, str(__doc__))
        run_search(words, request)
    except InputError as error:
        stop(str(error))
    except BrokenPipeError:  # stdout was closed early, e.g. by `head`; the page is already written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        stop("interrupted; the same command resumes from its cache", status=130)


def run_search(words: Sequence[str], request: Search) -> list[Answer]:
    """Answer all queries, log the answers, and write one page.

    Args:
      words: texts and image files, the queries; without any and without a file of queries, they are
        asked for in the terminal.
      request: the flags.

    Returns:
      An answer per query: texts first, then images; in the order of the questions if asked for.

    Raises:
      InputError: something cannot be used.
    """
    if not request.run:
        raise InputError("--run=RUN must be given, the folder of a finished run. See --help")
    asks = not words and request.queries is None
    if asks and not sys.stdin.isatty():
        raise InputError('nothing to search for: give words ("a red apple") or an image file')
    if request.milvus_uri and request.index != "milvus":
        raise InputError("--milvus_uri goes with --index=milvus")
    RunFolder(request.run).check_finished()

    queries = [] if asks else _queries(words, request)
    opened = _OpenSearch(request)
    answers = opened.answer(queries)
    width = shutil.get_terminal_size((100, 24)).columns
    for one in answers:
        logger.info("\n%s", answer_table(one, width))
    if asks:
        answers = _asked(opened, width)
    else:
        opened.write_page(answers)
    logger.info("%s%s", "" if asks else "\n", opened.summary())
    if request.open and answers:
        webbrowser.open(opened.page.resolve().as_uri())
    return answers


def _asked(opened: _OpenSearch, width: int) -> list[Answer]:
    """Answer what is typed in the terminal, a query a line, until a line is empty."""
    with contextlib.suppress(ImportError):  # Windows has no readline.
        import readline  # noqa: F401 - `input` edits lines and remembers them with it
    answers: list[Answer] = []
    _ = opened.gallery  # Loaded before the first question.
    logger.info("Type words or the path of an image; an empty line ends the search.")
    while True:
        try:
            line = input("search: ").strip(" \t'\"")  # Terminals quote the path of a dropped file.
        except (EOFError, KeyboardInterrupt):  # Ctrl-D, Ctrl-C.
            logger.info("")
            line = ""
        if not line:
            return answers
        try:
            (query,) = _queries([line], opened.request)
            answers += (found := opened.answer([query]))
        except InputError as error:
            logger.info("%s", error)
            continue
        opened.write_page(answers)
        # The query, its first line, is on the screen already.
        logger.info("%s\n", answer_table(found[0], width).partition("\n")[2])


class _OpenSearch:
    """A run with its gallery, whose embeddings and index of a modality are read when needed."""

    def __init__(self, request: Search):
        self.request, self._run = request, _run(request)
        self._checked: set[str] = set()
        self._searched: dict[str, tuple[Gallery, Index, str]] = {}
        self.page = Path(request.page) if request.page else self._run.folder.path / "search.html"

    @functools.cached_property
    def gallery(self) -> OpenGallery:
        """What is searched."""
        # Imported here: TensorFlow takes seconds to load, and --help need not wait for it.
        from xgacmn_tf.search.opening import OpenGallery

        return OpenGallery(self._run, self.request.gallery, self.request.cache_dir)

    def answer(self, queries: Sequence[Query]) -> list[Answer]:
        """Return an answer per query: texts first, then images."""
        from xgacmn_tf.search.searcher import answer

        request, answers = self.request, []
        for modality in {query.modality for query in queries} - self._checked:
            self._run.extractor(modality).check()  # An error if the run takes no such queries.
            self._checked.add(modality)
        for modality in OTHER:
            questions = [query for query in queries if query.modality == modality]
            if questions:
                items, index, _ = self._opened(OTHER[modality])
                answers += answer(
                    self._run, items, index, questions, request.k, request.category,
                    self.gallery.split,
                )  # fmt: skip
        return answers

    def _opened(self, modality: str) -> tuple[Gallery, Index, str]:
        """Return the items of a modality, their index, and how it searches."""
        if modality not in self._searched:
            request, gallery = self.request, self.gallery
            items = gallery.embedded(modality, request.captions)
            if request.category is not None:
                _check_category(request.category, items, gallery.name)
            index, manner = gallery.engine(items, request.index, request.milvus_uri)
            self._searched[modality] = items, index, manner
        return self._searched[modality]

    def _facts(self) -> list[str]:
        return [
            f"{len(items):,} {modality}s searched {manner}"
            for modality, (items, _, manner) in self._searched.items()
        ]

    def summary(self) -> str:
        """Return what was searched, and how, a line each."""
        page = [f"page: {self.page}"] if self._searched else []
        return "\n".join([self.gallery.name, *self._facts(), *page])

    def write_page(self, answers: Sequence[Answer]) -> None:
        """Write the page of all answers."""
        from xgacmn_tf.search.page import write_answers_page

        write_answers_page(
            self.page,
            answers,
            run=self._run.folder.path.resolve().name,
            gallery=self.gallery.name,
            sizes={modality: len(items) for modality, (items, *_) in self._searched.items()},
            similarity=self._run.similarity,
            folder=self.gallery.folder,
            facts=self._facts(),
        )


def _queries(words: Sequence[str], request: Search) -> list[Query]:
    """Return all queries, texts first."""
    from xgacmn_tf.datasets.distribution import read_text
    from xgacmn_tf.datasets.folders import IMAGE_SUFFIXES
    from xgacmn_tf.search.searcher import image_query, text_query

    lines: list[str] = []
    if request.queries is not None:
        try:
            lines = [line for line in read_text(Path(request.queries)).splitlines() if line.strip()]
        except OSError as error:
            raise InputError(
                f"--queries={request.queries}: cannot be read ({error.strerror})"
            ) from error
        if not lines:
            raise InputError(f"--queries={request.queries}: no query in it; expected one a line")
    images = [word for word in words if word.lower().endswith(IMAGE_SUFFIXES)]
    texts = [text_query(text) for text in (*(w for w in words if w not in images), *lines)]
    return texts + [image_query(path) for path in images]


def _run(request: Search) -> TrainedRun:
    from xgacmn_tf.runs.trained import TrainedRun

    run = TrainedRun(str(request.run))
    similarities = run.encoder.similarities()
    if request.similarity is not None:
        if request.similarity not in similarities:
            raise InputError(
                f"--similarity={request.similarity}: the encoders of {request.run} define "
                f"{', '.join(similarities)}"
            )
        run.similarity = request.similarity
    return run


def _check_category(category: str, items: Gallery, name: str) -> None:
    from xgacmn_tf.search.index import category_names

    known = set() if items.category is None else set(items.category.tolist())
    if not any(category in category_names(several) for several in known):
        there = f"there are {', '.join(sorted(known))}" if known else "its items have none"
        raise InputError(f"--category={category}: no item of {name} has it; {there}")
