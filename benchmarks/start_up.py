"""How long the default command takes to begin: from the interpreter to the first trained steps.

    python benchmarks/start_up.py             stops after the first compiled call
    python benchmarks/start_up.py --whole     goes on to the end of the run
    python benchmarks/start_up.py --run=RUN   a search in a run instead, and further questions

The command runs as `python -m xgacmn_tf.main` does, in a process of its own and a folder that is
removed, ROUNDS times in turn with processes that import TensorFlow or Keras and nothing else; the
median counts. A bare `import tensorflow` is the yardstick; what `import keras` takes beyond it no
program with Keras is spared.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TQDM_DISABLE": "1"}

ROUNDS = 3
BARE = ("import tensorflow", "import keras")
QUESTIONS = ("a red apple", "a sad dog", "snow", "a car", "music", "a tree", "rain", "a happy fish")


def begin(started: float, whole: bool) -> None:
    """The command's process: prints a mark and its second for every stage."""

    def mark(stage: str) -> None:
        print(f"{time.time() - started}\t{stage}", flush=True)

    mark("interpreter")
    import tensorflow  # noqa: F401

    mark("TensorFlow imported")
    from xgacmn_tf import experiment
    from xgacmn_tf.model import xgacmn
    from xgacmn_tf.settings.config import Config

    mark("package imported")
    read, runner = experiment.datasets.for_config, xgacmn.EpochRunner

    def for_config(config):
        dataset = read(config)
        mark("data set read")
        return dataset

    class Marked(runner):
        """Says when the model and its data are ready, and when the first compiled call is done."""

        marked = False

        def __init__(self, *arguments):
            super().__init__(*arguments)
            mark("input maps fitted, model built")

        def __call__(self, iterator):
            means = super().__call__(iterator)
            if not Marked.marked:
                Marked.marked = True
                mark(f"first compiled call, {self._done} steps")
                if not whole:
                    os._exit(0)
            return means

    experiment.datasets.for_config, xgacmn.EpochRunner = for_config, Marked
    with tempfile.TemporaryDirectory() as folder:
        experiment.run(Config.of(output_dir=folder))
    mark("run ended")


def stages(whole: bool) -> dict[str, float]:
    """Stage → seconds since the process was started."""
    command = [sys.executable, __file__, f"--started={time.time()}"] + ["--whole"] * whole
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    marks = (line.split("\t") for line in done.stdout.splitlines() if "\t" in line)
    return {stage: float(seconds) for seconds, stage in marks}


def search(run: str, started: float) -> None:
    """The process of a search: prints a mark for the first answer and for each further one."""
    from xgacmn_tf.commands.search import Search, _OpenSearch, _queries

    request = Search(run=run)
    opened, answers = _OpenSearch(request), []
    for text in QUESTIONS:
        answers += opened.answer(_queries([text], request))
        opened.write_page(answers)
        print(f"{time.time() - started}\t{text}", flush=True)
        started = time.time()


def searches(run: str) -> list[float]:
    """Seconds of the first question, with the start of the process, and of each further one."""
    command = [sys.executable, __file__, f"--run={run}", f"--started={time.time()}"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [float(line.split("\t")[0]) for line in done.stdout.splitlines() if "\t" in line]


def bare(code: str) -> float:
    started = time.time()
    # Ended at once, as the command is: taking TensorFlow down takes a second of its own.
    code = f"{code}, os; os._exit(0)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return time.time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--whole", action="store_true", help="to the end of the run")
    parser.add_argument("--run", help="a run folder to search in, with an extractor of texts")
    parser.add_argument("--started", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.started:
        if arguments.run:
            search(arguments.run, arguments.started)
        else:
            begin(arguments.started, arguments.whole)
        return
    # In the processes that are timed these imports would count.
    from machine import described, machine

    bare("import tensorflow")  # Reads the files from disk once.
    if arguments.run:
        searches(arguments.run)  # Fills the run's cache.
    found: list[dict[str, float]] = []
    yardsticks: dict[str, list[float]] = {code: [] for code in BARE}
    for _ in range(ROUNDS):
        for code in BARE:
            yardsticks[code].append(bare(code))
        if arguments.run:
            first, *further = searches(arguments.run)
            later = statistics.median(further)
            found.append({"first answer": first, "further answer": first + later})
        else:
            found.append(stages(arguments.whole))
    yard = statistics.median(yardsticks["import tensorflow"])
    print(described(machine()), end="\n\n")
    print("| stage | done after (s) | this stage (s) | × `import tensorflow` in all |")
    print("| --- | --- | --- | --- |")
    before = 0.0
    for stage in found[0]:
        after = statistics.median(times[stage] for times in found)
        print(f"| {stage} | {after:.2f} | {after - before:.2f} | {after / yard:.2f} |")
        before = after
    for name, times in yardsticks.items():
        seconds = statistics.median(times)
        print(f"| a process with `{name}` alone | {seconds:.2f} | | {seconds / yard:.2f} |")


if __name__ == "__main__":
    main()
