"""The console command `xgacmn`, whose first argument names a command."""

from __future__ import annotations

import importlib
import sys

from xgacmn_tf.settings.command_line import HELP, stop
from xgacmn_tf.version import __version__

# Command → the module whose `main(argv)` it is, and what it does.
COMMANDS = {
    "train": ("xgacmn_tf.commands.train", "train and evaluate a model"),
    "evaluate": ("xgacmn_tf.commands.evaluate", "evaluate a run again"),
    "search": ("xgacmn_tf.commands.search", "find images by text and texts by image"),
    "gallery": ("xgacmn_tf.commands.gallery", "make a gallery file of items to search"),
    "features": ("xgacmn_tf.commands.features", "extract features from images and texts"),
    "export": ("xgacmn_tf.commands.export", "export a run as SavedModel or ONNX"),
    "serve": ("xgacmn_tf.commands.serve", "serve searches and a catalog over HTTP"),
    "compare": ("xgacmn_tf.compare", "compare systems on data sets"),
    "reproduce": ("xgacmn_tf.reproduce", "write the paper's tables and figures"),
    "compare-runs": ("xgacmn_tf.commands.compare_runs", "compare two runs on common test pairs"),
    "doctor": ("xgacmn_tf.commands.doctor", "print versions, devices, extras and caches"),
}


def usage() -> str:
    """Return the list of commands."""
    lines = [f"  {name:12} {purpose}" for name, (_, purpose) in COMMANDS.items()]
    return (
        f"xgacmn_tf {__version__}: supervised cross-modal retrieval\n\n"
        "usage: xgacmn COMMAND --name=value …   (also: python -m xgacmn_tf COMMAND …)\n\n"
        + "\n".join(lines)
        + "\n\nxgacmn COMMAND --help lists the flags of a command."
    )


def main(argv: list[str] | None = None) -> None:
    """Run the command that the first argument names."""
    arguments = (sys.argv if argv is None else argv)[1:]
    if not arguments or arguments[0] in HELP:
        print(usage())
        return
    name, *rest = arguments
    if name == "--version":
        print(__version__)
        return
    if name not in COMMANDS:
        stop(f"{name!r} is not a command; expected one of {', '.join(COMMANDS)}")
    module, _ = COMMANDS[name]
    importlib.import_module(module).main([f"xgacmn {name}", *rest])
