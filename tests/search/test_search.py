"""Exact search: the distances of cdist, ties broken by key, in integers."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from geoimages.pictures.scaling import as_uint8
from geoimages.search import METRICS, ExactSearch, integers, similarity_from_distance
from geoimages.search.metrics import check_metric

INTEGER_METRICS = ["correlation", "cosine", "euclidean", "sqeuclidean", "cityblock"]


def search(rows, queries, k, metric, **options):
    return ExactSearch(rows, np.arange(len(rows)), options).search(queries, k, metric)


def assert_agrees(found, reference, tolerance=1e-9):
    """Distances agree, and each row found is at the distance said."""
    for (distance, positions, _), row in zip(found, reference, strict=True):
        k = len(distance)
        assert len(set(positions)) == k
        np.testing.assert_allclose(distance, np.sort(row)[:k], atol=tolerance)
        np.testing.assert_allclose(distance, row[positions], atol=tolerance)
        assert (np.diff(distance) >= 0).all()


@pytest.mark.parametrize("metric", METRICS)
def test_random_floats_agree_with_cdist(metric):
    rows = np.random.default_rng(0).random((300, 12))
    params = {}
    if metric == "seuclidean":
        params = {"V": rows.var(axis=0, ddof=1)}
    if metric == "mahalanobis":
        params = {"VI": np.linalg.inv(np.cov(rows, rowvar=False))}
    queries = np.random.default_rng(1).random((4, 12))
    reference = cdist(queries, rows, metric, **params)
    assert_agrees(search(rows, queries, 20, metric), reference)


@pytest.mark.parametrize("metric", METRICS)
def test_pictures_are_compared_in_units_of_0_to_1(metric):
    rows = np.random.default_rng(0).integers(0, 256, (200, 48), dtype=np.uint8)
    scaled = rows / 255
    params = {}
    if metric == "seuclidean":
        params = {"V": scaled.var(axis=0, ddof=1)}
    if metric == "mahalanobis":
        params = {"VI": np.linalg.inv(np.cov(scaled, rowvar=False))}
    reference = cdist(scaled[:3], scaled, metric, **params)
    as_pictures = search(rows, rows[:3], 20, metric)
    assert_agrees(as_pictures, reference)
    for floats in (scaled, scaled.astype(np.float32), rows / np.float32(255)):
        for a, b in zip(
            search(floats, floats[:3], 20, metric), as_pictures, strict=True
        ):
            np.testing.assert_array_equal(a[0], b[0])
            np.testing.assert_array_equal(a[1], b[1])


@pytest.mark.parametrize("metric", INTEGER_METRICS)
@pytest.mark.parametrize("numkong", [True, False])
def test_integers_agree_with_cdist_on_hostile_rows(metric, numkong, monkeypatch):
    if not numkong:
        monkeypatch.setattr(integers, "_load_numkong", lambda: None)
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 256, (120, 75), dtype=np.uint8)
    rows[::7] = rows[0]  # identical
    rows[1], rows[2], rows[3] = 0, 255, 128  # constant
    rows[4] = rows[5] // 2
    queries = np.vstack([rows[:8], rng.integers(0, 256, (4, 75), dtype=np.uint8)])
    with np.errstate(invalid="ignore"):
        reference = cdist(queries / 255, rows / 255, metric)
    if metric in ("correlation", "cosine"):
        flat = (
            (lambda r: r.std(axis=1) == 0)
            if metric == "correlation"
            else (lambda r: ~r.any(axis=1))
        )
        same = (queries[:, None] == rows).all(axis=2)
        lost = flat(queries)[:, None] | flat(rows)
        reference = np.where(lost, 1.0 - same, reference)
    assert_agrees(search(rows, queries, 120, metric), reference)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("metric", ["correlation", "euclidean", "cityblock"])
def test_a_row_is_as_near_as_the_nearest_orientation(metric, dtype):
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 255, (90, 27), dtype=np.uint8).astype(dtype)
    queries = rows[:24] + dtype(1)
    engine = ExactSearch(rows, np.arange(90))
    together = engine.search(queries, 90, metric, n_orientations=3)
    assert len(together) == 8
    apart = engine.search(queries, 90, metric)
    for i, (distance, positions, which) in enumerate(together):
        every = np.empty((3, 90))
        for j, (values, places, _) in enumerate(apart[3 * i : 3 * i + 3]):
            every[j, places] = values
        np.testing.assert_allclose(distance, np.sort(every.min(axis=0)), atol=1e-12)
        np.testing.assert_allclose(every[which, positions], distance, atol=1e-12)
        assert len(set(which)) == 3


def test_the_first_of_equal_orientations_wins():
    rows = np.arange(24, dtype=np.uint8).reshape(2, 12) ** 2
    queries = rows[[1, 0, 0]]
    ((distance, positions, which),) = ExactSearch(rows, np.arange(2)).search(
        queries, 1, "euclidean", n_orientations=3
    )
    assert (distance[0], positions[0], which[0]) == (0, 0, 1)


@pytest.mark.parametrize("metric", INTEGER_METRICS)
def test_large_bright_rows_do_not_overflow(metric):
    rows = np.full((3, 256 * 256 * 3), 255, np.uint8)
    rows[1, ::2] = 254
    rows[2, :7] = 0
    (distance, positions, _), *_ = search(rows, rows[1:2], 3, metric)
    reference = cdist(rows[1:2] / 255, rows / 255, metric)[0]
    if metric == "correlation":
        reference[0] = 1  # constant
    np.testing.assert_allclose(distance, np.sort(reference), rtol=1e-6, atol=1e-12)
    assert positions[0] == 1
    assert distance[0] == 0


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("metric", INTEGER_METRICS)
def test_ties_are_broken_by_key_whatever_the_order(dtype, metric):
    rng = np.random.default_rng(0)
    base = rng.integers(0, 4, (30, 6), dtype=np.uint8)
    rows = np.repeat(base, 4, axis=0).astype(dtype)
    if dtype != np.uint8:
        rows += dtype(0.123)  # no longer k / 255
    rank = rng.permutation(len(rows))
    queries = rows[::9] + dtype(1)
    expected = None
    for seed in range(3):
        shuffle = np.random.default_rng(seed).permutation(len(rows))
        engine = ExactSearch(rows[shuffle], rank[shuffle])
        found = [
            (distance, rank[shuffle][positions])
            for distance, positions, _ in engine.search(queries, 17, metric)
        ]
        expected = expected or found
        for (d, ranks), (e, wanted) in zip(found, expected, strict=True):
            np.testing.assert_array_equal(ranks, wanted)
            np.testing.assert_array_equal(d, e)
            for distance in np.unique(d[:-1]):
                assert (np.diff(ranks[:-1][d[:-1] == distance]) > 0).all()


def test_ties_that_floating_point_parts_are_settled_exactly():
    # Correlation is blind to scale: these are one distance, rounded differently.
    pattern = np.array([[1, 2, 5, 3, 9, 4, 7]], np.uint8)
    rows = np.vstack([pattern * factor for factor in (3, 7, 11, 13, 21, 28)])
    query = np.array([[5, 1, 4, 4, 8, 2, 9]], np.uint8)
    for seed in range(5):
        rank = np.random.default_rng(seed).permutation(6)
        ((distance, positions, _),) = ExactSearch(rows, rank).search(
            query, 6, "correlation"
        )
        assert rank[positions].tolist() == list(range(6))
        assert len(set(distance)) == 1


def test_near_but_unequal_distances_keep_their_order():
    rng = np.random.default_rng(0)
    row = rng.integers(0, 256, 196_608, dtype=np.uint8)
    rows = np.vstack([row, row, row])
    rows[1, 0] ^= 1
    rows[2, 5] ^= 1
    query = rng.integers(0, 256, (1, 196_608), dtype=np.uint8)
    exact = cdist(
        query.astype(np.longdouble), rows.astype(np.longdouble), "correlation"
    )
    ((_, positions, _),) = ExactSearch(rows, np.arange(3)).search(
        query, 3, "correlation"
    )
    assert positions.tolist() == np.argsort(exact[0], kind="stable").tolist()


def test_rows_without_direction_are_far_from_all_but_themselves():
    rows = np.array([[1.5, 1.5], [1.5, 1.5], [2.5, 2.5], [0.25, 1.75]])
    ((distance, positions, _),) = search(rows, rows[:1], 4, "correlation")
    assert distance.tolist() == [0, 0, 1, 1]
    assert positions.tolist() == [0, 1, 2, 3]
    rows = np.array([[0, 0], [0, 0], [0.3, 0.7]])
    ((distance, _, _),) = search(rows, rows[:1], 3, "cosine")
    assert distance.tolist() == [0, 0, 1]


def test_identical_rows_are_at_exactly_zero():
    rows = np.random.default_rng(0).normal(size=(50, 33))
    for metric in ("correlation", "cosine"):
        for i, (distance, positions, _) in enumerate(search(rows, rows, 1, metric)):
            assert positions.tolist() == [i]
            assert distance.tolist() == [0]


def test_within_and_leave_out():
    rows = np.random.default_rng(0).integers(0, 256, (40, 12), dtype=np.uint8)
    engine = ExactSearch(rows, np.arange(40))
    within = [slice(3, 4), slice(9, 12), slice(30, 31)]
    ((distance, positions, _),) = engine.search(
        rows[3:4], 9, "euclidean", within, [np.array([3, 5])]
    )
    assert sorted(positions) == [9, 10, 11, 30]
    reference = cdist(rows[3:4] / 255, rows / 255)[0]
    np.testing.assert_allclose(distance, reference[positions])


def test_batches_equal_single_queries():
    rows = np.random.default_rng(0).random((50, 8))
    engine = ExactSearch(rows, np.arange(50))
    for i, (distance, _, _) in enumerate(engine.search(rows, 5, "cityblock")):
        ((single, _, _),) = engine.search(rows[i : i + 1], 5, "cityblock")
        np.testing.assert_array_equal(single, distance)


def test_metric_params_reach_the_metrics_they_belong_to():
    rows = np.random.default_rng(0).random((30, 4))
    reference = cdist(rows[:1], rows, "minkowski", p=3)
    assert_agrees(search(rows, rows[:1], 5, "minkowski", p=3), reference)
    reference = cdist(rows[:1], rows, "correlation")
    assert_agrees(search(rows, rows[:1], 5, "correlation", p=3), reference)
    weights = np.array([1, 0, 2, 5.0])
    pixels = np.random.default_rng(0).integers(0, 256, (30, 4), dtype=np.uint8)
    reference = cdist(pixels[:1] / 255, pixels / 255, "euclidean", w=weights)
    assert_agrees(search(pixels, pixels[:1], 5, "euclidean", w=weights), reference)


def test_metric_params_that_no_distance_takes_are_said():
    with pytest.raises(ValueError, match="has 'P', which no distance takes.*p, V, VI"):
        ExactSearch(np.eye(3), np.arange(3), {"P": 3})


def test_every_name_that_cdist_takes():
    from scipy.spatial.distance import _METRIC_ALIAS

    gone = {"kulczynski1", "sokalmichener"}  # from SciPy 1.17 on
    known = {info.canonical_name for info in _METRIC_ALIAS.values()}
    assert known - gone == set(METRICS)
    for name, info in _METRIC_ALIAS.items():
        if info.canonical_name in gone:
            continue
        assert check_metric(name) == check_metric(name.upper()) == info.canonical_name


def test_seuclidean_leaves_constant_columns_unscaled():
    rows = np.random.default_rng(0).random((20, 3))
    rows[:, 1] = 0.4321
    variance = rows.var(axis=0, ddof=1)
    variance[1] = 1
    reference = cdist(rows[:1], rows, "seuclidean", V=variance)
    assert_agrees(search(rows, rows[:1], 5, "seuclidean"), reference)


def test_mahalanobis_of_too_few_rows_says_so():
    rows = np.random.default_rng(0).random((5, 12))
    with pytest.raises(ValueError, match="12 columns, which 5 rows do not determine"):
        search(rows, rows[:1], 2, "mahalanobis")


LEARNED = {"seuclidean", "mahalanobis"}


@pytest.mark.parametrize("metric", sorted(set(METRICS) - LEARNED - {"dice"}))
@pytest.mark.parametrize("exponent", [-318, -210, -160, 160, 300])
def test_no_finite_rows_are_at_an_undefined_distance(metric, exponent):
    rows = np.random.default_rng(0).random((30, 6))
    extreme = rows.copy()
    extreme[10:] *= 10.0**exponent
    found = search(extreme, extreme[[2, 15]], 30, metric)
    for distance, _, _ in found:
        assert np.isfinite(similarity_from_distance(distance, metric)).all()
    if metric in ("correlation", "cosine", "jensenshannon") and exponent != -318:
        wanted = search(rows, rows[[2, 15]], 30, metric)
        for got, expected in zip(found, wanted, strict=True):
            np.testing.assert_allclose(got[0], expected[0], atol=1e-12)


@pytest.mark.parametrize("metric", sorted(LEARNED))
def test_what_cannot_be_learned_of_extreme_rows_is_said(metric):
    rows = np.random.default_rng(0).random((30, 6)) * 1e160
    with pytest.raises(ValueError, match=f"{metric} needs the .*; scale the features"):
        search(rows, rows[:1], 3, metric)


def test_constant_rows_of_extreme_scales_differ():
    rows = np.array([[1e200, 1e200], [2e200, 2e200], [1e200, 1e-200]])
    ((distance, positions, _),) = search(rows, rows[:1], 3, "correlation")
    assert (distance.tolist(), positions.tolist()) == ([0, 1, 1], [0, 1, 2])


def test_an_unknown_metric_names_the_known_ones():
    with pytest.raises(ValueError, match="'manhattan' is not known.*cityblock"):
        search(np.eye(3), np.eye(3), 1, "manhattan")


def test_dots_are_exact_beyond_a_32_bit_sum():
    rows = np.full((2, 70_000), 255, np.uint8)
    rows[1, ::3] = 7
    wanted = rows.astype(object) @ rows.T.astype(object)
    np.testing.assert_array_equal(integers.dots(rows, rows), wanted.astype(np.int64))
    assert wanted[0, 0] > 2**32


def test_dots_take_strided_and_read_only_rows():
    rows = np.random.default_rng(0).integers(0, 256, (9, 40), dtype=np.uint8)
    rows.flags.writeable = False
    wanted = rows.astype(np.int64) @ rows.T.astype(np.int64)
    np.testing.assert_array_equal(
        integers.dots(rows[::-1, ::-2], rows[:, ::-2]),
        (rows[::-1, ::-2].astype(np.int64) @ rows[:, ::-2].T.astype(np.int64)),
    )
    np.testing.assert_array_equal(integers.dots(rows, rows), wanted)
    assert integers.dots(rows[:0], rows).shape == (0, 9)


def test_a_faulty_numkong_is_not_used(monkeypatch):
    import numkong

    right = numkong.dots_packed
    monkeypatch.setattr(
        numkong, "dots_packed", lambda a, b: np.asarray(right(a, b)) + np.uint32(1)
    )
    integers._load_numkong.cache_clear()
    assert integers._load_numkong() is None

    def fail(*args):
        raise RuntimeError

    monkeypatch.setattr(numkong, "dots_packed", fail)
    integers._load_numkong.cache_clear()
    assert integers._load_numkong() is None
    monkeypatch.setitem(__import__("sys").modules, "numkong", None)
    integers._load_numkong.cache_clear()
    assert integers._load_numkong() is None
    integers._load_numkong.cache_clear()


def test_row_sums_and_squares():
    rows = np.random.default_rng(0).integers(0, 256, (20, 99), dtype=np.uint8)
    wide = rows.astype(np.int64)
    np.testing.assert_array_equal(integers.row_sums(rows), wide.sum(axis=1))
    np.testing.assert_array_equal(integers.row_squares(rows), (wide**2).sum(axis=1))
    np.testing.assert_array_equal(
        integers.absolute_differences(rows, rows[:3]),
        np.abs(wide[:, None] - wide[:3]).sum(axis=2),
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_only_whole_levels_become_uint8(dtype):
    levels = np.arange(256, dtype=np.uint8)[None]
    np.testing.assert_array_equal(as_uint8((levels / 255).astype(dtype)), levels)
    np.testing.assert_array_equal(as_uint8(levels / np.float32(255)), levels)
    almost = (levels / 255).astype(dtype)
    almost[0, 9] = np.nextafter(almost[0, 9], dtype(1))
    for rows in (almost, almost - 1, almost * 2):
        assert as_uint8(rows).dtype == dtype


def test_similarity_falls_with_distance():
    distances = np.linspace(0, 2, 9)
    for metric in ("correlation", "euclidean"):
        similarity = similarity_from_distance(distances, metric)
        assert similarity[0] == 1
        assert (np.diff(similarity) < 0).all()
