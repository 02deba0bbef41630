"""Paired data: images, texts and the labels that they share (paper, §3.1).

A `PairedDataset` holds the splits. It is checked when it is created, so that training does not fail
on its content later.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from xgacmn_tf.datasets.split import (
    Split,
    label_matrix,
    pairs_per_category,
    strings_content,
    targets_of,
)
from xgacmn_tf.datasets.stratified import stratified_part
from xgacmn_tf.errors import InputError
from xgacmn_tf.groups import first_rows, too_large, without_large

__all__ = [
    "PairedDataset",
    "Split",
    "check",
    "give_back",
    "hold_out",
    "in_complete_groups",
    "label_matrix",
    "pairs_per_category",
    "targets_of",
]


# Share of the training split that is held out for validation where nothing else is given.
VALIDATION_FRACTION = 0.2


@dataclass(frozen=True, eq=False)
class PairedDataset:
    """A checked data set. Features become float32, labels int32 or uint8, ids and titles str.

    Attributes:
        name: what tables and run folders call it.
        train, test: always there. validation: None where the data set has none of its own. For
            X-GACMN, train may be a `streamed.StreamedSplit`.
        label_names: c names; label k is `label_names[k]`.
        source: the file or folder of the features; empty for data made in memory.
        held_out: the validation split was part of the training split, see `hold_out`.
        notes: what the reader of the data has to report, such as pairs that it left out.
        given: what errors call it where that is not the source, such as the table whose features
            were extracted into a cache folder.

    Raises:
        InputError: if `check` rejects the data.
    """

    name: str
    train: Split
    test: Split
    label_names: tuple[str, ...]
    validation: Split | None = None
    source: str = ""
    held_out: bool = False
    notes: tuple[str, ...] = ()
    given: str = ""

    def __post_init__(self) -> None:
        # Frozen: only here do fields change, to their final types.
        for field, value in check(self).items():
            object.__setattr__(self, field, value)

    def splits(self) -> Iterator[tuple[str, Split]]:
        """("train", …), ("validation", …) if there is one, ("test", …)."""
        yield "train", self.train
        if self.validation is not None:
            yield "validation", self.validation
        yield "test", self.test

    @property
    def described(self) -> str:
        """What errors call the data set."""
        return self.given or self.source or f"data set {self.name!r}"

    @property
    def num_classes(self) -> int:
        return len(self.label_names)

    @property
    def image_dim(self) -> int:
        return self.train.image_dim

    @property
    def text_dim(self) -> int:
        return self.train.text_dim

    @cached_property
    def groups(self) -> dict[str, np.ndarray]:
        """Split → (n,) int64, equal for pairs of one group, within and between splits.

        Explicit groups are used as they are. Too many pairs with identical image features stand
        alone, see `groups.too_large`.
        """
        numbers = self._group_numbers
        return self._by_split(numbers if self.has_explicit_groups else without_large(numbers))

    @property
    def has_explicit_groups(self) -> bool:
        return self.train.group is not None

    @property
    def pairs_in_large_groups(self) -> int:
        """Number of pairs in groups that would be too large for groups by image features."""
        return int(too_large(self._group_numbers).sum())

    @cached_property
    def _group_numbers(self) -> np.ndarray:
        """(n,) int64 of all splits one after another, large groups among them."""
        return first_rows(np.concatenate([split.group_keys for _, split in self.splits()]))

    def _by_split(self, values: np.ndarray) -> dict[str, np.ndarray]:
        names, splits = zip(*self.splits(), strict=True)
        ends = np.cumsum([len(split) for split in splits])[:-1]
        return dict(zip(names, np.split(values, ends), strict=True))

    @cached_property
    def trained_pairs(self) -> np.ndarray:
        """(c,) int64 number of training pairs of each category, held-out ones included."""
        counts = pairs_per_category(self.train.label, self.num_classes)
        if self.held_out and self.validation is not None:
            counts += pairs_per_category(self.validation.label, self.num_classes)
        return counts

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over the label names and every array's name, dtype, shape and bytes.

        It is equal for two runs on the same data; the name and source are not included.
        """
        digest = hashlib.sha256()

        def add(name: str, kind: str, shape: tuple[int, ...], parts: list[Any]) -> None:
            digest.update(f"{name}\0{kind}\0{shape}\0".encode())
            for part in parts:
                # The length keeps ("ab", "c") and ("a", "bc") apart.
                digest.update(memoryview(part).nbytes.to_bytes(8, "little"))
                digest.update(part)

        add(*strings_content("label_names", self.label_names))
        for part, split in self.splits():
            for entry in split.content(part):
                add(*entry)
        return digest.hexdigest()


def check(dataset: PairedDataset) -> dict[str, Any]:
    """Return the fields of `dataset` in their final types: its splits and label names.

    Raises:
        InputError: naming the source, the array (such as "text_test"), what was found and what
            was expected, at the first of: an empty split; a wrong number of dimensions, dtype or
            row count; a value that is not finite; a label out of range; an incomplete pair outside
            of the training split; duplicate ids within or between splits; widths that differ
            between splits; fewer than two classes in training.
    """
    source = dataset.described
    names = tuple(str(name) for name in dataset.label_names)
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{source}: label_names holds {twice!r} twice; names must differ.")
    splits = {part: split.checked(part, len(names), source) for part, split in dataset.splits()}
    train = splits["train"]
    owner: dict[str, tuple[str, int]] = {}
    for part, split in splits.items():
        for field in ("image", "text"):
            width, expected = getattr(split, f"{field}_dim"), getattr(train, f"{field}_dim")
            if width != expected:
                raise InputError(
                    f"{source}: {field}_{part} has {width} columns, {field}_train has {expected}; "
                    "every split must hold the same features."
                )
        if (split.group is None) != (train.group is None):
            there, lacking = ("train", part) if split.group is None else (part, "train")
            raise InputError(
                f"{source}: group_{there} is given but group_{lacking} is missing; give groups for "
                "every split or for none"
            )
        if split.label.ndim != train.label.ndim:
            raise InputError(
                f"{source}: label_{part} and label_train differ in kind; give single labels (n,) "
                "in every split or multi-hot rows (n, c) in every split."
            )
        for row, value in enumerate(split.id.tolist()):
            if value in owner:
                first, at = owner[value]
                where = (
                    f"id_{part} holds {value!r} twice"
                    if first == part
                    else f"the id {value!r} is in both id_{first} and id_{part}"
                )
                raise InputError(
                    f"{source}: {where}, in rows {at} and {row}; every pair needs an id of its own."
                )
            owner[value] = part, row
    present = np.count_nonzero(pairs_per_category(train.label, len(names)))
    if present < 2:
        raise InputError(
            f"{source}: label_train holds {present} class; training needs at least 2 classes."
        )
    return {**splits, "label_names": names}


def hold_out(dataset: PairedDataset, fraction: float | None, seed: int) -> PairedDataset:
    """Hold out a stratified part of the training split as the validation split.

    A data set that has a validation split of its own is returned as it is. `stratified_part` draws
    the part by group, so that some pair of every class stays in training where a class has more
    than one group. Groups with an incomplete pair stay in training.

    Args:
        fraction: share of the complete training pairs to set aside, in (0, 1); None takes
            `VALIDATION_FRACTION`.
        seed: at least 0.

    Raises:
        InputError: if `fraction` is out of range, or so small that no pair would be set aside.
    """
    if dataset.validation is not None:
        return dataset
    fraction = VALIDATION_FRACTION if fraction is None else fraction
    if not 0 < fraction < 1:
        raise InputError(f"The validation fraction must lie between 0 and 1, found {fraction}.")
    train, eligible = dataset.train, in_complete_groups(dataset)
    groups, held = dataset.groups["train"][eligible], np.zeros(len(train), bool)
    labels = label_matrix(train.label[eligible], dataset.num_classes)
    held[eligible] = stratified_part(labels, fraction, seed, groups)
    if not held.any():
        raise InputError(
            f"A validation fraction of {fraction} of {len(groups)} training pairs in "
            f"{len(np.unique(groups))} groups gives an empty validation split, as every category "
            "keeps a group in training; use a larger fraction, smaller groups, a validation split, "
            "or 0 for none."
        )
    validation = train.take(held).in_memory()
    return replace(dataset, train=train.take(~held), validation=validation, held_out=True)


def in_complete_groups(dataset: PairedDataset) -> np.ndarray:
    """Return (n,) bool: the training pairs in whose group every pair is complete."""
    groups, masks = dataset.groups["train"], dataset.train.masks()
    if not masks:
        return np.ones(len(groups), bool)
    incomplete = ~np.all([*masks.values()], axis=0)
    return ~np.isin(groups, groups[incomplete])


def give_back(dataset: PairedDataset) -> PairedDataset:
    """Append the pairs that `hold_out` held out to the training split again."""
    if dataset.validation is None or not dataset.held_out:
        return dataset
    train = dataset.train.followed_by(dataset.validation)
    return replace(dataset, train=train, validation=None, held_out=False)
