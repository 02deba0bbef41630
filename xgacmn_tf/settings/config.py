"""Settings of a run: a tree of frozen, validated dataclasses, one per subject.

`command_line` makes one flag of each leaf field, so names are unique in the whole tree, and
config.json stores them flat. Defaults are the paper's (§4.1) where it states a value: layer widths,
batch 64, m = 5, λ = (10, 5, 100). The other defaults (optimizer, learning rates, epochs, dropout,
annealing of the margin, input maps, similarity) were chosen on validation data. Settings that suit
one data set better are in the files of `flags/`, each with its reason.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from xgacmn_tf.errors import InputError
from xgacmn_tf.names import (
    HOLD_OUT,
    OWN_METHOD,
    SYSTEMS,
    XGACMN,
)
from xgacmn_tf.nearest import did_you_mean
from xgacmn_tf.settings.fields import Leaf, Section, as_json, leaves, setting
from xgacmn_tf.settings.sections import (
    DataSettings,
    EvaluationSettings,
    FeatureSpec,
    ModelChoice,
    OutputSettings,
)
from xgacmn_tf.settings.xgacmn_sections import ItemSettings, TrainingSettings, XGACMNSettings


@dataclasses.dataclass(frozen=True)
class Config(Section):
    """Settings of one run.

    `model`, `items` and `training` are X-GACMN's: a compared system reads none of them, and has
    hyper-parameters of its own in `system.model_settings`.

    Example:
      >>> config = Config.of(dataset="openclipart", margin=4)
      >>> config.model.margin, config.training.batch_size
      (4, 64)
      >>> config.replace(margin=5) == Config.of(dataset="openclipart")
      True

    Raises:
      InputError: a value is out of range, or two values contradict each other; it names the flags.
    """

    # In the order of use, in which --helpfull lists them.
    own_title: ClassVar[str] = "Random numbers"
    data: DataSettings = DataSettings()
    features: FeatureSpec = FeatureSpec()
    system: ModelChoice = ModelChoice()
    model: XGACMNSettings = XGACMNSettings()
    training: TrainingSettings = TrainingSettings()
    items: ItemSettings = ItemSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    output: OutputSettings = OutputSettings()
    seed: int = setting(
        0,
        "seed of initial weights, batches, dropout, random splits, what sift and lda learn, and "
        "samples of validation pairs and of examples on the results page",
        minimum=0,
        maximum=2**31 - 1,
        common=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        model, training = self.model, self.training
        if model.classifier == "none" and self.evaluation.similarity == "posterior":
            raise InputError(
                "--similarity=posterior needs class posteriors, and --classifier=none learns none; "
                "use --similarity=cosine"
            )
        if training.jit_compile and training.strategy != "one_device":
            raise InputError(
                "--jit_compile works on one device only; leave out either it or "
                f"--strategy={training.strategy}"
            )
        if model.classifier == "none" and training.pseudo_labels:
            raise InputError(
                "--pseudo_labels needs class posteriors, and --classifier=none learns none; leave "
                "one of them out"
            )
        if model.classifier == "none" and model.distillation:
            raise InputError(
                f"--distillation={model.distillation:g} needs class posteriors, and "
                "--classifier=none learns none; leave one of them out"
            )
        if training.choose_epoch == "last" and training.patience is not None:
            raise InputError(
                f"--patience={training.patience} stops a training early, and --choose_epoch=last "
                "trains all epochs; leave one of them out"
            )
        self._check_system()

    def _check_system(self) -> None:
        """Reject an unknown system, and settings that the chosen one does not read."""
        system = self.system
        if system.model not in (XGACMN, *SYSTEMS) and not OWN_METHOD.match(system.model):
            raise InputError(
                f"--model={system.model}: expected {XGACMN}, {', '.join(SYSTEMS)}, or "
                "path/to/file.py:NAME of a method of your own"
                f"{did_you_mean(system.model, (XGACMN, *SYSTEMS))}"
            )
        if system.model == XGACMN:
            if system.model_settings:
                raise InputError(
                    f"--model_settings={','.join(system.model_settings)}: X-GACMN's settings are "
                    "flags of their own; see --help"
                )
            return
        for leaf in leaves(type(self)):
            value = leaf.of(self)
            if of_xgacmn_alone(leaf) and value != leaf.default:
                raise InputError(
                    f"--{leaf.name}={value} is a setting of X-GACMN that --model={system.model} "
                    "does not read; leave it out, or use --model_settings"
                )

    @classmethod
    def of(cls, **values: Any) -> Self:
        """Return the settings with values given by their flat names, as flags have them."""
        return cls().replace(**values)

    def replace(self, **values: Any) -> Self:
        """Return the settings with some values changed, by their flat names.

        Raises:
          InputError: a value is out of range.
          TypeError: there is no setting of that name.
        """
        known = {leaf.name: leaf for leaf in leaves(type(self))}
        if unknown := sorted(set(values) - set(known)):
            near = did_you_mean(unknown[0], known)
            raise TypeError(f"there are no settings called {', '.join(unknown)}{near}")
        changes: dict[str, dict[str, Any]] = {}
        for name, value in values.items():
            changes.setdefault(known[name].section, {})[name] = value
        top = changes.pop("", {})
        sections = {
            section: dataclasses.replace(getattr(self, section), **own)
            for section, own in changes.items()
        }
        return dataclasses.replace(self, **sections, **top)

    def flat(self) -> dict[str, Any]:
        """Return all settings by flat name, as config.json stores them."""
        return {leaf.name: leaf.of(self) for leaf in leaves(type(self))}

    def arguments(self) -> list[str]:
        """Return the flags of the settings that affect results and are not the defaults."""
        words = []
        for leaf in leaves(type(self)):
            value = leaf.of(self)
            if leaf.metadata["affects_results"] and value != leaf.default:
                joined = isinstance(value, tuple) and not leaf.metadata["multiple"]
                values = value if isinstance(value, tuple) and not joined else [value]
                words += [f"--{leaf.name}={','.join(map(str, v)) if joined else v}" for v in values]
        return words

    @classmethod
    def of_recorded(cls, values: Mapping[str, Any]) -> Self:
        """Return the settings from the record of a run, JSON's lists for tuples.

        Settings that the run's version did not have yet get the value that it behaved by.
        """
        complete = {**cls.earlier(values.get("model", XGACMN)), **values}
        tuples = {k: tuple(v) if isinstance(v, list) else v for k, v in complete.items()}
        return cls.of(**tuples)

    @property
    def held_out(self) -> float | None:
        """The fraction of the training split to hold out, see `datasets.loading`; 0: none."""
        uses_it = self.system.model not in SYSTEMS or self.system.model in HOLD_OUT
        return self.data.validation_fraction if uses_it else 0.0

    def headline(self, own: str | None = None) -> str:
        """Return the similarity that the run ranks by.

        Args:
          own: the similarity of a compared system.
        """
        if self.evaluation.similarity != "auto":
            return self.evaluation.similarity
        return own or ("cosine" if self.model.classifier == "none" else "posterior")

    def result_settings(self) -> dict[str, Any]:
        """Return the settings that affect the numbers of a run, as JSON has them."""
        return as_json(
            {
                leaf.name: leaf.of(self)
                for leaf in leaves(type(self))
                if leaf.metadata["affects_results"] and self._reads(leaf)
            }
        )

    def _reads(self, leaf: Leaf) -> bool:
        """Return whether a run with these settings reads a setting."""
        if of_xgacmn_alone(leaf) and self.system.model != XGACMN:
            return False
        return self.items.item_embedding or leaf.section != "items" or leaf.name == "item_embedding"

    @classmethod
    def earlier(cls, model: str) -> dict[str, Any]:
        """Return the values by which runs behaved before settings were added, as JSON has them.

        Args:
          model: "xgacmn" or the name of a compared system.
        """
        return as_json(
            {
                leaf.name: leaf.metadata["before"]
                for leaf in leaves(cls)
                if leaf.metadata["later"] and (model == XGACMN or not of_xgacmn_alone(leaf))
            }
        )

    def fingerprint(self) -> str:
        """Return eight hexadecimal digits that differ whenever `result_settings` do.

        Settings that were added later count only if they change the former behavior, so that the
        same command finds the run folder of an earlier version.
        """
        values = self.result_settings()
        for leaf in leaves(type(self)):
            if leaf.metadata["later"] and leaf.of(self) == leaf.metadata["before"]:
                values.pop(leaf.name, None)
        text = json.dumps(values, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]


def of_xgacmn_alone(leaf: Leaf) -> bool:
    """Return whether compared systems do not read a setting."""
    return leaf.section in ("model", "items", "training") or leaf.metadata["of_xgacmn"]
