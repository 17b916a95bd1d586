"""The distances that rows are compared by."""

import numpy as np
from scipy.spatial.distance import cdist

METRICS = (
    "braycurtis",
    "canberra",
    "chebyshev",
    "cityblock",
    "correlation",
    "cosine",
    "dice",
    "euclidean",
    "hamming",
    "jaccard",
    "jensenshannon",
    "mahalanobis",
    "minkowski",
    "rogerstanimoto",
    "russellrao",
    "seuclidean",
    "sokalsneath",
    "sqeuclidean",
    "yule",
)
"""Every metric that `scipy.spatial.distance.cdist` takes, by its full name."""

_SHORT_NAMES = {
    "chebyshev": "chebychev cheby cheb ch",
    "cityblock": "cblock cb c",
    "correlation": "co",
    "cosine": "cos",
    "euclidean": "euclid eu e",
    "hamming": "matching hamm ha h",
    "jaccard": "jacc ja j",
    "jensenshannon": "js",
    "mahalanobis": "mahal mah",
    "minkowski": "pnorm mi m",
    "seuclidean": "se s",
    "sqeuclidean": "sqeuclid sqe",
}
_FULL_NAMES = {name: name for name in METRICS} | {
    short: name for name, shorts in _SHORT_NAMES.items() for short in shorts.split()
}
BOUNDED_BY_ONE = ("correlation", "cosine")
_BLIND_TO_SCALE = (*BOUNDED_BY_ONE, "jensenshannon")
_LARGE = 2.0**300  # its square, times thousands of columns, is in range
_ONLY_FOR = {
    "p": "minkowski",
    "V": "seuclidean",
    "VI": "mahalanobis",
    "base": "jensenshannon",
}


def check_metric(metric):
    """Return the full name of a metric, or raise a ValueError with the known ones.

    Examples
    --------
    >>> check_metric("sqe")
    'sqeuclidean'
    """
    name = _FULL_NAMES.get(str(metric).lower())
    if name is None:
        raise ValueError(
            f"dist_metric={metric!r} is not known; expected one of "
            f"{', '.join(METRICS)}."
        )
    return name


def check_metric_params(metric_params):
    """Raise a ValueError where a distance has no keyword of that name."""
    known = (*_ONLY_FOR, "w")
    for name in metric_params or {}:
        if name not in known:
            raise ValueError(
                f"metric_params has {name!r}, which no distance takes; expected some "
                f"of {', '.join(known)}."
            )


def similarity_from_distance(distance, metric):
    """Turn distances into similarities, 1 for identical pictures.

    Parameters
    ----------
    distance : array-like of float
        Distances, 0 or more.
    metric : str
        The distance's name.

    Returns
    -------
    similarity : ndarray of float64
        1 − d for correlation, cosine and verification (in [−1, 1]), 1 / (1 + d)
        otherwise (in (0, 1]). Falls as the distance grows.

    Examples
    --------
    >>> similarity_from_distance([0.0, 0.25], "correlation").tolist()
    [1.0, 0.75]
    >>> similarity_from_distance([0.0, 1.0], "euclidean").tolist()
    [1.0, 0.5]
    """
    distance = np.asarray(distance, dtype=np.float64)
    if metric in (*BOUNDED_BY_ONE, "verification"):
        return 1 - distance
    return 1 / (1 + distance)


def _check_finite(learned, metric, what):
    if not np.isfinite(learned).all():
        raise ValueError(
            f"{metric} needs the {what} of the columns, which a float cannot hold for "
            "rows so large or so small; scale the features first."
        )


def learn_metric_params(rows, metric, metric_params=None):
    """Complete a metric's parameters from the stored rows.

    `cdist` takes the variances (seuclidean) and the covariance (mahalanobis) from
    whatever two arrays it is given, so that one answer would depend on the other
    candidates of its batch. Here they are those of the stored rows.

    Parameters
    ----------
    rows : ndarray of shape (n, n_features)
        Stored rows; the parameters are those of the rows in 0–1 units.
    metric : str
        One of `METRICS`.
    metric_params : dict, optional
        Keywords of `cdist`: ``p``, ``V``, ``VI``, ``w``, …

    Returns
    -------
    metric_params : dict
        A new dict.

    Raises
    ------
    ValueError
        If the covariance of the rows cannot be inverted.
    """
    params = {
        name: value
        for name, value in (metric_params or {}).items()
        if _ONLY_FOR.get(name, metric) == metric
    }
    scale = 255 if rows.dtype == np.uint8 else 1
    if metric == "seuclidean" and "V" not in params:
        with np.errstate(over="ignore", invalid="ignore"):
            variance = np.var(rows, axis=0, ddof=1, dtype=np.float64) / scale**2
        _check_finite(variance, metric, "variances")
        # A column that never varies cannot tell rows apart: leave it unscaled.
        params["V"] = np.where(variance > 0, variance, 1.0)
    if metric == "mahalanobis" and "VI" not in params:
        with np.errstate(over="ignore", invalid="ignore"):
            covariance = np.atleast_2d(np.cov(rows, rowvar=False, dtype=np.float64))
        _check_finite(covariance, metric, "covariance")
        if np.linalg.matrix_rank(covariance) < len(covariance):
            raise ValueError(
                f"mahalanobis needs the inverse covariance of {rows.shape[1]} columns, "
                f"which {rows.shape[0]} rows do not determine; give "
                "metric_params={'VI': ...} or reduce the columns first."
            )
        with np.errstate(over="ignore"):
            params["VI"] = np.linalg.inv(covariance) * scale**2
        _check_finite(params["VI"], metric, "inverse covariance")
    return params


def without_direction(rows, metric):
    """Which rows have no direction: constant (correlation) or zero (cosine)."""
    if metric == "correlation":
        return rows.max(axis=1) == rows.min(axis=1)
    return ~rows.any(axis=1)


def _in_range(rows):
    """Scale rows whose squares leave the range of a float: (n, d) -> (n, d)."""
    most = np.abs(rows).max(axis=1, initial=0)
    extreme = ((most > _LARGE) | (most < 1 / _LARGE)) & (most > 0)
    if not extreme.any():
        return rows
    rows = rows.copy()
    # By powers of two, which round nothing.
    exponents = np.frexp(most[extreme])[1]
    rows[extreme] = np.ldexp(rows[extreme], -exponents[:, None])
    return rows


def distances(queries, rows, metric, metric_params=None):
    """Compute all distances: (m, d) and (n, d) float64 -> (m, n) float64.

    The values of `cdist`, but a row without direction (constant under correlation,
    zero under cosine) is at distance 1 from every row but an identical one, and
    rounding leaves no distance below 0.
    """
    given = queries, rows
    if metric in _BLIND_TO_SCALE:
        given = map(_in_range, given)
    out = cdist(*given, metric, **(metric_params or {}))
    if metric in BOUNDED_BY_ONE:
        # 0 / 0 for SciPy, and NaN or noise: orthogonal to all else, by definition.
        flat = without_direction(queries, metric)[:, None]
        flat = flat | without_direction(rows, metric)
        out[flat] = 1
        # Identical rows are at distance 0, whatever rounding left of it.
        for i, j in zip(*np.nonzero(flat | (out < 1e-9)), strict=True):
            if queries[i, 0] == rows[j, 0] and np.array_equal(queries[i], rows[j]):
                out[i, j] = 0
        np.clip(out, 0, 2, out=out)
    return out
