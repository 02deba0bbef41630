"""Public two-view data: X-GACMN's default command beside classifiers and CCA.

    python benchmarks/untuned_data.py                              all data sets, 5 seeds
    python benchmarks/untuned_data.py --data_dir=DIR               with Wikipedia in DIR
    python benchmarks/untuned_data.py --datasets=wine,glass --seeds=2 --json=scores.json
    python benchmarks/untuned_data.py --xgacmn_flags="--margin=4"  other settings of X-GACMN

`public_views` names the data sets and the packages that they need; those that are missing are
skipped. Defaults were chosen on some of the data sets ("decided on"); the others were only ever
reported ("only reported"). Stamps are made by examples/tuxpaint_stamps.py where Debian's package is
installed; --stamps names a feature file instead.

X-GACMN and the compared systems of this package (kernel posteriors, two towers) run as `--model`
does, on features as they are, and rank by their own similarity. X-GACMN is trained without item
embeddings, which do not change its posteriors. `reference_systems` has the other references; they
read standardized features. They learn from the training split alone, also where a data set brings a
validation split, which the systems of this package use to choose an epoch and to calibrate. Where
the split is fixed, systems without random weights or samples are fitted once.

A score is the mean average precision over the whole gallery, averaged over both directions. The
p-value compares X-GACMN with the reference of the highest mean on the data set, by the paired
randomization test over pairs, whose scores are averaged over the seeds that test them; it is
corrected by Holm over the data sets. Mean ranks are over data sets, with Friedman's test.

Each result is stored in --output; to resume an interrupted benchmark, repeat the command. Results
of an earlier version of the code are not recomputed: name a new folder.
"""

import argparse
import dataclasses
import importlib.util
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from absl import flags
from arguments import Parser, some_of
from public_views import DATASETS, write_features
from reference_systems import REFERENCES, represent
from scipy import stats
from tables import header, mean_and_deviation

from xgacmn_tf.errors import DivergenceError, InputError
from xgacmn_tf.evaluation.significance import holm, mean_by_query, randomization_test
from xgacmn_tf.io.files import atomic_path, write_json
from xgacmn_tf.names import DIRECTIONS, XGACMN
from xgacmn_tf.paper.experiments import in_workers
from xgacmn_tf.runs.provenance import git_commit, versions
from xgacmn_tf.settings.command_line import define_flags, given_settings
from xgacmn_tf.settings.config import Config

SYSTEMS = {
    XGACMN: "X-GACMN",
    "logistic_regression": "LR",
    "rbf_svm": "RBF-SVM",
    "gradient_boosting": "boosting",
    "kernel_posteriors": "kernel posteriors",
    "two_tower": "two towers",
    "cca": "CCA",
}
# Where the split is fixed, a seed draws nothing but the folds of these systems, which changes no
# score by more than 0.001. They are fitted once.
SEEDLESS = ("logistic_regression", "gradient_boosting", "kernel_posteriors", "cca")
EXAMPLE = Path(__file__).parent.parent / "examples" / "tuxpaint_stamps.py"
STAMPS = Path("/usr/share/tuxpaint/stamps")


@dataclasses.dataclass(frozen=True)
class Task:
    """One system on one data set with one seed.

    Attributes:
      data, system, seed: names and number.
      settings: of the data set, and of X-GACMN if it is the system, by the names of flags.
      path: file of the result.
    """

    data: str
    system: str
    seed: int
    settings: dict[str, Any]
    path: Path


@dataclasses.dataclass(frozen=True)
class Result:
    """Scores of a task.

    Attributes:
      id: (n,) ids of the test pairs.
      i2t, t2i: (n,) average precision of the image queries and of the text queries.
      shape: numbers of training, validation and test pairs, of classes, and both dimensions.
      seconds: duration of training and evaluation.
    """

    id: np.ndarray
    i2t: np.ndarray
    t2i: np.ndarray
    shape: np.ndarray
    seconds: float

    @classmethod
    def read(cls, path: Path) -> Self:
        with np.load(path) as stored:
            return cls(**{**stored, "seconds": float(stored["seconds"])})

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            np.savez(temporary, **dataclasses.asdict(self))

    @property
    def score(self) -> float:
        return float(np.mean([self.i2t.mean(), self.t2i.mean()]))

    def by_query(self) -> dict[str, float]:
        """Return "<direction>/<id>" → average precision."""
        return {
            f"{way}/{pair}": float(score)
            for way in DIRECTIONS
            for pair, score in zip(self.id, getattr(self, way), strict=True)
        }


def run(task: Task) -> str:
    """Compute and store a result in a worker; return the error of a failed task, or ""."""
    try:
        with tempfile.TemporaryDirectory() as temporary:
            _run(task, Path(temporary)).write(task.path)
    except (InputError, DivergenceError, ValueError, np.linalg.LinAlgError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _run(task: Task, temporary: Path) -> Result:
    from xgacmn_tf import datasets
    from xgacmn_tf.evaluation.retrieval import evaluate_retrieval
    from xgacmn_tf.experiment import run
    from xgacmn_tf.runs.folder import RunFolder

    settings = task.settings
    if DATASETS[task.data].read is not None:
        path = temporary / f"{task.data}.npz"
        write_features(DATASETS[task.data], path, task.seed)
        settings = {"dataset": str(path)} | settings
    config = Config.of(**settings, seed=task.seed, output_dir=str(temporary / "run"), export=False)
    if task.system not in REFERENCES:
        config = config.replace(model=task.system)
    # The references hold no pairs out.
    whole = datasets.for_config(config.replace(validation_fraction=0.0))
    started = time.perf_counter()
    if task.system in REFERENCES:
        sides = represent(task.system, whole.train, whole.test, task.seed)
        per_query = evaluate_retrieval(*sides, whole.test.label).per_query
        scores = {"id": whole.test.id} | {way: per_query[way]["AP"] for way in DIRECTIONS}
    else:
        similarity = run(config)["headline_similarity"]
        with np.load(RunFolder(temporary / "run").per_query) as stored:
            scores = {way: stored[f"{similarity}_{way}"] for way in DIRECTIONS}
            scores["id"] = stored["id"]
    validation = 0 if whole.validation is None else len(whole.validation)
    shape = np.array(
        [len(whole.train), validation, len(whole.test), whole.num_classes]
        + [whole.image_dim, whole.text_dim]
    )
    return Result(**scores, shape=shape, seconds=time.perf_counter() - started)


def settings_of(name: str, arguments: argparse.Namespace) -> dict[str, Any] | str:
    """Return the settings that name a data set, or why it is skipped."""
    data = DATASETS[name]
    if not data.is_installed:
        return f"pip install {data.install}"
    if data.read is not None:
        return {}
    if name == "wikipedia":
        if arguments.data_dir is None:
            return "--data_dir names the folder of its files"
        return {"dataset": name, "protocol": "2173", "data_dir": str(arguments.data_dir)}
    if name == "stamps":
        return _stamps(arguments)
    return {"dataset": name}


def _stamps(arguments: argparse.Namespace) -> dict[str, Any] | str:
    """Extract the features of the stamps unless they are given or were extracted before."""
    # Not among the results: the example links the package's folder beside its table.
    path = arguments.stamps or arguments.output / "stamps_features" / "stamps.npz"
    if arguments.stamps is None and not path.exists():
        if not STAMPS.is_dir():
            return "apt-get install tuxpaint-stamps-default, or name a feature file by --stamps"
        path.parent.mkdir(parents=True, exist_ok=True)
        table = path.with_suffix(".csv")
        extract = [sys.executable, "-m", "xgacmn_tf.features", f"--dataset={table}"]
        extract += ["--image=efficientnet_lite2", "--text=minilm", f"--output={path}"]
        for command in ([sys.executable, str(EXAMPLE), str(table)], extract):
            if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
                return "its features could not be extracted, see above"
    return {"dataset": str(path)}


def result_path(output: Path, data: str, system: str, seed: int, flags_given: str) -> Path:
    """Return the file of a result; other flags of X-GACMN have results of their own."""
    name = f"{system} {flags_given}".strip() if system == XGACMN else system
    name = re.sub(r"[^\w.,=-]+", "_", name)
    return output / data / f"seed_{seed}" / f"{name}.npz"


Scores = Mapping[str, Mapping[str, Sequence[Result]]]


@dataclasses.dataclass(frozen=True)
class Row:
    """A data set of the table.

    Attributes:
      data: name.
      results: system → results by seed.
      reference: the reference of the highest mean; None without references or X-GACMN.
      raw_p, p: p-value of X-GACMN against it, and the same corrected over the data sets.
    """

    data: str
    results: Mapping[str, Sequence[Result]]
    reference: str | None = None
    raw_p: float = 1.0
    p: float = 1.0

    @property
    def means(self) -> dict[str, float]:
        return {name: float(np.mean([r.score for r in rs])) for name, rs in self.results.items()}

    def as_dict(self) -> dict[str, Any]:
        """Return the row as JSON values."""
        shape = ("train", "validation", "test", "classes", "image_dim", "text_dim")
        first = next(iter(self.results.values()))[0]
        return {
            "data": self.data,
            "decided_on": DATASETS[self.data].decided,
            **dict(zip(shape, first.shape.tolist(), strict=True)),
            "mAP": {
                name: {
                    **{way: [float(getattr(r, way).mean()) for r in rs] for way in DIRECTIONS},
                    "avg": [r.score for r in rs],
                    "seconds": [r.seconds for r in rs],
                }
                for name, rs in self.results.items()
            },
            "best_reference": self.reference,
            "raw_p": self.raw_p,
            "p": self.p,
        }


def compare(scores: Scores) -> list[Row]:
    """Return a row for each data set.

    Args:
      scores: data set → system → results by seed; a system that failed is missing.
    """
    rows = []
    for data, results in scores.items():
        row = Row(data, results)
        references = {name: mean for name, mean in row.means.items() if name != XGACMN}
        if references and XGACMN in results:
            best = max(references, key=references.__getitem__)
            ours, theirs = (
                mean_by_query([r.by_query() for r in results[name]]) for name in (XGACMN, best)
            )
            p = randomization_test(
                np.array(list(ours.values())),
                np.array([theirs[query] for query in ours]),
                [query.partition("/")[2] for query in ours],
            )
            row = dataclasses.replace(row, reference=best, raw_p=p)
        rows.append(row)
    tested = [row for row in rows if row.reference]
    corrected = iter(holm([row.raw_p for row in tested]))
    return [dataclasses.replace(row, p=next(corrected)) if row.reference else row for row in rows]


def mean_ranks(rows: Sequence[Row], systems: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return group of data sets → number of data sets, mean rank by system, and Friedman's p.

    Data sets on which a system failed are left out. Rank 1 is the highest mean; p is None for
    fewer than three systems or two data sets.
    """
    complete = [row for row in rows if set(systems) <= set(row.means)]
    groups = {
        "decided on": [row for row in complete if DATASETS[row.data].decided],
        "only reported": [row for row in complete if not DATASETS[row.data].decided],
        "all": complete,
    }
    ranks = {}
    for title, members in groups.items():
        if members:
            means = np.array([[row.means[name] for name in systems] for row in members])
            mean_rank = stats.rankdata(-means, axis=1).mean(axis=0)
            p = None
            if len(systems) > 2 and len(members) > 1:
                p = float(stats.friedmanchisquare(*means.T).pvalue)
            by_system = dict(zip(systems, mean_rank.tolist(), strict=True))
            ranks[title] = {"datasets": len(members), "mean_rank": by_system, "p": p}
    return ranks


def table(
    rows: Sequence[Row], ranks: Mapping[str, Mapping[str, Any]], systems: Sequence[str]
) -> str:
    """Return both tables in Markdown."""
    titles = [SYSTEMS[name] for name in systems]
    lines = header("data set (training + test pairs, classes, dimensions)", *titles, "p (Holm)")
    for row in rows:
        train, _, test, classes, *dims = next(iter(row.results.values()))[0].shape
        about = f"{row.data} ({train:,} + {test:,}, {classes}, {dims[0]:,} + {dims[1]:,})"
        cells = [_score_cell(row, name) for name in systems]
        against = f"{_p(row.p)} {SYSTEMS[row.reference]}" if row.reference else "–"
        lines.append(f"| {' | '.join([about, *cells, against])} |")
    lines += ["", *header("mean rank (data sets)", *titles, "p (Friedman)")]
    for title, group in ranks.items():
        cells = [f"{group['mean_rank'][name]:.2f}" for name in systems]
        about = f"{title} ({group['datasets']})"
        p = "–" if group["p"] is None else _p(group["p"])
        lines.append(f"| {' | '.join([about, *cells, p])} |")
    return "\n".join(lines)


def _score_cell(row: Row, system: str) -> str:
    if system not in row.results:
        return "failed"
    scores = [result.score for result in row.results[system]]
    cell = mean_and_deviation(scores)
    return f"**{cell}**" if row.means[system] == max(row.means.values()) else cell


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark with command-line arguments."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--datasets", type=some_of(DATASETS), default=",".join(DATASETS), help="comma-separated"
    )
    parser.add_argument(
        "--systems", type=some_of(SYSTEMS), default=",".join(SYSTEMS), help="comma-separated"
    )
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds 0, 1, …")
    parser.add_argument("--jobs", type=int, default=2, help="workers, which share the cores")
    parser.add_argument("--output", type=Path, default=Path("untuned_data"), help="of results")
    parser.add_argument("--data_dir", type=Path, help="folder of the files of Wikipedia")
    parser.add_argument("--stamps", type=Path, help="feature file of the stamps")
    parser.add_argument("--xgacmn_flags", default="", help="further flags of X-GACMN")
    parser.add_argument("--markdown", type=Path, help="file to write the tables to")
    parser.add_argument("--json", type=Path, help="file to write the scores to")
    arguments = parser.parse_args(argv)
    for name in ("seeds", "jobs"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name}={getattr(arguments, name)}: expected at least 1")
    try:
        given = xgacmn_settings(arguments.xgacmn_flags)
    except (InputError, ValueError, flags.Error) as error:
        parser.error(f"--xgacmn_flags: {error}")

    systems = arguments.systems
    if "cca" in systems and importlib.util.find_spec("cca_zoo") is None:
        print("cca: skipped; pip install cca-zoo", file=sys.stderr)
        systems = [name for name in systems if name != "cca"]
    tasks = []
    for name in arguments.datasets:
        settings = settings_of(name, arguments)
        if isinstance(settings, str):
            print(f"{name}: skipped; {settings}", file=sys.stderr)
            continue
        for seed in range(arguments.seeds):
            for system in systems:
                drawn = 0 if system in SEEDLESS and DATASETS[name].read is None else seed
                path = result_path(arguments.output, name, system, drawn, arguments.xgacmn_flags)
                own = settings | (given if system == XGACMN else {})
                tasks.append(Task(name, system, drawn, own, path))
    missing = list({task.path: task for task in tasks if not task.path.exists()}.values())
    for number, (task, failure) in enumerate(in_workers(run, missing, arguments.jobs), 1):
        progress = f"{number}/{len(missing)} {task.data} seed {task.seed} {task.system}"
        print(f"{progress}: {failure or 'done'}", file=sys.stderr)

    scores: dict[str, dict[str, list[Result]]] = {}
    for task in tasks:
        if task.path.exists():
            scores.setdefault(task.data, {}).setdefault(task.system, []).append(
                Result.read(task.path)
            )
    for results in scores.values():
        # A system that fails with one seed has no mean to compare.
        for system in [s for s, found in results.items() if len(found) < arguments.seeds]:
            del results[system]
    if not any(scores.values()):
        sys.exit("error: there are no results; see above")
    rows = compare({data: results for data, results in scores.items() if results})
    ranks = mean_ranks(rows, systems)
    text = table(rows, ranks, systems)
    print(text)
    if arguments.markdown:
        arguments.markdown.write_text(f"{text}\n", encoding="utf-8")
    if arguments.json:
        about = {
            "seeds": arguments.seeds,
            "xgacmn_flags": arguments.xgacmn_flags,
            "versions": versions(),
            "git_commit": git_commit(),
        }
        datasets = [row.as_dict() for row in rows]
        write_json(arguments.json, {**about, "datasets": datasets, "ranks": ranks})


def xgacmn_settings(text: str) -> dict[str, Any]:
    """Return the settings of X-GACMN: the defaults without item embeddings, then given flags.

    Args:
      text: flags as in a command.

    Raises:
      flags.Error, InputError, ValueError: a flag is unknown or has an invalid value.
    """
    values = flags.FlagValues()
    define_flags(values)
    rest = values(["", *shlex.split(text)])[1:]
    if rest:
        raise InputError(f"{rest[0]!r} is not a flag; give settings as --name=value")
    settings = {"item_embedding": False} | given_settings(values, Config, present_only=True)
    Config.of(**settings)
    return settings


if __name__ == "__main__":
    main()
