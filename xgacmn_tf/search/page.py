"""Answers as one HTML page.

Like the page of a run, it holds everything it shows and requests nothing; it has no scripts, and
its template escapes every text. Images in a folder are linked, not copied.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from xgacmn_tf.errors import InputError
from xgacmn_tf.io.files import atomic_path
from xgacmn_tf.report import pages
from xgacmn_tf.report.images import data_uri
from xgacmn_tf.search.searcher import Answer, Hit

SIMILARITY_NOTES = {
    "cosine": "the cosine of the angle between both codes, 1 at best",
    "dot": "the inner product of both codes",
    "posterior": "how probably both have the same category, 1 at best",
    "item": "how probably both have the same category, and how similar both are within it",
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
    """Write the page, whole or not at all. The same arguments give the same bytes.

    Args:
      path: the .html file to write.
      answers: at least one.
      run, gallery: the names of the run and the gallery.
      sizes: "image" or "text" → the number of items searched.
      similarity: the similarity that the scores are.
      folder: the folder of the images, by id; None without one.
      facts: more lines, shown above the answers.

    Raises:
      InputError: the page cannot be written there.
    """
    environment = pages.environment("xgacmn_tf.search")
    environment.filters |= {
        "score": "{:.3f}".format,
        "percent": "{:.0%}".format,
        "data_uri": data_uri,
        "link": lambda hit: _link(hit, folder),
    }
    page = environment.get_template("answers.html.j2").render(
        answers=answers,
        run=run,
        gallery=gallery,
        sizes=sizes,
        similarity=similarity,
        similarity_note=SIMILARITY_NOTES.get(similarity, ""),
        facts=facts,
    )
    try:
        with atomic_path(path) as temporary:
            temporary.write_text(page, encoding="utf-8", newline="\n")
    except OSError as error:
        raise InputError(
            f"--page={path}: cannot be written ({error.strerror}); name a file in a folder where "
            "you may create files"
        ) from error


def _link(hit: Hit, folder: Path | None) -> str | None:
    """Return the address of the image of a hit, if there is one."""
    if folder is None:
        return None
    path = (folder / hit.id).resolve()
    return path.as_uri() if path.is_file() else None
