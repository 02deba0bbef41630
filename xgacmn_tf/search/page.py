"""Answers as one HTML page.

Like the page of a run, it holds everything it shows and asks for nothing from anywhere; it has no
scripts, and its template escapes every text. Pictures that lie in a folder are linked, not copied.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from xgacmn_tf.errors import InputError
from xgacmn_tf.io.files import atomic_path
from xgacmn_tf.report import pages
from xgacmn_tf.report.images import data_uri
from xgacmn_tf.search.searcher import Answer, Hit

SIMILARITY_NOTES = {
    "cosine": "the cosine of the angle between both codes, 1 at best",
    "dot": "the inner product of both codes",
    "posterior": "how surely both belong to the same category, 1 at best",
    "item": "how surely both belong to the same category, and how well both fit each other",
}


def write_answers_page(
    path: str | os.PathLike[str],
    answers: Sequence[Answer],
    *,
    run: str,
    gallery: str,
    sizes: Mapping[str, int],
    similarity: str,
    folder: Path | None = None,
    facts: Sequence[str] = (),
) -> None:
    """Writes the page, whole or not at all. The same arguments give the same bytes.

    Args:
      path: the .html file to write.
      answers: what was asked and found, at least one.
      run: the run's name. gallery: the name of what was searched.
      sizes: "image" or "text" → how many of them were searched.
      similarity: what the scores are.
      folder: where the found pictures lie, by id; None if they lie nowhere.
      facts: what else a reader should know, shown above the answers.

    Raises:
      InputError: the page cannot be written there.
    """
    page = (
        _environment()
        .get_template("answers.html.j2")
        .render(
            answers=[_shown(answer, folder) for answer in answers],
            run=run,
            gallery=gallery,
            sizes=sizes,
            similarity=similarity,
            similarity_note=SIMILARITY_NOTES.get(similarity, ""),
            facts=facts,
        )
    )
    try:
        with atomic_path(path) as temporary:
            temporary.write_text(page, encoding="utf-8", newline="\n")
    except OSError as error:
        raise InputError(
            f"--page={path}: cannot be written ({error.strerror}); name a file in a folder where "
            "you may create files"
        ) from error


def _shown(answer: Answer, folder: Path | None) -> dict[str, Any]:
    """An answer as the template takes it."""
    query = answer.query
    return {
        "asks": query.modality,
        "text": query.shown,
        "picture": None if query.picture is None else data_uri(query.picture),
        "note": answer.note(),
        "match_note": answer.match_note(),
        "category": answer.category,
        "posterior": answer.category_posterior,
        "understood": answer.understood,
        "hits": [
            {
                "rank": hit.rank,
                "score": hit.score,
                "id": hit.id,
                # A line may break behind an underscore.
                "title": hit.title.replace("_", "_\u200b"),
                "category": hit.category,
                "posterior": hit.category_posterior,
                "predicted": not hit.category_known,
                "picture": data_uri(hit.picture),
                "link": _link(hit, folder),
            }
            for hit in answer.hits
        ],
    }


def _link(hit: Hit, folder: Path | None) -> str | None:
    """The address of the picture itself, as long as it is there."""
    if folder is None:
        return None
    path = (folder / hit.id).resolve()
    return path.as_uri() if path.is_file() else None


def _environment() -> jinja2.Environment:
    environment = pages.environment("xgacmn_tf.search")
    environment.filters["score"] = lambda value: f"{value:.3f}"
    environment.filters["percent"] = lambda value: f"{value:.0%}"
    return environment
