"""Settings of the compared systems that share X-GACMN's input maps."""

import dataclasses

from xgacmn_tf.baselines.checks import check_at_least
from xgacmn_tf.settings.config import XGACMNSettings


@dataclasses.dataclass(frozen=True)
class MapSettings:
    """Settings of the input maps, with the names, the meaning and the defaults of X-GACMN's flags.

    `model.map_choice.fit_maps` fits the maps of X-GACMN and of these systems alike. Where a flag
    file gives X-GACMN other maps, `compare` gives these systems the same.
    """

    image_map: str = XGACMNSettings.image_map
    text_map: str = XGACMNSettings.text_map
    chi2_gamma: float = XGACMNSettings.chi2_gamma
    chi2_components: int = XGACMNSettings.chi2_components

    def __post_init__(self) -> None:
        check_at_least(1e-6, chi2_gamma=self.chi2_gamma)
        check_at_least(1, chi2_components=self.chi2_components)


# Names of the settings, which are flags of X-GACMN too.
MAP_FLAGS = tuple(field.name for field in dataclasses.fields(MapSettings))
