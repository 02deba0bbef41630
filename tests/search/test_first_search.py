"""The command by which a run ends: it searches by a sentence and by an image, as printed."""

import dataclasses
import io
import shlex
import shutil

import numpy as np
import pytest
from PIL import Image

from xgacmn_tf import datasets
from xgacmn_tf.commands import search
from xgacmn_tf.datasets.paired import PairedDataset
from xgacmn_tf.report.first_search import _EXAMPLES, first_search
from xgacmn_tf.runs.folder import RunFolder
from xgacmn_tf.settings.config import Config


def encoded(colour, kind):
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(stream, kind)
    return stream.getvalue()


@pytest.fixture
def make_dataset(make_split):
    def make(title, thumbnail=None, name="mine", ids=None) -> PairedDataset:
        rows = len(title) if title is not None else 6
        arrays = {"title": None if title is None else np.array(title), "thumbnail": thumbnail}
        if ids is not None:
            arrays["id"] = np.array(ids)
        test = make_split("test", rows, **arrays)
        return PairedDataset(name, make_split("train"), test, ("a", "b", "c"))

    return make


def queries_of(command, run):
    """Return the arguments after the run folder, as a shell would pass them."""
    words = shlex.split(command)
    place = words.index(f"--run={run}")
    assert words[place - 1] == "search"
    return words[place + 1 :]


def test_the_command_works_as_printed(colour_run, tmp_path, call):
    run = tmp_path / "a run"
    shutil.copytree(colour_run, run, ignore=shutil.ignore_patterns("cache", "indexes"))
    dataset = datasets.for_config(RunFolder(run).recorded_config())
    thumbnails = tuple(encoded("lime", "PNG") for _ in range(len(dataset.test)))
    test = dataclasses.replace(dataset.test, thumbnail=thumbnails)
    command = first_search(run, dataclasses.replace(dataset, test=test))
    sentence, image = queries_of(command, run)
    assert (sentence, image) == ("a red one", str(run / "query.png"))
    done = call(search.main, f"--run={run}", sentence, image)
    assert done.returncode == 0, done.stderr
    # The image is lime, and texts of that color are called green.
    by_text, by_image = done.stdout.split("query.png")
    assert "a red one\n" in by_text
    assert by_image.index("a green one") < by_image.index("a red one")


@pytest.mark.parametrize("name", _EXAMPLES)
def test_bundled_data_sets_have_a_fixed_example(name, tmp_path):
    dataset = datasets.for_config(Config.of(dataset=name))
    sentence, image = queries_of(first_search(tmp_path, dataset), tmp_path)
    expected, example = _EXAMPLES[name]
    row = dataset.test.id.tolist().index(example)
    assert sentence == expected and image == str(tmp_path / "query.webp")
    assert (tmp_path / "query.webp").read_bytes() == dataset.test.thumbnail[row]


def test_the_text_of_the_first_test_item_that_can_be_typed_is_taken(make_dataset, tmp_path):
    titles = [
        "", "…", "--run=other", "photo.jpg", "tab\x1b[31m red",
        "  It's a  \"big\" $HOME of `one` two three four five", "later",
    ]  # fmt: skip
    thumbnails = tuple(encoded((k, 0, 0), "JPEG") for k in range(7))
    command = first_search(tmp_path, make_dataset(titles, thumbnails))
    sentence, image = queries_of(command, tmp_path)
    assert sentence == 'It\'s a "big" $HOME of `one` two three' and "\n" not in command
    assert (tmp_path / "query.jpeg").read_bytes() == thumbnails[5]
    assert image == str(tmp_path / "query.jpeg")
    # When the command is repeated, the folder of a finished run is only read.
    (tmp_path / "query.jpeg").write_bytes(b"of the finished run")
    assert first_search(tmp_path, make_dataset(titles, thumbnails)) == command
    assert (tmp_path / "query.jpeg").read_bytes() == b"of the finished run"


def test_a_data_set_of_ones_own_may_be_called_as_a_bundled_one(make_dataset, tmp_path):
    command = first_search(tmp_path, make_dataset(["one", "two"], name="emoji"))
    assert queries_of(command, tmp_path) == ["one"]


def test_what_is_unknown_is_left_out(make_dataset, tmp_path):
    assert first_search(tmp_path, make_dataset(None)) is None
    assert first_search(tmp_path, make_dataset(["", "?"])) is None
    # Bytes that are no image of a known format.
    command = first_search(tmp_path, make_dataset(["one", "two"], (b"x", b"x")))
    assert queries_of(command, tmp_path) == ["one"]
    (query,) = queries_of(
        first_search(tmp_path, make_dataset(["", "?"], (encoded("red", "WEBP"),) * 2)), tmp_path
    )
    assert query == str(tmp_path / "query.webp")
