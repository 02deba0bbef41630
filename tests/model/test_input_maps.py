"""Input maps against scikit-learn and hand-computed values."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import norm, rankdata
from sklearn.decomposition import PCA, KernelPCA
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.metrics.pairwise import chi2_kernel
from sklearn.preprocessing import QuantileTransformer, StandardScaler

from xgacmn_tf.errors import InputError
from xgacmn_tf.model.input_maps import ChiSquareKernelPCA, Whiten
from xgacmn_tf.model.map_choice import (
    choose_map,
    fit_map,
    mean_chi2_distance,
    median_squared_distance,
)
from xgacmn_tf.names import MAP_NAMES

RNG = np.random.default_rng(0)
HISTOGRAMS = RNG.dirichlet(np.full(12, 0.5), size=40).astype(np.float32)
UNSEEN = RNG.dirichlet(np.full(12, 0.5), size=7).astype(np.float32)
COUNTS = RNG.poisson(0.4, size=(50, 9)).astype(np.float32)
# Correlated features of different scales, which no map for histograms takes.
FEATURES = (RNG.normal(size=(40, 12)) @ RNG.normal(size=(12, 12)) * 9 - 5).astype(np.float32)
FEATURES_UNSEEN = (RNG.normal(size=(7, 12)) * 30).astype(np.float32)
NEW_MAPS = ("rbf", "rank", "whiten")


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


def assert_same_inner_products(mapped, expected):
    """Compare components, of which one global scale and the signs are free."""
    mapped, expected = (x @ x.T for x in (np.asarray(mapped), expected))
    scale = np.linalg.norm(expected) / np.linalg.norm(mapped)
    np.testing.assert_allclose(mapped * scale, expected, atol=1e-4)


def test_chi2_agrees_with_scikit_learns_kernel_pca():
    width = 3 / mean_chi2_distance(HISTOGRAMS)
    pca = KernelPCA(n_components=5, kernel="precomputed", eigen_solver="dense")
    pca.fit(chi2_kernel(HISTOGRAMS, gamma=width))
    expected = pca.transform(chi2_kernel(UNSEEN, HISTOGRAMS, gamma=width))
    layer = fit_map("chi2", HISTOGRAMS, "image", chi2_gamma=3, chi2_components=5)
    assert_same_inner_products(layer(UNSEEN), expected)
    assert np.mean(np.square(layer(HISTOGRAMS))) == pytest.approx(1, rel=1e-3)


def test_chi2_targets_are_zscored_features():
    layer = fit_map("chi2", HISTOGRAMS, "image", chi2_components=5)
    expected = fit_map("zscore", HISTOGRAMS, "image")(UNSEEN)
    np.testing.assert_array_equal(layer.target(UNSEEN), expected)
    assert layer.leaves_feature_space and layer.target_dim == 12 and layer.output_dim == 5


def test_chi2_of_duplicate_rows_is_finite():
    rows = np.repeat(HISTOGRAMS[:3], 5, axis=0)
    assert np.isfinite(fit_map("chi2", rows, "image", chi2_components=10)(UNSEEN)).all()


def test_mean_chi2_distance_is_that_of_all_pairs():
    pairs = [(x, z) for i, x in enumerate(HISTOGRAMS) for z in HISTOGRAMS[:i]]
    expected = np.mean([np.sum((x - z) ** 2 / (x + z)) for x, z in pairs])
    assert mean_chi2_distance(HISTOGRAMS) == pytest.approx(expected, rel=1e-5)
    assert mean_chi2_distance(HISTOGRAMS[:1]) == mean_chi2_distance(HISTOGRAMS[[0, 0]]) == 1


def test_chi2_does_not_depend_on_what_histograms_add_up_to():
    plain = fit_map("chi2", HISTOGRAMS, "image", chi2_components=5)(UNSEEN)
    percent = fit_map("chi2", 100 * HISTOGRAMS, "image", chi2_components=5)(100 * UNSEEN)
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


def test_rbf_agrees_with_scikit_learns_kernel_pca():
    scaler = StandardScaler().fit(FEATURES)
    gamma = 0.5 / median_squared_distance(FEATURES)
    pca = KernelPCA(n_components=5, kernel="rbf", gamma=gamma, eigen_solver="dense")
    expected = pca.fit(scaler.transform(FEATURES)).transform(scaler.transform(FEATURES_UNSEEN))
    layer = fit_map("rbf", FEATURES, "image", rbf_gamma=0.5, rbf_components=5)
    assert_same_inner_products(layer(FEATURES_UNSEEN), expected)
    assert np.mean(np.square(layer(FEATURES))) == pytest.approx(1, rel=1e-3)


def test_median_squared_distance_is_that_of_all_pairs_of_zscores():
    zscores = StandardScaler().fit_transform(FEATURES)
    distances = [np.sum((x - z) ** 2) for i, x in enumerate(zscores) for z in zscores[:i]]
    assert median_squared_distance(FEATURES) == pytest.approx(np.median(distances), rel=1e-4)
    assert median_squared_distance(FEATURES[:1]) == median_squared_distance(FEATURES[[0, 0]]) == 1
    # 45 of 55 pairs are equal; the others differ by the same distance.
    mostly_equal = np.float32([[0]] * 10 + [[1]])
    assert median_squared_distance(mostly_equal) == pytest.approx(10 / 55 * 121 / 10, rel=1e-5)


def test_rbf_of_many_rows_compares_with_evenly_spaced_ones(monkeypatch):
    monkeypatch.setattr("xgacmn_tf.model.map_choice.MAX_LANDMARKS", 5)
    layer = fit_map("rbf", FEATURES, "image")
    np.testing.assert_array_equal(layer.landmarks, FEATURES[[0, 10, 20, 29, 39]])
    assert layer(FEATURES_UNSEEN).shape == (7, 4)


def test_rank_agrees_with_scikit_learns_quantile_transformer():
    transformer = QuantileTransformer(n_quantiles=40, output_distribution="normal")
    expected = np.clip(transformer.fit_transform(FEATURES), -3, 3)
    np.testing.assert_allclose(fit_map("rank", FEATURES, "image")(FEATURES), expected, atol=1e-4)


def test_rank_of_many_rows_interpolates_between_256_quantiles():
    many = RNG.gamma(0.3, size=(5000, 2)).astype(np.float32)
    layer = fit_map("rank", many, "image")
    expected = np.clip(norm.ppf((rankdata(many, axis=0) - 0.5) / len(many)), -3, 3)
    inside = np.abs(expected) < 2
    assert layer.values.shape == (2, 256)
    np.testing.assert_allclose(np.asarray(layer(many))[inside], expected[inside], atol=0.02)


def test_rank_gives_equal_values_their_mean_rank():
    layer = fit_map("rank", np.float32([[0, 7], [0, 7], [0, 7], [5, 7], [9, 7]]), "text")
    unseen = np.float32([[0, 7], [5, 6], [9, 8], [-1, 7], [7, 7], [1e9, -1e9]])
    tied, high = norm.ppf(1 / 4), norm.ppf(3 / 4)
    expected = [[tied, 0], [high, 0], [3, 0], [tied, 0], [(high + 3) / 2, 0], [3, 0]]
    np.testing.assert_allclose(layer(unseen), expected, atol=1e-5)


def test_rank_takes_rounding_for_a_constant():
    noisy = np.nextafter(np.float32([[1000]] * 20), np.float32([[0], [9999]] * 10))
    assert np.ptp(noisy) > 0
    np.testing.assert_array_equal(fit_map("rank", noisy, "image")(noisy + 5), np.zeros((20, 1)))


def test_whiten_without_shrinkage_agrees_with_scikit_learns_pca():
    zscores, unseen = (
        StandardScaler().fit(FEATURES).transform(x) for x in (FEATURES, FEATURES_UNSEEN)
    )
    expected = PCA(whiten=True).fit(zscores).transform(unseen)
    layer = Whiten(12, rows=40, components=12, shrinkage=0.0)
    layer.adapt(FEATURES)
    # scikit-learn divides by n − 1, and the signs of the components are free.
    mapped = np.asarray(layer(FEATURES_UNSEEN)) * (39 / 40) ** 0.5
    np.testing.assert_allclose(np.abs(mapped), np.abs(expected), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("rows", [40, 8])
def test_whiten_shrinks_by_a_tenth_of_the_mean_eigenvalue(rows):
    """With 8 rows of 12 features, the products of the rows stand for those of the features."""
    layer = fit_map("whiten", FEATURES[:rows], "image")
    zscores = StandardScaler().fit_transform(FEATURES[:rows])
    eigenvalues = np.linalg.eigvalsh(zscores.T @ zscores / rows)[::-1][: layer.output_dim]
    mapped = np.asarray(layer(FEATURES[:rows]))
    variances = eigenvalues / (eigenvalues + 0.1 * eigenvalues.mean())
    assert layer.output_dim == min(12, rows - 1)
    np.testing.assert_allclose(mapped.T @ mapped / rows, np.diag(variances), atol=1e-4)


def test_whiten_of_more_dimensions_than_landmarks_takes_some_rows(monkeypatch):
    monkeypatch.setattr("xgacmn_tf.model.map_choice.MAX_LANDMARKS", 5)
    layer = fit_map("whiten", FEATURES, "image")
    assert layer.output_dim == 4
    # The z-score is that of all rows.
    expected = fit_map("zscore", FEATURES, "image")(FEATURES_UNSEEN)
    np.testing.assert_array_equal(layer.target(FEATURES_UNSEEN), expected)


@pytest.mark.parametrize("name", NEW_MAPS)
def test_targets_of_new_maps(name):
    layer = fit_map(name, FEATURES, "text")
    assert layer.leaves_feature_space == (name != "rank")
    expected = fit_map("rank" if name == "rank" else "zscore", FEATURES, "text")
    np.testing.assert_array_equal(layer.target(UNSEEN), expected(UNSEEN))
    assert layer.target_dim == 12


@pytest.mark.parametrize("name", NEW_MAPS)
@pytest.mark.parametrize(
    "train",
    [
        FEATURES[:1],
        FEATURES[:2],
        np.repeat(FEATURES[:3], 5, axis=0),
        np.full((9, 12), 0.1, np.float32),
        np.where(np.arange(12) == 3, 1e4, FEATURES).astype(np.float32),
        FEATURES * np.float32(1e6),
        FEATURES[:, :1],
    ],
    ids=["one row", "two rows", "duplicates", "all equal", "constant feature", "large", "narrow"],
)
def test_new_maps_of_degenerate_features_are_finite(name, train):
    layer = fit_map(name, train, "image")
    unseen = FEATURES_UNSEEN[:, : train.shape[1]]
    for rows in (train, unseen):
        assert layer(rows).shape == (len(rows), layer.output_dim)
        assert np.isfinite(layer(rows)).all()
    assert np.abs(layer(train)).max() < 50


@pytest.mark.parametrize("name", NEW_MAPS)
@pytest.mark.parametrize("jit_compile", [False, True])
def test_new_maps_in_compiled_graphs(name, jit_compile):
    layer = fit_map(name, FEATURES, "image")
    signature = [tf.TensorSpec([7, 12] if jit_compile else [None, 12], tf.float32)]
    graph = tf.function(layer, input_signature=signature, jit_compile=jit_compile)
    np.testing.assert_allclose(graph(FEATURES_UNSEEN), layer(FEATURES_UNSEEN), atol=1e-5)


def test_rows_of_one_batch_do_not_change_each_other():
    for name in NEW_MAPS:
        layer = fit_map(name, FEATURES, "image")
        np.testing.assert_allclose(
            layer(FEATURES_UNSEEN)[:1], layer(FEATURES_UNSEEN[:1]), atol=1e-5
        )


def test_unknown_map_is_rejected_with_the_known_ones():
    with pytest.raises(InputError, match="--text_map=pca: expected one of auto, .*whiten, none$"):
        fit_map("pca", FEATURES, "text")


def test_chi2_has_the_configuration_and_the_weights_of_earlier_files():
    """Files hold the weights by their order."""
    layer = fit_map("chi2", HISTOGRAMS, "image")
    assert keras.saving.get_registered_name(type(layer)) == "xgacmn_tf>ChiSquareKernelPCA"
    base = {"name", "trainable", "dtype"}
    assert set(layer.get_config()) - base == {"input_dim", "rows", "components", "gamma"}
    names = ["landmarks", "kernel_mean", "projection", "mean", "scale"]
    assert [weight.name for weight in layer.weights] == names


@pytest.mark.parametrize("name", [name for name in MAP_NAMES if name != "auto"])
def test_map_survives_serialization(name, tmp_path):
    train = np.ceil(20 * HISTOGRAMS) if name == "tfidf" else HISTOGRAMS
    layer = fit_map(name, train, "image", chi2_components=4, rbf_components=4)
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
    assert fit_map("chi2", narrow, "text", chi2_components=7).output_dim == 7
    assert fit_map("rbf", narrow, "text").output_dim == 30
    assert fit_map("rbf", narrow, "text", rbf_components=7).output_dim == 7


def test_components_are_capped_by_the_rows():
    assert ChiSquareKernelPCA(12, rows=10, components=500, gamma=1.0).output_dim == 9


def test_ranks_of_values_that_differ_by_less_than_a_normal_number_are_finite():
    values = np.float32([[0.0], [1e-40], [2e-40], [1e-3], [2.0]])
    layer = fit_map("rank", values, "text")
    mapped = np.asarray(layer(np.float32([[0.0], [1e-40], [1.5e-40], [1e-5], [2.0], [3.0]])))
    assert np.isfinite(mapped).all() and (np.diff(mapped[:, 0]) >= 0).all()
