"""Subpackages import downwards only; the layers are in pyproject.toml."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
LINT = Path(sys.executable).with_name("lint-imports")


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [LINT, "--no-logo", "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_subpackages_import_downwards_only():
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout


def test_an_import_upwards_is_found(tmp_path):
    """The check itself can fail: a package whose lower layer imports the higher one."""
    package = tmp_path / "layered"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "low.py").write_text("import layered.high\n")
    (package / "high.py").touch()
    (tmp_path / "pyproject.toml").write_text(
        '[tool.importlinter]\nroot_package = "layered"\n[[tool.importlinter.contracts]]\n'
        'name = "layers"\ntype = "layers"\nlayers = ["layered.high", "layered.low"]\n'
    )
    done = lint(tmp_path)
    assert done.returncode != 0 and "layered.low -> layered.high" in done.stdout
