"""MLPEmbedding: any rows into the last hidden layer."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_blobs

from geoimages import MLPEmbedding


@pytest.fixture(scope="module")
def data():
    X, y = make_blobs(500, 8, centers=5, cluster_std=2.5, random_state=0)
    return X[:300], np.array(list("abcde"))[y[:300]], X[300:], y[300:]


def test_any_rows_are_embedded(data):
    X, y, queries, wanted = data
    model = MLPEmbedding((32,), max_epochs=20, random_state=0).fit(X, y)
    vectors = model.transform(queries)
    assert vectors.shape == (200, 32)
    assert (vectors >= 0).all()
    assert model.score(queries, np.array(list("abcde"))[wanted]) > 0.9
    again = clone(model).fit(X, y)
    np.testing.assert_array_equal(again.transform(queries), vectors)


def test_the_last_epochs_are_averaged(data):
    a, b = (
        MLPEmbedding((8,), max_epochs=4, averaged_epochs=n, random_state=0).fit(
            data[0], data[1]
        )
        for n in (1, 3)
    )
    assert a.loss_curve_ == b.loss_curve_
    assert (a.coefs_[0] != b.coefs_[0]).any()


def test_units_of_columns_do_not_matter(data):
    X, y, queries, _ = data
    model = MLPEmbedding((8,), max_epochs=3, random_state=0)
    units = 10.0 ** np.arange(-4, 4)
    a = clone(model).fit(X, y).predict_proba(queries)
    b = clone(model).fit(X * units + 5, y).predict_proba(queries * units + 5)
    np.testing.assert_allclose(a, b, atol=1e-2)


def test_few_rows_choose_the_penalty_and_are_calibrated():
    rng = np.random.default_rng(0)
    y = np.arange(900) % 3
    X = rng.normal(size=(900, 80))
    X[:, :3] += 1.5 * np.eye(3)[y]
    model = MLPEmbedding(random_state=0).fit(X[:120], y[:120])
    assert set(model.capacity_scores_) == {"0.0001", "1", "10"}
    best = min(model.capacity_scores_, key=model.capacity_scores_.get)
    assert model.alpha_ == float(best)
    assert model.is_calibrated_  # by 120 answers out of fold, 12 were held out
    proba = model.predict_proba(X[120:])
    gap = proba.max(axis=1).mean() - model.score(X[120:], y[120:])
    assert abs(gap) < 0.1
    fixed = MLPEmbedding(alpha=1e-3, max_epochs=3, random_state=0).fit(X[:120], y[:120])
    assert (fixed.alpha_, fixed.capacity_scores_) == (1e-3, {})
    assert fixed.is_calibrated_


def test_copies_are_held_out_together():
    # Labels by chance: nothing is known of a row but by its copies.
    rng = np.random.default_rng(0)
    X, y = np.tile(rng.normal(size=(60, 20)), (10, 1)), np.tile(np.arange(60) % 3, 10)
    groups = np.tile(np.arange(60), 10)
    model = MLPEmbedding(
        alpha=1e-3, learning_rate_init=0.01, max_epochs=5, random_state=0
    )
    assert clone(model).fit(X, y).validation_score_curve_[-1] > 0.9
    assert clone(model).fit(X, y, groups).validation_score_curve_[-1] < 0.7


def test_wrong_penalties_are_refused(data):
    with pytest.raises(ValueError, match="alpha is a number or \"auto\", got 'small'"):
        MLPEmbedding(alpha="small").fit(data[0], data[1])
