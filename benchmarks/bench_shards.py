"""Shards: queries beside one file, memory of workers and of a scheduler.

``python -m benchmarks shards`` runs all; ``shards:search``, ``shards:many`` (10 million
rows: 16 GB of disk, 12 GB of memory), ``shards:memory`` and ``shards:scheduler`` a part.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path

import joblib
import numpy as np
import simplejpeg
from joblib.externals.loky import get_reusable_executor, reusable_executor
from sklearn.frozen import FrozenEstimator

from geoimages import (
    Collection,
    HOGFeatures,
    PairwiseModel,
    RockFeatures,
    make_rocks,
)
from geoimages.collection.maps import map_shards, workers
from geoimages.search import ExactSearch, save_index
from geoimages.similarity import sharded
from geoimages.similarity.sharded import ShardedInvertedFile, ShardedSearch
from geoimages.similarity.sharded_clusters import ShardedClustering
from geoimages.similarity.sharded_lists import partition_files

from .bench_scale import METRIC, K, _rows

QUERIES = 20
NPROBE = (1, 4, 16, 64)
TILES = 200_000
TASKS = 10_000
_SCHEDULER = ["-m", "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard"]


def _search(folder, n=1_000_000, shards=10, repeats=9):
    """The time of a query on one process, beside that of one file in memory.

    By CPU time, in turn, as the machine may be busy; the answers must be the same.
    """
    paths = [folder / f"shard-{i:05d}.index" for i in range(shards)]
    for i, path in enumerate(paths):
        rows = _rows(i, n // shards)
        save_index(ExactSearch(rows, np.arange(len(rows)), metric=METRIC), path)
    rank, what = np.arange(n), f"{n:,} rows in {shards} files"
    many = ShardedSearch(paths, rank, metric=METRIC)
    queries = many.rows[np.arange(QUERIES) * (n // QUERIES)] + np.float32(0.1)
    _beside(f"{what}, exact", many, many.gathered(), queries, repeats)
    start = time.perf_counter(), time.process_time()
    lists = partition_files(paths, METRIC, random_state=0)
    wall, own = time.perf_counter() - start[0], time.process_time() - start[1]
    print(f"{what}, partitioned in {wall:.0f} s, {own:.0f} s of CPU", flush=True)
    many = ShardedInvertedFile(lists, rank, metric=METRIC)
    one = many.gathered()
    for nprobe in NPROBE:
        many.nprobe = one.nprobe = nprobe
        _beside(
            f"{what}, the nearest {nprobe} of {len(one.centers):,} clusters",
            *(many, one, queries, 4 * repeats),
        )


def _beside(what, many, one, queries, repeats):
    times = {many: [], one: []}
    for _ in range(repeats):
        found = []
        for engine, taken in times.items():
            start = time.process_time()
            found.append([engine.search(q[None], K, METRIC)[0] for q in queries])
            taken.append((time.process_time() - start) / len(queries))
        for a, b in zip(*found, strict=True):
            np.testing.assert_array_equal(a[0], b[0])
            np.testing.assert_array_equal(a[1], b[1])
    ours, single = (1e3 * np.median(taken) for taken in times.values())
    least = min(times[many]) / min(times[one])
    print(
        f"{what}: {ours:.2f} ms a query, {single:.2f} in one file in memory; ratio "
        f"{ours / single:.2f}, of the fastest {least:.2f}",
        flush=True,
    )


class _Watch:
    """The most memory that processes have, in MB: their own, and of mapped files."""

    def __init__(self, pids):
        self._pids, self.own, self.mapped = pids, 0, 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self._done.set()
        self._thread.join()

    def _look(self):
        while not self._done.wait(0.02):
            for pid in self._pids():
                with contextlib.suppress(OSError):  # it has ended
                    self._add(Path(f"/proc/{pid}/status").read_text())

    def _add(self, status):
        sizes = dict(line.split(":", 1) for line in status.splitlines())
        own, mapped = (
            int(sizes.get(name, "0").split()[0]) * 1024 / 1e6
            for name in ("RssAnon", "RssFile")
        )
        self.own, self.mapped = max(self.own, own), max(self.mapped, mapped)


def _worker_pids():
    executor = reusable_executor._executor
    return list(executor._processes) if executor else []


def _memory(folder):
    """Memory of each of two workers, at 200,000 tiles in shards of the default size."""
    sharded._LEAST_SHARED = 0  # workers search, even what one process does sooner
    drawn, _ = make_rocks(1000, random_state=0)
    with zipfile.ZipFile(folder / "tiles.zip", "w", zipfile.ZIP_STORED) as archive:
        for i in range(TILES):
            noise = np.random.default_rng(i).integers(-9, 10, drawn.shape[1:])
            tile = np.uint8(np.clip(drawn[i % len(drawn)] + noise, 0, 255))
            archive.writestr(f"{i:07d}.jpg", simplejpeg.encode_jpeg(tile, quality=90))

    def step(what, function):
        get_reusable_executor().shutdown()
        with _Watch(_worker_pids) as watch, workers(2):
            out = function()
        print(
            f"{what}: {watch.own:,.0f} MB of a worker's own, {watch.mapped:,.0f} MB of "
            "mapped files",
            flush=True,
        )
        return out

    source, out = folder / "tiles.zip", folder / "tiles"
    step("etl", lambda: Collection.create(f"{out}/", source, size=(28, 28)).close())
    few, _ = make_rocks(600, random_state=1)
    with Collection(out, "r+") as rocks:
        keys = rocks.keys[:: TILES // 500].tolist()
        for features in (HOGFeatures(), RockFeatures(), None):
            name = "pixels" if features is None else type(features).__name__
            described = features and FrozenEstimator(features.fit(few))
            for algorithm in ("exact", "partitioned"):
                model = PairwiseModel(K, "cosine", described, algorithm=algorithm)
                step(f"{name}, {algorithm}, fit", lambda m=model: m.fit(rocks))
                what = (
                    f"{name} {model.search_.rows.shape[1]}, {algorithm}, 500 searched"
                )
                step(what, lambda m=model: m.kneighbors(keys))
            clusters = ShardedClustering(model.search_.sources)
            step(f"{name}, k-means", lambda c=clusters: c.fit(6, random_state=0))


def _small(i):
    return i + 1


def _scheduler(folder):
    """Memory of a scheduler of Dask over many small tasks."""
    about = folder / "scheduler.json"
    options = ["--scheduler-file", str(about)]
    quiet = os.environ | {"DASK_LOGGING__DISTRIBUTED": "error"}
    started = [subprocess.Popen([sys.executable, *_SCHEDULER, *options], env=quiet)]
    worker = ["-m", "distributed.cli.dask_worker", "--nworkers", "2", "--nthreads", "1"]
    started.append(
        subprocess.Popen(
            [sys.executable, *worker, "--no-dashboard", *options], cwd=folder, env=quiet
        )
    )
    import distributed

    try:
        while not about.exists():
            time.sleep(0.1)
        with (
            distributed.Client(scheduler_file=str(about)) as client,
            _Watch(lambda: [started[0].pid]) as watch,
            joblib.parallel_config("dask", client=client),
        ):
            client.wait_for_workers(2)
            before, start = watch.own + watch.mapped, time.perf_counter()
            found, failed = map_shards(
                _small, [(i,) for i in range(TASKS)], desc="tasks"
            )
            took = time.perf_counter() - start
            assert found == list(range(1, TASKS + 1))
            assert not failed
    finally:
        for process in started:
            process.terminate()
            process.wait()
    print(
        f"{TASKS:,} tasks in {took:.0f} s: the scheduler has {watch.own:,.0f} MB of its "
        f"own and {watch.mapped:,.0f} MB of mapped files, {before:,.0f} MB before",
        flush=True,
    )


class Shards:
    """Shards beside one file."""

    def run(self, *parts):
        """Measure all, or some parts, and print it."""
        for part in parts or ("search", "many", "memory", "scheduler"):
            with tempfile.TemporaryDirectory() as folder:
                folder = Path(folder)
                if part == "many":
                    _search(folder, 10_000_000, 100, 5)
                else:
                    _PARTS[part](folder)


_PARTS = {"search": _search, "memory": _memory, "scheduler": _scheduler}
SUITES = [Shards]
