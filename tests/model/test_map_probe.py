"""`model.map_probe` and the choice of input maps by evidence."""

import types

import numpy as np
import pytest
from sklearn import datasets
from sklearn.kernel_ridge import KernelRidge

import xgacmn_tf as xg
from xgacmn_tf.model import map_choice, map_probe
from xgacmn_tf.model.component_maps import GaussianKernelPCA

RANDOM = np.random.default_rng(0)
DIGITS = datasets.load_digits()
SETTINGS = {
    "image_map": "auto",
    "text_map": "auto",
    "map_choice": "evidence",
    "chi2_gamma": 2.0,
}


def centered(kernel):
    mean = kernel.mean(axis=0)
    return kernel - mean[:, None] - mean[None, :] + mean.mean()


def test_leave_one_out_predictions_are_those_of_refits(monkeypatch):
    features, label = DIGITS.data[:40], DIGITS.target[:40]
    targets = (label[:, None] == np.arange(10)).astype(float)
    kernel = map_probe.gaussian_kernel(features)
    monkeypatch.setattr(map_probe, "PENALTIES", np.array([0.1]))
    losses = map_probe.leave_one_out_losses(kernel, targets)

    # Ridge regression with an intercept, on all rows but one. The kernel is scaled to trace n.
    scale = len(kernel) / np.trace(centered(kernel))
    scores = np.empty_like(targets)
    for row in range(len(kernel)):
        others = np.arange(len(kernel)) != row
        inner = kernel[np.ix_(others, others)] * scale
        mean = inner.mean(axis=0)
        at_row = kernel[row, others] * scale
        at_row = at_row - at_row.mean() - mean + mean.mean()
        ridge = KernelRidge(alpha=0.1, kernel="precomputed")
        shift = targets[others].mean(axis=0)
        ridge.fit(centered(inner), targets[others] - shift)
        scores[row] = ridge.predict(at_row[None])[0] + shift
    prior = targets.mean(axis=0)

    def loss(log_factor):
        logits = np.exp(log_factor) * (scores - prior) + np.log(prior + map_probe.MIN_SHARE)
        return -(logits[np.arange(40), label] - np.log(np.exp(logits).sum(axis=1)))

    best = min((loss(value) for value in np.linspace(-1, 4, 501)), key=np.mean)
    assert losses.mean() == pytest.approx(best.mean(), abs=1e-3)


def test_a_leaking_mean_does_not_make_random_labels_predictable():
    features = RANDOM.normal(size=(60, 200))
    targets = np.eye(3)[np.arange(60) % 3]
    losses = map_probe.leave_one_out_losses(map_probe.gaussian_kernel(features), targets)
    assert losses.mean() > 0.95 * np.log(3)


def test_rows_are_labeled_and_of_different_groups():
    label = np.array([0, -1, 1, 1, 2])
    rows, targets = map_probe.probed_rows(label, np.array(["a", "b", "a", "c", "d"]))
    assert rows.tolist() == [0, 3, 4]
    assert targets.astype(int).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    rows, targets = map_probe.probed_rows(np.array([[1, 0, 1], [0, 0, 0], [1, 0, 0]]), None)
    assert rows.tolist() == [0, 2] and targets.tolist() == [[1, 1], [1, 0]]


def test_many_rows_are_sampled_from_the_whole_split():
    rows, _ = map_probe.probed_rows(np.arange(3000) // 300, None)
    assert len(rows) == map_probe.MAX_ROWS and rows[0] == 0 and rows[-1] == 2999


def test_evidence_takes_unit_length_where_only_directions_tell():
    label = np.arange(300) % 3
    directions = RANDOM.normal(size=(3, 20))[label] + 0.8 * RANDOM.normal(size=(300, 20))
    features = (directions * RANDOM.lognormal(sigma=2.0, size=(300, 1))).astype(np.float32)
    evidence = map_choice.weigh_maps(features, label)
    assert evidence.preferred == "zscore" and evidence.chosen == "unit"
    assert evidence.log_loss["unit"] < 0.9 * evidence.log_loss["zscore"]
    assert "unit" in str(evidence)


def test_the_preferred_map_wins_ties():
    label = np.arange(300) % 3
    features = (RANDOM.normal(size=(3, 6))[label] + RANDOM.normal(size=(300, 6))).astype(np.float32)
    assert map_choice.weigh_maps(features, label).chosen == "zscore"


@pytest.mark.parametrize(("rows", "dim"), [(300, 30), (100, 5)])
def test_few_pairs_at_all_or_for_each_feature_prefer_the_gaussian_kernel(rows, dim):
    features = RANDOM.normal(size=(rows, dim)).astype(np.float32)
    assert map_choice.preferred_map(features) == "zscore"
    assert map_choice.preferred_map(features[1:]) == "rbf"


def test_few_histograms_keep_their_map():
    assert map_choice.preferred_map(RANDOM.dirichlet(np.ones(50), 60)) == "chi2"


@pytest.mark.parametrize("label", [np.zeros(40, int), np.full(40, -1)])
def test_without_categories_to_predict_the_preferred_map_is_taken(label):
    evidence = map_choice.weigh_maps(DIGITS.data[:40].astype(np.float32), label)
    assert evidence.chosen == evidence.preferred and evidence.log_loss == {}


@pytest.mark.parametrize("features", [np.zeros((40, 3)), np.ones((40, 3))])
def test_constant_features_are_probed(features):
    evidence = map_choice.weigh_maps(features.astype(np.float32), np.arange(40) % 2)
    assert np.isfinite(list(evidence.log_loss.values())).all()


def test_maps_that_are_named_are_not_probed():
    settings = types.SimpleNamespace(**SETTINGS | {"image_map": "whiten"})
    assert map_choice.resolved_map(settings, "image", DIGITS.data, DIGITS.target)[1] is None
    settings = types.SimpleNamespace(**SETTINGS | {"map_choice": "rule"})
    assert map_choice.resolved_map(settings, "image", DIGITS.data, DIGITS.target) == (
        "zscore",
        None,
    )


def test_adapt_chooses_maps_by_the_labels():
    rows = np.arange(120)
    pairs = {
        "image": DIGITS.data[rows, :32].astype(np.float32) - 8,
        "text": DIGITS.data[rows, 32:].astype(np.float32) - 8,
    }
    model = xg.XGACMN(num_classes=10)
    model.adapt(pairs | {"label": DIGITS.target[rows]})
    assert isinstance(model.encoder.image_map, GaussianKernelPCA)
    # The rules alone standardize.
    model = xg.XGACMN(num_classes=10, map_choice="rule")
    model.adapt(pairs | {"label": DIGITS.target[rows]})
    assert isinstance(model.encoder.image_map, xg.input_maps.Standardize)


def test_copies_of_an_image_are_one_landmark():
    features = RANDOM.normal(size=(20, 4)).astype(np.float32)
    once, twice = (
        map_choice.fit_map("rbf", rows, "image")
        for rows in (features, np.vstack([features, features[::-1]]))
    )
    assert once.landmarks.shape == twice.landmarks.shape == (20, 4)


@pytest.mark.parametrize("name", ["chi2", "rbf", "unit"])
@pytest.mark.parametrize("rows", [40, 400])
def test_the_number_of_mapped_features_is_known_before_a_map_is_fitted(name, rows):
    features = RANDOM.dirichlet(np.ones(6), rows).astype(np.float32)
    layer = map_choice.fit_map(name, features, "image", chi2_components=50, rbf_components=70)
    assert map_choice.mapped_dim(name, 6, rows, 50, 70) == layer.output_dim


@pytest.mark.parametrize(
    ("chosen", "log_loss", "noted"),
    [
        ("rbf", {"zscore": 0.68, "rank": 0.66}, True),
        ("rbf", {"zscore": 0.65, "rank": 0.66}, False),
        ("rank", {"zscore": 0.68, "rank": 0.36}, False),
    ],
)
def test_a_map_without_the_lowest_loss_is_explained(chosen, log_loss, noted):
    text = str(map_probe.Evidence(chosen, "rbf", log_loss, rows=9, seconds=0.0))
    assert text.startswith(f"{chosen} (leave-one-out log-loss: ")
    assert text.endswith("; none is clearly better than rbf)") == noted
