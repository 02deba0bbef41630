"""`load`: which name leads where, and what it says about names that lead nowhere."""

import subprocess
import sys

import numpy as np
import pytest

from xgacmn_tf.datasets import load, wikipedia
from xgacmn_tf.errors import InputError


@pytest.fixture
def features(tmp_path):
    np.savez(
        tmp_path / "mine.npz",
        image_train=np.ones((4, 3)), text_train=np.ones((4, 2)), label_train=[0, 1, 0, 1],
        image_test=np.ones((2, 3)), text_test=np.ones((2, 2)), label_test=[1, 0],
    )  # fmt: skip
    return tmp_path / "mine.npz"


def test_a_path_is_read_as_it_stands_or_from_data_dir(features, monkeypatch):
    expected = load(str(features)).fingerprint
    assert load("mine.npz", data_dir=str(features.parent)).fingerprint == expected
    assert load(str(features), data_dir="/nowhere").fingerprint == expected  # absolute paths win
    monkeypatch.chdir(features.parent)
    assert load("mine.npz").fingerprint == expected


def test_wikipedias_default_protocol_is_the_shipped_split(monkeypatch):
    calls = []
    monkeypatch.setattr(wikipedia, "load", lambda *arguments: calls.append(arguments))
    load("wikipedia", "folder")
    load("wikipedia", "folder", protocol="1300", seed=7)
    assert calls == [("folder", "2173", 0), ("folder", "1300", 7)]


def test_unknown_protocols(features):
    with pytest.raises(InputError, match="'5000' for data set 'wikipedia'; .* one of 2173, 1300"):
        load("wikipedia", "folder", protocol="5000")
    for name in ("openclipart", str(features), "mnist"):
        with pytest.raises(InputError, match="allowed is none, as it has no protocols"):
            load(name, protocol="2173")


def test_openclipart_reads_no_data_dir():
    with pytest.raises(InputError, match="'openclipart' comes with the package"):
        load("openclipart", data_dir="folder")


@pytest.mark.parametrize("name", ["", "data.csv", "Wiki pedia", "../up", "a/b/c.txt", "hf:thing"])
def test_names_that_lead_nowhere_list_what_is_allowed(name):
    with pytest.raises(InputError, match=r"openclipart, wikipedia\), a path .*\.npz.*TFDS name"):
        load(name)


def test_reading_a_file_loads_neither_tensorflow_nor_tfds(features):
    """The readers of other data sets cost seconds to import."""
    code = (
        f"import sys; from xgacmn_tf.datasets import load; load({str(features)!r});"
        "print({'tensorflow', 'tensorflow_datasets', 'keras'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
