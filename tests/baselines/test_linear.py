"""What every system with a closed form must do, and the functions that they share."""

import numpy as np
import pytest

from xgacmn_tf import baselines
from xgacmn_tf.baselines.linear import center, projections, solve_row_sparse, whitening
from xgacmn_tf.errors import InputError
from xgacmn_tf.evaluation.retrieval import chance_levels, mean_average_precision
from xgacmn_tf.runs.checkpoint import load_encoder

SYSTEMS = ("cca", "cca_3v", "lcfs", "jfssl", "sm", "pacmr")


def fitted(name, data):
    return baselines.system(name).fit(data, baselines.parse_settings(name, ()))


@pytest.mark.parametrize("name", SYSTEMS)
def test_learns_repeats_itself_and_reloads(name, pairs, tmp_path):
    encoder, again = fitted(name, pairs), fitted(name, pairs)
    codes = encoder.codes(pairs.image, pairs.text)
    encoder.save(tmp_path / "model.keras")
    loaded = load_encoder(tmp_path / "model.keras")
    assert loaded.similarities() == encoder.similarities()
    for other in (again, loaded):
        for ours, theirs in zip(codes, other.codes(pairs.image, pairs.text), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    similarity = baselines.system(name).similarity
    represented = encoder.represent_pairs(pairs.image, pairs.text, similarity)
    reached = mean_average_precision(*represented, pairs.targets)["avg"]
    assert reached > chance_levels(pairs.targets)["mAP"]["avg"] + 0.3


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("cca", "components=0", "components=0: expected at least 1"),
        ("cca", "ridge=-1", "ridge=-1.0: expected at least 0"),
        ("cca_3v", "power=nan", "power=nan: expected a finite number"),
        ("lcfs", "sparsity=0", "sparsity=0.0: expected at least 1e-09"),
        ("jfssl", "neighbours=0", "neighbours=0: expected at least 1"),
        ("sm", "c=inf", "c=inf: expected a finite number"),
        ("pacmr", "centres=0", "centres=0: expected at least 1"),
    ],
)
def test_settings_out_of_range(name, given, expected):
    with pytest.raises(InputError, match=f"--model_settings={expected}$"):
        baselines.parse_settings(name, (given,))


def test_centred():
    values, mean = center(np.array([[1, 5], [3, 5]], np.float32))
    assert values.dtype == mean.dtype == np.float64
    np.testing.assert_array_equal(values, [[-1, 0], [1, 0]])
    np.testing.assert_array_equal(mean, [2, 5])


def test_whitening_gives_unit_covariance(pairs):
    values, _ = center(pairs.image)
    white = values @ whitening(values, 0.0)
    np.testing.assert_allclose(white.T @ white / len(white), np.eye(8), atol=1e-9)


def test_whitening_by_hand():
    # Variances 4 and 0: with a ridge of 1 the roots are √5 and 1, without one the second is lost.
    values = np.array([[2.0, 0.0], [-2.0, 0.0]])
    np.testing.assert_allclose(whitening(values, 1.0), np.diag([5**-0.5, 1.0]), atol=1e-12)
    np.testing.assert_allclose(whitening(values, 0.0), np.diag([0.5, 0.0]), atol=1e-12)
    np.testing.assert_array_equal(whitening(np.zeros((3, 2)), 0.0), np.zeros((2, 2)))


def test_projections():
    encoder = projections(np.array([[2.0], [1.0]]), np.array([1.0, 0.0]), np.eye(1), np.ones(1))
    image = encoder.encode_image([[1.0, 0.0], [2.0, 3.0]], output="code")
    np.testing.assert_allclose(image, [[0.0], [5.0]], atol=1e-6)
    text = encoder.encode_text([[3.0]], output="code")
    np.testing.assert_allclose(text, [[2.0]], atol=1e-6)


def test_row_sparse_solutions_by_hand():
    # Rows of length 5 and 0 add 20 / 10 and 20 / (2 √1e-7) to the diagonal.
    weights, right = np.array([[3.0, 4.0], [0.0, 0.0]]), np.ones((2, 2))
    solution = solve_row_sparse(np.diag([2.0, 4.0]), right, weights, 20.0)
    expected = [1 / 4, 1 / (4 + 10 / 1e-7**0.5)]
    np.testing.assert_allclose(solution, np.outer(expected, [1, 1]), rtol=1e-6)


def test_a_matrix_that_is_not_positive_definite_is_one_clear_error():
    with pytest.raises(InputError, match="sparsity=1e-09: .* scale the features down or raise it"):
        solve_row_sparse(np.diag([1.0, -1.0]), np.ones((2, 1)), np.ones((2, 1)), 1e-9)
