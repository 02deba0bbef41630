"""Reader of the images of Pascal Sentence and their sentences, in all formats in use."""

import html
import json
import re
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from xgacmn_tf.datasets.distribution import Files, read_text
from xgacmn_tf.datasets.file_search import IMAGE_SUFFIXES, Place
from xgacmn_tf.errors import InputError

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
IMAGES, SENTENCES = "dataset", "sentence"
JSON = "pascal_sentences.json"
# The ids of Pascal VOC, by which images and texts are told from other files.
_ID = re.compile(r"\d{4}_\d{6}")
# The attributes of an image, or the content of a cell, which often is not closed.
_IMAGE_OR_CELL = re.compile(
    r"<img\b([^<>]*)|<td\b[^<>]*>(.*?)(?=</?(?:td|tr|table|img)\b|\Z)", re.IGNORECASE | re.DOTALL
)
# Browsers rename the folders of images when they save a page.
_SOURCE = re.compile(r"""([^\s"'/]*)/?(\d{4}_\d{6})\.\w+["'\s]""")


class DescribedImage(NamedTuple):
    """An image; `name` is its class and id, such as "cat/2008_000115"."""

    name: str
    path: Path
    sentences: list[str]


class _Caption(NamedTuple):
    """The sentences of an image, and its class if the source states it."""

    of_class: str | None
    sentences: list[str]


def described(files: Files) -> list[list[DescribedImage]]:
    """Return the images of each class, sorted by id.

    Classes are the names of the folders of images or texts, or what JSON file or page state.

    Raises:
        InputError: naming missing images and sentences; if a text is empty or not UTF-8; if the
            class of an image is unknown or ambiguous.
    """
    captions = _captions(files)
    images: dict[str, list[Place]] = {}
    for suffix in IMAGE_SUFFIXES:
        for image_id, places in _by_id(files.places(suffix), suffix).items():
            # Images without caption or class belong to Pascal VOC, of which this is a part.
            if image_id in captions or _folder_class(places):
                images.setdefault(image_id, []).extend(places)
    if not captions and not images:
        raise files.missing(
            [f"{IMAGES}/<class>/2008_000716.jpg", f"{SENTENCES}/<class>/2008_000716.txt"]
        )
    classes = {
        image_id: _class_of(files, image_id, captions.get(image_id), images.get(image_id, []))
        for image_id in captions.keys() | images.keys()
    }
    if not images:
        first = min(captions)
        files.all_images([(f"{IMAGES}/{classes[first]}/{first}.jpg", None)] * len(captions))
    of_class: list[list[DescribedImage]] = []
    missing: list[str] = []
    for name in CLASSES:
        ids = sorted(image_id for image_id, of in classes.items() if of == name)
        bare = [image_id for image_id in ids if image_id not in captions]
        unseen = [image_id for image_id in ids if image_id not in images]
        for lacking, pattern in (
            (bare, f"{SENTENCES}/{name}/{{}}.txt"),
            (unseen, f"{IMAGES}/{name}/{{}}.jpg"),
        ):
            missing += map(pattern.format, ["*"] if lacking == ids else lacking)
        if not missing:
            of_class.append(
                [
                    DescribedImage(f"{name}/{i}", files.resolve(images[i]), captions[i].sentences)
                    for i in ids
                ]
            )
    if missing:
        raise files.missing(missing)
    return of_class


def _captions(files: Files) -> dict[str, _Caption]:
    """Return captions by image id, from text files, else the JSON file, else saved pages."""
    # A usual script to fetch the sentences leaves the dot before "txt" out.
    captions = {
        image_id: _Caption(_folder_class(places), _lines(files.resolve(places)))
        for image_id, places in _by_id(files.places("txt"), "txt").items()
    }
    if not captions and files.has(JSON):
        captions = _from_json(files.path(JSON))
    if not captions:
        for place in [*files.places(".html"), *files.places(".htm")]:
            captions |= _from_page(files.resolve([place]))
    return captions


def _by_id(places: list[Place], suffix: str) -> dict[str, list[Place]]:
    by_id: dict[str, list[Place]] = {}
    for place in places:
        stem = PurePosixPath(str(place)).name[: -len(suffix)].removesuffix(".")
        if _ID.fullmatch(stem):
            by_id.setdefault(stem, []).append(place)
    return by_id


def _class_of(files: Files, image_id: str, caption: _Caption | None, images: list[Place]) -> str:
    stated = {caption.of_class if caption else None, _folder_class(images)} - {None}
    if len(stated) != 1:
        place = images[0] if images else files.folder
        raise InputError(
            f"{place}: the class of image {image_id} is "
            f"{' or '.join(sorted(map(str, stated))) or 'unknown'}; put the images or texts of "
            f"each class into a folder of its name, such as {IMAGES}/cat"
        )
    return str(stated.pop())


def _folder_class(places: list[Place]) -> str | None:
    """Return the class that names the folder of the files, if one does."""
    folders = (PurePosixPath(str(place)).parent.name.lower() for place in places)
    return next((folder for folder in folders if folder in CLASSES), None)


def _lines(path: Path) -> list[str]:
    sentences = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if not sentences:
        raise InputError(f"{path} is empty; expected one sentence a line, 3 to 6 of them.")
    return sentences


def _from_json(path: Path) -> dict[str, _Caption]:
    """Return captions of `{"2008_000716.jpg": {"category": "aeroplane", "captions": ["…"]}}`."""
    captions = {}
    try:
        for name, entry in json.loads(read_text(path)).items():
            sentences = [str(sentence).strip() for sentence in entry["captions"]]
            if entry["category"] not in CLASSES or not any(sentences):
                raise ValueError(f"{name} has category {str(entry['category'])[:40]!r}")
            captions[PurePosixPath(name).stem] = _Caption(
                entry["category"], [sentence for sentence in sentences if sentence]
            )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path} cannot be read ({error}); expected an object "
            '{"2008_000716.jpg": {"category": "aeroplane", "captions": ["…"]}, …}'
        ) from error
    return captions


def _from_page(path: Path) -> dict[str, _Caption]:
    """Return the captions of a saved page: after each image, a table with a sentence per cell."""
    content = path.read_bytes()
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:  # The page states no encoding.
        text = content.decode("cp1252", "replace")
    captions: dict[str, _Caption] = {}
    sentences: list[str] = []
    for image, cell in _IMAGE_OR_CELL.findall(text):
        if image:
            sentences = []
            if source := _SOURCE.search(f"{image} "):
                folder = source[1] if source[1] in CLASSES else None
                captions[source[2]] = _Caption(folder, sentences)
        elif sentence := " ".join(html.unescape(re.sub("<[^<>]*>", "", cell)).split()):
            sentences.append(sentence)
    return {name: caption for name, caption in captions.items() if caption.sentences}
