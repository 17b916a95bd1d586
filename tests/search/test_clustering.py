"""K-means on block averages, with the inertia of the whole rows."""

import numpy as np
import pytest
from sklearn.cluster import KMeans

from geoimages import KMeansModel, make_rocks
from geoimages.search import clustering
from geoimages.search.clustering import Clustering, pool


@pytest.fixture(scope="module")
def images():
    return make_rocks(400, random_state=0)[0]


def test_pooling_averages_blocks(images):
    pooled = pool(images.reshape(400, -1), (28, 28, 3))
    blocks = images.reshape(400, 2, 14, 2, 14, 3).mean(axis=(2, 4)) / 255
    np.testing.assert_allclose(pooled, blocks.reshape(400, -1), atol=1e-6)


def test_odd_sides_are_pooled_by_area():
    rows = np.arange(15, dtype=float).reshape(1, 15)  # 3 × 5, grey
    pooled = pool(rows, (3, 5, 1))
    columns = rows.reshape(3, 5)
    left = (columns[:, 0] + columns[:, 1] + columns[:, 2] / 2) / 2.5
    np.testing.assert_allclose(pooled[0, 0], (left[0] + left[1] / 2) / 1.5, rtol=1e-6)


@pytest.mark.parametrize("far", [None, 0.001, 1e6])
def test_the_inertia_is_that_of_the_whole_rows(images, far):
    rows, floats = images.reshape(400, -1), far is not None
    rows = rows / 255 + far if floats else rows
    labels, centers, inertia = Clustering(rows, (28, 28, 3)).fit(5, 0)
    scaled = rows if floats else rows / 255
    np.testing.assert_allclose(
        centers, [scaled[labels == c].mean(axis=0) for c in range(5)], atol=1e-9
    )
    assert inertia == pytest.approx(((scaled - centers[labels]) ** 2).sum(), rel=1e-9)


def test_the_inertia_is_near_that_of_full_lloyd(images):
    rows = images.reshape(400, -1)
    pooled = Clustering(rows, (28, 28, 3))
    for k in range(1, 9):
        full = KMeans(k, n_init=4, random_state=0).fit(rows / 255).inertia_
        assert pooled.fit(k, 0)[2] < 1.01 * full


def test_starts_on_some_rows_end_as_well(images, monkeypatch):
    rows = images.reshape(400, -1)
    every = Clustering(rows, (28, 28, 3)).inertias(range(1, 9), 0)
    monkeypatch.setattr(clustering, "_ENOUGH", 100)
    some = Clustering(rows, (28, 28, 3))
    assert len(some._some) == 100
    np.testing.assert_allclose(some.inertias(range(1, 9), 0), every, rtol=0.02)
    labels, _, inertia = some.fit(4, 0)
    assert inertia == pytest.approx(some.inertias([4], 0)[0])
    assert len(labels) == 400


def test_inertias_of_several_numbers_are_those_of_each(images):
    rows = images.reshape(400, -1)[:30]
    together = Clustering(rows, (28, 28, 3))
    asked = [3, 1, 30, 3]
    for inertia, k in zip(together.inertias(asked, 0), asked, strict=True):
        assert inertia == pytest.approx(together.fit(k, 0)[2], abs=1e-9)


def test_the_order_of_the_rows_does_not_matter(images):
    rows = images.reshape(400, -1)
    labels, _, inertia = Clustering(rows, (28, 28, 3)).fit(4, 0)
    order = np.random.default_rng(0).permutation(400)
    shuffled, _, again = Clustering(rows[order], (28, 28, 3)).fit(4, 0)
    np.testing.assert_array_equal(shuffled, labels[order])
    assert again == pytest.approx(inertia)


def test_pictures_that_differ_in_detail_only_are_parted_whole():
    flat = np.full((6, 8, 8, 3), 100, np.uint8)
    flat[:3, ::2], flat[3:, :, ::2] = 90, 90  # the same averages
    flat[:3, 1::2], flat[3:, :, 1::2] = 110, 110
    labels, _, inertia = Clustering(flat.reshape(6, -1), (8, 8, 3)).fit(2, 0)
    assert inertia == pytest.approx(0, abs=1e-5)
    assert len(set(labels[:3])) == len(set(labels[3:])) == 1


def test_full_lloyd_on_request(images):
    pooled = KMeansModel(4, random_state=0).fit(images)
    full = KMeansModel(4, pooling=None, random_state=0).fit(images)
    rows = images.reshape(400, -1) / np.float32(255)
    assert full.inertia_ <= 1.001 * KMeans(4, random_state=0).fit(rows).inertia_
    assert pooled.inertia_ < 1.01 * full.inertia_
    assert pooled.inertia_ != full.inertia_


def test_unknown_pooling(images):
    with pytest.raises(ValueError, match="pooling must be 'auto' or None, got 4"):
        KMeansModel(pooling=4).fit(images)
