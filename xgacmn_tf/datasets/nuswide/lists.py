"""The lists of NUS-WIDE: images, splits, concepts, and the tags of each image."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xgacmn_tf.datasets.distribution import read_text
from xgacmn_tf.errors import InputError

# Each stands under two folders, with labels that may differ.
DUPLICATED_PHOTOS = frozenset(
    ("702409954", "2728487708", "815043568", "1100787682", "2729498990", "2230197395")
)
# folder\0001_2124494179.jpg: number in the folder, photo id on Flickr.
_IMAGE = re.compile(r"(?!\.\.?/)([^/\0]+)/\d+_(\d+)\.jpg")


def images(path: Path) -> list[str]:
    """Return the paths in an image list, with "/" between folder and file.

    Raises:
        InputError: naming the line of the first that is no image's path, or stands twice.
    """
    paths = [line.strip().replace("\\", "/") for line in _lines(path)]
    for number, image in enumerate(paths, 1):
        if not _IMAGE.fullmatch(image):
            raise InputError(
                f"{path}, line {number:,}: found {image[:80]!r}, expected a path such as "
                r"actor\0001_2124494179.jpg."
            )
    _refuse_twice(path, paths, "image")
    return paths


def photos(path: Path, listed: Sequence[str]) -> list[str]:
    """Return the photo ids of the images listed in the file at `path`.

    Raises:
        InputError: if one stands twice that is none of `DUPLICATED_PHOTOS`.
    """
    ids = [image[image.rindex("_") + 1 : -len(".jpg")] for image in listed]
    _refuse_twice(path, ids, "photo id", DUPLICATED_PHOTOS)
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
    owner = np.zeros(len(listed), np.uint8)
    for half in (train, test):
        named = images(half)
        for number, image in enumerate(named, 1):
            if image not in row:
                raise InputError(f"{half}, line {number:,}: {image!r} is not in {path}.")
        rows.append(np.array([row[image] for image in named], np.intp))
        owner[rows[-1]] += 1
    if (owner != 1).any():
        wrong = int(np.argmax(owner != 1))
        raise InputError(
            f"{path}, line {wrong + 1:,}: {listed[wrong]!r} is in "
            f"{'both' if owner[wrong] else 'neither'} of {train} and {test} (as are "
            f"{int((owner != 1).sum()) - 1:,} others); the lists are cut off or do not belong "
            "together, fetch them again."
        )
    return rows[0], rows[1]


def names(path: Path, count: int) -> tuple[str, ...]:
    """Return the `count` names in a list of concepts or tags, one a line.

    Raises:
        InputError: if there are more or fewer, one is empty or stands twice.
    """
    found = [line.strip() for line in _lines(path)]
    if "" in found:
        raise InputError(f"{path}, line {found.index('') + 1:,}: empty, expected a name.")
    if len(found) != count:
        raise InputError(
            f"{path} has {len(found):,} lines, expected {count:,}; fetch the file again."
        )
    _refuse_twice(path, found, "name")
    return tuple(found)


def tags(path: Path, photo_ids: Sequence[str], wanted: np.ndarray) -> list[str]:
    """Return the tags of the images in rows `wanted` (k,), with single spaces between them.

    Args:
        path: `All_Tags.txt`: photo id, six spaces, tags; any white space will do.
        photo_ids: those of the image list, which has the same order.

    Raises:
        InputError: naming the line of the first photo id that is another one in the image list;
            tags that are not UTF-8; or a wrong number of lines.
    """
    keep = np.zeros(len(photo_ids), bool)
    keep[wanted] = True
    texts: dict[int, str] = {}
    row = -1
    with path.open("rb") as stream:
        for row, line in enumerate(stream):
            photo, *words = line.split() or [b""]
            if row >= len(photo_ids) or photo != photo_ids[row].encode():
                expected = repr(photo_ids[row]) if row < len(photo_ids) else "the end"
                raise InputError(
                    f"{path}, line {row + 1:,}: found photo id {repr(photo[:20])[1:]}, expected "
                    f"{expected}, as in the image list; the files do not belong together."
                )
            if not keep[row]:
                continue
            try:
                texts[row] = b" ".join(words).decode()
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{path}, line {row + 1:,}: not UTF-8 text ({error.reason}); save it as UTF-8."
                ) from None
    if row + 1 < len(photo_ids):
        raise InputError(
            f"{path} ends after line {row + 1:,}, expected {len(photo_ids):,} lines, one for each "
            "image of the image list. The file is cut off, fetch it again."
        )
    return [texts[row] for row in wanted.tolist()]


def _lines(path: Path) -> list[str]:
    """Only line feeds end lines: `splitlines` would also cut at characters inside a tag."""
    lines = read_text(path).rstrip().split("\n")
    if lines == [""]:
        raise InputError(f"{path} is empty; fetch it again.")
    return lines


def _refuse_twice(
    path: Path, values: Sequence[str], kind: str, allowed: frozenset[str] = frozenset()
) -> None:
    if len(set(values)) == len(values):
        return
    for value, count in Counter(values).items():
        if count > (2 if value in allowed else 1):
            first, last = values.index(value), len(values) - 1 - values[::-1].index(value)
            raise InputError(
                f"{path}, line {last + 1:,}: the {kind} {value!r} stands in line {first + 1:,} "
                "already; the list is damaged, fetch it again."
            )
