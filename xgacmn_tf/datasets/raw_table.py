"""Raw pairs from the rows of a table, with an image's path, a text and a label in each.

    image,text,label,split
    photos/1.jpg,"A cat, asleep",animal|indoors,train

`image`, `text` and `label` are always there, but cells may be empty; several labels are joined by
"|". `split` (train, validation, test), `id`, `group` and `fine_label` are optional. Rows of one
group, or of the same image where no group is given, are never divided by a split that is drawn.
"""

from collections.abc import Sequence
from dataclasses import replace

from xgacmn_tf.datasets.folders import SPLIT_OF
from xgacmn_tf.datasets.labels import table_labels
from xgacmn_tf.datasets.raw import RawPair, RawPairs
from xgacmn_tf.datasets.tables import LABEL_SEPARATOR, Table, check_ids, image_path, row_ids
from xgacmn_tf.errors import InputError
from xgacmn_tf.groups import file_keys, in_part
from xgacmn_tf.nearest import did_you_mean

REQUIRED = ("image", "text", "label")
OPTIONAL = ("split", "id", "group", "fine_label")
NAMES = (*REQUIRED, *OPTIONAL)
SPLITS = ("train", "validation", "test")
# Expected share of the groups that test where the table does not say which do.
TEST_FRACTION = 0.2
_SHOWN = 3


def raw_pairs(
    table: Table, name: str, seed: int = 0, label_separator: str = LABEL_SEPARATOR
) -> RawPairs:
    """Return the pairs of a table with the columns `REQUIRED` and any of `OPTIONAL`.

    Labels are sorted by name. Ids of pairs without one are those of `row_ids`. A pair's group is
    its cell in the column `group` or, where that is missing or empty, that of another row with the
    same image or, without one, the content of its image file. Without a column `split`, one is
    drawn, see `table_parts`.

    Args:
        table: an empty image, text or label is one that the pair lacks.
        name: of the data set.
        seed: draws the test split where the table has none; without effect otherwise.
        label_separator: separates the labels of a cell.

    Raises:
        InputError: naming the line of the first unknown split, empty id or row without image and
            text; or images or splits that are missing.
    """
    names, labels = table_labels(table, label_separator)
    for row in range(len(table.rows)):
        _check(table, row)
    pairs = [
        RawPair(
            id=pair_id,
            image=image_path(table.folder, cells["image"]) if cells["image"] else None,
            text=cells["text"] or None,
            label=label,
            fine_label=cells.get("fine_label"),
        )
        for pair_id, cells, label in zip(row_ids(table.rows), table.rows, labels, strict=True)
    ]
    check_ids(table)
    _check_columns(table, pairs)
    _check_images(table, pairs)
    pairs = _grouped(table, pairs)
    groups, incomplete = zip(*((str(p.group), not p.is_complete) for p in pairs), strict=True)
    parts = table_parts(table, groups, incomplete, seed)
    splits = {
        part: tuple(pair for pair, of in zip(pairs, parts, strict=True) if of == part)
        for part in SPLITS
    }
    return RawPairs(
        name, splits["train"], splits["test"], names, splits["validation"], table.source
    )


def table_parts(
    table: Table, groups: Sequence[str], incomplete: Sequence[bool], seed: int
) -> list[str]:
    """Return the split of each row: that of its cell, or a training or test split drawn by group.

    A group belongs to the drawn test split if a hash of the seed and the group falls below
    `TEST_FRACTION`, so that new rows move no existing pair. Groups with an incomplete pair are
    training pairs.

    Args:
        table: n rows.
        groups: the group of each row.
        incomplete: whether each row lacks an image, a text or a category.
        seed: draws the test split.

    Raises:
        InputError: naming the line of the first unknown split; or if all rows were drawn into one.
    """
    if "split" in table.rows[0]:
        parts = [SPLIT_OF.get(cells["split"].lower(), cells["split"]) for cells in table.rows]
        wrong = next((row for row, part in enumerate(parts) if part not in SPLITS), None)
        if wrong is not None:
            raise InputError(
                f"{table.line(wrong)}: the split is {parts[wrong][:40]!r}; expected "
                f"{', '.join(SPLITS)}, or another usual name of these, such as val"
            )
        return parts
    only_trained = {group for group, lacks in zip(groups, incomplete, strict=True) if lacks}
    parts = [
        "test" if group not in only_trained and in_part(group, TEST_FRACTION, seed) else "train"
        for group in groups
    ]
    if len(set(parts)) < 2:
        lacking = f", {len(only_trained)} of which lack something" if only_trained else ""
        raise InputError(
            f"{table.source}: all {len(parts)} pairs, in {len(set(groups))} groups{lacking}, were "
            f"drawn into the {parts[0]} split; add a column split (train, validation, test), or "
            "use another --seed"
        )
    return parts


def _check(table: Table, row: int) -> None:
    cells = table.rows[row]
    if not cells["image"] and not cells["text"]:
        raise InputError(f"{table.line(row)}: image and text are empty; expected at least one")
    if cells.get("id") == "":
        raise InputError(f"{table.line(row)}: the id is empty; every pair needs one")


def _check_columns(table: Table, pairs: Sequence[RawPair]) -> None:
    for name in ("image", "text"):
        if not any(cells[name] for cells in table.rows):
            article = "an" if name == "image" else "a"
            raise InputError(
                f"{table.source}: no row has {article} {name}; fill the column {name!r}, or name "
                f"another one with --columns={name}=COLUMN"
            )
    if not any(pair.is_complete for pair in pairs):
        raise InputError(
            f"{table.source}: no row has an image, a text and a label together; complete at least "
            "those of the test split"
        )


def _check_images(table: Table, pairs: Sequence[RawPair]) -> None:
    missing = {
        f"{table.rows[row]['image']} ({table.lines[row]})": pair.image
        for row, pair in enumerate(pairs)
        if pair.image and not pair.image.is_file()
    }
    if missing:
        more = f" and {len(missing) - _SHOWN:,} more" if len(missing) > _SHOWN else ""
        first = next(iter(missing.values()))
        there = [path.name for path in first.parent.iterdir()] if first.parent.is_dir() else []
        raise InputError(
            f"{table.source}: {len(missing):,} of {len(pairs):,} images are missing: "
            f"{', '.join(list(missing)[:_SHOWN])}{more}; paths start from "
            f"{table.folder.absolute()}{did_you_mean(first.name, there)}"
        )


def _grouped(table: Table, pairs: Sequence[RawPair]) -> list[RawPair]:
    """Return the pairs with their groups; a pair without an image or a group stands alone."""
    contents = iter(file_keys([pair.image for pair in pairs if pair.image]))
    own = [next(contents) if pair.image else pair.id for pair in pairs]
    # An image with a group in one of its rows has it in those without one, too.
    group_of: dict[str, str] = {}
    for key, cells in zip(own, table.rows, strict=True):
        if cells.get("group"):
            group_of.setdefault(key, cells["group"])
    return [
        replace(pair, group=cells.get("group") or group_of.get(key, key))
        for pair, key, cells in zip(pairs, own, table.rows, strict=True)
    ]
