"""Validation mAP over the seconds since a command began, and what its whole run takes.

    python benchmarks/score_over_time.py --seeds=5
    python benchmarks/score_over_time.py --dataset=openclipart --systems=xgacmn,kernel_posteriors

Each run is a process of `xgacmn train`, one after the other. `NAME:FLAG` is a system with one more
flag, without its hyphens. The score at a second is the validation mAP of the best epoch until then,
which the run's TensorBoard log has with its time; mean of both directions by the system's own
similarity. "all" is the time of the whole process, with evaluation, pages and export. The test mAP
stands beside it; nothing is chosen by it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TQDM_DISABLE": "1"}

import numpy as np
from arguments import Parser, sizes
from machine import described, machine
from tables import header, mean_and_deviation
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

SYSTEMS = "xgacmn,two_tower,kernel_posteriors"
SECONDS = "10,15,20,25,30,40,60"


def train(dataset: str, system: str, seed: int) -> dict[str, Any]:
    """Return the seconds of a run, its validation scores with their seconds, and its measures."""
    name, _, flag = system.partition(":")
    with tempfile.TemporaryDirectory() as temporary:
        command = [sys.executable, "-m", "xgacmn_tf.main", f"--dataset={dataset}"]
        command += [f"--model={name}", f"--seed={seed}", f"--output_dir={temporary}/run"]
        started = time.time()
        done = subprocess.run(
            [*command, f"--{flag}"] if flag else command, capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(f"{done.stderr}\n{' '.join(done.args)} failed")
        seconds = time.time() - started
        folder = Path(temporary) / "run"
        metrics = json.loads((folder / "metrics.json").read_text())
        events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"tensors": 0})
        events.Reload()
        tags = [tag for tag in events.Tags()["tensors"] if tag.endswith("validation/mAP/avg")]
        scores = [
            (event.wall_time - started, float(make_ndarray(event.tensor_proto)))
            for tag in tags
            for event in events.Tensors(tag)
        ]
    return {
        "seconds": seconds,
        "validation": scores,
        "test": metrics["test"],
        "similarity": metrics["headline_similarity"],
    }


def best_until(run: dict[str, Any], second: float) -> float:
    """Return the best validation score until a second; NaN before the first."""
    return max((score for when, score in run["validation"] if when <= second), default=np.nan)


def main() -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="emoji")
    parser.add_argument("--systems", default=SYSTEMS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--seconds", type=sizes, default=SECONDS)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    about = machine()
    print(described(about), end="\n\n")
    runs: dict[str, list[dict[str, Any]]] = {}
    for seed in range(given.seeds):
        for system in given.systems.split(","):
            run = train(given.dataset, system, seed)
            runs.setdefault(system, []).append(run)
            print(f"seed {seed}, {system}: {run['seconds']:.0f} s", file=sys.stderr, flush=True)
    titles = ("system", *(f"{second} s" for second in given.seconds), "end", "all (s)", "test mAP")
    print("\n".join(header(*titles)))
    for system, found in runs.items():
        cells = []
        for second in (*given.seconds, np.inf):
            scores = [best_until(run, second) for run in found]
            cells.append("–" if np.isnan(scores).any() else f"{np.mean(scores):.3f}")
        seconds = [run["seconds"] for run in found]
        cells.append(f"{np.median(seconds):.0f} ({min(seconds):.0f} – {max(seconds):.0f})")
        cells.append(
            mean_and_deviation([run["test"][run["similarity"]]["mAP"]["avg"] for run in found])
        )
        print(f"| {system} | {' | '.join(cells)} |")
    if given.json:
        record = {"machine": about, "dataset": given.dataset, "runs": runs}
        given.json.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
