"""Files that are right in an unusual way, and wrong in a way that damage seldom hits."""

import json
import re
import struct

import h5py
import numpy as np
import pytest
import scipy.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.readers import READERS, arrays, level_5, matlab_element
from xgacmn_tf import datasets
from xgacmn_tf.errors import InputError
from xgacmn_tf.experiment import run
from xgacmn_tf.io import array_files
from xgacmn_tf.runs.folder import RunFolder
from xgacmn_tf.settings.config import Config


def write_npz(path, order, found):
    np.savez(path, label_names=np.array(["a", "b", "ß"]).astype(f"{order}U1"), **found)


def write_matlab(path, order, found):
    content = [level_5(order)]
    for name, values in found.items():
        shape = values.reshape(len(values), -1).shape
        parts = (
            (6, struct.pack(f"{order}II", 6, 0)),
            (5, struct.pack(f"{order}ii", *shape)),
            (1, name.encode()),
            ({"f": 7, "i": 12}[values.dtype.kind], values.tobytes(order="F")),
        )
        matrix = b"".join(matlab_element(kind, part, order) for kind, part in parts)
        content.append(matlab_element(14, matrix, order))
    path.write_bytes(b"".join(content))


def write_hdf5(path, order, found):
    with h5py.File(path, "w") as file:
        for name, values in found.items():
            file.create_dataset(name, data=values.T, dtype=values.dtype)
            file[name].attrs["MATLAB_class"] = np.bytes_("double")


@pytest.mark.parametrize(
    ("suffix", "write"), [("npz", write_npz), ("mat", write_matlab), ("mat", write_hdf5)]
)
def test_either_byte_order_is_read_alike(suffix, write, tmp_path):
    """Some machines put the largest byte first."""
    made = {name: values for name, values in arrays().items() if values.dtype.kind in "fi"}
    read = {}
    for order in "<>":
        path = tmp_path / f"pairs.{suffix}"
        write(path, order, {k: v.astype(v.dtype.newbyteorder(order)) for k, v in made.items()})
        read[order] = datasets.load(str(path))
    train = read[">"].train
    assert read["<"].fingerprint == read[">"].fingerprint
    assert train.image.dtype == np.float32 and train.image.dtype.isnative
    np.testing.assert_array_equal(train.image, made["image_train"])
    assert train.label.tolist() == made["label_train"].tolist()


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.one_of(
        st.lists(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=5)),
        st.tuples(
            st.sampled_from(["f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "c16"]),
            st.lists(st.integers(0, 4), min_size=2, max_size=3),
        ),
    ),
    packed=st.booleans(),
)
def test_matlab_files_are_read_as_scipy_reads_them(tmp_path, values, packed):
    if isinstance(values, tuple):
        dtype, shape = values
        made = np.arange(np.prod(shape, dtype=int)).astype(dtype).reshape(shape)
    else:
        made = np.empty((len(values), 1), object)
        made[:, 0] = values
    scipy.io.savemat(tmp_path / "a.mat", {"a": made}, do_compression=packed)
    ours = array_files.read(tmp_path / "a.mat")["a"]
    theirs = scipy.io.loadmat(tmp_path / "a.mat")["a"]
    if theirs.dtype.hasobject:
        assert ours.tolist() == [str(cell[0]) if cell.size else "" for cell in theirs.ravel()]
    else:
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype


@pytest.mark.parametrize("kind", ["config.json", "metrics.json", "vocabulary", "extractor"])
@pytest.mark.parametrize("content", [b"[" * 100_000, b"null", b"[[1]]", b"{}", b"\xff"])
def test_json_of_another_kind_is_refused(kind, content, tmp_path, tried):
    name, write, read = READERS[kind]
    write(tmp_path / name)
    (tmp_path / name).write_bytes(content)
    tried["JSON"] += 1
    if (kind, content) == ("metrics.json", b"{}"):  # Who needs something of it says so.
        return
    with pytest.raises(InputError, match=re.escape(str(tmp_path))):
        read(tmp_path / name)


def test_results_that_lack_something_are_named(feature_file, small_networks, tmp_path):
    config = Config.of(dataset=str(feature_file), output_dir=str(tmp_path), **small_networks)
    folder = RunFolder(tmp_path)
    folder.claim(config, datasets.for_config(config).fingerprint)
    folder.metrics.write_text(json.dumps({"headline_similarity": "cosine", "test": {"cosine": {}}}))
    with pytest.raises(InputError, match=r"metrics\.json lacks results .*delete it"):
        run(config)


def test_a_flag_file_that_is_no_text_is_one_line(call_main, tmp_path):
    (tmp_path / "a.flags").write_bytes(b"--epochs=\xff\xfe")
    done = call_main(f"--flagfile={tmp_path / 'a.flags'}")
    assert done.returncode == 2
    assert done.stderr.startswith("error: --flagfile="), done.stderr
    assert "expected a file of UTF-8 text" in done.stderr
