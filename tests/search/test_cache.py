"""The cache of a run: which entries are reused, and which are rebuilt."""

import shutil

import numpy as np
import pytest
from PIL import Image

from tests.log_lines import logged_lines
from xgacmn_tf.datasets.tables import text_id
from xgacmn_tf.errors import InputError
from xgacmn_tf.gallery import Gallery
from xgacmn_tf.runs.trained import TrainedRun
from xgacmn_tf.search import opening
from xgacmn_tf.search.opening import OpenGallery, _check_size, open_cache


@pytest.fixture
def embedded(colour_run, tmp_path):
    """Opens galleries with a cache of their own; returns embedded items and logged lines."""

    def embedded(*sources, modality="image", similarity=None, captions=True, run=colour_run):
        run = TrainedRun(run)
        run.similarity = similarity or run.similarity
        with logged_lines() as lines:
            gallery = OpenGallery(run, [str(one) for one in sources], tmp_path / "cache")
            items = gallery.embedded(modality, captions)
        return items, lines

    return embedded


def test_embeddings_are_computed_once(embedded, photos, monkeypatch):
    first, lines = embedded(photos)
    rose = np.array([200, 20, 10]) / np.sqrt(200**2 + 20**2 + 10**2)
    np.testing.assert_allclose(first.features["image"][1], rose, rtol=1e-6)
    assert "indexed 3 images" in lines
    monkeypatch.setattr(opening.galleries, "search_embeddings", None)
    again, lines = embedded(photos)
    np.testing.assert_array_equal(again.features["image"], first.features["image"])
    assert again.thumbnail == first.thumbnail and not any("indexed" in line for line in lines)


def test_items_of_the_data_set_are_not_loaded_again(embedded, monkeypatch):
    first, _ = embedded("test")
    monkeypatch.setattr(TrainedRun, "gallery", None)
    assert embedded("test")[0].id.tolist() == first.id.tolist()


def test_changes_of_content_run_or_similarity_are_noticed(embedded, photos):
    first, _ = embedded(photos)
    dot, _ = embedded(photos, similarity="dot")
    np.testing.assert_allclose(dot.features["image"][1], [200, 20, 10])
    Image.new("RGB", (40, 30), (0, 0, 200)).save(photos / "rose.png")
    changed, _ = embedded(photos)
    assert changed.features["image"][1].argmax() == 2 and changed.id.tolist() == first.id.tolist()


def test_embeddings_with_and_without_captions_are_apart(embedded, item_run):
    both, _ = embedded("test", run=item_run[0])
    alone, _ = embedded("test", run=item_run[0], captions=False)
    assert both.features["image"].shape[1] > alone.features["image"].shape[1]


def test_a_copied_image_is_one_item(embedded, photos):
    for name in ("more/copy.png", "z.png"):
        (photos / name).write_bytes((photos / "rose.png").read_bytes())
    Image.open(photos / "sea.jpg").save(photos / "the sea.bmp")
    items, lines = embedded(photos)
    # The first in order of names; the others are in its title.
    assert items.id.tolist() == ["more/copy.png", "more/leaf.webp", "sea.jpg"]
    assert items.title.tolist() == ["copy | rose | z", "leaf", "sea | the sea"]
    assert "indexed 3 images, 3 repeated ones merged" in lines


def test_a_damaged_file_is_made_again(embedded, photos, tmp_path):
    before, _ = embedded(photos)
    for path in (tmp_path / "cache").rglob("*.npz"):
        path.write_bytes(path.read_bytes()[:100])
    after, lines = embedded(photos)
    np.testing.assert_array_equal(after.features["image"], before.features["image"])
    assert any("damaged" in line and line.endswith("indexing again") for line in lines)


def test_an_item_of_another_modality_is_not_found(embedded, photos, tmp_path):
    (tmp_path / "texts.txt").write_text("red\n")
    items, _ = embedded(photos, tmp_path / "texts.txt")
    assert len(items) == 3
    assert embedded(photos, tmp_path / "texts.txt", modality="text")[0].id == [text_id("red")]
    with pytest.raises(InputError, match="holds images only, and images search texts; name a"):
        embedded(photos, modality="text")


def test_the_entries_used_last_are_kept(embedded, tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "MAX_ENTRIES", 2)
    for number in range(4):
        ids = np.array([f"item {number}"])
        items = Gallery({"image": np.ones((1, 3), np.float32)}, ids, ids)
        items.write(tmp_path / f"{number}.npz")
        embedded(tmp_path / f"{number}.npz")
    galleries = tmp_path / "cache" / "galleries"
    assert len([*galleries.iterdir()]) == 2
    # What somebody else keeps there is not deleted.
    (galleries / "thesis.pdf").write_text("old")
    embedded(tmp_path / "0.npz")
    assert (galleries / "thesis.pdf").exists() and len([*galleries.iterdir()]) == 3


def test_a_cache_linked_out_of_the_run_is_rejected(colour_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(colour_run, run)
    shutil.rmtree(run / "cache", ignore_errors=True)
    (run / "cache").mkdir()
    (run / "cache" / "galleries").symlink_to(tmp_path)
    with pytest.raises(InputError, match="galleries is a link; delete it"):
        open_cache(TrainedRun(run))
    (run / "cache" / "galleries").unlink()
    (run / "cache" / "features").mkdir(exist_ok=True)
    (run / "cache" / "features" / "text-0").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="text-0 is a link; delete it"):
        open_cache(TrainedRun(run))


def test_a_cache_that_cannot_be_written_is_named(colour_run, photos):
    with pytest.raises(InputError, match="--cache_dir=.*sea.jpg: cannot be written .*; name a fol"):
        OpenGallery(TrainedRun(colour_run), ["test"], photos / "sea.jpg")


def test_posteriors_of_too_many_categories_name_another_similarity():
    class ManyCategories:
        similarity = "posterior"

        def represent(self, modality, features):
            return np.zeros((len(features), 60_000))

    _check_size(ManyCategories(), "text", np.zeros((17_000, 1)))
    with pytest.raises(InputError, match="60,000 categories takes 4.5 GiB, and 4 GiB is the limit"):
        _check_size(ManyCategories(), "text", np.zeros((20_000, 1)))
