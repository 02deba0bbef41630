"""Training split that is read from its files, for more pairs than fit into memory.

`StreamedSplit` stands where a `Split` stands. Labels and ids of all pairs are in memory, and the
features of a sample, on which input maps are fitted; the rest is read from TFRecord files, epoch
after epoch. The order is a pure function of (seed, epoch): the files in random order, many at once,
through a buffer that mixes their records.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from xgacmn_tf.datasets.checks import checked_labels, strings
from xgacmn_tf.datasets.paired import Split
from xgacmn_tf.errors import InputError
from xgacmn_tf.groups import content_keys

if TYPE_CHECKING:
    from xgacmn_tf.datasets.batches import Batches

# Files read side by side, and records taken from one in a row.
FILES_AT_ONCE, RECORDS_IN_A_ROW = 16, 16
# Memory of the buffer that mixes records. Data that fit in are shuffled as thoroughly as in memory.
SHUFFLE_BYTES = 256 * 2**20
# Memory of the sample. Data that fit in have the maps that they have in memory.
SAMPLE_BYTES = 512 * 2**20
ROWS_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class Shards:
    """TFRecord files of paired features, which TFDS wrote.

    Attributes:
      files: their paths. lengths: records of each.
      image_dim, text_dim: numbers of features.
    """

    files: tuple[str, ...]
    lengths: tuple[int, ...]
    image_dim: int
    text_dim: int

    @property
    def rows(self) -> int:
        return sum(self.lengths)

    @property
    def bytes_a_row(self) -> int:
        """Of the features of a pair, as float32."""
        return 4 * (self.image_dim + self.text_dim)

    def read(self) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
        """Blocks of all rows in order: their numbers (n,) int64, and their `features`."""
        records = tf.data.TFRecordDataset(list(self.files)).enumerate().batch(ROWS_AT_ONCE)
        blocks = records.map(lambda row, record: (row, self.features(record)))
        return blocks.prefetch(2).as_numpy_iterator()

    def shuffled(self, seed: int, epoch: int) -> tf.data.Dataset:
        """(row, record) of all files in the order of an epoch, still to be mixed by a buffer."""
        order = np.random.default_rng((seed, epoch)).permutation(len(self.files))
        files, first = np.array(self.files), np.cumsum([0, *self.lengths[:-1]])

        def records(file: tf.Tensor, start: tf.Tensor) -> tf.data.Dataset:
            return tf.data.TFRecordDataset(file).enumerate(start)

        return tf.data.Dataset.from_tensor_slices((files[order], first[order])).interleave(
            records,
            cycle_length=min(FILES_AT_ONCE, len(files)),
            block_length=RECORDS_IN_A_ROW,
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )

    def features(self, records: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return (n,) records → image (n, d_v) and text (n, d_t), float32."""
        # A batch at once: record by record, as TFDS reads them, takes two to seven times as long.
        dims = {"image": self.image_dim, "text": self.text_dim}
        return tf.io.parse_example(
            records, {name: tf.io.FixedLenFeature((dim,), tf.float32) for name, dim in dims.items()}
        )


@dataclass(frozen=True, eq=False)
class StreamedSplit:
    """Pairs that are read from files while they are trained on, see `Split`.

    Attributes:
      shards: the files.
      all_labels, all_ids: of every row of the files, as `Split.label` and `Split.id`.
      all_group_keys: likewise, as `Split.group_keys`.
      grouped: whether these are explicit groups, not keys of the image features.
      sample: some of the rows, in memory. sample_rows: (k,) which rows those are.
      digest: SHA-256 of the files' contents.
      kept: (rows,) bool, which rows belong to this split.
    """

    shards: Shards
    all_labels: np.ndarray
    all_ids: np.ndarray
    all_group_keys: np.ndarray
    grouped: bool
    sample: Split
    sample_rows: np.ndarray
    digest: bytes
    kept: np.ndarray

    def __len__(self) -> int:
        return int(self.kept.sum())

    @property
    def image_dim(self) -> int:
        return self.shards.image_dim

    @property
    def text_dim(self) -> int:
        return self.shards.text_dim

    @property
    def label(self) -> np.ndarray:
        return self.all_labels[self.kept]

    @property
    def id(self) -> np.ndarray:
        return self.all_ids[self.kept]

    @property
    def group_keys(self) -> np.ndarray:
        return self.all_group_keys[self.kept]

    @property
    def group(self) -> np.ndarray | None:
        return self.group_keys if self.grouped else None

    def masks(self) -> dict[str, np.ndarray]:
        """As `Split.masks`; the pairs of a streamed split are complete."""
        return {}

    def take(self, rows: np.ndarray) -> StreamedSplit:
        """Return the pairs at `rows`, a mask of n booleans."""
        kept = self.kept.copy()
        kept[kept] = rows
        return replace(self, kept=kept)

    def followed_by(self, other: Split) -> StreamedSplit:
        """Return the pairs of this split with those of another, which came from the same files."""
        return replace(self, kept=self.kept | np.isin(self.all_ids, other.id))

    def to_fit(self) -> Split:
        """Return the sampled pairs of this split."""
        return self.sample.take(self.kept[self.sample_rows])

    def in_memory(self) -> Split:
        """Return all pairs of this split, read."""
        image, text = [], []
        for rows, features in self.shards.read():
            image.append(features["image"][self.kept[rows]])
            text.append(features["text"][self.kept[rows]])
        whole = np.concatenate(image), np.concatenate(text)
        return Split(*whole, self.label, self.id, group=self.group)

    def epoch_batches(
        self, seed: int, epoch: int, batch_size: int, workers: int = 1, worker: int = 0
    ) -> tf.data.Dataset:
        """A worker's batches of an epoch: {"row": (n,) int64, "image": …, "text": …}, raw features.

        Args:
          seed, epoch: of the order.
          batch_size: rows of a batch of all workers; each has its share.
        """
        kept = tf.constant(self.kept)
        records = self.shards.shuffled(seed, epoch)
        if not self.kept.all():
            records = records.filter(lambda row, record: kept[row])
        size = max(batch_size, min(len(self), SHUFFLE_BYTES // self.shards.bytes_a_row))
        (drawn,) = np.random.SeedSequence((seed, epoch)).generate_state(1)
        mixed = records.shuffle(size, seed=int(drawn) % 2**31)
        return (
            # Each worker reads all records, and parses its own.
            mixed.shard(workers, worker)
            .batch(batch_size // workers, drop_remainder=True)
            .map(
                lambda row, record: {"row": row, **self.shards.features(record)},
                num_parallel_calls=tf.data.AUTOTUNE,
                deterministic=True,
            )
            .prefetch(tf.data.AUTOTUNE)
        )

    def batches(self, batch_size: int, seed: int = 0) -> Batches:
        """As `Split.batches`; the features stay in their files in training."""
        from xgacmn_tf.datasets.batches import Batches

        return Batches(self, batch_size, seed)

    # The methods that `paired` calls.

    def content(self, part: str) -> Iterator[tuple[str, str, tuple[int, ...], list[Any]]]:
        """As `Split.content`, with the digest instead of the features."""
        yield f"shards_{part}", "sha256", (len(self),), [self.digest, self.kept.tobytes()]

    def checked(self, part: str, num_classes: int, source: str) -> StreamedSplit:
        """As `Split.checked`; features were checked when the files were first read."""
        return replace(
            self,
            all_labels=checked_labels(self.all_labels, num_classes, f"{source}: label_{part}"),
            all_ids=strings(self.all_ids, f"{source}: id_{part}"),
            all_group_keys=strings(self.all_group_keys, f"{source}: group_{part}"),
        )


def open_streamed(
    shards: Shards,
    labels: np.ndarray,
    ids: np.ndarray,
    source: str,
    group: np.ndarray | None = None,
) -> StreamedSplit:
    """Read all files once, find values that are not finite, and take the sample.

    Args:
      labels, ids, group: of every row, as `Split.label`, `Split.id` and `Split.group`.
      source: what errors name.

    Raises:
      InputError: a value is not finite, a file is damaged, or there are more or fewer rows.
    """
    if len(labels) != shards.rows:
        raise InputError(
            f"{source}: its files hold {len(labels)} pairs, its description says {shards.rows}; "
            "prepare the data set again."
        )
    wanted = max(1, min(shards.rows, SAMPLE_BYTES // shards.bytes_a_row))
    sampled = np.unique(np.linspace(0, shards.rows - 1, wanted).astype(int))
    image = np.empty((len(sampled), shards.image_dim), np.float32)
    text = np.empty((len(sampled), shards.text_dim), np.float32)
    digest, filled = hashlib.sha256(), 0
    keys: list[np.ndarray] = []
    with tqdm(total=shards.rows, unit="pair", desc="reading the files") as bar:
        try:
            for rows, features in shards.read():
                for name, values in features.items():
                    finite = np.isfinite(values)
                    if not finite.all():
                        row, column = np.argwhere(~finite)[0]
                        raise InputError(
                            f"{source}: {name}_train is not finite at row {rows[row]}, column "
                            f"{column}; repair or drop that row."
                        )
                    digest.update(np.ascontiguousarray(values.astype("<f4", copy=False)).data)
                if group is None or (group == "").any():
                    keys.append(content_keys(features["image"]))
                in_sample = np.isin(rows, sampled, assume_unique=True)
                end = filled + int(in_sample.sum())
                image[filled:end], text[filled:end] = (
                    features[name][in_sample] for name in ("image", "text")
                )
                filled = end
                bar.update(len(rows))
        except tf.errors.OpError as error:
            raise unreadable(source, error) from error
    digest.update(np.ascontiguousarray(labels).data)
    digest.update("\0".join(map(str, ids)).encode())
    if group is not None and keys:
        group = np.where(group == "", np.concatenate(keys), group)
    if group is not None:
        digest.update("\0".join(map(str, group)).encode())
    return StreamedSplit(
        shards,
        labels,
        ids,
        np.concatenate(keys) if group is None else group,
        group is not None,
        Split(
            image,
            text,
            labels[sampled],
            ids[sampled],
            group=None if group is None else group[sampled],
        ),
        sampled,
        digest.digest(),
        np.ones(shards.rows, bool),
    )


def unreadable(source: str, error: tf.errors.OpError) -> InputError:
    """Return the error for a file that TensorFlow could not read."""
    return InputError(f"{source}: a file cannot be read ({error}); prepare the data set again.")
