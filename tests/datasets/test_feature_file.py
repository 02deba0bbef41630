"""Feature files: `.npz`, `.h5`, `.mat` as MATLAB saves it up to v7 and as v7.3, good and bad."""

import io
import re
import tracemalloc
import zipfile

import h5py
import numpy as np
import pytest
import scipy.io
import scipy.sparse

from xgacmn_tf.datasets import feature_file, load
from xgacmn_tf.errors import InputError
from xgacmn_tf.io import array_budget, hdf5_file

FORMATS = ("npz", "mat5", "mat73", "h5")


@pytest.fixture
def arrays():
    """Valid content: 6 and 3 pairs, 4 and 2 features, 3 classes."""
    generator = np.random.default_rng(0)
    return {
        "image_train": generator.normal(size=(6, 4)),
        "text_train": generator.normal(size=(6, 2)),
        "label_train": np.array([0, 1, 2, 0, 1, 2]),
        "image_test": generator.normal(size=(3, 4)),
        "text_test": generator.normal(size=(3, 2)),
        "label_test": np.array([2, 0, 1]),
    }


@pytest.fixture
def save(tmp_path):
    """Writes arrays in one of the formats, as a user of NumPy or MATLAB would."""

    def write(arrays, kind="npz"):
        path = tmp_path / f"mine.{kind[:3]}"
        if kind == "npz":
            np.savez(path, **arrays)
        elif kind == "h5":
            write_hdf5(path, arrays)
        elif kind == "mat5":
            scipy.io.savemat(path, {name: as_matlab(array) for name, array in arrays.items()})
        else:
            with matlab73(path) as file:
                for name, array in arrays.items():
                    write_matlab73(file, name, as_matlab(array))
        return path

    return write


def write_hdf5(path, arrays) -> None:
    """As a user of h5py would."""
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            strings = np.asarray(array).dtype.kind == "U"
            file[name] = np.asarray(array).astype(object) if strings else array


def as_matlab(array: np.ndarray) -> np.ndarray:
    """What a MATLAB user has: doubles, columns (n, 1), and cell arrays (n, 1) of strings."""
    array = np.asarray(array)
    if array.dtype.kind in "iu":
        array = array.astype(float)
    if array.dtype.kind == "U":
        array = array.astype(object)
    return array[:, None] if array.ndim == 1 else array


def matlab73(path) -> h5py.File:
    """A v7.3 file: HDF5 behind a user block of 512 bytes that starts with MATLAB's text."""
    h5py.File(path, "w", userblock_size=512).close()
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    return h5py.File(path, "r+")


def write_matlab73(file: h5py.File, name: str, array: np.ndarray) -> None:
    """MATLAB counts axes from the other end, so that (n, d) is stored as (d, n)."""
    if array.dtype == object:
        references = np.empty(array.T.shape, h5py.ref_dtype)
        for k, text in enumerate(array.ravel(order="F")):
            cell = write_characters(file, f"#refs#/{name}{k}", text)
            references.reshape(-1)[k] = cell.ref
        file.create_dataset(name, data=references, dtype=h5py.ref_dtype)
        file[name].attrs["MATLAB_class"] = np.bytes_("cell")
    else:
        file[name] = array.T
        kind = {"f": "double", "u": "uint8", "b": "logical"}[array.dtype.kind]
        file[name].attrs["MATLAB_class"] = np.bytes_(kind)


def write_characters(file: h5py.File, name: str, text: str) -> h5py.Dataset:
    codes = np.frombuffer(text.encode("utf-16-le"), "<u2")
    if len(codes):
        file[name] = codes[:, None]
    else:  # MATLAB stores an empty array as its size, (0, 0), and marks it
        file[name] = np.zeros(2, np.uint64)
        file[name].attrs["MATLAB_empty"] = np.uint8(1)
    file[name].attrs["MATLAB_class"] = np.bytes_("char")
    file[name].attrs["MATLAB_int_decode"] = np.int32(2)
    return file[name]


def refusal(path) -> str:
    with pytest.raises(InputError) as caught:
        feature_file.load(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_six_arrays_suffice(arrays, save, kind):
    dataset = feature_file.load(save(arrays, kind))
    assert dataset.name == "mine"
    assert dataset.validation is None
    assert dataset.label_names == ("0", "1", "2")
    assert dataset.train.id.tolist() == [f"train/{k}" for k in range(6)]
    assert dataset.test.id.tolist() == ["test/0", "test/1", "test/2"]
    for field in ("image", "text", "label"):
        for part, split in dataset.splits():
            expected = arrays[f"{field}_{part}"].astype(getattr(split, field).dtype)
            np.testing.assert_array_equal(getattr(split, field), expected)


@pytest.mark.parametrize("kind", FORMATS)
def test_everything_that_a_file_may_hold(arrays, save, kind):
    arrays |= {
        "image_validation": np.ones((2, 4)),
        "text_validation": np.ones((2, 2)),
        "label_validation": np.array([0, 1]),
        "id_train": np.array(list("abcdef")),
        "id_validation": np.array([70, 80]),
        "title_train": np.array(["café", "naïve 𝛼", "", "two words", "x", "東京"]),
        "title_test": np.array(["p", "q", "r"]),
        "label_names": np.array(["cat", "dog", "emu"]),
    }
    dataset = feature_file.load(save(arrays, kind))
    assert dataset.label_names == ("cat", "dog", "emu")
    assert dataset.train.id.tolist() == list("abcdef")
    assert dataset.validation.id.tolist() == ["70", "80"]
    assert dataset.train.title.tolist() == arrays["title_train"].tolist()
    assert dataset.test.title.tolist() == ["p", "q", "r"]
    assert dataset.validation.title is None
    assert dataset.validation.label.tolist() == [0, 1]


@pytest.mark.parametrize("kind", FORMATS)
def test_multi_hot_labels(arrays, save, kind):
    hot = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 1]], np.uint8)
    arrays |= {"label_train": np.concatenate([hot, hot]), "label_test": hot}
    dataset = feature_file.load(save(arrays, kind))
    assert dataset.label_names == ("0", "1", "2")
    np.testing.assert_array_equal(dataset.test.label, hot)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_same_content_is_the_same_data_in_any_format(arrays, save, kind):
    expected = feature_file.load(save(arrays, "npz")).fingerprint
    assert feature_file.load(save(arrays, kind)).fingerprint == expected


def test_rows_are_squeezed_but_one_multi_hot_row_is_not(arrays, save):
    arrays["label_train"] = arrays["label_train"][None, :]  # (1, n)
    assert feature_file.load(save(arrays)).train.label.tolist() == [0, 1, 2, 0, 1, 2]
    arrays |= {
        "label_train": np.eye(3)[[0, 1, 2, 0, 1, 2]],
        "image_test": np.ones((1, 4)),
        "text_test": np.ones((1, 2)),
        "label_test": np.array([[0, 1, 1]]),
    }
    np.testing.assert_array_equal(feature_file.load(save(arrays)).test.label, [[0, 1, 1]])


@pytest.mark.parametrize("kind", ["mat5", "mat73"])
def test_matlab_character_matrices(arrays, save, kind, tmp_path):
    """['cat'; 'zebra'; 'dog'] padded to the longest, as char() does."""
    path = save(arrays, kind)
    words = ["cat", "zebra", "dog"]
    if kind == "mat5":
        content = {name: as_matlab(array) for name, array in arrays.items()}
        scipy.io.savemat(path, {**content, "label_names": np.array(words)})
    else:
        with h5py.File(path, "r+") as file:
            codes = np.array([[ord(c) for c in word.ljust(5)] for word in words], np.uint16)
            file["label_names"] = codes.T
            file["label_names"].attrs["MATLAB_class"] = np.bytes_("char")
    assert feature_file.load(path).label_names == ("cat", "zebra", "dog")


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"texts_train": np.ones(3)}, "unknown arrays: texts_train; allowed are image_train, text"),
        ({"text_test": None}, "lacks text_test; it holds"),
        ({"image_validation": np.ones((2, 4))}, "lacks text_validation, label_validation"),
        ({"id_validation": np.array(["a", "b"])}, "lacks image_validation, text_validation, label"),
        ({"label_train": np.array([1, 2, 3] * 2), "label_test": np.array([1, 2, 3])},
         r"3 values \(1, 2, 3\); expected 0 to 2 without gaps, so subtract 1 from every"),
        ({"label_train": np.array([1, 2, 3] * 2), "label_test": np.array([1, 2, 3]),
          "label_names": np.array(["a", "b", "c"])}, "expected 0 to 2 .*subtract 1 from every"),
        ({"label_train": np.array([0, 5, 9] * 2), "label_test": np.array([0, 5, 9])},
         r"3 values \(0, 5, 9\); expected 0 to 2 without gaps, so renumber"),
        ({"label_train": np.array([0, 0.5, 1] * 2)}, r"4 values \(0, 0.5, 1, 2\)"),
        ({"label_train": np.array([0, 1, np.nan] * 2)},
         r"label_train: 2 of 6 pairs have no label \(NaN\), in rows 2, 5 counted from 0; remove"),
        ({"label_train": np.array([0, 1, np.nan] * 2), "label_names": np.array(list("abc"))},
         r"label_train: 2 of 6 pairs have no label \(NaN\)"),
        ({"label_test": np.array([[1, 0, 0], [0, 1, np.nan], [0, 0, 1]])},
         r"label_test: 1 of 3 pairs have no label \(NaN\), in row 1 "),
        ({"label_train": np.array(list("ababaa")), "label_test": np.array(["a", "", "b"])},
         "label_test has no label in row 1"),
        ({"label_train": np.array(list("abcabc"))}, "label_train holds strings, label_test has dt"),
        ({"label_train": np.array(list("abcabc")), "label_test": np.array(list("abc")),
          "label_names": np.array(["a", "b"])}, r"the label 'c' is not in label_names \(a, b\)"),
        ({"image_train": np.ones((4, 6))}, "image_train has 4 rows and 6 columns, and label_train "
         "has 6 labels, so rows and columns are swapped; save image_train.T, and likewise"),
        ({"image_test": np.ones((4, 3)), "text_test": np.ones((2, 3))},
         "image_test has 4 rows .* save image_test.T, text_test.T"),
        ({"image_test": np.ones((4, 3)), "text_test": np.ones((2, 3)),
          "label_test": np.ones((5, 3))}, "save image_test.T, text_test.T, label_test.T"),
        ({"label_names": np.array(["a", "b"])}, "label_train holds 2.* 2 label names"),
        ({"label_names": np.ones((3, 2))}, r"label_names has shape \(3, 2\)"),
        ({"label_names": np.arange(3) / 2}, "label_names has dtype float64"),
        ({"label_test": np.array([0, 1])}, "label_test has 2 rows, image_test has 3"),
        ({"text_test": np.full((3, 2), np.nan)},
         "text_test holds 6 values that are not finite .* drop these rows$"),
        ({"text_train": np.full((6, 2), np.nan)},
         "drop these rows, or set them to zero and has_text_train to false$"),
        ({"id_train": np.array(list("abcdea"))}, "id_train holds 'a' twice"),
        ({"id_train": np.arange(6) + 0.5}, "id_train has dtype float64"),
        ({"image_train": np.ones((6, 4)) * 1j}, r"image_train has dtype (complex128|\[)"),
    ],
)  # fmt: skip
def test_bad_content(arrays, save, kind, changes, message):
    if kind == "mat73" and np.iscomplexobj(changes.get("image_train")):
        changes = {"image_train": np.zeros((6, 4), [("real", float), ("imag", float)])}
        arrays |= changes
        path = save({k: v for k, v in arrays.items() if k != "image_train"}, kind)
        with h5py.File(path, "r+") as file:
            file["image_train"] = changes["image_train"].T
            file["image_train"].attrs["MATLAB_class"] = np.bytes_("double")
    elif kind == "h5" and np.iscomplexobj(changes.get("image_train")):
        pytest.skip("HDF5 has no complex numbers of its own")
    else:
        content = {k: v for k, v in (arrays | changes).items() if v is not None}
        path = save(content, kind)
    found = refusal(path)
    assert re.search(message, found), found
    assert "\n" not in found


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="mine.npz: there is no such file"):
        feature_file.load(tmp_path / "mine.npz")


@pytest.mark.parametrize("kind", FORMATS)
def test_labels_of_strings_are_classes_by_name_as_in_tables(arrays, save, kind):
    named = np.array(["cat", "emu", "dog"])
    names = {part: named[arrays[f"label_{part}"]] for part in ("train", "test")}
    arrays |= {f"label_{part}": values for part, values in names.items()}
    dataset = feature_file.load(save(arrays, kind))
    assert dataset.label_names == ("cat", "dog", "emu")
    assert dataset.train.label.tolist() == [0, 2, 1, 0, 2, 1]
    listed = feature_file.load(save({**arrays, "label_names": named}, kind))
    assert listed.label_names == ("cat", "emu", "dog")
    assert listed.train.label.tolist() == [0, 1, 2, 0, 1, 2]
    arrays["label_train"] = np.array(["cat|dog", "emu", "cat", "dog | emu", "cat", "dog"])
    several = feature_file.load(save(arrays, kind))
    assert several.train.label[[0, 3]].tolist() == [[1, 1, 0], [0, 1, 1]]
    assert several.test.label.sum(axis=1).tolist() == [1, 1, 1]


@pytest.mark.parametrize("kind", FORMATS)
def test_arrays_of_other_names_are_read_by_columns(arrays, save, kind):
    expected = feature_file.load(save(arrays, "npz")).fingerprint
    names = {name: f"{name[0].upper()}_{name.split('_')[1][:2]}" for name in arrays}
    other = {names[name]: array for name, array in arrays.items()} | {"notes": np.ones((2, 9))}
    path = save(other, kind)
    columns = [f"{name}={in_file}" for name, in_file in names.items()]
    for given in (columns, names):
        assert feature_file.load(path, given).fingerprint == expected
    assert load(path.name, str(path.parent), columns=columns).fingerprint == expected
    assert re.search(
        r"lacks image_train, .*; it holds I_te \(3 × 4\), I_tr \(6 × 4\), .*notes \(2 × 9\); "
        "name them with --columns=image_train=NAME_IN_THE_FILE",
        refusal(path),
    )
    with pytest.raises(InputError, match="mine.* lacks label_test; it holds I_te"):
        feature_file.load(path, columns[:-1])
    with pytest.raises(InputError, match=r"mine.* holds no I_x, .*; it holds I_te \(3 × 4\)"):
        feature_file.load(path, {"image_train": "I_x"})


def test_columns_that_are_no_pairs_of_names(arrays, save):
    path = str(save(arrays))
    for columns in (["image_train"], ["x=y"], {"x": "y"}, ["image_train="]):
        with pytest.raises(InputError, match=r"--columns=\w+=\w*: expected NAME=NAME_IN_THE_FILE"):
            load(path, columns=columns)
    with pytest.raises(InputError, match="--columns names image_train twice: a and b"):
        load(path, columns=["image_train=a", "image_train=b"])
    with pytest.raises(InputError, match="--columns .* and 'openclipart' is neither"):
        load("openclipart", columns=["image_train=a"])


def test_arrays_that_are_not_named_are_not_read(arrays, save):
    arrays["misc"] = np.array([{"a": 1}], dtype=object)
    path = save(arrays)
    assert "unknown arrays: misc" in refusal(path)
    expected = feature_file.load(save({k: v for k, v in arrays.items() if k != "misc"}))
    path = save(arrays)
    columns = {"image_train": "image_train"}
    assert feature_file.load(path, columns).fingerprint == expected.fingerprint


def test_arrays_of_objects_come_with_what_to_save(arrays, save):
    content = {**arrays, "text_train": arrays["text_train"].astype(object)}
    found = refusal(save(content))
    assert "never unpickled; save text_train.astype(np.float32)" in found
    content = {**arrays, "label_train": arrays["label_train"].astype(object)}
    found = refusal(save(content))
    assert "label_train.astype(np.float32) where its values are numbers" in found
    assert "np.array(label_train, dtype=str) where they are strings" in found


def test_hdf5_groups_and_matlab_arrays_under_its_suffixes(arrays, tmp_path):
    expected = None
    for name in ("mine.h5", "mine.hdf5", "mine.h5py"):
        path = tmp_path / name
        write_hdf5(path, {f"{n.split('_')[1]}/{n.split('_')[0]}": a for n, a in arrays.items()})
        columns = {n: "/".join(reversed(n.split("_"))) for n in arrays}
        fingerprint = load(str(path), columns=columns).fingerprint
        assert expected in (None, fingerprint)
        expected = fingerprint
    with matlab73(tmp_path / "matlab.mat") as file:
        for name, array in arrays.items():
            write_matlab73(file, name, as_matlab(array))
    (tmp_path / "matlab.mat").rename(tmp_path / "matlab.h5")
    assert load(str(tmp_path / "matlab.h5")).fingerprint == expected


@pytest.mark.parametrize("kind", ["mat73", "h5"])
def test_hdf5_values_that_were_never_written(arrays, save, kind, monkeypatch):
    path = save(arrays, kind)
    with h5py.File(path, "r+") as file:
        attributes = dict(file["text_test"].attrs)
        shape = file["text_test"].shape
        del file["text_test"]
        file.create_dataset("text_test", shape, "f8", chunks=(2, 2))
        file["text_test"].attrs.update(attributes)
    assert not feature_file.load(path).test.text.any()
    monkeypatch.setattr(hdf5_file, "_UNWRITTEN_BYTES", 47)
    assert "text_test declares 48 bytes but 0 are stored" in refusal(path)


def test_hdf5_strings_are_bounded(arrays, save, monkeypatch):
    """A few bytes refer a thousand times to one long string."""
    path = save(arrays, "h5")
    with h5py.File(path, "r+") as file:
        file.create_dataset("id_train", data=np.array(["x" * 10_000] * 6, dtype=object))
    monkeypatch.setattr(array_budget, "MAX_BYTES", 59_000)
    assert "may take 59000 bytes together" in refusal(path)


@pytest.mark.parametrize("suffix", ["npz", "mat", "h5", "hdf5"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"text " * 100])
def test_files_that_are_something_else(tmp_path, suffix, content):
    path = tmp_path / f"mine.{suffix}"
    path.write_bytes(content)
    assert f"damaged, or not a .{suffix} file" in refusal(path)


@pytest.mark.parametrize("kind", FORMATS)
def test_truncated_files(arrays, save, kind):
    path = save(arrays, kind)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    assert "damaged" in refusal(path)


def test_pickles_are_refused_and_never_run(arrays, save, tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    path = save({**arrays, "id_train": np.array([Trap()] * 6, dtype=object)})
    assert "id_train holds Python objects, which are never unpickled" in refusal(path)
    assert not (tmp_path / "sprung").exists()


def npy(shape: tuple, payload: bytes) -> bytes:
    stream = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_2_0(stream, header)
    return stream.getvalue() + payload


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((10**12, 4), "declares shape .* 32000000000000 bytes"),
        ((2**33, 2**33), "declares shape"),  # a product that wraps around in 64 bits
        ((-6, -4), "declares shape"),
        ((7, 4), "declares 224 bytes but 192 are stored"),
        ((5, 4), "declares 160 bytes but 192 are stored"),
    ],
)
def test_npz_headers_that_lie_about_the_size(arrays, save, shape, message):
    content = {name: array for name, array in arrays.items() if name != "image_train"}
    path = save(content)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("image_train.npy", npy(shape, bytes(6 * 4 * 8)))
    tracemalloc.start()
    found = refusal(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert re.search(f"image_train {message}", found), found
    assert peak < 10 * 2**20


@pytest.mark.parametrize("kind", FORMATS)
def test_the_limit_is_on_all_arrays_together(arrays, save, kind, monkeypatch):
    # Numbers alone: (6·4 + 6·2 + 6 + 3·4 + 3·2 + 3) · 8 = 504 bytes.
    path = save(arrays, kind)
    monkeypatch.setattr(array_budget, "MAX_BYTES", 504)
    feature_file.load(path)
    monkeypatch.setattr(array_budget, "MAX_BYTES", 503)
    assert "may take 503 bytes together" in refusal(path)


def test_an_array_twice_in_an_npz(arrays, save):
    path = save(arrays)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("label_test.npy", npy((3,), bytes(24)))
    assert "two arrays have the same name" in refusal(path)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (scipy.sparse.eye(6, 2, format="csc"), "text_train is sparse; save text_train = full("),
        ({"a": 1.0}, "text_train is a MATLAB struct"),
        (np.array([[1.0], [2.0]], dtype=object), "cell 0 of text_train is not a row of characters"),
        (np.array([["a"], [np.array(["b", "c"])]], dtype=object), "cell 1 of text_train is not"),
    ],
)
def test_matlab_types_without_a_meaning_here(arrays, tmp_path, value, message):
    path = tmp_path / "mine.mat"
    scipy.io.savemat(path, {**arrays, "text_train": value})
    assert message in refusal(path)


@pytest.mark.parametrize("kind", ["string", "opaque", "struct", "sparse"])
def test_matlab73_types_without_a_meaning_here(arrays, save, kind):
    path = save(arrays, "mat73")
    with h5py.File(path, "r+") as file:
        del file["text_train"]
        if kind == "sparse":
            file.create_group("text_train").attrs["MATLAB_sparse"] = np.uint64(6)
            kind = "double"
        elif kind == "struct":
            file.create_group("text_train")
        else:
            file["text_train"] = np.ones((1, 6), np.uint32)
        file["text_train"].attrs["MATLAB_class"] = np.bytes_(kind)
    assert re.search("text_train is (sparse|a MATLAB struct|an array of string obj)", refusal(path))


def test_matlab73_cells_of_numbers(arrays, save):
    path = save(arrays, "mat73")
    with h5py.File(path, "r+") as file:
        file["#refs#/n"] = np.ones((1, 1))
        file["#refs#/n"].attrs["MATLAB_class"] = np.bytes_("double")
        file.create_dataset("id_test", data=np.array([[file["#refs#/n"].ref]], h5py.ref_dtype))
        file["id_test"].attrs["MATLAB_class"] = np.bytes_("cell")
    assert "cell 0 of id_test is not a row of characters" in refusal(path)


def test_hdf5_without_matlab_marks_has_no_known_axis_order(arrays, save):
    path = save(arrays, "mat73")
    with h5py.File(path, "r+") as file:
        del file["text_test"].attrs["MATLAB_class"]
    assert "text_test has no MATLAB_class" in refusal(path)


def test_hdf5_files_reach_no_other_file(arrays, save, tmp_path):
    """Links and external storage name any path of the machine that reads them."""
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(48))
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["x"] = np.ones((2, 3))

    def link(file):
        file["text_test"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "x")

    def soft(file):
        file["text_test"] = h5py.SoftLink("/image_test")

    def external(file):
        file.create_dataset("text_test", (2, 3), "f8", external=[(str(secret), 0, 48)])
        file["text_test"].attrs["MATLAB_class"] = np.bytes_("double")

    def virtual(file):
        layout = h5py.VirtualLayout((2, 3), "f8")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", (2, 3))
        file.create_virtual_dataset("text_test", layout)
        file["text_test"].attrs["MATLAB_class"] = np.bytes_("double")

    link_message, storage_message = "text_test is a link", "text_test stores its values in other"
    for plant, message in (
        (link, link_message),
        (soft, link_message),
        (external, storage_message),
        (virtual, storage_message),
    ):
        path = save(arrays, "mat73")
        with h5py.File(path, "r+") as file:
            del file["text_test"]
            plant(file)
        assert message in refusal(path)


def test_hdf5_declared_sizes_are_bounded(arrays, save):
    path = save(arrays, "mat73")
    with h5py.File(path, "r+") as file:
        del file["text_test"]
        # Chunked and never written: a few bytes in the file, 8 TB when read.
        file.create_dataset("text_test", (10**6, 10**6), "f8", chunks=(100, 100))
        file["text_test"].attrs["MATLAB_class"] = np.bytes_("double")
    assert "text_test declares shape (1000000, 1000000)" in refusal(path)
