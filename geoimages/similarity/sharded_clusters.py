"""K-means of rows in several files, one for each shard: a map over them in each step."""

import contextlib
import hashlib
import os
from pathlib import Path

import numpy as np
from sklearn.cluster import KMeans
from sklearn.utils import check_random_state

from ..collection.maps import map_shards
from ..files import atomic_path
from ..search.clustering import (
    PER_CLUSTER,
    directions,
    fit_partition,
    float_rows,
    hashes_of,
    nearest_centers,
)
from ..search.ivf import InvertedFile
from ..search.storage import load_index, save_index
from .sharded import ShardedRows

_MOST_ROUNDS = 100
_SETTLED = 1e-4  # share by which a step lowers the inertia
_BLOCK_BYTES = 1 << 24
_SAMPLE = 100_000  # rows that the first centers are learned from
_STARTS = 4


def map_files(function, tasks, desc):
    """Map over files, the first of each task: their results, or a ValueError."""
    names = [Path(task[0]).name for task in tasks]
    results, failed = map_shards(function, tasks, desc=desc, names=names)
    if failed:
        i, why = next(iter(failed.items()))
        raise ValueError(
            f"{len(failed):,} shards failed, such as {names[i]} ({why}); repeat the "
            "command: what the others have made is kept."
        )
    return results


def _all_rows(paths):
    return ShardedRows([load_index(path, verify=False).rows for path in paths])


def draw_rows(paths, most, rng):
    """Positions of rows among all, drawn by a hash of their bytes, as `draw` does.

    They do not depend on how rows are shared among files.
    """
    rows = _all_rows(paths)
    n = len(rows)
    state, share = rng.get_state(), 2 * most / max(n, 1)
    while True:
        limit = min(int(share * 2**64), 2**64 - 1)
        tasks = [(str(path), state, limit) for path in paths]
        found = map_files(_hash_rows, tasks, "drawing rows")
        hashed = np.concatenate([hashes for hashes, _ in found])
        if len(hashed) >= min(most, n) or share >= 1:
            break
        share *= 4  # many rows are the same
    hashes_of(rows[:1], rng)  # which leaves it as `draw` does
    at = [at + start for (_, at), start in zip(found, rows.starts, strict=False)]
    return np.concatenate(at)[np.argsort(hashed, kind="stable")[:most]]


def _hash_rows(path, state, limit):
    rows, rng = load_index(path, verify=False).rows, np.random.RandomState()
    rng.set_state(state)
    hashed = hashes_of(rows, rng)
    at = np.flatnonzero(hashed <= limit)
    return hashed[at], at


def partition_files(paths, metric, n_clusters=None, random_state=None):
    """Partition the rows in several files into clusters that all files share.

    Parameters
    ----------
    paths : list of Path
        Files of an `ExactSearch` each.
    metric, n_clusters, random_state
        As `partition` takes them.

    Returns
    -------
    paths : list of Path
        Files of an `InvertedFile` each, for `ShardedInvertedFile`, beside them; their
        names end in ``.ivf``.
    """
    rng = check_random_state(random_state)
    rows = _all_rows(paths)
    n = len(rows)
    if n_clusters is None:
        n_clusters = round(2 * n**0.5)
    n_clusters = min(max(n_clusters, 1), n)
    drawn = draw_rows(paths, PER_CLUSTER * n_clusters, rng)
    centers = fit_partition(directions(rows[drawn], metric), n_clusters, rng)
    return write_lists(paths, centers, metric, metric)


def write_lists(paths, centers, directions_of, metric):
    """Write the rows of each file by their nearest centers: paths of the new files."""
    folder = Path(paths[0]).parent
    known = repr((centers.dtype, centers.shape, directions_of, metric)).encode()
    key = hashlib.sha256(known + centers.tobytes()).hexdigest()[:16]
    out = [folder / f"{Path(path).stem}.{key}.ivf" for path in paths]
    with _Shared(folder, centers) as shared:
        tasks = [
            (str(path), str(new), shared, directions_of, metric)
            for path, new in zip(paths, out, strict=True)
        ]
        map_files(_write_list, tasks, "sorting rows")
    return out


class _Shared:
    """Centers as a file that workers read: too large for a task."""

    def __init__(self, folder, centers):
        self.path = Path(folder) / f".centers-{os.getpid()}-{id(self)}.npy"
        self.centers = centers

    def __enter__(self):
        with atomic_path(self.path) as temporary, open(temporary, "wb") as file:
            np.save(file, self.centers, allow_pickle=False)
        return str(self.path)

    def __exit__(self, *exception):
        self.path.unlink(missing_ok=True)


def _write_list(path, out, shared, directions_of, metric):
    with contextlib.suppress(ValueError, FileNotFoundError):
        load_index(out)
        return
    rows = load_index(path, verify=False).rows
    centers = np.load(shared, allow_pickle=False)
    labels = nearest_centers(rows, directions_of, centers)
    rank = np.arange(len(rows))
    engine = InvertedFile(rows, rank, labels, centers, None, metric, directions_of)
    Path(out).unlink(missing_ok=True)
    save_index(engine, out)


class ShardedClustering:
    """K-means of the rows in several files, as `Clustering` is of rows in memory.

    It begins with the centers of some rows, drawn by a hash of their bytes; Lloyd's
    algorithm then goes over all rows until a step lowers the inertia by less than a ten
    thousandth. Sums are taken in double precision, shard after shard, so that the result
    does not depend on the workers.

    Parameters
    ----------
    paths : list of Path
        Files of an `ExactSearch` each.
    n_init : int or "auto", default="auto"
        Starts of k-means on the rows drawn; "auto" is 4.
    """

    def __init__(self, paths, n_init="auto"):
        self.paths, self.folder = paths, Path(paths[0]).parent
        self.n_init = _STARTS if n_init == "auto" else n_init
        self._rows = _all_rows(paths)

    def fit(self, n_clusters, random_state=None):
        """Cluster the rows.

        Parameters
        ----------
        n_clusters : int
        random_state : int, RandomState or None

        Returns
        -------
        labels : ndarray of shape (n,), int
        centers : ndarray of shape (n_clusters, d)
            Means of the rows, in 0–1 units.
        inertia : float
            Sum of squared distances of the rows to their centers.
        """
        rng = check_random_state(random_state)
        drawn = draw_rows(self.paths, max(_SAMPLE, n_clusters), rng)
        kmeans = KMeans(n_clusters, n_init=self.n_init, random_state=rng)
        centers = kmeans.fit(float_rows(self._rows[drawn])).cluster_centers_
        centers, before = centers.astype(np.float32), np.inf
        for _ in range(_MOST_ROUNDS):
            sums, counts, inertia = self._step(centers)
            if before - inertia <= _SETTLED * inertia:
                break
            before, some = inertia, counts > 0
            # In single precision, where the order of the sums is lost in rounding.
            centers[some] = sums[some] / counts[some, None]
        with _Shared(self.folder, centers) as shared:
            tasks = [(str(path), shared) for path in self.paths]
            labels = np.concatenate(map_files(_labels, tasks, "k-means"))
        return labels, centers, float(inertia)

    def inertias(self, clusters, random_state=None):
        """Return the inertias of `fit` for several numbers of clusters.

        Parameters
        ----------
        clusters : list of int
        random_state : int, RandomState or None

        Returns
        -------
        inertias : list of float
        """
        return [self.fit(k, random_state)[2] for k in clusters]

    def _step(self, centers):
        """Sums and counts of the rows nearest to each center, and the inertia."""
        with _Shared(self.folder, centers) as shared:
            tasks = [(str(path), shared) for path in self.paths]
            found = map_files(_sums, tasks, "k-means")
        # In the order of the shards; sums of bytes are whole, and exact in any order.
        totals = {1: np.zeros(centers.shape), 255: np.zeros(centers.shape)}
        for sums, scale, _, _ in found:
            totals[scale] += sums
        counts = np.sum([counts for _, _, counts, _ in found], axis=0)
        return totals[1] + totals[255] / 255, counts, sum(part[3] for part in found)


def _blocks(rows):
    step = max(1, _BLOCK_BYTES // (8 * max(1, rows.shape[1])))
    return (rows[start : start + step] for start in range(0, len(rows), step))


def _sums(path, shared):
    centers = np.load(shared, allow_pickle=False)
    sums, counts = np.zeros(centers.shape), np.zeros(len(centers), np.int64)
    whole, inertia = load_index(path, verify=False).rows, 0.0
    for rows in _blocks(whole):
        labels = nearest_centers(rows, None, centers)
        member = np.zeros((len(centers), len(rows)))
        member[labels, np.arange(len(rows))] = 1
        sums += member @ rows.astype(np.float64)
        counts += np.bincount(labels, minlength=len(centers))
        away = float_rows(rows).astype(np.float64) - centers[labels]
        inertia += float(np.einsum("ij,ij->", away, away))
    return sums, 255 if whole.dtype == np.uint8 else 1, counts, inertia


def _labels(path, shared):
    rows = load_index(path, verify=False).rows
    return nearest_centers(rows, None, np.load(shared, allow_pickle=False))
