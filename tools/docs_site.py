"""Hooks of mkdocs.yml: the front page from README, the tables of settings, links and equations."""

from __future__ import annotations

import configparser
import html
import importlib
import io
import re
from pathlib import Path, PurePosixPath
from typing import Any

import matplotlib
from matplotlib.font_manager import FontProperties
from matplotlib.mathtext import math_to_image

from xgacmn_tf.settings.command_line import section_title, shown_default
from xgacmn_tf.settings.config import Config
from xgacmn_tf.settings.fields import Leaf, Section, leaves

ROOT = Path(__file__).parent.parent
SETTINGS = "<!-- settings -->"
# Commands beside `train`, with the dataclasses of their flags.
COMMANDS = {
    "search": "commands.search:Search",
    "gallery": "commands.gallery:MakeGallery",
    "serve": "serve.options:ServiceOptions",
    "export": "commands.export:Export",
    "features": "commands.features:Extraction",
    "compare-runs": "commands.compare_runs:CompareRuns",
    "compare": "paper.compare_command:Comparison",
    "reproduce": "paper.reproduce_command:Reproduction",
}


def on_config(config: Any) -> Any:
    """Set the public addresses, if there are any.

    `repo_url` stays unset: the theme would then ask the repository's server for its stars.
    """
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    addresses = project_urls(setup.get("metadata", "project_urls", fallback=""))
    config["extra"]["repository"] = addresses.get("Source")
    config["site_url"] = addresses.get("Documentation")
    return config


def project_urls(text: str) -> dict[str, str]:
    """Return the addresses of setup.cfg by name, of lines such as "Source = https://…"."""
    pairs = (line.partition("=") for line in text.splitlines() if line.strip())
    return {name.strip(): address.strip() for name, _, address in pairs}


def on_files(files: Any, config: Any) -> Any:
    """Add README as the front page."""
    from mkdocs.structure.files import File

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "index.md", content=front_page(readme)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Return the Markdown of a page with its settings, equations and links to the repository."""
    if SETTINGS in markdown:
        markdown = markdown.replace(SETTINGS, settings_tables())
    markdown = with_equations(markdown)
    markdown = markdown.replace("](../README.md", "](index.md")
    return with_repository_links(markdown, page.file.src_uri, config["extra"]["repository"])


def on_page_content(content: str, page: Any, config: Any, files: Any) -> str:
    """Return the HTML of a page whose cells of numbers stay on one line."""
    number = r"<td>((?:</?strong>|&lt;|[\s\d.,/()%±≤−+–e-])+)</td>"
    return re.sub(number, r'<td class="number">\1</td>', content)


def front_page(readme: str) -> str:
    """Return README with links as a page in docs/ has them."""

    def moved(match: re.Match[str]) -> str:
        target = match[1]
        if re.match(r"https?:|#", target):
            return match[0]
        return (
            f"]({target.removeprefix('docs/') if target.startswith('docs/') else '../' + target})"
        )

    return re.sub(r"\]\(([^)\s]+)\)", moved, readme)


def with_repository_links(markdown: str, page: str, repository: str | None) -> str:
    """Point links to files outside of docs/ into the repository.

    Args:
        markdown: the text of a page.
        page: its path below docs/.
        repository: address of the repository; None replaces such links by their texts.

    Returns:
        The changed text.
    """
    folder = PurePosixPath("docs", page).parent

    def replaced(match: re.Match[str]) -> str:
        path = (ROOT / folder / match[2]).resolve()
        if repository is None:
            return match[1] if match[1].startswith("`") else f"`{path.relative_to(ROOT)}`"
        kind = "tree" if path.is_dir() else "blob"
        return f"[{match[1]}]({repository.rstrip('/')}/{kind}/main/{path.relative_to(ROOT)})"

    return re.sub(r"\[([^\]\[]+)\]\((\.\./[^)\s#]+)\)", replaced, markdown)


def with_equations(markdown: str) -> str:
    """Replace blocks of LaTeX by inline SVG, which needs neither JavaScript nor fonts."""
    return re.sub(
        r"^```math\n(.*?)\n```$",
        lambda match: f'<div class="equation">{equation(match[1])}</div>',
        markdown,
        flags=re.DOTALL | re.MULTILINE,
    )


def equation(latex: str) -> str:
    """Return an equation as an <svg> element in the color of the text around it."""
    stand_in = "#010203"
    stream = io.BytesIO()
    with matplotlib.rc_context({"mathtext.fontset": "cm", "svg.hashsalt": "equation"}):
        math_to_image(f"${latex}$", stream, FontProperties(size=13), format="svg", color=stand_in)
    svg = stream.getvalue().decode()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    # Blank lines would end the HTML block in Markdown.
    svg = re.sub(r"\n\s*", " ", svg).replace(stand_in, "currentColor")
    label = html.escape(latex, quote=True)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def settings_tables() -> str:
    """Return a table for each section of a run's settings, and one for each other command."""
    parts = ["## xgacmn train"]
    for title, group in sections(Config):
        parts += [f"### {title}", table(group)]
    for name, path in COMMANDS.items():
        module, kind = path.split(":")
        found = getattr(importlib.import_module(f"xgacmn_tf.{module}"), kind)
        parts += [f"## xgacmn {name}", table(leaves(found))]
    return "\n\n".join(parts)


def sections(kind: type[Section]) -> list[tuple[str, list[Leaf]]]:
    """Return the settings of a tree by section, each under its title as of --helpfull."""
    groups: dict[str, list[Leaf]] = {}
    for leaf in leaves(kind):
        groups.setdefault(leaf.section, []).append(leaf)
    return [(section_title(kind, section), group) for section, group in groups.items()]


def table(group: list[Leaf] | tuple[Leaf, ...]) -> str:
    """Return the Markdown table of some settings."""
    rows = ["| flag | default | meaning |", "|---|---|---|"]
    for leaf in group:
        meaning = leaf.metadata["help"]
        if choices := leaf.metadata["choices"]:
            meaning += f"; one of {', '.join(f'`{choice}`' for choice in choices)}"
        limits = {"at least": leaf.metadata["minimum"], "at most": leaf.metadata["maximum"]}
        ranges = [f"{word} {limit:,}" for word, limit in limits.items() if limit is not None]
        if ranges:
            meaning += f" ({', '.join(ranges)})"
        default = shown_default(leaf.default)
        # The tables of Python-Markdown take a pipe in code as it is.
        shown = f"`{default}`" if default else ""
        rows.append(f"| `--{leaf.name}` | {shown} | {escaped(meaning)} |")
    return "\n".join(rows)


def escaped(text: str) -> str:
    """Return a text as a cell of a Markdown table has it."""
    return text.replace("|", "\\|").replace("<", "&lt;")
