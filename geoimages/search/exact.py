"""Exact nearest-neighbor search, with ties broken by key."""

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs

from ..pictures.scaling import as_uint8
from . import integers
from .metrics import check_metric, check_metric_params, distances
from .prepared import MEANS, Prepared
from .rotated import RotatedRows
from .scans import Block, DistanceScan, ProductScan, blocks_of, nearest_orientation
from .stored import Stored, check_stored
from .ties import rounding_unit, settle_ties, tolerance
from .top_k import TopK, select_top_k

_BLOCK_BYTES = 1 << 26
_SCAN_VALUES = 1 << 20  # distances computed together
_FEW_DISTANCES = 1 << 17  # quicker selected from at once than bounded step by step
_QUERIES_AT_ONCE = 1024
_MOST_KEPT = 1 << 24  # rows in doubt, of all queries at once; some 500 MB
_WORTH_A_THREAD = 1 << 23  # values multiplied: about a millisecond
_MEANS_FIRST = 4  # times k rows bound the rest of a scan of block means
_MANY = 20  # answers are many where this times their number exceeds the rows
# n · Σx² of longer rows of bytes would not fit 63 bits: (8e6 · 255)² < 2**63.
_MOST_COLUMNS = 8_000_000


def _nearest_orientation(distance, tolerance):
    """Minimum over a candidate's orientations: (t, n) -> distances, argmin, (n,)."""
    if len(distance) == 1:
        return distance[0], np.zeros(distance.shape[1], int)
    best = distance.min(axis=0)
    return best, (distance <= best + tolerance).argmax(axis=0)


def _without(positions, excluded):
    """Indices into `positions`, ascending, of those that are not excluded."""
    kept = np.ones(len(positions), bool)
    if len(excluded) and len(positions):
        indices = np.searchsorted(positions, excluded).clip(max=len(positions) - 1)
        kept[indices[positions[indices] == excluded]] = False
    return np.flatnonzero(kept)


def _inside(positions, slices):
    """Which of some positions lie in slices of the rows: (n,) bool."""
    out = np.zeros(len(positions), bool)
    for piece in slices:
        out |= (positions >= piece.start) & (positions < piece.stop)
    return out


def _n_rows(slices):
    return sum(piece.stop - piece.start for piece in slices)


def _as_float(rows):
    """float64 in 0–1 units, whatever the dtype."""
    if rows.dtype == np.uint8:
        return rows.astype(np.float64) / 255
    return rows.astype(np.float64, copy=False)


@dataclass
class _Computed:
    """Distances (m, n); whether they are whole numbers; (i, j) -> an exact value."""

    distance: np.ndarray
    integral: bool
    fraction: Callable | None

    def take(self, orientations, indices):
        """Those of some queries, a slice, to some rows, indices."""
        fraction = self.fraction and (
            lambda i, j: self.fraction(orientations.start + i, indices[j])
        )
        return _Computed(
            self.distance[orientations][:, indices], self.integral, fraction
        )


class ExactSearch(Stored):
    """Exact search of all stored rows.

    uint8 rows are compared in integers, so that ties are exact; others in float64,
    where distances closer than their rounding error count as ties. Ties are ordered by
    key.

    If distances follow from inner products, all rows are scanned with a known rounding
    error, and the rows that it leaves in doubt are computed exactly: the answer is that
    of computing every distance exactly.

    Parameters
    ----------
    rows : ndarray or RotatedRows of shape (n, d), uint8, float32 or float64
        Rows; uint8 means 0–255, other values are compared unchanged. Float rows whose
        values are all k/255 are stored as uint8.
    rank : ndarray of shape (n,), int
        Rank of each row's key.
    metric_params : dict, optional
        Parameters of `scipy.spatial.distance.cdist`.
    image_shape : tuple of int, optional
        (height, width, channels) of uint8 rows that are pictures: block means then
        exclude most rows from the top k by cityblock distance.
    metric : str, optional
        The distance to prepare for: its norms and bounds are precomputed here, for
        other distances by each search.
    quantize : bool, default=True
        Whether to quantize float rows of 256 or more columns to bytes for the scan by
        `metric`, which takes a quarter of the time: a quarter more memory for float32,
        an eighth for float64.

    Examples
    --------
    >>> rows = np.array([[0.1, 0.9], [0.2, 0.7], [0.8, 0.3]])
    >>> engine = ExactSearch(rows, np.arange(3), metric="euclidean")
    >>> engine.search(rows[:1], 2, "euclidean")[0][1]
    array([0, 1])
    """

    def __init__(
        self,
        rows,
        rank,
        metric_params=None,
        image_shape=None,
        metric=None,
        quantize=True,
    ):
        check_metric_params(metric_params)
        self.rows = as_uint8(rows)
        self.rank = rank
        self.metric_params = metric_params
        self.image_shape = image_shape
        self._prepared = None
        if metric is not None:
            self._prepared = self._prepare(check_metric(metric), quantize).compute()

    def _prepare(self, metric, quantize=False, known=()):
        given = self.rows, metric, self.metric_params, self.image_shape
        return Prepared(*given, quantize, dict(known))

    def prepared(self, metric, quantize=True):
        """Return an engine of the same rows, prepared for a metric: `ExactSearch`."""
        engine = ExactSearch.__new__(ExactSearch)
        engine.__dict__.update(self.__dict__)
        engine._prepared = engine._prepare(check_metric(metric), quantize).compute()
        return engine

    def prepared_for(self, metric):
        """Precompute norms and bounds of the rows for a metric: `Prepared`."""
        if self._prepared is not None and self._prepared.metric == metric:
            return self._prepared
        return self._prepare(metric)

    def __len__(self):
        return len(self.rows)

    def arrays(self):
        """What `from_arrays` makes the engine of: JSON values and arrays by name."""
        params = self.metric_params or {}
        values = {
            "metric_params": {k: float(v) for k, v in params.items() if not np.ndim(v)},
            "image_shape": self.image_shape and list(map(int, self.image_shape)),
        }
        arrays = {
            f"param_{k}": np.asarray(v, float) for k, v in params.items() if np.ndim(v)
        }
        arrays["rank"] = np.asarray(self.rank)
        if isinstance(self.rows, RotatedRows):
            arrays["rows"] = self.rows.base
            arrays["source"], arrays["quarters"] = self.rows.source, self.rows.quarters
        else:
            arrays["rows"] = self.rows
        if self._prepared is not None:
            values["metric"] = self._prepared.metric
            values["quantize"] = bool(self._prepared.quantize)
            arrays |= self._prepared.arrays()
        return values, arrays

    @classmethod
    def from_arrays(cls, values, arrays):
        """Make the engine whose `arrays` these are; a ValueError if they contradict."""
        rows, rank, shape = arrays["rows"], arrays["rank"], values["image_shape"]
        shape = shape and tuple(shape)
        check_stored(
            rows.ndim == 2 and rows.dtype in (np.uint8, np.float32, np.float64),
            f"rows of the shape {rows.shape} and dtype {rows.dtype}",
        )
        if "source" in arrays:
            sources = arrays["source"], arrays["quarters"]
            rows = RotatedRows.from_arrays(rows, shape, *sources)
        n, params = len(rows), dict(values["metric_params"])
        check_stored(
            rank.shape == (n,) and np.array_equal(np.sort(rank), np.arange(n)),
            "ranks that are no order of the rows",
        )
        known = {k: arrays[k] for k in ("norms", *MEANS) if k in arrays}
        shapes = {"norms": (3, n), MEANS[1]: (len(arrays["rows"]),)}
        for name, array in known.items():
            check_stored(
                array.shape == shapes.get(name, array.shape), f"{name} of other rows"
            )
        for name in arrays:
            if name.startswith("param_"):
                params[name.removeprefix("param_")] = arrays[name]
        engine = cls(rows, rank, params or None, shape)
        if "metric" in values:
            prepared = engine._prepare(
                check_metric(values["metric"]), values["quantize"], known
            )
            engine._prepared = prepared.compute()
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
        return self.rows[positions]

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
        """Find the k nearest stored rows of each query.

        Parameters
        ----------
        queries : ndarray of shape (m · n_orientations, d)
            In the scale of the stored rows: uint8, or float in the same scale (0–1
            for uint8 rows). The orientations of one candidate are consecutive.
        k : int
            Number of rows to return; fewer if fewer are searched.
        metric : str
            One of `geoimages.search.METRICS`.
        within : list of slice, optional
            The slices of the rows to search, ascending; all by default.
        exclude : list of ndarray of int, optional
            For each candidate, positions to exclude.
        n_orientations : int, default=1
            Number of queries per candidate; the distance of a stored row is the minimum
            over them.
        n_jobs : int, optional
            Number of threads, as in joblib, for work of more than a millisecond. The
            answers do not depend on it.
        prepared : Prepared, optional
            Result of `prepared_for`, for several searches by another metric than the
            engine's own.

        Returns
        -------
        found : list of (distances, positions, orientations)
            For each of the m candidates, ascending by (exact distance, key), with the
            nearest of its orientations (the first of ties).
        """
        metric = check_metric(metric)
        queries = np.asarray(queries)
        if self.rows.dtype == np.uint8:
            queries = as_uint8(queries)
        slices = [slice(0, len(self))] if within is None else within
        slices = [piece for piece in slices if piece.stop > piece.start]
        prepared = prepared or self.prepared_for(metric)
        scan = Scan(self, prepared, k, slices, n_orientations, n_jobs)
        step = scan.candidates_at_once()
        n_candidates, found = len(queries) // n_orientations, []
        for start in range(0, n_candidates, step):
            stop = min(start + step, n_candidates)
            block = queries[start * n_orientations : stop * n_orientations]
            excluded = exclude[start:stop] if exclude else [()] * (stop - start)
            found += scan.find(block, excluded)
        return found


class Scan:
    """One search of some slices of the rows of an engine."""

    def __init__(self, engine, prepared, k, slices, n_orientations, n_jobs):
        self.rows, self.rank, self.prepared = engine.rows, engine.rank, prepared
        self.metric, self.k, self.slices = prepared.metric, k, slices
        self.n_orientations, self.n_jobs = n_orientations, n_jobs
        self.n_searched = _n_rows(slices)
        # Where many rows are wanted, most would be computed again for each candidate.
        self.at_once = _MANY * k > self.n_searched

    def candidates_at_once(self):
        """How many candidates to search for together."""
        step = _QUERIES_AT_ONCE
        rotated = isinstance(self.rows, RotatedRows)
        if self.at_once or rotated or self.metric == "cityblock":  # all distances
            n_compared = len(self.rows) if rotated else self.n_searched
            step = min(step, _BLOCK_BYTES // (16 * max(1, n_compared)))
        return max(1, step // self.n_orientations)

    def find(self, queries, excluded):
        """Yield the answer for each candidate, given what each excludes."""
        compute = self._compute_all if self.at_once else self._compute_top_k
        for computed, positions in compute(queries, excluded):
            yield self._select(computed, positions)

    def _orientations(self, i):
        """The queries that show candidate i."""
        return slice(i * self.n_orientations, (i + 1) * self.n_orientations)

    def _compute_all(self, queries, excluded):
        """Yield for each candidate its distances to all rows, and their positions."""
        positions = [np.arange(piece.start, piece.stop) for piece in self.slices]
        positions = np.concatenate([np.empty(0, np.int64), *positions])
        computed = self._compute(queries, self.slices)
        for i, out in enumerate(excluded):
            kept = _without(positions, out)
            yield computed.take(self._orientations(i), kept), positions[kept]

    def _compute_top_k(self, queries, excluded):
        """Yield for each candidate its distances to the rows in doubt, and those."""
        for i, positions in enumerate(self._each_in_doubt(queries, excluded)):
            yield self._compute(queries[self._orientations(i)], [positions]), positions

    def _each_in_doubt(self, queries, excluded):
        """Yield what `in_doubt` has for each candidate, for as many as fit at a time."""
        in_doubt = self.in_doubt(queries, excluded)
        if in_doubt is None:
            # Where very many rows tie, memory holds them for fewer candidates only.
            half = len(excluded) // 2
            queries_half = half * self.n_orientations
            yield from self._each_in_doubt(queries[:queries_half], excluded[:half])
            yield from self._each_in_doubt(queries[queries_half:], excluded[half:])
            return
        yield from in_doubt

    def all_in_doubt(self, queries, excluded):
        """Positions, ascending, that can be among the top k of any number of candidates.

        What of several parts of the rows is in doubt, `settle` decides.
        """
        found, step = [], self.candidates_at_once()
        for start in range(0, len(excluded), step):
            block = slice(
                start * self.n_orientations, (start + step) * self.n_orientations
            )
            found += self._each_in_doubt(queries[block], excluded[start : start + step])
        return found

    def settle(self, queries, positions):
        """The answer for one candidate, whose k nearest are among some positions."""
        return self._select(self._compute(queries, [positions]), positions)

    def in_doubt(self, queries, excluded):
        """Positions, ascending, that can be among each candidate's k nearest.

        None where they are too many for so many candidates.
        """
        if self.metric == "cityblock" and self._in_integers(queries):
            means = self.prepared.block_means
            if means is not None:
                return self._in_doubt_by_means(means, queries, excluded)
        return self._in_doubt_by_scan(queries, excluded)

    def _in_doubt_by_scan(self, queries, excluded):
        scan, unbounded = self._scan(queries)
        most_kept = _MOST_KEPT if len(excluded) > 1 else math.inf
        if len(unbounded) * len(excluded) > most_kept:
            return None
        most = _SCAN_VALUES // len(queries)
        if isinstance(scan, DistanceScan):
            most = min(most, _BLOCK_BYTES // (8 * max(1, self.rows.shape[1])))

        def distances_to(block):
            distance, *bounds = scan.distances(block)
            for i, out in enumerate(excluded):
                if len(out):
                    distance[i, block.columns(np.asarray(out))] = np.inf
            return distance, *bounds

        def scan_slices(slices):
            top_k = TopK(len(excluded), self.k)
            for block in blocks_of(slices, max(1, most)):
                distance, *bounds = distances_to(block)
                top_k.update(distance, block.positions, *bounds)
                if top_k.n_kept > most_kept:
                    return None
            return top_k

        if self.n_searched * len(queries) <= _FEW_DISTANCES:
            block = Block(self.slices)
            distance, _, margin_of = distances_to(block)
            candidates, columns = select_top_k(distance, self.k, margin_of)
            found = [block.positions(columns)]
            if len(excluded) > 1:
                ends = np.searchsorted(candidates, range(1, len(excluded)))
                found = np.split(found[0], ends)
        else:
            scanned = self._in_threads(scan_slices, len(queries))
            if None in scanned:
                return None
            top_k, *others = scanned
            for other in others:
                top_k.merge(other)
            found = top_k.positions()
        if len(unbounded):
            # What has no bounds may be anywhere, and is computed for every candidate.
            unbounded = unbounded[_inside(unbounded, self.slices)]
            found = [np.union1d(positions, unbounded) for positions in found]
        return [
            positions[_without(positions, out)] if len(out) else positions
            for positions, out in zip(found, excluded, strict=True)
        ]

    def _scan(self, queries):
        """What scans the rows for queries, and rows that it has no distances of."""
        metric = self.metric
        if self._has_products(queries):
            if self.rows.dtype != np.uint8:
                queries = _as_float(queries)
            factors, quantized = self.prepared.factors(len(queries))
            scan = ProductScan(
                self.rows, factors, queries, metric, self.n_orientations, quantized
            )
            return scan, factors.unbounded
        unit, relative = rounding_unit(metric, self.rows.shape[1])
        if metric == "cityblock" and self._in_integers(queries):
            unit = 0.0

            def compute(piece):
                return integers.absolute_differences(self.rows[piece], queries).T / 255
        else:

            def compute(piece):
                return self._distances(queries, self.rows[piece])

        scan = DistanceScan(compute, unit, not relative, self.n_orientations)
        return scan, np.empty(0, np.int64)

    def _in_doubt_by_means(self, means, queries, excluded):
        """`in_doubt` for cityblock distances of pictures, by those of block means."""
        bounds_of = means.bounds(queries)
        bounds = self._in_threads(
            lambda slices: np.concatenate([bounds_of(piece) for piece in slices]),
            len(queries) / 16,
        )
        bounds = nearest_orientation(np.concatenate(bounds).T, self.n_orientations)
        everything = np.concatenate([np.arange(p.start, p.stop) for p in self.slices])
        found = []
        for i, out in enumerate(excluded):
            kept = _without(everything, out)
            bound, positions = bounds[i, kept], everything[kept]
            few = _MEANS_FIRST * self.k
            if few < len(positions):
                # No row farther by its bound than the k-th of some is by its distance
                # can be among the top k.
                best = positions[np.argpartition(bound, few)[:few]]
                exact = self._compute(queries[self._orientations(i)], [best]).distance
                kth = 255 * np.partition(exact.min(axis=0), self.k - 1)[self.k - 1]
                positions = positions[bound <= kth + 0.5]  # sums are whole numbers
            found.append(positions)
        return found

    def _in_threads(self, function, n_queries):
        """Call a function with slices of the rows, dealt out to threads."""
        work = self.n_searched * n_queries * max(1, self.rows.shape[1])
        n_threads = int(min(effective_n_jobs(self.n_jobs), work // _WORTH_A_THREAD))
        if n_threads < 2:
            return [function(self.slices)]
        blocks = blocks_of(self.slices, -(-self.n_searched // n_threads))
        threads = Parallel(n_threads, require="sharedmem")
        return threads(delayed(function)(block.slices) for block in blocks)

    def _has_products(self, queries):
        """Whether distances follow from inner products."""
        if not self.prepared.has_products:
            return False
        return self.rows.dtype != np.uint8 or self._in_integers(queries)

    def _in_integers(self, queries):
        return (
            self.rows.dtype == queries.dtype == np.uint8
            and not self.prepared.weighted
            and self.rows.shape[1] <= _MOST_COLUMNS
        )

    def _distances(self, queries, rows):
        """Distances by `distances`: (m, d), (n, d) -> (m, n)."""
        params = self.prepared.params
        return distances(_as_float(queries), _as_float(rows), self.metric, params)

    def _blocks(self, selected):
        """Stored rows of slices or of positions, some megabytes at a time."""
        step = max(1, _BLOCK_BYTES // (8 * max(1, self.rows.shape[1])))
        for some in selected:
            if isinstance(some, slice):
                for start in range(some.start, some.stop, step):
                    yield self.rows[start : min(start + step, some.stop)]
            else:
                for start in range(0, len(some), step):
                    yield self.rows[some[start : start + step]]

    def _compute(self, queries, selected):
        """Compute the distances of (m, d) queries to some of the rows: `_Computed`."""
        integral = self.metric in integers.METRICS and self._in_integers(queries)
        distance, fractions, ends = [np.empty((len(queries), 0))], [], [0]
        for rows in self._blocks(selected):
            if integral:
                values, fraction = integers.distances(queries, rows, self.metric)
                fractions += [fraction] if fraction else []
            else:
                values = self._distances(queries, rows)
            distance.append(values)
            ends.append(ends[-1] + len(rows))

        def fraction_of(i, j):
            block = bisect_right(ends, j) - 1
            return fractions[block](i, j - ends[block])

        return _Computed(
            np.concatenate(distance, axis=1),
            integral,
            fraction_of if fractions else None,
        )

    def _select(self, computed, positions):
        """Select and order the k nearest of a few rows, for one candidate."""
        fraction = computed.fraction

        def tolerance_of(distance):
            if computed.integral:
                return np.full(distance.shape, integers.ROUNDING if fraction else 0)
            return tolerance(distance, self.metric, self.rows.shape[1])

        distance = computed.distance
        best, which = _nearest_orientation(distance, tolerance_of(distance))
        tolerances = tolerance_of(best)
        near = np.arange(len(best))
        if 0 < self.k < len(best):
            kth = np.argpartition(best, self.k - 1)[self.k - 1]
            near = np.flatnonzero(best <= best[kth] + tolerances[kth])
        # The k-th and its ties are all there: which of them come first, keys decide.
        order, distance = settle_ties(
            best[near],
            self.rank[positions[near]],
            tolerances[near],
            fraction and (lambda j: fraction(which[near[j]], near[j])),
        )
        order = near[order[: self.k]]
        return distance[: self.k], positions[order], which[order]
