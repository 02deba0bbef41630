"""Text matrices that are read in blocks of lines."""

import tracemalloc

import numpy as np
import pytest

from xgacmn_tf.datasets.nuswide import matrix_files
from xgacmn_tf.datasets.nuswide.matrix_files import Part, gather
from xgacmn_tf.errors import InputError


def read(path, rows, columns, wanted=None, binary=True, dtype=np.float32):
    wanted = np.arange(rows) if wanted is None else np.asarray(wanted)
    out = np.full((len(wanted), columns), 9, dtype)
    gather([Part(path, np.arange(rows))], wanted, out, binary)
    return out


@pytest.mark.parametrize("block", [1, 2, 3, 7, 11, 64, 4096])
def test_every_block_size_reads_the_same(tmp_path, monkeypatch, block):
    monkeypatch.setattr(matrix_files, "LINES", block)
    path = tmp_path / "matrix.txt"
    path.write_bytes(b"0\t1\t1\t\n1\t0\t0\t\n0\t0\t1\t\n1\t1\t1\t\n")
    expected = [[0, 1, 1], [1, 0, 0], [0, 0, 1], [1, 1, 1]]
    assert read(path, 4, 3).tolist() == expected
    assert read(path, 4, 3, dtype=np.uint8).tolist() == expected


@pytest.mark.parametrize(
    "content",
    [
        b"0\t1\t\n1\t1\t\n",  # as the tags have it
        b"0\t1\n1\t1\n",  # no trailing tab
        b"0 1 \n1 1 \n",  # spaces
        b"0\t1\t\r\n1\t1\t\r\n",  # from Windows
        b"0\t1\n1\t1",  # no line feed at the end
        b"0\t1\n1\t1\n\n \r\n\n",  # blank lines at the end
        b"  0   1\n1 \t 1\n",
    ],
)
def test_separators_and_line_ends(tmp_path, content):
    path = tmp_path / "matrix.txt"
    path.write_bytes(content)
    for binary in (True, False):
        assert read(path, 2, 2, binary=binary).tolist() == [[0, 1], [1, 1]]


def test_decimals(tmp_path):
    path = tmp_path / "matrix.dat"
    path.write_bytes(b"0.5 -1 2e-3 \n+7. .25 1E2 \n0 0 0 \n")
    expected = np.array([[0.5, -1, 0.002], [7, 0.25, 100], [0, 0, 0]], np.float32)
    np.testing.assert_array_equal(read(path, 3, 3, binary=False), expected)
    np.testing.assert_array_equal(read(path, 3, 3, [2, 0], binary=False), expected[[2, 0]])


def test_rows_are_put_where_they_are_wanted(tmp_path, monkeypatch):
    """Against a plain reading, from two files whose lines are in no order."""
    monkeypatch.setattr(matrix_files, "LINES", 7)
    generator = np.random.default_rng(0)
    matrix = generator.integers(0, 2, (60, 8))
    order = generator.permutation(60)
    parts = []
    for name, rows in (("a", order[:37]), ("b", order[37:])):
        np.savetxt(tmp_path / name, matrix[rows], "%d", delimiter="\t")
        parts.append(Part(tmp_path / name, rows))
    wanted = generator.permutation(60)[:23]
    for binary in (True, False):
        out = np.full((23, 8), 9, np.float32)
        gather(parts, wanted, out, binary)
        np.testing.assert_array_equal(out, matrix[wanted])


@pytest.mark.parametrize(
    ("line", "binary", "message"),
    [
        (b"0\t1", True, "line 1,003: found 2 values.*; expected 3"),
        (b"0\t1\t1\t0", True, "line 1,003: found 4 values.*; expected 3"),
        (b"0", False, "line 1,003: found 1 values.*; expected 3"),
        (b"", True, "line 1,003: found 0 values.*; expected 3"),
        (b"0\t2\t1", True, "line 1,003: found 3 values, b'2' among them; expected 3, each 0 or 1"),
        (b"0\t1\t-1130179", True, "line 1,003: found 3 values, .*; expected 3, each 0 or 1"),
        (
            b"0\t11\t1",
            True,
            "line 1,003: found 3 values, b'11' among them; expected 3, each 0 or 1",
        ),
        (b"\xe9\t1\t1", True, "line 1,003: found 3 values, .*; expected 3, each 0 or 1"),
        (b"0\t\x00\t1", True, "line 1,003: found 3 values, .*; expected 3, each 0 or 1"),
        (b"0\t1.0\t1", True, "line 1,003: found 3 values, .*; expected 3, each 0 or 1"),
        (
            b"0 x 1",
            False,
            "line 1,003: found 3 values, b'x' among them; expected 3, finite numbers",
        ),
        (b"0 1 nan", False, "line 1,003: found 3 values, .*; expected 3, finite numbers"),
        (b"0 1 1e99", False, "line 1,003: found 3 values, .*; expected 3, finite numbers"),
        (b"0 1-2 1", False, "line 1,003: found 3 values, .*; expected 3, finite numbers"),
        (b"0 1_0 1", False, "line 1,003: found 3 values, .*; expected 3, finite numbers"),
        (b"0 \xff 1", False, "line 1,003: found 3 values, .*; expected 3, finite numbers"),
        (b"0,1,1", False, "line 1,003: found 1 values.*; expected 3"),
    ],
)
@pytest.mark.parametrize("block", [64, 4096])
def test_faults_are_named_by_line(tmp_path, monkeypatch, line, binary, message, block):
    monkeypatch.setattr(matrix_files, "LINES", block)
    path = tmp_path / "matrix.txt"
    path.write_bytes(b"0\t1\t1\n" * 1002 + line + b"\n" + b"0\t1\t1\n" * 17)
    with pytest.raises(InputError, match=f"{path}, {message}"):
        read(path, 1020, 3, binary=binary)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"0\t11\t", "line 1: found 2 values"),
        (b"0x1\t1", "line 1: found 2 values"),
        (b"0\t.\t1", "line 1: found 3 values"),
        (b"0\t1\x0b1", "line 1: found 3 values"),
    ],
)
def test_faults_that_every_line_has(tmp_path, line, message):
    path = tmp_path / "matrix.txt"
    path.write_bytes((line + b"\n") * 5)
    with pytest.raises(InputError, match=message):
        read(path, 5, 3)


def test_lines_that_are_alike_but_for_one(tmp_path):
    """As long as the others, with its tabs elsewhere: read all the same."""
    path = tmp_path / "matrix.txt"
    path.write_bytes(b"0\t1\t \t\n" * 3 + b"\t1\t\t\t0\n"[-7:] + b"1\t \t1\t\n")
    assert read(path, 5, 2).tolist() == [[0, 1]] * 3 + [[1, 0], [1, 1]]


def test_lines_of_rows_that_are_not_wanted_are_checked(tmp_path):
    path = tmp_path / "matrix.txt"
    for line, binary in ((b"0\t1", True), (b"0\t1", False), (b"0\tx\t1", True)):
        path.write_bytes(b"0\t1\t1\n" + line + b"\n")
        with pytest.raises(InputError, match="line 2"):
            read(path, 2, 3, [0], binary)
    path.write_bytes(b"0\t1\t1\n0\t11\t1\n")
    with pytest.raises(InputError, match="line 2: found 3 values"):
        read(path, 2, 3, [0])


def test_wrong_numbers_of_lines(tmp_path):
    path = tmp_path / "matrix.txt"
    path.write_bytes(b"0\t1\n" * 5)
    with pytest.raises(InputError, match=f"{path} ends after line 5, expected 6 lines"):
        read(path, 6, 2)
    with pytest.raises(InputError, match=f"{path} has more than 4 lines"):
        read(path, 4, 2)
    path.write_bytes(b"")
    with pytest.raises(InputError, match=f"{path} ends after line 0, expected 6 lines"):
        read(path, 6, 2)


def test_a_file_without_lines_does_not_fill_the_memory(tmp_path, monkeypatch):
    path = tmp_path / "matrix.txt"
    path.write_bytes(b"1\t0\n" * 3 + b"\0" * 100_000)
    with pytest.raises(InputError, match="line 4: found 1 values"):
        read(path, 4, 2)


def test_memory_is_that_of_a_few_blocks(tmp_path, monkeypatch):
    """10 MB are read with less than a tenth of it beside the rows that are asked for."""
    monkeypatch.setattr(matrix_files, "LINES", 32)
    path = tmp_path / "matrix.txt"
    path.write_bytes((b"0\t1\t" * 500 + b"\n") * 5000)
    rows, wanted, out = np.arange(5000), np.array([7, 4999]), np.empty((2, 1000), np.uint8)
    tracemalloc.start()
    gather([Part(path, rows)], wanted, out, binary=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < path.stat().st_size / 10
    assert out.sum() == 1000


@pytest.mark.parametrize("block", [300, 2**17])
def test_the_known_error_of_the_distribution(tmp_path, monkeypatch, block):
    """Line 78372 of the real file is -1130179; there, and only there, it is read as 0."""
    monkeypatch.setattr(matrix_files, "LINES", block)
    labels = np.arange(161_789) % 20 == 0
    lines = np.where(labels, b"1", b"0").tolist()
    lines[78_371] = b"-1130179"
    path = tmp_path / "Labels_lake_Train.txt"
    path.write_bytes(b"\n".join(lines) + b"\n")
    assert read(path, 161_789, 1)[:, 0].tolist() == labels.tolist()  # 78371 is no multiple of 20

    other = tmp_path / "Labels_sky_Train.txt"
    path.rename(other)
    with pytest.raises(InputError, match="line 78,372: found 1 values, b'-1130179' among them"):
        read(other, 161_789, 1)
    other.rename(path)
    lines[78_371], lines[78_372] = b"0", b"-1130179"
    path.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(InputError, match="line 78,373: found 1 values, b'-1130179' among them"):
        read(path, 161_789, 1)
