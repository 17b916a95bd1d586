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

_PRODUCT_METRICS = ("correlation", "cosine", "euclidean", "sqeuclidean")
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


def _nearest_turn(distance, tolerance):
    """The nearest of a candidate's orientations: (t, n) -> distances, which, (n,)."""
    if len(distance) == 1:
        return distance[0], np.zeros(distance.shape[1], int)
    best = distance.min(axis=0)
    # ~(>) keeps undefined distances (NaN).
    return best, (~(distance > best + tolerance)).argmax(axis=0)


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
        self._length = {}
        if self.rows.dtype == np.uint8:
            self._sums = integers.row_sums(self.rows)
            self._squares = integers.row_squares(self.rows)

    def __len__(self):
        return len(self.rows)

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
        select = (
            self._by_product
            if self._has_product(queries, metric)
            else self._by_distance
        )
        found = []
        most = _BLOCK_BYTES // (16 * max(1, len(positions)))
        step = max(1, most // n_orientations)
        for start in range(0, len(queries) // n_orientations, step):
            block = slice(start * n_orientations, (start + step) * n_orientations)
            out = None if leave_out is None else leave_out[start : start + step]
            found += select(
                queries[block], k, metric, parts, positions, out, n_orientations
            )
        return found

    def _by_distance(self, queries, k, metric, parts, positions, leave_out, turns):
        """Search a block of queries by computing every distance."""
        found = []
        distance, fractions = self._scan(queries, metric, parts)
        for i, start in enumerate(range(0, len(queries), turns)):
            these = slice(start, start + turns)
            tolerance = self._tolerance(distance[these], metric, fractions[start])
            best, which = _nearest_turn(distance[these], tolerance)
            fraction = None
            if fractions[start]:
                turned = fractions[these]

                def fraction(j, turned=turned, which=which):
                    return turned[which[j]](j)

            pool = _visible(positions, () if leave_out is None else leave_out[i])
            found.append(
                self._settle(
                    best[pool],
                    positions[pool],
                    which[pool],
                    k,
                    metric,
                    fraction and (lambda j, f=fraction, pool=pool: f(pool[j])),
                )
            )
        return found

    def _settle(self, distance, rows, which, k, metric, fraction=None):
        """Select and order the k nearest of one candidate's rows."""
        tolerance = self._tolerance(distance, metric, fraction)
        near = np.arange(len(rows))
        if 0 < k < len(rows):
            kth = np.argpartition(distance, k - 1)[k - 1]
            # ~(>) keeps undefined distances (NaN), which come last.
            near = np.flatnonzero(~(distance > distance[kth] + tolerance[kth]))
        order, distance = _settle_ties(
            distance[near],
            self.rank[rows[near]],
            tolerance[near],
            fraction and (lambda j: fraction(near[j])),
        )
        order = near[order[:k]]
        return distance[:k], rows[order], which[order]

    def _has_product(self, queries, metric):
        """Whether distances follow from inner products of float rows."""
        return (
            self.rows.dtype != np.uint8
            and metric in _PRODUCT_METRICS
            and "w" not in (self.metric_params or {})
        )

    def _by_product(self, queries, k, metric, parts, positions, leave_out, turns):
        """Search a block of queries by products whose rounding error is known.

        What the error leaves in doubt is computed again by `distances`, so that the
        answer is that of computing every distance.
        """
        lengths, flat = self._lengths(metric)
        lengths, flat = (
            np.concatenate([values[part] for part in parts])
            for values in (lengths, flat)
        )
        exact = _as_float(queries)
        center = exact.mean(axis=1, keepdims=True) if metric == "correlation" else 0
        length = np.linalg.norm(exact - center, axis=1)
        if metric in BOUNDED_BY_ONE:
            scaled = (exact - center) / np.where(length > 0, length, 1)[:, None]
        else:
            scaled = exact
        scaled = scaled.astype(self.rows.dtype)
        product = np.concatenate([scaled @ self.rows[part].T for part in parts], axis=1)
        # |fl(x·y) - x·y| <= n u |x||y| (Higham 2002, section 3.1), as x is rounded too.
        unit = (self.rows.shape[1] + 8) * np.finfo(self.rows.dtype).eps
        if metric in BOUNDED_BY_ONE:
            whole = np.concatenate([self._lengths("cosine")[0][p] for p in parts])
            inverse = 1 / np.where(flat, 1, lengths)
            error = np.where(flat, np.inf, unit * whole * inverse)
            product *= -inverse.astype(product.dtype)
            product += 1
            errors = [np.inf if n == 0 else error for n in length]
        else:
            product *= -2
            product += np.square(lengths).astype(product.dtype)
            product += np.square(length)[:, None].astype(product.dtype)
            errors = [unit * (lengths + n) ** 2 for n in length]
        found = []
        for i, start in enumerate(range(0, len(queries), turns)):
            pool = _visible(positions, () if leave_out is None else leave_out[i])
            lower, upper = np.inf, np.inf
            for j in range(start, start + turns):
                error = errors[j]
                lower = np.minimum(lower, product[j] - error)
                upper = np.minimum(upper, product[j] + error)
            if 0 < k < len(pool):
                kth = np.partition(upper[pool], k - 1)[k - 1]
                pool = pool[~(lower[pool] > kth + 1e-12 * max(1, abs(kth)))]
            rows = positions[pool]
            found.append(self._compute(exact[start : start + turns], rows, k, metric))
        return found

    def _compute(self, queries, rows, k, metric):
        """Compute and order the distances of one candidate to a few rows."""
        best, which = [np.empty(0)], [np.empty(0, int)]
        step = max(1, _BLOCK_BYTES // (8 * max(1, self.rows.shape[1])))
        for start in range(0, len(rows), step):
            block = _as_float(self.rows[rows[start : start + step]])
            distance = distances(queries, block, metric)
            tolerance = self._tolerance(distance, metric, None)
            for values, out in zip(
                _nearest_turn(distance, tolerance), (best, which), strict=True
            ):
                out.append(values)
        best, which = np.concatenate(best), np.concatenate(which)
        return self._settle(best, rows, which, k, metric)

    def _lengths(self, metric):
        """Lengths of the rows, (n,) float64, and which of them have no direction."""
        centered = metric == "correlation"
        if centered not in self._length:
            length = np.empty(len(self.rows))
            flat = np.zeros(len(self.rows), bool)
            step = max(1, _BLOCK_BYTES // (8 * max(1, self.rows.shape[1])))
            for start in range(0, len(self.rows), step):
                block = _as_float(self.rows[start : start + step])
                these = slice(start, start + step)
                if centered:
                    block = block - block.mean(axis=1, keepdims=True)
                length[these] = np.linalg.norm(block, axis=1)
                # A length that is nothing but rounding has no direction, either.
                largest = np.abs(self.rows[these]).max(axis=1, initial=0)
                flat[these] = length[these] <= 1e-6 * largest
            self._length[centered] = length, flat
        return self._length[centered]

    def _tolerance(self, distance, metric, fraction):
        """How far rounding may part each distance from an equal one."""
        if fraction:
            return np.full(distance.shape, 1e-14)
        unit = 8 * np.finfo(np.float64).eps * math.sqrt(self.rows.shape[1])
        if metric in BOUNDED_BY_ONE:
            return np.full(distance.shape, unit)
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
