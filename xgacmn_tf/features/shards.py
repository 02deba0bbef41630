"""A run of items → their features: the piece of work that both the plain path and Beam do."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from xgacmn_tf.errors import InputError
from xgacmn_tf.features.extractor import Extractor
from xgacmn_tf.features.pictures import BadPictureError, open_picture, thumbnail
from xgacmn_tf.io import array_files
from xgacmn_tf.io.files import atomic_path

# What happens at a picture that cannot be used: an error, or its pair is left out and reported.
POLICIES = ("refuse", "skip")


@dataclass(frozen=True)
class Shard:
    """Features of those of n items that could be read.

    Attributes:
        feature: (k, d) float32.
        row: (k,) int32, ascending: which of the items each row of `feature` is of.
        thumbnail: k encoded pictures; empty for texts.
        bad: what is wrong with each item that is missing in `row`.
    """

    feature: np.ndarray
    row: np.ndarray
    thumbnail: tuple[bytes, ...] = ()
    bad: tuple[str, ...] = field(default=())

    def save(self, path: Path) -> None:
        """Writes a `.npz` file, whole or not at all."""
        sizes = np.array([len(picture) for picture in self.thumbnail], np.int64)
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
        """What was saved of so many items; what does not fit them or itself raises some error."""
        arrays = array_files.read(path, lambda names: None)
        feature, row, bad = arrays["feature"], arrays["row"], arrays["bad"]
        end = np.cumsum(arrays["thumbnail_size"]).tolist()
        joined = arrays["thumbnail"].tobytes()
        pictures = [joined[a:b] for a, b in zip([0, *end], end, strict=False)]
        fits = (
            feature.ndim == 2
            and feature.dtype == np.float32
            and len(pictures) in (0, len(feature))
            and len(feature) + len(bad) == items
            and row.shape == (len(feature),)
            and len(np.intersect1d(row, np.arange(items))) == len(row)
        )
        if not fits:
            raise InputError(f"{path} holds the features of other items")
        return cls(feature, row, tuple(pictures), tuple(bad))


def check_policy(on_bad_image: str) -> None:
    """Raises an `InputError` for a policy that is none of `POLICIES`."""
    if on_bad_image not in POLICIES:
        raise InputError(
            f"on_bad_image={on_bad_image!r}: expected one of {', '.join(POLICIES)}; skip leaves "
            "out the pairs whose picture cannot be used"
        )


def read_item(extractor: Extractor, item: Path | str) -> Any:
    """What the extractor takes: the picture in a file, or the text as it is."""
    return open_picture(Path(item)) if extractor.modality == "image" else item


def make_shard(
    extractor: Extractor,
    items: Sequence[Path | str],
    on_bad_image: str,
    pool: ThreadPoolExecutor,
    advance: Callable[[int], object] = lambda count: None,
) -> Shard:
    """Extracts the features of `items`, reading one batch ahead of the one that is encoded.

    Args:
        items: picture files or texts, as the extractor's modality is.
        on_bad_image: one of `POLICIES`.
        pool: threads that read and prepare items.
        advance: is told how many more items are done.

    Raises:
        BadPictureError: at the first picture that cannot be used, if the policy is to refuse.
    """
    features = [np.zeros((0, extractor.dim), np.float32)]  # `dim` loads what threads then share.
    rows: list[int] = []
    pictures: list[bytes] = []
    bad: list[str] = []
    for start, batch in _read_ahead(extractor, items, pool):
        prepared = []
        for row, future in enumerate(batch, start):
            try:
                ready, picture = future.result()
            except BadPictureError as error:
                if on_bad_image == "refuse":
                    raise BadPictureError(
                        f"{error}; repair it, take its pair out, or leave out all such pairs with "
                        "on_bad_image=skip"
                    ) from error
                bad.append(str(error))
                continue
            rows.append(row)
            prepared.append(ready)
            if picture is not None:
                pictures.append(picture)
        if prepared:
            features.append(extractor.encode(prepared))
        advance(len(batch))
    return Shard(np.concatenate(features), np.array(rows, np.int32), tuple(pictures), tuple(bad))


def _read_ahead(
    extractor: Extractor, items: Sequence[Path | str], pool: ThreadPoolExecutor
) -> Iterator[tuple[int, list[Future[tuple[Any, bytes | None]]]]]:
    """(first row, the batch's items being read), the next batch being read as well."""

    def read(item: Path | str) -> tuple[Any, bytes | None]:
        ready = read_item(extractor, item)
        picture = thumbnail(ready) if extractor.modality == "image" else None
        return extractor.prepare(ready), picture

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
        # Only after an error is there a batch left that nobody waits for.
        unused: list[Future[tuple[Any, bytes | None]]] = ahead[1] if ahead else []
        for future in unused:
            future.cancel()
