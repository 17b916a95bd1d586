"""Search of rows in several files: the answers of one file, whoever searches."""

import os
import shutil
import signal
from pathlib import Path

import joblib
import numpy as np
import pytest
from joblib.externals.loky import reusable_executor

from geoimages import files
from geoimages.collection.maps import SharedArray
from geoimages.search import (
    ExactSearch,
    InvertedFile,
    clustering,
    load_index,
    save_index,
)
from geoimages.search.clustering import partition
from geoimages.search.storage import write_engine
from geoimages.similarity import (
    sharded,
    sharded_clusters,
    sharded_lists,
    sharded_ranges,
)
from geoimages.similarity.sharded import ShardedInvertedFile, ShardedRows, ShardedSearch
from geoimages.similarity.sharded_clusters import ShardedClustering
from geoimages.similarity.sharded_lists import partition_files

TWO = {"n_jobs": 2, "backend": "loky"}


@pytest.fixture(autouse=True)
def shared(monkeypatch):
    """Let workers search however few rows."""
    monkeypatch.setattr(sharded, "_LEAST_SHARED", 0)


def rows_of(kind):
    """Rows with many ties and copies: (600, 12)."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 5, (600, 12)).astype(np.uint8)
    if kind == "float":
        rows = rng.normal(size=rows.shape).astype(np.float32)
    rows[400:450] = rows[:50]
    return rows


def files_of(rows, n, folder, metric="correlation"):
    ends = np.linspace(0, len(rows), n + 1).astype(int)
    paths = [folder / f"{n}-{i}.index" for i in range(n)]
    for path, start, stop in zip(paths, ends, ends[1:], strict=False):
        rank = np.arange(stop - start)
        save_index(ExactSearch(rows[start:stop], rank, metric=metric), path)
    return paths


def assert_same(found, expected):
    for own, other in zip(found, expected, strict=True):
        for values, others in zip(own, other, strict=True):
            np.testing.assert_array_equal(values, others, strict=True)


@pytest.mark.parametrize("metric", ["correlation", "euclidean", "seuclidean"])
@pytest.mark.parametrize("kind", ["bytes", "float"])
def test_the_answer_is_that_of_one_file(kind, metric, tmp_path):
    rows, rank = rows_of(kind), np.random.default_rng(1).permutation(600)
    one = ExactSearch(rows, rank, metric=metric)
    queries, exclude = rows[[1, 5, 401, 580]], [np.array([1, 401]), [], [3], [580]]
    exclude = [np.asarray(out, int) for out in exclude]
    for n in (3, 30):
        many = ShardedSearch(files_of(rows, n, tmp_path), rank, metric=metric)
        for backend in ({"n_jobs": 1}, TWO):
            with joblib.parallel_config(**backend):
                for options in ({"exclude": exclude}, {"n_orientations": 2}):
                    found = many.search(queries, 7, metric, **options)
                    assert_same(found, one.search(queries, 7, metric, **options))
        assert_same(
            many.gathered().search(queries, 7, metric), one.search(queries, 7, metric)
        )


def test_workers_are_asked_where_that_pays(tmp_path, monkeypatch):
    def search_by_workers(self, *args):
        asked.append(args)
        return []

    rows, asked = rows_of("float"), []
    monkeypatch.setattr(ShardedSearch, "_search_by_workers", search_by_workers)
    # The rows that two queries read; 32 of a batch take three times that.
    monkeypatch.setattr(sharded, "_LEAST_SHARED", 2 * rows.nbytes)
    many = ShardedSearch(files_of(rows, 6, tmp_path), np.arange(600))
    with joblib.parallel_config(**TWO):
        for metric, n_queries, n_asked in (
            ("euclidean", 1, 0),
            ("euclidean", 32, 1),
            ("cityblock", 1, 1),
            ("cityblock", 2, 2),
        ):
            many.search(rows[:n_queries], 4, metric)
            assert len(asked) == n_asked


def test_a_worker_that_was_killed_changes_nothing(tmp_path):
    rows = rows_of("float")
    many = ShardedSearch(files_of(rows, 6, tmp_path), np.arange(600))
    with joblib.parallel_config(**TWO):
        before = many.search(rows[:5], 4, "euclidean")
        workers = reusable_executor._executor._processes
        assert len(workers) == 2
        os.kill(next(iter(workers)), signal.SIGKILL)
        assert_same(many.search(rows[:5], 4, "euclidean"), before)


def test_clusters_are_those_of_one_file(tmp_path):
    rows, rank, metric = rows_of("float"), np.arange(600)[::-1].copy(), "cosine"
    labels, centers = partition(rows, metric, 20, random_state=0)
    one = InvertedFile(rows, rank, labels, centers, metric=metric, directions_of=metric)
    for n, backend in ((3, {"n_jobs": 1}), (20, TWO)):
        with joblib.parallel_config(**backend):
            paths = files_of(rows, n, tmp_path, metric)
            paths = partition_files(paths, metric, 20, random_state=0)
            many = ShardedInvertedFile(paths, rank, metric=metric)
            np.testing.assert_array_equal(many.labels, one.labels)
            for nprobe in (1, 4):
                for exclude in (None, [np.array([i, 400 + i]) for i in range(6)]):
                    asked = rows[:6], 9, metric, exclude, 1, nprobe
                    assert_same(many.search(*asked), one.search(*asked))
            curve = many.recall_curve(9, metric)
            np.testing.assert_array_equal(curve, one.recall_curve(9, metric))
            assert_same(many.gathered().search(*asked), one.search(*asked))
        np.testing.assert_array_equal(many.take([7, 401, 599]), rows[[7, 401, 599]])
        np.testing.assert_array_equal(
            np.sort(rows[labels == 3], axis=0),
            np.sort(many.rows[many.members(3)], axis=0),
        )


def test_k_means_goes_over_all_rows_and_not_over_workers(tmp_path):
    rows, found = rows_of("bytes"), []
    for n, backend in ((3, {"n_jobs": 1}), (3, TWO), (30, TWO)):
        with joblib.parallel_config(**backend):
            paths = files_of(rows, n, tmp_path)
            found.append(ShardedClustering(paths).fit(4, random_state=0))
    for labels, centers, inertia in found:
        np.testing.assert_array_equal(labels, found[0][0])
        np.testing.assert_array_equal(centers, found[0][1])
        assert inertia == pytest.approx(found[0][2])
    labels, centers, inertia = found[0]
    means = [rows[labels == i].mean(axis=0) / 255 for i in range(4)]
    np.testing.assert_allclose(centers, means, atol=2e-4)  # one step from settled
    away = np.square(rows / 255 - centers[labels]).sum()
    assert inertia == pytest.approx(away)
    assert not list(tmp_path.glob(".centers*"))


@pytest.mark.parametrize("kind", ["bytes", "float"])
def test_k_means_is_the_same_in_any_number_of_files(kind, tmp_path, monkeypatch):
    rows, found = 1000 * rows_of(kind).astype(np.float32), []
    rows = rows_of(kind) if kind == "bytes" else rows
    monkeypatch.setattr(sharded_clusters, "_BLOCK_BYTES", 8 * 16 * 7)
    monkeypatch.setattr(clustering, "_BLOCK_BYTES", 8 * 16 * 50)  # of 50 rows
    monkeypatch.setattr(sharded_clusters, "_MOST_ROUNDS", 4)
    for n, range_bytes in ((1, 1 << 26), (3, 2000), (7, 5000)):
        monkeypatch.setattr(sharded_ranges, "_RANGE_BYTES", range_bytes)
        paths = files_of(rows, n, tmp_path)
        found.append(ShardedClustering(paths, 1).fit(4, random_state=0))
    for labels, centers, inertia in found:
        np.testing.assert_array_equal(labels, found[0][0])
        np.testing.assert_array_equal(centers, found[0][1])
        assert inertia == found[0][2]
    unit = 1 / 255 if kind == "bytes" else 1
    means = [unit * rows[found[0][0] == i].mean(axis=0) for i in range(4)]
    np.testing.assert_allclose(found[0][1], means, atol=300 * unit)


def test_a_query_reads_as_few_pieces_as_in_one_file(tmp_path, monkeypatch):
    rows, metric = rows_of("float"), "euclidean"
    rank = np.random.default_rng(1).permutation(600)
    monkeypatch.setattr(clustering, "_BLOCK_BYTES", 8 * 32 * 50)  # of 50 rows
    monkeypatch.setattr(sharded_ranges, "_RANGE_BYTES", 48 * 60)
    labels, centers = partition(rows, metric, 20, random_state=0)
    one = InvertedFile(rows, rank, labels, centers, metric=metric, directions_of=metric)
    paths = files_of(rows, 7, tmp_path, metric)
    lists = partition_files(paths, metric, 20, random_state=0)
    assert len(lists.paths) == 6  # of 100 rows, across the ends of clusters
    many = ShardedInvertedFile(lists, rank, metric=metric)
    np.testing.assert_array_equal(many.rows[:], one.rows)
    near = np.array([2, 3, 11])
    assert many._slices(near) == one._slices(near)
    with joblib.parallel_config(**TWO):
        asked = rows[:40], 9, metric, None, 1, 3
        assert_same(many.search(*asked), one.search(*asked))
    assert not list(tmp_path.glob(".*"))
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    lists.paths[2].write_bytes(lists.paths[2].read_bytes()[:-9])
    lists.paths[4].with_suffix(".labels").unlink()
    partition_files(paths, metric, 20, random_state=0)
    made = {p.name for p, at in stamps.items() if p.stat().st_mtime_ns != at}
    assert made == {lists.paths[2].name, lists.paths[4].with_suffix(".labels").name}
    assert_same(many.search(*asked), one.search(*asked))


def test_lists_that_two_processes_write_are_always_there(tmp_path, monkeypatch):
    def sort():
        return partition_files(paths, "euclidean", 20, random_state=0).paths

    def merges(*about):
        for path, data in made.items():
            path.write_bytes(data)  # by the other one, which was quicker
        return find_merges(*about)

    def save(engine, path, **made):
        there.append(Path(path).exists())
        write_engine(engine, path, **made)

    monkeypatch.setattr(clustering, "_BLOCK_BYTES", 8 * 32 * 50)  # of 50 rows
    monkeypatch.setattr(sharded_ranges, "_RANGE_BYTES", 48 * 60)
    paths = files_of(rows_of("float"), 3, tmp_path, "euclidean")
    made, there = {path: path.read_bytes() for path in sort()}, []
    assert len(made) == 6
    for path in made:
        path.unlink()
    find_merges = sharded_lists._merges
    monkeypatch.setattr(sharded_lists, "_merges", merges)
    monkeypatch.setattr(sharded_lists, "write_engine", save)
    sort()
    assert there == [True] * 6
    monkeypatch.setattr(sharded_lists, "_merges", find_merges)
    first, second, third, fourth, *_ = made
    shutil.copy(first.with_suffix(".labels"), first)  # which is an index, too
    shutil.copy(paths[0], second)  # of 200 rows instead of 100
    shutil.copy(fourth, third)  # whole, of as many rows, but of others
    shutil.copy(fourth.with_suffix(".labels"), third.with_suffix(".labels"))
    sort()
    assert {path: path.read_bytes() for path in made} == made


def test_centers_that_a_killed_process_leaves_are_swept(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_swept", {})
    with SharedArray(np.ones((2, 3)), tmp_path) as left:
        np.testing.assert_array_equal(np.load(left), np.ones((2, 3)))
        os.utime(left, (0, 0))
        files._swept.clear()
        files_of(rows_of("float"), 1, tmp_path)
        assert not Path(left).exists()


def test_clusters_without_rows_are_left_out(tmp_path):
    rows = np.repeat(rows_of("float")[:4], 30, axis=0)
    labels, centers = partition(rows, "euclidean", 9, random_state=0)
    paths = files_of(rows, 5, tmp_path, "euclidean")
    lists = partition_files(paths, "euclidean", 9, random_state=0)
    assert len(lists.centers) == 4
    np.testing.assert_array_equal(lists.centers, centers)
    np.testing.assert_array_equal(lists.labels, labels)


def test_a_task_holds_few_files(tmp_path, monkeypatch):
    many = ShardedSearch(files_of(rows_of("float"), 30, tmp_path), np.arange(600))
    assert len(many._tasks(1, 1)) == 4
    monkeypatch.setattr(sharded, "_MOST_HELD", 20 * (48 + 64) * 3)
    shares = many._tasks(1, 1)
    assert len(shares) == 10
    assert {files.stop - files.start for files, _ in shares} == {3}


def test_rows_of_several_arrays_are_read_as_one():
    rows = rows_of("bytes")
    parts = [rows[:7], rows[7:7], rows[7:300], rows[300:]]
    many = ShardedRows(parts)
    for item in (
        slice(5, 310),
        slice(None),
        slice(20, 30),
        slice(9, 9),
        slice(50, 2, -7),
        [299, 3, 3, -1],
        rows[:, 0] > 3,
        41,
    ):
        np.testing.assert_array_equal(many[item], rows[item], strict=True)
    most = np.arange(200)[::-1] * 3  # more than are read one by one
    np.testing.assert_array_equal(many[most], rows[most], strict=True)
    for beyond in (600, [5, -601]):
        with pytest.raises(IndexError, match="below 600"):
            many[beyond]
    as_float = np.float32(rows[300:] / 255)
    mixed = ShardedRows([rows[:300], as_float])
    assert mixed.dtype == np.float32
    np.testing.assert_array_equal(mixed[:], np.float32(rows / 255), strict=True)


def test_a_worker_gives_mapped_pages_back(tmp_path, monkeypatch):
    rows, given_back = rows_of("float"), []
    paths = files_of(rows, 6, tmp_path, "euclidean")
    expected = ShardedSearch(paths, np.arange(600)).search(rows[:2], 4, "euclidean")
    monkeypatch.setattr(sharded, "let_go", given_back.append)
    monkeypatch.setattr(sharded, "_MOST_MAPPED", 48 * 250)  # of the 600 rows
    asked = tuple(map(str, paths)), rows[:2, None], 4, "euclidean", {}, None
    near = sharded._in_doubt_in(*asked)
    assert len(given_back) == 6 * 3  # twice on the way, and at the end
    for own, (_, positions, _) in zip(near, expected, strict=True):
        assert set(positions) <= set(own)
    ShardedSearch(paths, np.arange(600)).search(rows[:2], 4, "euclidean")
    assert len(given_back) == 6 * 3


def test_a_damaged_file_is_named(tmp_path):
    rows = rows_of("float")
    paths = files_of(rows, 4, tmp_path)
    many = ShardedSearch(paths, np.arange(600))
    paths[2].unlink()  # what is mapped stays
    save_index(ExactSearch(rows[:9], np.arange(9)), tmp_path / "other")
    paths[2].write_bytes((tmp_path / "other").read_bytes()[:-30])
    with pytest.raises(ValueError, match="not whole"):
        load_index(paths[2])
    with (
        joblib.parallel_config(**TWO),
        pytest.raises(ValueError, match=r"could not be searched.*fit the model again"),
    ):
        many.search(rows[:5], 4, "euclidean")
