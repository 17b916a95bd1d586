"""Exact search: every stored row is looked at, and ties are broken by key."""

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs

from ..pictures.scaling import as_uint8
from . import integers
from .block_means import BlockMeans
from .metrics import (
    BOUNDED_BY_ONE,
    check_metric,
    check_metric_params,
    distances,
    learn_metric_params,
)
from .quantized import QuantizedRows
from .rotated import RotatedRows
from .scans import (
    Block,
    DistanceScan,
    ProductScan,
    RowFactors,
    blocks_of,
    measure,
    nearest_orientation,
)
from .top_k import TopK, select_top_k

PRODUCT_METRICS = ("correlation", "cosine", "euclidean", "sqeuclidean")
_BLOCK_BYTES = 1 << 26
_MEASURE_BYTES = 1 << 22  # stays in the cache
_SCAN_VALUES = 1 << 20  # distances looked at together
_FEW_DISTANCES = 1 << 17  # quicker looked at once than bounded step by step
_QUERIES_AT_ONCE = 1024
_MOST_KEPT = 1 << 24  # rows in doubt, of all queries at once; some 500 MB
_WORTH_A_THREAD = 1 << 23  # values multiplied: about a millisecond
_REPAID = 16  # queries after which to have quantized float rows has paid,
_WIDE = 256  # if they have so many columns
_FEW_QUERIES = 8  # and are not read for more at a time, which is work for the processor
_MEANS_FIRST = 4  # times k rows bound the rest of a scan of block means
_MANY = 20  # answers are many where this times their number exceeds the rows
_MOST_COLUMNS = 8_000_000  # n · Σx² of longer rows would not fit 63 bits
_LARGEST = np.finfo(np.float64).max


def _settle_ties(distance, rank, tolerance, fraction=None):
    """Sort by (exact distance, rank) what floating point cannot tell apart.

    Parameters
    ----------
    distance, rank : ndarray of shape (n,)
        Float distances and the place of each row's key in key order.
    tolerance : ndarray of shape (n,)
        How far rounding may part each distance from an equal one.
    fraction : callable, optional
        Position -> exact value that orders as the distance does. Without it, what is
        within the tolerance is a tie.

    Returns
    -------
    order : ndarray of shape (n,)
        Positions, ascending.
    distance : ndarray of shape (n,)
        The distances in that order; ties share one value.
    """
    order = np.lexsort((rank, distance))
    distance, tolerance = distance[order], tolerance[order]
    with np.errstate(invalid="ignore"):
        gaps = np.diff(distance)
    joined = gaps <= tolerance[1:]
    unsettled = joined & (gaps > 0)
    if not unsettled.any():
        return order, distance
    group = np.concatenate([[0], np.cumsum(~joined)])
    for g in np.unique(group[1:][unsettled]):
        run = np.flatnonzero(group == g)
        if fraction is None:
            order[run] = order[run][np.argsort(rank[order[run]], kind="stable")]
            distance[run] = distance[run[0]]
            continue
        exact = [fraction(i) for i in order[run]]
        settled = sorted(range(len(run)), key=lambda i: (exact[i], rank[order[run][i]]))
        order[run] = order[run][settled]
        for place in range(1, len(run)):
            if exact[settled[place]] == exact[settled[place - 1]]:
                distance[run[place]] = distance[run[place - 1]]
    return order, distance


def _nearest_orientation(distance, tolerance):
    """The nearest of a candidate's orientations: (t, n) -> distances, which, (n,)."""
    if len(distance) == 1:
        return distance[0], np.zeros(distance.shape[1], int)
    best = distance.min(axis=0)
    # ~(>) keeps undefined distances (NaN).
    return best, (~(distance > best + tolerance)).argmax(axis=0)


def _visible(positions, exclude):
    """Places in `positions`, ascending, of what is not left out."""
    visible = np.ones(len(positions), bool)
    if len(exclude) and len(positions):
        places = np.searchsorted(positions, exclude).clip(max=len(positions) - 1)
        visible[places[positions[places] == exclude]] = False
    return np.flatnonzero(visible)


def _inside(positions, parts):
    """Which of some positions lie in parts of the rows: (n,) bool."""
    out = np.zeros(len(positions), bool)
    for part in parts:
        out |= (positions >= part.start) & (positions < part.stop)
    return out


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

    def part(self, turns, near):
        """Those of some queries, a slice, to some rows, places."""
        fraction = self.fraction and (
            lambda i, j: self.fraction(turns.start + i, near[j])
        )
        return _Computed(self.distance[turns][:, near], self.integral, fraction)


class ExactSearch:
    """Stored rows that are all compared with each candidate.

    uint8 rows are compared in integers, so that equal distances are exactly equal;
    others in float64, where distances closer than their own rounding error count as
    equal. Equal distances are ordered by key.

    Where distances follow from inner products, all rows are scanned by products whose
    rounding error is known, and those that the error leaves in doubt are computed
    again: the answer is that of computing every distance exactly.

    Parameters
    ----------
    rows : ndarray or RotatedRows of shape (n, d), uint8, float32 or float64
        Rows of uint8 mean 0–255, everything else is compared as it is. Float rows
        that hold nothing but k/255 are kept as uint8.
    rank : ndarray of shape (n,), int
        The place of each row's key in key order.
    metric_params : dict, optional
        Keywords of `scipy.spatial.distance.cdist`.
    image_shape : tuple of int, optional
        (height, width, channels), where uint8 rows are pictures: few columns then tell
        which cannot be near by cityblock distance.
    """

    def __init__(self, rows, rank, metric_params=None, image_shape=None):
        check_metric_params(metric_params)
        self.rows = as_uint8(rows)
        self._in_memory = not isinstance(rows, np.memmap)
        self.rank = rank
        self.metric_params = metric_params
        self.image_shape = image_shape
        self._params, self._known, self._factors = {}, {}, {}
        self._block_means = self._quantized = None
        self._n_asked = 0

    def __getstate__(self):
        """Leave out what is quickly learned again."""
        learned = {
            "_factors": {},
            "_block_means": None,
            "_quantized": None,
            "_n_asked": 0,
        }
        return self.__dict__ | learned

    def __len__(self):
        return len(self.rows)

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
    ):
        """Find the k nearest stored rows of each query.

        Parameters
        ----------
        queries : ndarray of shape (m · n_orientations, d)
            In the units of the stored rows: uint8, or float in the same scale (0–1
            beside uint8). The orientations of one candidate follow each other.
        k : int
            Number of rows to return; fewer come back where fewer are searched.
        metric : str
            One of `geoimages.search.METRICS`.
        within : list of slice, optional
            The parts of the rows to search, ascending; all by default.
        exclude : list of ndarray of int, optional
            For each candidate, positions that must not come back.
        n_orientations : int, default=1
            Queries that show one candidate: a stored row is as near as the nearest
            of them.
        n_jobs : int, optional
            Threads for what takes more than a millisecond, as joblib counts them. The
            answers do not depend on it.

        Returns
        -------
        found : list of (distances, positions, orientations)
            For each of the m candidates, ascending by (exact distance, key), and which
            of its orientations is the nearest: the first of several.
        """
        metric = check_metric(metric)
        queries = np.asarray(queries)
        if self.rows.dtype == np.uint8:
            queries = as_uint8(queries)
        parts = [slice(0, len(self))] if within is None else within
        parts = [part for part in parts if part.stop > part.start]
        n_searched = sum(part.stop - part.start for part in parts)
        # Where many rows are wanted, most would be computed again for each candidate.
        at_once = _MANY * k > n_searched
        step = _QUERIES_AT_ONCE
        turned = isinstance(self.rows, RotatedRows)
        if at_once or turned or metric == "cityblock":  # all distances at a time
            n_compared = len(self.rows) if turned else n_searched
            step = min(step, _BLOCK_BYTES // (16 * max(1, n_compared)))
        step = max(1, step // n_orientations)
        n_candidates, found = len(queries) // n_orientations, []
        for start in range(0, n_candidates, step):
            stop = min(start + step, n_candidates)
            block = queries[start * n_orientations : stop * n_orientations]
            hidden = exclude[start:stop] if exclude else [()] * (stop - start)
            look = self._compute_all if at_once else self._compute_near
            for exact, positions in look(block, k, metric, parts, hidden, n_jobs):
                found.append(self._settle(exact, positions, k, metric))
        return found

    def _compute_all(self, queries, k, metric, parts, hidden, n_jobs):
        """Yield for each candidate its distances to all rows, and their positions."""
        positions = [np.arange(part.start, part.stop) for part in parts]
        positions = np.concatenate([np.empty(0, np.int64), *positions])
        computed = self._compute(queries, parts, metric)
        n_orientations = len(queries) // len(hidden)
        for i, out in enumerate(hidden):
            visible = _visible(positions, out)
            turns = slice(i * n_orientations, (i + 1) * n_orientations)
            yield computed.part(turns, visible), positions[visible]

    def _compute_near(self, queries, k, metric, parts, hidden, n_jobs):
        """Yield for each candidate its distances to rows that may be near, and those."""
        n_orientations = len(queries) // len(hidden)
        in_integers = self._in_integers(queries)
        if metric == "cityblock" and in_integers and self._learned_block_means().side:
            near = self._top_k_by_means(queries, k, parts, hidden, n_jobs)
        else:
            near = self._near(queries, k, metric, parts, hidden, n_jobs)
        if near is None:
            half = len(hidden) // 2
            for these in (slice(0, half), slice(half, len(hidden))):
                turns = slice(these.start * n_orientations, these.stop * n_orientations)
                yield from self._compute_near(
                    queries[turns], k, metric, parts, hidden[these], n_jobs
                )
            return
        for i, positions in enumerate(near):
            turns = queries[i * n_orientations : (i + 1) * n_orientations]
            yield self._compute(turns, [positions], metric), positions

    def _near(self, queries, k, metric, parts, hidden, n_jobs):
        """Positions, ascending, that can be among each candidate's k nearest.

        None where they are too many for so many candidates.
        """
        n_searched = sum(part.stop - part.start for part in parts)
        scan, unbounded = self._scan(queries, metric, len(queries) // len(hidden))
        most_kept = _MOST_KEPT if len(hidden) > 1 else math.inf
        if len(unbounded) * len(hidden) > most_kept:
            return None
        most = _SCAN_VALUES // len(queries)
        if isinstance(scan, DistanceScan):
            most = min(most, _BLOCK_BYTES // (8 * max(1, self.rows.shape[1])))

        def look_at(block):
            distance, *bounds = scan.look_at(block)
            for i, out in enumerate(hidden):
                if len(out):
                    distance[i, block.places(np.asarray(out))] = np.inf
            return distance, *bounds

        def look_through(parts):
            near = TopK(len(hidden), k)
            for block in blocks_of(parts, max(1, most)):
                distance, *bounds = look_at(block)
                near.offer(distance, block.positions, *bounds)
                if near.n_kept > most_kept:
                    return None
            return near

        if n_searched * len(queries) <= _FEW_DISTANCES:
            block = Block(parts)
            distance, _, margin_of = look_at(block)
            who, places = select_top_k(distance, k, margin_of)
            near = [block.positions(places)]
            if len(hidden) > 1:
                near = np.split(near[0], np.searchsorted(who, range(1, len(hidden))))
        else:
            looked = self._in_threads(look_through, parts, len(queries), n_jobs)
            if None in looked:
                return None
            near, *others = looked
            for other in others:
                near.join(other)
            near = near.positions()
        if len(unbounded):
            unbounded = unbounded[_inside(unbounded, parts)]
            near = [np.union1d(positions, unbounded) for positions in near]
        return [
            positions[_visible(positions, out)] if len(out) else positions
            for positions, out in zip(near, hidden, strict=True)
        ]

    def _scan(self, queries, metric, n_orientations):
        """What scans the rows for queries, and rows that it has no distances of."""
        if self._has_products(queries, metric):
            if self.rows.dtype != np.uint8:
                queries = _as_float(queries)
            quantized = self._quantized_rows(len(queries))
            factors = self._factors_of(metric, quantized)
            scan = ProductScan(
                self.rows, factors, queries, metric, n_orientations, quantized
            )
            return scan, factors.unbounded
        bounded = metric in BOUNDED_BY_ONE
        unit = self._tolerance(np.ones(()), metric)
        if metric == "cityblock" and self._in_integers(queries):
            unit = 0.0

            def compute(part):
                return integers.absolute_differences(self.rows[part], queries).T / 255
        else:

            def compute(part):
                return self._distances(queries, self.rows[part], metric)

        scan = DistanceScan(compute, float(unit), bounded, n_orientations)
        return scan, np.empty(0, np.int64)

    def _top_k_by_means(self, queries, k, parts, hidden, n_jobs):
        """`_near` for cityblock distances of pictures, by those of block means."""
        n_orientations = len(queries) // len(hidden)
        bounds_of = self._learned_block_means().bounds(queries)
        bounds = self._in_threads(
            lambda parts: np.concatenate([bounds_of(part) for part in parts]),
            parts,
            len(queries) / 16,
            n_jobs,
        )
        bounds = nearest_orientation(np.concatenate(bounds).T, n_orientations)
        everything = np.concatenate([np.arange(p.start, p.stop) for p in parts])
        out = []
        for i, left_out in enumerate(hidden):
            visible = _visible(everything, left_out)
            bound, positions = bounds[i, visible], everything[visible]
            few = _MEANS_FIRST * k
            if few < len(positions):
                turns = slice(i * n_orientations, (i + 1) * n_orientations)
                best = positions[np.argpartition(bound, few)[:few]]
                exact = self._compute(queries[turns], [best], "cityblock").distance
                kth = 255 * np.partition(exact.min(axis=0), k - 1)[k - 1]
                positions = positions[bound <= kth + 0.5]  # sums are whole numbers
            out.append(positions)
        return out

    def _learned_block_means(self):
        """Block means of the rows, learned on first use."""
        if self._block_means is None:
            self._block_means = BlockMeans(self.rows, self.image_shape)
        return self._block_means

    def _in_threads(self, function, parts, n_queries, n_jobs):
        """Call a function with parts of the rows, dealt out to threads."""
        n = sum(part.stop - part.start for part in parts)
        work = n * n_queries * max(1, self.rows.shape[1])
        n_threads = int(min(effective_n_jobs(n_jobs), work // _WORTH_A_THREAD))
        if n_threads < 2:
            return [function(parts)]
        blocks = blocks_of(parts, -(-n // n_threads))
        threads = Parallel(n_threads, require="sharedmem")
        return threads(delayed(function)(block.slices) for block in blocks)

    def _has_products(self, queries, metric):
        """Whether distances follow from inner products."""
        if metric not in PRODUCT_METRICS or "w" in (self.metric_params or {}):
            return False
        return self.rows.dtype != np.uint8 or self._in_integers(queries)

    def _in_integers(self, queries):
        return (
            self.rows.dtype == queries.dtype == np.uint8
            and "w" not in (self.metric_params or {})
            and self.rows.shape[1] <= _MOST_COLUMNS
        )

    def _factors_of(self, metric, quantized):
        """What a scan by products needs of the rows, learned on first use."""
        kind = metric, quantized is not None
        if kind not in self._factors:
            n_columns, dtype = self.rows.shape[1], np.dtype(self.rows.dtype)
            measures = self._measures(metric)
            self._factors[kind] = RowFactors(
                measures, metric, n_columns, dtype, quantized
            )
        return self._factors[kind]

    def _quantized_rows(self, n_queries):
        """Bytes to scan in place of wide float rows, once enough was asked to repay."""
        few, wide = n_queries <= _FEW_QUERIES, self.rows.shape[1] >= _WIDE
        if self.rows.dtype == np.uint8 or not few or not wide:
            return None
        if self._quantized is None:
            self._n_asked += n_queries
            if self._n_asked >= _REPAID and self._in_memory and integers.is_fast():
                self._quantized = QuantizedRows(self.rows)
        return self._quantized

    def _measures(self, metric):
        """What `measure` says of the stored rows, learned on first use."""
        centered = metric == "correlation"
        if centered not in self._known:
            step = max(1, _MEASURE_BYTES // (8 * max(1, self.rows.shape[1])))
            parts = [
                measure(self.rows[start : start + step], metric)
                for start in range(0, len(self.rows), step)
            ]
            parts = parts or [measure(self.rows, metric)]
            self._known[centered] = [
                np.concatenate(part) for part in zip(*parts, strict=True)
            ]
        return self._known[centered]

    def _distances(self, queries, rows, metric):
        """Distances by `distances`: (m, d), (n, d) -> (m, n)."""
        if metric not in self._params:
            self._params[metric] = learn_metric_params(
                self.rows, metric, self.metric_params
            )
        params = self._params[metric]
        return distances(_as_float(queries), _as_float(rows), metric, params)

    def _tolerance(self, distance, metric):
        """How far rounding in float64 may part each distance from an equal one."""
        unit = 8 * np.finfo(np.float64).eps * math.sqrt(self.rows.shape[1])
        if metric in BOUNDED_BY_ONE:
            return np.full(distance.shape, unit)
        return unit * np.minimum(np.abs(distance), _LARGEST)

    def _pieces(self, parts):
        """Stored rows of slices or of positions, some megabytes at a time."""
        step = max(1, _BLOCK_BYTES // (8 * max(1, self.rows.shape[1])))
        for part in parts:
            if isinstance(part, slice):
                for start in range(part.start, part.stop, step):
                    yield self.rows[start : min(start + step, part.stop)]
            else:
                for start in range(0, len(part), step):
                    yield self.rows[part[start : start + step]]

    def _compute(self, queries, parts, metric):
        """Compute the distances of (m, d) queries to parts of the rows: `_Computed`."""
        integral = metric in (*PRODUCT_METRICS, "cityblock")
        integral = integral and self._in_integers(queries)
        distance, fractions, ends = [np.empty((len(queries), 0))], [], [0]
        for rows in self._pieces(parts):
            if integral:
                values, fraction = integer_distances(queries, rows, metric)
                fractions += [fraction] if fraction else []
            else:
                values = self._distances(queries, rows, metric)
            distance.append(values)
            ends.append(ends[-1] + len(rows))

        def fraction_of(i, j):
            piece = bisect_right(ends, j) - 1
            return fractions[piece](i, j - ends[piece])

        return _Computed(
            np.concatenate(distance, axis=1),
            integral,
            fraction_of if fractions else None,
        )

    def _settle(self, computed, positions, k, metric):
        """Select and order the k nearest of a few rows, for one candidate."""
        fraction = computed.fraction

        def tolerance_of(distance):
            if computed.integral:
                return np.full(distance.shape, 1e-14 if fraction else 0)
            return self._tolerance(distance, metric)

        best, which = _nearest_orientation(
            computed.distance, tolerance_of(computed.distance)
        )
        tolerance = tolerance_of(best)
        near = np.arange(len(best))
        if 0 < k < len(best):
            kth = np.argpartition(best, k - 1)[k - 1]
            # ~(>) keeps undefined distances (NaN), which come last.
            near = np.flatnonzero(~(best > best[kth] + tolerance[kth]))
        order, distance = _settle_ties(
            best[near],
            self.rank[positions[near]],
            tolerance[near],
            fraction and (lambda j: fraction(which[near[j]], near[j])),
        )
        order = near[order[:k]]
        return distance[:k], positions[order], which[order]


def integer_distances(queries, rows, metric):
    """Distances between uint8 rows from exact integers, in 0–1 units.

    Parameters
    ----------
    queries : ndarray of shape (m, d), uint8
    rows : ndarray of shape (n, d), uint8
    metric : {"correlation", "cosine", "euclidean", "sqeuclidean", "cityblock"}

    Returns
    -------
    distance : ndarray of shape (m, n), float64
        Equal ones are exactly equal, but for correlation and cosine: those are
        rounded, by less than 1e-14.
    fraction : callable or None
        For those two, (i, j) -> an exact value that orders as the distance does.
    """
    if metric == "cityblock":
        return integers.absolute_differences(rows, queries).T / 255, None
    products = integers.dots(rows, queries).T.astype(np.int64)
    squares, square = integers.row_squares(rows), integers.row_squares(queries)
    if metric in ("euclidean", "sqeuclidean"):
        squared = squares + square[:, None] - 2 * products
        if metric == "sqeuclidean":
            return squared / 255**2, None
        return np.sqrt(squared) / 255, None
    sums, total = integers.row_sums(rows), integers.row_sums(queries)
    if metric == "correlation":
        n = rows.shape[1]
        products = n * products - total[:, None] * sums
        squares, square = n * squares - sums**2, n * square - total**2
    # The factors are exact; only their product and the root are rounded.
    size = np.sqrt(square[:, None].astype(np.float64) * squares)
    out = 1 - np.divide(products, size, out=np.zeros(size.shape), where=size > 0)
    # Rows without direction equal each other where their sums do.
    out[(size == 0) & (square[:, None] == squares) & (total[:, None] == sums)] = 0

    def fraction(i, j):
        scale = int(squares[j]) * int(square[i])
        if scale == 0:
            return Fraction(int(out[i, j]) - 1)
        product = int(products[i, j])
        return Fraction(-product * abs(product), scale)

    return out, fraction
