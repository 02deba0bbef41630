"""One's own pictures, texts and labels in a table."""

import csv
import shutil
from pathlib import Path

import pytest

from xgacmn_tf.datasets import load_raw
from xgacmn_tf.errors import InputError


@pytest.fixture
def table(tmp_path):
    """Writes a table of rows, with every picture that they name."""

    def write(*lines: str, name: str = "pairs.csv", pictures=("1.jpg", "2.jpg", "3.jpg")):
        (tmp_path / "photos").mkdir(exist_ok=True)
        for picture in pictures:
            (tmp_path / "photos" / picture).write_text(picture)
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
    assert (train.id, train.text, train.label) == ("x8", None, 0)
    assert (validation.id, validation.text, validation.label) == ("x9", "two\nlines", 1)
    assert (test.id, test.text, test.label) == ("x7", 'A dog, they say "Rex"', 1)
    assert test.image == tmp_path / "photos" / "1.jpg"


def test_columns_of_other_names(table):
    path = table(
        "file,caption,category,part",
        "photos/1.jpg,a,cat,train",
        "photos/2.jpg,b,dog,test",
    )
    columns = ["image=file", "text=caption", "label=category", "split=part"]
    pairs = load_raw(path, columns=columns)
    assert [pair.text for pair in (*pairs.train, *pairs.test)] == ["a", "b"]
    with pytest.raises(
        InputError, match="pairs.csv: there is no column 'title', which --columns names"
    ):
        load_raw(path, columns=["text=title"])
    with pytest.raises(InputError, match="--columns=image_train=a: expected .* one of image, text"):
        load_raw(path, columns=["image_train=a"])


@pytest.mark.parametrize("incomplete", [",lonely,cat", "photos/1.jpg,,cat", "photos/1.jpg,a,"])
def test_incomplete_rows_are_trained_on(table, incomplete):
    names = [f"{number}.jpg" for number in range(30)]
    lines = [
        f"photos/{name},text,{'cat' if number % 2 else 'dog'}" for number, name in enumerate(names)
    ]
    for seed in range(5):  # Some of them would draw the pair, or another one of its image, to test.
        path = table("image,text,label", *lines, incomplete, pictures=names)
        pairs = load_raw(path, seed=seed)
        image = incomplete.split(",")[0]
        of_image = [pair for pair in pairs.test if image and str(pair.image).endswith(image)]
        (lacking,) = (pair for pair in pairs.train if not pair.is_complete)
        assert not of_image and all(pair.is_complete for pair in pairs.test)
    values = (lacking.image and lacking.image.name, lacking.text, lacking.label)
    assert values.count(None) == 1
    given = table("image,text,label,split", *GOOD, f"{incomplete},test")
    with pytest.raises(InputError, match="in test lacks an? .*; expected complete pairs"):
        load_raw(given)


def test_unused_columns_are_logged_and_ignored(table, caplog):
    caplog.set_level("INFO")
    path = table("image,text,label,split,width,price", *(f"{line},640,9.5" for line in GOOD))
    assert len(load_raw(path).train) == 1
    assert "pairs.csv: ignored columns: width, price" in caplog.text


def test_another_separator_of_labels(table):
    lines = [
        'photos/1.jpg,a,"sky, cat",train',
        "photos/2.jpg,b,cat,train",
        "photos/3.jpg,c,a|b,test",
    ]
    pairs = load_raw(table("image,text,label,split", *lines), label_separator=",")
    assert pairs.label_names == ("a|b", "cat", "sky") and pairs.train[0].label == (1, 2)


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
    def ids(*texts):
        lines = [f"photos/1.jpg,{text},cat,train" for text in texts]
        pairs = load_raw(table("image,text,label,split", *lines, "photos/2.jpg,c,cat,test"))
        assert pairs.test[0].id == "photos/2.jpg"
        return [pair.id for pair in pairs.train]

    first, second = ids("a", "b")
    assert first != second and all(name.startswith("photos/1.jpg#") for name in (first, second))
    assert ids("new", "a", "b")[1:] == [first, second]
    assert ids("a", "b", "a") == [first, second, f"{first}#2"]
    assert ids("a", "a") == ["photos/1.jpg", "photos/1.jpg#2"]


def by_split(pairs) -> dict[str, set[str]]:
    return {part: {pair.text for pair in split} for part, split in pairs.splits().items()}


def captions(images, count: int = 5):
    """Rows of `count` captions for each image, and the images' names."""
    names = [f"{image}.jpg" for image in images]
    lines = [f"photos/{name},t{name}#{k},cat" for name in names for k in range(count)]
    return lines, names


def test_a_drawn_split_divides_no_image(table):
    """Also where copies of an image have names of their own: content decides."""
    lines, names = captions(range(60))
    lines += [f"photos/copy-{name},copy of {name},dog" for name in names]
    path = table("image,text,label", *lines, pictures=names)
    folder = Path(path).parent / "photos"
    for name in names:
        shutil.copy(folder / name, folder / f"copy-{name}")
    pairs = load_raw(path, seed=3)
    assert pairs.validation == () and len(pairs.train) + len(pairs.test) == 60 * 6
    train, test = ({pair.image.read_text() for pair in part} for part in (pairs.train, pairs.test))
    assert not train & test and train | test == set(names)
    # Twelve of 60 are expected; this seed is no outlier.
    assert 4 <= len(test) <= 22
    assert load_raw(path, seed=3) == pairs != load_raw(path, seed=4)


@pytest.mark.parametrize("group", [False, True])
def test_new_rows_move_no_pair_of_a_drawn_split(table, group):
    lines, names = captions(range(100))
    more, more_names = captions(range(100, 125))
    header = "image,text,label"
    if group:  # A product with several images, say.
        header += ",group"
        lines, more = ([f"{x},{x.split('#')[0][-6:-4]}" for x in rows] for rows in (lines, more))
    before = by_split(load_raw(table(header, *lines, pictures=names)))
    after = by_split(load_raw(table(header, *more, *lines, pictures=(*names, *more_names))))
    assert before["test"] == {text for text in after["test"] if text in set.union(*before.values())}
    assert before["train"] < after["train"] and before["test"] < after["test"]


def test_groups_are_read_and_empty_ones_are_the_images_own(table):
    pairs = load_raw(
        table(
            "image,text,label,split,group",
            "photos/1.jpg,a,cat,train,shop",
            "photos/2.jpg,b,dog,train,shop",
            "photos/3.jpg,c,dog,train,",
            "photos/3.jpg,d,dog,test,",
            "photos/2.jpg,e,dog,train,",
        )
    )
    first, second, third, fourth = (pair.group for pair in pairs.train)
    # Another row of the second image names its group.
    assert first == second == fourth == "shop" != third == pairs.test[0].group


def test_a_table_of_one_image_has_no_split_to_draw(table):
    path = table("image,text,label", *captions([1])[0])
    with pytest.raises(InputError, match="all 5 pairs, in 1 groups, .* add a column split"):
        load_raw(path)


GOOD = ("photos/1.jpg,a,cat,train", "photos/2.jpg,b,dog,test")


@pytest.mark.parametrize(
    ("header", "lines", "message"),
    [
        ("image,text", [], "label is missing; the columns are image, text; .*--columns=label="),
        ("image,text,label,text", [], "the column 'text' is a duplicate"),
        ("image\ttext\tlabel", [], "pairs.csv holds no rows"),
        ("", [], "the columns are missing"),
        ("image,text,label,split", [], "holds no rows"),
        ("image,text,label,split", [GOOD[0], "photos/2.jpg,b,dog"], "line 3: 3 cells; expected 4"),
        ("image,text,label,split", [GOOD[0], "photos/2.jpg,a,b,dog,test"], "line 3: 5 cells"),
        ("image,text,label,split", ["photos/1.jpg,a,cat,own"], "line 2: the split is 'own'"),
        ("image,text,label,split", ["photos/1.jpg,a,,train"], "no row has a label"),
        ("image,text,label,split", ["photos/1.jpg,a,cat|,train"], r"line 2: the label is 'cat\|'"),
        ("image,text,label,split", ["photos/1.jpg,,cat,train"], "no row has a text; fill the"),
        ("image,text,label,split", [",a,cat,train"], "no row has an image; fill the column"),
        (
            "image,text,label,split",
            ["photos/1.jpg,,cat,train", ",a,cat,test"],
            "no row has an image, a text and a label together",
        ),
        ("image,text,label,split", ["a\0.jpg,a,cat,train"], "line 2: .* is not a file name"),
        ("image,text,label,split", ['"photos/1.jpg"x,a,cat,train'], "line 2: text follows the"),
        ("image,text,label,split", [",,cat,train"], "line 2: image and text are empty"),
        (
            "image,text,label,split",
            ["/etc/a.jpg,a,cat,train"],
            "line 2: .*'/etc/a.jpg' is outside the",
        ),
        ("image,text,label,split", ["photos/../../a.jpg,a,cat,train"], "line 2: .* is outside the"),
        ("image,text,label,split", ["..\\a.jpg,a,cat,train"], "line 2: .* is outside the"),
        ("image,text,label,split", ["photos\\..\\..\\a.jpg,a,cat,train"], "line 2: .* is outside"),
        ("image,text,label,split", ["\\etc\\a.jpg,a,cat,train"], "line 2: .* is outside the"),
        ("image,text,label,split,id", ["photos/1.jpg,a,cat,train,"], "line 2: the id is empty"),
        ("image,text,label,split", ['photos/1.jpg,"a,cat,train'], "line 2: a cell that opens with"),
        ("image,text,label,split", [GOOD[0]], "test has no pair"),
        (
            "image,text,label,split,id",
            [f"{GOOD[0]},x", f"{GOOD[1]},x"],
            "line 3: the id 'x' is also in line 2; give every row",
        ),
    ],
)
def test_broken_tables_name_the_line(table, header, lines, message):
    with pytest.raises(InputError, match=message):
        load_raw(table(header, *lines))


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_a_separator_that_alone_divides_the_header_is_used(table, separator):
    lines = [line.replace(",", separator) for line in ("image,text,label,split", *GOOD)]
    pairs = load_raw(table(*lines))
    assert [pair.text for pair in (*pairs.train, *pairs.test)] == ["a", "b"]


def test_usual_names_of_splits_and_empty_rows(table, caplog):
    caplog.set_level("INFO")
    names = ("val", "Valid", "dev", "eval")
    more = [f"photos/3.jpg,c,cat,{name}" for name in names]
    pairs = load_raw(table("image,text,label,split", GOOD[0], ",,,", GOOD[1], *more))
    assert [len(part) for part in (pairs.train, pairs.validation, pairs.test)] == [1, 4, 1]
    assert "skipped empty rows: 1, the first in line 3" in caplog.text


def test_pictures_that_are_not_there_are_reported_together(table, tmp_path):
    lines = [f"photos/{k}.jpg,a,cat,train" for k in range(1, 9)]
    with pytest.raises(InputError) as caught:
        load_raw(table("image,text,label,split", *lines))
    message = str(caught.value)
    assert "5 of 8 images are missing: photos/4.jpg (line 5), " in message
    assert f"photos/6.jpg (line 7) and 2 more; paths start from {tmp_path}" in message


def test_a_table_that_is_not_there_or_no_utf8(table, tmp_path):
    with pytest.raises(InputError, match="none.csv: there is no such table"):
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
    with pytest.raises(
        InputError, match="line 2: a cell has more than 131,072 characters; close it"
    ):
        load_raw(table("image,text,label,split", f"photos/1.jpg,{long},cat,train"))


def test_names_of_images_as_macos_and_windows_write_them(table):
    decomposed = "cafe\N{COMBINING ACUTE ACCENT}.jpg"
    path = table(
        "image,text,label",
        "photos/caf\N{LATIN SMALL LETTER E WITH ACUTE}.jpg,one,cat",
        "photos\\2.jpg,two,dog",
        *(f"photos/{n}.jpg,other,cat" for n in range(3, 9)),
        pictures=(decomposed, *(f"{n}.jpg" for n in range(2, 9))),
    )
    pairs = load_raw(path)
    names = {Path(pair.image).name for part in (pairs.train, pairs.test) for pair in part}
    assert {decomposed, "2.jpg"} <= names


def test_a_missing_image_is_reported_with_the_nearest_name(table):
    with pytest.raises(InputError, match=r"photos/2\.JPG.*did you mean 2\.jpg\?"):
        load_raw(table("image,text,label", "photos/1.jpg,one,cat", "photos/2.JPG,two,dog"))
