"""Files found by name below a folder, or one message about what is missing."""

import pytest

from xgacmn_tf.datasets.distribution import Distribution, read_text
from xgacmn_tf.errors import InputError

BIRDS = Distribution("birds", layout="It holds a, b/ and c.", origin="Ask Ann.")


def test_names_are_found_at_any_depth_without_regard_to_case(tmp_path):
    (tmp_path / "x" / "y").mkdir(parents=True)
    (tmp_path / "x" / "y" / "A.TXT").touch()
    (tmp_path / ".hidden").touch()
    files = BIRDS.open(str(tmp_path))
    assert files.path("birds/a.txt") == tmp_path / "x" / "y" / "A.TXT"
    assert not files.has("y") and not files.has(".hidden")


def test_features_are_not_looked_for_among_images(tmp_path):
    (tmp_path / "Flickr").mkdir()
    (tmp_path / "Flickr" / "1.jpg").touch()
    assert BIRDS.open(str(tmp_path)).image("1.jpg") is None
    assert BIRDS.open(str(tmp_path), images=True).image("1.jpg") == tmp_path / "Flickr" / "1.jpg"


def test_what_is_missing_where_it_comes_from_and_how_it_lies(tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(InputError) as caught:
        BIRDS.open(str(tmp_path)).require(("a", "b", "c"))
    assert str(caught.value) == f"Missing in {tmp_path}: b, c. Ask Ann. It holds a, b/ and c."
    with pytest.raises(InputError, match="'birds' needs data_dir.* Ask Ann. It holds"):
        BIRDS.open(None)


def test_folders_that_do_not_exist(tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(InputError, match="--data_dir=.*nowhere: there is no such folder"):
        BIRDS.open(str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="--data_dir=.*a: it is a file; expected the folder"):
        BIRDS.open(str(tmp_path / "a"))


def test_long_lists_are_cut(tmp_path):
    error = BIRDS.open(str(tmp_path)).missing([f"{k}.jpg" for k in range(1205)])
    assert "0.jpg, 1.jpg, 2.jpg, 3.jpg, 4.jpg and 1,200 more." in str(error)


def test_pickles_found_instead_come_with_a_way_out(tmp_path):
    (tmp_path / "train_img_feats.pkl").touch()
    with pytest.raises(InputError, match=r"Missing.*train_img_feats.pkl is a pickle.*np.savez"):
        BIRDS.open(str(tmp_path)).require(("a",))


def test_text_with_and_without_a_byte_order_mark(tmp_path):
    (tmp_path / "plain").write_bytes("café\r\n".encode())
    (tmp_path / "marked").write_bytes(b"\xef\xbb\xbf" + "café".encode())
    assert read_text(tmp_path / "plain") == "café\r\n"
    assert read_text(tmp_path / "marked") == "café"


def test_text_in_another_encoding_names_the_line(tmp_path):
    (tmp_path / "latin").write_bytes("one\ntwo\ncafé\n".encode("latin-1"))
    with pytest.raises(InputError, match="latin is not UTF-8 text: line 3 holds the byte 0xe9"):
        read_text(tmp_path / "latin")
