"""Search of rows that lie in several files, one for each shard of a collection."""

import math
from bisect import bisect_right
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from ..collection.maps import MOST_TASK_BYTES, map_shards, n_workers
from ..files import let_go
from ..pictures.scaling import as_uint8
from ..search.exact import ExactSearch, Scan
from ..search.ivf import InvertedFile
from ..search.metrics import check_metric
from ..search.prepared import PRODUCT_METRICS
from ..search.storage import load_index, map_rows

_MOST_SENT = MOST_TASK_BYTES // 2  # bytes of queries in a task
_TASKS_PER_WORKER = 4  # so that a slow one does not keep the others waiting
# Asking workers takes some 80 ms, and with one query pays from 1 GB of rows on. In a
# batch, the products of 16 queries take as long as reading the rows.
_LEAST_SHARED = 1 << 30
_OF_A_SCAN = 16
_FEW_TAKEN = 64  # rows that are quicker read one by one
_OPENED = 4  # groups of files that a worker keeps open
_MOST_HELD = 1 << 28  # bytes of rows, and of what is known of them, in a group
_BESIDE = 64  # bytes: what is known of a row
_MOST_MAPPED = _MOST_HELD // _OPENED  # bytes of a group's rows


class ShardedRows:
    """Rows of several arrays, mostly memory-mapped, read as one of shape (n, d).

    Parameters
    ----------
    parts : list of ndarray of shape (m, d)
        uint8, or floats. Bytes beside floats are read as k/255.
    """

    def __init__(self, parts):
        self.parts = parts
        self.starts = np.cumsum([0, *map(len, parts)])
        self.shape = int(self.starts[-1]), parts[0].shape[1]
        self.size = self.shape[0] * self.shape[1]
        dtypes = {part.dtype for part in parts}
        self.dtype = max(dtypes, key=lambda dtype: (dtype.kind == "f", dtype.itemsize))
        self.mixed = len(dtypes) > 1
        # Slices of plain arrays are quicker than those of mapped ones.
        self._views = [np.asarray(part) for part in parts]
        self._begins = [*self.starts.tolist(), self.starts[-1]]
        self.itemsize, self.base = self.dtype.itemsize, parts[0]
        self.most_mapped = self._left = math.inf  # bytes read until pages are let go

    def __len__(self):
        return self.shape[0]

    @property
    def slices(self):
        """The rows of each part: list of slice."""
        starts = self.starts.tolist()
        return [slice(*ends) for ends in pairwise(starts)]

    def _in_dtype(self, rows):
        if rows.dtype == self.dtype:
            return rows
        if rows.dtype == np.uint8:
            return (rows / 255).astype(self.dtype)
        return rows.astype(self.dtype, copy=False)

    def __getitem__(self, item):
        """Read rows by a slice, positions or a mask."""
        if not isinstance(item, slice):
            item = np.asarray(item)
            if item.dtype == bool:
                item = np.flatnonzero(item)
            return self._take(item.reshape(-1)).reshape(*item.shape, self.shape[1])
        start, stop, step = item.indices(len(self))
        self._left -= (stop - start) * self.shape[1] * self.itemsize
        if self._left < 0:
            self.let_go()
        i = bisect_right(self._begins, start) - 1
        if step == 1 and start < stop <= self._begins[i + 1]:
            begin = self._begins[i]
            return self._in_dtype(self._views[i][start - begin : stop - begin])
        if step != 1:
            return self._take(np.arange(start, stop, step))
        first = max(int(np.searchsorted(self.starts, start, "right")) - 1, 0)
        pieces = []
        for part, begin in zip(self._views[first:], self.starts[first:], strict=False):
            if begin >= stop:
                break
            pieces.append(part[max(start - begin, 0) : stop - begin])
        if len(pieces) == 1:
            return self._in_dtype(pieces[0])
        out = np.empty((max(stop - start, 0), self.shape[1]), self.dtype)
        end = 0
        for piece in pieces:
            begin, end = end, end + len(piece)
            out[begin:end] = self._in_dtype(piece)
        return out

    def let_go(self):
        """Give the mapped pages back to the system."""
        self._left = self.most_mapped
        for part in self.parts:
            let_go(part)

    def _take(self, positions):
        """Read rows by their positions: (m,) -> (m, d)."""
        n = len(self)
        out = np.empty((len(positions), self.shape[1]), self.dtype)
        if len(positions) <= _FEW_TAKEN:
            for j, at in enumerate(positions.tolist()):
                if not -n <= at < n:
                    raise IndexError(f"Positions must be below {n:,}, got {at:,}.")
                at = at + n if at < 0 else at
                i = bisect_right(self._begins, at) - 1
                out[j] = self._in_dtype(self._views[i][at - self._begins[i]])
            return out
        if not -n <= positions.min() <= positions.max() < n:
            raise IndexError(f"Positions must be below {n:,}, got {positions.max():,}.")
        positions = np.where(positions < 0, positions + n, positions)
        which = np.searchsorted(self.starts, positions, "right") - 1
        for i in np.unique(which):
            chosen = np.flatnonzero(which == i)
            within = positions[chosen] - self.starts[i]
            out[chosen] = self._in_dtype(self._views[i][within])
        return out

    def __array__(self, dtype=None, copy=None):
        return self[:] if dtype is None else self[:].astype(dtype)


def _known(engines, rows):
    """What the files hold of all rows for a metric: (metric or None, arrays)."""
    prepared = [engine._prepared for engine in engines]
    metrics = {about and about.metric for about in prepared}
    if len(metrics) > 1 or None in metrics or rows.mixed:
        return None, {}
    (metric,) = metrics
    if metric not in PRODUCT_METRICS:
        return metric, {}
    return metric, {
        "norms": np.concatenate([about.norms for about in prepared], axis=1)
    }


class Sharded:
    """Mixin of an engine of several files, which workers can search a part of each."""

    def _tasks(self, n_candidates, n_bytes):
        """Which files and which candidates the tasks search: list of (slice, slice)."""
        n, width = self.rows.shape
        n_bytes_held = n * (width * self.rows.itemsize + _BESIDE)
        n_tasks = max(_TASKS_PER_WORKER * n_workers(), -(-n_bytes_held // _MOST_HELD))
        n_tasks = min(len(self.paths), n_tasks)
        ends = np.linspace(0, len(self.paths), n_tasks + 1).astype(int).tolist()
        step = max(1, _MOST_SENT // max(1, n_bytes))
        return [
            (slice(*files), slice(start, start + step))
            for files in pairwise(ends)
            for start in range(0, n_candidates, step)
        ]

    def _is_shared(self, prepared, k, n_orientations, queries, share=1):
        """Whether workers, of which there are some, are worth being asked.

        `share` is that of the rows which a query looks at.
        """
        few = 20 * k > len(self.rows)
        n_bytes, n_scans = share * self.rows.size * self.rows.itemsize, len(queries)
        if prepared.metric in PRODUCT_METRICS:  # many at once are no more than products
            n_scans = 1 + n_scans / _OF_A_SCAN
        little = n_bytes * n_scans < _LEAST_SHARED
        if few or little or len(self.paths) == 1 or n_workers() == 1:
            return False
        params = sum(np.asarray(value).nbytes for value in prepared.params.values())
        return queries[:n_orientations].nbytes + params < _MOST_SENT

    def _search_by_workers(
        self, queries, k, prepared, exclude, n_orientations, within=None
    ):
        """Let workers name what can be among the top k, and compute that exactly.

        `exclude` are places, as are those in the answer; `within` the slices that each
        candidate searches.
        """
        metric, m = prepared.metric, len(queries) // n_orientations
        sent = queries[:n_orientations].nbytes
        if within is not None:
            within = [np.array([(p.start, p.stop) for p in some]) for some in within]
            sent += max(ends.nbytes for ends in within)
        shares, tasks = [], []
        starts = self.rows.starts
        for files, some in self._tasks(m, sent):
            begin, end = int(starts[files.start]), int(starts[files.stop])
            members, slices = np.arange(m)[some], None
            if within is not None:
                slices = [np.clip(within[i], begin, end) - begin for i in members]
                slices = [ends[ends[:, 0] < ends[:, 1]] for ends in slices]
                members = members[[len(ends) > 0 for ends in slices]]
                slices = [ends for ends in slices if len(ends)]
            if not len(members):
                continue
            hidden = None
            if exclude is not None:
                hidden = [np.asarray(exclude[i], int) for i in members]
                hidden = [out[(out >= begin) & (out < end)] - begin for out in hidden]
            asked = queries.reshape(m, n_orientations, -1)[members]
            shares.append((begin, members))
            tasks.append(
                (
                    tuple(map(str, self.paths[files])),
                    *(asked, k, metric, prepared.params, hidden, slices),
                )
            )
        names = [Path(task[0][0]).name for task in tasks]
        found, failed = map_shards(
            _in_doubt_in, tasks, desc="searching", names=names, unit="part"
        )
        if failed:
            i, why = next(iter(failed.items()))
            raise ValueError(
                f"{len(failed):,} parts of the index could not be searched, such as that "
                f"from {names[i]} on ({why}); fit the model again."
            )
        places = [[np.empty(0, np.int64)] for _ in range(m)]
        for (begin, members), part in zip(shares, found, strict=True):
            for i, near in zip(members.tolist(), part, strict=True):
                places[i].append(near + begin)
        scan = Scan(self._engine, prepared, k, self.rows.slices, n_orientations, None)
        return [
            scan.settle(
                queries[i * n_orientations : (i + 1) * n_orientations],
                np.concatenate(near),
            )
            for i, near in enumerate(places)
        ]


class ShardedSearch(Sharded, ExactSearch):
    """Exact search of the rows in several files.

    The answer is that of `ExactSearch` of all rows together, bit for bit: each shard
    names what can be among the top k, and the distances to that are computed and
    ordered together.

    Parameters
    ----------
    paths : list of Path
        Files that `save_index` wrote of an `ExactSearch`, one for each shard.
    rank : ndarray of shape (n,), int
        Rank of each row's key among all.
    metric_params : dict, optional
        Keywords of `scipy.spatial.distance.cdist`.
    metric : str, optional
        The distance to prepare for.
    held : object, optional
        What is to live as long as the engine, such as a temporary folder.
    """

    def __init__(self, paths, rank, metric_params=None, metric=None, held=None):
        engines = [load_index(path, verify=False) for path in paths]
        super().__init__(
            ShardedRows([engine.rows for engine in engines]), rank, metric_params
        )
        self.paths, self._held = list(paths), held
        self.sources = self.paths
        self._know(*_known(engines, self.rows), metric)

    def _know(self, known_metric, known, metric):
        self._known = {known_metric: known}
        if metric is not None:
            self._prepared = self._prepare(check_metric(metric))
            self._prepared.compute()

    def _prepare(self, metric, quantize=False, known=()):
        return super()._prepare(metric, False, self._known.get(metric, {}))

    @property
    def _engine(self):
        return self

    def prepared(self, metric, quantize=True):
        """Return an engine of the same rows, prepared for a metric."""
        engine = type(self).__new__(type(self))
        engine.__dict__.update(self.__dict__)
        engine._prepared = engine._prepare(check_metric(metric)).compute()
        return engine

    def with_params(self, metric_params):
        """Return an engine of the same rows with other parameters of the distance."""
        engine = type(self).__new__(type(self))
        engine.__dict__.update(self.__dict__)
        engine.metric_params, engine._prepared = metric_params, None
        return engine

    def by_lists(self, lists, metric):
        """Return an engine of the same rows in clusters: `ShardedInvertedFile`.

        Parameters
        ----------
        lists : Lists
            The rows by cluster, as `partition_files` writes them.
        metric : str
            The distance to prepare for.
        """
        return ShardedInvertedFile(
            lists, self.rank, self.metric_params, metric, self._held
        )

    def gathered(self):
        """Return the engine with its rows in memory: `ExactSearch`."""
        metric = self._prepared and self._prepared.metric
        rank, params = self.rank, self.metric_params
        return ExactSearch(self.rows[:], rank, params, metric=metric)

    def search(
        self,
        queries,
        k,
        metric,
        within=None,
        exclude=None,
        n_orientations=1,
        n_jobs=None,
        prepared=None,
    ):
        """Find the k nearest rows, by the workers of `joblib.parallel_config` if any.

        Parameters
        ----------
        queries, k, metric, within, exclude, n_orientations, n_jobs, prepared
            As in `ExactSearch.search`.

        Returns
        -------
        found : list of (distances, positions, orientations)
            As `ExactSearch.search` returns it.
        """
        metric = check_metric(metric)
        prepared = prepared or self.prepared_for(metric)
        queries = np.asarray(queries)
        queries = as_uint8(queries) if self.rows.dtype == np.uint8 else queries
        if within is None and self._is_shared(prepared, k, n_orientations, queries):
            return self._search_by_workers(
                queries, k, prepared, exclude, n_orientations
            )
        within = self.rows.slices if within is None else within
        return super().search(
            *(queries, k, metric, within, exclude, n_orientations, n_jobs, prepared)
        )


class ShardedInvertedFile(Sharded, InvertedFile):
    """Approximate search of the rows in several files, which are sorted by cluster.

    The answer is that of `InvertedFile` of all rows together, bit for bit.

    Parameters
    ----------
    lists : Lists
        What `partition_files` returns.
    rank, metric_params, metric, held
        As in `ShardedSearch`; ranks of the rows in the order given to `InvertedFile`.
    """

    def __init__(self, lists, rank, metric_params=None, metric=None, held=None):
        order = np.argsort(lists.labels, kind="stable")
        exact = ShardedSearch(lists.paths, rank[order], metric_params, metric, held)
        self._set(exact, order, lists.labels, lists.centers, lists.directions_of, 1)
        self.paths, self.sources = exact.paths, lists.sources

    @property
    def _engine(self):
        return self._exact

    def gathered(self):
        """Return the engine with its rows in memory: `InvertedFile`."""
        engine = InvertedFile.__new__(InvertedFile)
        clusters = self.labels, self.centers, self.directions_of, self.nprobe
        engine._set(self._exact.gathered(), self._order, *clusters)
        return engine

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
        queries, k, metric, exclude, n_orientations, nprobe, n_jobs
            As in `InvertedFile.search`.

        Returns
        -------
        found : list of (distances, positions, orientations)
            As `ExactSearch.search` returns it.
        """
        queries, metric = np.asarray(queries), check_metric(metric)
        prepared = self._exact.prepared_for(metric)
        asked = as_uint8(queries) if self.rows.dtype == np.uint8 else queries
        nprobe = nprobe or self.nprobe
        share = min(1, nprobe / len(self.centers))
        if not self._is_shared(prepared, k, n_orientations, asked, share):
            return super().search(
                *(queries, k, metric, exclude, n_orientations, nprobe, n_jobs)
            )
        hidden = [()] * (len(queries) // n_orientations) if exclude is None else exclude
        within = [
            self._slices(self._clusters_of(distances, nprobe, k, np.asarray(out, int)))
            for distances, out in zip(
                self._to_centers(queries, n_orientations), hidden, strict=True
            )
        ]
        places = exclude and [np.sort(self._places[out]) for out in exclude]
        found = self._search_by_workers(
            asked, k, prepared, places, n_orientations, within
        )
        return [(distance, self._order[p], which) for distance, p, which in found]

    @property
    def rows(self):
        """The rows, cluster by cluster."""
        return self._exact.rows


def _in_doubt_in(paths, queries, k, metric, params, exclude, within=None):
    """Places in some files that can be among each candidate's k nearest: list of (n,)."""
    stamps = tuple(Path(path).stat().st_mtime_ns for path in paths)
    engine = _opened(paths, stamps)
    exact = engine.with_params(params) if params else engine
    prepared = exact.prepared_for(metric)
    m, n_orientations, _ = queries.shape
    exclude = exclude or [np.empty(0, int)] * m
    # Candidates that search the same slices read their rows together.
    groups = {b"": (exact.rows.slices, list(range(m)))}
    if within is not None:
        groups = {}
        for i, ends in enumerate(within):
            slices = [slice(*piece) for piece in ends.tolist()]
            groups.setdefault(ends.tobytes(), (slices, []))[1].append(i)
    out = [None] * m
    for slices, members in groups.values():
        scan = Scan(exact, prepared, k, slices, n_orientations, None)
        near = scan.all_in_doubt(
            queries[members].reshape(-1, queries.shape[2]),
            [exclude[i] for i in members],
        )
        for i, places in zip(members, near, strict=True):
            out[i] = places
    if exact.rows.size * exact.rows.itemsize > _MOST_MAPPED:
        exact.rows.let_go()
    return out


@lru_cache(_OPENED)
def _opened(paths, stamps):
    """Map the files of some shards as one engine."""
    n = sum(len(map_rows(path)) for path in paths)
    engine = ShardedSearch([Path(path) for path in paths], np.arange(n))
    engine.rows.most_mapped = engine.rows._left = _MOST_MAPPED
    return engine
