"""Report on a data set before training: counts per split, notes, and warnings with their remedies.

A warning names what makes scores meaningless or too high, a note what is worth knowing. The report
changes nothing: training and evaluation use the data as they are.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xgacmn_tf.datasets.blank_items import is_single_color, rows_of_one_value
from xgacmn_tf.datasets.paired import PairedDataset, Split, label_matrix, pairs_per_category
from xgacmn_tf.groups import ALWAYS_ALLOWED, LARGEST_SHARE, first_rows, too_large

SHOWN = 3
# A larger share of divided groups, or of images or texts without content, distorts the scores.
MAX_DIVIDED, MAX_EMPTY = 0.01, 0.1
# With a larger share in one category, a random ranking already scores about as high as a good one.
MAX_CATEGORY = 0.9
# Training pairs of the largest category per pair of the smallest one.
MAX_IMBALANCE = 20
_COLUMNS = ("pairs", "groups", "images", "texts", "labels/pair")
_ITEMS = {"image": "images", "text": "texts"}
# Reason and remedy of items whose features all have one value.
_EMPTY = {
    "image": (
        "their features all have one value",
        "; extract these images again, or remove their pairs",
    ),
    "text": ("no known word", "; remove these pairs, or choose other text features"),
}


@dataclass(frozen=True)
class DataReport:
    """Findings on a data set.

    Attributes:
        splits: split → column → number. "images" and "texts" count distinct features; they are
            None for a split that is streamed from its files.
        notes: findings that leave the scores meaningful.
        warnings: findings that make scores meaningless or too high, each with its remedy.
        unusable: modality → why its features cannot tell items apart.
    """

    splits: dict[str, dict[str, float | None]]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    unusable: dict[str, str]

    def __str__(self) -> str:
        return self.text()

    def text(self, with_notes: bool = True) -> str:
        """Return the counts as a table, the notes unless they are not wanted, and the warnings."""
        rows: list[tuple[str, ...]] = [("split", *_COLUMNS)]
        rows += [(part, *map(_cell, counts.values())) for part, counts in self.splits.items()]
        lines = [f"{part:<12}" + "".join(f"{cell:>12}" for cell in cells) for part, *cells in rows]
        lines += [f"note: {note}" for note in self.notes if with_notes]
        lines += [f"warning: {warning}" for warning in self.warnings]
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as it is stored in JSON."""
        return {"splits": self.splits, "notes": [*self.notes], "warnings": [*self.warnings]}


def data_report(dataset: PairedDataset) -> DataReport:
    """Return the report on a data set, see the module."""
    return _Inspection(dataset).report()


class _Inspection:
    """The checks of one data set."""

    def __init__(self, dataset: PairedDataset):
        self.dataset = dataset
        self.parts = dict(dataset.splits())
        # A sample of a streamed split.
        self.loaded = {part: split.to_fit() for part, split in self.parts.items()}
        self.notes: list[str] = [*dataset.notes]
        self.warnings: list[str] = []
        self.unusable: dict[str, str] = {}
        # Modality → split → (n,) keys of the features of each item.
        self.keys = self._of_items(lambda split, name: getattr(split, f"{name}_keys"))
        # Likewise (n,) bool, items whose features all have one value, such as 0.
        self.empty = self._of_items(
            lambda split, name: split.has(name) & rows_of_one_value(getattr(split, name))
        )

    def _of_items(
        self, function: Callable[[Split, str], np.ndarray]
    ) -> dict[str, dict[str, np.ndarray]]:
        return {
            modality: {part: function(split, modality) for part, split in self.loaded.items()}
            for modality in _ITEMS
        }

    def report(self) -> DataReport:
        self.groups()
        self.incomplete()
        self.features()
        self.duplicate_texts()
        self.images_and_texts()
        self.categories()
        return DataReport(self.counts(), tuple(self.notes), tuple(self.warnings), self.unusable)

    def mark(self, mask: np.ndarray, part: str, finding: str, remedy: str, limit: float) -> None:
        """Report some pairs of a split, as a warning if they have at least a share of `limit`."""
        if mask.any():
            ids = _sample(self.loaded[part].id[mask].tolist())
            (self.warnings if mask.mean() >= limit else self.notes).append(
                f"{mask.sum()} of {len(mask)} {part} {finding}, such as {ids}{remedy}"
            )

    def counts(self) -> dict[str, dict[str, float | None]]:
        counts: dict[str, dict[str, float | None]] = {}
        for part, split in self.parts.items():
            whole = self.loaded[part] is split
            images, texts = (
                len(np.unique(keys[part][self.loaded[part].has(modality)])) if whole else None
                for modality, keys in self.keys.items()
            )
            labels = label_matrix(split.label, self.dataset.num_classes).nnz / len(split)
            groups = len(np.unique(self.dataset.groups[part]))
            numbers = (len(split), groups, images, texts, round(labels, 3))
            counts[part] = dict(zip(_COLUMNS, numbers, strict=True))
        return counts

    def groups(self) -> None:
        """Report pairs that share an image or group, large groups, and groups in several splits."""
        groups = self.dataset.groups
        counts = [
            f"{len(of)} {part} pairs in {len(np.unique(of))} groups"
            for part, of in groups.items()
            if len(np.unique(of)) < len(of)
        ]
        if counts:
            self.notes.append(f"several pairs share an image or group: {', '.join(counts)}")
        rows, total = self.dataset.pairs_in_large_groups, sum(map(len, self.parts.values()))
        large = f"{rows} of {total} pairs are in groups of more than {LARGEST_SHARE:.0%} of all"
        if rows and self.dataset.has_explicit_groups:
            self.notes.append(
                f"{large} pairs, which stay together: the sizes of drawn splits may differ from "
                "their fractions"
            )
        elif rows:
            self.warnings.append(
                f"{large} pairs (and more than {ALWAYS_ALLOWED}), which are not used as groups; "
                "identical image features in so many pairs are a sign of failed extraction or of a "
                "placeholder image: extract these images again, or remove their pairs"
            )
        held_out = self.dataset.held_out
        seen = np.concatenate(
            [groups[part] for part in ("train", *["validation"] * held_out) if part in groups]
        )
        # A part that was held out divides no group.
        for part in ("test",) if held_out else [part for part in groups if part != "train"]:
            self.mark(
                np.isin(groups[part], seen),
                part,
                "pairs share an image or group with training pairs",
                ": scores on these pairs are inflated; assign all pairs of a group to one split "
                "(keep published splits)",
                MAX_DIVIDED,
            )

    def incomplete(self) -> None:
        """Report training pairs without an image, a text or a category."""
        for name, mask in self.loaded["train"].masks().items():
            what = name.removeprefix("has_").replace("label", "category")
            terms = "class terms" if what == "category" else "terms that need it"
            finding = f"pairs have no {what}; the {terms} leave them out"
            self.mark(~mask, "train", finding, "", limit=np.inf)

    def features(self) -> None:
        """Report constant features, items without content, and one array for both modalities."""
        train = self.loaded["train"]
        for modality, items in _ITEMS.items():
            values = getattr(train, modality)[train.has(modality)]
            constant = int((values.min(axis=0) == values.max(axis=0)).sum())
            if constant == values.shape[1]:
                self.unusable[modality] = f"all {constant} {modality} features are constant"
                self.warnings.append(
                    f"{self.unusable[modality]} in the training split, so that {items} cannot be "
                    "told apart and scores are meaningless; check how they were extracted"
                )
                continue
            if constant:
                self.notes.append(
                    f"{constant} of {values.shape[1]} {modality} features are constant in the "
                    "training split and carry no information"
                )
            reason, remedy = _EMPTY[modality]
            for part, empty in self.empty[modality].items():
                finding = f"{items} carry no information ({reason})"
                self.mark(empty, part, finding, remedy, MAX_EMPTY)
        equal = too_large(first_rows(np.concatenate([*self.keys["text"].values()])))
        equal &= ~np.concatenate([*self.empty["text"].values()])
        if equal.any() and "text" not in self.unusable:
            self.notes.append(
                f"{equal.sum()} of {len(equal)} texts belong to sets of identical texts that each "
                f"hold more than {LARGEST_SHARE:.0%} of all texts: a query cannot tell these apart"
            )
        if train.image.shape == train.text.shape and np.array_equal(train.image, train.text):
            self.warnings.append(
                "the image and text features are the same array, so that every query finds "
                "itself; give each modality its own features"
            )

    def duplicate_texts(self) -> None:
        """Report texts that are in the test split and in the training split."""
        if self.loaded["train"] is not self.parts["train"]:
            return
        seen = np.isin(self.keys["text"]["test"], self.keys["text"]["train"])
        seen &= ~self.empty["text"]["test"]
        if seen.any() and "text" not in self.unusable:
            self.notes.append(
                f"{seen.sum()} of {len(seen)} test texts are also in the training split"
            )

    def images_and_texts(self) -> None:
        """Report empty texts and images of a single color, where texts and images are known."""
        for part, split in self.loaded.items():
            if split.title is not None:
                empty = np.char.strip(split.title) == ""
                # Files with features may have no titles in a split.
                if not empty.all():
                    remedy = "; give them a text, or remove these pairs"
                    empty &= split.has("text")
                    self.mark(empty, part, "texts are empty", remedy, MAX_EMPTY)
            if split.thumbnail is not None:
                single = np.array([is_single_color(image) for image in split.thumbnail])
                remedy = "; check that these files were read correctly"
                self.mark(single, part, "images have a single color", remedy, MAX_EMPTY)

    def categories(self) -> None:
        """Report categories without pairs or with one, and their imbalance."""
        dataset, names = self.dataset, self.dataset.label_names
        learned = dataset.trained_pairs
        tested = pairs_per_category(self.parts["test"].label, len(names))
        absent = np.flatnonzero((learned == 0) & (tested == 0))
        if absent.size:
            self.notes.append(f"{_have(absent, names)} no pair: {_named(absent, names)}")
        unseen = np.flatnonzero((learned == 0) & (tested > 0))
        if unseen.size:
            self.warnings.append(
                f"{_have(unseen, names)} test pairs but no training pair: "
                f"{_named(unseen, names, tested)}; their queries are also scored apart; add "
                "training pairs, or remove these categories"
            )
        for mask, text in (
            ((learned > 0) & (tested == 0), "no test pair"),
            (learned == 1, "a single training pair"),
        ):
            rows = np.flatnonzero(mask)
            if rows.size:
                self.notes.append(f"{_have(rows, names)} {text}: {_named(rows, names)}")
        largest = int(learned.argmax())
        smallest = int(np.where(learned > 0, learned, learned.max() + 1).argmin())
        train = self.parts["train"]
        share = pairs_per_category(train.label, len(names))[largest] / len(train)
        if share > MAX_CATEGORY:
            self.warnings.append(
                f"{share:.1%} of the training pairs have the category {names[largest]!r}, so that "
                "a random ranking scores nearly as high as a good one; compare with the chance "
                "level, and look at the scores per category"
            )
        elif learned[largest] > MAX_IMBALANCE * learned[smallest]:
            self.notes.append(
                f"the categories are imbalanced: {names[largest]} has {learned[largest]} training "
                f"pairs, {names[smallest]} has {learned[smallest]}; large categories dominate the "
                "mean over queries, see the scores per category"
            )


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"


def _have(rows: np.ndarray, names: Sequence[str]) -> str:
    return f"{len(rows)} of {len(names)} categories {'has' if len(rows) == 1 else 'have'}"


def _named(rows: np.ndarray, names: Sequence[str], pairs: np.ndarray | None = None) -> str:
    counts: Iterator[str] = (f" ({pairs[row]})" if pairs is not None else "" for row in rows)
    return _sample([f"{names[row]}{count}" for row, count in zip(rows, counts, strict=True)])


def _sample(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(str, names[:SHOWN])) + more
