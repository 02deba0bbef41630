"""README's figures, made from a finished run.

    pip install -e ".[test]"    # for playwright; Chromium must be installed
    python docs/figures.py RUN --queries=docs/queries.txt --output=docs

writes four images of at most 900 kB each: `results.png`, the head and the text queries of the run's
results page; `search.png`, the hits of typed queries; `search_top.png`, those of the first two; and
`search_pictures.png`, ten images of the test split, one of each category in turn, and the texts
that they find.
"""

import argparse
import io
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from xgacmn_tf.commands.search import Search, run_search
from xgacmn_tf.datasets.paired import Split, label_matrix
from xgacmn_tf.errors import InputError
from xgacmn_tf.io.files import atomic_path
from xgacmn_tf.runs.trained import TrainedRun
from xgacmn_tf.search.page import write_answers_page
from xgacmn_tf.search.searcher import Answer, Hit, Query

DOCS = Path(__file__).resolve().parent
# CSS pixels, and image pixels for each.
WIDTH, SCALE = 1280, 1.3
MAX_BYTES = 900_000
IMAGES = HITS = 10
# README explains measures and settings itself.
HEAD_AND_TEXT_QUERIES = """
nav, .warnings, #measures, #categories, #data, #curves, #i2t, #settings { display: none }
main > section { margin-top: 2rem } body { padding-bottom: 1.5rem }
"""


FIRST_QUERIES = "main > article:nth-of-type(n+3) { display: none }"


def main(arguments: Sequence[str] | None = None) -> None:
    """Make all figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", metavar="RUN", help="folder of a finished run")
    parser.add_argument(
        "--queries", default=str(DOCS / "queries.txt"), help="text file with one query a line"
    )
    parser.add_argument("--output", type=Path, default=DOCS, help="folder of the figures")
    parser.add_argument("--seed", type=int, default=0, help="draws the images")
    given = parser.parse_args(arguments)
    try:
        figures(given.run, given.queries, given.output, given.seed)
    except InputError as error:
        sys.exit(f"error: {error}")


def figures(run_dir: str, queries: str, output: Path, seed: int) -> None:
    """Write the four figures of a run, see the module."""
    run = TrainedRun(run_dir)
    with tempfile.TemporaryDirectory() as folder:
        words, images = Path(folder) / "words.html", Path(folder) / "images.html"
        request = Search(
            run_dir, queries=queries, k=HITS, page=str(words), cache_dir=f"{folder}/cache"
        )
        run_search([], request)
        write_image_answers(run, images, seed)
        for page, name, style in (
            (run.folder.results_page, "results.png", HEAD_AND_TEXT_QUERIES),
            (words, "search.png", ""),
            (words, "search_top.png", FIRST_QUERIES),
            (images, "search_pictures.png", ""),
        ):
            save(screenshot(page, style), output / name)
            print(output / name)


def write_image_answers(run: TrainedRun, path: Path, seed: int = 0) -> list[Answer]:
    """Write a page of images of the test split and the texts that they find in it.

    The images need no extractor, since the features of the test split are at hand.
    """
    dataset = run.dataset()
    test = dataset.test
    rows = one_of_each_category(test, dataset.num_classes, IMAGES, np.random.default_rng(seed))
    scores = run.represent("image", test.image[rows]) @ run.represent("text", test.text).T
    answers = []
    for row, similarities in zip(rows, scores, strict=True):
        found = np.argsort(-similarities, kind="stable")[:HITS]
        hits = [
            Hit(
                rank,
                float(similarities[item]),
                str(test.id[item]),
                title(test, item),
                ", ".join(categories(test, item, dataset.label_names)),
                picture(test, item) or b"",
            )
            for rank, item in enumerate(found, 1)
        ]
        query = Query("image", title(test, row), None, picture(test, row))
        answers.append(Answer(query, tuple(hits)))
    write_answers_page(
        path,
        answers,
        run=run.folder.path.resolve().name,
        gallery=f"{dataset.name}, test split",
        sizes={"text": len(test)},
        similarity=run.similarity,
        facts=[f"{len(rows)} images drawn by seed {seed}, one of each category in turn"],
    )
    return answers


def one_of_each_category(
    split: Split, num_classes: int, count: int, rng: np.random.Generator
) -> list[int]:
    """Return `count` rows, or all, in a drawn order in which the categories take turns."""
    labels = label_matrix(split.label, num_classes)
    drawn = np.zeros(num_classes, int)
    order, rows = rng.permutation(len(split)).tolist(), list[int]()
    while order and len(rows) < count:
        row = order.pop(int(np.argmin(labels[order] @ drawn)))
        rows.append(row)
        drawn[labels[[row]].indices] += 1
    return rows


def title(split: Split, row: int) -> str:
    """Return what a person reads as the text of a pair."""
    return str(split.id[row] if split.title is None else split.title[row])


def categories(split: Split, row: int, names: Sequence[str]) -> list[str]:
    """Return the names of a pair's categories."""
    return [names[k] for k in label_matrix(split.label, len(names))[[row]].indices]


def picture(split: Split, row: int) -> bytes | None:
    """Return a pair's encoded image, if there is one."""
    return None if split.thumbnail is None else split.thumbnail[row]


def screenshot(page: Path, style: str = "") -> Image.Image:
    """Return a whole page in Chromium.

    Args:
        page: an .html file.
        style: CSS to add to it.

    Raises:
        InputError: Chromium or playwright is missing.
    """
    chromium = shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        chromium = None
    if chromium is None:
        raise InputError(
            "figures need Chromium and playwright; install the system's chromium, and "
            'pip install -e ".[test]"'
        )
    with sync_playwright() as driver:
        # Chromium's sandbox cannot be used by root in a container; the pages are this run's own.
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        view = browser.new_page(
            viewport={"width": WIDTH, "height": 800},
            device_scale_factor=SCALE,
            color_scheme="light",
        )
        view.goto(page.resolve().as_uri())
        if style:
            view.add_style_tag(content=style)
        encoded = view.screenshot(full_page=True)
        browser.close()
    return Image.open(io.BytesIO(encoded)).convert("RGB")


def save(image: Image.Image, path: Path) -> None:
    """Save an image as a PNG of at most `MAX_BYTES`.

    It has 256 colors where all colors take more, and then fewer pixels.
    """
    data = encoded(image)
    if len(data) > MAX_BYTES:
        data = encoded(reduced(image))
    while len(data) > MAX_BYTES:
        image = image.resize([round(0.9 * side) for side in image.size], Image.Resampling.LANCZOS)
        data = encoded(reduced(image))
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def reduced(image: Image.Image) -> Image.Image:
    """Return an image in its 256 most important colors."""
    return image.quantize(256, dither=Image.Dither.NONE)


def encoded(image: Image.Image) -> bytes:
    """Return an image as a PNG file."""
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return stream.getvalue()


if __name__ == "__main__":
    main()
