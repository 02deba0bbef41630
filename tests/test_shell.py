"""Programs of this installation as they are typed in a shell."""

import pytest

from xgacmn_tf.shell import program


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """A Python environment `.venv` with a program `tool`, below the working directory."""
    folder = tmp_path / ".venv" / "bin"
    folder.mkdir(parents=True)
    for name in ("tool", "python"):
        (folder / name).touch(0o755)
    monkeypatch.setattr("sys.executable", str(folder / "python"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    return folder


def test_it_is_called_by_its_name_where_a_shell_finds_it(environment, monkeypatch):
    monkeypatch.setenv("PATH", str(environment))
    assert program("tool", "tool_module") == "tool"


def test_a_link_to_it_is_as_good(environment, monkeypatch, tmp_path):
    (tmp_path / "tool").symlink_to(environment / "tool")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program("tool", "tool_module") == "tool"


def test_python_runs_it_where_the_environment_is_not_activated(environment, monkeypatch, tmp_path):
    assert program("tool", "tool_module") == ".venv/bin/python -m tool_module"
    # The program of that name is of another environment.
    other = tmp_path / "other"
    other.mkdir()
    (other / "tool").touch(0o755)
    monkeypatch.setenv("PATH", str(other))
    assert program("tool", "tool_module") == ".venv/bin/python -m tool_module"
    monkeypatch.chdir(other)
    assert program("tool", "tool_module") == f"{environment / 'python'} -m tool_module"
