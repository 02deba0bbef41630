"""Features of one modality on disk: extracted once, shard by shard, so that a stop loses little.

    <cache_dir>/image-vgg19-<fingerprint>/
        extractor/          the extractor as it was learned, see `registry.load_extractor`
        train-00000.npz     features of the first `SHARD` training items, see `shards.Shard`
        left_out.txt        what is wrong with the pictures that were left out

The fingerprint covers the extractor's settings, the side of thumbnails and the items: ids, splits,
and the sizes of the picture files or the texts themselves. So whatever changes them leads to
another folder.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from xgacmn_tf.datasets.raw import RawPair
from xgacmn_tf.errors import InputError
from xgacmn_tf.features.extractor import MANIFEST, Extractor
from xgacmn_tf.features.pictures import THUMBNAIL_SIDE, BadPictureError
from xgacmn_tf.features.registry import load_extractor
from xgacmn_tf.features.shards import Shard, make_shard, read_item
from xgacmn_tf.io.files import atomic_path, temporary_for

SHARD = 512
EXTRACTOR = "extractor"
_LEFT_OUT = "left_out.txt"
Parts = Mapping[str, Sequence[RawPair]]


@dataclass(frozen=True)
class Extracted:
    """The features of one split: row i of each is of the pair at `row[i]` of that split."""

    feature: np.ndarray
    row: np.ndarray
    thumbnail: tuple[bytes, ...]


class FeatureCache:
    """The features of one extractor over the splits of one data set.

    Args:
        cache_dir: the folder for the folders of all caches.
        dataset: the data set's name.
        extractor: as the registry made it.
        parts: the pairs of each split; "train" is what extractors learn from.
        seed: draws the training items that are learned from, where not all are.

    Raises:
        InputError: if the folder cannot be written.
    """

    def __init__(
        self,
        cache_dir: Path,
        dataset: str,
        extractor: Extractor,
        parts: Parts,
        on_bad_image: str,
        seed: int = 0,
        say_progress: bool = True,
    ):
        self._given, self.parts, self.seed = extractor, parts, seed
        self.on_bad_image, self.say_progress = on_bad_image, say_progress
        name = f"{extractor.modality}-{extractor.name}"
        self.folder = Path(cache_dir) / f"{name}-{self._fingerprint(dataset)}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"cache_dir={cache_dir}: cannot be written ({error.strerror}); name a folder where "
                "you may create files"
            ) from error

    def learned(self) -> Extractor:
        """The extractor, learned on the training split if it learns, and saved in the folder."""
        target = self.folder / EXTRACTOR
        if not (target / MANIFEST).exists():
            if self._given.learns:
                self._given.fit(self._training_items())
            # Under another name first: a folder of that name is a whole one.
            temporary = temporary_for(target)
            shutil.rmtree(temporary, ignore_errors=True)
            self._given.save(temporary)
            with contextlib.suppress(FileExistsError, OSError):  # Another process was first.
                temporary.rename(target)
            shutil.rmtree(temporary, ignore_errors=True)
        extractor = load_extractor(target)
        extractor.batch_size = self._given.batch_size
        return extractor

    def extract(self) -> dict[str, Extracted]:
        """The features of every split, from the shards that are there and those still to make.

        Raises:
            InputError: if a picture cannot be used and the policy is to refuse, or every picture of
                a split is left out.
        """
        extractor = self.learned()
        total = sum(map(len, self.parts.values()))
        bar = tqdm(
            total=total,
            desc=f"{extractor.modality}s: {extractor.name}",
            unit=extractor.modality,
            disable=not self.say_progress,
        )
        left_out: list[str] = []
        with bar, ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            parts = {part: self._part(part, extractor, pool, bar, left_out) for part in self.parts}
        self._report(left_out, total)
        return parts

    def _part(
        self,
        part: str,
        extractor: Extractor,
        pool: ThreadPoolExecutor,
        bar: Any,
        left_out: list[str],
    ) -> Extracted:
        items = [_item(extractor, pair) for pair in self.parts[part]]
        feature = np.zeros((0, 0), np.float32)
        row = np.zeros(len(items), np.int32)
        pictures: list[bytes] = []
        count = 0
        for start in range(0, len(items), SHARD):
            path = self.folder / f"{part}-{start // SHARD:05}.npz"
            wanted = items[start : start + SHARD]
            shard = _stored(path, len(wanted))
            if shard is None:
                shard = make_shard(extractor, wanted, self.on_bad_image, pool, advance=bar.update)
                shard.save(path)
            else:
                bar.update(len(wanted))
            if shard.bad and self.on_bad_image == "refuse":
                raise BadPictureError(
                    f"{shard.bad[0]}; repair it, take its pair out, or leave out all such pairs "
                    "with on_bad_image=skip"
                )
            if start == 0:
                # All rows at once: joining shards at the end would take the memory twice.
                feature = np.zeros((len(items), shard.feature.shape[1]), np.float32)
            end = count + len(shard.row)
            feature[count:end], row[count:end] = shard.feature, start + shard.row
            pictures += shard.thumbnail
            left_out += shard.bad
            count = end
        if items and count == 0:
            raise InputError(
                f"{part}: none of its {len(items)} pictures can be used; the first: {left_out[-1]}"
            )
        return Extracted(feature[:count], row[:count], tuple(pictures))

    def _training_items(self) -> Iterator[Any]:
        """What the extractor learns from: training items, or a seeded sample of them."""
        train = self.parts["train"]
        limit = min(self._given.fit_limit or len(train), len(train))
        chosen = np.sort(np.random.default_rng(self.seed).permutation(len(train))[:limit])
        rows: Iterable[int] = tqdm(
            chosen.tolist(), f"learning {self._given.name}", disable=not self.say_progress
        )
        for row in rows:
            try:
                yield read_item(self._given, _item(self._given, train[row]))
            except BadPictureError:
                if self.on_bad_image == "refuse":
                    raise

    def _report(self, left_out: list[str], total: int) -> None:
        if not left_out:
            return
        path = self.folder / _LEFT_OUT
        with atomic_path(path) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in left_out), encoding="utf-8")
        tqdm.write(
            f"{len(left_out)} of {total} images cannot be used, and their pairs are left out; "
            f"{path} lists them. The first: {left_out[0]}"
        )

    def _fingerprint(self, dataset: str) -> str:
        extractor = self._given
        digest = hashlib.sha256()
        head = (dataset, extractor.modality, extractor.name, extractor.settings(), self.seed, SHARD)
        digest.update(json.dumps(head, sort_keys=True).encode())
        if extractor.modality == "image":
            digest.update(str(THUMBNAIL_SIDE).encode())
        for part, pairs in self.parts.items():
            for pair in pairs:
                content = _size(pair.image) if extractor.modality == "image" else pair.text
                digest.update(json.dumps((part, pair.id, content)).encode())
        return digest.hexdigest()[:16]


def _item(extractor: Extractor, pair: RawPair) -> Path | str:
    return pair.image if extractor.modality == "image" else pair.text


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1  # It is reported, or left out, when its turn comes.


def _stored(path: Path, items: int) -> Shard | None:
    """The shard in a file; None if there is none, or a disk has damaged it."""
    try:
        return Shard.load(path, items)
    except Exception:  # A damaged file fails in a dozen ways.
        return None
