"""Validation scores of a compared system's settings, from which its defaults were chosen.

    python benchmarks/validation_scores.py --model=sm --grid="c=0.1,1,10,30 centre=false,true" \\
        --dataset=flags/wikipedia_shallow_2173.flags --data_dir=DIR

Every combination of the values is trained on what a stratified fifth of the training split leaves,
and scored on that fifth: full-gallery mAP at the system's own similarity, before any calibration.
The mean is taken over several fifths, the seeds 0, 1, …, and the best combination comes first. The
test split is not read.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np

from xgacmn_tf import baselines, datasets
from xgacmn_tf.io.files import write_json
from xgacmn_tf.paper import experiments, tuning


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--grid", default="", help="setting=value,value … of each setting")
    parser.add_argument("--dataset", default="openclipart")
    parser.add_argument("--data_dir")
    parser.add_argument("--parts", type=int, default=5)
    parser.add_argument("--similarity", help="another one than the system's own")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()

    values = dict(setting.split("=", 1) for setting in given.grid.split())
    points = [
        tuple(f"{name}={value}" for name, value in zip(values, combination, strict=True))
        for combination in itertools.product(*(listed.split(",") for listed in values.values()))
    ]
    system = baselines.system(given.model)
    found: dict[tuple[str, ...], list[dict[str, float]]] = {point: [] for point in points}
    runs = experiments.plan(
        [given.model], [given.dataset], given.parts, given.data_dir, Path("unused")
    )
    for run in runs:
        similarity = given.similarity or run.config.evaluation.similarity
        config = run.config.replace(similarity=similarity)
        whole = datasets.for_config(config.replace(validation_fraction=0.0))
        for point in tuning.score_points(config, system, whole, points):
            if "error" in point:
                print(f"{point['settings']}: {point['error']}", flush=True)
            else:
                found[tuple(point["settings"])].append(point["mAP"])
    table = [
        {"settings": list(point), "parts": scores}
        | {way: float(np.mean([score[way] for score in scores])) for way in ("i2t", "t2i", "avg")}
        for point, scores in found.items()
        if scores
    ]
    table.sort(key=lambda row: -row["avg"])
    for row in table:
        print(f"{row['i2t']:.4f} / {row['t2i']:.4f} ({row['avg']:.4f})", *row["settings"])
    if given.json:
        write_json(given.json, table)


if __name__ == "__main__":
    main()
