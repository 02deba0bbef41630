"""Raw pairs: image files and their texts, from which features are extracted.

Readers of a data set's distribution return a `PairedDataset` if its files have features, or a
`RawPairs`, from which `extraction.extract_features` makes one.
"""

import itertools
from dataclasses import dataclass
from pathlib import Path

from xgacmn_tf.errors import InputError


@dataclass(frozen=True)
class RawPair:
    """One image and one text; pairs of the training split may lack an image, a text or a label.

    Attributes:
        id: unique in the data set, not only in its split.
        image: an image file, or None.
        text: its caption or text, or None.
        label: the class, in [0, c); or the classes, at least one, ascending; or None.
        group: equal for pairs that no split may divide; None in all pairs of a data set where pairs
            with identical image features belong together.
        fine_label: see `paired.Split`; None in all pairs of a data set without fine labels.
    """

    id: str
    image: Path | None
    text: str | None
    label: int | tuple[int, ...] | None
    group: str | None = None
    fine_label: str | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the pair lacks nothing."""
        return self.image is not None and self.text is not None and self.label is not None


@dataclass(frozen=True)
class RawPairs:
    """The splits of a data set of raw pairs, checked on creation.

    Attributes:
        name: what tables and run folders call it.
        train, test: never empty. validation: empty where the data set has none of its own.
        label_names: c names; label k is `label_names[k]`.
        source: what errors call it, such as the path of a table as it was given; "" for its name.

    Raises:
        InputError: naming the first of: an empty train or test split; a duplicate id; a
            label out of range; labels that are single in one pair and several in another; a
            validation or test pair that lacks something.
    """

    name: str
    train: tuple[RawPair, ...]
    test: tuple[RawPair, ...]
    label_names: tuple[str, ...]
    validation: tuple[RawPair, ...] = ()
    source: str = ""

    def __post_init__(self) -> None:
        _check(self)

    @property
    def multi_label(self) -> bool:
        """Whether pairs have several labels: every label is a tuple then."""
        return isinstance(self._first_label, tuple)

    @property
    def _first_label(self) -> int | tuple[int, ...] | None:
        labels = (pair.label for pair in itertools.chain(self.train, self.test))
        return next((label for label in labels if label is not None), None)

    def splits(self) -> dict[str, tuple[RawPair, ...]]:
        """{"train": …, "validation": … if there is one, "test": …}."""
        validation = {"validation": self.validation} if self.validation else {}
        return {"train": self.train, **validation, "test": self.test}


def _check(pairs: RawPairs) -> None:
    source, classes = pairs.source or f"data set {pairs.name!r}", len(pairs.label_names)
    first = pairs._first_label  # Found once: many pairs without a label may precede it.
    owner: dict[str, str] = {}
    for part, split in pairs.splits().items():
        if not split:
            raise InputError(f"{source}: {part} has no pair; train and test need at least one.")
        for pair in split:
            if pair.id in owner:
                raise InputError(
                    f"{source}: the id {pair.id!r} is a duplicate, in {owner[pair.id]} and {part}; "
                    "every pair needs an id of its own."
                )
            owner[pair.id] = part
            if not pair.is_complete and part != "train":
                raise InputError(
                    f"{source}: pair {pair.id!r} in {part} lacks {_lacks(pair)}; expected complete "
                    "pairs in validation and test, so complete it, or move it to train"
                )
            if pair.label is None:
                continue
            if isinstance(pair.label, tuple) != isinstance(first, tuple):
                raise InputError(
                    f"{source}: pair {pair.id!r} has label {pair.label}, the first one "
                    f"{first}; give every pair one class or every pair a tuple."
                )
            labels = pair.label if isinstance(pair.label, tuple) else (pair.label,)
            if not labels or not all(0 <= label < classes for label in labels):
                raise InputError(
                    f"{source}: pair {pair.id!r} has label {pair.label}; expected 0 to "
                    f"{classes - 1}, one for each of the {classes} label names."
                )


def _lacks(pair: RawPair) -> str:
    values = {"an image": pair.image, "a text": pair.text, "a label": pair.label}
    return " and ".join(name for name, value in values.items() if value is None)
