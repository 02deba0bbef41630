"""The console command: its list of commands, dispatch and mistakes."""

import importlib
import re

import pytest

from xgacmn_tf.commands import console, evaluate
from xgacmn_tf.settings.command_line import read_settings
from xgacmn_tf.settings.fields import Section, setting


def test_all_commands_are_listed(call):
    for arguments in ((), ("--help",), ("--helpfull",)):
        done = call(console.main, *arguments)
        assert done.returncode == 0
        titles = [done.stdout.index(f"\n\n{title}\n") for title in (*console.GROUPS, "Example")]
        assert titles == sorted(titles)
        for name in console.COMMANDS:
            assert re.search(rf"^  {name} ", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("name", console.COMMANDS)
def test_every_command_has_help(call, name):
    module, _ = console.COMMANDS[name]
    assert callable(importlib.import_module(module).main)
    done = call(console.main, name, "--help")
    assert done.returncode == 0 and len(done.stdout) > 100
    shown = re.findall(r"^  --\w+=", done.stdout, re.MULTILINE)
    assert len(shown) <= 12
    # Full help has more exactly where the short one says so.
    full = re.findall(r"^  --\w+=", call(console.main, name, "--helpfull").stdout, re.MULTILINE)
    assert ("--helpfull" in done.stdout) == (len(full) > len(shown))


def test_an_unknown_command_is_one_line(call):
    done = call(console.main, "tarin", "--dataset=emoji")
    assert done.returncode == 2
    assert done.stderr.startswith("error: 'tarin' is not a command; expected one of train, ")
    assert done.stderr.endswith("; did you mean train?\n") and done.stderr.count("\n") == 1


def test_run_names_the_run_folder_of_every_command_that_reads_one(call, tmp_path):
    for name in ("evaluate", "search", "export"):
        more = {"search": ["apple"], "export": [f"--output={tmp_path}"]}.get(name, [])
        done = call(console.main, name, f"--run={tmp_path / 'none'}", *more)
        assert done.returncode == 2 and "none" in done.stderr, done.stderr


def test_evaluate_prints_the_scores_of_the_run(call, finished_run):
    folder, _, log = finished_run
    done = call(evaluate.main, f"--run={folder}")
    assert done.returncode == 0, done.stderr
    scores = re.compile(r"^\s*(posterior|cosine|dot|item)\b.*$", re.MULTILINE)
    assert scores.findall(done.stdout) and [m[0] for m in scores.finditer(done.stdout)] == [
        m[0] for m in scores.finditer(log)
    ]


def test_settings_of_a_command_are_checked():
    import dataclasses

    @dataclasses.dataclass(frozen=True)
    class Example(Section):
        """An example."""

        name: str | None = setting(None, "a name")
        count: int = setting(1, "a count", minimum=1)
        words: tuple[str, ...] = setting((), "words", multiple=True)

    arguments = ["example", "--name=a", "--words=b", "--words=c"]
    assert read_settings(Example, arguments, "") == Example("a", 1, ("b", "c"))
