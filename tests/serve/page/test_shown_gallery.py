"""What a version's gallery.npz shows, and what is refused."""

import json

import numpy as np
import pytest

from xgacmn_tf.errors import InputError
from xgacmn_tf.gallery import Gallery
from xgacmn_tf.serve.page.shown_gallery import ShownGallery

PNG = b"\x89PNG\r\n\x1a\n..."
ARRAYS = {
    "id": np.array(["a", "b"]),
    "title": np.array(["A", "B"]),
    "thumbnail": np.frombuffer(PNG, np.uint8),
    "thumbnail_offset": np.array([0, len(PNG), len(PNG)]),
}


@pytest.fixture
def version(tmp_path):
    (tmp_path / "assets.extra").mkdir()
    return tmp_path


def write(version, **arrays):
    path = version / "assets.extra" / "gallery.npz"
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})


def test_what_an_export_writes_is_shown(version):
    names = np.array(["a", "b", "c"])
    pictures = (PNG, b"", b"GIF89a: not among what is shown")
    gallery = Gallery({}, names, np.char.upper(names), np.array(["x", "y", ""]), pictures)
    gallery.write(version / "assets.extra" / "gallery.npz", with_features=False)
    (version / "assets.extra" / "run.json").write_text('{"similarity": "dot"}')
    shown = ShownGallery(version)
    assert (len(shown), shown.similarity) == (3, "dot")
    assert [shown.row(key) for key in ("b", "B", "")] == [1, None, None]
    assert shown.texts(1) == {"id": "b", "title": "B", "category": "y", "fine_label": None}
    assert [shown.picture(row) for row in (-1, 0, 1, 2, 3)] == [
        None,
        ("png", PNG),
        None,
        None,
        None,
    ]
    assert [shown.picture_mark(row) is None for row in range(3)] == [False, True, True]


def test_titles_alone_are_enough(version):
    write(version, id=ARRAYS["id"], title=ARRAYS["title"])
    shown = ShownGallery(version)
    assert shown.texts(0) == {"id": "a", "title": "A", "category": None, "fine_label": None}
    assert (shown.picture(0), shown.similarity) == (None, None)


@pytest.mark.parametrize(
    ("size", "count", "rows"),
    [(10, 2, [2, 7]), (9, 3, [1, 4, 7]), (3, 5, [0, 1, 2]), (1, 1, [0]), (0, 4, [])],
)
def test_a_spread_covers_the_gallery_evenly(version, size, count, rows):
    names = np.array([str(row) for row in range(size)], dtype=str)
    write(version, id=names, title=names)
    assert ShownGallery(version).spread(count) == rows


@pytest.mark.parametrize(
    "change",
    [
        {"title": None},
        {"image": np.zeros((2, 3))},
        {"title": np.array(["A"])},
        {"title": np.array([1, 2])},
        {"category": np.array([["x"], ["y"]])},
        {"id": np.array(["a", "b"], object)},
        {"thumbnail": None},
        {"thumbnail": ARRAYS["thumbnail"].astype(np.int16)},
        {"thumbnail_offset": ARRAYS["thumbnail_offset"].astype(float)},
        {"thumbnail_offset": np.array([0, 1, len(PNG) + 1])},
        {"thumbnail_offset": np.array([0, len(PNG) + 9, len(PNG)])},
        {"thumbnail_offset": np.array([-1, 1, len(PNG)])},
        {"thumbnail_offset": np.array([0, len(PNG)])},
    ],
)
def test_arrays_that_do_not_fit_are_refused(version, change):
    write(version, **{**ARRAYS, **change})
    with pytest.raises(InputError, match=r"gallery\.npz"):
        ShownGallery(version)


@pytest.mark.parametrize("content", [b"PK\x03\x04 broken", b"", None])
def test_a_broken_or_missing_file_is_refused(version, content):
    if content is not None:
        (version / "assets.extra" / "gallery.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"gallery\.npz"):
        ShownGallery(version)


@pytest.mark.parametrize("record", ["[", '"dot"', '{"similarity": 3}', "[" * 100_000, "\udcff"])
def test_a_broken_record_leaves_the_similarity_open(version, record):
    write(version, **ARRAYS)
    path = version / "assets.extra" / "run.json"
    path.write_text(record, errors="surrogateescape")
    assert ShownGallery(version).similarity is None and ShownGallery(version).searched == {}


@pytest.mark.parametrize(
    ("gallery", "searched"),
    [
        ({"searched": {"image": 2, "text": 5}}, {"image": 2, "text": 5}),
        ({"searched": {"image": "<b>", "sound": 1}}, {}),
        ({"searched": [2]}, {}),
        ({"size": 5}, {}),  # of an older version
        (5, {}),
    ],
)
def test_how_many_images_and_texts_are_searched(version, gallery, searched):
    write(version, **ARRAYS)
    (version / "assets.extra" / "run.json").write_text(json.dumps({"gallery": gallery}))
    assert ShownGallery(version).searched == searched
