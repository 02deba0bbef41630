"""Item embeddings in a run: the paper's numbers stay, the item is found, the weight is chosen."""

import dataclasses
import json
import re

import numpy as np
import pytest

from xgacmn_tf import datasets, experiment
from xgacmn_tf import gallery as gallery_module
from xgacmn_tf.errors import InputError
from xgacmn_tf.export.savedmodel import export_run
from xgacmn_tf.gallery import from_split, search_embeddings
from xgacmn_tf.runs.checkpoint import load_encoder
from xgacmn_tf.runs.folder import RunFolder
from xgacmn_tf.runs.items import add_items, hold_out_predicted, train_items
from xgacmn_tf.runs.trained import TrainedRun
from xgacmn_tf.search.opening import OpenGallery
from xgacmn_tf.settings.config import Config
from xgacmn_tf.training import items, match_thresholds

LATENT = 8


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """Pairs with something in common that their category does not tell."""
    rng = np.random.default_rng(0)
    to = {"image": rng.normal(size=(LATENT, 20)), "text": rng.normal(size=(LATENT, 15))}
    centers = 2 * rng.normal(size=(4, LATENT))
    data = {}
    for part, rows in (("train", 300), ("test", 100)):
        label = np.arange(rows) % 4
        own = centers[label] + rng.normal(size=(rows, LATENT))
        data[f"label_{part}"] = label
        for modality, matrix in to.items():
            data[f"{modality}_{part}"] = own @ matrix + 0.1 * rng.normal(size=(rows, len(matrix.T)))
    path = tmp_path_factory.mktemp("items") / "data.npz"
    np.savez(path, **data)
    return path


@pytest.fixture(scope="module")
def config(features):
    return Config.of(
        dataset=str(features),
        encoder_hidden=(32, 16),
        code_dim=8,
        feature_discriminator_hidden=12,
        common_discriminator_hidden=5,
        epochs=8,
        item_hidden=(64,),
        item_dim=16,
        item_dropout=0.1,
        item_batch_size=64,
        item_epochs=60,
    )


@pytest.fixture(scope="module")
def runs(config, tmp_path_factory):
    """The folders and metrics of a run with item embeddings and of one without."""
    found = {}
    for on in (True, False):
        folder = tmp_path_factory.mktemp("run") / "run"
        own = config.replace(item_embedding=on, export=on, output_dir=str(folder))
        experiment.run(own)
        found[on] = RunFolder(folder), json.loads((folder / "metrics.json").read_text())
    return found


def test_the_papers_numbers_are_the_same_with_and_without(runs):
    (on, with_items), (off, without) = runs[True], runs[False]
    assert set(with_items["test"]) - set(without["test"]) == {"item"}
    for similarity, measures in without["test"].items():
        assert with_items["test"][similarity] == measures
    assert with_items["calibration"] == without["calibration"]
    with np.load(on.embeddings) as a, np.load(off.embeddings) as b:
        for name in ("image", "text", "image_posterior", "text_posterior"):
            np.testing.assert_array_equal(a[name], b[name])
        np.testing.assert_array_equal(b["search_image"], b["image_posterior"])


def test_the_item_is_found(runs):
    metrics = runs[True][1]
    posterior, item = metrics["test"]["posterior"], metrics["test"]["item"]
    assert item["R@10"]["avg"] > posterior["R@10"]["avg"] + 0.2
    assert item["mAP"]["avg"] > posterior["mAP"]["avg"] - 0.1
    found = metrics["item_embedding"]
    assert found["weight"] in items.WEIGHTS and found["weight"] > 0
    assert 0 < found["epochs"] <= 60 and found["validation_R@10"] > 0.3
    assert metrics["headline_similarity"] == "posterior"
    assert metrics["search_similarity"] == "item"


def test_item_is_posteriors_and_the_weighted_cosine_of_item_embeddings(runs):
    folder, metrics = runs[True]
    encoder = load_encoder(folder.best)
    with np.load(folder.embeddings) as arrays:
        posterior = arrays["image_posterior"] @ arrays["text_posterior"].T
        total = arrays["search_image"] @ arrays["search_text"].T
    test = datasets.for_config(folder.recorded_config()).test
    own = [
        encoder.encodings_of(m, getattr(test, m)).numpy()[:, encoder.code_dim :]
        for m in ("image", "text")
    ]
    np.testing.assert_allclose(np.linalg.norm(own[0], axis=1), 1, rtol=1e-5)
    weight = metrics["item_embedding"]["weight"]
    np.testing.assert_allclose(total, posterior + weight * own[0] @ own[1].T, atol=1e-5)


def test_searches_rank_by_it(runs):
    folder, _ = runs[True]
    run = TrainedRun(folder.path)
    assert run.similarity == "item"
    np.testing.assert_allclose(
        run.test_embeddings("text"), run.represent("text", run.dataset().test.text), atol=1e-6
    )
    assert TrainedRun(runs[False][0].path).similarity == "posterior"


@pytest.mark.parametrize("kind", ["exact", "hnsw"])
def test_queries_are_compared_with_captions_by_their_features(runs, kind, tmp_path):
    if kind == "hnsw":
        pytest.importorskip("faiss")
    run = TrainedRun(runs[True][0].path)
    text = run.dataset().test.text
    gallery = OpenGallery(run, ["test"], tmp_path)
    items = gallery.embedded("image")
    width = items.features["image"].shape[1]
    index, manner = gallery.engine(items, kind)
    # An index is tuned with queries that have caption features as well.
    assert kind == "exact" or re.search(r"recall@10 (0\.99|1\.0)", manner)
    queries = run.test_embeddings("text", width)
    np.testing.assert_allclose(queries, run.represent("text", text, width), atol=1e-6)
    found = index.query(queries, 1).ids[:, 0]
    assert (found == run.dataset().test.id).mean() > 0.95
    narrow = run.test_embeddings("text")
    assert narrow.shape[1] == width - run.encoder.text_map.output_dim


def test_the_exported_search_ranks_by_it(runs):
    tf = pytest.importorskip("tensorflow")
    folder, _ = runs[True]
    test = datasets.for_config(folder.recorded_config()).test
    version = export_run(folder.path, folder.path / "of_test", gallery=["test"])
    model = tf.saved_model.load(str(version))
    found = model.signatures["search_images_by_text"](text_features=tf.constant(test.text))
    with np.load(folder.embeddings) as arrays:
        items = (arrays["search_image"] + arrays["search_text"]) / 2
        scores = arrays["search_text"].astype(np.float64) @ items.T
    captions = load_encoder(folder.best).caption_features(test.text).numpy()
    scores += captions @ captions.T
    best = test.id[scores.argmax(axis=1)]
    assert (found["ids"].numpy()[:, 0].astype(str) == best).mean() > 0.98
    for modality in ("image", "text"):
        features = {f"{modality}_features": tf.constant(getattr(test, modality))}
        encoded = model.signatures[f"encode_{modality}"](**features)
        with np.load(folder.embeddings) as arrays:
            np.testing.assert_allclose(encoded["search"], arrays[f"search_{modality}"], atol=1e-5)


def test_match_thresholds_are_stored_and_tell_matched_from_unmatched(runs):
    folder, metrics = runs[True]
    found = metrics["item_embedding"]["match"]
    thresholds = load_encoder(folder.best).match_thresholds
    assert set(found) == set(thresholds) == {"all", "test"}
    for split, ways in found.items():
        assert set(ways) == {"image", "text"}
        for modality, measured in ways.items():
            assert thresholds[split][modality] == measured["threshold"]
            assert measured["matched_rejected"] <= 0.06 + 1 / measured["queries"]
            assert measured["unmatched_rejected"] > 3 * measured["matched_rejected"]
    assert load_encoder(runs[False][0].best).match_thresholds == {}


def test_match_scores_by_hand(config, runs):
    """Of each validation query: the cosines with its three best items, with and without its own."""
    dataset = datasets.for_config(config)
    encoder = load_encoder(runs[True][0].best).replaced(item_weight=0.3)
    split = dataset.validation
    v, t = (encoder.encodings_of(m, getattr(split, m)).numpy() for m in ("image", "text"))
    sides = encoder.represent(v, "item", "image"), encoder.represent(t, "item", "text")
    scores = sides[1].numpy().astype(np.float64) @ sides[0].numpy().T
    cosines = t[:, encoder.code_dim :] @ v[:, encoder.code_dim :].T
    found = match_thresholds._match_scores(encoder, dataset, split, [split], "text")
    for without, measured in zip((False, True), found, strict=True):
        expected = []
        for row, label in enumerate(split.label):
            allowed = np.flatnonzero((split.label != label) | (not without))
            best = allowed[np.argsort(-scores[row, allowed])[:3]]
            expected.append(cosines[row, best].mean())
        assert len(measured) == len(split)
        assert np.isclose(measured, expected, atol=1e-4).mean() > 0.95  # But for near ties.


def test_training_items_are_offered_by_image_and_caption(config, runs, monkeypatch):
    """As searches of all items compare them; validation items by what queries are compared with."""
    dataset = datasets.for_config(config)
    encoder = load_encoder(runs[True][0].best).replaced(item_weight=0.3)
    train, validation = dataset.train, dataset.validation
    for modality in ("image", "text"):
        splits, offered, vectors = match_thresholds._offered(
            encoder, [train, validation], dataset.label_names, modality
        )
        assert [split.id.tolist() for split in splits] == [
            train.id.tolist(),
            validation.id.tolist(),
        ]
        gallery = from_split(train, dataset.label_names)
        searched, combined = search_embeddings(
            encoder, "item", gallery, modality, caption_features=False
        )
        assert searched.id.tolist() == train.id.tolist()
        features = getattr(validation, modality)
        alone = encoder.represent(encoder.encodings_of(modality, features), "item", modality)
        expected = np.concatenate([combined, alone])
        np.testing.assert_allclose(offered[:], expected, atol=1e-6)
        np.testing.assert_allclose(vectors, encoder.items_of(expected), atol=1e-5)
        with monkeypatch.context() as patch:
            patch.setattr(gallery_module.embeddings, "MAX_COMBINED", combined.size - 1)
            apart = match_thresholds._offered(
                encoder, [train, validation], dataset.label_names, modality
            )[1]
        assert np.abs(apart[: len(train)] - combined).max() > 0.01
        np.testing.assert_allclose(apart[len(train) :], alone, atol=1e-6)


def test_queries_of_zeros_choose_no_threshold(config, runs):
    dataset = datasets.for_config(config)
    encoder = load_encoder(runs[True][0].best)
    split = dataclasses.replace(dataset.validation, text=np.zeros_like(dataset.validation.text))
    found = match_thresholds.choose_match_thresholds(
        encoder, dataclasses.replace(dataset, validation=split), seed=0
    )
    assert set(found["test"]) == set(found["all"]) == {"image"}


@pytest.mark.parametrize("given", [{"all": {"image": np.nan}}, {"some": {"text": 0.1}}])
def test_thresholds_of_a_damaged_file_are_rejected(runs, given):
    with pytest.raises(ValueError, match="match_thresholds=.*expected a finite number"):
        load_encoder(runs[True][0].best).replaced(match_thresholds=given)


def test_the_same_seed_gives_the_same_towers(config, runs):
    dataset = datasets.for_config(config)
    encoder = load_encoder(runs[True][0].selected)
    one, two = (train_items(config, dataset, encoder, epochs=3) for _ in range(2))
    for modality in ("image", "text"):
        weights = [result.towers[modality].get_weights() for result in (one, two)]
        for a, b in zip(*weights, strict=True):
            np.testing.assert_array_equal(a, b)


def test_without_a_validation_split_all_epochs_are_trained(config, runs):
    dataset = datasets.load(config.data.dataset)
    encoder = load_encoder(runs[True][0].selected)
    own = config.replace(validation_fraction=0.0, item_epochs=3)
    found, facts = add_items(own, dataset, encoder, encoder)
    assert facts == {"epochs": 3, "weight": items.DEFAULT_WEIGHT, "validation_R@10": None}
    assert found.item_weight == items.DEFAULT_WEIGHT
    given = own.replace(item_weight=0.7, item_epochs=1)
    assert add_items(given, dataset, encoder, encoder)[0].item_weight == 0.7


@pytest.mark.slow
def test_few_labels_choose_on_pairs_with_predicted_categories(config, runs):
    dataset = datasets.load(config.data.dataset)
    encoder = load_encoder(runs[True][0].selected)
    assert hold_out_predicted(dataset, encoder, seed=0) is dataset
    few = np.where(np.arange(300) < 40, dataset.train.label, -1)
    dataset = dataclasses.replace(dataset, train=dataclasses.replace(dataset.train, label=few))
    held = hold_out_predicted(dataset, encoder, seed=0)
    assert (len(held.train), len(held.validation)) == (240, 60)
    for split in (held.train, held.validation):
        rows = np.array([int(name.removeprefix("train/")) for name in split.id])
        known = few[rows] >= 0
        np.testing.assert_array_equal(split.label[known], few[rows][known])
        assert (split.label == rows % 4).mean() > 0.5
    found, facts = add_items(config.replace(item_epochs=30), dataset, encoder, encoder)
    assert facts["validation_R@10"] > 0.5
    assert facts["match"]["test"]["image"]["queries"] == 60
    assert found.item_weight == facts["weight"]
    none = config.replace(validation_fraction=0.0, item_epochs=2)
    assert add_items(none, dataset, encoder, encoder)[1]["validation_R@10"] is None


def test_a_weight_may_lose_little_of_the_category(config, runs, monkeypatch):
    dataset = datasets.for_config(config)
    encoder = load_encoder(runs[True][0].best)
    monkeypatch.setattr(items, "MAX_LOSS", 0.0)
    strict = items.choose_weight(encoder, dataset, seed=0)
    monkeypatch.setattr(items, "MAX_LOSS", 1.0)
    assert items.choose_weight(encoder, dataset, seed=0) >= strict


def test_folders_of_runs_without_item_embeddings_are_found_again(tmp_path):
    """The digits are those of the version before item embeddings, of what were defaults then."""
    former = {"map_choice": "rule", "generator_learning_rate": 3e-4, "label_smoothing": 0.0}
    former |= {"validation_fraction": 0.2, "item_embedding": False}
    former |= {"feature_discriminator_hidden": 2000}
    plain = Config.of(dataset="wikipedia", epochs=16, **former)
    assert plain.fingerprint() == "f7498217"
    for name, value in {"item_embedding": True, "map_choice": "evidence"}.items():
        assert plain.replace(**{name: value}).fingerprint() != "f7498217"
    settings = {k: v for k, v in plain.flat().items() if not k.startswith("item_")}
    folder = RunFolder(tmp_path)
    folder.config.write_text(json.dumps({"settings": settings, "data_fingerprint": "0"}))
    folder.claim(plain, "0")
    assert folder.recorded_config().result_settings() == plain.result_settings()
    with pytest.raises(InputError, match="item_embedding False there, True now"):
        folder.claim(plain.replace(item_embedding=True), "0")


def test_training_images_with_several_captions_are_offered_once(config, runs):
    dataset = datasets.for_config(config)
    encoder = load_encoder(runs[True][0].best).replaced(item_weight=0.3)
    train = dataset.train
    again = dataclasses.replace(
        train.take(np.arange(3)), text=train.text[3:6], id=np.array(["a", "b", "c"])
    )
    splits, offered, _ = match_thresholds._offered(
        encoder, [train.followed_by(again), dataset.validation], dataset.label_names, "image"
    )
    assert splits[0].id.tolist() == train.id.tolist()
    assert len(offered) == len(train) + len(dataset.validation)
