"""README: its length and its commands. `test_docs` runs its code and follows its links."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_readme_has_at_most_900_words():
    assert len(README.split()) <= 900


def test_every_make_target_exists():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"\bmake ([a-z-]+)", README)
    assert {"demo", "test", "docs"} <= set(targets)
    for target in targets:
        assert re.search(f"^{target}:", makefile, re.MULTILINE), target
