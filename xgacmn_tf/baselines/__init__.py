"""Compared systems: those of the paper's Tables 1 and 2, five beyond it, and the user's own.

`--model=NAME` trains one of them instead of X-GACMN, and `--model=path/to/file.py:NAME` one that is
defined in the user's own Python file. Each is a module of this subpackage that states its citation,
its objective and its fidelity, and defines `SYSTEM`. Training returns a `CommonSpaceEncoder`, so
that evaluation, run folders, export and search treat all systems alike. Class posteriors are then
calibrated (`training.calibration`), unless they are the codes themselves.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from xgacmn_tf.baselines.own import load_own_system
from xgacmn_tf.errors import InputError
from xgacmn_tf.names import OWN_METHOD, SYSTEMS

if TYPE_CHECKING:
    import numpy as np
    from keras.layers import Layer

    from xgacmn_tf.model.encoders import CommonSpaceEncoder


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingData:
    """The data that a system may learn from.

    Attributes:
      image: (n, d_v) float32 features of the training pairs, as the data set has them.
      text: (n, d_t) float32 likewise. Row i of `image`, `text` and `targets` is the same pair.
      targets: (n, c) float32, one-hot or multi-hot.
      validation: the same three arrays of the validation pairs; None without a validation split.
      unlabelled: image and text features of the test pairs, which only a transductive system (JRL)
        may read. The pairing of their rows must not be used.
      seed: seed of everything that is random.
      progress: wraps an iterable of epochs or rounds in a progress bar: progress(range(5)).
      best_epochs: receives the best epoch of each training that was evaluated on validation pairs,
        in their order.
      planned_epochs: number of epochs of each training, in the same order, when all pairs are
        trained on; None if validation pairs choose them.
      group: (n,) int64, equal for pairs that no split may separate; None if each pair is a group.
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

    def encoder(
        self, image: Layer, text: Layer, classes: Layer | None = None
    ) -> CommonSpaceEncoder:
        """Return the encoder of two layers on the features as they are, and a class layer."""
        from xgacmn_tf.model.encoders import CommonSpaceEncoder
        from xgacmn_tf.model.input_maps import Identity

        maps = Identity(self.image.shape[1]), Identity(self.text.shape[1])
        return CommonSpaceEncoder(*maps, image, text, classes)


@dataclasses.dataclass(frozen=True)
class System:
    """A system that learns a common space of images and texts.

    A complete example, which `--model=pls.py:SYSTEM` trains:

        # pls.py: partial least squares.

        import dataclasses

        from sklearn.cross_decomposition import PLSCanonical

        from xgacmn_tf.baselines import System
        from xgacmn_tf.baselines.linear import projections


        @dataclasses.dataclass(frozen=True)
        class Settings:
            components: int = 4


        def fit(data, settings):
            pls = PLSCanonical(settings.components, scale=False).fit(data.image, data.text)
            return projections(
                pls.x_rotations_,
                data.image.mean(axis=0),
                pls.y_rotations_,
                data.text.mean(axis=0),
            )


        SYSTEM = System(
            title="PLS",
            citation="Wegelin, University of Washington 2000",
            fidelity="exact",
            similarity="cosine",
            settings=Settings,
            fit=fit,
            grid={"components": (2, 4)},
        )

    Attributes:
      title: its name in tables.
      citation: authors, title, venue and year in one line.
      fidelity: "exact", "from published code", "after published code" (with differences that the
        module names), "reconstruction", or "beyond the paper".
      similarity: the similarity that it ranks by: "cosine", "dot" or "posterior".
      settings: a frozen dataclass of hyper-parameters, all with defaults.
      fit: (data, settings) → encoder. It raises an `InputError` for data that it cannot use.
      transductive: whether it reads `TrainingData.unlabelled`.
      grid: setting → values that `python -m xgacmn_tf.compare --tune` tries, including the default;
        empty if nothing is tuned.
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
    """Return the system called `name`; its module is imported by this call.

    Args:
      name: one of `SYSTEMS`, or "path/to/file.py:NAME", which executes the file.

    Raises:
      InputError: there is no such system.
    """
    if OWN_METHOD.match(name):
        return load_own_system(name)
    if name not in SYSTEMS:
        raise InputError(
            f"--model={name}: expected xgacmn, {', '.join(SYSTEMS)}, or path/to/file.py:NAME of a "
            "method of your own"
        )
    return importlib.import_module(f"xgacmn_tf.baselines.{name}").SYSTEM


def parse_settings(name: str, given: Sequence[str]) -> Any:
    """Return `System.settings` with some of them changed.

    Args:
      name: the system.
      given: "setting=value" each, as `--model_settings` has them.

    Raises:
      InputError: the system has no such setting, or a value has another type or is out of range.
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
    """Return `value` as the type of the setting's default."""
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False}[value.lower()]
        if isinstance(default, tuple):
            return tuple(type(default[0])(part) for part in value.split("x"))
        return type(default)(value)
    except (ValueError, KeyError):
        raise InputError(
            f"--model_settings={text}: expected {type(default).__name__}, such as {default}, for "
            f"--model={name}"
        ) from None
