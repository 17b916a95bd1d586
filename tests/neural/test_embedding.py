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
    model = MLPEmbedding((32,), random_state=0).fit(X, y)
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
