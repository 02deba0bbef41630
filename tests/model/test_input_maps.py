"""Input maps against scikit-learn and hand-computed values."""

import keras
import numpy as np
import pytest
from sklearn.decomposition import KernelPCA
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.metrics.pairwise import chi2_kernel
from sklearn.preprocessing import StandardScaler

from xgacmn_tf.errors import InputError
from xgacmn_tf.model.input_maps import ChiSquareKernelPCA
from xgacmn_tf.model.map_choice import choose_map, fit_map, mean_chi2_distance

RNG = np.random.default_rng(0)
HISTOGRAMS = RNG.dirichlet(np.full(12, 0.5), size=40).astype(np.float32)
UNSEEN = RNG.dirichlet(np.full(12, 0.5), size=7).astype(np.float32)
COUNTS = RNG.poisson(0.4, size=(50, 9)).astype(np.float32)


def test_zscore_agrees_with_scikit_learn():
    expected = StandardScaler().fit(HISTOGRAMS).transform(UNSEEN)
    np.testing.assert_allclose(fit_map("zscore", HISTOGRAMS, "image")(UNSEEN), expected, atol=1e-4)


def test_constant_feature_is_only_centred():
    train = np.array([[1, 0.1], [3, 0.1], [5, 0.1]], np.float32)
    unseen = np.array([[3, 7.1]], np.float32)
    np.testing.assert_allclose(fit_map("zscore", train, "image")(unseen), [[0, 7]], atol=1e-5)


def test_hellinger_is_the_zscore_of_square_roots():
    expected = StandardScaler().fit(np.sqrt(HISTOGRAMS)).transform(np.sqrt(UNSEEN))
    mapped = fit_map("hellinger", HISTOGRAMS, "image")(UNSEEN)
    np.testing.assert_allclose(mapped, expected, atol=1e-4)


def test_tfidf_agrees_with_scikit_learn():
    # scikit-learn's smooth idf and sublinear counts are the same formula, at unit length.
    expected = TfidfTransformer(sublinear_tf=True).fit(COUNTS).transform(COUNTS).toarray()
    mapped = fit_map("tfidf", COUNTS, "text")(COUNTS)
    np.testing.assert_allclose(mapped, expected * 3, atol=1e-5)  # length √9


def test_row_without_words_stays_zero_and_finite():
    mapped = fit_map("tfidf", COUNTS, "text")(np.zeros((1, 9), np.float32))
    np.testing.assert_array_equal(mapped, np.zeros((1, 9)))


@pytest.mark.parametrize("modality", ["image", "text"])
def test_tfidf_rejects_training_weights_below_one(modality):
    weights = np.float32([[0.25, 0, 2, 0], [1, 0.1, 0, 3]])
    with pytest.raises(InputError) as error:
        fit_map("tfidf", weights, modality)
    for part in (f"--{modality}_map=tfidf", "smallest 0.1", "unit, zscore or hellinger"):
        assert part in str(error.value)
    assert "\n" not in str(error.value)
    fit_map("tfidf", weights * 10, modality)


def test_tfidf_of_unseen_fractional_weights_is_monotone_and_never_negative():
    layer = fit_map("tfidf", COUNTS, "text")
    weights = np.sort(RNG.uniform(0, 2, size=9).astype(np.float32))
    weights[:3] = 0, 0.01, 0.3  # the last two lie below 1/e
    layer.idf.assign(np.ones(9))
    mapped = np.asarray(layer(weights[None]))[0]
    np.testing.assert_array_equal(mapped[:3], 0)
    assert (np.diff(mapped[2:]) >= 0).all() and mapped[-1] > 0


def test_chi2_agrees_with_scikit_learns_kernel_pca():
    width = 3 / mean_chi2_distance(HISTOGRAMS)
    pca = KernelPCA(n_components=5, kernel="precomputed", eigen_solver="dense")
    pca.fit(chi2_kernel(HISTOGRAMS, gamma=width))
    expected = pca.transform(chi2_kernel(UNSEEN, HISTOGRAMS, gamma=width))
    layer = fit_map("chi2", HISTOGRAMS, "image", gamma=3, components=5)
    mapped = np.asarray(layer(UNSEEN))
    # One global scale and the signs of the components are free: compare inner products.
    scale = np.linalg.norm(expected @ expected.T) / np.linalg.norm(mapped @ mapped.T)
    np.testing.assert_allclose(mapped @ mapped.T * scale, expected @ expected.T, atol=1e-4)
    assert np.mean(np.square(layer(HISTOGRAMS))) == pytest.approx(1, rel=1e-3)


def test_chi2_targets_are_zscored_features():
    layer = fit_map("chi2", HISTOGRAMS, "image", components=5)
    expected = fit_map("zscore", HISTOGRAMS, "image")(UNSEEN)
    np.testing.assert_array_equal(layer.target(UNSEEN), expected)
    assert layer.leaves_feature_space and layer.target_dim == 12 and layer.output_dim == 5


def test_chi2_of_duplicate_rows_is_finite():
    rows = np.repeat(HISTOGRAMS[:3], 5, axis=0)
    assert np.isfinite(fit_map("chi2", rows, "image", components=10)(UNSEEN)).all()


def test_mean_chi2_distance_is_that_of_all_pairs():
    pairs = [(x, z) for i, x in enumerate(HISTOGRAMS) for z in HISTOGRAMS[:i]]
    expected = np.mean([np.sum((x - z) ** 2 / (x + z)) for x, z in pairs])
    assert mean_chi2_distance(HISTOGRAMS) == pytest.approx(expected, rel=1e-5)
    assert mean_chi2_distance(HISTOGRAMS[:1]) == mean_chi2_distance(HISTOGRAMS[[0, 0]]) == 1


def test_chi2_does_not_depend_on_what_histograms_add_up_to():
    plain = fit_map("chi2", HISTOGRAMS, "image", components=5)(UNSEEN)
    percent = fit_map("chi2", 100 * HISTOGRAMS, "image", components=5)(100 * UNSEEN)
    np.testing.assert_allclose(percent, plain, atol=1e-3)


def test_chi2_of_many_rows_compares_with_some_of_every_kind(monkeypatch):
    monkeypatch.setattr("xgacmn_tf.model.map_choice.MAX_LANDMARKS", 5)
    layer = fit_map("chi2", HISTOGRAMS, "image")
    np.testing.assert_array_equal(layer.landmarks, HISTOGRAMS[[0, 10, 20, 29, 39]])
    assert layer(UNSEEN).shape == (7, 4) and np.isfinite(layer(UNSEEN)).all()


def test_unit_length_keeps_directions_and_empty_rows():
    mapped = np.asarray(fit_map("unit", COUNTS, "text")(np.array([[3.0, 4] + [0] * 7, [0] * 9])))
    np.testing.assert_allclose(mapped[0, :2], [1.8, 2.4], rtol=1e-6)  # length √9
    np.testing.assert_array_equal(mapped[1], np.zeros(9))


def test_auto_looks_at_what_features_are():
    assert choose_map(COUNTS) == "tfidf"
    assert choose_map(HISTOGRAMS) == "chi2"
    assert choose_map(np.vstack([HISTOGRAMS * 100, np.zeros((1, 12))])) == "chi2"  # an empty one
    assert choose_map(HISTOGRAMS * np.arange(1, 41)[:, None]) == "zscore"  # other sums
    weighted = RNG.random((50, 30)) * (RNG.random((50, 30)) < 0.05)
    assert choose_map(weighted) == "unit"
    assert choose_map(weighted - 0.1) == "zscore"
    assert choose_map(np.zeros((4, 3))) == "tfidf"  # no word anywhere
    assert choose_map(COUNTS + 1) == "zscore"  # whole numbers, but not sparse
    assert choose_map(-COUNTS) == "zscore"


@pytest.mark.parametrize("name", ["zscore", "hellinger", "chi2", "tfidf", "unit", "none"])
def test_map_survives_serialization(name, tmp_path):
    train = np.ceil(20 * HISTOGRAMS) if name == "tfidf" else HISTOGRAMS
    layer = fit_map(name, train, "image", components=4)
    inputs = keras.Input((12,))
    model = keras.Model(inputs, layer(inputs))
    model.save(tmp_path / "map.keras")
    again = keras.saving.load_model(tmp_path / "map.keras")
    np.testing.assert_array_equal(again(UNSEEN), model(UNSEEN))
    assert not model.trainable_weights


def test_negative_features_are_refused_by_maps_for_histograms():
    with pytest.raises(
        InputError, match="--image_map=chi2 is for histograms.* use --image_map=zsc"
    ):
        fit_map("chi2", HISTOGRAMS - 1, "image")


def test_components_are_capped_by_the_dimensions():
    narrow = RNG.dirichlet(np.ones(3), size=60).astype(np.float32)
    assert fit_map("chi2", narrow, "text").output_dim == 30
    assert fit_map("chi2", narrow, "text", components=7).output_dim == 7


def test_components_are_capped_by_the_rows():
    assert ChiSquareKernelPCA(12, rows=10, components=500, gamma=1.0).output_dim == 9
