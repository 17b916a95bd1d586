"""Tiles by two worker processes, one of them killed: the answers of one worker?

``python tests/scale`` (``make scale``) draws tiles once, repeats them with noise so that
they differ, and reads them into shards; computes features, clusters and searches them
and looks for duplicates among 10,000 of them: with one worker, with two, and with two of
which one is killed in the middle of each step. It also searches them as 3 and as 30
shards, and as one file. The last line is the verdict; the exit code is 0 only where all
answers agree.
"""

import argparse
import contextlib
import hashlib
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np  # noqa: E402
import simplejpeg  # noqa: E402
from joblib.externals.loky import reusable_executor  # noqa: E402
from sklearn.frozen import FrozenEstimator  # noqa: E402

import geoimages as gi  # noqa: E402
from geoimages.collection.maps import map_shards, workers  # noqa: E402
from geoimages.similarity import sharded  # noqa: E402
from geoimages.similarity.sharded_clusters import ShardedClustering  # noqa: E402

DRAWN = 1000
MOST_PAIRED = 10_000  # tiles among which duplicates are looked for
METRIC = "cosine"
sharded._LEAST_SHARED = 0  # workers search, however few tiles there are


def write_tiles(path, n, copies):
    """Write a zip of n tiles; the last ones are copies of the first."""
    drawn, labels = gi.make_rocks(min(DRAWN, n), random_state=0)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for i in range(n):
            if i >= n - copies:
                i_of, seed = i - (n - copies), i - (n - copies)
            else:
                i_of, seed = i % len(drawn), i
            noise = np.random.default_rng(seed).integers(-9, 10, drawn.shape[1:])
            tile = np.clip(drawn[i_of] + noise * (seed >= len(drawn)), 0, 255)
            data = simplejpeg.encode_jpeg(np.uint8(tile), quality=90)
            archive.writestr(f"{labels[i_of]}/{i:07d}.jpg", data)


def digest(*arrays):
    """A short hash of arrays, or of bytes."""
    total = hashlib.sha256()
    for array in arrays:
        total.update(array if isinstance(array, bytes) else np.ascontiguousarray(array))
    return total.hexdigest()[:16]


class Killer:
    """Kills a worker process some time after a step has begun."""

    def __init__(self, active):
        self.active, self.killed = active, 0

    @contextlib.contextmanager
    def __call__(self, seconds):
        done = threading.Event()

        def kill():
            if done.wait(seconds):
                return
            executor = reusable_executor._executor
            for pid in list(executor._processes) if executor else ():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    self.killed += 1
                    return

        thread = threading.Thread(target=kill)
        if self.active:
            thread.start()
        try:
            yield
        finally:
            done.set()
            if self.active:
                thread.join()


class Steps:
    """The steps, and what each of them answers."""

    def __init__(self, source, folder, rows, features, n_queries, before=None):
        self.source, self.folder, self.rows = source, folder, rows
        self.features, self.n_queries = features, n_queries
        self.before = before or {}
        self.answers, self.seconds = {}, {}

    def run(self, n_jobs, kills=False):
        killer = Killer(kills)
        for step in (self.etl, self.index, self.k_means, self.search, self.duplicates):
            name = step.__name__
            # In the middle: half of what the step took with two workers before.
            with killer(max(0.05, self.before.get(name, 0.2) / 2)), workers(n_jobs):
                start = time.perf_counter()
                self.answers[name] = step()
                self.seconds[name] = time.perf_counter() - start
        self.rocks.close()
        return killer.killed

    def etl(self):
        gi.Collection.create(
            f"{self.folder}/", self.source, size=(28, 28), rows=self.rows
        ).close()
        files = sorted(self.folder.glob("shard-*.h5"))
        self.rocks = gi.Collection(self.folder, "r+")
        return digest(*(path.read_bytes() for path in files))

    def index(self):
        self.model = gi.PairwiseModel(12, METRIC, FrozenEstimator(self.features))
        self.model.fit(self.rocks)
        return digest(self.model.search_.rows[:])

    def k_means(self):
        clusters = ShardedClustering(self.model.search_.paths)
        labels, centers, _ = clusters.fit(6, random_state=0)
        return digest(labels, centers)

    def search(self):
        keys = self.rocks.keys[:: max(1, len(self.rocks) // self.n_queries)]
        distances, positions = self.model.kneighbors(keys[: self.n_queries].tolist())
        return digest(distances, self.model.keys_[positions])

    def duplicates(self):
        """Of some tiles only: the time grows with the square of their number."""
        folder = self.source.with_name("few")
        few = {"size": (28, 28), "rows": -(-MOST_PAIRED // 10)}
        with gi.Collection.create(f"{folder}/", f"{folder}.zip", **few) as rocks:
            pairs = gi.find_duplicates(rocks).pairs
        shutil.rmtree(folder)
        return digest(pairs.to_csv(index=False).encode())


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tiles", type=int, default=100_000)
    parser.add_argument("--shards", type=int, default=10)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--folder", help="Where to work; a temporary folder by default")
    options = parser.parse_args(argv)
    root = Path(tempfile.mkdtemp(prefix="geoimages-scale-", dir=options.folder))
    try:
        return _compare(root, options)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def say(text=""):
    print(text, flush=True)


def _compare(root, options):
    begin, n = time.perf_counter(), options.tiles
    source = root / "tiles.zip"
    write_tiles(source, n, copies=max(1, n // 1000))
    paired = min(n, MOST_PAIRED)
    write_tiles(root / "few.zip", paired, copies=max(1, paired // 1000))
    say(f"{n:,} tiles drawn in {time.perf_counter() - begin:.0f} s")
    features = gi.HOGFeatures().fit(gi.make_rocks(600, random_state=1)[0])
    rows, runs, seconds = -(-n // options.shards), {}, {}
    failed, before = [], None
    for name, n_jobs, kills in (
        ("1 worker", 1, False),
        ("2 workers", 2, False),
        ("2 workers, one killed in each step", 2, True),
    ):
        steps = Steps(source, root / "rocks", rows, features, options.queries, before)
        with workers(
            n_jobs
        ):  # so that steps are timed, and killed, without their start
            map_shards(len, [("1",), ("2",)], desc="starting workers")
        killed = steps.run(n_jobs, kills)
        runs[name], before = steps.answers, steps.seconds
        seconds[name] = steps.seconds
        if kills and killed < 3:
            failed.append(f"only {killed} workers were killed")
        told = ", ".join(f"{key} {value:.1f} s" for key, value in before.items())
        say(f"{name}: {told}" + (f"; {killed} killed" if kills else ""))
        if n_jobs == 2 and kills:
            break
        shutil.rmtree(root / "rocks")
    expected = runs["1 worker"]
    rocks = gi.Collection(root / "rocks")
    with rocks.merge(root / "rocks.h5") as one:
        for shards in (1, 3, 30):
            other = Steps(source, None, None, features, options.queries)
            other.rocks = one
            if shards > 1:
                other.rocks = one.shard(root / "s", rows=-(-n // shards))
            with workers(1 if shards == 1 else 2):
                told = {"index": other.index(), "search": other.search()}
                if shards > 1:
                    told["k_means"] = other.k_means()
                    other.rocks.close()
            runs["one file" if shards == 1 else f"{shards} shards"] = told
    for name, answers in runs.items():
        for step, answer in answers.items():
            if answer != expected[step]:
                failed.append(f"{step} of {name} differs")
    for step, answer in expected.items():
        n_same = sum(answers.get(step) == answer for answers in runs.values())
        n_runs = sum(step in answers for answers in runs.values())
        say(f"{step:10} {answer}  the same in {n_same} of {n_runs} runs")
    took = time.perf_counter() - begin
    if failed:
        say(f"FAILED after {took:.0f} s: {'; '.join(failed)}")
        return 1
    say(f"All answers agree: {n:,} tiles, {took:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
