"""K-means of rows in several files, one for each shard: a map over them in each step."""

import math
from pathlib import Path

import numpy as np
from sklearn.cluster import KMeans
from sklearn.utils import check_random_state

from ..collection.maps import SharedArray
from ..search.clustering import float_rows, nearest_centers, rows_at_once
from .sharded_ranges import all_rows, draw_rows, map_ranges, ranges_of

_MOST_ROUNDS = 100
_SETTLED = 1e-4  # share by which a step lowers the inertia
_BLOCK_BYTES = 1 << 22
_SAMPLE = 100_000  # rows that the first centers are learned from
_STARTS = 4
_EXACT_BITS = 53  # whole numbers of so many bits are exact in double precision


class ShardedClustering:
    """K-means of the rows in several files, as `Clustering` is of rows in memory.

    It begins with the centers of some rows, drawn by a hash of their bytes; Lloyd's
    algorithm then goes over all rows until a step lowers the inertia by less than a ten
    thousandth.

    The result depends neither on the workers nor on how rows are shared among files:
    rows are compared with the centers in blocks that are counted from the first row of
    all, and sums are exact. Floats are rounded for them to multiples of one power of two,
    2⁻⁵³ of what a sum can reach, so that the sum of any of them, in any order, is a whole
    number that double precision holds (Demmel and Nguyen 2013). Of 10 million rows, 29
    bits of the largest value are left.

    Parameters
    ----------
    paths : list of Path
        Files of an `ExactSearch` each.
    n_init : int or "auto", default="auto"
        Starts of k-means on the rows drawn; "auto" is 4.

    References
    ----------
    Demmel and Nguyen (2013). Fast reproducible floating-point summation. 21st IEEE
    Symposium on Computer Arithmetic. https://doi.org/10.1109/ARITH.2013.9
    """

    def __init__(self, paths, n_init="auto"):
        self.paths, self.folder = paths, Path(paths[0]).parent
        self.n_init = _STARTS if n_init == "auto" else n_init
        self._rows = all_rows(paths)

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
        ranges = ranges_of(self.paths, self._rows, rows_at_once(centers))
        unit = self._unit(ranges)
        for _ in range(_MOST_ROUNDS):
            sums, counts, inertia = self._step(ranges, centers, unit)
            if before - inertia <= _SETTLED * inertia:
                break
            before, some = inertia, counts > 0
            centers[some] = sums[some] / counts[some, None]
        with SharedArray(centers, self.folder) as shared:
            tasks = [(some, shared) for some in ranges]
            labels = np.concatenate(map_ranges(_labels, tasks, "k-means"))
        return labels, centers, inertia

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

    def _unit(self, ranges):
        """What rows are rounded to multiples of, an exponent of 2; None for bytes."""
        if self._rows.dtype == np.uint8:
            return None
        tasks = [(some,) for some in ranges]
        largest = max(map_ranges(_largest, tasks, "k-means"))
        bits = math.frexp(largest)[1] + len(self._rows).bit_length()
        return bits - _EXACT_BITS

    def _step(self, ranges, centers, unit):
        """Sums and counts of the rows nearest to each center, and the inertia."""
        with SharedArray(centers, self.folder) as shared:
            tasks = [(some, shared, unit) for some in ranges]
            found = map_ranges(_sums, tasks, "k-means")
        sums = np.sum([sums for sums, _, _ in found], axis=0)
        counts = np.sum([counts for _, counts, _ in found], axis=0)
        inertia = math.fsum(value for *_, values in found for value in values)
        return sums / 255 if unit is None else np.ldexp(sums, unit), counts, inertia


def _largest(some):
    rows = some.open()
    return float(max(rows.max(), -rows.min()))


def _sums(some, shared, unit):
    """Sums in units, counts, and the inertia of each block of rows."""
    centers, rows = np.load(shared, allow_pickle=False), some.open()
    sums = np.zeros(centers.shape)
    labels, inertias = nearest_centers(rows, None, centers), []
    most, step = rows_at_once(centers), max(1, _BLOCK_BYTES // (8 * sum(centers.shape)))
    for begin in range(0, len(rows), most):  # as `nearest_centers` divides them
        end = min(begin + most, len(rows))
        for start in range(begin, end, step):
            block = slice(start, min(start + step, end))
            values = rows[block].astype(np.float64)
            member = np.zeros((len(centers), len(values)))
            member[labels[block], np.arange(len(values))] = 1
            whole = values if unit is None else np.rint(np.ldexp(values, -unit))
            sums += member @ whole
            away = float_rows(rows[block]).astype(np.float64) - centers[labels[block]]
            inertias.append(float(np.einsum("ij,ij->", away, away)))
    return sums, np.bincount(labels, minlength=len(centers)), inertias


def _labels(some, shared):
    return nearest_centers(some.open(), None, np.load(shared, allow_pickle=False))
