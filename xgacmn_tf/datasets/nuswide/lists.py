"""The lists of NUS-WIDE: images, splits, concepts, and the tags of each image."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xgacmn_tf.datasets.distribution import read_text
from xgacmn_tf.errors import InputError

# Each is in two folders, with labels that may differ.
DUPLICATED_PHOTOS = frozenset(
    ("702409954", "2728487708", "815043568", "1100787682", "2729498990", "2230197395")
)
# folder\0001_2124494179.jpg: number in the folder, photo id on Flickr.
_IMAGE = re.compile(r"(?!\.\.?/)([^/\0]+)/\d+_(\d+)\.jpg")


def images(path: Path) -> list[str]:
    """Return the paths in an image list, with "/" between folder and file.

    Raises:
        InputError: naming the line of the first that is not the path of an image, or a duplicate.
    """
    paths = [line.strip().replace("\\", "/") for line in _lines(path)]
    for number, image in enumerate(paths, 1):
        if not _IMAGE.fullmatch(image):
            raise InputError(
                f"{path}, line {number:,}: found {image[:80]!r}, expected a path such as "
                r"actor\0001_2124494179.jpg"
            )
    _reject_duplicates(path, paths, "image")
    return paths


def photos(path: Path, listed: Sequence[str]) -> list[str]:
    """Return the photo ids of the images listed in the file at `path`.

    Raises:
        InputError: if an id is duplicated that is not one of `DUPLICATED_PHOTOS`.
    """
    ids = [image[image.rindex("_") + 1 : -len(".jpg")] for image in listed]
    _reject_duplicates(path, ids, "photo id", DUPLICATED_PHOTOS)
    return ids


def halves(
    path: Path, listed: Sequence[str], train: Path, test: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Return the training and the test list, as rows of the whole list at `path`.

    Raises:
        InputError: if an image is in neither of them, in both, or unknown to the whole list.
    """
    row = {image: index for index, image in enumerate(listed)}
    rows = []
    for half in (train, test):
        named = images(half)
        for number, image in enumerate(named, 1):
            if image not in row:
                raise InputError(f"{half}, line {number:,}: {image!r} is not in {path}")
        rows.append(np.array([row[image] for image in named], np.intp))
    wrong = np.flatnonzero(np.bincount(np.concatenate(rows), minlength=len(listed)) != 1)
    if len(wrong):
        raise InputError(
            f"{path}, line {wrong[0] + 1:,}: {listed[wrong[0]]!r} is in both or neither of {train} "
            f"and {test} (as are {len(wrong) - 1:,} others); the lists are cut off or do not "
            "belong together, fetch them again"
        )
    return rows[0], rows[1]


def names(path: Path, count: int) -> tuple[str, ...]:
    """Return the `count` names in a list of concepts or tags, one a line.

    Raises:
        InputError: if there are more or fewer, or one is empty or a duplicate.
    """
    lines = [line.strip() for line in _lines(path)]
    if "" in lines:
        raise InputError(f"{path}, line {lines.index('') + 1:,}: empty, expected a name")
    if len(lines) != count:
        raise InputError(
            f"{path} has {len(lines):,} lines, expected {count:,}; fetch the file again"
        )
    _reject_duplicates(path, lines, "name")
    return tuple(lines)


def tags(path: Path, photo_ids: Sequence[str], wanted: np.ndarray) -> list[str]:
    """Return the tags of the images in rows `wanted` (k,), with single spaces between them.

    Args:
        path: `All_Tags.txt`: photo id, six spaces, tags; any white space will do.
        photo_ids: those of the image list, which has the same order.

    Raises:
        InputError: naming the line of the first photo id that is another one in the image list;
            tags that are not UTF-8; or a wrong number of lines.
    """
    texts = dict.fromkeys(wanted.tolist(), "")
    row = -1
    with path.open("rb") as stream:
        for row, line in enumerate(stream):
            photo, *words = line.split() or [b""]
            expected = photo_ids[row] if row < len(photo_ids) else "the end"
            if photo != expected.encode():
                raise InputError(
                    f"{path}, line {row + 1:,}: found photo id {repr(photo[:20])[1:]}, expected "
                    f"{expected!r}, as in the image list; the files do not belong together"
                )
            if row in texts:
                try:
                    texts[row] = b" ".join(words).decode()
                except UnicodeDecodeError as error:
                    raise InputError(
                        f"{path}, line {row + 1:,}: not UTF-8 text ({error.reason}); save it as "
                        "UTF-8"
                    ) from None
    if row + 1 < len(photo_ids):
        raise InputError(
            f"{path} ends after line {row + 1:,}, expected {len(photo_ids):,} lines, one for each "
            "image of the image list; the file is cut off, fetch it again"
        )
    return [texts[row] for row in wanted.tolist()]


def _lines(path: Path) -> list[str]:
    """Return the lines; unlike with `splitlines`, only line feeds end them, as tags need it."""
    return read_text(path).rstrip().split("\n")


def _reject_duplicates(
    path: Path, values: Sequence[str], name: str, allowed: frozenset[str] = frozenset()
) -> None:
    counts = Counter(values)
    for line, value in enumerate(values, 1):
        if counts[value] > (2 if value in allowed else 1):
            raise InputError(
                f"{path}, line {line:,}: the {name} {value!r} is in {counts[value]} lines; the "
                "list is damaged, fetch it again"
            )
