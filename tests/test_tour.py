"""The notebook runs from its first cell to its last, and is committed without outputs."""

import re
from pathlib import Path

import nbclient
import nbformat
import pytest

TOUR = Path(__file__).parent.parent / "examples" / "tour.ipynb"


def run(notebook, folder):
    """Runs the cells in a kernel of this environment; returns what they printed."""
    nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pictures = [o for o in outputs if "image/png" in o.get("data", {})]
    return "".join(o.text for o in outputs if o.get("name") == "stdout"), pictures


@pytest.mark.slow
def test_it_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(TOUR.parent.parent))
    printed, pictures = run(nbformat.read(TOUR, as_version=4), tmp_path)
    assert len(pictures) == 6
    scores = {
        words[0]: [float(word) for word in words[1:]]
        for line in printed.splitlines()
        if (words := line.split()) and words[0] in ("X-GACMN", "CCA", "chance") and len(words) == 3
    }
    # Ten epochs do most of what a whole training does.
    assert min(scores["X-GACMN"]) > max(scores["CCA"]) > min(scores["CCA"]) > max(scores["chance"])
    ranks = [int(rank) for rank in re.findall(r"own image at rank +(\d+)", printed)]
    assert len(ranks) == 7 and ranks == sorted(ranks) and ranks[0] < ranks[-1]
    assert (tmp_path / "runs" / "tour-models" / "xgacmn" / "1" / "saved_model.pb").exists()


def test_a_cell_that_fails_fails_the_test(tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")])
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="ZeroDivisionError"):
        run(notebook, tmp_path)


def test_it_is_committed_without_outputs():
    for cell in nbformat.read(TOUR, as_version=4).cells:
        assert not cell.get("outputs") and cell.get("execution_count") is None
