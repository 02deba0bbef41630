"""Validation mAP and time of X-GACMN's training by learning rate, number of steps and batch size.

    python benchmarks/schedules.py --data=emoji,openclipart --seeds=2
    python benchmarks/schedules.py --data=features.npz --schedules=3e-4:1000:64,6e-4:500:64
    python benchmarks/schedules.py --schedules=3e-4:1000:64,3e-4:1000:64:nodiscriminate_features
    python benchmarks/schedules.py \
        --schedules=3e-4:1000:64,3e-4:1000:64:feature_discriminator_hidden=500

A schedule is the generators' learning rate, the number of steps and the batch size, and flags that
are off or have another whole number; all else is the default, and the discriminators train along.
Data sets are those of `xgacmn train --dataset`. The score is the validation mAP that chooses the
epoch, mean of both directions, and the time that of the training with its validations, without
input maps, item embeddings and export. Differences are to the first schedule with the same data and
seed, mean ± standard deviation; p is that of a paired t-test over data sets and seeds. The test
split is not read.
"""

import argparse
import json
import math
import os
import tempfile
import time
from pathlib import Path

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TQDM_DISABLE": "1"}

import numpy as np
from arguments import Parser
from machine import described, machine
from scipy.stats import ttest_rel

from xgacmn_tf import datasets
from xgacmn_tf.devices import Devices
from xgacmn_tf.runs.data_settings import follow_data
from xgacmn_tf.runs.folder import RunFolder
from xgacmn_tf.runs.xgacmn import train_model
from xgacmn_tf.settings.config import Config

SCHEDULES = "3e-4:1000:64,6e-4:500:64,5e-4:600:64,1e-3:400:64,6e-4:500:128,1e-3:300:128"


def setting(flag: str) -> tuple[str, bool | int]:
    """Return name and value of `name=whole number` or `noname`."""
    name, equals, value = flag.partition("=")
    return (name, int(value)) if equals else (name.removeprefix("no"), False)


def train(data: str, seed: int, schedule: str) -> tuple[float, float, float]:
    """Return the score, and the seconds of the clock and of the processor."""
    rate, number, size, *flags = schedule.split(":")
    steps, batch = int(number), int(size)
    config = Config().replace(
        dataset=data,
        seed=seed,
        generator_learning_rate=float(rate),
        batch_size=batch,
        **dict(map(setting, flags)),
    )
    dataset = datasets.for_config(config)
    config, _ = follow_data(config, dataset, Devices())
    config = config.replace(epochs=math.ceil(steps / math.ceil(len(dataset.train) / batch)))
    with tempfile.TemporaryDirectory() as temporary:
        folder = RunFolder(Path(temporary))
        folder.selected.parent.mkdir()
        processor = time.process_time()
        progress = train_model(config, dataset, folder)
    return progress.best_score, progress.seconds, time.process_time() - processor


def main() -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="emoji,openclipart")
    parser.add_argument("--schedules", default=SCHEDULES)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    about = machine()
    print(described(about), end="\n\n")
    rows: dict[str, dict[str, tuple[float, float, float]]] = {}
    for data in given.data.split(","):
        for seed in range(given.seeds):
            for schedule in given.schedules.split(","):
                found = train(data, seed, schedule)
                rows.setdefault(schedule, {})[f"{data} {seed}"] = found
                score, clock, processor = found
                print(
                    f"{data}, seed {seed}, {schedule}: mAP {score:.4f}, {clock:.0f} s, "
                    f"{processor:.0f} s of CPU",
                    flush=True,
                )
    base, *others = (np.array(list(cells.values())) for cells in rows.values())
    print("| rate:steps:batch | mAP | difference | p | seconds, × the first |")
    print("|---|---|---|---|---|")
    for schedule, cells in zip(rows, (base, *others), strict=True):
        change = cells[:, 0] - base[:, 0]
        line = f"| {schedule} | {cells[:, 0].mean():.4f} |"
        if cells is not base and len(cells) > 1:
            p = ttest_rel(cells[:, 0], base[:, 0]).pvalue
            line += f" {change.mean():+.4f} ± {change.std(ddof=1):.4f} | {p:.2f} |"
        else:
            line += " – | – |"
        print(f"{line} {np.median(cells[:, 1] / base[:, 1]):.2f} |")
    if given.json:
        given.json.write_text(json.dumps({"machine": about, **rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
