"""docs/figures.py: README's figures from a finished run."""

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xgacmn_tf import experiment
from xgacmn_tf.runs.trained import TrainedRun
from xgacmn_tf.settings.config import Config

SCRIPT = Path(__file__).parent.parent / "docs" / "figures.py"


@pytest.fixture(scope="module")
def figures():
    spec = importlib.util.spec_from_file_location("figures", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_images_are_drawn_of_each_category_in_turn(figures, make_split):
    split = make_split("test", 40, 4, label=np.array([0] * 37 + [1, 2, 3]))
    rows = figures.one_of_each_category(split, 4, 6, np.random.default_rng(0))
    assert sorted(split.label[rows[:4]]) == [0, 1, 2, 3]
    assert len(set(rows)) == 6 and set(split.label[rows[4:]]) == {0}


def test_images_find_the_texts_that_the_run_ranks_first(figures, finished_run, tmp_path):
    run = TrainedRun(finished_run[0])
    test, names = run.dataset().test, run.dataset().label_names
    answers = figures.write_image_answers(run, tmp_path / "images.html")
    page = (tmp_path / "images.html").read_text()
    assert len(answers) == 10 and "30 texts" in page
    rows = {str(name): row for row, name in enumerate(test.id)}
    scores = run.represent("image", test.image) @ run.represent("text", test.text).T
    for answer in answers:
        # The pairs of this data set have no titles.
        similarities = scores[rows[answer.query.shown]]
        assert [hit.score for hit in answer.hits] == pytest.approx(
            np.sort(similarities)[::-1][:10], abs=1e-5
        )
        for hit in answer.hits:
            assert hit.category == names[test.label[rows[hit.id]]]


def test_a_figure_that_is_too_large_is_made_smaller(figures, tmp_path, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (120, 90, 3), np.uint8)
    small, large = tmp_path / "small.png", tmp_path / "large.png"
    figures.save(Image.new("RGB", (120, 90), "red"), small)
    with Image.open(small) as image:
        assert (image.size, image.mode) == ((120, 90), "RGB")
    monkeypatch.setattr(figures, "MAX_BYTES", 8_000)
    figures.save(Image.fromarray(noise), large)
    assert large.stat().st_size <= 8_000
    with Image.open(large) as image:
        assert image.mode == "P" and image.size < (90, 120)


@pytest.mark.slow
def test_all_figures_of_a_run(figures, small_networks, tmp_path, capsys):
    pytest.importorskip("playwright.sync_api")
    if shutil.which("chromium") is None:
        pytest.skip("there is no chromium")
    run = tmp_path / "run"
    experiment.run(Config.of(epochs=1, export=False, output_dir=str(run), **small_networks))
    words = tmp_path / "words.txt"
    words.write_text("a red apple\na dog\n")
    figures.main([str(run), f"--queries={words}", f"--output={tmp_path}"])
    for name in ("results.png", "search.png", "search_top.png", "search_pictures.png"):
        with Image.open(tmp_path / name) as image:
            assert image.size[0] == round(figures.WIDTH * figures.SCALE) < 2 * image.size[1]
        assert (tmp_path / name).stat().st_size <= figures.MAX_BYTES
    assert not (run / "search.html").exists()
    capsys.readouterr()
    with pytest.raises(SystemExit, match="error: .*no finished run"):
        figures.main([str(tmp_path / "none")])
