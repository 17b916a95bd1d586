"""Distances to blocks of rows by fast products, with bounds of their rounding errors.

The scans name rows that can be among the top k; these are computed again, exactly. So
each bound has to cover the rounding of a scan and the tolerance within which
`ExactSearch` calls distances equal. With u the unit roundoff, half of ``eps``:

- A product of float rows is off by d u |x| |q| (Higham 2002, section 3.1), and scaling
  query and product by at most 8 u more. Distances that are 16 √d u apart count as
  equal. (2 d + 32) eps = (4 d + 64) u covers both, as 3 d + 56 > 16 √d for every d.
- A product of bytes is exact; converting, centering and scaling it take no more than
  ten roundings, which 16 eps = 32 u covers.

References
----------
Higham (2002). Accuracy and Stability of Numerical Algorithms. 2nd edition, SIAM.
"""

import math

import numpy as np

from . import integers
from .metrics import BOUNDED_BY_ONE
from .rotated import RotatedRows

_CACHE_BYTES = 1 << 20  # of rows, stays in the cache of a core
_TILE_VALUES = 1 << 18  # products, likewise
_LONG = 1 << 14  # rows of a slice that is not worth being joined with others
_FEW = 4  # queries that are quicker multiplied one by one


class Block:
    """Some slices of the rows, one after the other.

    Parameters
    ----------
    slices : list of slice
        Ascending.
    """

    def __init__(self, slices):
        self.slices = slices
        self._starts = np.array([piece.start for piece in slices])
        sizes = np.array([piece.stop for piece in slices]) - self._starts
        self._ends = sizes.cumsum()
        self._offsets = self._starts - self._ends + sizes

    def __len__(self):
        return int(self._ends[-1])

    def take(self, values):
        """Return what belongs to the rows of the block: (n, …) -> (len, …)."""
        if len(self.slices) == 1:
            return values[self.slices[0]]
        return np.concatenate([values[piece] for piece in self.slices])

    def positions(self, columns):
        """Positions of the rows that are some columns of the block."""
        if len(self.slices) == 1:
            return columns + self._offsets[0]
        which = np.searchsorted(self._ends, columns, side="right")
        return columns + self._offsets[which]

    def columns(self, positions):
        """Columns of those positions, an array, that the block holds."""
        which = np.searchsorted(self._starts, positions, side="right") - 1
        columns = positions - self._offsets[which]
        return columns[(which >= 0) & (columns < self._ends[which])]


def blocks_of(slices, most):
    """Yield `Block` after `Block` of no more than so many rows."""
    pieces, room = [], most
    for whole in slices:
        start = whole.start
        if pieces and whole.stop - start >= _LONG:
            yield Block(pieces)
            pieces, room = [], most
        while start < whole.stop:
            stop = min(whole.stop, start + room)
            pieces.append(slice(start, stop))
            room -= stop - start
            start = stop
            if room == 0 or (
                start == whole.stop and pieces[0].stop - pieces[0].start >= _LONG
            ):
                yield Block(pieces)
                pieces, room = [], most
    if pieces:
        yield Block(pieces)


def norms(rows, metric):
    """Length of each row (about its mean for correlation), its mean, and its length.

    A length that is nothing but rounding is 0, and one too small to be squared is NaN.
    Those of uint8 rows are in 0–255.
    """
    whole = rows.astype(np.float64)
    center = np.zeros(len(rows))
    with np.errstate(over="ignore", invalid="ignore"):  # has no bounds, then
        length = full = np.sqrt(np.einsum("ij,ij->i", whole, whole))
        if not full.all():
            none = np.flatnonzero(full == 0)
            full[none[whole[none].any(axis=1)]] = np.nan  # their squares underflow
        if metric == "correlation":
            center = whole.mean(axis=1)
            whole -= center[:, None]
            length = np.sqrt(np.einsum("ij,ij->i", whole, whole))
            # The bound grows with full / length: from a million on it tells nothing.
            length[length <= 1e-6 * full] = 0
    return length, center, full


class RowFactors:
    """What a scan by products needs to know of each row.

    Parameters
    ----------
    row_norms : ndarray of shape (3, n)
        The `norms` of the rows.
    metric : str
    n_columns : int
    dtype : dtype
        Of the rows.
    quantized : QuantizedRows, optional
        What is scanned in place of the rows.

    Attributes
    ----------
    factor : ndarray of shape (n,)
        What products are multiplied by; for euclidean distances, the square that is
        added.
    center : ndarray of shape (n,) or None
        √d times the mean of the row, where products are not of centered queries.
    error : ndarray of shape (n,)
        The row's part in how far off a distance may be.
    residual : ndarray of shape (n,) or None
        Another part, times the length of the query; for euclidean distances of
        quantized rows.
    unbounded : ndarray of int
        Rows whose distances have no bounds: those whose direction is nothing but
        rounding, and those so large or small that a product would leave the range of
        its type.
    """

    def __init__(self, row_norms, metric, n_columns, dtype, quantized=None):
        of_bytes = dtype == np.uint8 or quantized is not None
        self.dtype = np.dtype(np.float32) if of_bytes else dtype
        terms = 16 if of_bytes else 2 * n_columns + 32  # derived above
        limits = np.finfo(self.dtype)
        self.unit = unit = float(limits.eps * terms)
        length, center, full = row_norms
        # Squares up to 1e-8 of the largest number leave room for sums of products;
        # of vectors longer than √tiny they stay normal, so that errors are relative.
        self._longest = 1e-4 * float(limits.max) ** 0.5
        self._shortest = float(limits.tiny) ** 0.5 if metric in BOUNDED_BY_ONE else -1
        # Without direction, at a distance of 1 from all that have one.
        flat = (length == 0) & ((full == 0) | (dtype == np.uint8))
        unbounded = self.have_no_bounds(length, full) & ~flat
        self.unbounded = np.flatnonzero(unbounded)
        length, full = (np.where(unbounded, 1, size) for size in (length, full))
        residual = 0
        if quantized is not None:
            # x·q = (x − r)·(q − s) + r·q + (x − r)·s, with residuals r of the row and
            # s of the query: |r| + |s| (|x| + |r|) bounds the last two for |q| = 1.
            residual = np.where(unbounded, 0, quantized.residual)
            residual = residual + quantized.query_residual * (full + residual)
        self.residual = self.center = None
        if metric in BOUNDED_BY_ONE:
            factor = np.where(flat, 0, 1 / np.where(flat, 1, length))
            error = unit * np.maximum(full * factor, 1) + residual * factor
        else:
            # |x|² + |q|² − 2 x·q: the error of the product counts twice, and
            # 2 |x| |q| <= |x|² + |q|² shares it out between row and query.
            factor, error = np.square(length), 2 * unit * np.square(full)
            error += terms * float(limits.tiny)  # of what underflows
            if quantized is not None:
                self.residual = (2.002 * residual).astype(self.dtype)
        self.factor = factor.astype(self.dtype)
        # The bounds themselves are rounded a few times, by 6e-8 in float32, which a
        # thousandth more than covers (in 2.002, too).
        self.error = (1.001 * error).astype(self.dtype)
        if dtype == np.uint8 and metric == "correlation":
            # (x − x̄)·(q − q̄) = x·q − d x̄ q̄, as √d x̄ times √d q̄.
            self.center = (center * math.sqrt(n_columns)).astype(self.dtype)

    def have_no_bounds(self, length, full):
        """Which rows, or queries, of such lengths a scan cannot compare: (n,) bool."""
        return ~((length > self._shortest) & (full < self._longest))


class ProductScan:
    """Distances by inner products, in single precision or the rows' own.

    They order as the metric's distances do, and are those but for a constant.

    Parameters
    ----------
    rows : array-like of shape (n, d)
        Stored rows.
    factors : RowFactors
        What is known of them for the metric.
    queries : ndarray of shape (m · t, d)
        uint8 where the rows are, else float in their units. The t orientations of each
        candidate follow each other.
    metric : {"correlation", "cosine", "euclidean", "sqeuclidean"}
    n_orientations : int
        t.
    quantized : QuantizedRows, optional
        The rows, to be scanned in their place.
    """

    def __init__(self, rows, factors, queries, metric, n_orientations, quantized=None):
        self._rows, self._factors = rows, factors
        self._n_orientations = n_orientations
        self._bounded = metric in BOUNDED_BY_ONE
        length, center, full = norms(queries, metric)
        dtype = factors.dtype
        unbounded, direct = factors.have_no_bounds(length, full), length
        some_unbounded = unbounded.any()
        if some_unbounded:
            queries = np.where(unbounded[:, None], queries.dtype.type(0), queries)
            length, center, full = norms(queries, metric)
            direct = np.where(unbounded, 1, length)
        if self._bounded:
            scale, error = -1 / direct, full / direct
        else:
            scale = np.full(len(queries), -2.0)
            error = 2 * factors.unit * np.square(full)
            self._squares = np.square(length)[:, None].astype(dtype)
        self._scale = self._products_with = self._quantized = None
        if rows.dtype == np.uint8:
            self._products_with = comparer(rows, queries)
            self._scale = scale[:, None].astype(dtype)
            self._center = (center * math.sqrt(rows.shape[1])).astype(dtype)[:, None]
        else:
            if self._bounded:
                # Centered, in double precision, so that the centers of the rows drop out.
                queries = queries - center[:, None]
                error = 1 + error * np.finfo(np.float64).eps / np.finfo(dtype).eps
            queries = queries * scale[:, None]
            if quantized is not None:
                self._quantized = quantized.products_with(queries)
            self._queries = queries.astype(dtype)
        self._n_queries = len(queries)
        if some_unbounded:
            error = np.where(unbounded, np.inf, error)
        self._error, self._length = (
            values.reshape(-1, n_orientations).max(axis=1) for values in (error, full)
        )

    def distances(self, block):
        """Return distances of a block and its bounds, as `TopK.update` takes them."""
        factors = self._factors
        factor = block.take(factors.factor)
        with np.errstate(over="ignore", invalid="ignore"):  # of what has no bounds
            distance = self._products(block)
            if self._bounded:
                distance *= factor
            else:
                distance += factor
                distance += self._squares
        if len(factors.unbounded):
            distance[:, block.columns(factors.unbounded)] = np.inf
        error = block.take(factors.error)
        residual = None if factors.residual is None else block.take(factors.residual)

        def bounded(row_error, query_error):
            return row_error * query_error if self._bounded else row_error + query_error

        def error_of(candidates, columns):
            out = bounded(error[columns].astype(np.float64), self._error[candidates])
            return (
                out
                if residual is None
                else out + residual[columns] * self._length[candidates]
            )

        def margin_of(bound):
            out = bounded(float(error.max()), self._error)
            return (
                out if residual is None else out + float(residual.max()) * self._length
            )

        return nearest_orientation(distance, self._n_orientations), error_of, margin_of

    def _products(self, block):
        """Products with the rows of a block, times what each query is scaled by."""
        if self._quantized is not None:
            return self._quantized(block)
        if self._products_with is None and self._n_queries == 1:
            query = self._queries[0]
            products = [self._rows[piece] @ query for piece in block.slices]
            return np.concatenate(products)[None]
        out = np.empty((self._n_queries, len(block)), self._factors.dtype)
        stop = 0
        for piece in block.slices:
            start, stop = stop, stop + piece.stop - piece.start
            if self._products_with is None:
                multiply(self._rows[piece], self._queries, out[:, start:stop])
            else:
                self._transpose(piece, out[:, start:stop])
        if self._factors.center is not None:
            out -= self._center * block.take(self._factors.center)
        if self._scale is not None:
            out *= self._scale
        return out

    def _transpose(self, piece, out):
        """Write the products of a slice of the rows, (n, m), into `out`, (m, n)."""
        # Tile by tile: columns of a large array would be read past the cache.
        step = max(1, _TILE_VALUES // len(out))
        for start in range(0, out.shape[1], step):
            stop = min(start + step, out.shape[1])
            tile = slice(piece.start + start, piece.start + stop)
            out[:, start:stop] = self._products_with(tile).T


def multiply(rows, queries, out):
    """Multiply rows with queries: (n, d), (m, d) -> (m, n), into `out`."""
    if len(queries) > _FEW:
        np.matmul(queries, rows.T, out=out)
        return
    step = max(1, _CACHE_BYTES // (rows.itemsize * max(1, rows.shape[1])))
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        for i, query in enumerate(queries):
            np.matmul(block, query, out=out[i, start : start + step])


def nearest_orientation(distance, n_orientations):
    """The distance to the nearest orientation: (m · t, n) -> (m, n)."""
    if n_orientations == 1:
        return distance
    return distance.reshape(-1, n_orientations, distance.shape[1]).min(axis=1)


class DistanceScan:
    """Distances that are computed one by one.

    Parameters
    ----------
    distances : callable
        Slice of the rows -> distances in float64 of the shape (m · t, n).
    unit : float
        How far rounding may set a distance from an equal one: times the distance, or
        as it is for bounded distances.
    bounded : bool
        Whether distances are bounded.
    n_orientations : int
        t.
    """

    def __init__(self, distances, unit, bounded, n_orientations):
        self._distances = distances
        self._unit, self._bounded = 2 * unit, bounded
        self._n_orientations = n_orientations

    def distances(self, block):
        """Return distances of a block and its bounds, as `TopK.update` takes them."""
        distance = np.concatenate([self._distances(p) for p in block.slices], axis=1)
        distance = nearest_orientation(distance, self._n_orientations)

        def error_of(candidates, columns):
            if self._bounded:
                return self._unit
            near = distance[candidates, columns]
            return self._unit * np.where(np.isinf(near), 0, np.abs(near))

        def margin_of(bound):
            return self._unit if self._bounded else 2 * self._unit * np.abs(bound)

        return distance, error_of, margin_of


def comparer(rows, queries):
    """Products of slices of uint8 rows with queries: slice -> (n, m)."""
    if isinstance(rows, RotatedRows):
        return rows.comparer(integers.dots, queries)
    products = integers.products_with(queries)
    return lambda piece: products(rows[piece])
