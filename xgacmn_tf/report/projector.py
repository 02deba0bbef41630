"""Files for TensorBoard's embedding projector: the codes on the hypersphere (paper, §3.3).

Images and texts of one split are points of the same plot, which shows whether the two modalities
mix. Every point has its modality, label and title, and a tile if there are thumbnails.
"""

import io
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from google.protobuf import text_format
from PIL import Image, ImageOps, UnidentifiedImageError
from tensorboard.plugins import projector

from xgacmn_tf.datasets.paired import Split
from xgacmn_tf.errors import InputError
from xgacmn_tf.io.files import atomic_path

# The projector uses WebGL, in which a larger texture fails on many machines.
SPRITE_SIDE = 8192
MAX_TILE = 64
# The projector projects at most this number of points; more would only take longer to load.
MAX_PAIRS = 5000
MAX_TITLE = 200
# The color of texts, as on the results page.
TEXT_COLOR = (216, 108, 20)


def write_projector(
    log_dir: str | os.PathLike[str],
    split: Split,
    label_names: Sequence[str],
    image_codes: np.ndarray,
    text_codes: np.ndarray,
) -> None:
    """Write tensors, metadata, a sprite (if the split has thumbnails) and the configuration.

    First all images, then all texts. Of a split with more than `MAX_PAIRS` pairs evenly spaced
    ones are shown, as the embedding's name states. The configuration is written last, so that
    TensorBoard never finds one whose files are missing.

    Args:
      log_dir: the run's TensorBoard folder.
      split: n pairs.
      label_names: c class names.
      image_codes, text_codes: (n, d) float, finite.

    Raises:
      InputError: if the codes do not fit the split, or are not finite.
    """
    n = len(split)
    if image_codes.shape != text_codes.shape or len(image_codes) != n or image_codes.ndim != 2:
        raise InputError(
            f"projector: received codes of shape {image_codes.shape} (images) and "
            f"{text_codes.shape} (texts), expected one row for each of {n} pairs in both"
        )
    if not (np.isfinite(image_codes).all() and np.isfinite(text_codes).all()):
        raise InputError("projector: the codes hold NaN or infinity; lower the learning rates")
    folder = Path(log_dir)
    folder.mkdir(parents=True, exist_ok=True)

    rows = np.arange(n)
    name = f"test split, {n} images and their texts"
    if n > MAX_PAIRS:
        rows = np.linspace(0, n - 1, MAX_PAIRS).round().astype(int)
        name = f"test split, {MAX_PAIRS} of {n} pairs, evenly spaced"

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
    """Return the number of tiles per row of the square sprite, and their side in pixels.

    Tiles are `MAX_TILE` wide, or as wide as the largest texture allows.
    """
    columns = math.ceil(math.sqrt(points))
    return columns, min(MAX_TILE, SPRITE_SIDE // columns)


def _metadata(split: Split, label_names: Sequence[str], rows: np.ndarray) -> str:
    """Return tab-separated lines, one per point, below the names of the columns.

    Points are labeled and searched by the first column unless the user chooses another one.
    """
    lines = ["title\tmodality\tlabel\tid"]
    for modality in ("image", "text"):
        for row in rows:
            label = split.label[row]
            labels = np.flatnonzero(label) if split.label.ndim == 2 else [label]
            title = "" if split.title is None else str(split.title[row])
            fields = (
                title[:MAX_TITLE],
                modality,
                ", ".join(label_names[int(k)] for k in labels),
                str(split.id[row]),
            )
            lines.append("\t".join(_one_line(field) for field in fields))
    return "\n".join(lines) + "\n"


def _one_line(text: str) -> str:
    """Replace runs of space and control characters, which would end the field or the line."""
    return re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", text).strip()


def _sprite(thumbnails: Sequence[bytes], columns: int, tile: int) -> Image.Image:
    """Return the tiles of all images, then those of all texts: their images, tinted."""
    sprite = Image.new("RGB", (columns * tile, columns * tile), "white")
    tint = Image.new("RGB", (tile, tile), TEXT_COLOR)
    images = [fitted_image(data, tile) for data in thumbnails]
    for place, image in enumerate([*images, *(Image.blend(i, tint, 0.5) for i in images)]):
        sprite.paste(image, (place % columns * tile, place // columns * tile))
    return sprite


def fitted_image(data: bytes, tile: int) -> Image.Image:
    """Return the thumbnail fitted into a white square; only white if it cannot be read."""
    square = Image.new("RGB", (tile, tile), "white")
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as opened:
            image = opened.convert("RGBA")
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        return square
    image = ImageOps.contain(image, (tile, tile))
    corner = ((tile - image.width) // 2, (tile - image.height) // 2)
    square.paste(image, corner, image)
    return square
