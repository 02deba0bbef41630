"""Range checks of settings."""

import math

from xgacmn_tf.errors import InputError


def check_at_least(least: float, **settings: float) -> None:
    """Raises an `InputError` that names the first setting below `least` or not finite."""
    for name, value in settings.items():
        if not least <= value < math.inf:
            raise InputError(f"--model_settings={name}={value}: expected at least {least:g}")
