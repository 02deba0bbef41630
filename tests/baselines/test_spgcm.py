"""SPGCM: each of its two problems against an independent solution."""

import dataclasses

import numpy as np
import pytest
from scipy import linalg

from xgacmn_tf.baselines import cca, spgcm
from xgacmn_tf.baselines.linear import center, whitening
from xgacmn_tf.errors import InputError
from xgacmn_tf.runs.checkpoint import load_encoder

SMALL = spgcm.Settings(groups=3, components=4)


def whitened(data, ridge=1e-4):
    """Whitened features of both modalities, and what whitens them."""
    features = [center(x)[0] for x in (data.image, data.text)]
    matrices = [whitening(x, ridge) for x in features]
    return tuple(x @ m for x, m in zip(features, matrices, strict=True)), features, matrices


def test_weights_solve_the_generalised_eigenproblem(pairs):
    views, (image, text), matrices = whitened(pairs)
    groups = spgcm.start(text, 3, 0)
    weights, values = spgcm.best_weights(views, spgcm.pairs_of(views), groups, SMALL)
    n, both = len(image), np.hstack([image, text])
    projector = groups @ np.linalg.inv(groups.T @ groups) @ groups.T
    left = SMALL.group_weight * both.T @ projector @ both / n
    left[:8, 8:] += image.T @ text / n / 2
    left[8:, :8] += text.T @ image / n / 2
    right = linalg.block_diag(image.T @ image, text.T @ text) / n + 1e-4 * np.eye(13)
    expected, vectors = linalg.eigh(left, right)
    np.testing.assert_allclose(values, expected[::-1][:4], atol=1e-10)
    ours = np.vstack([m @ w for m, w in zip(matrices, weights, strict=True)])
    theirs = vectors[:, ::-1][:, :4]
    # Eigenvectors up to their signs.
    np.testing.assert_allclose(np.abs(np.diag(ours.T @ right @ theirs)), 1, atol=1e-6)


def test_the_span_is_enough_where_one_modality_has_many_dimensions(pairs):
    generator = np.random.default_rng(0)
    views = generator.normal(size=(60, 50)), generator.normal(size=(60, 4))
    groups = spgcm.start(views[1], 3, 0)
    weights, values = spgcm.best_weights(views, spgcm.pairs_of(views), groups, SMALL)
    both = np.hstack(views)
    shared = both.T @ linalg.orth(groups)
    matrix = SMALL.group_weight * shared @ shared.T / 60
    matrix[:50, 50:] += views[0].T @ views[1] / 120
    matrix[50:, :50] += views[1].T @ views[0] / 120
    np.testing.assert_allclose(values, linalg.eigvalsh(matrix)[::-1][:4], atol=1e-10)
    stacked = np.vstack(weights)
    np.testing.assert_allclose(stacked.T @ stacked, np.eye(4), atol=1e-10)


def test_without_groups_it_is_cca(pairs):
    """α = 0 leaves the pairs alone: the same directions, and eigenvalues half the correlations."""
    ours = spgcm.fit(pairs, spgcm.Settings(group_weight=0.0, components=3, power=0.0, ridge=1e-4))
    theirs = cca.fit(pairs, cca.Settings(components=3))
    for a, b in zip(
        ours.codes(pairs.image, pairs.text), theirs.codes(pairs.image, pairs.text), strict=True
    ):
        # Each modality has half the constraint's variance.
        np.testing.assert_allclose(np.abs(a) * np.sqrt(2), np.abs(b), atol=1e-4)


def test_groups_separate_what_the_codes_separate():
    """Codes of two directions: the best groups are these, whatever they start from."""
    z = np.zeros((8, 2))
    z[:4, 0], z[4:, 1] = 1.0, 1.0
    start = np.abs(np.random.default_rng(0).normal(size=(8, 2)))
    start[:4, 0] += 1
    groups = spgcm.improve_groups(z, start, 200)
    np.testing.assert_allclose(groups, z / 2, atol=1e-3)


def test_turns_raise_the_objective(pairs):
    views, (_, text), _ = whitened(pairs)
    groups = spgcm.start(text, 3, 0)
    weights, _ = spgcm.best_weights(views, spgcm.pairs_of(views), groups, SMALL)
    for _ in range(5):
        before = spgcm.objective(views, weights, groups, SMALL)
        groups = spgcm.improve_groups(views[0] @ weights[0] + views[1] @ weights[1], groups, 30)
        middle = spgcm.objective(views, weights, groups, SMALL)
        weights, values = spgcm.best_weights(views, spgcm.pairs_of(views), groups, SMALL)
        after = spgcm.objective(views, weights, groups, SMALL)
        # The step of W is an exact maximum: it never falls.
        assert after >= middle - 1e-9
        if middle > before:
            assert after > before
        assert (groups >= 0).all()


def test_same_codes_again_and_after_reloading(pairs, tmp_path):
    first, again = spgcm.fit(pairs, SMALL), spgcm.fit(pairs, SMALL)
    first.save(tmp_path / "model.keras")
    loaded = load_encoder(tmp_path / "model.keras")
    for ours, repeated, reloaded in zip(
        *(e.codes(pairs.image, pairs.text) for e in (first, again, loaded)), strict=True
    ):
        np.testing.assert_array_equal(ours, repeated)
        np.testing.assert_array_equal(ours, reloaded)


def test_labels_are_not_used(pairs):
    shuffled = dataclasses.replace(pairs, targets=pairs.targets[::-1])
    for ours, theirs in zip(
        spgcm.fit(pairs, SMALL).codes(pairs.image, pairs.text),
        spgcm.fit(shuffled, SMALL).codes(pairs.image, pairs.text),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_settings_out_of_range():
    with pytest.raises(InputError, match="--model_settings=groups=0: expected at least 1"):
        spgcm.Settings(groups=0)


def test_a_span_is_extended_by_what_lies_outside_alone():
    """Of three columns one is inside, one is new, and one barely leaves."""
    generator = np.random.default_rng(0)
    span = linalg.qr(generator.normal(size=(9, 4)), mode="economic")[0]
    new, barely = linalg.qr(generator.normal(size=(9, 2)), mode="economic")[0].T
    columns = np.stack([span @ [1, 2, 3, 4], new, span[:, 0] + 1e-9 * barely], axis=1)
    extended = spgcm._extended(span, columns)
    assert extended.shape == (9, 6)
    np.testing.assert_allclose(extended.T @ extended, np.eye(6), atol=1e-14)
    np.testing.assert_allclose(extended @ (extended.T @ columns), columns, atol=1e-14)
    np.testing.assert_array_equal(spgcm._extended(span, columns[:, :1]), span)
    np.testing.assert_array_equal(spgcm._extended(span, np.zeros((9, 2))), span)
