"""What `pip install` gets: the wheel works without the checkout, the sdist is the whole project."""

import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from xgacmn_tf.datasets.catalog import BUNDLED

ROOT = Path(__file__).parent.parent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (ROOT / ".git").exists(), reason="git says what belongs here"),
]


def run(*command, cwd):
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=600, cwd=cwd
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    """The source distribution, unpacked; made from a copy, so that nothing is left in the tree."""
    tree, made = (tmp_path_factory.mktemp(name) for name in ("tree", "sdist"))
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_bytes((ROOT / name).read_bytes())
    code = f"from setuptools import build_meta; build_meta.build_sdist({str(made)!r})"
    run(sys.executable, "-c", code, cwd=tree)
    (archive,) = made.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        file.extractall(made, filter="data")
    return next(path for path in made.iterdir() if path.is_dir()), tree


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    # Without isolation, so that nothing is downloaded.
    options = ("--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir")
    run(sys.executable, "-m", "pip", "wheel", *options, folder, sdist[0], cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """An interpreter that has the wheel, and what the wheel needs from this environment."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    found = folder / "bin" / "python"
    site = run(found, "-c", "import site; print(site.getsitepackages()[0])", cwd=folder).strip()
    # Behind the environment's own, and without the lines that put a checkout on the path.
    (Path(site) / "dependencies.pth").write_text(f"{Path(pytest.__file__).parent.parent}\n")
    run(
        sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index",
        "--target", site, wheel, cwd=folder,
    )  # fmt: skip
    where = run(found, "-c", "import xgacmn_tf; print(xgacmn_tf.__file__)", cwd=folder)
    assert where.startswith(site)
    return found


def test_the_sdist_is_the_whole_project(sdist):
    unpacked, tree = sdist
    missing = {
        str(path.relative_to(tree))
        for path in tree.rglob("*")
        if path.is_file() and not (unpacked / path.relative_to(tree)).exists()
    }
    assert {name for name in missing if ".egg-info" not in name} == {".gitignore"}


def test_the_wheel_holds_what_the_package_reads(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    listed = run("git", "ls-files", "xgacmn_tf", "flags", cwd=ROOT).splitlines()
    expected = {name if name.startswith("xgacmn_tf") else f"xgacmn_tf/{name}" for name in listed}
    assert {"xgacmn_tf/py.typed", "xgacmn_tf/flags/openclipart.flags"} <= expected
    # Small stand-ins of the data sets are for tests.
    assert {name for name in expected if "/dummy_data/" not in name} <= names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"xgacmn_tf"}


def test_the_bundled_data_are_small(wheel):
    with zipfile.ZipFile(wheel) as archive:
        sizes = {
            name: sum(
                info.file_size
                for info in archive.infolist()
                if info.filename.startswith(f"xgacmn_tf/datasets/{name}/data/")
            )
            for name in BUNDLED
        }
    assert all(size > 1e6 for size in sizes.values())
    assert sum(sizes.values()) < 25e6


def test_it_runs_far_from_the_checkout(python, tmp_path):
    def module(name, *arguments):
        return run(python, "-m", name, *arguments, cwd=tmp_path)

    assert "--flagfile=wikipedia_shallow_2173" in module("xgacmn_tf.main", "--help")
    for name in BUNDLED:
        code = f"from xgacmn_tf import datasets; print(len(datasets.load({name!r}).train))"
        assert int(run(python, "-c", code, cwd=tmp_path)) > 1000
    # Typed words need no network then.
    words = ("--flagfile=openclipart", "--text_features=bow")
    output = module("xgacmn_tf.main", *words, "--epochs=2", "--output_dir=run")
    assert "results page: run/results.html" in output
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["git_commit"] is None
    assert metrics["test"]["posterior"]["mAP"]["avg"] > metrics["chance"]["mAP"]["avg"] + 0.1
    assert "apple" in module("xgacmn_tf", "search", "--run=run", "a red apple")
    assert (tmp_path / "run" / "search.html").exists()
    for command in ("serve", "gallery", "features", "compare", "reproduce"):
        assert "\n  --" in module("xgacmn_tf", command, "--help")
