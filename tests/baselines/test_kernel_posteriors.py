import dataclasses

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from xgacmn_tf.baselines.kernel_posteriors import DECADES, Settings, choose_c, fit, folds
from xgacmn_tf.errors import InputError
from xgacmn_tf.model.map_choice import fit_map


def half_decades():
    return [c * root for c in DECADES for root in (1, 10**0.5)]


def test_codes_are_posteriors_of_mapped_features_at_the_chosen_c(pairs):
    histograms = dataclasses.replace(pairs, image=np.exp(pairs.image))
    encoder = fit(
        histograms,
        Settings(image_map="chi2", chi2_gamma=0.5, chi2_components=20, text_map="zscore"),
    )
    assert encoder.similarities() == ("posterior", "cosine", "dot")
    labels = pairs.targets.argmax(axis=1)
    codes = encoder.codes(histograms.image, histograms.text)
    maps = (
        fit_map("chi2", histograms.image, "image", chi2_gamma=0.5, chi2_components=20),
        fit_map("zscore", histograms.text, "text"),
    )
    for ours, mapped, features in zip(
        codes, maps, (histograms.image, histograms.text), strict=True
    ):
        x = mapped(features).numpy().astype(np.float64)
        # Those of scikit-learn, at one of the values of C.
        deviations = [
            np.abs(LogisticRegression(C=c, max_iter=5000).fit(x, labels).predict_proba(x) - ours)
            for c in half_decades()
        ]
        assert min(deviation.max() for deviation in deviations) < 2e-3
        np.testing.assert_array_equal(encoder.represent(ours, "posterior", "text"), ours)


def test_c_has_the_least_loss_on_held_out_rows(pairs):
    x, labels = pairs.text.astype(np.float64), pairs.targets.argmax(axis=1)
    parts = folds(pairs.targets, 5, seed=0)
    losses = {}
    for c in half_decades():
        losses[c] = 0.0
        for part in parts:
            model = LogisticRegression(C=c, tol=1e-8, max_iter=5000).fit(x[~part], labels[~part])
            losses[c] += log_loss(labels[part], model.predict_proba(x[part]), normalize=False)
    best = min(losses, key=losses.get)
    # An end of the range would be found by a search that never looks back, too.
    assert DECADES[0] < best < DECADES[-1]
    assert choose_c(x, pairs.targets, parts) == pytest.approx(best)


def test_folds_hold_out_every_row_once_and_every_class_alike(pairs):
    parts = folds(pairs.targets, 5, seed=0)
    np.testing.assert_array_equal(np.sum(parts, axis=0), np.ones(60))
    np.testing.assert_array_equal([pairs.targets[part].sum(axis=0) for part in parts], 4)
    assert not np.array_equal(parts, folds(pairs.targets, 5, seed=1))
    np.testing.assert_array_equal(parts, folds(pairs.targets, 5, seed=0))


def test_folds_divide_no_group(pairs):
    """Five captions an image: their rows would tell a held-out image's class."""
    group = np.repeat(np.arange(20)[::-1], 3)
    targets = np.eye(4)[np.repeat(np.arange(20) % 4, 3)]
    parts = folds(targets, 5, seed=0, group=group)
    np.testing.assert_array_equal(np.sum(parts, axis=0), np.ones(60))
    for part in parts:
        assert not np.intersect1d(group[part], group[~part]).size
        np.testing.assert_array_equal(targets[part].sum(axis=0), 3)
    # Without repeated images these are the folds that published figures were measured with.
    alone = folds(pairs.targets, 5, seed=0, group=np.arange(60))
    np.testing.assert_array_equal(alone, folds(pairs.targets, 5, seed=0))


def test_few_pairs_give_few_folds():
    targets = np.eye(3)[[0, 0, 0, 1, 2]]
    assert len(folds(targets, 5, seed=0)) == 3
    with pytest.raises(InputError, match="no class has two training pairs"):
        folds(np.eye(3), 5, seed=0)


def test_the_same_seed_gives_the_same_posteriors(pairs):
    first, second = (fit(pairs, Settings()).codes(pairs.image, pairs.text) for _ in range(2))
    for ours, again in zip(first, second, strict=True):
        np.testing.assert_array_equal(ours, again)


@pytest.mark.filterwarnings("error")
def test_degenerate_data_give_posteriors(degenerate):
    if len(degenerate.image) == 2:
        pytest.skip("refused, as test_degenerate.py shows")
    encoder = fit(degenerate, Settings())
    for codes in encoder.codes(degenerate.image, degenerate.text):
        np.testing.assert_allclose(np.sum(codes, axis=1), 1, atol=1e-5)


def test_settings_out_of_range():
    with pytest.raises(InputError, match="folds=1: expected at least 2"):
        Settings(folds=1)
