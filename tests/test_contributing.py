"""CONTRIBUTING.md and the forms for issues: what they name exists, and the forms are valid."""

import json
import re
from pathlib import Path

import pytest
import yaml

from xgacmn_tf.commands.console import COMMANDS

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
TEMPLATES = ROOT / ".github" / "ISSUE_TEMPLATE"
FORMS = sorted(path for path in TEMPLATES.glob("*.yml") if path.name != "config.yml")


def test_the_guide_names_files_and_targets_that_exist():
    for path in re.findall(r"\]\(([\w./-]+)\)", GUIDE):
        assert (ROOT / path).exists(), path
    named = re.findall(r"`((?:xgacmn_tf|tests|docs|benchmarks|examples)/[\w./]*)`", GUIDE)
    assert len(named) > 10
    for path in named:
        assert (ROOT / path).exists(), path
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`?make ([\w-]+)", GUIDE):
        if target in ("test", "test-all", "lint", "demo"):
            assert re.search(f"^{target}:", makefile, re.MULTILINE), target
    for command in re.findall(r"xgacmn ([\w-]+)", GUIDE):
        assert command in COMMANDS, command


def test_there_is_a_place_for_unreleased_changes():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## \[Unreleased\]", changelog, re.MULTILINE)


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_a_form_is_valid_and_asks_for_the_report_of_doctor(path):
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert any("`xgacmn doctor" in str(field["attributes"]["label"]) for field in form["body"])
    builtin = pytest.importorskip("check_jsonschema.builtin_schemas", reason="has the schema")
    schema = builtin.get_builtin_schema("vendor.github-issue-forms")
    jsonschema = pytest.importorskip("jsonschema", reason="check-jsonschema brings it")
    jsonschema.validate(json.loads(json.dumps(form)), schema)


def test_there_are_forms_for_bugs_wrong_numbers_and_wishes():
    names = {path.stem for path in FORMS}
    assert names == {"bug_report", "wrong_numbers", "feature_request"}
