"""Exact search: every stored row is looked at, and ties are broken by key."""

import math
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

_INTEGER_METRICS = ("correlation", "cosine", "euclidean", "sqeuclidean", "cityblock")
_BLOCK_BYTES = 1 << 26
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


def _as_float(rows):
    """float64 in 0–1 units, whatever the dtype."""
    if rows.dtype == np.uint8:
        return rows.astype(np.float64) / 255
    return rows.astype(np.float64, copy=False)


class ExactSearch:
    """Stored rows that are all compared with each candidate.

    uint8 rows are compared in integers, so that equal distances are exactly equal;
    others in float64, where distances closer than their own rounding error count as
    equal. Equal distances are ordered by key.

    Parameters
    ----------
    rows : ndarray of shape (n, d), uint8, float32 or float64
        uint8 means 0–255, everything else is compared as it is. Float rows that hold
        nothing but k/255 are kept as uint8.
    rank : ndarray of shape (n,), int
        The place of each row's key in key order.
    metric_params : dict, optional
        Keywords of `scipy.spatial.distance.cdist`.
    """

    def __init__(self, rows, rank, metric_params=None):
        check_metric_params(metric_params)
        self.rows = as_uint8(rows)
        self.rank = rank
        self.metric_params = metric_params
        self._params = {}
        if self.rows.dtype == np.uint8:
            self._sums = integers.row_sums(self.rows)
            self._squares = integers.row_squares(self.rows)

    def __len__(self):
        return len(self.rows)

    def search(self, queries, k, metric, within=None, leave_out=None):
        """Find the k nearest stored rows of each query.

        Parameters
        ----------
        queries : ndarray of shape (m, d)
            In the units of the stored rows: uint8, or float in the same scale (0–1
            beside uint8).
        k : int
            Number of rows to return; fewer come back where fewer are searched.
        metric : str
            One of `geoimages.search.METRICS`.
        within : list of slice, optional
            The parts of the rows to search, ascending; all by default.
        leave_out : list of ndarray of int, optional
            For each query, positions that must not come back.

        Returns
        -------
        found : list of (distances, positions)
            For each query, ascending by (exact distance, key).
        """
        metric = check_metric(metric)
        queries = as_uint8(np.asarray(queries))
        parts = [slice(0, len(self))] if within is None else within
        positions = np.concatenate([np.arange(p.start, p.stop) for p in parts])
        found = []
        step = max(1, _BLOCK_BYTES // (16 * max(1, len(positions))))
        for start in range(0, len(queries), step):
            block = queries[start : start + step]
            scan = self._scan(block, metric, parts)
            for i, (distance, fraction) in enumerate(zip(*scan, strict=True)):
                out = () if leave_out is None else leave_out[start + i]
                found.append(
                    self._nearest(distance, k, metric, fraction, positions, out)
                )
        return found

    def _nearest(self, distance, k, metric, fraction, positions, leave_out):
        """Select and order the k nearest of one query."""
        visible = np.ones(len(distance), bool)
        if len(leave_out) and len(positions):
            places = np.searchsorted(positions, leave_out).clip(max=len(positions) - 1)
            visible[places[positions[places] == leave_out]] = False
        pool = np.flatnonzero(visible)
        tolerance = self._tolerance(distance, metric, fraction)
        if 0 < k < len(pool):
            kth = pool[np.argpartition(distance[pool], k - 1)[k - 1]]
            # ~(>) keeps undefined distances (NaN), which come last.
            pool = pool[~(distance[pool] > distance[kth] + tolerance[kth])]
        rows = positions[pool]
        order, distance = _settle_ties(
            distance[pool],
            self.rank[rows],
            tolerance[pool],
            fraction and (lambda i: fraction(pool[i])),
        )
        return distance[:k], rows[order[:k]]

    def _tolerance(self, distance, metric, fraction):
        """How far rounding may part each distance from an equal one: (n,)."""
        if fraction:
            return np.full(len(distance), 1e-14)
        unit = 8 * np.finfo(np.float64).eps * math.sqrt(self.rows.shape[1])
        if metric in BOUNDED_BY_ONE:
            return np.full(len(distance), unit)
        return unit * np.abs(distance)

    def _scan(self, queries, metric, parts):
        """Distances of (m, d) queries to the rows of `parts`, one part after the other.

        Returns the distances, (m, n) float64, and for each query a function that
        gives the exact value of a row, or None where float64 says all there is.
        """
        if (
            self.rows.dtype == queries.dtype == np.uint8
            and metric in _INTEGER_METRICS
            and "w" not in (self.metric_params or {})
            and self.rows.shape[1] <= _MOST_COLUMNS
        ):
            return self._scan_integers(queries, metric, parts)
        if metric not in self._params:
            self._params[metric] = learn_metric_params(
                self.rows, metric, self.metric_params
            )
        queries = _as_float(queries)
        out = [np.empty((len(queries), 0))]
        step = max(1, _BLOCK_BYTES // (8 * max(1, self.rows.shape[1])))
        for part in parts:
            for start in range(part.start, part.stop, step):
                block = _as_float(self.rows[start : min(start + step, part.stop)])
                out.append(distances(queries, block, metric, self._params[metric]))
        return np.concatenate(out, axis=1), [None] * len(queries)

    def _scan_integers(self, queries, metric, parts):
        """Exact distances between uint8 rows, as `_scan` returns them."""
        inexact = [None] * len(queries)

        def joined(values):
            return np.concatenate([values[part] for part in parts])

        def compared(compare):
            return np.concatenate([compare(self.rows[p], queries) for p in parts]).T

        if metric == "cityblock":
            return compared(integers.absolute_differences) / 255, inexact
        products = compared(integers.dots)
        squares, square = joined(self._squares), integers.row_squares(queries)
        if metric in ("euclidean", "sqeuclidean"):
            squared = squares + square[:, None] - 2 * products
            if metric == "sqeuclidean":
                return squared / 255**2, inexact
            return np.sqrt(squared) / 255, inexact
        sums, total = joined(self._sums), integers.row_sums(queries)
        if metric == "correlation":
            n = self.rows.shape[1]
            products = n * products - total[:, None] * sums
            squares, square = n * squares - sums**2, n * square - total**2
        # The factors are exact; only their product and the root are rounded.
        size = np.sqrt(square[:, None].astype(np.float64) * squares)
        out = 1 - np.divide(products, size, out=np.zeros(size.shape), where=size > 0)
        # Rows without direction equal each other where their sums do.
        out[(size == 0) & (square[:, None] == squares) & (total[:, None] == sums)] = 0

        def fraction_of(i):
            def fraction(j):
                scale = int(squares[j]) * int(square[i])
                if scale == 0:
                    return Fraction(int(out[i, j]) - 1)
                product = int(products[i, j])
                return Fraction(-product * abs(product), scale)

            return fraction

        return out, [fraction_of(i) for i in range(len(queries))]
