"""The console command `xgacmn`, whose first argument names a command."""

from __future__ import annotations

import importlib
import sys

from xgacmn_tf.nearest import did_you_mean
from xgacmn_tf.settings.command_line import FULL_HELP, HELP, stop
from xgacmn_tf.version import __version__

# Groups of commands in the order of use. Command → the module whose `main(argv)` it is, and what it
# does.
GROUPS = {
    "Train and evaluate": {
        "train": ("xgacmn_tf.commands.train", "train and evaluate a model"),
        "evaluate": ("xgacmn_tf.commands.evaluate", "evaluate a run again, or on other data"),
        "compare-runs": ("xgacmn_tf.commands.compare_runs", "compare two runs on common pairs"),
    },
    "Search and deploy": {
        "search": ("xgacmn_tf.commands.search", "find images by text and texts by image"),
        "gallery": ("xgacmn_tf.commands.gallery", "make a gallery file of items to search"),
        "serve": ("xgacmn_tf.commands.serve", "serve searches and a catalog over HTTP"),
        "export": ("xgacmn_tf.commands.export", "export a run as SavedModel or ONNX"),
    },
    "Prepare data": {
        "features": ("xgacmn_tf.commands.features", "extract features from images and texts"),
    },
    "Research": {
        "compare": ("xgacmn_tf.compare", "compare systems on data sets"),
        "reproduce": ("xgacmn_tf.reproduce", "write the paper's tables and figures"),
    },
    "Check the installation": {
        "doctor": ("xgacmn_tf.commands.doctor", "print versions, devices, extras and caches"),
    },
}
COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}
EXAMPLE = """\
  xgacmn train                                  trains on the bundled emoji; prints the run folder
  xgacmn search --run=RUN "a red apple" --open  shows what the trained model finds"""


def usage() -> str:
    """Return the list of commands by group, with an example."""
    lines = ["usage: xgacmn COMMAND --name=value …   (also: python -m xgacmn_tf COMMAND …)"]
    for title, group in GROUPS.items():
        lines += ["", title, *(f"  {name:13}{purpose}" for name, (_, purpose) in group.items())]
    return (
        f"xgacmn_tf {__version__}: supervised cross-modal retrieval\n\n"
        + "\n".join(lines)
        + f"\n\nExample\n{EXAMPLE}\n\nxgacmn COMMAND --help lists the flags of a command."
    )


def main(argv: list[str] | None = None) -> None:
    """Run the command that the first argument names."""
    arguments = (sys.argv if argv is None else argv)[1:]
    if not arguments or arguments[0] in (*HELP, *FULL_HELP):
        print(usage())
        return
    name, *rest = arguments
    if name == "--version":
        print(__version__)
        return
    if name not in COMMANDS:
        near = did_you_mean(name, COMMANDS)
        stop(f"{name!r} is not a command; expected one of {', '.join(COMMANDS)}{near}")
    module, _ = COMMANDS[name]
    importlib.import_module(module).main([f"xgacmn {name}", *rest])
