"""README and docs/ say what is true: their code runs, their files and functions exist."""

import importlib
import re
from pathlib import Path

import pytest

from xgacmn_tf.settings.config import Config
from xgacmn_tf.settings.fields import leaves

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
README = PAGES[0].read_text(encoding="utf-8")
EVERYTHING = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)


def test_python_blocks_run_one_after_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) >= 2
    names: dict = {}
    for block in blocks:
        # `test_api` trains the first program for all its epochs.
        exec(compile(block.replace("epochs=30", "epochs=1"), "README.md", "exec"), names)
    assert names["codes"].shape == (4, 100)
    # Four categories around their own axes: far above chance (.25) for any model that learns.
    assert names["metrics"]["test"]["posterior"]["mAP"]["avg"] > 0.35


def test_every_command_uses_flags_that_exist():
    allowed = {leaf.name for leaf in leaves(Config)}
    allowed |= {"evaluate_only", "checkpoint", "flagfile", "help", "helpfull"}
    commands = re.findall(r"python -m xgacmn_tf\.main(.*)", EVERYTHING)
    assert commands
    for flag in re.findall(r"--(\w+)", " ".join(commands)):
        assert flag in allowed, flag


def test_every_make_target_exists():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"make ((?:demo|test)[\w-]*)", README):
        assert re.search(f"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_named_file_exists(page):
    text = page.read_text(encoding="utf-8")
    for path in re.findall(r"\]\(([\w./-]+)(?:#[\w-]+)?\)", text):
        assert (page.parent / path).exists(), path
    for path in re.findall(
        r"`((?:flags|xgacmn_tf|tests|tools|export|benchmarks)/[\w./*-]*)`", text
    ):
        assert list(ROOT.glob(path)), path
    for path in re.findall(r"python ((?:export|benchmarks|examples)/[\w./]+)", text):
        assert (ROOT / path).exists(), path


def test_every_link_to_a_heading_finds_it():
    for page, anchor in re.findall(r"\]\(([\w./-]+\.md)#([\w-]+)\)", README):
        headings = re.findall(r"^#+ (.*)", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}


PIECES = r"`model\.((?:losses|angular_softmax|xgacmn|networks)\.(?!py`)[A-Za-z_.]+)`"


@pytest.mark.parametrize("name", re.findall(PIECES, EVERYTHING))
def test_every_named_function_exists_and_points_back_to_the_paper(name):
    module, *path = name.split(".")
    found = importlib.import_module(f"xgacmn_tf.model.{module}")
    for part in path:
        found = getattr(found, part)
    assert re.search(r"Eq\.|§|Algorithm|G_I|D_I", found.__doc__ or ""), name


def test_nothing_is_left_to_fill_in():
    for path in (*PAGES, *(ROOT / "flags").glob("*.flags")):
        assert "@@" not in path.read_text(encoding="utf-8"), path.name
