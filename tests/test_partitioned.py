"""Partitioned search and the recall that it states."""

import numpy as np
import pytest

from geoimages import KMeansModel, PairwiseModel, RockFeatures, make_rocks
from geoimages.search import ExactSearch, PartitionedSearch


@pytest.fixture(scope="module")
def images():
    return make_rocks(400, random_state=0)[0]


@pytest.fixture(scope="module")
def parted():
    """Rows about six centers, and the engine over them."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 6, 300)
    centers = rng.normal(scale=2, size=(6, 8))
    rows = centers[labels] + rng.normal(size=(300, 8))
    return rows, labels, centers


def test_all_clusters_are_the_whole(parted):
    rows, labels, centers = parted
    engine = PartitionedSearch(rows, np.arange(300), labels, centers)
    exact = ExactSearch(rows, np.arange(300))
    queries = rows[::40] + 0.1
    leave_out = [np.array([i, i + 7]) for i in range(len(queries))]
    found = engine.search(queries, 9, "euclidean", leave_out, clusters_searched=6)
    wanted = exact.search(queries, 9, "euclidean", leave_out=leave_out)
    for got, expected in zip(found, wanted, strict=True):
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("metric", ["euclidean", "correlation", "chebyshev"])
def test_the_stated_recall_is_the_true_one(parted, metric):
    rows, labels, centers = parted
    engine = PartitionedSearch(rows, np.arange(300), labels, centers)
    curve = engine.recall_curve(10, metric)
    itself = [np.array([i]) for i in range(300)]
    exact = ExactSearch(rows, np.arange(300)).search(rows, 10, metric, leave_out=itself)
    for searched in (1, 2, 6):
        found = engine.search(rows, 10, metric, itself, clusters_searched=searched)
        recall = np.mean(
            [np.isin(a[1], b[1]).mean() for a, b in zip(exact, found, strict=True)]
        )
        assert curve[searched - 1] == pytest.approx(recall, abs=0.08)
    assert (np.diff(curve) >= 0).all()
    assert curve[-1] == 1


def test_rows_are_taken_by_the_positions_given(parted):
    rows, labels, centers = parted
    engine = PartitionedSearch(rows, np.arange(300), labels, centers)
    np.testing.assert_array_equal(engine.take(np.array([5, 0, 299])), rows[[5, 0, 299]])
    for cluster in range(6):
        np.testing.assert_array_equal(
            engine.rows[engine.members(cluster)], rows[labels == cluster]
        )


def test_a_target_sets_the_clusters_searched(images):
    options = {"num_clusters": 12, "features": RockFeatures(), "random_state": 0}
    one = KMeansModel(**options).fit(images)
    assert one.clusters_searched_ == 1
    assert 0.2 < one.recall_ < 0.9
    model = KMeansModel(recall_target=0.95, **options).fit(images)
    assert 1 < model.clusters_searched_ <= 12
    assert model.recall_ >= 0.95
    assert model.recall_curve_[model.clusters_searched_ - 2] < 0.95
    exact = PairwiseModel(features=RockFeatures()).fit(images)
    asked = images[:100]
    found, wanted = model.kneighbors(asked, 12)[1], exact.kneighbors(asked, 12)[1]
    shared = [np.isin(a, b).mean() for a, b in zip(wanted, found, strict=True)]
    assert np.mean(shared) > 0.9
    assert KMeansModel(recall_target=1, **options).fit(images).recall_ == 1


def test_one_picture_misses_nothing(images):
    assert KMeansModel(1).fit(images[:1]).recall_ == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"recall_target": 0}, r"recall_target is a share in \(0, 1\], got 0"),
        ({"recall_target": 95}, "got 95"),
        ({"clusters_searched": 0}, "clusters_searched must be 1 or more, got 0"),
    ],
)
def test_mistakes(images, options, says):
    with pytest.raises(ValueError, match=says):
        KMeansModel(**options).fit(images[:20])
