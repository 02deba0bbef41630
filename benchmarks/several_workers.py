"""What it costs to train on several workers, by the share of a step that is not computing.

    python benchmarks/several_workers.py                       two workers on this machine
    python benchmarks/several_workers.py --workers=4 --shapes=nuswide --json=numbers.json
    python benchmarks/several_workers.py --bandwidths=1gbit,10gbit

Workers are processes that speak through TensorFlow's `MultiWorkerMirroredStrategy` as machines do,
each with one thread, and a core of its own where there are enough. Every worker has a batch of 64
(batch 64 × workers altogether). Efficiency is the time of a step without communication, as many
single workers side by side, over the time of a step with it. The bytes that a worker sends (and
receives) in a ring are printed, because over a network they are what counts. The median of three
epochs after the first counts.

Without --bandwidths, workers are on the loopback interface. With it (Linux, iproute2 and
util-linux; no root) each has a network namespace, and a bridge between them whose links send at
most so much, in the units of `tc`; "loopback" may be one of them.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TQDM_DISABLE": "1"}

from arguments import Parser, sizes, some_of
from machine import described, machine
from training_step import D_HIDDEN, SHAPES, dataset_of, generate, weights

STEPS, EPOCHS = 20, 4
LOOPBACK = "loopback"
# Set in the process that may make network namespaces.
INSIDE = "SEVERAL_WORKERS_INSIDE"


def work(shape: str, share: int, alone: bool) -> None:
    """Trains as one of the workers, or alone beside them; prints milliseconds a step."""
    # Once the network is there.
    print("ready", flush=True)
    sys.stdin.readline()
    task = json.loads(os.environ.pop("TF_CONFIG"))
    workers = len(task["cluster"]["worker"])
    index = task["task"]["index"]
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[index % len(cores)]})
    if not alone:
        os.environ["TF_CONFIG"] = json.dumps(task)
    import tensorflow as tf
    from epoch_clock import Clock

    from xgacmn_tf.devices import make_devices
    from xgacmn_tf.runs.xgacmn import build_model
    from xgacmn_tf.settings.config import Config

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    devices = make_devices("one_device" if alone else "multi_worker")
    image_dim, text_dim, _ = SHAPES[shape]
    batch = share if alone else share * workers
    config = Config.of(
        dataset="generated", image_map="none", text_map="none", batch_size=batch,
        image_dropout=0.0, text_dropout=0.0, feature_discriminator_hidden=D_HIDDEN,
    )  # fmt: skip
    dataset = dataset_of(generate(image_dim, text_dim, STEPS * batch))
    with devices.strategy.scope():
        model = build_model(config, dataset)
    clock = Clock()
    model.fit(dataset.train.batches(batch), epochs=EPOCHS, verbose=0, callbacks=[clock])
    print(1e3 * statistics.median(clock.seconds[1:]) / STEPS)


def measure(shape: str, workers: int, share: int, bandwidth: str, alone: bool) -> float:
    """Milliseconds a step of so many workers; of single ones side by side if `alone`."""
    if bandwidth == LOOPBACK:
        sockets = [socket.socket() for _ in range(workers)]
        for free in sockets:
            free.bind(("127.0.0.1", 0))
        hosts = [f"127.0.0.1:{free.getsockname()[1]}" for free in sockets]
        for free in sockets:
            free.close()
    else:
        hosts = [f"{address(index)}:2222" for index in range(workers)]
    processes = []
    for index in range(workers):
        task = {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}
        command = [sys.executable, __file__, f"--work={shape},{share},{alone:d}"]
        if bandwidth != LOOPBACK:
            command = ["unshare", "--net", *command]
        process = subprocess.Popen(
            command,
            env={**os.environ, "TF_CONFIG": json.dumps(task)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        if bandwidth != LOOPBACK:
            connect(process.pid, index, bandwidth)
        processes.append(process)
    with ThreadPoolExecutor(workers) as pool:
        ends = list(pool.map(lambda process: process.communicate("\n"), processes))
    for process, (_, errors) in zip(processes, ends, strict=True):
        if process.returncode:
            raise SystemExit(errors)
    return statistics.mean(float(output.splitlines()[-1]) for output, _ in ends)


def address(index: int) -> str:
    """The address of a worker in its namespace."""
    return f"10.0.0.{index + 1}"


def make_bridge() -> None:
    """A bridge in this process's network namespace."""
    for command in ("link set lo up", "link add bridge0 type bridge", "link set bridge0 up"):
        subprocess.run(["ip", *command.split()], check=True)


def connect(process: int, index: int, bandwidth: str) -> None:
    """Joins a process's network namespace to the bridge; both ends send at most so much."""
    # The links of workers that have ended may be there for a while.
    inside, outside = "eth0", f"to{process}"
    limit = f"root tbf rate {bandwidth} burst 256kb latency 50ms"
    there = ["nsenter", f"--target={process}", "--net"]
    for where, command in (
        ([], f"ip link add {outside} type veth peer name {inside} netns {process}"),
        ([], f"ip link set {outside} master bridge0 up"),
        (there, f"ip addr add {address(index)}/24 dev {inside}"),
        (there, f"ip link set {inside} up"),
        (there, "ip link set lo up"),
        ([], f"tc qdisc add dev {outside} {limit}"),
        (there, f"tc qdisc add dev {inside} {limit}"),
    ):
        subprocess.run([*where, *command.split()], check=True)


def main() -> None:
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", type=some_of(SHAPES), default="wikipedia,openclipart,nuswide")
    parser.add_argument(
        "--batches", type=sizes, default="64,512", help="pairs of each worker in a step"
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--bandwidths", default=LOOPBACK, help="of the links, such as 1gbit,10gbit")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        shape, share, alone = arguments.work.split(",")
        work(shape, int(share), alone == "1")
        return
    bandwidths = arguments.bandwidths.split(",")
    if bandwidths != [LOOPBACK]:
        if INSIDE not in os.environ:
            # A user namespace lets this process make network namespaces without root.
            os.environ[INSIDE] = "1"
            command = ["unshare", "--user", "--map-root-user", "--net", sys.executable, *sys.argv]
            os.execvp(command[0], command)
        make_bridge()
    about = machine()
    print(described(about), end="\n\n")
    rows = []
    print(
        "| shape | batch each | link | alone, ms a step | together | efficiency | sent a step, MB |"
        "\n| --- | --- | --- | --- | --- | --- | --- |"
    )
    for shape in arguments.shapes:
        image_dim, text_dim, _ = SHAPES[shape]
        size = 4 * weights(image_dim, text_dim)
        sent = 2 * (arguments.workers - 1) / arguments.workers * size
        for share in arguments.batches:
            one = measure(shape, arguments.workers, share, LOOPBACK, alone=True)
            for bandwidth in bandwidths:
                several = measure(shape, arguments.workers, share, bandwidth, alone=False)
                print(
                    f"| {shape} | {share} | {bandwidth} | {one:.1f} | {several:.1f} | "
                    f"{one / several:.2f} | {sent / 1e6:.1f} |",
                    flush=True,
                )
                row = {"shape": shape, "batch": share, "link": bandwidth, "alone_ms": one}
                row |= {"together_ms": several, "gradient_bytes": size, "sent_bytes": sent}
                rows.append(row)
    if arguments.json:
        record = {"machine": about, "workers": arguments.workers, "rows": rows}
        arguments.json.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
