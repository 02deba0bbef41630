"""Base classes of the compared systems' settings."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from xgacmn_tf.names import MAP_CHOICES, MAP_NAMES
from xgacmn_tf.settings.fields import Section, setting
from xgacmn_tf.settings.xgacmn_sections import XGACMNSettings


@dataclasses.dataclass(frozen=True)
class SystemSettings(Section):
    """Settings of a compared system, which `--model_settings=name=value` changes."""

    flag: ClassVar[str] = "--model_settings="


@dataclasses.dataclass(frozen=True)
class MapSettings(SystemSettings):
    """Settings of the input maps, with the names, meanings and defaults of X-GACMN's flags.

    The maps are chosen and fitted as those of X-GACMN, except that `two_tower`, which reads no
    categories, chooses without evidence. If a flag file changes the maps of X-GACMN, `compare`
    changes those of these systems too.
    """

    image_map: str = setting(XGACMNSettings.image_map, "input map of images", choices=MAP_NAMES)
    text_map: str = setting(XGACMNSettings.text_map, "input map of texts", choices=MAP_NAMES)
    map_choice: str = setting(
        XGACMNSettings.map_choice, "how auto chooses the maps", choices=MAP_CHOICES
    )
    chi2_gamma: float = setting(
        XGACMNSettings.chi2_gamma, "width of the χ² map's kernel", minimum=1e-6
    )
    chi2_components: int = setting(
        XGACMNSettings.chi2_components, "maximum number of components of the χ² map", minimum=1
    )
    rbf_gamma: float = setting(
        XGACMNSettings.rbf_gamma, "width of the Gaussian map's kernel", minimum=1e-6
    )
    rbf_components: int = setting(
        XGACMNSettings.rbf_components, "maximum number of components of the Gaussian map", minimum=1
    )


# Names of the settings that are also flags of X-GACMN.
MAP_FLAGS = tuple(field.name for field in dataclasses.fields(MapSettings))
