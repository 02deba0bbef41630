"""The names nearest to one that does not exist, for error messages."""

import difflib
import re
from collections.abc import Iterable

# Names in a message, at most.
LIMIT = 3


def nearest(name: str, names: Iterable[str]) -> list[str]:
    """Return the existing names that a name is most likely meant for, at most `LIMIT`.

    The first of these rules that any name satisfies chooses all of them:

    1. equal but for case and separators: "batchsize" for "batch_size";
    2. adjacent parts begin with the parts of `name`: "data" for "dataset" and "data_dir"; a single
       letter stands for itself alone;
    3. adjacent parts have the letters as initials: "lr" for "generator_learning_rate";
    4. each part is one of `name`: "num_epochs" for "epochs";
    5. similar spelling.
    """
    given, existing = _parts(name), list(names)
    if not given:
        return []
    joined = "".join(given)

    def begins(part: str, start: str) -> bool:
        return part.startswith(start) if len(start) > 1 else part == start

    def has_run(parts: list[str]) -> bool:
        runs = (parts[first:] for first in range(len(parts) - len(given) + 1))
        return any(all(map(begins, run, given)) for run in runs)

    rules = (
        lambda parts: "".join(parts) == joined,
        has_run,
        lambda parts: len(joined) > 1 and joined in "".join(part[0] for part in parts),
        lambda parts: set(parts) <= set(given),
    )
    for rule in rules:
        if matches := [each for each in existing if _parts(each) and rule(_parts(each))]:
            return matches[:LIMIT]
    spellings = {each: "".join(_parts(each)) for each in existing}
    similar = difflib.get_close_matches(joined, spellings.values(), LIMIT, cutoff=0.7)
    return [each for match in similar for each in existing if spellings[each] == match][:LIMIT]


def did_you_mean(name: str, names: Iterable[str], prefix: str = "") -> str:
    """Return "; did you mean a, b or c?", or nothing where no name is near.

    Args:
      name: a name that does not exist.
      names: those that exist.
      prefix: precedes each name, such as "--".
    """
    near = [prefix + each for each in nearest(name, names)]
    if not near:
        return ""
    return f"; did you mean {' or '.join(filter(None, [', '.join(near[:-1]), near[-1]]))}?"


def _parts(name: str) -> list[str]:
    return [part for part in re.split(r"[\W_]+", name.lower()) if part]
