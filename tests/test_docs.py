"""README and docs/: their code runs, their commands parse, and their links lead somewhere."""

import configparser
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from absl import flags
from PIL import Image

import tools.docs_site as site
import xgacmn_tf as xg
from xgacmn_tf.commands.evaluate import EvaluatedRun
from xgacmn_tf.commands.gallery import _long
from xgacmn_tf.commands.train import EvaluationOnly
from xgacmn_tf.errors import InputError
from xgacmn_tf.features.registry import image_extractor, text_extractor
from xgacmn_tf.settings import flag_files
from xgacmn_tf.settings.command_line import define_flags, given_settings
from xgacmn_tf.settings.config import Config
from xgacmn_tf.settings.fields import Section, leaves

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {page.name: page.read_text(encoding="utf-8") for page in PAGES}
MKDOCS = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))


class Block(NamedTuple):
    """A fenced block of code of a page."""

    page: str
    language: str
    file: str  # The name of the file that the block shows, or "".
    code: str


def blocks_of(text: str, page: str = "") -> list[Block]:
    fence = r"^```(\w+)(?: title=\"(.*?)\")?\n(.*?)^```$"
    fences = re.findall(fence, text, re.DOTALL | re.MULTILINE)
    # An indented line that begins with a program is a command, too.
    for line in re.findall(r"^    ((?:xgacmn|python|pip|make|curl) .*\n)", text, re.MULTILINE):
        fences.append(("bash", "", line))
    return [Block(page, *fence) for fence in fences]


BLOCKS = [block for page, text in TEXTS.items() for block in blocks_of(text, page)]
# `test_api` runs the program of README.
PYTHON = [b for b in BLOCKS if b.language == "python" and b.page != "README.md"]


def test_blocks_of_a_page():
    text = 'a\n```python title="a.py"\nx = 1\n```\n\n```bash\nls\n```\n\n    make demo\n'
    assert blocks_of(text, "p") == [
        Block("p", "python", "a.py", "x = 1\n"),
        Block("p", "bash", "", "ls\n"),
        Block("p", "bash", "", "make demo\n"),
    ]
    assert {block.language for block in BLOCKS} <= {"python", "bash", "sh", "math", "text"}


# Python blocks.


def run_blocks(blocks: list[Block], run: str = "RUN") -> dict:
    """Run the blocks of a page one after another; return their names."""
    names: dict = {"__name__": "__main__"}
    for block in blocks:
        if block.file:
            Path(block.file).write_text(block.code)
            continue
        exec(compile(block.code.replace("RUN", run), block.page, "exec"), names)
    return names


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", sorted({block.page for block in PYTHON if "RUN" not in block.code})
)
def test_python_blocks_run_one_after_another(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = run_blocks([b for b in PYTHON if b.page == page and "RUN" not in b.code])
    if page == "own_features.md":
        assert names["codes"].shape == (4, 100)
        # Four categories around their own axes: far above chance (0.25).
        assert names["metrics"]["test"]["posterior"]["mAP"]["avg"] > 0.35


@pytest.fixture(scope="module")
def emoji_run(tmp_path_factory):
    """A folder with a short run on the bundled emoji, and the files that the pages name."""
    for extractor in (image_extractor("efficientnet_lite2"), text_extractor("minilm")):
        if extractor.missing():
            pytest.skip(f"the weights of {extractor.name} are not installed")
    folder = tmp_path_factory.mktemp("docs")
    xg.run(xg.Config.of(epochs=1, item_epochs=1, output_dir=str(folder / "run")))
    (folder / "photos").mkdir()
    for name in ("photo.jpg", "photos/1.jpg", "photos/2.jpg"):
        Image.new("RGB", (64, 64), "red").save(folder / name)
    (folder / "captions.csv").write_text("text\na red apple\na green pear\n")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("block", [b for b in PYTHON if "RUN" in b.code], ids=lambda b: b.page)
def test_python_blocks_on_a_run(block, emoji_run, monkeypatch):
    monkeypatch.chdir(emoji_run)
    run_blocks([block], "run")


# Commands.


def commands_of(code: str) -> list[list[str]]:
    """Return the commands of a block as words, without comments."""
    commands: list[list[str]] = [[]]
    for line in code.replace("\\\n", " ").splitlines():
        for word in shlex.split(line, comments=True):
            if word in ("&&", "|"):
                commands.append([])
            else:
                commands[-1].append(word)
        commands.append([])
    return [command for command in commands if command]


COMMANDS = [
    (block.page, command)
    for block in BLOCKS
    if block.language in ("bash", "sh")
    for command in commands_of(block.code)
]


def sections(name: str) -> tuple[type[Section], ...]:
    """Return the dataclasses of the flags of a command of `xgacmn`."""
    if name == "train":
        return Config, EvaluationOnly
    if name == "evaluate":
        return EvaluatedRun, Config
    if name == "doctor":
        module = importlib.import_module("xgacmn_tf.commands.doctor")
        own = [kind for kind in vars(module).values() if isinstance(kind, type)]
        return tuple(kind for kind in own if issubclass(kind, Section) and kind is not Section)
    module, kind = site.COMMANDS[name].split(":")
    return (getattr(importlib.import_module(f"xgacmn_tf.{module}"), kind),)


MODULES = {"main": "train", "compare": "compare", "reproduce": "reproduce", "features": "features"}
OTHER_PROGRAMS = ("curl", "deploy", "jupyter", "pre-commit", "source", "tensorboard")


def check(command: list[str]) -> None:
    """Parse a command by the flags, files, extras and targets that exist."""
    program, *words = command
    program = program.removeprefix(".venv/bin/")
    if program in ("python", "python3") and words[0] == "-m":
        if not words[1].startswith("xgacmn_tf"):
            assert words[1] in ("venv", "pytest"), command
            return
        _, _, module = words[1].partition("xgacmn_tf.")
        program, words = "xgacmn", [MODULES[module], *words[2:]] if module else words[2:]
    if program == "xgacmn":
        check_arguments(words[0], words[1:])
    elif program == "python":
        source = (ROOT / words[0]).read_text(encoding="utf-8")
        for flag in re.findall(r"^--\w+", "\n".join(words[1:]), re.MULTILINE):
            assert f'"{flag}"' in source, command
    elif program == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert all(re.search(f"^{word}:", makefile, re.MULTILINE) for word in words), command
    elif program == "pip":
        setup = configparser.ConfigParser()
        setup.read(ROOT / "setup.cfg")
        extras = [e for word in words for e in re.findall(r"^\.\[(.*)\]", word)]
        for extra in ",".join(extras).split(",") if extras else []:
            assert extra in setup["options.extras_require"], command
        for pinned in (word for word in words if "==" in word):
            assert pinned in (ROOT / "Makefile").read_text(encoding="utf-8"), command
    else:
        assert program in OTHER_PROGRAMS, command


def check_arguments(name: str, arguments: list[str]) -> None:
    """Parse the arguments of a command of `xgacmn`, as the command does."""
    values, kinds = flags.FlagValues(), sections(name)
    for kind in kinds:
        define_flags(values, kind)
    arguments = _long([name, *arguments])[1:] if name == "gallery" else arguments
    values([name, *flag_files.expand(arguments)])
    for kind in kinds:
        settings = given_settings(values, kind)
        Config.of(**settings) if kind is Config else kind(**settings)


@pytest.mark.parametrize("page", sorted({page for page, _ in COMMANDS}))
def test_commands_parse(page):
    for command in (command for name, command in COMMANDS if name == page):
        check(command)


@pytest.mark.parametrize(
    "command",
    [
        "xgacmn train --epoch=3",
        "xgacmn search --k=0",
        "python -m xgacmn_tf.main --flagfile=none",
        "python benchmarks/growth.py --none",
        "python benchmarks/none.py",
        "make none",
        "pip install -e .[none]",
        "none",
    ],
)
def test_a_wrong_command_is_found(command):
    with pytest.raises((AssertionError, OSError, KeyError, flags.Error, InputError)):
        check(shlex.split(command))


def flag_names() -> set[str]:
    """Return all flags of all commands and scripts."""
    names = {"help", "helpfull", "flagfile", "version"}
    for name in ("train", "evaluate", "doctor", *site.COMMANDS):
        names |= {leaf.name for kind in sections(name) for leaf in leaves(kind)}
    for folder in ("benchmarks", "docs", "export", "examples"):
        for script in (ROOT / folder).glob("*.py"):
            names |= set(re.findall(r'"--(\w+)"', script.read_text(encoding="utf-8")))
    return names


@pytest.mark.parametrize("page", TEXTS)
def test_flags_in_the_text_exist(page):
    known = flag_names()
    for span in re.findall(r"`([^`\n]*)`", re.sub(r"```.*?```", "", TEXTS[page], flags=re.DOTALL)):
        if span.startswith(("--", "xgacmn ", "python -m xgacmn_tf")):
            for name in re.findall(r"--(?:no)?(\w+)", span):
                assert name in known or f"no{name}" in known, span


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        command
        for _, command in COMMANDS
        if command[:1] == ["xgacmn"]
        and command[1] in ("search", "gallery", "export")
        and "--run=RUN" in command
    ],
    ids=" ".join,
)
def test_commands_on_a_run(command, emoji_run):
    """Every search, gallery and export on any page runs as printed."""
    if "onnx" in " ".join(command):
        pytest.importorskip("tf2onnx")
    items = emoji_run / "items.npz"
    if not items.exists():
        xgacmn(emoji_run, "gallery", "--run=run", "photos/", "captions.csv", f"--output={items}")
        shutil.copy(items, emoji_run / "new.npz")
    xgacmn(emoji_run, *(word.replace("RUN", "run") for word in command[1:]))


def xgacmn(folder: Path, *arguments: str) -> None:
    """Run a command in a terminal, in which an empty line is typed."""
    import pty  # Windows has none.

    typed, terminal = pty.openpty()
    os.write(typed, b"\n")
    done = subprocess.run(
        [sys.executable, "-m", "xgacmn_tf", *arguments],
        cwd=folder,
        stdin=terminal,
        capture_output=True,
        text=True,
    )
    os.close(terminal)
    os.close(typed)
    assert done.returncode == 0, done.stdout + done.stderr


# Links and names.


def headings(text: str) -> set[str]:
    """Return the anchors of a page's headings."""
    titles = re.findall(r"^#+ (.*)", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", t).strip().lower()) for t in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = TEXTS[page.name]
    links = re.findall(r"\]\(((?!https?:)[^)\s#]*)(?:#([\w-]+))?\)", text)
    for path, anchor in links:
        target = (page.parent / path) if path else page
        assert target.exists(), path
        if anchor:
            assert anchor in headings(target.read_text(encoding="utf-8")), (path, anchor)
    assert "<a " not in text and "http://" not in text.replace("http://127.0.0.1", "").replace(
        "http://HOST", ""
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_files_exist(page):
    folders = "flags|xgacmn_tf|tests|tools|export|benchmarks|examples"
    for path in re.findall(rf"`((?:{folders})/[\w./*-]*)`", TEXTS[page.name]):
        assert list(ROOT.glob(path)), path


PIECES = r"`model\.((?:losses|angular_softmax|xgacmn|networks)\.(?!py`)[A-Za-z_.]+)`"


@pytest.mark.parametrize("name", sorted(set(re.findall(PIECES, "\n".join(TEXTS.values())))))
def test_named_functions_exist_and_point_back_to_the_paper(name):
    module, *path = name.split(".")
    found = importlib.import_module(f"xgacmn_tf.model.{module}")
    for part in path:
        found = getattr(found, part)
    assert re.search(r"Eq\.|§|Algorithm|G_I|D_I|paper|SphereFace", found.__doc__ or ""), name


def test_nothing_is_left_to_fill_in():
    for path in (*PAGES, *(ROOT / "flags").glob("*.flags")):
        assert "@@" not in path.read_text(encoding="utf-8"), path.name


# The site.


def test_navigation_has_every_page_once():
    def pages(entry):
        if isinstance(entry, str):
            return [entry]
        entries = entry.values() if isinstance(entry, dict) else entry
        return [page for each in entries for page in pages(each)]

    assert sorted(pages(MKDOCS["nav"])) == sorted({"index.md", *TEXTS} - {"README.md"})


def test_the_public_address_is_set_in_one_place():
    """Without it, links into the repository are names."""
    assert site.project_urls("\nSource = https://example.org/x\nDocumentation=y\n") == {
        "Source": "https://example.org/x",
        "Documentation": "y",
    }
    assert "repo_url" not in MKDOCS and "site_url" not in MKDOCS
    text = "See [notes](../export/serving/README.md), [`flags`](../flags) and [a page](faq.md)."
    assert site.with_repository_links(text, "serving.md", None) == (
        "See `export/serving/README.md`, `flags` and [a page](faq.md)."
    )
    assert site.with_repository_links(text, "serving.md", "https://example.org/x/") == (
        "See [notes](https://example.org/x/blob/main/export/serving/README.md), "
        "[`flags`](https://example.org/x/tree/main/flags) and [a page](faq.md)."
    )


def test_the_front_page_is_readme():
    text = "[a](docs/a.md#b) ![c](docs/c.png) [d](LICENSE) [e](https://example.org) [f](#g)"
    assert site.front_page(text) == (
        "[a](a.md#b) ![c](c.png) [d](../LICENSE) [e](https://example.org) [f](#g)"
    )


def test_settings_have_a_row_for_each_flag():
    tables = site.settings_tables()
    rows = re.findall(r"^\| `--(\w+)` \|", tables, re.MULTILINE)
    kinds = [kind for name in ("train", *site.COMMANDS) for kind in sections(name)]
    expected = [leaf.name for kind in kinds if kind is not EvaluationOnly for leaf in leaves(kind)]
    assert sorted(rows) == sorted(expected)
    assert "| `--margin` | `5` | the angular margin m (at least 1, at most 16) |" in tables


def test_cells_of_numbers_stay_on_one_line():
    html = "<td>.345 / .271 (.308 ± .003)</td><td><strong>.9</strong></td><td>1 RBF-SVM</td>"
    assert site.on_page_content(html, None, None, None) == html.replace(
        "<td>.345", '<td class="number">.345'
    ).replace("<td><strong>", '<td class="number"><strong>')


def test_equations_are_drawn():
    drawn = site.with_equations("a\n\n```math\nx^2\n```\n\nb\n")
    assert re.fullmatch(r'a\n\n<div class="equation"><svg .*</svg> ?</div>\n\nb\n', drawn)
    assert 'aria-label="x^2"' in drawn and "currentColor" in drawn and "<script" not in drawn


@pytest.mark.slow
def test_the_site_builds_strictly_and_needs_no_network(tmp_path):
    for name in ("mkdocs", "material", "mkdocstrings_handlers.python"):
        pytest.importorskip(name, reason='pip install -e ".[docs]"')
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", f"--site-dir={tmp_path}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for page in tmp_path.rglob("*.html"):
        html = page.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|iframe)[^>]*src="?(\S+?)[">]', html)
        loaded += re.findall(
            r'<link[^>]*rel="?(?:stylesheet|preconnect)[^>]*href="?(\S+?)[">]', html
        )
        assert loaded and not [url for url in loaded if url.startswith(("http", "//"))], page
    api = (tmp_path / "api" / "index.html").read_text(encoding="utf-8")
    for name in set(xg.__all__) - {"__version__"}:
        assert re.search(f'id="?xgacmn_tf[.a-z_]*{name}"?[ >]', api), name
