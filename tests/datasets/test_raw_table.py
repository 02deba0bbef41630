"""One's own pictures, texts and labels in a table."""

import csv

import numpy as np
import pytest

from xgacmn_tf.datasets import load_raw
from xgacmn_tf.errors import InputError


@pytest.fixture
def table(tmp_path):
    """Writes a table of rows, with every picture that they name."""

    def write(*lines: str, name: str = "pairs.csv", pictures=("1.jpg", "2.jpg", "3.jpg")):
        (tmp_path / "photos").mkdir(exist_ok=True)
        for picture in pictures:
            (tmp_path / "photos" / picture).touch()
        path = tmp_path / name
        path.write_text("\n".join(lines), encoding="utf-8")
        return str(path)

    return write


def test_all_columns(table, tmp_path):
    pairs = load_raw(
        table(
            "label,text,split,id,image",
            'dog,"A dog, they say ""Rex""",test,x7,photos/1.jpg',
            "cat,,train,x8,photos/2.jpg",
            '  dog ,"two\nlines",validation,x9,photos/3.jpg',
        )
    )
    assert pairs.name == "pairs" and pairs.label_names == ("cat", "dog")
    (train,), (validation,), (test,) = pairs.train, pairs.validation, pairs.test
    assert (train.id, train.text, train.label) == ("x8", "", 0)
    assert (validation.id, validation.text, validation.label) == ("x9", "two\nlines", 1)
    assert (test.id, test.text, test.label) == ("x7", 'A dog, they say "Rex"', 1)
    assert test.image == tmp_path / "photos" / "1.jpg"


def test_tabs_and_a_byte_order_mark_as_spreadsheets_write_them(table):
    pairs = load_raw(
        table(
            "\ufeffimage\ttext\tlabel\tsplit",
            "photos/1.jpg\ta, b\tcat\ttrain",
            "photos/2.jpg\tc\tdog\ttest",
            "",
            name="pairs.tsv",
        )
    )
    assert pairs.train[0].text == "a, b"


def test_several_labels_make_every_label_a_tuple(table):
    pairs = load_raw(
        table(
            "image,text,label,split",
            "photos/1.jpg,a,sky|cat|sky,train",
            "photos/2.jpg,b,cat,train",
            "photos/3.jpg,c,dog | cat,test",
        )
    )
    assert pairs.label_names == ("cat", "dog", "sky")
    assert [pair.label for pair in (*pairs.train, *pairs.test)] == [(0, 2), (0,), (0, 1)]


def test_ids_are_paths_and_tell_several_texts_of_a_picture_apart(table):
    line = "photos/1.jpg,{},cat,{}".format
    pairs = load_raw(
        table("image,text,label,split", line("a", "train"), line("b", "train"), line("c", "test"))
    )
    ids = [pair.id for pair in (*pairs.train, *pairs.test)]
    assert ids == ["photos/1.jpg", "photos/1.jpg#2", "photos/1.jpg#3"]


@pytest.mark.parametrize("joined", ["", "|both"])
def test_without_a_split_a_stratified_fifth_tests(table, joined):
    """30 cats and 10 dogs: 6 and 2 of them test. A label that all share changes nothing."""
    lines = [f"photos/1.jpg,t{k},{'dog' if k % 4 == 0 else 'cat'}{joined}" for k in range(40)]
    path = table("image,text,label", *lines)
    pairs = load_raw(path, seed=3)
    dog = pairs.label_names.index("dog")

    def dogs(split):
        return sum(dog in np.atleast_1d(pair.label) for pair in split)

    assert (len(pairs.train), len(pairs.test), pairs.validation) == (32, 8, ())
    assert (dogs(pairs.train), dogs(pairs.test)) == (8, 2)
    assert {pair.text for pair in (*pairs.train, *pairs.test)} == {f"t{k}" for k in range(40)}
    assert load_raw(path, seed=3) == pairs != load_raw(path, seed=4)


GOOD = ("photos/1.jpg,a,cat,train", "photos/2.jpg,b,dog,test")


@pytest.mark.parametrize(
    ("header", "lines", "message"),
    [
        ("image,text", [], "line 1: .*label is missing.*expected image, text, label"),
        ("image,text,label,author", [], "line 1: .*'author' is unknown"),
        ("image,text,label,text", [], "line 1: .*text stands twice"),
        ("image\ttext\tlabel", [], "line 1: .*image is missing.*separated by commas"),
        ("", [], "line 1: the columns are '?missing'?"),
        ("image,text,label,split", [], "holds no pairs"),
        ("image,text,label,split", [GOOD[0], "photos/2.jpg,b,dog"], "line 3: 3 cells; expected 4"),
        ("image,text,label,split", [GOOD[0], "photos/2.jpg,a,b,dog,test"], "line 3: 5 cells"),
        ("image,text,label,split", ["photos/1.jpg,a,cat,dev"], "line 2: the split is 'dev'"),
        ("image,text,label,split", ["photos/1.jpg,a,,train"], "line 2: the label is ''"),
        ("image,text,label,split", ["photos/1.jpg,a,cat|,train"], r"line 2: the label is 'cat\|'"),
        ("image,text,label,split", [",a,cat,train"], "line 2: the image is ''"),
        ("image,text,label,split", ["/etc/a.jpg,a,cat,train"], "line 2: .*'/etc/a.jpg' leads out"),
        ("image,text,label,split", ["photos/../../a.jpg,a,cat,train"], "line 2: .* leads out of"),
        ("image,text,label,split,id", ["photos/1.jpg,a,cat,train,"], "line 2: the id is empty"),
        ("image,text,label,split", ['photos/1.jpg,"a,cat,train'], "line 2: unexpected end"),
        ("image,text,label,split", [GOOD[0]], "test has no pair"),
        (
            "image,text,label,split,id",
            [f"{GOOD[0]},x", f"{GOOD[1]},x"],
            "id 'x' stands twice, in train and test",
        ),
    ],
)
def test_broken_tables_name_the_line(table, header, lines, message):
    with pytest.raises(InputError, match=message):
        load_raw(table(header, *lines))


def test_pictures_that_are_not_there_are_reported_together(table, tmp_path):
    lines = [f"photos/{k}.jpg,a,cat,train" for k in range(1, 9)]
    with pytest.raises(InputError) as caught:
        load_raw(table("image,text,label,split", *lines))
    message = str(caught.value)
    assert "names 5 of 8 pictures that are not there: photos/4.jpg (line 5), " in message
    assert f"photos/6.jpg (line 7) and 2 more; paths start from {tmp_path}" in message


def test_a_table_that_is_not_there_or_no_utf8(table, tmp_path):
    with pytest.raises(InputError, match="There is no table .*none.csv"):
        load_raw("none.csv", str(tmp_path))
    path = table("image,text,label,split", *GOOD)
    with open(path, "ab") as file:
        file.write("\nphotos/3.jpg,café,cat,train".encode("latin-1"))
    with pytest.raises(InputError, match="line 4 holds the byte 0xe9"):
        load_raw(path)


def test_a_link_to_a_folder_of_pictures_is_followed(table, tmp_path):
    path = table("image,text,label,split", *GOOD)
    (tmp_path / "photos").rename(tmp_path / "elsewhere")
    (tmp_path / "photos").symlink_to(tmp_path / "elsewhere")
    assert len(load_raw(path).train) == 1


def test_a_cell_too_long_is_an_error(table):
    long = "x" * (csv.field_size_limit() + 1)
    with pytest.raises(InputError, match="line 2: field larger"):
        load_raw(table("image,text,label,split", f"photos/1.jpg,{long},cat,train"))
