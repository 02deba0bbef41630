"""Kills runs at chosen moments: `python tests/crashes.py FOLDER DATASET KILLS`.

Each run is a process forked from this one, which has imported everything and run nothing, so that
an attempt takes a second or two. The moments are drawn from a fixed seed, of four kinds: after a
random time, and at the n-th time that a file is about to be renamed into place, has just been
renamed, or is half written. After each kill the same run is started again in its folder; one that
ends makes room for the next. Prints what happened as JSON.
"""

import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TQDM_DISABLE": "1"}

from xgacmn_tf import experiment
from xgacmn_tf.settings.config import Config
from xgacmn_tf.training import progress

KINDS = ("time", "before", "after", "half")
# About as many files as a run renames into place, and seconds that an attempt takes at most.
RENAMES, SECONDS = 16, 12.0


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(kind: str, moment: float) -> None:
    """Lets this process die at a moment: seconds, or the number of a file."""
    if kind == "time":
        bomb = threading.Timer(moment, die)
        bomb.daemon = True
        bomb.start()
        return
    replace, fsync, count = os.replace, os.fsync, [0]

    def counted_replace(source, target):
        count[0] += 1
        if kind == "before" and count[0] == int(moment):
            die()
        replace(source, target)
        if kind == "after" and count[0] == int(moment):
            die()

    def counted_fsync(file):
        # Comes before its rename, so the count is one behind.
        if kind == "half" and count[0] + 1 == int(moment):
            number = file if isinstance(file, int) else file.fileno()
            path = os.readlink(f"/proc/self/fd/{number}")
            os.truncate(path, os.path.getsize(path) // 2)
            die()
        fsync(file)

    os.replace, os.fsync = counted_replace, counted_fsync


def attempt(config: Config, kind: str | None, moment: float = 0.0) -> int:
    """Runs in a process of its own; returns its exit status, negative for a signal."""
    child = os.fork()
    if not child:
        status = 1
        try:
            # Every epoch may be saved, so that saving is interrupted as often as training.
            progress.SECONDS_BETWEEN_CHECKPOINTS = progress.SAVES_BETWEEN_CHECKPOINTS = 0.0
            if kind is not None:
                arm(kind, moment)
            experiment.run(config)
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> None:
    folder, dataset, kills = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    draw = random.Random(0)

    def config(name: str) -> Config:
        return Config.of(
            dataset=dataset, output_dir=str(folder / name), epochs=12, patience=12, batch_size=16,
            encoder_hidden=(16, 8), code_dim=6, feature_discriminator_hidden=12,
            common_discriminator_hidden=5, generator_learning_rate=3e-3, item_hidden=(12,),
            item_dim=4, validation_fraction=0.2,
        )  # fmt: skip

    started = time.monotonic()
    assert attempt(config("whole"), None) == 0
    seconds = min(SECONDS, time.monotonic() - started)
    done, killed, runs = dict.fromkeys(KINDS, 0), 0, 0
    while killed < kills:
        kind = draw.choice(KINDS)
        moment = draw.uniform(0, seconds) if kind == "time" else draw.randint(1, RENAMES)
        status = attempt(config(f"killed_{runs}"), kind, moment)
        if status == -signal.SIGKILL:
            done[kind] += 1
            killed += 1
        elif status == 0:
            runs += 1
        else:
            raise SystemExit(f"{kind} {moment}: the next attempt ended with status {status}")
    assert attempt(config(f"killed_{runs}"), None) == 0
    print(json.dumps({"kills": done, "runs": runs + 1}))


if __name__ == "__main__":
    main()
