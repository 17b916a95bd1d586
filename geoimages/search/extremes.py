"""Distances of rows whose squares or sums leave the range of a float.

Each takes a row (d,) and rows (n, d), float64, and the keywords of the distance, and
returns (n,). Differences are divided by the largest of them first, so that no power
overflows, and none that counts underflows.
"""

import numpy as np


def _scaled(difference):
    """Divide differences by the largest of each row: (n, d) -> (n, d) and (n,)."""
    most = np.abs(difference).max(axis=1, initial=0)
    divisor = np.where((most > 0) & np.isfinite(most), most, 1)
    return difference / divisor[:, None], most


def _minkowski(query, rows, p=2, w=None):
    difference, most = _scaled(np.abs(rows - query))
    powers = np.power(difference, p)
    total = powers.sum(axis=1) if w is None else powers @ w
    return np.where(most > 0, most * total ** (1 / p), 0)


def _cityblock(query, rows, w=None):
    return _minkowski(query, rows, 1, w)


def _euclidean(query, rows, w=None):
    return _minkowski(query, rows, 2, w)


def _sqeuclidean(query, rows, w=None):
    return _minkowski(query, rows, 2, w) ** 2


def _seuclidean(query, rows, V):
    difference, most = _scaled((rows - query) / np.sqrt(V))
    return np.where(most > 0, most * np.sqrt((difference**2).sum(axis=1)), 0)


def _mahalanobis(query, rows, VI):
    difference, most = _scaled(rows - query)
    half = int(np.frexp(np.abs(VI).max())[1]) // 2
    product = difference @ np.ldexp(VI, -2 * half)
    squared = (product * difference).sum(axis=1)
    return np.where(most > 0, np.ldexp(most * np.sqrt(squared), half), 0)


def _braycurtis(query, rows, w=None):
    most = np.maximum(np.abs(rows).max(axis=1), np.abs(query).max())
    # By powers of two, which round nothing.
    exponents = np.where(most > 0, np.frexp(most)[1], 0)[:, None] + 2
    rows, query = np.ldexp(rows, -exponents), np.ldexp(query, -exponents)
    w = np.ones(rows.shape[1]) if w is None else w
    return (np.abs(rows - query) @ w) / (np.abs(rows + query) @ w)


def _canberra(query, rows, w=None):
    small, large = np.sort(np.abs([np.broadcast_to(query, rows.shape), rows]), axis=0)
    divisor = np.where(large > 0, large, 1)
    # (l − s) / (l + s), where l + s may overflow.
    shares = (large - small) / divisor / (1 + small / divisor)
    shares = np.where((rows < 0) == (query < 0), shares, large > 0)
    return shares.sum(axis=1) if w is None else shares @ w


EXTREMES = {
    "braycurtis": _braycurtis,
    "canberra": _canberra,
    "cityblock": _cityblock,
    "euclidean": _euclidean,
    "mahalanobis": _mahalanobis,
    "minkowski": _minkowski,
    "seuclidean": _seuclidean,
    "sqeuclidean": _sqeuclidean,
}
"""By the name of the distance."""
