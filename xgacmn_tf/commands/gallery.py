"""Makes a gallery file of items to search: `xgacmn gallery`.

    xgacmn gallery --run=RUN photos/ -o items.npz
        the images in a folder, by the run's extractor.
    xgacmn gallery --run=RUN items.csv -o items.npz
        rows of a table (.csv, .tsv, .jsonl, .parquet) with any of the columns id, image, text,
        title, label; an image or a text suffices. --columns=text=caption maps other names, and
        --label_separator separates several labels in a cell.
    xgacmn gallery --run=RUN photos/ captions.csv features.npz -o items.npz
        several sources; an image and a text with one id become one item.

Features are cached by content, so that only new images and texts are extracted; those of networks
are shared with training. The file goes into `xgacmn export --gallery`, `xgacmn serve --gallery` and
`xgacmn search --gallery`.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

from xgacmn_tf.errors import InputError
from xgacmn_tf.runs.folder import RunFolder
from xgacmn_tf.settings.command_line import read_words_and_settings, stop
from xgacmn_tf.settings.fields import Section, setting

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class MakeGallery(Section):
    """The run, the file and the policy for bad images."""

    run: str | None = setting(None, "run folder, as training prints it")
    output: str | None = setting(None, "the .npz file to write; also -o FILE")
    on_bad_image: str = setting(
        "skip",
        "what happens at an image that cannot be used: an error, or it is left out and logged",
        choices=("refuse", "skip"),
    )
    columns: tuple[str, ...] = setting(
        (), "names of the columns of tables, where they differ, such as text=caption,label=category"
    )
    label_separator: str = setting("|", "separator of several labels in one cell of a table")
    cache_dir: str | None = setting(None, "folder of cached features; by default RUN/cache")


def main(argv: list[str]) -> None:
    """Run the command; a mistake ends the program with one line and status 2."""
    try:
        sources, request = read_words_and_settings(MakeGallery, _long(argv), str(__doc__))
        make_gallery(sources, request)
    except InputError as error:
        stop(str(error))
    except KeyboardInterrupt:
        stop("interrupted; the same command resumes from its cache", status=130)


def make_gallery(sources: Sequence[str], request: MakeGallery) -> None:
    """Write a gallery file.

    Raises:
      InputError: a source cannot be used, or the file cannot be written.
    """
    if not request.run or not request.output or not sources:
        raise InputError("give --run=RUN, at least one source, and -o FILE.npz. See --help")
    path = Path(request.output)
    if path.suffix.lower() != ".npz":
        raise InputError(f"--output={path}: expected a file that ends in .npz")
    RunFolder(request.run).check_finished()
    # Imported here: TensorFlow takes seconds to load, and --help need not wait for it.
    from xgacmn_tf.runs.trained import TrainedRun
    from xgacmn_tf.search.opening import FEATURES, open_cache
    from xgacmn_tf.search.sources import read_sources, summary

    run = TrainedRun(request.run)
    cache = open_cache(run, request.cache_dir) / FEATURES
    gallery, bad = read_sources(
        run, sources, cache, request.on_bad_image, request.columns, request.label_separator
    )
    if bad:
        logger.info("%s", summary(bad))
    try:
        gallery.write(path)
    except OSError as error:
        raise InputError(
            f"--output={path}: cannot be written ({error.strerror}); name a file in a folder "
            "where you may create files"
        ) from error
    counts = " and ".join(
        f"{int(gallery.has(modality).sum()):,} {modality}s" for modality in gallery.features
    )
    logger.info("%s: %s items with %s", path, f"{len(gallery):,}", counts)


def _long(argv: list[str]) -> list[str]:
    """Return arguments with -o as --output."""
    return ["--output" if word == "-o" else word for word in argv]
