"""Partitioned search and the recall that it states."""

import threading

import numpy as np
import pytest

from geoimages import KMeansModel, PairwiseModel, RockFeatures, make_rocks
from geoimages.search import ExactSearch, InvertedFile
from geoimages.search import ivf as partitioned
from geoimages.search.clustering import directions, nearest_centers, partition


@pytest.fixture(scope="module")
def images():
    return make_rocks(400, random_state=0)[0]


@pytest.fixture(scope="module")
def grouped():
    """Rows about six centers, and the engine over them."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 6, 300)
    centers = rng.normal(scale=2, size=(6, 8))
    rows = centers[labels] + rng.normal(size=(300, 8))
    return rows, labels, centers


def test_all_clusters_are_the_whole(grouped):
    rows, labels, centers = grouped
    engine = InvertedFile(rows, np.arange(300), labels, centers)
    exact = ExactSearch(rows, np.arange(300))
    queries = rows[::40] + 0.1
    exclude = [np.array([i, i + 7]) for i in range(len(queries))]
    found = engine.search(queries, 9, "euclidean", exclude, nprobe=6)
    wanted = exact.search(queries, 9, "euclidean", exclude=exclude)
    for got, expected in zip(found, wanted, strict=True):
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("metric", ["euclidean", "correlation", "chebyshev"])
def test_the_stated_recall_is_the_true_one(grouped, metric):
    rows, labels, centers = grouped
    engine = InvertedFile(rows, np.arange(300), labels, centers)
    curve = engine.recall_curve(10, metric)
    itself = [np.array([i]) for i in range(300)]
    exact = ExactSearch(rows, np.arange(300)).search(rows, 10, metric, exclude=itself)
    for searched in (1, 2, 6):
        found = engine.search(rows, 10, metric, itself, nprobe=searched)
        recall = np.mean(
            [np.isin(a[1], b[1]).mean() for a, b in zip(exact, found, strict=True)]
        )
        assert curve[searched - 1] == pytest.approx(recall, abs=0.08)
    assert (np.diff(curve) >= 0).all()
    assert curve[-1] == 1


@pytest.mark.parametrize("algorithm", ["exact", "partitioned", "k-means"])
def test_a_model_searches_by_as_many_threads_as_told(algorithm):
    seen = set()

    class Watched(np.ndarray):
        def __getitem__(self, index):
            seen.add(threading.get_ident())
            return np.asarray(self)[index]

    rows = np.random.default_rng(0).random((4000, 100))
    options = {"image_shape": (1, 100, 1), "dist_metric": "euclidean"}
    if algorithm == "k-means":
        model = KMeansModel(9, 3, random_state=0, **options).fit(rows)
    else:
        model = PairwiseModel(3, algorithm=algorithm, **options).fit(rows)
    exact = model.search_ if algorithm == "exact" else model.search_._exact
    exact.rows = exact.rows.view(Watched)
    wanted = model.kneighbors(rows[:64])
    assert seen == {threading.get_ident()}
    for got, expected in zip(
        model.set_params(n_jobs=2).kneighbors(rows[:64]), wanted, strict=True
    ):
        np.testing.assert_array_equal(got, expected)
    assert len(seen) > 1


@pytest.mark.parametrize("n_orientations", [1, 2])
def test_a_candidate_between_clusters_is_answered_alike_in_any_batch(n_orientations):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(1000, 64)).astype(np.float32)
    labels, centers = partition(rows, "euclidean", random_state=0)
    engine = InvertedFile(rows, np.arange(1000), labels, centers, None, "euclidean")
    ends = centers[rng.integers(0, len(centers), (2, 400))].astype(np.float64)
    queries = ends.mean(axis=0).astype(np.float32)  # as near to one as to the other
    step = n_orientations
    together = engine.search(queries, 5, "euclidean", n_orientations=step)
    for i, (_, positions, _) in enumerate(together):
        turns = queries[i * step : (i + 1) * step]
        ((_, alone, _),) = engine.search(turns, 5, "euclidean", n_orientations=step)
        np.testing.assert_array_equal(positions, alone)


def test_rows_are_taken_by_the_positions_given(grouped):
    rows, labels, centers = grouped
    engine = InvertedFile(rows, np.arange(300), labels, centers)
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


def test_directions_order_as_the_distance(grouped):
    rows = grouped[0].astype(np.float32)
    for metric in ("correlation", "cosine", "euclidean"):
        ready = directions(rows, metric)
        between = np.linalg.norm(ready[:1] - ready, axis=1)
        ((_, positions, _),) = ExactSearch(rows, np.arange(300)).search(
            rows[:1], 20, metric
        )
        np.testing.assert_array_equal(np.argsort(between)[:20], positions)
    flat = np.full((2, 4), 7, np.uint8)
    assert not directions(flat, "correlation").any()


def test_the_partition_is_of_the_nearest_centers(grouped):
    rows = grouped[0]
    labels, centers = partition(rows, "correlation", random_state=0)
    assert 20 < len(centers) <= 35  # 2 √300, less what nobody is nearest to
    between = directions(rows, "correlation")[:, None] - centers
    np.testing.assert_array_equal(labels, (between**2).sum(axis=2).argmin(axis=1))
    np.testing.assert_array_equal(labels, nearest_centers(rows, "correlation", centers))


def test_the_partition_does_not_depend_on_the_order(grouped):
    rows = grouped[0][:, :7].astype(np.float32)
    order = np.random.default_rng(0).permutation(300)
    labels, centers = partition(rows, "cosine", 9, random_state=3)
    shuffled, again = partition(rows[order], "cosine", 9, random_state=3)
    np.testing.assert_allclose(again, centers)
    np.testing.assert_array_equal(shuffled, labels[order])


def test_rows_that_are_alike_are_one_cluster():
    labels, centers = partition(np.ones((50, 3)), "euclidean", random_state=0)
    assert len(centers) == 1
    assert not labels.any()


def test_each_orientation_searches_its_own_clusters(grouped):
    rows, labels, centers = grouped
    engine = InvertedFile(rows, np.arange(300), labels, centers)
    queries = np.stack([centers[1], centers[4]])
    ((_, positions, which),) = engine.search(
        queries, 40, "euclidean", n_orientations=2, nprobe=1
    )
    nearest = nearest_centers(queries, "euclidean", centers)
    np.testing.assert_array_equal(labels[positions], nearest[which])
    assert set(which) == {0, 1}


@pytest.mark.parametrize("metric", ["correlation", "cosine", "euclidean", "cityblock"])
def test_pairwise_model_reaches_its_target(images, metric):
    options = {"features": RockFeatures(), "dist_metric": metric}
    exact = PairwiseModel(**options).fit(images)
    assert (exact.recall_, exact.clusters_searched_) == (1, None)
    model = PairwiseModel(algorithm="partitioned", **options).fit(images)
    assert model.algorithm_ == "partitioned"
    assert model.recall_ >= 0.95
    assert 1 < model.clusters_searched_ < len(model.recall_curve_)
    found, wanted = model.kneighbors()[1], exact.kneighbors()[1]
    shared = [np.isin(a, b).mean() for a, b in zip(wanted, found, strict=True)]
    most = 0.04 if metric != "cityblock" else 0.1  # measured on fewer rows
    assert np.mean(shared) == pytest.approx(model.recall_, abs=most)


def test_all_of_the_recall_is_the_exact_answer(images):
    exact = PairwiseModel().fit(images)
    model = PairwiseModel(algorithm="partitioned", recall_target=1).fit(images)
    assert model.recall_ == 1
    whole = model.search_.search(
        images[:30].reshape(30, -1), 12, "correlation", nprobe=400
    )
    distances, positions = exact.kneighbors(images[:30], 12)
    np.testing.assert_array_equal([found[1] for found in whole], positions)
    np.testing.assert_array_equal([found[0] for found in whole], distances)


def test_auto_parts_what_takes_long(images, monkeypatch):
    assert PairwiseModel(algorithm="auto").fit(images).algorithm_ == "exact"
    few = KMeansModel(5, algorithm="auto", random_state=0).fit(images)
    assert (few.clusters_searched_, few.recall_) == (5, 1)
    monkeypatch.setattr(partitioned, "_MOST_READ", images.size - 1)
    assert PairwiseModel(algorithm="auto").fit(images).algorithm_ == "partitioned"
    many = KMeansModel(5, algorithm="auto", random_state=0).fit(images)
    assert many.clusters_searched_ == 1


def test_exact_k_means_model(images):
    model = KMeansModel(6, algorithm="exact", random_state=0).fit(images)
    assert model.recall_ == 1
    np.testing.assert_array_equal(
        model.kneighbors(images[:20])[1],
        PairwiseModel().fit(images).kneighbors(images[:20])[1],
    )


def test_one_picture_misses_nothing(images):
    assert KMeansModel(1).fit(images[:1]).recall_ == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"recall_target": 0}, r"recall_target must be in \(0, 1\], got 0"),
        ({"recall_target": 95}, "got 95"),
        ({"clusters_searched": 0}, "clusters_searched must be 1 or more, got 0"),
    ],
)
def test_mistakes(images, options, says):
    with pytest.raises(ValueError, match=says):
        KMeansModel(**options).fit(images[:20])


@pytest.mark.parametrize("model", [PairwiseModel, KMeansModel])
def test_mistakes_of_both_models(images, model):
    with pytest.raises(ValueError, match="algorithm='annoy' is not known; expected"):
        model(algorithm="annoy").fit(images[:20])
    with pytest.raises(ValueError, match=r"recall_target must be in .* got -1"):
        model(recall_target=-1).fit(images[:20])
