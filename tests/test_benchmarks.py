"""Rivals of the benchmarks do the same work, on a small part of it."""

import json

import numpy as np
import pytest

from benchmarks import bench_growth, bench_photographs, bench_speed, contest, data
from benchmarks.contest import Measured, measure
from benchmarks.contestants import CONTESTANTS, K_ROWS, SMALL, K
from geoimages import make_rocks

# Which pairs give the same pictures; the others differ by design.
BY_TURNS = ["ours_by_rotations", "ours_with_stored_rotations", "original", "faiss_flat"]
PAIRS = [
    *[(BY_TURNS[0], name) for name in BY_TURNS[1:]],
    ("ours_by_rotations_euclidean", "original_euclidean"),
    ("ours_by_rotations_cityblock", "original_cityblock"),
]


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    """A cache that is new, and drawn pictures."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setattr(data, "cache", lambda: folder)
        patch.delenv("GEOIMAGES_DATA", raising=False)
        patch.setattr(data, "_N_DRAWN", 300)
        patch.setattr(data, "_LEARNED_FROM", 200)
        yield


def found_first(name, i):
    """The pictures that a contestant finds, each once."""
    pytest.importorskip("faiss") if "faiss" in name else None
    return list(dict.fromkeys(CONTESTANTS[name](SMALL)(i).tolist()))


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_rivals_find_the_same_pictures(ours, theirs):
    for i in (0, 3):
        mine, others = found_first(ours, i), found_first(theirs, i)
        n = min(len(mine), len(others))  # turns of one picture may fill a list
        assert n >= 3
        assert mine[:n] == others[:n]


def test_batches_find_the_same_pictures():
    pytest.importorskip("faiss")
    ours, theirs = (
        CONTESTANTS[name](SMALL)(0) for name in ("ours_batch", "faiss_batch")
    )
    assert ours.shape == theirs.shape == (SMALL.n_pictures, K)
    np.testing.assert_array_equal(ours[:, 0], theirs[:, 0])


def test_rivals_find_the_same_rows():
    exact = CONTESTANTS["ours_exact"](SMALL)
    product = CONTESTANTS["numpy_product"](SMALL)
    partitioned = CONTESTANTS["ours_partitioned"](SMALL)
    for i in range(5):
        assert exact(i).tolist() == product(i).tolist()
        assert len(partitioned(i)) == K_ROWS
    assert partitioned.figures["recall"] >= 0.9


@pytest.mark.parametrize(
    "name", ["faiss_ivf", "faiss_ivf_more_lists", "faiss_ivf_bytes"]
)
def test_faiss_reaches_the_recall(name):
    pytest.importorskip("faiss")
    assert CONTESTANTS[name](SMALL).figures["recall"] >= 0.95


def test_models_hold_a_fraction_of_the_memory():
    theirs = CONTESTANTS["original_memory"](SMALL)(0)
    assert theirs == pytest.approx(4 * SMALL.n_pictures * 2352 * 8, rel=1e-3)
    for name in ("ours_memory_by_rotations", "ours_memory_with_stored_rotations"):
        assert theirs > 15 * CONTESTANTS[name](SMALL)(0)


def test_k_means_reaches_the_same_inertia():
    ours = CONTESTANTS["ours_elbow"](SMALL)(0)
    theirs = CONTESTANTS["original_elbow"](SMALL)(0)
    assert len(ours) == len(theirs) == 10
    np.testing.assert_allclose(ours, theirs, rtol=0.03)


def test_archives_become_files():
    for name in ("ours_etl", "original_etl"):
        assert CONTESTANTS[name](SMALL)(0).stat().st_size > 100_000


def test_more_rows_than_are_described(monkeypatch):
    monkeypatch.setattr(data, "_DESCRIBED", 250)
    rows, queries = (np.load(path) for path in data.features(700, 5))
    assert rows.shape == (700, data.N_COMPONENTS)
    assert queries.shape == (5, data.N_COMPONENTS)
    assert rows.dtype == queries.dtype == np.float32
    assert len(np.unique(rows, axis=0)) == 700


def test_every_row_of_the_table_can_be_run():
    names = [n for row in bench_speed.ROWS for n in (row.ours, *row.rivals)]
    assert set(names) <= set(CONTESTANTS)
    groups = bench_speed._groups(bench_speed.ROWS)
    assert sorted(n for group in groups for n in group) == sorted(set(names))


def test_the_table_says_what_was_measured():
    row = bench_speed.ROWS[0]
    measured = {
        "ours_by_rotations": Measured(0.005, [0.005], {}),
        "original": Measured(1.25, [1.25], {}),
    }
    line = bench_speed._line(row, measured, SMALL)
    assert "| 5 ms |" in line
    assert "| 1.25 s | **250** | 200 | 300 |" in line


def test_measuring_runs_several_times(monkeypatch):
    monkeypatch.setattr(contest, "_SECONDS", 0.01)
    asked = []
    result = measure(asked.append)
    assert asked[:3] == [0, 1, 2]
    assert result.value == np.median(result.values)
    assert measure(lambda i: 17, is_size=True).value == 17


def test_a_contestant_runs_in_a_process_of_its_own(monkeypatch):
    class Done:
        stdout = "noise\n" + json.dumps({"value": 1.0, "values": [1.0], "figures": {}})

    asked = []

    def run(command, **options):
        asked.append((command[1:], options["env"]["OMP_NUM_THREADS"]))
        return Done

    monkeypatch.setattr(contest.subprocess, "run", run)
    measured = contest.contest(["a", "b"])
    assert [command[-1] for command, _ in asked] == ["a", "b", "a", "b"]
    assert {threads for _, threads in asked} == {"1"}
    assert measured["a"].values == [1.0, 1.0]


def test_growth_is_drawn(tmp_path):
    times = {name: [1e-4, 1e-3, 1e-2, 1e-1] for name in bench_growth._WAYS}
    bench_growth._draw(times, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").stat().st_size > 10_000


def test_intervals_of_pooled_answers_count_groups_once():
    right = np.random.default_rng(0).integers(0, 2, 400).astype(float)
    score, half = bench_photographs.interval(right, np.arange(400))
    assert score == right.mean()
    assert half == pytest.approx(1.96 * right.std() / 20)
    # The same pictures answered about twice tell no more.
    again = bench_photographs.interval(np.tile(right, 2), np.tile(np.arange(400), 2))
    assert again == pytest.approx((score, half))


def test_copies_of_a_picture_are_never_on_both_sides():
    images, labels = make_rocks(60, random_state=0)
    images = np.concatenate([images, np.rot90(images[:30], axes=(1, 2))])
    labels = np.concatenate([labels, labels[:30]])
    groups = bench_photographs.groups_of_copies(images)
    np.testing.assert_array_equal(groups[:30], groups[60:])
    *_, splits = bench_photographs._folds(images, labels, 2, groups=groups)
    assert len(splits) == 10
    for train, test in splits:
        assert not set(groups[train]) & set(groups[test])


def test_the_calibration_error_of_true_probabilities_is_that_of_chance():
    proba = np.tile([0.7, 0.3], (200, 1))
    # The mean distance of a share of 200 draws from its probability.
    expected = np.sqrt(0.7 * 0.3 / 200 * 2 / np.pi)
    error = bench_photographs.chance_error(proba, np.arange(200), 400)
    assert error == pytest.approx(expected, rel=0.15)
    # Two answers about each of 100 pictures are as good as one.
    error = bench_photographs.chance_error(proba, np.arange(200) % 100, 400)
    assert error == pytest.approx(np.sqrt(2) * expected, rel=0.15)
    sure = np.tile([1.0, 0.0], (9, 1))
    assert bench_photographs.chance_error(sure, np.arange(9)) == 0
