"""Flag files: found by path or by name from any folder, one inside of another."""

import os
import re
from pathlib import Path

import pytest

from xgacmn_tf.errors import InputError
from xgacmn_tf.settings import flag_files

FLAGS = Path(__file__).parents[2] / "flags"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["{}", "{}.flags", "flags/{}", "flags/{}.flags"])
def test_those_of_the_package_are_found_from_any_folder(name, parse):
    config = parse(f"--flagfile={name.format('wikipedia_shallow_1300')}")
    assert (config.data.dataset, config.data.protocol, config.training.epochs) == (
        "wikipedia",
        "1300",
        24,
    )


def test_all_of_them_are_listed():
    assert flag_files.names() == sorted(path.stem for path in FLAGS.glob("*.flags"))


def test_one_names_another(parse):
    config = parse("--flagfile=ablation_without_l2")
    assert (config.data.protocol, config.model.lambda_1) == ("2173", 0)


def test_a_path_goes_before_the_package(elsewhere, parse):
    (elsewhere / "openclipart").mkdir()  # A folder is none.
    assert parse("--flagfile=openclipart").data.dataset == "openclipart"
    (elsewhere / "flags").mkdir()
    (elsewhere / "flags" / "openclipart.flags").write_text("--dataset=mine.npz\n")
    assert parse("--flagfile=flags/openclipart.flags").data.dataset == "mine.npz"
    assert parse("--flagfile=openclipart").data.dataset == "openclipart"


def test_a_file_means_the_one_beside_it(elsewhere):
    folder = elsewhere / "settings"
    folder.mkdir()
    (folder / "own.flags").write_text(
        "# A comment.\n\n// Another.\n--flagfile=common.flags\n"
        "  --epochs=3 \n--flagfile=flags/openclipart.flags\n"
    )
    (folder / "common.flags").write_text("--seed=1\n")
    (elsewhere / "common.flags").write_text("--seed=2\n")
    given = ["--margin=4", "--flagfile", "settings/own.flags", "--seed=3"]
    expected = ["--margin=4", "--seed=1", "--epochs=3", "--dataset=openclipart", "--seed=3"]
    assert flag_files.expand(given) == expected
    (folder / "common.flags").unlink()
    assert "--seed=2" in flag_files.expand(given)


def test_other_arguments_stay_as_they_are():
    arguments = ["--epochs=3", "word", "", "--flagfiles=x", "--", "--flagfile=missing"]
    assert flag_files.expand(arguments) == arguments


def test_a_pipe_is_read():
    reader, writer = os.pipe()
    os.write(writer, b"--epochs=3\n")
    os.close(writer)
    assert flag_files.expand([f"--flagfile=/dev/fd/{reader}"]) == ["--epochs=3"]
    os.close(reader)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--flagfile=wikipedia"], "--flagfile=wikipedia: there is no such file.*openclipart, "),
        (["--flagfile=other/openclipart.flags"], "there is no such file"),
        (["--flagfile="], "there is no such file"),
        (["--flagfile=~nobody/\0" + 5000 * "x"], "there is no such file"),
        (["--epochs=3", "--flagfile"], "--flagfile: the name of a file is missing"),
        (["--flagfile=circle.flags"], "circle.flags: this file names itself, by way of"),
        (["--flagfile=binary.flags"], "binary.flags cannot be read"),
    ],
)
def test_mistakes(arguments, message, elsewhere):
    (elsewhere / "circle.flags").write_text("--flagfile=round.flags\n")
    (elsewhere / "round.flags").write_text("--flagfile=./circle.flags\n")
    (elsewhere / "binary.flags").write_bytes(b"--epochs=\xff\n")
    with pytest.raises(InputError, match=re.compile(message, re.DOTALL)):
        flag_files.expand(arguments)


def test_the_command_reads_them_from_any_folder(call_main):
    done = call_main("--flagfile=wikipedia_shallow_2173")
    # As far as the data set's own complaint.
    assert done.returncode == 2
    assert "data_dir" in done.stderr and "flagfile" not in done.stderr
