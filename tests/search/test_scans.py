"""The fast scans leave at least all rows in doubt that are among the nearest."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from geoimages import PairwiseModel, make_rocks
from geoimages.search import METRICS, ExactSearch, exact, integers
from geoimages.search.block_means import BlockMeans, block_side
from geoimages.search.exact import Scan
from geoimages.search.quantized import QuantizedRows
from geoimages.search.rotated import RotatedRows, deduplicate_rotations
from geoimages.search.scans import Block, blocks_of
from geoimages.search.top_k import TopK, select_top_k

SHAPE = (16, 16, 3)
PRODUCTS = ["correlation", "cosine", "euclidean", "sqeuclidean"]
DTYPES = [np.uint8, np.float32, np.float64]


def hostile(dtype, n=900):
    """Rows of which some are identical, constant, almost equal or very large."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 256, (n, *SHAPE), dtype=np.uint8)
    rows[:300] = np.kron(rows[:300, :4, :4], np.ones((1, 4, 4, 1), np.uint8))  # blocks
    rows = rows.reshape(n, -1)
    rows[::9] = rows[0]  # identical
    rows[5], rows[6], rows[7], rows[777] = 0, 255, 128, 128  # constant
    rows[400:450] = rows[401]
    rows[400:450, :50] = rng.integers(0, 256, (50, 50), dtype=np.uint8)
    if dtype == np.uint8:
        return rows
    rows = (rows / 255).astype(dtype) + dtype(1e-7)
    rows[500:520] *= 1e4
    rows[520:540] += dtype(1e4)  # the mean drowns the rest
    rows[600:640] = rows[600] + dtype(1e-6) * rng.normal(size=(40, 768)).astype(dtype)
    return rows


def assert_same(found, wanted):
    assert len(found) == len(wanted)
    for got, expected in zip(found, wanted, strict=True):
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_array_equal(a, b)


def by_all(engine, queries, k, metric, within=None, exclude=None, n_orientations=1):
    """What comes of computing every distance exactly."""
    prepared, slices = engine.prepared_for(metric), within or [slice(0, len(engine))]
    search = Scan(engine, prepared, k, slices, n_orientations, None)
    search.at_once = True
    return list(
        search.find(queries, exclude or [()] * (len(queries) // n_orientations))
    )


def in_doubt(engine, queries, k, metric):
    """The rows that a scan leaves to be computed exactly, for each query."""
    prepared = engine.prepared_for(metric)
    search = Scan(engine, prepared, k, [slice(0, len(engine))], 1, None)
    return search.in_doubt(queries, [()] * len(queries))


@pytest.mark.parametrize("n_jobs", [None, 3])
@pytest.mark.parametrize("n_orientations", [1, 4])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("metric", [*PRODUCTS, "cityblock", "chebyshev"])
def test_a_scan_gives_what_all_distances_give(metric, dtype, n_orientations, n_jobs):
    n, m = 2100, 64  # enough for several steps, and for threads
    rows = hostile(dtype, n)
    engine = ExactSearch(rows, np.arange(n)[::-1], None, SHAPE, metric)
    few = rows[[0, 3, 5, 6, 100, 401, 510, 530, 601, 602, 777, 888]]
    for queries in (few, np.concatenate([few, rows[1000 : 1000 + m - 12]])):
        n_candidates = len(queries) // n_orientations
        excluded = [np.array([i, 400 + i, 777]) for i in range(n_candidates)]
        slices = [slice(0, 301), slice(301, 302), slice(390, n)]
        for options in ({}, {"within": slices, "exclude": excluded}):
            options["n_orientations"] = n_orientations
            found = engine.search(queries, 7, metric, n_jobs=n_jobs, **options)
            assert_same(found, by_all(engine, queries, 7, metric, **options))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("metric", [*PRODUCTS, "cityblock", "chebyshev"])
def test_many_rows_are_scanned_block_by_block(metric, dtype):
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 256, (40_000, 12)).astype(dtype)
    engine = ExactSearch(rows, np.arange(40_000), metric=metric)
    queries = rows[:64] // 2
    found = engine.search(queries, 7, metric)
    assert_same(found, by_all(engine, queries, 7, metric))


def test_many_queries_are_answered_as_few():
    rows = np.random.default_rng(0).random((2000, 8))
    engine = ExactSearch(rows, np.arange(2000), metric="euclidean")
    queries = np.random.default_rng(1).random((1100, 8))
    together = engine.search(queries, 3, "euclidean")
    assert_same(together[1000:], engine.search(queries[1000:], 3, "euclidean"))


@pytest.mark.parametrize("n_orientations", [1, 4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("metric", PRODUCTS)
@pytest.mark.parametrize("fast", [True, False])
def test_quantized_rows_give_the_same(metric, dtype, n_orientations, fast, monkeypatch):
    if not fast:
        monkeypatch.setattr(integers, "_load_numkong", lambda: None)
        monkeypatch.setattr(integers, "is_fast", lambda: True)
    engine = ExactSearch(hostile(dtype), np.arange(900)[::-1], metric=metric)
    queries = np.concatenate([engine.rows[[0, 3, 401, 510]]] * 2)
    queries[4:] += dtype(1e-3) * np.sin(np.arange(768, dtype=dtype))
    options = {"n_orientations": n_orientations}
    options["exclude"] = [np.array([i, 400 + i]) for i in range(8 // n_orientations)]
    found = engine.search(queries, 7, metric, **options)
    assert engine.prepared_for(metric).factors(8)[1].codes.dtype == np.int8
    assert_same(found, by_all(engine, queries, 7, metric, **options))


@pytest.mark.parametrize("quantize", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [1e3, 1e5, 1e7])
def test_rows_far_from_zero_are_found(offset, dtype, quantize):
    rows = np.random.default_rng(0).normal(size=(900, 300)).astype(dtype)
    rows += dtype(offset)
    queries = rows[[3, 858]]
    engine = ExactSearch(rows, np.arange(900)).prepared("correlation", quantize)
    found = engine.search(queries, 5, "correlation")
    assert_same(found, by_all(engine, queries, 5, "correlation"))


@pytest.mark.parametrize(
    ("dtype", "exponent"),
    [(np.float32, power) for power in (-44, -42, -25, 19, 37)]
    + [(np.float64, power) for power in (-300, -160, -42, 19, 37, 100, 160, 300)],
)
@pytest.mark.parametrize("metric", PRODUCTS)
def test_no_number_is_too_large_or_too_small(metric, dtype, exponent):
    rng = np.random.default_rng(0)
    for n_columns in (20, 256):  # as they are and as bytes
        rows = rng.normal(size=(600, n_columns))
        rows[300:] *= 10.0**exponent
        rows = rows.astype(dtype)
        engine = ExactSearch(rows, np.arange(600)[::-1], metric=metric)
        others = rng.normal(size=(2, n_columns)).astype(dtype)
        for queries in (rows[[3, 590]], others):
            found = engine.search(queries, 5, metric)
            with np.errstate(all="ignore"):
                wanted = by_all(engine, queries, 5, metric)
            assert_same(found, wanted)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("metric", ["correlation", "cosine"])
def test_rows_without_direction_are_left_where_others_are_near(metric, dtype):
    rows = hostile(np.uint8)
    rows[::2] = 0
    if dtype == np.uint8 and metric == "correlation":
        rows[::4] = 9
    rows = rows if dtype == np.uint8 else rows.astype(dtype)
    engine = ExactSearch(rows, np.arange(900))
    assert max(map(len, in_doubt(engine, rows[[1, 401]], 5, metric))) < 100


@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_where_all_rows_are_as_near_few_candidates_are_asked_at_once(
    dtype, n_jobs, monkeypatch
):
    rows = np.eye(30_000, 20, dtype=dtype)  # most are 0
    rows[:, 0] = 1
    monkeypatch.setattr(exact, "_MOST_KEPT", 100_000)  # some 500 MB otherwise
    engine = ExactSearch(rows, np.arange(30_000)[::-1], metric="euclidean")
    asked, in_doubt = [], Scan.in_doubt

    def spy(self, queries, excluded):
        asked.append(len(queries))
        return in_doubt(self, queries, excluded)

    monkeypatch.setattr(Scan, "in_doubt", spy)
    found = engine.search(rows[:20], 7, "euclidean", n_orientations=2, n_jobs=n_jobs)
    assert min(asked) < max(asked)
    assert_same(found, by_all(engine, rows[:20], 7, "euclidean", n_orientations=2))


def test_what_is_infinitely_far_ties_with_nothing_near():
    rows = np.array([[1.7e308, 1.7e308], [3.0, 4.0], [0.0, 0.0]])
    engine = ExactSearch(rows, np.array([0, 1, 2]))
    ((distances, positions, _),) = engine.search(np.zeros((1, 2)), 3, "euclidean")
    assert distances.tolist() == [0, 5, np.inf]
    assert positions.tolist() == [2, 1, 0]


def test_what_rounding_takes_is_known():
    rows = hostile(np.float32)[300:800]
    rows[3] = 0
    quantized = QuantizedRows(rows)
    queries = rows[::50].astype(np.float64)
    products = quantized.products_with(queries)(Block([slice(0, 500)])).T
    true = rows.astype(np.float64) @ queries.T
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1)[:, None]
    bound = quantized.residual[:, None] + quantized.query_residual * lengths
    off = np.abs(products - true) / np.linalg.norm(queries, axis=1)
    assert (off <= 1.01 * bound).all()
    assert off.max() > 1e-3 * lengths.max()  # or the test would see nothing
    assert np.median(quantized.residual[:, None] / lengths.clip(1e-9)) < 0.01


def test_which_rows_are_quantized(tmp_path):
    rows = np.random.default_rng(0).random((1000, 300), np.float32)

    def is_quantized(rows, metric="euclidean", n_queries=8, **options):
        engine = ExactSearch(rows, np.arange(len(rows)), metric=metric, **options)
        return engine.prepared_for(metric).factors(n_queries)[1] is not None

    assert is_quantized(rows)
    assert not is_quantized(rows, n_queries=9)
    assert not is_quantized(rows, quantize=False)
    np.save(tmp_path / "rows.npy", rows)
    in_file = np.load(tmp_path / "rows.npy", mmap_mode="r")
    for others in (rows[:, :200], (rows * 255).astype(np.uint8), in_file):
        assert not is_quantized(others)


@pytest.mark.parametrize("metric", [*PRODUCTS, "cityblock", "seuclidean"])
@pytest.mark.parametrize("prepared", [True, False])
def test_a_search_changes_nothing(metric, prepared):
    rows = hostile(np.float64)[:, :300]
    engine = ExactSearch(rows, np.arange(900), metric=metric if prepared else None)
    before, inner = dict(engine.__dict__), dict(vars(engine._prepared or engine))
    for _ in range(20):
        engine.search(rows[:2], 3, metric)
        engine.search(rows[:2], 3, "minkowski")
    assert engine.__dict__ == before
    assert dict(vars(engine._prepared or engine)).keys() == inner.keys()


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_every_metric_is_scanned_as_cdist_computes_it(metric):
    rng = np.random.default_rng(0)
    rows = rng.random((4000, 12))
    rows[3] = 0  # undefined for some
    params = {}
    if metric == "seuclidean":
        params = {"V": rows.var(axis=0, ddof=1)}
    if metric == "mahalanobis":
        params = {"VI": np.linalg.inv(np.cov(rows, rowvar=False))}
    engine = ExactSearch(rows, np.arange(4000), params)
    queries = rng.random((40, 12))
    with np.errstate(invalid="ignore"):
        reference = cdist(queries, rows, metric, **params)
    if metric in ("correlation", "cosine"):
        reference[:, 3] = 1
    found = engine.search(queries, 5, metric)
    for (distance, positions, _), row in zip(found, reference, strict=True):
        np.testing.assert_allclose(distance, np.sort(row)[:5], atol=1e-12)
        np.testing.assert_allclose(row[positions], distance, atol=1e-12)


@pytest.mark.parametrize("metric", PRODUCTS)
def test_pictures_are_found_among_float_rows(metric):
    rows = hostile(np.float32)
    engine = ExactSearch(rows, np.arange(900))
    queries = hostile(np.uint8)[[10, 20, 650]]
    assert engine.rows.dtype == np.float32
    found = engine.search(queries, 5, metric)
    assert_same(found, by_all(engine, queries, 5, metric))
    assert [positions[0] for _, positions, _ in found] == [10, 20, 650]


@pytest.mark.parametrize("metric", [*PRODUCTS, "cityblock"])
def test_rotated_rows_are_scanned_alike(metric):
    images = hostile(np.uint8)[:300].reshape(300, *SHAPE)
    rotated = np.concatenate([np.rot90(images, k, axes=(1, 2)) for k in range(4)])
    rows = np.ascontiguousarray(rotated).reshape(1200, -1)
    kept = deduplicate_rotations(rows, SHAPE)
    assert isinstance(kept, RotatedRows)
    queries = rows[[1, 301, 602, 905]]
    queries[:, ::5] //= 2
    engine = ExactSearch(kept, np.arange(1200), None, SHAPE, metric)
    plain = ExactSearch(rows, np.arange(1200))
    found = engine.search(queries, 9, metric)
    assert_same(found, by_all(plain, queries, 9, metric))


def test_block_means_bound_cityblock_distances_from_below():
    rows = hostile(np.uint8)
    means = BlockMeans(rows, SHAPE)
    assert means.side == 4
    assert means.rows.shape == (900, 48)
    bounds = means.bounds(rows[::90])(slice(0, 900))
    true = 255 * cdist(rows / 255, rows[::90] / 255, "cityblock")
    assert (bounds <= true + 1e-6).all()
    # Where blocks are even, there is nothing to lose.
    smooth = np.ix_(np.arange(1, 9), [0])
    np.testing.assert_allclose(bounds[smooth], true[smooth], atol=2)


def test_block_means_of_large_pictures_are_as_far_off_as_told():
    rng = np.random.default_rng(0)
    pictures = rng.integers(200, 256, (3, 1024, 512, 1), dtype=np.uint8)
    means = BlockMeans(pictures.reshape(3, -1), (1024, 512, 1))
    assert means.side == 64
    blocks = pictures.reshape(3, 16, 64, 8, 64).astype(np.int64)
    sums = blocks.sum(axis=(2, 4)).reshape(3, -1)
    off = np.abs(sums - 64**2 * means.rows.astype(np.int64)).sum(axis=1)
    assert (off <= means._error).all()
    # Each of its sums is off by no more than 2 · 64 + 5 roundings.
    worst = 255 * (64 + 2.5) * np.finfo(np.float32).eps * 1024 * 512
    assert (means._error - off >= worst).all()


@pytest.mark.parametrize(
    ("shape", "side"),
    [
        ((28, 28, 3), 4),
        ((64, 48, 1), 4),
        ((256, 256, 3), 16),
        ((224, 224, 4), 14),
        ((31, 31, 3), None),  # a prime
        ((1, 90, 1), None),  # no picture
        ((8, 8, 3), None),  # too small
    ],
)
def test_blocks_divide_pictures_evenly(shape, side):
    assert block_side(shape) == side


def test_block_means_leave_few_rows_to_compare():
    images = make_rocks(400, random_state=0)[0]
    engine = PairwiseModel(3, "cityblock").fit(images).search_
    rows = images.reshape(400, -1)
    assert max(map(len, in_doubt(engine, rows[:5], 3, "cityblock"))) < 100


def test_blocks():
    parts = [slice(2, 5), slice(7, 8), slice(10, 17)]
    every = [2, 3, 4, 7, *range(10, 17)]
    values = np.arange(100) * 10
    for most in (1, 2, 4, 100):
        blocks = list(blocks_of(parts, most))
        assert max(map(len, blocks)) <= most
        taken = np.concatenate([block.take(values) for block in blocks])
        assert taken.tolist() == [10 * i for i in every]
        for block in blocks:
            positions = block.positions(np.arange(len(block)))
            np.testing.assert_array_equal(block.take(values), 10 * positions)
            asked = np.arange(20)
            columns = block.columns(asked)
            assert block.positions(columns).tolist() == positions.tolist()
    block = Block([slice(2, 5), slice(10, 12)])
    assert block.columns(np.array([0, 3, 5, 9, 11, 12])).tolist() == [1, 4]


def test_rows_that_may_be_near_are_kept():
    rng = np.random.default_rng(0)
    true = rng.random((3, 5000))
    error = 0.01 * rng.random(5000)
    seen = true + error * rng.choice([-1, 1], (3, 5000))
    kept = [TopK(3, 10), TopK(3, 10)]
    for i, start in enumerate(range(0, 5000, 1000)):
        kept[i % 2].update(
            seen[:, start : start + 1000],
            lambda columns, start=start: columns + start,
            lambda _, columns, start=start: error[start + columns],
            lambda bound: 0.01,
        )
    kept[0].merge(kept[1])
    for positions, distances in zip(kept[0].positions(), true, strict=True):
        nearest = np.argsort(distances)[:10]
        assert set(nearest) <= set(positions)
        assert len(positions) < 200
        assert (np.diff(positions) > 0).all()


def test_a_margin_up_to_the_kth_and_one_down_to_its_rivals():
    seen = np.array([[1.0, 1.19, 1.21, 5.0]])  # each off by no more than 0.1
    candidates, columns = select_top_k(seen, 1, lambda bound: np.full(1, 0.1))
    # The first may truly be at 1.1, and so may the second.
    assert (candidates.tolist(), columns.tolist()) == ([0, 0], [0, 1])
    top_k = TopK(1, 1)
    for column in range(4):
        top_k.update(
            seen[:, [column]],
            lambda columns, column=column: columns + column,
            lambda *_: 0.1,
            lambda bound: np.full(1, 0.1),
        )
    assert top_k.positions()[0].tolist() == [0, 1]
