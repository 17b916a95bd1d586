"""The fast scans name at least all rows that are among the nearest."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from geoimages import PairwiseModel
from geoimages.search import METRICS, ExactSearch, exact, integers, scans
from geoimages.search import top_k as near
from geoimages.search.block_means import BlockMeans
from geoimages.search.quantized import QuantizedRows
from geoimages.search.rotated import RotatedRows, deduplicate_rotations
from geoimages.search.scans import Block, blocks_of
from geoimages.search.top_k import TopK

SHAPE = (16, 16, 3)
PRODUCTS = ["correlation", "cosine", "euclidean", "sqeuclidean"]


def hostile(dtype):
    """Rows of which some are identical, constant, almost equal or very large."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 256, (900, *SHAPE), dtype=np.uint8)
    rows[:300] = np.kron(rows[:300, :4, :4], np.ones((1, 4, 4, 1), np.uint8))  # blocks
    rows = rows.reshape(900, -1)
    rows[::9] = rows[0]  # identical
    rows[5], rows[6], rows[7], rows[777] = 0, 255, 128, 128  # constant
    rows[400:450] = rows[401]
    rows[400:450, :50] = rng.integers(0, 256, (50, 50), dtype=np.uint8)
    if dtype == np.uint8:
        return rows
    rows = (rows / 255).astype(dtype) + dtype(1e-7)
    rows[500:520] *= 1e4
    rows[600:640] = rows[600] + dtype(1e-6) * rng.normal(size=(40, 768)).astype(dtype)
    return rows


def small_steps(monkeypatch):
    """Make every loop go round more than once."""
    monkeypatch.setattr(exact, "_SCAN_VALUES", 700)
    monkeypatch.setattr(exact, "_FEW_DISTANCES", 0)
    monkeypatch.setattr(exact, "_QUERIES_AT_ONCE", 8)
    monkeypatch.setattr(scans, "_CACHE_BYTES", 40_000)
    monkeypatch.setattr(scans, "_TILE_VALUES", 100)
    monkeypatch.setattr(near, "_FIRST_VALUES", 32)
    monkeypatch.setattr(near, "_FEWEST", 16)


def assert_same(found, wanted):
    assert len(found) == len(wanted)
    for got, expected in zip(found, wanted, strict=True):
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_array_equal(a, b)


def by_all(engine, monkeypatch, *args, **options):
    """What comes of computing every distance exactly."""
    with monkeypatch.context() as patch:
        patch.setattr(exact, "_MANY", 10**9)
        return engine.search(*args, **options)


@pytest.mark.parametrize("steps", ["small", "threads", "one"])
@pytest.mark.parametrize("n_orientations", [1, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("metric", [*PRODUCTS, "cityblock", "chebyshev"])
def test_a_scan_gives_what_all_distances_give(
    metric, dtype, n_orientations, steps, monkeypatch
):
    rows = hostile(dtype)
    if steps != "one":
        small_steps(monkeypatch)
    monkeypatch.setattr(exact, "_WORTH_A_THREAD", 1000)
    n_jobs = 3 if steps == "threads" else None
    engine = ExactSearch(rows, np.arange(900)[::-1], None, SHAPE)
    queries = rows[[0, 3, 5, 6, 100, 401, 402, 510, 601, 602, 777, 888]]
    out = [np.array([i, 400 + i, 777]) for i in range(12 // n_orientations)]
    within = [slice(0, 301), slice(301, 302), slice(390, 900)]
    for options in ({}, {"exclude": out}, {"within": within, "exclude": out}):
        options["n_orientations"] = n_orientations
        found = engine.search(queries, 7, metric, n_jobs=n_jobs, **options)
        wanted = by_all(engine, monkeypatch, queries, 7, metric, **options)
        assert_same(found, wanted)


@pytest.mark.parametrize("n_orientations", [1, 4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("metric", PRODUCTS)
@pytest.mark.parametrize("fast", [True, False])
def test_rounded_rows_give_the_same(metric, dtype, n_orientations, fast, monkeypatch):
    small_steps(monkeypatch)
    monkeypatch.setattr(exact, "_FEW_QUERIES", 16)
    if not fast:
        monkeypatch.setattr(integers, "_load_numkong", lambda: None)
        monkeypatch.setattr(integers, "is_fast", lambda: True)
    engine = ExactSearch(hostile(dtype), np.arange(900)[::-1])
    queries = np.concatenate([engine.rows[[0, 3, 5, 6, 100, 401, 402, 510]]] * 2)
    queries[8:] += dtype(1e-3) * np.sin(np.arange(768, dtype=dtype))
    options = {"n_orientations": n_orientations}
    options["exclude"] = [np.array([i, 400 + i]) for i in range(16 // n_orientations)]
    found = engine.search(queries, 7, metric, **options)
    assert engine._quantized.codes.dtype == np.int8
    assert_same(found, by_all(engine, monkeypatch, queries, 7, metric, **options))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [1e3, 1e5, 1e7])
def test_rows_far_from_zero_are_found(offset, dtype, monkeypatch):
    rows = np.random.default_rng(0).normal(size=(900, 300)).astype(dtype)
    rows += dtype(offset)
    queries = rows[[3, 858]]
    for fewest in (exact._WIDE, 1000):  # as bytes and as they are
        monkeypatch.setattr(exact, "_WIDE", fewest)
        engine = ExactSearch(rows, np.arange(900))
        for _ in range(10):
            found = engine.search(queries, 5, "correlation")
        assert_same(found, by_all(engine, monkeypatch, queries, 5, "correlation"))


@pytest.mark.parametrize(
    ("dtype", "exponent"),
    [(np.float32, power) for power in (-44, -42, -25, 19, 37)]
    + [(np.float64, power) for power in (-300, -160, -42, 19, 37, 100, 160, 300)],
)
@pytest.mark.parametrize("metric", PRODUCTS)
def test_no_number_is_too_large_or_too_small(metric, dtype, exponent, monkeypatch):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(600, 20))
    rows[300:] *= 10.0**exponent
    rows = rows.astype(dtype)
    small_steps(monkeypatch)
    for fewest in (exact._WIDE, 1):  # as they are and as bytes
        monkeypatch.setattr(exact, "_WIDE", fewest)
        monkeypatch.setattr(exact, "_REPAID", 0)
        engine = ExactSearch(rows, np.arange(600)[::-1])
        for queries in (rows[[3, 590]], rng.normal(size=(2, 20)).astype(dtype)):
            found = engine.search(queries, 5, metric)
            with np.errstate(all="ignore"):
                wanted = by_all(engine, monkeypatch, queries, 5, metric)
            assert_same(found, wanted)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("metric", ["correlation", "cosine"])
def test_rows_without_direction_are_left_where_others_are_near(metric, dtype):
    rows = hostile(np.uint8)
    rows[::2] = 0
    if dtype == np.uint8 and metric == "correlation":
        rows[::4] = 9
    rows = rows if dtype == np.uint8 else rows.astype(dtype)
    engine = ExactSearch(rows, np.arange(900))
    near = engine._near(rows[[1, 401]], 5, metric, [slice(0, 900)], [(), ()], None)
    assert max(map(len, near)) < 100


@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_where_all_rows_are_as_near_few_candidates_are_asked_at_once(
    dtype, n_jobs, monkeypatch
):
    rows = np.eye(900, 20, dtype=dtype)  # most are 0
    rows[:, 0] = 1
    small_steps(monkeypatch)
    monkeypatch.setattr(exact, "_WORTH_A_THREAD", 1000)
    monkeypatch.setattr(exact, "_MOST_KEPT", 2000)
    engine = ExactSearch(rows, np.arange(900)[::-1])
    asked, look = [], engine._near
    monkeypatch.setattr(
        engine, "_near", lambda q, *given: [asked.append(len(q)), look(q, *given)][1]
    )
    queries = rows[:10]
    found = engine.search(queries, 7, "euclidean", n_orientations=2, n_jobs=n_jobs)
    assert min(asked) < max(asked)
    assert_same(
        found, by_all(engine, monkeypatch, queries, 7, "euclidean", n_orientations=2)
    )


def test_what_is_infinitely_far_ties_with_nothing_near():
    rows = np.array([[1e200, 0], [3.0, 4.0], [0.0, 0.0]])
    engine = ExactSearch(rows, np.array([0, 1, 2]))
    ((distances, positions, _),) = engine.search(np.zeros((1, 2)), 3, "euclidean")
    assert distances.tolist() == [0, 5, np.inf]
    assert positions.tolist() == [2, 1, 0]


def test_what_rounding_takes_is_known():
    rows = hostile(np.float32)[300:800]
    rows[3] = 0
    rounded = QuantizedRows(rows)
    queries = rows[::50].astype(np.float64)
    products = rounded.products_with(queries)(Block([slice(0, 500)])).T
    true = rows.astype(np.float64) @ queries.T
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1)[:, None]
    lost = rounded.lost[:, None] + rounded.query_lost * lengths
    off = np.abs(products - true) / np.linalg.norm(queries, axis=1)
    assert (off <= 1.01 * lost).all()
    assert off.max() > 1e-3 * lengths.max()  # or the test would see nothing
    assert np.median(rounded.lost[:, None] / lengths.clip(1e-9)) < 0.01


def test_rows_are_rounded_once_it_pays(tmp_path):
    rows = np.random.default_rng(0).random((1000, 300), np.float32)
    engine = ExactSearch(rows, np.arange(1000))
    engine.search(rows[:40], 3, "euclidean")
    engine.search(rows[:1], 3, "euclidean")
    assert engine._quantized is None
    engine.search(rows[:8], 3, "euclidean")
    engine.search(rows[:8], 3, "euclidean")
    assert engine._quantized is not None
    assert engine.__getstate__()["_quantized"] is None
    np.save(tmp_path / "rows.npy", rows)
    on_disk = np.load(tmp_path / "rows.npy", mmap_mode="r")
    for others in (rows[:, :200], (rows * 255).astype(np.uint8), on_disk):
        engine = ExactSearch(others, np.arange(1000))
        for _ in range(5):
            engine.search(others[:8], 3, "euclidean")
        assert engine._quantized is None
    engine = ExactSearch(rows, np.arange(1000))
    for _ in range(5):
        engine.search(rows[:8], 3, "cityblock")  # which does not scan bytes
    assert engine._quantized is None


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_every_metric_is_scanned_as_cdist_computes_it(metric, monkeypatch):
    rng = np.random.default_rng(0)
    rows = rng.random((700, 12))
    rows[3] = 0  # undefined for some
    params = {}
    if metric == "seuclidean":
        params = {"V": rows.var(axis=0, ddof=1)}
    if metric == "mahalanobis":
        params = {"VI": np.linalg.inv(np.cov(rows, rowvar=False))}
    small_steps(monkeypatch)
    engine = ExactSearch(rows, np.arange(700), params)
    queries = rng.random((3, 12))
    with np.errstate(invalid="ignore"):
        reference = cdist(queries, rows, metric, **params)
    if metric in ("correlation", "cosine"):
        reference[:, 3] = 1
    found = engine.search(queries, 5, metric)
    for (distance, positions, _), row in zip(found, reference, strict=True):
        np.testing.assert_allclose(distance, np.sort(row)[:5], atol=1e-12)
        np.testing.assert_allclose(row[positions], distance, atol=1e-12)


@pytest.mark.parametrize("metric", PRODUCTS)
def test_pictures_are_found_among_float_rows(metric, monkeypatch):
    rows = hostile(np.float32)
    engine = ExactSearch(rows, np.arange(900))
    queries = hostile(np.uint8)[[10, 20, 650]]
    assert engine.rows.dtype == np.float32
    found = engine.search(queries, 5, metric)
    assert_same(found, by_all(engine, monkeypatch, queries, 5, metric))
    assert [positions[0] for _, positions, _ in found] == [10, 20, 650]


@pytest.mark.parametrize("metric", [*PRODUCTS, "cityblock"])
def test_turned_rows_are_scanned_alike(metric, monkeypatch):
    images = hostile(np.uint8)[:300].reshape(300, *SHAPE)
    turned = np.concatenate([np.rot90(images, k, axes=(1, 2)) for k in range(4)])
    rows = np.ascontiguousarray(turned).reshape(1200, -1)
    kept = deduplicate_rotations(rows, SHAPE)
    assert isinstance(kept, RotatedRows)
    queries = rows[[1, 301, 602, 905]]
    queries[:, ::5] //= 2
    small_steps(monkeypatch)
    found = ExactSearch(kept, np.arange(1200), None, SHAPE).search(queries, 9, metric)
    plain = ExactSearch(rows, np.arange(1200))
    assert_same(found, by_all(plain, monkeypatch, queries, 9, metric))


def test_block_means_bound_cityblock_distances_from_below():
    rows = hostile(np.uint8)
    coarse = BlockMeans(rows, SHAPE)
    assert coarse.side == 4
    assert coarse.rows.shape == (900, 48)
    bounds = coarse.bounds(rows[::90])(slice(0, 900))
    true = 255 * cdist(rows / 255, rows[::90] / 255, "cityblock")
    assert (bounds <= true + 1e-6).all()
    # Where blocks are even, there is nothing to lose.
    smooth = np.ix_(np.arange(1, 9), [0])
    np.testing.assert_allclose(bounds[smooth], true[smooth], atol=2)


def test_block_means_of_large_pictures_are_as_far_off_as_told():
    rng = np.random.default_rng(0)
    pictures = rng.integers(200, 256, (3, 1024, 512, 1), dtype=np.uint8)
    coarse = BlockMeans(pictures.reshape(3, -1), (1024, 512, 1))
    assert coarse.side == 64
    blocks = pictures.reshape(3, 16, 64, 8, 64).astype(np.int64)
    sums = blocks.sum(axis=(2, 4)).reshape(3, -1)
    off = np.abs(sums - 64**2 * coarse.rows.astype(np.int64)).sum(axis=1)
    assert (off <= coarse._slack).all()
    # Each of its sums is off by no more than 2 · 64 + 5 roundings.
    worst = 255 * (64 + 2.5) * np.finfo(np.float32).eps * 1024 * 512
    assert (coarse._slack - off >= worst).all()


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
        (None, None),
    ],
)
def test_blocks_part_pictures_evenly(shape, side):
    n_columns = shape[0] * shape[1] * min(shape[2], 3) if shape else 12
    coarse = BlockMeans(np.zeros((2, n_columns), np.uint8), shape)
    assert coarse.side == side


def test_block_means_leave_few_rows_to_compare(rocks_images):
    engine = PairwiseModel(3, "cityblock").fit(rocks_images).search_
    rows = rocks_images.reshape(len(rocks_images), -1)
    near = engine._top_k_by_means(rows[:5], 3, [slice(0, len(rows))], [()] * 5, None)
    assert max(map(len, near)) < len(rows) / 4


@pytest.fixture
def rocks_images():
    from geoimages import make_rocks

    return make_rocks(400, random_state=0)[0]


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
            places = block.places(asked)
            assert block.positions(places).tolist() == positions.tolist()
    block = Block([slice(2, 5), slice(10, 12)])
    assert block.places(np.array([0, 3, 5, 9, 11, 12])).tolist() == [1, 4]


def test_rows_that_may_be_near_are_kept():
    rng = np.random.default_rng(0)
    true = rng.random((3, 5000))
    error = 0.01 * rng.random(5000)
    seen = true + error * rng.choice([-1, 1], (3, 5000))
    kept = [TopK(3, 10), TopK(3, 10)]
    for i, start in enumerate(range(0, 5000, 1000)):
        part = slice(start, start + 1000)
        kept[i % 2].offer(
            seen[:, part],
            lambda places, start=start: places + start,
            lambda who, places, start=start: error[start + places],
            lambda bound: 0.01,
        )
    kept[0].join(kept[1])
    for positions, distances in zip(kept[0].positions(), true, strict=True):
        nearest = np.argsort(distances)[:10]
        assert set(nearest) <= set(positions)
        assert len(positions) < 200
        assert (np.diff(positions) > 0).all()


def test_bounds_of_many_pictures_are_held_a_few_candidates_at_a_time(
    rocks_images, monkeypatch
):
    engine = PairwiseModel(3, "cityblock").fit(rocks_images).search_
    queries = rocks_images[:40].reshape(40, -1)
    wanted = engine.search(queries, 3, "cityblock")
    asked, near_by_means = [], engine._top_k_by_means

    def spy(queries, *args):
        asked.append(len(queries))
        return near_by_means(queries, *args)

    monkeypatch.setattr(engine, "_top_k_by_means", spy)
    monkeypatch.setattr(exact, "_BLOCK_BYTES", 16 * len(rocks_images) * 8)
    assert_same(engine.search(queries, 3, "cityblock"), wanted)
    assert asked == [8] * 5
