"""Partitioned search: rows sorted by cluster, of which the nearest are scanned."""

import numpy as np
from sklearn.metrics import pairwise_distances

from .clustering import float_rows
from .exact import PRODUCT_METRICS, ExactSearch

_MOST_ASKED = 256  # queries that recall is measured with
_FEW_ASKED = 16  # the same for distances that take long


class PartitionedSearch:
    """Stored rows of which only the clusters nearest to a candidate are compared.

    Parameters
    ----------
    rows : ndarray of shape (n, d), uint8, float32 or float64
        uint8 means 0–255, everything else is compared as it is.
    rank : ndarray of shape (n,), int
        The place of each row's key in key order.
    labels : ndarray of shape (n,), int
        The cluster of each row.
    centers : ndarray of shape (n_clusters, d)
        Centers of the clusters, in 0–1 units.
    metric_params : dict, optional
        Keywords of `scipy.spatial.distance.cdist`.

    Attributes
    ----------
    clusters_searched : int
        Clusters that `search` scans unless told; 1 to begin with.
    """

    def __init__(self, rows, rank, labels, centers, metric_params=None):
        self.labels = labels
        self.centers = centers
        self.clusters_searched = 1
        # A cluster's rows lie together, so that to search it is to read a slice.
        self._order = np.argsort(labels, kind="stable")
        self._places = np.argsort(self._order)
        self._bounds = np.searchsorted(labels[self._order], np.arange(len(centers) + 1))
        self._exact = ExactSearch(rows[self._order], rank[self._order], metric_params)

    def __len__(self):
        return len(self._exact)

    @property
    def rows(self):
        """The rows, cluster by cluster."""
        return self._exact.rows

    def take(self, positions):
        """Return rows by their positions when given."""
        return self.rows[self._places[positions]]

    def members(self, cluster):
        """Return the slice of `rows` that a cluster is."""
        return slice(*self._bounds[cluster : cluster + 2])

    def _nearest_clusters(self, queries, n_orientations, n_searched):
        """Clusters of each candidate, nearest first, and how many to search.

        Each orientation searches its own nearest clusters; the candidate, all of
        those.
        """
        to_centers = pairwise_distances(float_rows(queries), self.centers)
        to_centers = to_centers.reshape(-1, n_orientations, len(self.centers))
        nearest = np.argsort(to_centers, axis=2, kind="stable")
        place = np.argsort(nearest, axis=2, kind="stable").min(axis=1)
        nearest = np.lexsort((to_centers.min(axis=1), place))
        return nearest, (place < n_searched).sum(axis=1)

    def search(
        self,
        queries,
        k,
        metric,
        leave_out=None,
        n_orientations=1,
        clusters_searched=None,
    ):
        """Find the k nearest rows of the clusters nearest to each candidate.

        Parameters
        ----------
        queries, k, metric, leave_out, n_orientations
            As in `ExactSearch.search`.
        clusters_searched : int, optional
            Number of clusters to search; by default the attribute. Where they hold
            fewer than k rows, the next nearest follow.

        Returns
        -------
        found : list of (distances, positions, orientations)
            As `ExactSearch.search` returns it.
        """
        n_searched = clusters_searched or self.clusters_searched
        queries = np.asarray(queries)
        nearest, counts = self._nearest_clusters(queries, n_orientations, n_searched)
        queries = queries.reshape(-1, n_orientations, queries.shape[1])
        sizes = np.diff(self._bounds)
        searching = {}  # the candidates that search the same clusters, together
        for i, clusters in enumerate(nearest):
            held = sizes
            if leave_out is not None:
                hidden = self.labels[leave_out[i]]
                held = sizes - np.bincount(hidden, minlength=len(sizes))
            enough = np.searchsorted(np.cumsum(held[clusters]), k) + 1
            searched = clusters[: max(counts[i], enough)]
            searching.setdefault(tuple(sorted(searched)), []).append(i)
        found = [None] * len(queries)
        for clusters, members in searching.items():
            hidden = leave_out and [
                np.sort(self._places[leave_out[i]]) for i in members
            ]
            matches = self._exact.search(
                queries[members].reshape(-1, queries.shape[2]),
                k,
                metric,
                [self.members(c) for c in clusters],
                hidden,
                n_orientations,
            )
            for i, (distances, places, which) in zip(members, matches, strict=True):
                found[i] = distances, self._order[places], which
        return found

    def recall_curve(self, k, metric, random_state=0):
        """Measure what part of the true neighbors is found, on the rows themselves.

        Parameters
        ----------
        k : int
            Neighbors asked for.
        metric : str
            The distance.
        random_state : int, default=0
            Seed of the choice of 256 rows (16 for distances that do not follow from
            products; all, where there are fewer), each of which leaves itself out.

        Returns
        -------
        recall : ndarray of shape (n_clusters,)
            Share of the true k nearest that lie in the 1, 2, … nearest clusters.
        """
        rng = np.random.default_rng(random_state)
        most = _MOST_ASKED if metric in PRODUCT_METRICS else _FEW_ASKED
        asked = np.sort(rng.permutation(len(self))[:most])
        queries = self.take(asked)
        itself = [self._places[[position]] for position in asked]
        exact = self._exact.search(queries, k, metric, leave_out=itself)
        nearest, _ = self._nearest_clusters(queries, 1, 1)
        counts = np.zeros(len(self.centers))
        for clusters, (_, places, _) in zip(nearest, exact, strict=True):
            turn = np.argsort(clusters)[self.labels[self._order[places]]]
            counts += np.bincount(turn, minlength=len(counts))
        if not counts.sum():
            return np.ones(len(counts))  # nothing to find
        return np.cumsum(counts) / counts.sum()
