"""Inverted file (IVF): rows sorted by cluster; a search scans the nearest clusters."""

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs

from .clustering import Centers, nearest_centers
from .exact import ExactSearch
from .metrics import check_metric
from .prepared import PRODUCT_METRICS
from .stored import Stored, check_stored

_MOST_ASKED = 256  # queries to measure recall
_FEW_ASKED = 16  # the same for slow distances
_MOST_READ = 200_000_000  # values: a tenth of a second for floats on one core
_NOTHING = np.empty(0, np.int64)


def check_algorithm(algorithm, recall_target, further=()):
    """Validate the search parameters of a model.

    `further` are algorithms that the model supports besides the common ones.
    """
    known = ("exact", "partitioned", *further, "auto")
    if algorithm not in known:
        raise ValueError(
            f"algorithm={algorithm!r} is not known; expected "
            f"{', '.join(map(repr, known[:-1]))} or 'auto'."
        )
    if recall_target is not None and not 0 < recall_target <= 1:
        raise ValueError(f"recall_target must be in (0, 1], got {recall_target!r}.")


def choose_algorithm(algorithm, rows):
    """Resolve "auto": exact up to 200 million stored values, partitioned beyond."""
    if algorithm == "auto":
        return "exact" if rows.size <= _MOST_READ else "partitioned"
    return algorithm


class InvertedFile(Stored):
    """Approximate search of the clusters nearest to a candidate.

    The rows are sorted by cluster, so that searching a cluster reads a slice; faiss
    calls the clusters the lists of an inverted file (IVF).

    Parameters
    ----------
    rows : ndarray of shape (n, d), uint8, float32 or float64
        Rows; uint8 means 0–255, other values are compared unchanged.
    rank : ndarray of shape (n,), int
        Rank of each row's key.
    labels : ndarray of shape (n,), int
        The cluster of each row.
    centers : ndarray of shape (n_clusters, d)
        Centers of the clusters, in 0–1 units.
    metric_params : dict, optional
        Keywords of `scipy.spatial.distance.cdist`.
    metric : str, optional
        The distance to prepare for, as `ExactSearch` takes it.
    directions_of : str, optional
        The distance among whose `directions` the centers lie, as `partition` returns
        them. By default rows are clustered as they are.

    Attributes
    ----------
    nprobe : int
        Clusters that `search` scans by default; 1 to begin with.

    References
    ----------
    Jégou, Douze and Schmid (2011). Product quantization for nearest neighbor search,
    section IV. IEEE TPAMI 33(1). https://doi.org/10.1109/TPAMI.2010.57
    """

    def __init__(
        self,
        rows,
        rank,
        labels,
        centers,
        metric_params=None,
        metric=None,
        directions_of=None,
    ):
        order = np.argsort(labels, kind="stable")
        exact = ExactSearch(rows[order], rank[order], metric_params, metric=metric)
        self._set(exact, order, labels, centers, directions_of, 1)

    def _set(self, exact, order, labels, centers, directions_of, nprobe):
        self.labels = labels
        self.centers = centers
        self.directions_of = directions_of
        self.nprobe = nprobe
        self._centers = Centers(centers, directions_of)
        self._order, self._exact = order, exact
        self._places = np.empty_like(order)
        self._places[order] = np.arange(len(order))
        self._sizes = np.bincount(self.labels, minlength=len(self.centers))
        self._bounds = np.concatenate([[0], np.cumsum(self._sizes)])

    def arrays(self):
        """What `from_arrays` makes the engine of: JSON values and arrays by name."""
        values, arrays = self._exact.arrays()
        values["nprobe"], values["directions_of"] = int(self.nprobe), self.directions_of
        arrays |= {"labels": self.labels, "centers": self.centers, "order": self._order}
        return values, arrays

    @classmethod
    def from_arrays(cls, values, arrays):
        """Make the engine whose `arrays` these are; a ValueError if they contradict."""
        exact = ExactSearch.from_arrays(values, arrays)
        order, labels, centers = (arrays[k] for k in ("order", "labels", "centers"))
        n, nprobe = len(exact), values["nprobe"]
        check_stored(
            order.shape == labels.shape == (n,)
            and order.dtype.kind == labels.dtype.kind == "i"
            and np.array_equal(np.sort(order), np.arange(n))
            and (np.diff(labels[order]) >= 0).all(),
            "an order of the rows that is not that of the clusters",
        )
        check_stored(
            centers.ndim == 2
            and centers.dtype.kind == "f"
            and centers.shape[1] == exact.rows.shape[1]
            and np.isfinite(centers).all()
            and labels.min(initial=0) >= 0
            and labels.max(initial=0) < len(centers)
            and 1 <= nprobe <= len(centers),
            "centers that are not those of the clusters",
        )
        if values["directions_of"] is not None:
            check_metric(values["directions_of"])
        engine = cls.__new__(cls)
        engine._set(exact, order, labels, centers, values["directions_of"], nprobe)
        return engine

    def __len__(self):
        return len(self._exact)

    @property
    def rows(self):
        """The rows, cluster by cluster."""
        return self._exact.rows

    @property
    def mean_list_size(self):
        """Size of a row's cluster, averaged over the rows."""
        return float((self._sizes**2).sum() / self._sizes.sum())

    def changed(self, rows, rank, kept, metric_params=None, metric=None):
        """Return an engine of updated rows with the same clusters.

        Parameters
        ----------
        rows, rank : as in `InvertedFile`
            The rows kept, followed by new ones.
        kept : ndarray of int
            Positions of the rows kept; new ones are added to their nearest clusters.
        metric_params, metric : optional
            As in `InvertedFile`.
        """
        added = nearest_centers(rows[len(kept) :], self.directions_of, self.centers)
        labels = np.concatenate([self.labels[kept], added.astype(self.labels.dtype)])
        engine = InvertedFile(
            rows, rank, labels, self.centers, metric_params, metric, self.directions_of
        )
        engine.nprobe = self.nprobe
        return engine

    def take(self, positions):
        """Return rows by their positions.

        Parameters
        ----------
        positions : array-like of int
            In the order of the rows that were given.

        Returns
        -------
        rows : ndarray of shape (len(positions), d)
        """
        return self.rows[self._places[positions]]

    def members(self, cluster):
        """Return the slice of a cluster's rows.

        Parameters
        ----------
        cluster : int
            Its number.

        Returns
        -------
        members : slice
            Of `rows`.
        """
        return slice(*self._bounds[cluster : cluster + 2])

    def _slices(self, clusters):
        """Slices of `rows` that clusters are; of neighbors in one piece."""
        starts, stops = self._bounds[clusters], self._bounds[clusters + 1]
        breaks = starts[1:] != stops[:-1]
        starts = starts[np.concatenate([[True], breaks])]
        stops = stops[np.concatenate([breaks, [True]])]
        return list(map(slice, starts.tolist(), stops.tolist()))

    def _to_centers(self, queries, n_orientations):
        """What orders the centers as their distances to each query do: (m, t, c)."""
        out = self._centers.distances(np.asarray(queries), one_by_one=True)
        return out.reshape(-1, n_orientations, len(self.centers))

    def _clusters_of(self, to_centers, nprobe, k, excluded):
        """Clusters that one candidate searches, ascending: (t, c) -> (n,).

        Each orientation searches its own nearest clusters; the candidate, all of
        those, and further ones where they hold fewer than k rows.
        """
        if nprobe >= len(self.centers):
            return np.arange(len(self.centers))
        # Ascending, so that clusters that lie side by side are read as one slice.
        near = np.argpartition(to_centers, nprobe - 1, axis=1)[:, :nprobe]
        clusters = np.sort(near[0]) if len(near) == 1 else np.unique(near)
        sizes = self._sizes
        if sizes[clusters].sum() - len(excluded) >= k:
            return clusters
        held = sizes - np.bincount(self.labels[excluded], minlength=len(sizes))
        rest = np.argsort(to_centers.min(axis=0), kind="stable")
        rest = rest[~np.isin(rest, clusters)]
        holds = held[clusters].sum() + np.concatenate([[0], np.cumsum(held[rest])])
        further = rest[: np.searchsorted(holds, k)]
        return np.sort(np.concatenate([clusters, further]))

    def search(
        self,
        queries,
        k,
        metric,
        exclude=None,
        n_orientations=1,
        nprobe=None,
        n_jobs=None,
    ):
        """Find the k nearest rows of the clusters nearest to each candidate.

        Parameters
        ----------
        queries, k, metric, exclude, n_orientations
            As in `ExactSearch.search`.
        nprobe : int, optional
            Number of clusters to search; by default the attribute. If they hold fewer
            than k rows, the next nearest are searched.
        n_jobs : int, optional
            Threads, as `ExactSearch.search` takes them.

        Returns
        -------
        found : list of (distances, positions, orientations)
            As `ExactSearch.search` returns it.
        """
        nprobe = nprobe or self.nprobe
        queries = np.asarray(queries)
        to_centers = self._to_centers(queries, n_orientations)
        queries = queries.reshape(-1, n_orientations, queries.shape[1])
        # Candidates that search the same clusters read their rows together.
        groups = {}
        for i, distances in enumerate(to_centers):
            excluded = _NOTHING if exclude is None else exclude[i]
            clusters = self._clusters_of(distances, nprobe, k, excluded)
            groups.setdefault(clusters.tobytes(), (clusters, []))[1].append(i)
        found, groups = [None] * len(queries), list(groups.values())
        prepared = self._exact.prepared_for(check_metric(metric))

        def search(groups, n_jobs):
            for clusters, members in groups:
                excluded = exclude and [
                    np.sort(self._places[exclude[i]]) for i in members
                ]
                matches = self._exact.search(
                    queries[members].reshape(-1, queries.shape[2]),
                    k,
                    metric,
                    self._slices(clusters),
                    excluded,
                    n_orientations,
                    n_jobs,
                    prepared,
                )
                for i, (distances, places, which) in zip(members, matches, strict=True):
                    found[i] = distances, self._order[places], which

        n_threads = min(effective_n_jobs(n_jobs), len(groups))
        if n_threads < 2:
            search(groups, n_jobs)
        else:
            Parallel(n_threads, require="sharedmem")(
                delayed(search)(groups[i::n_threads], None) for i in range(n_threads)
            )
        return found

    def tune(self, recall_target, k, metric):
        """Set `nprobe` to reach a recall on the rows themselves.

        Parameters
        ----------
        recall_target : float
            Recall of the true k nearest neighbors, in (0, 1].
        k, metric
            As in `search`.

        Returns
        -------
        recall : ndarray of shape (n_clusters,)
            The `recall_curve`.
        """
        recall = self.recall_curve(k, metric)
        # Rounding may leave the whole short of 1.
        self.nprobe = int(np.searchsorted(recall, recall_target)) + 1
        self.nprobe = min(self.nprobe, len(recall))
        return recall

    def recall_curve(self, k, metric, random_state=0):
        """Measure recall against the number of clusters, with the rows as queries.

        Parameters
        ----------
        k : int
            Number of neighbors.
        metric : str
            The distance.
        random_state : int, default=0
            Seed of the sample of 256 queries (16 for distances that do not follow from
            products; at most all rows), each of which excludes itself.

        Returns
        -------
        recall : ndarray of shape (n_clusters,)
            Share of the true k nearest neighbors in the 1, 2, … nearest clusters.
        """
        rng = np.random.default_rng(random_state)
        most = _MOST_ASKED if metric in PRODUCT_METRICS else _FEW_ASKED
        asked = np.sort(rng.permutation(len(self))[:most])
        queries = self.take(asked)
        itself = [self._places[[position]] for position in asked]
        exact = self._exact.search(queries, k, metric, exclude=itself)
        nearest = np.argsort(self._to_centers(queries, 1)[:, 0], axis=1, kind="stable")
        counts = np.zeros(len(self.centers))
        for clusters, (_, places, _) in zip(nearest, exact, strict=True):
            # A neighbor is found as soon as its cluster is among those searched, so that
            # the ranks of these clusters give the recall for every nprobe at once.
            probe = np.argsort(clusters)[self.labels[self._order[places]]]
            counts += np.bincount(probe, minlength=len(counts))
        if not counts.sum():
            return np.ones(len(counts))  # nothing to find
        return np.cumsum(counts) / counts.sum()


class ClusterLabels(Stored):
    """The clusters of some rows, for a file of their own.

    Parameters
    ----------
    labels : ndarray of shape (n,), int
        The cluster of each row.
    """

    def __init__(self, labels):
        self.labels = np.asarray(labels, np.int32)

    def __len__(self):
        return len(self.labels)

    def arrays(self):
        """What `from_arrays` makes it of: JSON values and arrays by name."""
        return {}, {"labels": self.labels}

    @classmethod
    def from_arrays(cls, values, arrays):
        """Make the labels whose `arrays` these are."""
        labels = arrays["labels"]
        check_stored(
            labels.ndim == 1
            and labels.dtype == np.int32
            and labels.min(initial=0) >= 0,
            "labels that are no numbers of clusters",
        )
        return cls(labels)
