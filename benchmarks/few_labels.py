"""X-GACMN with few labels: default training beside pseudo-labels and without discriminators.

    python benchmarks/few_labels.py
    python benchmarks/few_labels.py --shares=0.05,0.25 --data=openclipart --seeds=3

The training split of a bundled data set keeps the categories of a share of its groups, drawn by
strata; all other pairs lose theirs. Training holds out a fifth of the labeled pairs as usual. The
scores are on the validation split of the data set, which a run receives as its test split; its own
test split is not read. R@10 is the share of queries whose own pair is among the first ten.

Each run is a folder in --output; to resume an interrupted benchmark, repeat the command.
"""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from arguments import Parser, some_of
from tables import header, mean_and_deviation

import xgacmn_tf as xg
from xgacmn_tf.datasets.paired import PairedDataset, Split
from xgacmn_tf.datasets.stratified import stratified_part
from xgacmn_tf.experiment import run
from xgacmn_tf.io.files import read_json
from xgacmn_tf.paper.experiments import in_workers
from xgacmn_tf.settings.config import Config

TRAININGS = {
    "default": {},
    "pseudo-labels": {"pseudo_labels": True},
    "no discriminators": {"discriminate_features": False, "discriminate_codes": False},
}
SIMILARITIES = ("posterior", "item")


@dataclasses.dataclass(frozen=True)
class Task:
    """One training on a share of the labels."""

    data: str
    share: float
    training: str
    seed: int
    folder: Path


def with_few_labels(data: PairedDataset, share: float, seed: int) -> Split:
    """Return the training split with the labels of a stratified share of its groups, else −1."""
    split = data.train
    hot = split.label[:, np.newaxis] == np.unique(split.label)
    kept = stratified_part(hot, share, seed, data.groups["train"])
    return dataclasses.replace(split, label=np.where(kept, split.label, -1))


def write_features(data: PairedDataset, train: Split, path: Path) -> None:
    """Write a feature file with a training split; its test split is the validation split."""
    assert data.validation is not None
    arrays = {"label_names": np.array(data.label_names)}
    for name, split, group in (
        ("train", train, data.groups["train"]),
        ("test", data.validation, data.groups["validation"]),
    ):
        for field in ("image", "text", "label"):
            arrays[f"{field}_{name}"] = getattr(split, field)
        arrays[f"id_{name}"] = np.asarray(split.id, str)
        arrays[f"group_{name}"] = group.astype(str)
    np.savez(path, **arrays)


def train(task: Task) -> tuple[int, dict[str, Any]]:
    """Train in a worker; return the number of labeled pairs and the scores by similarity."""
    data = xg.load_dataset(task.data)
    few = with_few_labels(data, task.share, task.seed)
    path = task.folder / "features.npz"
    metrics = task.folder / "run" / "metrics.json"
    if not metrics.exists():
        task.folder.mkdir(parents=True, exist_ok=True)
        write_features(data, few, path)
        output = str(task.folder / "run")
        settings = {"dataset": str(path), "output_dir": output, "export": False}
        run(Config.of(**settings, seed=task.seed, **TRAININGS[task.training]))
    return int((few.label >= 0).sum()), read_json(metrics)["test"]


def shares(text: str) -> list[float]:
    """Type of arguments: shares between 0 and 1, separated by commas."""
    values = [float(value) for value in text.split(",")]
    if not all(0 < value < 1 for value in values):
        raise argparse.ArgumentTypeError(f"{text!r}, expected shares between 0 and 1")
    return values


def main() -> None:
    """Run the benchmark with command-line arguments."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=some_of(("emoji", "openclipart")), default=["emoji"])
    parser.add_argument("--shares", type=shares, default=[0.01, 0.05, 0.25, 0.5])
    parser.add_argument("--trainings", type=some_of(TRAININGS), default=list(TRAININGS))
    parser.add_argument("--seeds", type=int, default=2, help="number of seeds 0, 1, …")
    parser.add_argument("--jobs", type=int, default=2, help="workers, which share the cores")
    parser.add_argument("--output", type=Path, default=Path("few_labels"), help="of the runs")
    arguments = parser.parse_args()
    tasks = [
        Task(data, share, training, seed, arguments.output / data / f"{share:g}_{training}_{seed}")
        for data in arguments.data
        for share in arguments.shares
        for training in arguments.trainings
        for seed in range(arguments.seeds)
    ]
    results = dict(in_workers(train, tasks, arguments.jobs))
    columns = [(name, score) for score in ("mAP", "R@10") for name in SIMILARITIES]
    titles = [" ".join(column) for column in columns]
    print(*header("data", "labeled pairs", "training", *titles), sep="\n")
    for first in range(0, len(tasks), arguments.seeds):
        row = tasks[first : first + arguments.seeds]
        cells = [
            mean_and_deviation([results[task][1][name][score]["avg"] for task in row])
            for name, score in columns
        ]
        task, labeled = row[0], results[row[0]][0]
        about = [task.data, f"{labeled:,} ({task.share:.0%})", task.training]
        print(f"| {' | '.join(about + cells)} |")


if __name__ == "__main__":
    main()
