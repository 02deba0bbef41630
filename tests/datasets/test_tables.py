"""Tables in files: CSV, TSV, JSON Lines and Parquet."""

import sys

import pytest

from tests.datasets.table_files import FORMATS, write_parquet
from xgacmn_tf.datasets import table_formats
from xgacmn_tf.datasets.tables import read_table
from xgacmn_tf.errors import InputError
from xgacmn_tf.io import array_budget

NAMES = ("image", "text", "label", "id")
ROWS = [
    {"filename": "p/1.jpg", "description": "Käse, „alt“", "category": "food", "price": 3},
    {"filename": "p/2.jpg", "description": None, "category": "toys", "price": 4},
    {"filename": None, "description": "红色杯子", "category": None, "price": None},
]
COLUMNS = ("image=filename", "text=description", "label=category")
EXPECTED = (
    {"image": "p/1.jpg", "text": "Käse, „alt“", "label": "food"},
    {"image": "p/2.jpg", "text": "", "label": "toys"},
    {"image": "", "text": "红色杯子", "label": ""},
)


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_gives_the_same_table(tmp_path, suffix, caplog):
    caplog.set_level("INFO")
    path = tmp_path / f"items.{suffix}"
    FORMATS[suffix](path, ROWS)
    table = read_table(path, COLUMNS, names=NAMES, required=("image", "text", "label"))
    assert table.rows == EXPECTED
    assert table.folder == tmp_path and table.ignored == ("price",)
    first = {"jsonl": "line 1", "parquet": "row 1"}.get(suffix, "line 2")
    assert table.line(0) == f"{path}, {first}"
    assert caplog.text.count("ignored columns: price") == 1
    with pytest.raises(InputError, match="label is missing; the columns are filename, descr"):
        read_table(path, COLUMNS[:2], names=NAMES, required=("label",))
    with pytest.raises(InputError, match="no column 'kind', which --columns names; the columns"):
        read_table(path, ("label=kind",), names=NAMES)


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_lists_are_several_texts_and_several_labels(tmp_path, suffix):
    rows = [
        {"image": "1.jpg", "text": ["a", "b"], "label": ["x", "y"], "id": 7},
        {"image": "2.jpg", "text": [], "label": ["x"], "id": 8.0},
    ]
    path = tmp_path / f"items.{suffix}"
    FORMATS[suffix](path, rows)
    table = read_table(path, names=NAMES)
    assert [tuple(row.values()) for row in table.rows] == [
        ("1.jpg", "a", "x|y", "7"),
        ("1.jpg", "b", "x|y", "7#3e23e8160039"),
        ("2.jpg", "", "x", "8"),
    ]
    assert table.line(2).endswith("2")
    with pytest.raises(InputError, match="a label holds 'y', which separates labels"):
        read_table(path, names=NAMES, label_separator="y")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"image": "a.jpg"}\n{"image": ', r"line 2: no JSON \(.*expected an object in each line"),
        ("[1, 2]", "line 1: list; expected a JSON object"),
        ("[" * 100_000, "line 1: no JSON"),
        ('{"image": {"bytes": 1}}', "line 1: column 'image' holds dict values; expected strings"),
        ('{"image": ["a.jpg"]}', "line 1: image is a list; expected one value"),
        ('{"image": "/etc/a.jpg"}', "line 1: the image '/etc/a.jpg' is outside the"),
        ('{"image": "a/../../b.jpg"}', "line 1: the image .* is outside the"),
        ("", "holds no rows"),
    ],
)
def test_damaged_json_lines_name_the_line(tmp_path, content, message):
    path = tmp_path / "items.jsonl"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_table(path, names=NAMES)


def test_damaged_parquet(tmp_path):
    path = tmp_path / "items.parquet"
    write_parquet(path, ROWS)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="items.parquet: cannot be read as Parquet"):
        read_table(path, names=NAMES)


def test_a_parquet_file_of_too_many_rows(tmp_path, monkeypatch):
    path = tmp_path / "items.parquet"
    write_parquet(path, ROWS)
    monkeypatch.setattr(table_formats, "MAX_ROWS", 2)
    with pytest.raises(InputError, match="items.parquet: 3 rows; expected at most 2"):
        read_table(path, names=NAMES)


def test_a_parquet_file_that_takes_too_much_memory(tmp_path, monkeypatch):
    """A dictionary stores a long text once, and rows repeat it."""
    path = tmp_path / "items.parquet"
    write_parquet(path, [{"id": str(row), "text": "a" * 10_000} for row in range(1000)])
    assert path.stat().st_size < 20_000
    monkeypatch.setattr(array_budget, "MAX_BYTES", 5_000_000)
    with pytest.raises(InputError, match="items.parquet: row 257 declares .* bytes; the arrays"):
        read_table(path, names=NAMES)


def test_parquet_without_its_library_names_the_extra(tmp_path, monkeypatch):
    path = tmp_path / "items.parquet"
    write_parquet(path, ROWS)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(InputError, match=r"Parquet files need pyarrow; .*xgacmn_tf\[parquet\]"):
        read_table(path, names=NAMES)
