"""Exact products of bytes, by numkong where it is sound and NumPy elsewhere.

numkong's 8-bit kernels are several times faster than a float product and read a
quarter of the memory, but the library is young: its 32-bit sums wrap beyond 66,051
columns, so rows are taken in pieces of 65,536, and before its first use it has to
reproduce NumPy's result. Nothing else in the package knows of it.
"""

import functools
from fractions import Fraction

import numpy as np

METRICS = ("correlation", "cosine", "euclidean", "sqeuclidean", "cityblock")
# Correlation and cosine are 1 − p / √(a b), of whole numbers below 2**63: six
# roundings of half an eps at most, 7e-16.
ROUNDING = 1e-14

_CHUNK_COLUMNS = 65_536  # 255² times as many is less than 2**32
_EXACT_SQUARES = 256  # times 255² stays below 2**24: exact in single precision
_BLOCK_BYTES = 1 << 22
_CACHE_BYTES = 1 << 19  # stays in the cache of a core


def _with_numpy(queries):
    """rows -> products by float64, exact below 2**53: (n, d) -> (n, m) int64."""
    transposed = queries.T.astype(np.float64)

    def products(rows):
        out = np.empty((len(rows), len(queries)), np.int64)
        step = max(1, _BLOCK_BYTES // (8 * rows.shape[1]))
        for start in range(0, len(rows), step):
            block = rows[start : start + step].astype(np.float64)
            out[start : start + step] = block @ transposed
        return out

    return products


def _with_numkong(numkong, queries):
    """rows -> products by numkong; only C-contiguous arrays go in."""
    pieces = [
        slice(start, start + _CHUNK_COLUMNS)
        for start in range(0, queries.shape[1], _CHUNK_COLUMNS)
    ]
    packed = [numkong.dots_pack(np.ascontiguousarray(queries[:, p])) for p in pieces]

    def products(rows):
        if not len(rows):
            return np.empty((0, len(queries)), np.uint32)
        out = None
        for columns, pack in zip(pieces, packed, strict=True):
            part = numkong.dots_packed(np.ascontiguousarray(rows[:, columns]), pack)
            part = np.asarray(part)
            out = part if out is None else out + part.astype(np.int64)
        return out

    return products


@functools.cache
def _load_numkong():
    """Return numkong if it is there and computes what NumPy computes, else None."""
    try:
        import numkong
    except Exception:  # a broken binary may raise anything; NumPy serves as well
        return None
    rng = np.random.default_rng(0)
    for n_columns in (1, 63, 2352, _CHUNK_COLUMNS):
        rows = rng.integers(0, 256, (5, n_columns), dtype=np.uint8)
        rows[0], rows[1] = 255, 0
        signed = (rows // 2).astype(np.int8) * rng.choice([-1, 1], rows.shape)
        for some in (rows, signed.astype(np.int8)):
            try:
                out = _with_numkong(numkong, some[:3])(some)
            except Exception:
                return None
            if not np.array_equal(out, _with_numpy(some[:3])(some)):
                return None
    return numkong


def is_fast():
    """Whether products of bytes are quicker than those of floats."""
    return _load_numkong() is not None


def products_with(queries):
    """Make ready for the exact inner products of bytes with queries.

    Parameters
    ----------
    queries : ndarray of shape (m, d), uint8 or int8
        int8 without −128.

    Returns
    -------
    products : callable
        Rows of shape (n, d), of the same type -> their products, (n, m), int64, int32
        or uint32.
    """
    numkong = _load_numkong()
    if numkong is None or not len(queries):
        return _with_numpy(queries)
    return _with_numkong(numkong, queries)


def dots(rows, queries):
    """Compute the exact inner products of uint8 rows: (n, d), (m, d) -> (n, m)."""
    return products_with(queries)(rows)


def row_sums(rows):
    """Sum each uint8 row: (n, d) -> (n,) int64."""
    ones = np.ones((1, rows.shape[1]), np.uint8)
    return dots(rows, ones)[:, 0].astype(np.int64)


def row_squares(rows):
    """Sum the squares of each uint8 row: (n, d) -> (n,) int64."""
    out = np.zeros(len(rows), np.int64)
    step = max(1, _BLOCK_BYTES // (4 * rows.shape[1]))
    for start in range(0, len(rows), step):
        block = rows[start : start + step].astype(np.float32)
        for column in range(0, rows.shape[1], _EXACT_SQUARES):
            piece = block[:, column : column + _EXACT_SQUARES]
            squares = np.einsum("ij,ij->i", piece, piece)
            out[start : start + step] += squares.astype(np.int64)
    return out


def absolute_differences(rows, queries):
    """Sum |x - q|: (n, d), (m, d) uint8 -> (n, m) int64, by Σx + Σq − 2 Σ min(x, q)."""
    out = np.empty((len(rows), len(queries)), np.int64)
    step = max(1, _CACHE_BYTES // rows.shape[1])
    lesser = np.empty((min(step, len(rows)), rows.shape[1]), np.uint8)
    total = products_with(np.ones((1, rows.shape[1]), np.uint8))
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        for j, query in enumerate(queries):
            least = np.minimum(block, query, out=lesser[: len(block)])
            out[start : start + step, j] = total(least)[:, 0]
        out[start : start + step] *= -2
        out[start : start + step] += total(block)
    return out + row_sums(queries)


def distances(queries, rows, metric):
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
        return absolute_differences(rows, queries).T / 255, None
    products = dots(rows, queries).T.astype(np.int64)
    squares, square = row_squares(rows), row_squares(queries)
    if metric in ("euclidean", "sqeuclidean"):
        squared = squares + square[:, None] - 2 * products
        if metric == "sqeuclidean":
            return squared / 255**2, None
        return np.sqrt(squared) / 255, None
    sums, total = row_sums(rows), row_sums(queries)
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
