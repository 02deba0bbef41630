"""Extraction of the features of a batch of items, for the feature store and for Beam pipelines."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xgacmn_tf.errors import InputError
from xgacmn_tf.features.extractor import Extractor
from xgacmn_tf.features.image_files import BadImageError, open_image, thumbnail
from xgacmn_tf.io import array_files
from xgacmn_tf.io.files import atomic_path

# Policies for an image that cannot be used: raise an error, or leave its pairs out and report them.
REFUSE, SKIP = "refuse", "skip"
POLICIES = (REFUSE, SKIP)


@dataclass(frozen=True)
class Shard:
    """Features of those of n items that could be read.

    Attributes:
        feature: (k, d) float32.
        row: (k,) int32, ascending: the item that each row of `feature` belongs to.
        thumbnail: k encoded images; empty for texts.
        bad: the reason for each item that is missing in `row`.
    """

    feature: np.ndarray
    row: np.ndarray
    thumbnail: tuple[bytes, ...] = ()
    bad: tuple[str, ...] = ()

    def save(self, path: Path) -> None:
        """Write a `.npz` file, atomically."""
        sizes = np.array([len(image) for image in self.thumbnail], np.int64)
        with atomic_path(path) as temporary:
            np.savez(
                temporary,
                feature=self.feature,
                row=self.row,
                thumbnail=np.frombuffer(b"".join(self.thumbnail), np.uint8),
                thumbnail_size=sizes,
                bad=np.array(self.bad, dtype=str),
            )

    @classmethod
    def load(cls, path: Path, items: int) -> "Shard":
        """Read a file that `save` wrote.

        Args:
            path: the `.npz` file.
            items: number of items that it must describe.

        Raises:
            InputError: if the file is damaged or describes other items.
        """
        arrays = array_files.read(path)
        feature, row, bad = arrays["feature"], arrays["row"], arrays["bad"]
        end = np.cumsum(arrays["thumbnail_size"]).tolist()
        joined = arrays["thumbnail"].tobytes()
        images = [joined[a:b] for a, b in zip([0, *end], end, strict=False)]
        fits = (
            feature.ndim == 2
            and feature.dtype == np.float32
            and len(images) in (0, len(feature))
            and len(feature) + len(bad) == items
            and row.shape == (len(feature),)
            and len(np.intersect1d(row, np.arange(items))) == len(row)
        )
        if not fits:
            raise InputError(f"{path} holds the features of other items; delete the file")
        return cls(feature, row, tuple(images), tuple(map(str, bad)))


def check_policy(on_bad_image: str) -> None:
    """Raise an `InputError` if `on_bad_image` is not one of `POLICIES`."""
    if on_bad_image not in POLICIES:
        raise InputError(
            f"on_bad_image={on_bad_image!r}: expected one of {', '.join(POLICIES)}; skip leaves "
            "out the pairs whose image cannot be used"
        )


def rejection(problem: str) -> BadImageError:
    """Return the error for an image that cannot be used.

    Args:
        problem: the file and the reason.
    """
    return BadImageError(
        f"{problem}; repair it, remove its pair, or leave out all such pairs with on_bad_image=skip"
    )


def read_item(extractor: Extractor, item: Path | str) -> Any:
    """Return the input of an extractor: the image in a file, or the text as it is."""
    return open_image(Path(item)) if extractor.modality == "image" else item


def make_shard(
    extractor: Extractor,
    items: Sequence[Path | str],
    on_bad_image: str,
    pool: ThreadPoolExecutor,
    advance: Callable[[int], object] = lambda count: None,
) -> Shard:
    """Extract the features of `items`, reading one batch ahead of the one that is encoded.

    Args:
        extractor: must be fitted if it learns.
        items: image files or texts, as the extractor's modality is.
        on_bad_image: one of `POLICIES`.
        pool: threads that read and prepare items.
        advance: called with the number of items that are done since the last call.

    Raises:
        BadImageError: at the first image that cannot be used, if the policy is "refuse".
    """
    # `dim` loads what the threads then share.
    features = [np.zeros((0, extractor.dim), np.float32)]
    rows: list[int] = []
    thumbnails: list[bytes] = []
    bad: list[str] = []
    for start, batch in _read_ahead(extractor, items, pool):
        prepared = []
        for row, future in enumerate(batch, start):
            try:
                prepared_item, small = future.result()
            except BadImageError as error:
                if on_bad_image == REFUSE:
                    raise rejection(str(error)) from error
                bad.append(str(error))
                continue
            rows.append(row)
            prepared.append(prepared_item)
            if small is not None:
                thumbnails.append(small)
        if prepared:
            features.append(extractor.encode(prepared))
        advance(len(batch))
    return Shard(np.concatenate(features), np.array(rows, np.int32), tuple(thumbnails), tuple(bad))


def _read_ahead(
    extractor: Extractor, items: Sequence[Path | str], pool: ThreadPoolExecutor
) -> Iterator[tuple[int, list[Future[tuple[Any, bytes | None]]]]]:
    """Yield the first row and the items of each batch, while the next batch is being read."""

    def read(item: Path | str) -> tuple[Any, bytes | None]:
        content = read_item(extractor, item)
        small = thumbnail(content) if extractor.modality == "image" else None
        return extractor.prepare(content), small

    size = extractor.batch_size
    ahead: tuple[int, list[Future[tuple[Any, bytes | None]]]] | None = None
    try:
        for start in range(0, len(items), size):
            submitted = [pool.submit(read, item) for item in items[start : start + size]]
            current, ahead = ahead, (start, submitted)
            if current:
                yield current
        if ahead:
            current, ahead = ahead, None
            yield current
    finally:
        # Only after an error is a batch left that has no consumer.
        unused: list[Future[tuple[Any, bytes | None]]] = ahead[1] if ahead else []
        for future in unused:
            future.cancel()
