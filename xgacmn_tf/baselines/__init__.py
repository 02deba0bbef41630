"""The systems that the paper compares with (Tables 1 and 2), and five beyond them.

`--model=NAME` trains one of them in place of X-GACMN. Each is a module of this folder that opens
with its citation, its objective and what is known of its fidelity, and defines `SYSTEM`. Training
ends in a `CommonSpaceEncoder`, so evaluation, run folder, export and search treat all alike. Class
posteriors are then calibrated, see `training.calibration`, and codes that are posteriors stay as
they were fitted.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from xgacmn_tf.errors import InputError
from xgacmn_tf.names import SYSTEMS

if TYPE_CHECKING:
    import numpy as np

    from xgacmn_tf.model.encoders import CommonSpaceEncoder


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingData:
    """What a system may learn from.

    Attributes:
      image: (n, d_v) float32 features of the training pairs, as the data set has them.
      text: (n, d_t) float32 likewise. Row i of `image`, `text` and `targets` is the same pair.
      targets: (n, c) float32, one-hot or multi-hot.
      validation: the same three of the validation pairs; None where none are held out.
      unlabelled: image and text features of the test pairs, which only a transductive system (JRL)
        may read. The pairing of their rows must not be used.
      seed: draws all that is random.
      progress: wraps an iterable of epochs or rounds in a progress bar: progress(range(5)).
      best_epochs: receives how many epochs each training took that validation pairs watched, in
        their order.
      group: (n,) int64, equal for pairs that no part may divide; None if all stand alone.
      planned_epochs: how many each of them takes now that all pairs are trained on; None while
        there are validation pairs to choose.
    """

    image: np.ndarray
    text: np.ndarray
    targets: np.ndarray
    validation: tuple[np.ndarray, np.ndarray, np.ndarray] | None
    unlabelled: tuple[np.ndarray, np.ndarray] | None
    seed: int
    progress: Callable[[Sequence[Any]], Any]
    best_epochs: list[int] = dataclasses.field(default_factory=list)
    planned_epochs: Iterator[int] | None = None
    group: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class System:
    """A system of the tables.

    Attributes:
      title: its name in tables, as the paper prints it.
      citation: authors, title, venue and year, one line.
      fidelity: "exact", "from published code", "after published code" (with differences that the
        module names), "reconstruction", or "beyond the paper".
      similarity: the similarity that it ranks by: "cosine", "dot" or "posterior".
      settings: a frozen dataclass of its hyper-parameters; the defaults are those of the tables.
      fit: trains it, (data, settings) → encoder. Raises an `InputError` for data it cannot take.
      transductive: it reads `TrainingData.unlabelled`.
      grid: setting → the values that `python -m xgacmn_tf.compare --tune` tries, the default
        among them: what its authors left open or to the data. Empty: nothing is chosen.
    """

    title: str
    citation: str
    fidelity: str
    similarity: str
    settings: type
    fit: Callable[[TrainingData, Any], CommonSpaceEncoder]
    transductive: bool = False
    grid: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict)


def system(name: str) -> System:
    """The system called `name`, one of `SYSTEMS`; its module is imported only now."""
    if name not in SYSTEMS:
        raise InputError(f"Unknown model {name!r}; expected xgacmn or one of {', '.join(SYSTEMS)}.")
    return importlib.import_module(f"xgacmn_tf.baselines.{name}").SYSTEM


def parse_settings(name: str, given: Sequence[str]) -> Any:
    """`System.settings` with some of them changed.

    Args:
      name: the system.
      given: "setting=value" each, as `--model_settings` has them.

    Raises:
      InputError: a setting that the system does not have, or a value of another kind.
    """
    kind = system(name).settings
    fields = {field.name: field for field in dataclasses.fields(kind)}
    values: dict[str, Any] = {}
    for text in given:
        key, separator, value = text.partition("=")
        if key not in fields or not separator:
            allowed = ", ".join(f"{f.name}={f.default}" for f in fields.values()) or "none"
            raise InputError(f"--model_settings={text}: --model={name} has the settings {allowed}")
        values[key] = _convert(name, text, value, fields[key].default)
    return kind(**values)


def _convert(name: str, text: str, value: str, default: Any) -> Any:
    """`value` as the type of the setting's default."""
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False}[value.lower()]
        if isinstance(default, tuple):
            return tuple(type(default[0])(part) for part in value.split("x"))
        return type(default)(value)
    except (ValueError, KeyError):
        raise InputError(
            f"--model_settings={text}: --model={name} takes {type(default).__name__} there, such "
            f"as {default}"
        ) from None
