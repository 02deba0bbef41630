"""Folders that a user fetched by hand: found, or one message on what is missing."""

import pytest

from xgacmn_tf.datasets.distribution import Distribution, read_text
from xgacmn_tf.errors import InputError

BIRDS = Distribution("birds", layout="It holds a, b/ and c.", origin="Ask Ann.", below=("set",))


def test_the_folder_itself_or_the_one_in_it(tmp_path):
    below = tmp_path / "set"
    (below / "b").mkdir(parents=True)
    (below / "a").touch()
    assert BIRDS.find(str(tmp_path), ("a", "b")) == below
    assert BIRDS.find(str(below), ("a", "b")) == below


def test_what_is_missing_where_it_comes_from_and_how_it_lies(tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(InputError) as caught:
        BIRDS.find(str(tmp_path), ("a", "b", "c"))
    assert str(caught.value) == f"Missing in {tmp_path}: b, c. Ask Ann. It holds a, b/ and c."
    with pytest.raises(InputError, match="'birds' needs data_dir.* holds a, b. Ask Ann. It holds"):
        BIRDS.find(None, ("a", "b"))


def test_long_lists_are_cut(tmp_path):
    error = BIRDS.missing(tmp_path, [f"{k}.jpg" for k in range(1205)])
    assert "0.jpg, 1.jpg, 2.jpg, 3.jpg, 4.jpg and 1,200 more." in str(error)


def test_pickles_found_instead_come_with_a_way_out(tmp_path):
    (tmp_path / "train_img_feats.pkl").touch()
    with pytest.raises(InputError, match=r"Missing.*train_img_feats.pkl is a pickle.*np.savez"):
        BIRDS.find(str(tmp_path), ("a",))


def test_text_with_and_without_a_byte_order_mark(tmp_path):
    (tmp_path / "plain").write_bytes("café\r\n".encode())
    (tmp_path / "marked").write_bytes(b"\xef\xbb\xbf" + "café".encode())
    assert read_text(tmp_path / "plain") == "café\r\n"
    assert read_text(tmp_path / "marked") == "café"


def test_text_in_another_encoding_names_the_line(tmp_path):
    (tmp_path / "latin").write_bytes("one\ntwo\ncafé\n".encode("latin-1"))
    with pytest.raises(InputError, match="latin is not UTF-8 text: line 3 holds the byte 0xe9"):
        read_text(tmp_path / "latin")
