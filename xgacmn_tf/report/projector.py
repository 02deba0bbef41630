"""Files for TensorBoard's embedding projector: the hypersphere to turn and walk through (§3.3).

Images and texts of one split stand in the same cloud, so that it shows whether the two modalities
really meet: every point has its modality, label and title, and a tile where there are thumbnails.
"""

import io
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from google.protobuf import text_format
from PIL import Image, ImageDraw, UnidentifiedImageError
from tensorboard.plugins import projector

from xgacmn_tf.datasets.paired import Split
from xgacmn_tf.errors import InputError
from xgacmn_tf.io.files import atomic_path

# The projector draws with WebGL, where a larger texture fails on many machines.
SPRITE_SIDE = 8192
MOST_TILE = 64
# The projector's own limit for its projections; more points would only load for longer.
MOST_PAIRS = 5000
MOST_TITLE = 200
# One color a modality, as on the results page.
IMAGE_COLOR, TEXT_COLOR = (31, 98, 200), (216, 108, 20)


def write_projector(
    log_dir: str | os.PathLike[str],
    split: Split,
    label_names: Sequence[str],
    image_codes: np.ndarray,
    text_codes: np.ndarray,
) -> None:
    """Writes tensors, metadata, a sprite (where the split has thumbnails) and the configuration.

    First all images, then all texts. Of a split with more than `MOST_PAIRS` pairs evenly spaced
    ones are shown, and the embedding's name says so. The configuration comes last, so that
    TensorBoard never finds one whose files are missing.

    Args:
      log_dir: the run's TensorBoard folder.
      split: n pairs.
      label_names: c class names.
      image_codes, text_codes: (n, d) float, finite.

    Raises:
      InputError: the codes do not fit the split, or are not finite.
    """
    n = len(split)
    if image_codes.shape != text_codes.shape or len(image_codes) != n or image_codes.ndim != 2:
        raise InputError(
            f"projector: found codes of shape {image_codes.shape} (images) and "
            f"{text_codes.shape} (texts), expected one row for each of {n} pairs in both"
        )
    if not (np.isfinite(image_codes).all() and np.isfinite(text_codes).all()):
        raise InputError("projector: the codes hold a NaN or an infinity; the run has diverged")
    folder = Path(log_dir)
    folder.mkdir(parents=True, exist_ok=True)

    rows = np.arange(n)
    name = f"test split, {n} images and their texts"
    if n > MOST_PAIRS:
        rows = np.linspace(0, n - 1, MOST_PAIRS).round().astype(int)
        name = f"test split, {MOST_PAIRS} of {n} pairs, evenly spaced"

    config = projector.ProjectorConfig()
    embedding = config.embeddings.add()
    embedding.tensor_name = name
    embedding.tensor_path = "projector_tensors.tsv"
    embedding.metadata_path = "projector_metadata.tsv"
    codes = np.concatenate([image_codes[rows], text_codes[rows]])
    with atomic_path(folder / embedding.tensor_path) as temporary:
        np.savetxt(temporary, codes, fmt="%.6g", delimiter="\t")
    with atomic_path(folder / embedding.metadata_path) as temporary:
        temporary.write_text(_metadata(split, label_names, rows), encoding="utf-8", newline="\n")
    if split.thumbnail is not None:
        embedding.sprite.image_path = "projector_sprite.png"
        columns, tile = sprite_layout(2 * len(rows))
        embedding.sprite.single_image_dim.extend([tile, tile])
        sprite = _sprite([split.thumbnail[row] for row in rows], columns, tile)
        with atomic_path(folder / embedding.sprite.image_path) as temporary:
            sprite.save(temporary)
    with atomic_path(folder / "projector_config.pbtxt") as temporary:
        temporary.write_text(text_format.MessageToString(config), encoding="utf-8")


def sprite_layout(points: int) -> tuple[int, int]:
    """Tiles in a row of the (square) sprite, and the side of a tile in pixels.

    Tiles are `MOST_TILE` wide, or as wide as the largest texture allows.
    """
    columns = math.ceil(math.sqrt(points))
    return columns, min(MOST_TILE, SPRITE_SIDE // columns)


def _metadata(split: Split, label_names: Sequence[str], rows: np.ndarray) -> str:
    """Tab-separated, one line a point below the names of the columns."""
    lines = ["modality\tlabel\ttitle\tid"]
    for modality in ("image", "text"):
        for row in rows:
            label = split.label[row]
            labels = np.flatnonzero(label) if split.label.ndim == 2 else [label]
            title = "" if split.title is None else str(split.title[row])
            fields = (
                modality,
                ", ".join(label_names[int(k)] for k in labels),
                title[:MOST_TITLE],
                str(split.id[row]),
            )
            lines.append("\t".join(_one_line(field) for field in fields))
    return "\n".join(lines) + "\n"


def _one_line(text: str) -> str:
    """`text` without what would end its field or its line: runs of space and control characters."""
    return re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", text).strip()


def _sprite(thumbnails: Sequence[bytes], columns: int, tile: int) -> Image.Image:
    """All images' tiles, then all texts' tiles: the pair's image, pale, behind a "T"."""
    sprite = Image.new("RGB", (columns * tile, columns * tile), "white")
    images = [_image(data, tile) for data in thumbnails]
    for k, image in enumerate(images):
        for place, drawn in ((k, _image_tile(image)), (k + len(images), _text_tile(image))):
            sprite.paste(drawn, (place % columns * tile, place // columns * tile))
    return sprite


def _image(data: bytes, tile: int) -> Image.Image:
    """The thumbnail on white, fitted into a square; white alone if it cannot be read."""
    square = Image.new("RGB", (tile, tile), "white")
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as opened:
            image = opened.convert("RGBA")
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        return square
    image.thumbnail((tile, tile))
    corner = ((tile - image.width) // 2, (tile - image.height) // 2)
    square.paste(image, corner, image)
    return square


def _image_tile(image: Image.Image) -> Image.Image:
    tile = image.copy()
    _frame(tile, IMAGE_COLOR)
    return tile


def _text_tile(image: Image.Image) -> Image.Image:
    tile = Image.blend(image, Image.new("RGB", image.size, TEXT_COLOR), 0.35)
    _frame(tile, TEXT_COLOR)
    side = tile.width
    draw = ImageDraw.Draw(tile)
    # A "T" of two bars in the corner: at a few pixels a font's letter would be a smudge.
    box, bar = side * 3 // 8, max(1, side // 16)
    draw.rectangle((0, 0, box, box), fill=TEXT_COLOR)
    draw.rectangle((2 * bar, 2 * bar, box - 2 * bar, 3 * bar - 1), fill="white")
    middle = box // 2
    draw.rectangle((middle - bar // 2, 2 * bar, middle + (bar - 1) // 2, box - bar), fill="white")
    return tile


def _frame(tile: Image.Image, color: tuple[int, int, int]) -> None:
    width = max(1, tile.width // 20)
    ImageDraw.Draw(tile).rectangle(
        (0, 0, tile.width - 1, tile.height - 1), outline=color, width=width
    )
