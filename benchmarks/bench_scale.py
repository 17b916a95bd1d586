"""Shards and workers: what is indexed in a second, and what sharing costs."""

import resource
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import joblib
import numpy as np
import simplejpeg

from geoimages import Collection, HOGFeatures, make_rocks
from geoimages.search import ExactSearch, InvertedFile, save_index
from geoimages.search.clustering import partition
from geoimages.similarity.sharded import ShardedInvertedFile, ShardedSearch
from geoimages.similarity.sharded_lists import partition_files
from geoimages.similarity.sharding import write_index

ROWS, COLUMNS, SHARDS, METRIC = 1_000_000, 128, 10, "euclidean"
TILES = 40_000
K, QUERIES, REPEATS = 12, 20, 3
_READ = """
    folder = sys.argv[1] + ".shards"
    shutil.rmtree(folder, ignore_errors=True)
    Collection.create(f"{folder}/", sys.argv[1], size=(28, 28), rows=EACH).close()
"""
_DESCRIBE = """
    with Collection(sys.argv[1]) as rocks:
        write_index(rocks, features, "euclidean")
"""
_HALF = """
import shutil, sys
from geoimages import Collection, HOGFeatures, make_rocks
from geoimages.similarity.sharding import write_index
from geoimages.collection import reading
features = HOGFeatures().fit(make_rocks(200, random_state=1)[0])
print("ready", flush=True)
while sys.stdin.readline():
WORK
    print("done", flush=True)
"""


def _rows(i, n):
    """Rows about 500 centers of different weights, as features are: (n, 128) float32."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(500, COLUMNS)).astype(np.float32)
    rng = np.random.default_rng(i + 1)
    rows = rng.normal(size=(n, COLUMNS)).astype(np.float32)
    return rows + centers[rng.integers(500, size=n)]


def _seconds(function):
    start = time.perf_counter(), time.process_time()
    out = function()
    return out, time.perf_counter() - start[0], time.process_time() - start[1]


def _fastest(function):
    return min(_seconds(function)[1] for _ in range(REPEATS))


def _indexing(folder):
    """Vectors a second a core, by CPU time, beside faiss; the engines."""
    import faiss

    faiss.omp_set_num_threads(1)
    each, paths = ROWS // SHARDS, []
    for i in range(SHARDS):
        paths.append(folder / f"shard-{i:05d}.index")
        engine = ExactSearch(_rows(i, each), np.arange(each), metric=METRIC)
        save_index(engine, paths[-1])
    lists, wall, own = _seconds(lambda: partition_files(paths, METRIC, random_state=0))
    rows = np.concatenate([_rows(i, each) for i in range(SHARDS)])
    many = ShardedInvertedFile(lists, np.arange(ROWS), metric=METRIC)
    n_lists = len(many.centers)

    def build():
        quantizer = faiss.IndexFlatL2(COLUMNS)
        index = faiss.IndexIVFFlat(quantizer, COLUMNS, n_lists)
        index.cp.max_points_per_centroid = 25
        index.train(rows[:: max(1, ROWS // (25 * n_lists))])
        index.add(rows)

    _, _, other = _seconds(build)
    print(
        f"indexed: {ROWS:,} rows in {wall:.1f} s, {ROWS / own:,.0f} a second of CPU; "
        f"faiss IVF{n_lists} {ROWS / other:,.0f}; ratio {other / own:.2f}",
        flush=True,
    )
    return paths, many, rows


def _searching(paths, many, rows):
    """The time of a query on one process, against a single file's."""
    rank = np.arange(ROWS)
    queries = rows[:QUERIES] + np.float32(0.1)
    exact = (
        ShardedSearch(paths, rank, metric=METRIC),
        ExactSearch(rows, rank, metric=METRIC),
    )
    one = InvertedFile(
        rows, rank, *partition(rows, METRIC, random_state=0), None, METRIC, METRIC
    )
    for engine in (many, one):
        engine.nprobe = 16
    for name, (ours, single) in {"exact": exact, "partitioned": (many, one)}.items():
        times = []
        for engine in (ours, single):
            times.append(
                _fastest(
                    lambda engine=engine: [
                        engine.search(query[None], K, METRIC) for query in queries
                    ]
                )
                / QUERIES
            )
        print(
            f"{name}: {1e3 * times[0]:.2f} ms a query in {SHARDS} files, "
            f"{1e3 * times[1]:.2f} in one; ratio {times[0] / times[1]:.2f}",
            flush=True,
        )
    asked = rows[:512] + np.float32(0.1)
    alone = _fastest(lambda: exact[0].search(asked, K, METRIC))
    with joblib.parallel_config(n_jobs=2, backend="loky"):
        exact[0].search(asked, K, METRIC)  # starts the workers
        two = _fastest(lambda: exact[0].search(asked, K, METRIC))
    print(f"512 queries: {alone:.2f} s alone, {two:.2f} s by two workers", flush=True)


class _Apart:
    """Two processes that know nothing of each other, each at work on a half."""

    def __init__(self, work, halves):
        program = _HALF.replace("WORK", work).replace("EACH", str(TILES // SHARDS))
        command = [sys.executable, "-c", program]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.processes = [
            subprocess.Popen([*command, str(half)], **pipes) for half in halves
        ]
        self._wait()  # each has imported everything

    def _wait(self):
        for process in self.processes:
            process.stdout.readline()

    def __call__(self):
        for process in self.processes:
            process.stdin.write(b"\n")
            process.stdin.flush()
        self._wait()

    def close(self):
        for process in self.processes:
            process.stdin.close()
            process.wait()


def _two_workers(what, task, work, halves):
    """The time of a task by two workers, against two independent processes."""

    def by(n_jobs):
        with joblib.parallel_config(n_jobs=n_jobs, backend="loky"):
            task()

    apart = _Apart(work, halves)
    runs = {"alone": lambda: by(1), "workers": lambda: by(2), "apart": apart}
    times = {name: [] for name in runs}
    for _ in range(1 + REPEATS):  # the first starts the workers
        for name, run in runs.items():
            times[name].append(_seconds(run)[1])
    apart.close()
    alone, workers, halves = (min(of_run[1:]) for of_run in times.values())
    print(
        f"{what} of {TILES:,} tiles: {alone:.2f} s alone, {workers:.2f} s by two "
        f"workers, {halves:.2f} s by two independent processes; "
        f"share of their speed-up {halves / workers:.2f}",
        flush=True,
    )
    return TILES / alone


def _tiles():
    """Drawn tiles, repeated with noise so that they differ."""
    drawn, _ = make_rocks(1000, random_state=0)
    noise = np.random.default_rng(0)
    for _ in range(TILES // 1000):
        yield np.clip(drawn + noise.integers(-9, 10, drawn.shape), 0, 255).astype(
            np.uint8
        )


def _preparing(folder):
    """Reading and features by two workers against two independent processes."""
    tiles, parts = np.concatenate(list(_tiles())), {"all": slice(None)}
    parts |= {"a": slice(TILES // 2), "b": slice(TILES // 2, None)}
    for name, part in parts.items():
        with (
            Collection.from_arrays(folder / f"{name}.h5", tiles[part]) as rocks,
            zipfile.ZipFile(folder / f"{name}.zip", "w") as archive,
        ):
            rocks.shard(folder / name, rows=TILES // SHARDS).close()
            for i, tile in enumerate(tiles[part]):
                data = simplejpeg.encode_jpeg(tile, quality=90)
                archive.writestr(f"rock/{i:06d}.jpg", data)
    halves = [folder / "a.zip", folder / "b.zip"]

    def read():
        out = folder / "shards"
        shutil.rmtree(out, ignore_errors=True)
        Collection.create(
            *(f"{out}/", folder / "all.zip"), size=(28, 28), rows=TILES // SHARDS
        ).close()

    _two_workers("reading", read, _READ, halves)
    features = HOGFeatures().fit(make_rocks(200, random_state=1)[0])
    with Collection(folder / "all") as rocks:
        speed = _two_workers(
            "features",
            lambda: write_index(rocks, features, METRIC),
            _DESCRIBE,
            [folder / "a", folder / "b"],
        )
    print(f"a core describes {speed:,.0f} tiles a second", flush=True)


class Scale:
    """Shards and workers."""

    def run(self):
        """Measure all, and print it."""
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            _preparing(folder)
            _searching(*_indexing(folder))
        most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(f"most memory of a worker process: {most:,.0f} MB", flush=True)


SUITES = [Scale]
