"""The first search in a run: a sentence and an image of the test split to search with."""

import shlex
from pathlib import Path

from xgacmn_tf import shell
from xgacmn_tf.datasets.folders import IMAGE_SUFFIXES
from xgacmn_tf.datasets.paired import PairedDataset
from xgacmn_tf.io.files import atomic_path
from xgacmn_tf.report.images import image_type

# Bundled data set → a sentence and the id of a test image that are easy to judge.
_EXAMPLES = {
    "emoji": ("a happy cat", "food_and_drink/food-fruit/green apple"),
    "openclipart": ("a guitar", "food/pizza_cheese"),
}
# Of the text of a test item.
MAX_WORDS = 8


def first_search(run: Path, dataset: PairedDataset) -> str | None:
    """Return a command that searches in a run by a sentence and by an image.

    The image is written into the run folder, unless it is there already. For data sets that are not
    bundled, sentence and image are those of the first test item whose text can be typed.

    Args:
      run: the run folder, which holds extractors.
      dataset: its data set.

    Returns:
      None if neither texts nor images of the test split are known.
    """
    queries = []
    sentence, row = _example(dataset)
    if sentence:
        queries.append(sentence)
    if dataset.test.thumbnail is not None:
        image = dataset.test.thumbnail[row]
        if kind := image_type(image):
            path = run / f"query.{kind}"
            if not path.exists():
                with atomic_path(path) as temporary:
                    temporary.write_bytes(image)
            queries.append(str(path))
    if not queries:
        return None
    return (
        f"{shell.program('xgacmn', 'xgacmn_tf')} {shlex.join(['search', f'--run={run}', *queries])}"
    )


def _example(dataset: PairedDataset) -> tuple[str, int]:
    """Return a sentence, or "", and the row of a test item."""
    split = dataset.test
    sentence, name = _EXAMPLES.get(dataset.name, ("", ""))
    if name in split.id:
        return sentence, split.id.tolist().index(name)
    for row, title in enumerate([] if split.title is None else split.title.tolist()):
        sentence = " ".join(title.split()[:MAX_WORDS])
        if _can_be_typed(sentence):
            return sentence, row
    return "", 0


def _can_be_typed(text: str) -> bool:
    """Return whether `xgacmn search` takes an argument as a text, on one line."""
    is_taken_otherwise = text.startswith("-") or text.lower().endswith(IMAGE_SUFFIXES)
    return text.isprintable() and any(map(str.isalnum, text)) and not is_taken_otherwise
