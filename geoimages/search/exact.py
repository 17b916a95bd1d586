"""Exact search: every stored row is looked at, and ties are broken by key."""

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from . import integers
from .metrics import (
    BOUNDED_BY_ONE,
    check_metric,
    check_metric_params,
    distances,
    learn_metric_params,
)
from .turned import TurnedRows

PRODUCT_METRICS = ("correlation", "cosine", "euclidean", "sqeuclidean")
_BLOCK_BYTES = 1 << 26
_MANY = 20  # answers are many where this times their number exceeds the rows
_MOST_COLUMNS = 8_000_000  # n · Σx² of longer rows would not fit 63 bits
_LEVELS = np.arange(256)
_AS_FLOAT32 = (_LEVELS / 255).astype(np.float32)


def as_uint8(rows):
    """Return float rows that hold nothing but k/255 as uint8, others unchanged.

    Parameters
    ----------
    rows : ndarray of shape (n, d), uint8, float32 or float64

    Returns
    -------
    rows : ndarray of shape (n, d)
        uint8 if every value is exactly ``k / 255`` in float32 or in its own type.
    """
    if rows.dtype == np.uint8:
        return np.ascontiguousarray(rows)
    levels = (
        (_AS_FLOAT32,) if rows.dtype == np.float32 else (_AS_FLOAT32, _LEVELS / 255)
    )
    out = np.empty(rows.shape, np.uint8)
    step = max(1, (1 << 20) // max(1, rows.shape[1]))
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        if block.min(initial=0) < 0 or block.max(initial=0) > 1:
            return np.ascontiguousarray(rows)
        nearest = np.rint(block * 255).astype(np.uint8)
        if not any(np.array_equal(level[nearest], block) for level in levels):
            return np.ascontiguousarray(rows)
        out[start : start + step] = nearest
    return out


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
    group = np.concatenate([[0], np.cumsum(~joined)])
    for g in np.unique(group[1:][joined & (gaps > 0)]):
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


def _nearest_turn(distance, tolerance):
    """The nearest of a candidate's orientations: (t, n) -> distances, which, (n,)."""
    if len(distance) == 1:
        return distance[0], np.zeros(distance.shape[1], int)
    best = distance.min(axis=0)
    # ~(>) keeps undefined distances (NaN).
    return best, (~(distance > best + tolerance)).argmax(axis=0)


def _near(distance, error, visible, k):
    """Places of the rows that can be among a candidate's k nearest.

    Distances and how far off they may be are (t, n), a row for each orientation.
    """
    if not 0 < k < len(visible):
        return visible
    lower = (distance - error).min(axis=0)[visible]
    upper = (distance + error).min(axis=0)[visible]
    kth = np.partition(upper, k - 1)[k - 1]
    # ~(>) keeps undefined distances (NaN), which come last.
    return visible[~(lower > kth)]


def _measure(rows, metric):
    """Length of each row (about its mean for correlation), its mean, and its length.

    A length that is nothing but rounding is 0. uint8 rows are measured in 0–255.
    """
    whole = rows.astype(np.float64)
    center = np.zeros(len(rows))
    length = full = np.linalg.norm(whole, axis=1)
    if metric == "correlation":
        center = whole.mean(axis=1)
        whole -= center[:, None]
        length = np.linalg.norm(whole, axis=1)
        length[length <= 1e-6 * full] = 0
    return length, center, full


def _visible(positions, leave_out):
    """Places in `positions`, ascending, of what is not left out."""
    visible = np.ones(len(positions), bool)
    if len(leave_out) and len(positions):
        places = np.searchsorted(positions, leave_out).clip(max=len(positions) - 1)
        visible[places[positions[places] == leave_out]] = False
    return np.flatnonzero(visible)


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
    rows : ndarray or TurnedRows of shape (n, d), uint8, float32 or float64
        uint8 means 0–255, everything else is compared as it is. Float rows that hold
        nothing but k/255 are kept as uint8.
    rank : ndarray of shape (n,), int
        The place of each row's key in key order.
    metric_params : dict, optional
        Keywords of `scipy.spatial.distance.cdist`.
    """

    def __init__(self, rows, rank, metric_params=None):
        check_metric_params(metric_params)
        self.rows = rows if isinstance(rows, TurnedRows) else as_uint8(rows)
        self.rank = rank
        self.metric_params = metric_params
        self._params = {}
        self._known = {}

    def __len__(self):
        return len(self.rows)

    def take(self, positions):
        """Return rows by their positions."""
        return self.rows[positions]

    def search(self, queries, k, metric, within=None, leave_out=None, n_orientations=1):
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
        leave_out : list of ndarray of int, optional
            For each candidate, positions that must not come back.
        n_orientations : int, default=1
            Queries that show one candidate: a stored row is as near as the nearest
            of them.

        Returns
        -------
        found : list of (distances, positions, orientations)
            For each of the m candidates, ascending by (exact distance, key), and which
            of its orientations is the nearest: the first of several.
        """
        metric = check_metric(metric)
        queries = as_uint8(np.asarray(queries))
        parts = [slice(0, len(self))] if within is None else within
        positions = np.concatenate([np.arange(p.start, p.stop) for p in parts])
        scan = (
            self._scan_products if self._has_products(queries, metric) else self._scan
        )
        # Where many rows are wanted, most would be computed again for each candidate.
        at_once = _MANY * k > len(positions)
        found = []
        most = _BLOCK_BYTES // (16 * max(1, len(positions)))
        step = max(1, most // n_orientations) * n_orientations
        for start in range(0, len(queries), step):
            block = queries[start : start + step]
            if at_once:
                computed = self._compute(block, parts, metric)
            else:
                distance, error_of = scan(block, metric, parts)
            for first in range(0, len(block), n_orientations):
                turns = slice(first, first + n_orientations)
                out = leave_out[(start + first) // n_orientations] if leave_out else ()
                near = _visible(positions, out)
                if at_once:
                    exact = computed.part(turns, near)
                else:
                    near = _near(distance[turns], error_of(turns), near, k)
                    exact = self._compute(block[turns], [positions[near]], metric)
                found.append(self._settle(exact, positions[near], k, metric))
        return found

    def _has_products(self, queries, metric):
        """Whether distances follow from inner products."""
        if metric not in PRODUCT_METRICS or "w" in (self.metric_params or {}):
            return False
        return self.rows.dtype != np.uint8 or self._in_integers(queries)

    def _scan(self, queries, metric, parts):
        """Distances of (m, d) queries to the rows of `parts`, one part after the other.

        Returns the distances, (m, n), and a function: slice of queries -> how far off
        their distances may be, of a shape that goes with (t, n).
        """
        if metric == "cityblock" and self._in_integers(queries):
            distance = np.concatenate(
                [
                    self._compare(integers.absolute_differences, part, queries)
                    for part in parts
                ]
            ).T
            return distance, lambda turns: 0
        out = [np.empty((len(queries), 0))]
        step = max(1, _BLOCK_BYTES // (8 * max(1, self.rows.shape[1])))
        for part in parts:
            for start in range(part.start, part.stop, step):
                block = self.rows[start : min(start + step, part.stop)]
                out.append(self._distances(queries, block, metric))
        distance = np.concatenate(out, axis=1)
        return distance, lambda turns: 2 * self._tolerance(distance[turns], metric)

    def _compare(self, compare, part, queries):
        """Compare a part of the rows with queries in integers."""
        if isinstance(self.rows, TurnedRows):
            return self.rows.compare(compare, part, queries)
        return compare(self.rows[part], queries)

    def _in_integers(self, queries):
        return (
            self.rows.dtype == queries.dtype == np.uint8
            and "w" not in (self.metric_params or {})
            and self.rows.shape[1] <= _MOST_COLUMNS
        )

    def _scan_products(self, queries, metric, parts):
        """Distances by inner products, in single precision or the rows' own."""
        exact = self.rows.dtype == np.uint8
        dtype = np.float32 if exact else self.rows.dtype
        length, center, whole = (
            np.concatenate([values[p] for p in parts])
            for values in self._measures(metric)
        )
        query_length, query_center, query_whole = _measure(queries, metric)
        if exact:
            product = np.concatenate(
                [self._compare(integers.dots, part, queries) for part in parts]
            ).T.astype(dtype, order="C")
        else:
            # Centered, so that the centers of the rows drop out.
            queries = (_as_float(queries) - query_center[:, None]).astype(dtype)
            product = np.concatenate([queries @ self.rows[p].T for p in parts], axis=1)
        # |fl(x·y) - x·y| <= d u |x||y| (Higham 2002, section 3.1); integers are exact.
        unit = (16 if exact else 2 * self.rows.shape[1] + 32) * np.finfo(dtype).eps
        if metric not in BOUNDED_BY_ONE:
            product *= -2
            product += np.square(length).astype(dtype)
            product += np.square(query_length)[:, None].astype(dtype)
            row_error = 2 * unit * np.square(whole)
            query_error = 2 * unit * np.square(query_whole)
            return product, lambda turns: row_error + query_error[turns, None]
        if exact and metric == "correlation":
            root = math.sqrt(self.rows.shape[1])
            product -= np.outer(query_center * root, center * root).astype(dtype)
        flat, query_flat = length == 0, query_length == 0
        scale = 1 / np.where(flat, 1, length)
        query_scale = 1 / np.where(query_flat, 1, query_length)
        product *= -scale.astype(dtype)
        product *= query_scale[:, None].astype(dtype)
        product += 1
        row_error = np.where(flat, np.inf, unit * whole * scale)
        factor = query_whole * query_scale if exact else np.ones(len(query_flat))
        factor = np.where(query_flat, np.inf, factor)[:, None]
        return product, lambda turns: row_error * factor[turns]

    def _measures(self, metric):
        """What `_measure` says of the stored rows, learned on first use."""
        centered = metric == "correlation"
        if centered not in self._known:
            step = max(1, _BLOCK_BYTES // (8 * max(1, self.rows.shape[1])))
            parts = [
                _measure(self.rows[start : start + step], metric)
                for start in range(0, len(self.rows), step)
            ]
            parts = parts or [_measure(self.rows, metric)]
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
        return unit * np.abs(distance)

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

        best, which = _nearest_turn(computed.distance, tolerance_of(computed.distance))
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
