"""Rebuild the shipped data of `emoji` from three Debian packages.

    apt install fonts-noto-color-emoji unicode-cldr-core unicode-data
    python -m tools.rebuild_emoji

README.md of that data set lists the steps.
"""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from absl import app, flags
from PIL import Image, ImageDraw, ImageFont, features
from tqdm import tqdm

from tools import bundling
from tools.bundling import BundledImage, Entry
from xgacmn_tf.datasets.bundled import SPLITS
from xgacmn_tf.datasets.emoji import EMOJI, WITHOUT_GROUP_WORDS
from xgacmn_tf.errors import InputError
from xgacmn_tf.features import efficientnet_lite, image_preprocessing
from xgacmn_tf.features.cnn import EfficientNetLite

# The only size of the font's bitmaps, which are 136 × 128 pixels.
FONT_SIZE = 109
SIDE = 136
_LINE = re.compile(r"([0-9A-F ]+?)\s*; fully-qualified\s*# \S+ E[\d.]+ (.*)")
_SKIN_TONES = re.compile("[\U0001f3fb-\U0001f3ff]")
_PRESENTATION = "\ufe0f"  # Left out in the keys of CLDR's annotations.
# Words that tell apart the variants of one motif: "man running", "woman running".
_PERSONS = re.compile(
    r"\b(person|people|persons|man|men|woman|women|boys?|girls?|adult|child|mr|mrs|mx|he|she)\b"
)
# Motifs of which only a number, a direction or a shape differs.
_SERIES = {
    "o’clock": "clock",
    "-thirty": "clock",
    "family": "family",
    "kiss:": "kiss",
    "couple with heart": "couple with heart",
}


class Emoji(NamedTuple):
    """A line of emoji-test.txt: the characters, their name, group and subgroup."""

    characters: str
    name: str
    group: str
    subgroup: str


def read_emoji(path: Path) -> Iterator[Emoji]:
    """Yield the fully qualified emoji of emoji-test.txt without a skin tone."""
    group = subgroup = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        kind, _, value = line.partition(": ")
        if kind == "# group":
            group = value
        elif kind == "# subgroup":
            subgroup = value
        elif found := _LINE.match(line):
            characters = "".join(chr(int(code, 16)) for code in found[1].split())
            if not _SKIN_TONES.search(characters):
                yield Emoji(characters, found[2], group, subgroup)


def read_keywords(cldr: Path) -> dict[str, list[str]]:
    """Return CLDR's English keywords by characters."""
    keywords = {}
    for folder in ("annotations", "annotationsDerived"):
        # A maker's tool on a Debian package; expat bounds the growth of entities since 2.4.1.
        root = ElementTree.parse(cldr / folder / "en.xml").getroot()  # noqa: S314
        for node in root.iter("annotation"):
            if node.get("type") is None:
                words = [word.strip() for word in (node.text or "").split("|")]
                keywords[node.get("cp", "")] = words
    return keywords


def text_of(emoji: Emoji, keywords: list[str]) -> str:
    """Return the name, followed by the keywords that differ from it."""
    more = [word for word in keywords if word.lower() != emoji.name.lower()]
    return ", ".join([emoji.name, *more])


def group_words(groups: set[str]) -> frozenset[str]:
    """Return all words of the groups' names, in singular and plural."""
    words = {word for group in groups for word in re.findall(r"[a-z]+", group.lower())}
    singular = {re.sub(r"ies$", "y", word) for word in words} | {w.removesuffix("s") for w in words}
    return frozenset(words | singular | {f"{word}s" for word in words})


def without(text: str, words: frozenset[str]) -> str:
    """Return the text without `words`, and without phrases that are empty then."""
    phrases = []
    for phrase in text.split(", "):
        rest = [w for w in phrase.split() if re.sub(r"\W", "", w).lower() not in words]
        if rest:
            phrases.append(" ".join(rest))
    return ", ".join(dict.fromkeys(phrases)) or text


def series_of(name: str) -> str:
    """Return the motif of an emoji, the same for its variants."""
    for part, series in _SERIES.items():
        if part in name:
            return series
    return " ".join(re.findall(r"\w+", _PERSONS.sub(" ", name.lower()))) or name


def folder_of(emoji: Emoji) -> str:
    """Return the category and the fine label as a path."""
    parts = (emoji.group, emoji.subgroup)
    return "/".join(part.lower().replace("&", "and").replace(" ", "_") for part in parts)


def draw(font: ImageFont.FreeTypeFont, characters: str) -> Image.Image:
    """Return the emoji as an RGBA image."""
    page = Image.new("RGBA", (3 * SIDE, 2 * SIDE))
    ImageDraw.Draw(page).text((0, 0), characters, font=font, embedded_color=True)
    box = page.getbbox()
    if box is None or box[2] - box[0] > SIDE:
        raise InputError(
            f"the font draws {characters!r} as {box}; expected one glyph of at most {SIDE} pixels: "
            "install a font of that Unicode version"
        )
    return page.crop(box)


def define_flags() -> None:
    """Not at import, where they would become everybody's."""
    flags.DEFINE_string(
        "font", "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf", "Noto Color Emoji."
    )
    flags.DEFINE_string("cldr", "/usr/share/unicode/cldr/common", "The folder `common` of CLDR.")
    flags.DEFINE_string("emoji_test", "/usr/share/unicode/emoji/emoji-test.txt", "The emoji.")
    flags.DEFINE_string("output_dir", str(EMOJI.data), "Where the files are written.")


def main(_: list[str]) -> None:
    values = flags.FLAGS
    if not features.check("raqm"):
        raise InputError("Pillow has no Raqm here, which joins the parts of an emoji; install it")
    font = ImageFont.truetype(values.font, FONT_SIZE, layout_engine=ImageFont.Layout.RAQM)
    keywords = read_keywords(Path(values.cldr))
    extractor = EfficientNetLite("efficientnet_lite2")
    entries, squares, thumbnails = [], [], []
    emojis = sorted(read_emoji(Path(values.emoji_test)), key=lambda emoji: folder_of(emoji))
    removed = group_words({emoji.group for emoji in emojis})
    for emoji in tqdm(emojis, unit=" emoji"):
        text = text_of(emoji, keywords.get(emoji.characters.replace(_PRESENTATION, ""), []))
        name = emoji.name.replace("/", "-")
        entries.append(
            Entry(
                id=f"{folder_of(emoji)}/{name}",
                title=emoji.name,
                text=text,
                series=series_of(emoji.name),
                more={"emoji": emoji.characters},
                short=emoji.name if text != emoji.name else "",
            )
        )
        drawing = draw(font, emoji.characters)
        squares.append(image_preprocessing.letterbox(drawing, extractor.side))
        thumbnails.append(bundling.webp(image_preprocessing.letterbox(drawing, SIDE)))
    rows = efficientnet_lite.extract(extractor.network, squares)
    images = {
        entry.id: BundledImage(thumbnail, row)
        for entry, thumbnail, row in zip(entries, thumbnails, rows, strict=True)
    }
    counts = bundling.write(
        entries,
        images,
        extractor,
        Path(values.output_dir),
        more_texts={
            WITHOUT_GROUP_WORDS: {
                entry.id: (without(entry.text, removed), without(entry.short, removed))
                for entry in entries
            }
        },
    )
    for category in sorted({entry.category for entry in entries}):
        print(f"| {category.replace('_', ' ')} |", *(f"{counts[category, s]} |" for s in SPLITS))


if __name__ == "__main__":
    define_flags()
    app.run(main)
