"""The content of a run's metrics.json that does not depend on the clock."""

import json
from pathlib import Path
from typing import Any


def metrics_without_times(folder: Path) -> dict[str, Any]:
    metrics = json.loads((folder / "metrics.json").read_text())
    for key in ("date", "wall_time_s", "training_time_s", "examples_per_second"):
        del metrics[key]
    for choice in metrics["input_maps"].values():
        choice.pop("seconds", None)  # Maps that are named are not chosen.
    return metrics
