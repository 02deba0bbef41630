"""Data sets that come with this package: features, texts and thumbnails in one layout.

A folder `data/` holds

- `entries.tsv`: one row per pair, ordered by split, with at least the columns `split`, `id`
  (category/…/name), `title` and `text`;
- `features.npz`: image features as `image` (n, d_v) uint8 times `image_step` (d_v,) float32;
- `texts.npz`: sentence embeddings, `sentence` (n + m, 384) float16, and word counts as sparse rows,
  `text_offset` (n + m + 1,), `text_word` and `text_count`, of the n texts and of m further captions
  of training rows, `short_row` (m,); a protocol may have such a file of its own;
- `thumbnails.npz`: encoded images one after the other, `webp` (bytes,) uint8, and their `offset`;
- `extractors/`: for each text feature, what makes such features of other images and texts.

`tools/bundling.py` of the repository writes these files.
"""

import csv
import importlib
import itertools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xgacmn_tf.datasets.catalog import check_protocol
from xgacmn_tf.datasets.paired import PairedDataset, Split
from xgacmn_tf.errors import InputError
from xgacmn_tf.settings.sections import DataSettings

SPLITS = ("train", "validation", "test")
IMAGE_FEATURES = "efficientnet_lite2"
# The default first.
TEXT_FEATURES = ("minilm", "bow")
ENTRIES, FEATURES, THUMBNAILS = "entries.tsv", "features.npz", "thumbnails.npz"
EXTRACTORS, TEXTS = "extractors", "texts.npz"
# Ends the id of a pair of a further caption.
SHORT = " (short)"


@dataclass(frozen=True)
class Bundled:
    """One of the data sets.

    Attributes:
        name: what `--dataset` calls it.
        data: the folder with its files.
        texts: protocol → file name of its texts' features; the default first.
        held_out: the validation split is a part of the training split, which the final training
            gets back; see `PairedDataset.held_out`.
    """

    name: str
    data: Path
    texts: dict[str, str]
    held_out: bool = False

    @property
    def protocols(self) -> tuple[str, ...]:
        """Names of the protocols, the default first; only one where there is no choice."""
        return tuple(self.texts)

    def vocabulary(self) -> tuple[str, ...]:
        """Return the words that the columns of the word counts stand for."""
        path = self.data / EXTRACTORS / "bow" / "text" / "vocabulary.json"
        return tuple(json.loads(path.read_text(encoding="utf-8")))

    def entries(self) -> list[dict[str, str]]:
        """Return one row per pair, in the order of train, validation and test."""
        with open(self.data / ENTRIES, encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file, dialect="excel-tab"))

    def load(self, text_features: str | None = None, protocol: str | None = None) -> PairedDataset:
        """Load the three splits.

        Args:
            text_features: "minilm" (default) for (n, 384) sentence embeddings of unit length, or
                "bow" for word counts, of which a row can be all zeros.
            protocol: one of `protocols`; None for the first.

        Returns:
            Image features are (n, 1280) pooled EfficientNet-Lite2 outputs, each in [0, 6]. The
            label is the first part of the id, the fine label its whole folder. Training images
            with a further caption are in two pairs.

        Raises:
            InputError: there are no such features or protocol.
        """
        text_features = text_features or TEXT_FEATURES[0]
        self.check(text_features, protocol)
        texts = self.texts[protocol or self.protocols[0]]
        rows = self.entries()
        with np.load(self.data / FEATURES, allow_pickle=False) as arrays:
            image = arrays["image"] * arrays["image_step"]
        text, short = self._text(text_features, texts)
        thumbnails = self.thumbnails()
        folders = [row["id"].partition("/")[0] for row in rows]
        categories = sorted(set(folders))

        def split(name: str) -> Split:
            own = [number for number, row in enumerate(rows) if row["split"] == name]
            more = short.tolist() if name == "train" else []
            numbers = own + more
            names = [rows[n]["id"] for n in own] + [rows[n]["id"] + SHORT for n in more]
            return Split(
                image=image[numbers],
                text=np.concatenate([text[own], text[len(rows) : len(rows) + len(more)]]),
                label=np.array([categories.index(folders[n]) for n in numbers], np.int32),
                id=np.array(names),
                title=np.array([rows[n]["title"] for n in numbers]),
                thumbnail=tuple(thumbnails[n] for n in numbers),
                fine_label=np.array([rows[n]["id"].rpartition("/")[0] for n in numbers]),
            )

        return PairedDataset(
            name=self.name,
            train=split("train"),
            validation=split("validation"),
            test=split("test"),
            label_names=tuple(name.replace("_", " ") for name in categories),
            source=str(self.data / EXTRACTORS / text_features),
            held_out=self.held_out,
        )

    def thumbnails(self) -> list[bytes]:
        """Return the images in the order of `entries`, as WebP files."""
        with np.load(self.data / THUMBNAILS, allow_pickle=False) as arrays:
            webp, offset = arrays["webp"].tobytes(), arrays["offset"]
        return [webp[start:end] for start, end in itertools.pairwise(offset.tolist())]

    def check(self, text_features: str | None, protocol: str | None) -> None:
        """Raise an `InputError` if there are no such features or protocol; see `load`."""
        if text_features not in (None, *TEXT_FEATURES):
            raise InputError(
                f"--text_features={text_features}: data set {self.name!r} comes with "
                f"{' and '.join(TEXT_FEATURES)}; name one of them"
            )
        check_protocol(self.name, protocol, self.protocols if len(self.protocols) > 1 else ())

    def _text(self, features: str, file: str) -> tuple[np.ndarray, np.ndarray]:
        """Return (n + m, d_t) float32 text features, and the (m,) rows of the further captions."""
        with np.load(self.data / file, allow_pickle=False) as arrays:
            short = arrays["short_row"]
            if features == "minilm":
                return arrays["sentence"].astype(np.float32), short
            offset = arrays["text_offset"]
            counts = np.zeros((len(offset) - 1, len(self.vocabulary())), np.float32)
            row_of_count = np.repeat(np.arange(len(counts)), np.diff(offset))
            counts[row_of_count, arrays["text_word"]] = arrays["text_count"]
        return counts, short


def load(data: DataSettings, image: str | None, text: str | None) -> PairedDataset:
    """Load one of the data sets.

    Args:
        data: `dataset` and `protocol`; there is no `data_dir`.
        image: `IMAGE_FEATURES` or None.
        text: one of `TEXT_FEATURES`; None for the first.

    Raises:
        InputError: see `check_names`.
    """
    check_names(data, image, text)
    return _bundled(data.dataset).load(text, data.protocol)


def check_names(data: DataSettings, image: str | None, text: str | None) -> None:
    """Reject features and protocols that there are not, and a `data_dir`; arguments of `load`.

    Raises:
        InputError: if there are no such features or protocol, or `data_dir` is named.
    """
    name = data.dataset
    wrong = f"--data_dir={data.data_dir}" if data.data_dir is not None else ""
    if image not in (None, IMAGE_FEATURES):
        wrong = f"--image_features={image}"
    if wrong:
        raise InputError(
            f"{wrong}: data set {name!r} comes with the package and {IMAGE_FEATURES} features of "
            "its images; leave the flag out"
        )
    _bundled(name).check(text, data.protocol)


def _bundled(name: str) -> Bundled:
    module = importlib.import_module(f"xgacmn_tf.datasets.{name}")
    bundled: Bundled = getattr(module, name.upper())
    return bundled
