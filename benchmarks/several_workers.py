"""What it costs to train on several workers, by the share of a step that is not computing.

    python benchmarks/several_workers.py                       two workers on this machine
    python benchmarks/several_workers.py --workers=4 --shapes=nuswide --json=numbers.json

Workers are processes on the loopback interface with one core each, which speak through TensorFlow's
`MultiWorkerMirroredStrategy` as machines do. Every worker has a batch of 64 (batch 64 × workers
altogether), so one worker alone does the same computing in a step; what takes longer is averaging
the gradients. The bytes that a worker sends (and receives) in a ring are printed, because over a
network they are what counts. Needs a core for each worker; the median of three epochs after the
first counts.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
from pathlib import Path

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TQDM_DISABLE": "1"}

import numpy as np
from arguments import Parser, sizes, some_of
from training_step import CLASSES, SHAPES, generate, weights

STEPS, EPOCHS = 20, 4


def work(shape: str, workers: int, share: int) -> None:
    """Trains as one of the workers; the chief prints milliseconds a step."""
    index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[index]})
    import tensorflow as tf
    from epoch_clock import Clock

    from xgacmn_tf.datasets.paired import PairedDataset, Split
    from xgacmn_tf.devices import make_devices
    from xgacmn_tf.runs.xgacmn import build_model
    from xgacmn_tf.settings.config import Config

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    devices = make_devices("multi_worker" if workers > 1 else "one_device")
    image_dim, text_dim, _ = SHAPES[shape]
    batch = share * workers
    config = Config.of(
        dataset="generated", image_map="none", text_map="none", batch_size=batch,
        image_dropout=0.0, text_dropout=0.0,
    )  # fmt: skip
    arrays = generate(image_dim, text_dim, STEPS * batch)
    ids = np.arange(STEPS * batch).astype(str)
    split = Split(**arrays, id=ids)
    test = Split(**{name: values[:1] for name, values in arrays.items()}, id=np.array(["test"]))
    dataset = PairedDataset("generated", split, test, tuple(map(str, range(CLASSES))))
    with devices.strategy.scope():
        model = build_model(config, dataset)
    clock = Clock()
    model.fit(split.batches(batch), epochs=EPOCHS, verbose=0, callbacks=[clock])
    if devices.is_chief:
        print(1e3 * statistics.median(clock.seconds[1:]) / STEPS)


def measure(shape: str, workers: int, share: int) -> float:
    """Milliseconds a step of so many workers."""
    sockets = [socket.socket() for _ in range(workers)]
    for free in sockets:
        free.bind(("127.0.0.1", 0))
    hosts = [f"127.0.0.1:{free.getsockname()[1]}" for free in sockets]
    for free in sockets:
        free.close()
    processes = []
    for index in range(workers):
        task = {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}
        command = [sys.executable, __file__, f"--work={shape},{workers},{share}"]
        processes.append(
            subprocess.Popen(
                command,
                env={**os.environ, "TF_CONFIG": json.dumps(task)},
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
        )  # fmt: skip
    ends = [process.communicate() for process in processes]
    for process, (_, errors) in zip(processes, ends, strict=True):
        if process.returncode:
            raise SystemExit(errors)
    return float(ends[0][0].splitlines()[-1])


def main() -> None:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", type=some_of(SHAPES), default="wikipedia,openclipart,nuswide")
    parser.add_argument(
        "--batches", type=sizes, default="64,512", help="pairs of each worker in a step"
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        shape, workers, share = arguments.work.split(",")
        work(shape, int(workers), int(share))
        return
    rows = []
    print(
        f"| shape | batch each | 1 worker, ms a step | {arguments.workers} workers | efficiency "
        "| sent a step, MB |\n| --- | --- | --- | --- | --- | --- |"
    )
    for shape in arguments.shapes:
        image_dim, text_dim, _ = SHAPES[shape]
        size = 4 * weights(image_dim, text_dim)
        sent = 2 * (arguments.workers - 1) / arguments.workers * size
        for share in arguments.batches:
            one, several = (measure(shape, count, share) for count in (1, arguments.workers))
            print(
                f"| {shape} | {share} | {one:.1f} | {several:.1f} | {one / several:.2f} | "
                f"{sent / 1e6:.1f} |",
                flush=True,
            )
            row = {"shape": shape, "batch": share, "one_ms": one, "several_ms": several}
            rows.append({**row, "gradient_bytes": size, "sent_bytes": sent})
    if arguments.json:
        record = {"workers": arguments.workers, "cores": os.cpu_count(), "rows": rows}
        arguments.json.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
