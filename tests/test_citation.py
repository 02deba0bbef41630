"""What the software is cited by, and its versions, agree with the package."""

from pathlib import Path

import yaml

import xgacmn_tf

ROOT = Path(__file__).parent.parent


def test_the_citation_is_of_this_version_and_of_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0" and citation["message"]
    assert citation["version"] == xgacmn_tf.__version__
    assert citation["license"] == "Apache-2.0"
    paper = citation["preferred-citation"]
    assert paper["title"].startswith("X-GACMN: ")
    names = [author["family-names"] for author in paper["authors"]]
    assert names == ["Guo", "Liang", "Kong", "Song", "He"]


def test_the_changelog_has_this_version():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert xgacmn_tf.__version__ in changelog.split("\n## ")[1].splitlines()[0]
