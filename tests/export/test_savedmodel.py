"""A run as a SavedModel: the same numbers, nothing of training, whole versions only."""

import json
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from xgacmn_tf import experiment
from xgacmn_tf import gallery as gallery_files
from xgacmn_tf.commands import export
from xgacmn_tf.datasets.paired import PairedDataset
from xgacmn_tf.errors import InputError
from xgacmn_tf.evaluation.ranking import rank_gallery
from xgacmn_tf.export import savedmodel, serving
from xgacmn_tf.export.savedmodel import export_run
from xgacmn_tf.export.versions import versions
from xgacmn_tf.model.angular_softmax import AngularSoftmax, PlainSoftmax
from xgacmn_tf.runs.checkpoint import load_encoder
from xgacmn_tf.runs.folder import RunFolder
from xgacmn_tf.runs.trained import TrainedRun
from xgacmn_tf.search import make_index
from xgacmn_tf.search.opening import OpenGallery
from xgacmn_tf.settings.config import Config

MODALITIES = ("image", "text")


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    """Its first version, which returns 7 of the 30 items of the test split."""
    return export_run(run, tmp_path_factory.mktemp("models"), "pairs", gallery=["test"], depth=7)


@pytest.fixture(scope="module")
def exported_all(run, tmp_path_factory):
    """A version that searches all 120 items."""
    return export_run(run, tmp_path_factory.mktemp("models"), "pairs", depth=7)


def test_codes(run, exported, feature_file):
    loaded = tf.saved_model.load(str(exported)).signatures
    encoder = load_encoder(RunFolder(run).best)
    with np.load(feature_file) as arrays:
        image, text = (arrays[f"{m}_test"].astype(np.float32) for m in ("image", "text"))
    assert encoder.calibration["image"] != encoder.calibration["text"]
    for modality, encodings, outputs in zip(
        ("image", "text"),
        (encoder.encodings_of("image", image), encoder.encodings_of("text", text)),
        (
            loaded["encode_image"](image_features=tf.constant(image)),
            loaded["encode_text"](text_features=tf.constant(text)),
        ),
        strict=True,
    ):
        similarities = {"embedding": "cosine", "posterior": "posterior", "search": "item"}
        assert set(outputs) - {"caption_features"} == set(similarities)
        for name, similarity in similarities.items():
            expected = encoder.represent(encodings, similarity, modality)
            np.testing.assert_allclose(outputs[name], expected, atol=1e-6, rtol=0)
        np.testing.assert_allclose(np.linalg.norm(outputs["embedding"], axis=1), 1, atol=1e-6)
    default = loaded["serving_default"](image_features=tf.constant(image))
    again = loaded["encode_image"](image_features=tf.constant(image))
    np.testing.assert_array_equal(default["embedding"], again["embedding"])


def test_posteriors_of_many_categories_are_searched_in_blocks(
    run, exported, feature_file, tmp_path, monkeypatch
):
    """Blocks of four items: as with 60,000 categories, the codes are stored."""
    monkeypatch.setattr(serving, "MAX_NUMBERS", 28)
    version = export_run(run, tmp_path, "pairs", gallery=["test"], depth=7)
    in_blocks = tf.saved_model.load(str(version)).signatures
    whole = tf.saved_model.load(str(exported)).signatures
    with np.load(feature_file) as arrays:
        features = {f"{m}_features": arrays[f"{m}_test"].astype(np.float32) for m in MODALITIES}
    for name, given in (
        ("search_images_by_text", "text_features"),
        ("search_texts_by_image", "image_features"),
    ):
        expected = whole[name](**{given: tf.constant(features[given])})
        found = in_blocks[name](**{given: tf.constant(features[given])})
        np.testing.assert_array_equal(found["ids"], expected["ids"])
        np.testing.assert_allclose(found["scores"], expected["scores"], rtol=1e-6)
        np.testing.assert_array_equal(found["category"], expected["category"])
        np.testing.assert_allclose(
            found["category_posterior"], expected["category_posterior"], rtol=1e-5
        )


def _mean(sides):
    """What searches compare, of the embeddings of pairs."""
    return np.mean([np.float64(side) for side in sides], axis=0).astype(np.float32)


@pytest.mark.parametrize("copies", [0, 1, 3], ids=["empty", "one block", "two blocks"])
def test_search_ranks_by_image_and_caption(run, exported, feature_file, copies):
    loaded = tf.saved_model.load(str(exported)).signatures
    encoder = load_encoder(RunFolder(run).best)
    with np.load(feature_file) as arrays:
        image, text = (arrays[f"{m}_test"].astype(np.float32) for m in ("image", "text"))
    # 3 · 30 queries are more than the 64 that are ranked at once.
    image_query, text_query = (np.tile(x, (copies, 1)) for x in (image, text))
    for outputs, query in (
        (loaded["search_images_by_text"](text_features=tf.constant(text_query)), 1),
        (loaded["search_texts_by_image"](image_features=tf.constant(image_query)), 0),
    ):
        assert outputs["ids"].shape == outputs["scores"].shape == (30 * copies, 7)
        if not copies:
            continue
        sides = encoder.represent_pairs(image, text, "item")
        queries, items = sides[query], _mean(sides)
        if query == 1:
            captions = encoder.caption_features(text)
            queries, items = (encoder.with_caption_features(x, captions) for x in (queries, items))
        rows, scores = rank_gallery(queries, items, 7)
        expected = np.char.add("test/", np.tile(rows, (copies, 1)).astype(str))
        np.testing.assert_array_equal(outputs["ids"].numpy().astype(str), expected)
        # These pairs have no titles, so their ids stand in.
        np.testing.assert_array_equal(outputs["titles"], outputs["ids"])
        scores = np.tile(scores, (copies, 1))
        np.testing.assert_allclose(outputs["scores"], scores, atol=1e-6, rtol=0)


SIGNATURES = {
    "serving_default": ("image_features", 8),
    "encode_image": ("image_features", 8),
    "encode_text": ("text_features", 5),
    "search_images_by_text": ("text_features", 5),
    "search_texts_by_image": ("image_features", 8),
}


@pytest.mark.parametrize("signature", SIGNATURES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_query_that_is_not_finite_is_rejected_by_input_and_row(exported, signature, value):
    function = tf.saved_model.load(str(exported)).signatures[signature]
    name, dim = SIGNATURES[signature]
    features = np.ones((3, dim), np.float32)
    features[1, -1] = value
    message = re.escape(f"{name}[1]: features are NaN or infinite; send finite numbers")
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        function(**{name: tf.constant(features)})


def test_features_that_make_the_encoder_overflow_are_rejected(make_split, make_run, tmp_path):
    """Of a thousandth of a standard deviation, 3e38 is infinite as a z-score."""
    splits = [
        make_split(name, image=np.random.default_rng(0).normal(size=(6, 4)) / 1000, text=np.eye(6))
        for name in ("train", "test")
    ]
    pairs = PairedDataset("pairs", *splits, ("a", "b", "c"))
    folder, _ = make_run(tmp_path / "run", pairs, Config.of(dataset="gone.npz"))
    np.savez(tmp_path / "new.npz", text=pairs.test.text, id=pairs.test.id)
    version = export_run(folder.path, tmp_path / "models", gallery=[tmp_path / "new.npz"])
    loaded = tf.saved_model.load(str(version)).signatures
    message = re.escape("image_features[1]: features are too large for the encoder")
    for signature in ("encode_image", "search_texts_by_image"):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            loaded[signature](image_features=tf.constant([[0.001] * 4, [3e38] * 4]))


@pytest.mark.parametrize("signature", ["search_images_by_text", "search_texts_by_image"])
def test_a_query_of_zeros_finds_nothing(exported, signature):
    search = tf.saved_model.load(str(exported)).signatures[signature]
    name, dim = SIGNATURES[signature]
    features = np.random.default_rng(0).normal(size=(3, dim)).astype(np.float32)
    expected = {key: value.numpy() for key, value in search(**{name: features}).items()}
    features[1] = [0.0, -0.0] * (dim // 2) + [0.0] * (dim % 2)
    found = {key: value.numpy() for key, value in search(**{name: features}).items()}
    for key, nothing in {"ids": b"", "titles": b"", "scores": 0}.items():
        assert found[key].shape == (3, 7)
        assert set(found[key][1].tolist()) == {nothing}
        np.testing.assert_array_equal(found[key][[0, 2]], expected[key][[0, 2]])
    assert all(found["ids"][0])


def test_nothing_of_training_is_inside(run, exported):
    values = dict(tf.train.list_variables(str(exported / "variables" / "variables")))
    sizes = [int(np.prod(shape)) for name, shape in values.items() if name.startswith("state/")]
    # By hand: z-scores 2·(8 + 5); 50 components of a Gaussian kernel of 90 texts, 90·(5 + 50 + 1);
    # encoders 8→16→8→6 (144 + 136 + 54) and 50→16→8→6 (816 + 136 + 54); class directions 6·3; two
    # item towers each of 8→12→4 (108 + 52) and 50→12→4 (612 + 52); two galleries of posteriors and
    # item embeddings 30·(3 + 2·4), one with caption features 30·50; ids and titles 30 each; of each
    # modality 30 categories with their posteriors.
    maps, towers, galleries = 26 + 90 * 56, 2 * (160 + 664), 2 * 330 + 1500
    assert sum(sizes) == maps + 334 + 1006 + 18 + towers + galleries + 2 * 30 + 2 * 2 * 30
    assert {name.split("/")[0] for name in values} == {"state", "_CHECKPOINTABLE_OBJECT_GRAPH"}
    names = [variable.name for variable in tf.saved_model.load(str(exported)).state]
    assert not [n for n in names if "discriminator" in n or "decoder" in n or "adam" in n.lower()]
    # Mostly the graphs of the signatures, in which each member of the item towers has its own part.
    size = sum(path.stat().st_size for path in exported.rglob("*") if path.is_file())
    assert size < 500_000


def test_what_travels_along(run, exported):
    text = (exported / "assets.extra" / "README.md").read_text(encoding="utf-8")
    assert "`import tensorflow` before" in text
    record = json.loads((exported / "assets.extra" / "run.json").read_text())
    assert "# pairs, version 1" in text and record["data_fingerprint"] in text
    assert record["config_fingerprint"] in text
    assert "30 items, the run's test split; searched: 30 distinct images, 30 texts" in text
    assert "return 7 items, or all where there are fewer, by similarity `item`" in text
    assert "compare a query with both the image and the caption of each item that has both" in text
    assert record["gallery"]["searched"] == {"image": 30, "text": 30}
    for signature in tf.saved_model.load(str(exported)).signatures:
        assert f"## {signature}\n" in text
    assert "| output | `category_posterior` | float32 | (n, 7) |" in text
    assert "| input | `text_features` | float32 | (n, 5) |" in text
    assert "| output | `ids` | string | (n, 7) |" in text
    assert "rejected (INVALID_ARGUMENT)" in text and "all empty if the query was not" in text
    assert record["settings"]["epochs"] == 2 and "output_dir" not in record["settings"]
    assert str(run) not in text + json.dumps(record)


def test_warm_up_requests_are_answered(exported):
    """Replayed as a server does it: each names a signature and inputs that it takes."""
    loaded = tf.saved_model.load(str(exported)).signatures
    met = []
    path = str(exported / "assets.extra" / "tf_serving_warmup_requests")
    for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        assert request.model_spec.name == "pairs"
        inputs = {k: tf.constant(tf.make_ndarray(v)) for k, v in request.inputs.items()}
        outputs = loaded[request.model_spec.signature_name](**inputs)
        met.append((request.model_spec.signature_name, len(next(iter(outputs.values())))))
    assert sorted(met) == sorted((name, size) for name in loaded for size in (1, 8))


def test_what_a_page_shows_of_the_gallery(exported, feature_file):
    with np.load(exported / "assets.extra" / "gallery.npz", allow_pickle=False) as arrays:
        assert sorted(arrays) == ["category", "id", "image", "text", "title"]
        assert arrays["id"].tolist() == [f"test/{row}" for row in range(30)]
        assert arrays["category"].tolist() == ["cat", "dog", "bird"] * 10


def test_by_default_all_items_are_searched(run, exported_all, feature_file):
    record = json.loads((exported_all / "assets.extra" / "run.json").read_text())
    assert record["gallery"]["source"] == "all items of the run's data set"
    with np.load(exported_all / "assets.extra" / "gallery.npz") as arrays:
        ids = arrays["id"].tolist()
    assert len(ids) == len(set(ids)) == record["gallery"]["size"] == 120
    assert ids[-30:] == [f"test/{row}" for row in range(30)]
    assert {name.split("/")[0] for name in ids[:-30]} == {"train"}
    with np.load(feature_file) as arrays:
        image, text = (arrays[f"{m}_train"].astype(np.float32) for m in MODALITIES)
    found = tf.saved_model.load(str(exported_all)).signatures["search_images_by_text"](
        text_features=tf.constant(text)
    )
    trained = TrainedRun(run)
    sides = trained.encoder.represent_pairs(image, text, "item")
    best = (sides[1].numpy() @ _mean(sides).T).max(axis=1)
    assert (found["scores"][:, 0].numpy() >= best - 1e-5).all()


def test_hits_have_categories_with_their_own_posteriors(run, exported, feature_file):
    with np.load(feature_file) as arrays:
        image, text = (arrays[f"{m}_test"].astype(np.float32) for m in MODALITIES)
    captions = text.copy()
    text[0] = 0
    found = tf.saved_model.load(str(exported)).signatures["search_images_by_text"](
        text_features=tf.constant(text)
    )
    encoder = load_encoder(RunFolder(run).best)
    of_texts = encoder.represent(encoder.encodings_of("text", text), "posterior", "text")
    rows = np.char.replace(found["ids"][1:].numpy().astype(str), "test/", "").astype(int)
    names = np.array(["cat", "dog", "bird"])
    np.testing.assert_array_equal(found["category"][1:].numpy().astype(str), names[rows % 3])
    items = _mean(encoder.represent_pairs(image, captions, "posterior"))
    expected = items[rows, rows % 3]
    np.testing.assert_allclose(found["category_posterior"][1:], expected, atol=1e-6)
    best = of_texts.numpy()[1:].argmax(axis=1)
    np.testing.assert_array_equal(found["query_category"][1:].numpy().astype(str), names[best])
    np.testing.assert_allclose(
        found["query_category_posterior"][1:], of_texts.numpy()[1:].max(axis=1), atol=1e-6
    )
    # Of a query of zeros nothing is known.
    assert set(found["category"][0].numpy()) == {b""} and found["query_category"][0] == b""
    assert found["query_category_posterior"][0] == 0


def test_a_query_without_a_good_match_is_marked(run, tmp_path, feature_file):
    """The threshold is that of the gallery: with training items, or of others."""
    with np.load(feature_file) as arrays:
        image, text = (arrays[f"{m}_test"].astype(np.float32) for m in MODALITIES)
    captions = text.copy()
    text[3] = 0
    encoder = load_encoder(RunFolder(run).best).replaced(item_weight=0.5)
    queries = encoder.represent_pairs(image, text, "item")[1].numpy()
    items = _mean(encoder.represent_pairs(image, captions, "item"))
    queries, items = (
        encoder.with_caption_features(x, encoder.caption_features(texts)).numpy()
        for x, texts in ((queries, text), (items, captions))
    )
    rows, _ = rank_gallery(queries, items, 3)
    own, hits = (encoder.items_of(embeddings) for embeddings in (queries, items))
    expected = np.einsum("qd,qkd->qk", own, hits[rows]).mean(axis=1)
    middle = float(np.sort(expected)[14:16].mean())
    shutil.copytree(run, tmp_path / "run")
    chosen = {"all": {"text": 2.0}, "test": {"text": middle, "image": -2.0}}
    encoder.replaced(match_thresholds=chosen).save(RunFolder(tmp_path / "run").best)
    version = export_run(tmp_path / "run", tmp_path, gallery=["test"])
    loaded = tf.saved_model.load(str(version)).signatures
    found = loaded["search_images_by_text"](text_features=tf.constant(text))
    flags = (expected < middle) | (np.arange(30) == 3)
    np.testing.assert_array_equal(found["no_good_match"], flags)
    assert flags.sum() in (15, 16)
    found = loaded["search_texts_by_image"](image_features=tf.constant(image))
    assert not found["no_good_match"].numpy().any()
    version = export_run(tmp_path / "run", tmp_path)
    loaded = tf.saved_model.load(str(version)).signatures
    found = loaded["search_images_by_text"](text_features=tf.constant(text))
    assert found["no_good_match"].numpy().all()
    # The run has no threshold for the other direction.
    assert "no_good_match" not in loaded["search_texts_by_image"].structured_outputs


@pytest.fixture
def captions_file(tmp_path):
    """Images with one to three captions, one text twice, an unknown image and an unknown text."""
    rng = np.random.default_rng(5)
    image = np.repeat(rng.normal(size=(6, 8)), [1, 2, 3, 1, 1, 1], axis=0).astype(np.float32)
    text = rng.normal(size=(9, 5)).astype(np.float32)
    image[7], text[8] = 0, 0
    title = np.array([f"caption {row}" for row in (0, 1, 2, 3, 4, 3, 6, 7, 8)])
    path = tmp_path / "captions.npz"
    np.savez(path, image=image, text=text, title=title, id=np.arange(9))
    return path


@pytest.mark.parametrize("compared", ["image", "and caption", "and caption features"])
def test_searches_find_the_same_as_in_python(run, captions_file, tmp_path, monkeypatch, compared):
    shutil.copytree(run, tmp_path / "run")
    best = RunFolder(tmp_path / "run").best
    load_encoder(best).replaced(item_weight=0.5).save(best)
    trained = TrainedRun(tmp_path / "run")
    assert trained.similarity == "item"
    combined, by_features = compared != "image", compared == "and caption features"
    mapped = trained.encoder.text_map.output_dim
    numbers = 9 * (3 + trained.encoder.item_dim + mapped * by_features)
    monkeypatch.setattr(
        gallery_files.embeddings, "MAX_COMBINED", numbers if combined else numbers - 1
    )
    version = export_run(tmp_path / "run", tmp_path, gallery=[captions_file], depth=9)
    record = json.loads((version / "assets.extra" / "run.json").read_text())["gallery"]
    assert record["captions"] is combined and record["caption_features"] is by_features
    assert record["searched"] == {"image": 6, "text": 8}
    readme = (version / "assets.extra" / "README.md").read_text(encoding="utf-8")
    assert ("both the image and the caption" in readme) is combined
    assert ("add 4 times the mean cosine" in readme) is by_features
    loaded = tf.saved_model.load(str(version)).signatures
    rng = np.random.default_rng(6)
    gallery = OpenGallery(trained, [str(captions_file)], tmp_path / "cache")
    for modality, other, dim, size in (("image", "text", 5, 6), ("text", "image", 8, 8)):
        items = gallery.embedded(modality)
        embeddings = items.features[modality]
        with np.load(captions_file) as arrays:
            rows = items.id.astype(int)
            alone = trained.represent(modality, arrays[modality][rows])
        width = alone.shape[1] + mapped * (by_features and modality == "image")
        assert embeddings.shape == (len(rows), width)
        first = trained.encoder.num_classes
        assert (np.abs(embeddings[:, :first] - alone[:, :first]).max() > 0.01) == combined
        queries = rng.normal(size=(4, dim)).astype(np.float32)
        index = make_index("exact")
        index.index(embeddings, items.id)
        expected = index.query(trained.represent(other, queries, width), 9)
        signature = loaded[f"search_{modality}s_by_{other}"]
        found = signature(**{f"{other}_features": tf.constant(queries)})
        assert found["ids"].shape == (4, size)
        np.testing.assert_array_equal(found["ids"].numpy().astype(str), expected.ids)
        np.testing.assert_allclose(found["scores"], expected.scores, atol=1e-6)


def test_a_run_ends_with_an_export(run, exported_all):
    version = run / "models" / "xgacmn" / "1"
    assert [path.name for path in version.parent.iterdir()] == ["1"]
    name, query = "search_images_by_text", tf.ones([1, 5])
    ours, theirs = (
        tf.saved_model.load(str(path)).signatures[name](text_features=query)["ids"].numpy()
        for path in (version, exported_all)
    )
    np.testing.assert_array_equal(ours[:, :7], theirs)


@pytest.mark.slow
def test_a_run_killed_after_its_export_does_not_export_again(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / "metrics.json").unlink()
    settings = RunFolder(copy).recorded_config()
    experiment.run(settings.replace(output_dir=str(copy)))
    assert [path.name for path in (copy / "models" / "xgacmn").iterdir()] == ["1"]


def test_the_gallery_can_be_extended(run, tmp_path):
    np.savez(tmp_path / "new.npz", image=np.ones((1, 8)), text=np.ones((1, 5)), id=["new"])
    version = export_run(run, tmp_path, gallery=["test", tmp_path / "new.npz"], depth=50)
    loaded = tf.saved_model.load(str(version)).signatures
    outputs = loaded["search_texts_by_image"](image_features=tf.ones([1, 8]))
    found = sorted(outputs["ids"].numpy().astype(str)[0])
    assert found == sorted(["new", *(f"test/{row}" for row in range(30))])


def test_the_gallery_can_be_replaced(run, exported, tmp_path):
    image = np.random.default_rng(1).normal(size=(5, 8))
    np.savez(tmp_path / "new.npz", image=image, id=np.arange(5) + 40, title=np.array(list("ábcde")))
    version = export_run(run, exported.parents[1], "pairs", gallery=[tmp_path / "new.npz"])
    assert version.name == str(int(exported.name) + 1)
    loaded = tf.saved_model.load(str(version)).signatures
    # It holds pictures only, so texts cannot be searched for.
    assert "search_texts_by_image" not in loaded and "encode_image" in loaded
    query = np.random.default_rng(2).normal(size=(4, 5)).astype(np.float32)
    outputs = loaded["search_images_by_text"](text_features=tf.constant(query))
    encoder = load_encoder(RunFolder(run).best)
    v, t = encoder.codes(image.astype(np.float32), query)
    sides = encoder.represent(v, "posterior", "image"), encoder.represent(t, "posterior", "text")
    rows, _ = rank_gallery(sides[1], sides[0], 10)  # all 5, fewer than the depth of 10
    np.testing.assert_array_equal(outputs["ids"].numpy().astype(str), (rows + 40).astype(str))
    titles = [[title.decode() for title in row] for row in outputs["titles"].numpy()]
    assert titles == [["ábcde"[row] for row in order] for order in rows]


def test_an_image_with_several_captions_is_searched_once(run, tmp_path):
    image = np.repeat(np.random.default_rng(3).normal(size=(4, 8)), 3, axis=0).astype(np.float32)
    text = np.random.default_rng(4).normal(size=(12, 5)).astype(np.float32)
    captions = np.array([f"caption {row}" for row in range(12)])
    np.savez(tmp_path / "captions.npz", image=image, text=text, id=np.arange(12), title=captions)
    version = export_run(run, tmp_path, gallery=[tmp_path / "captions.npz"], depth=10)
    loaded = tf.saved_model.load(str(version)).signatures
    images = loaded["search_images_by_text"](text_features=tf.constant(text))
    assert images["ids"].shape == (12, 4)
    assert (np.sort(images["ids"].numpy().astype(int), axis=1) == [0, 3, 6, 9]).all()
    place = images["ids"].numpy()[0].tolist().index(b"3")
    assert images["titles"].numpy()[0, place] == b"caption 3 | caption 4 | caption 5"
    texts = loaded["search_texts_by_image"](image_features=tf.constant(image[:1]))
    assert texts["ids"].shape == (1, 10)
    record = json.loads((version / "assets.extra" / "run.json").read_text())["gallery"]
    assert (record["size"], record["searched"]) == (12, {"image": 4, "text": 12})
    readme = (version / "assets.extra" / "README.md").read_text(encoding="utf-8")
    assert "searched: 4 distinct images, 12 texts" in readme
    assert "| output | `ids` | string | (n, 4) |" in readme
    # The page can show whatever is found.
    with np.load(version / "assets.extra" / "gallery.npz") as arrays:
        assert arrays["id"].tolist() == [str(row) for row in range(12)]


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"image": np.zeros((1, 8)), "id": np.array([""])}, "the id of row 0 is empty"),
        ({"id": np.arange(2)}, "expected id, image or text features"),
        ({"image": np.zeros((2, 7)), "id": np.arange(2)}, r"shape \(2, 7\).*expected.*\(2, 8\)"),
        ({"image": np.zeros((3, 8)), "id": np.arange(2)}, r"shape \(3, 8\).*expected.*\(2, 8\)"),
        ({"image": np.full((2, 8), np.nan), "id": np.arange(2)}, "16 values that are NaN"),
        ({"image": np.full((2, 8), 1e300), "id": np.arange(2)}, "beyond float32"),
        (
            {"image": np.zeros((2, 8)), "id": np.array(["a", "a"])},
            "rows 0 and 1 both have the id 'a'",
        ),
        ({"image": np.zeros((2, 8)), "id": np.zeros((2, 1))}, "one string or whole number"),
        ({"image": np.zeros((0, 8)), "id": np.zeros(0, int)}, "at least one"),
        ({"image": np.zeros((1, 8)), "id": np.array(["\ud800"])}, "id is not valid Unicode"),
        (
            {"image": np.zeros((2, 8)), "id": np.arange(2), "title": np.array(["a"])},
            "expected 2 strings",
        ),
    ],
)
def test_galleries_that_do_not_fit(run, tmp_path, arrays, message):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(InputError, match=message):
        export_run(run, tmp_path / "models", gallery=[tmp_path / "bad.npz"])
    assert not (tmp_path / "models").exists()


def test_an_interrupted_export_leaves_nothing(run, tmp_path, monkeypatch):
    def interrupt(extra, *_):
        # The model itself is written by now, under a name that no server takes for a version.
        path = extra.parent
        assert (path / "saved_model.pb").is_file() and not path.name.isdigit()
        assert versions(path.parent) == []
        raise KeyboardInterrupt

    monkeypatch.setattr(savedmodel, "write_warmup_requests", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export_run(run, tmp_path)
    assert list((tmp_path / "xgacmn").iterdir()) == []


@pytest.mark.parametrize(
    "image_map, similarity, layer",
    [
        ("chi2", "dot", None),
        ("hellinger", "posterior", PlainSoftmax),
        ("none", "cosine", AngularSoftmax),
        ("rbf", "posterior", AngularSoftmax),
        ("rank", "cosine", None),
        ("whiten", "dot", PlainSoftmax),
    ],
)
def test_every_map_class_layer_and_similarity(
    pairs, make_run, tmp_path, image_map, similarity, layer
):
    layer = layer and layer(3)
    config = Config.of(dataset="gone.npz")
    folder, encoder = make_run(tmp_path / "run", pairs, config, similarity, image_map, layer)
    image, text = pairs.test.image, pairs.test.text
    np.savez(tmp_path / "new.npz", image=image, text=text, id=pairs.test.id)
    version = export_run(folder.path, tmp_path / "models", gallery=[tmp_path / "new.npz"], depth=3)
    loaded = tf.saved_model.load(str(version)).signatures
    codes = encoder.codes(image, text)
    outputs = loaded["encode_image"](image_features=tf.constant(image))
    assert ("posterior" in outputs) == (layer is not None)
    expected = encoder.represent(codes[0], "cosine")
    np.testing.assert_allclose(outputs["embedding"], expected, atol=1e-6, rtol=0)
    sides = encoder.represent_pairs(image, text, similarity)
    rows, scores = rank_gallery(sides[0], sides[1], 3)
    outputs = loaded["search_texts_by_image"](image_features=tf.constant(image))
    np.testing.assert_allclose(outputs["scores"], scores, atol=1e-5, rtol=0)
    np.testing.assert_array_equal(outputs["ids"].numpy().astype(str), pairs.test.id[rows])


def test_runs_that_cannot_be_exported(run, feature_file, tmp_path):
    with pytest.raises(InputError, match="there is no finished run"):
        export_run(tmp_path, tmp_path / "models")
    with pytest.raises(InputError, match="--depth=0"):
        export_run(run, tmp_path, depth=0)
    for name in ("", "../up", "a/b", ".hidden", "a b"):
        with pytest.raises(InputError, match="begins with a letter or digit"):
            export_run(run, tmp_path, name)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        export_run(run, tmp_path / "file")
    content = feature_file.read_bytes()
    try:
        with np.load(feature_file) as arrays:
            np.savez(feature_file, **{**arrays, "image_test": arrays["image_test"] + 1})
        with pytest.raises(InputError, match="was trained on other contents"):
            export_run(run, tmp_path / "models")
    finally:
        feature_file.write_bytes(content)


def test_the_command(run, tmp_path, call):
    done = call(
        export.main,
        f"--run={run}",
        f"--output={tmp_path}",
        "--name=pairs",
        "--version=3",
        "--depth=2",
    )
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/pairs/3\n"), done.stderr
    loaded = tf.saved_model.load(f"{tmp_path}/pairs/3").signatures
    assert loaded["search_images_by_text"].structured_outputs["ids"].shape == [None, 2]
    for arguments in (
        (f"--run={run}",),
        (f"--run={run}", f"--output={tmp_path}", "--name=pairs", "--version=3"),
        ("--depth=many",),
        ("--what=1",),
        ("stray",),
    ):
        done = call(export.main, *arguments)
        assert done.returncode == 2 and not done.stdout, arguments
        last = done.stderr.splitlines()[-1]
        assert last.startswith("error: ")
        assert [line for line in done.stderr.splitlines() if "Traceback" in line] == []
