"""The distances that rows are compared by."""

import math
import numbers
import reprlib
from collections.abc import Mapping

import numpy as np
from scipy.spatial.distance import cdist

from .extremes import EXTREMES

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
_LARGE = 2.0**300  # its square, times thousands of columns, is in range
_HALF = np.finfo(np.float64).max / 2
_MOST_POWER = 16  # of minkowski; of higher ones those of 0.5 and 2 leave the range soon
_ONLY_FOR = {
    "p": "minkowski",
    "V": "seuclidean",
    "VI": "mahalanobis",
}
_UNWEIGHTED = ("jensenshannon", "mahalanobis", "seuclidean")


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
    """Raise an error where no distance has such keywords."""
    if not (metric_params is None or isinstance(metric_params, Mapping)):
        raise TypeError(
            f"metric_params must be a dict such as {{'p': 3}}, got {metric_params!r}."
        )
    known = (*_ONLY_FOR, "w")
    for name in metric_params or {}:
        if name not in known:
            raise ValueError(
                f"metric_params has {name!r}, which no distance takes; expected some "
                f"of {', '.join(known)}."
            )
    p = (metric_params or {}).get("p", 2)
    if not isinstance(p, numbers.Real) or not p > 0:
        raise ValueError(f"metric_params['p'] must be a number above 0, got {p!r}.")


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
        otherwise (in [0, 1]). Falls as the distance grows.

    Raises
    ------
    ValueError
        If a distance is NaN or negative.

    Examples
    --------
    >>> similarity_from_distance([0.0, 0.25], "correlation").tolist()
    [1.0, 0.75]
    >>> similarity_from_distance([0.0, 1.0], "euclidean").tolist()
    [1.0, 0.5]
    """
    distance = np.asarray(distance, dtype=np.float64)
    if np.isnan(distance).any() or (metric != "verification" and (distance < 0).any()):
        raise ValueError(f"Distances must be 0 or more, got {distance.min():g}.")
    if metric in (*BOUNDED_BY_ONE, "verification"):
        return 1 - distance
    return 1 / (1 + distance)


def _check_learned(variances, what, metric):
    """Raise a ValueError if variances overflow or underflow."""
    limits = np.finfo(np.float64)
    if not ((variances >= limits.tiny) & (variances <= limits.max)).all():
        raise ValueError(
            f"{metric} needs the {what} of the columns, which a float cannot hold for "
            "rows so large or so small; scale the features first."
        )


def _check_values(params, metric, n_columns):
    """Raise a ValueError if a parameter does not suit rows of so many columns."""
    shapes = {"w": (n_columns,), "V": (n_columns,), "VI": (n_columns, n_columns)}
    if "w" in params and metric in _UNWEIGHTED:
        raise ValueError(f"{metric} takes no weights; leave w out of metric_params.")
    for name, shape in shapes.items():
        if name not in params:
            continue
        try:
            values = np.asarray(params[name], dtype=np.float64)
        except (TypeError, ValueError):
            values = np.empty(0)
        valid = values.shape == shape and np.isfinite(values).all()
        if name == "w":
            valid = valid and (values >= 0).all() and values.any()
        elif name == "V":
            valid = valid and (values > 0).all()
        if not valid:
            value = " ".join(reprlib.repr(params[name]).split())
            sign = {"w": "0 or more, not all 0", "V": "above 0"}.get(name, "finite")
            raise ValueError(
                f"metric_params[{name!r}] must be an array of shape {shape}, {sign}, "
                f"for rows of {n_columns} columns, got {value}."
            )
        params[name] = values


def _check_rows(rows, metric):
    """Raise a ValueError if the metric does not define the distance of such rows."""
    if rows.dtype == np.uint8 or metric not in ("dice", "jensenshannon"):
        return
    low, high = rows.min(initial=0) + 0.0, rows.max(initial=0)
    if metric == "jensenshannon" and low < 0:
        raise ValueError(
            f"jensenshannon compares distributions, but the rows hold {low:g}; shift "
            "the features to 0 or more, or use another metric."
        )
    if metric == "dice" and not (low >= 0 and high <= 1):
        raise ValueError(
            f"dice compares degrees of membership in 0 to 1, but the rows hold {low:g} "
            f"to {high:g}; scale the features, or use another metric."
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
    _check_rows(rows, metric)
    _check_values(params, metric, rows.shape[1])
    scale = 255 if rows.dtype == np.uint8 else 1
    learned = {"seuclidean": "V", "mahalanobis": "VI"}.get(metric)
    if learned and learned not in params and len(rows) < 2:
        raise ValueError(
            f"{metric} learns how the columns vary, which one picture does not say; "
            f"fit two or more, or give metric_params={{{learned!r}: ...}}."
        )
    if learned is None or learned in params:
        return params
    with np.errstate(over="ignore", invalid="ignore"):
        varies = np.ptp(rows[:], axis=0) > 0
        if metric == "seuclidean":
            variance = np.var(rows, axis=0, ddof=1, dtype=np.float64) / scale**2
            _check_learned(variance[varies], "variances", metric)
            # A column that never varies cannot tell rows apart: leave it unscaled.
            return params | {"V": np.where(varies, variance, 1.0)}
        covariance = np.atleast_2d(np.cov(rows, rowvar=False, dtype=np.float64))
        _check_learned(covariance.diagonal()[varies], "covariance", metric)
        if np.linalg.matrix_rank(covariance) < len(covariance):
            raise ValueError(
                f"mahalanobis needs the inverse covariance of {rows.shape[1]} columns, "
                f"which {rows.shape[0]} rows do not determine; give "
                "metric_params={'VI': ...} or reduce the columns first."
            )
        inverse = np.linalg.inv(covariance) * scale**2
    _check_learned(inverse.diagonal(), "inverse covariance", metric)
    return params | {"VI": inverse}


def without_direction(rows, metric):
    """Which rows have no direction: constant (correlation) or zero (cosine)."""
    if metric == "correlation":
        return rows.max(axis=1) == rows.min(axis=1)
    return ~rows.any(axis=1)


def in_range(rows, large=_LARGE):
    """Scale rows whose squares leave the range of a float: (n, d) -> (n, d)."""
    most = np.abs(rows).max(axis=1, initial=0)
    extreme = ((most > large) | (most < 1 / large)) & (most > 0)
    if not extreme.any():
        return rows
    rows = rows.copy()
    # By powers of two, which round nothing.
    exponents = np.frexp(most[extreme])[1]
    rows[extreme] = np.ldexp(rows[extreme], -exponents[:, None])
    return rows


def _angles(queries, rows, metric, w=None):
    """Correlation or cosine distances, weighted as cosines of scaled columns."""
    if w is None:
        return cdist(queries, rows, metric)
    w = w / w.max()
    if metric == "correlation":
        queries, rows = (x - (x @ w / w.sum())[:, None] for x in (queries, rows))
    with np.errstate(invalid="ignore"):
        return cdist(queries * np.sqrt(w), rows * np.sqrt(w), "cosine")


def _shares(rows):
    """Divide rows by their sums, without shares too small to be divided: (n, d)."""
    rows = in_range(rows)
    totals = rows.sum(axis=1, keepdims=True)
    shares = rows / np.where(totals > 0, totals, 1)
    return np.where(shares < np.finfo(np.float64).tiny, 0, shares)


def distances(queries, rows, metric, metric_params=None):
    """Compute all distances: (m, d) and (n, d) float64 -> (m, n) float64.

    The values of `cdist`, in the whole range of a float: what overflows or underflows
    there is computed again, scaled, and is infinite only where the distance itself is
    too large for a float. Where `cdist` divides 0 by 0, rows that are identical are at
    distance 0. A row without direction (constant under correlation, zero under cosine)
    is at distance 1 from every row but an identical one, and a zero row under
    jensenshannon at its maximum, √ln 2. Rounding leaves no distance below 0.

    Raises
    ------
    ValueError
        If the metric is not defined for such rows: negative ones under jensenshannon,
        beyond 0–1 under dice.
    """
    params = dict(metric_params or {})
    for given in (queries, rows):
        _check_rows(given, metric)
    if "w" in params and not params["w"].all():
        weighted = params["w"] > 0  # other columns are not compared
        params["w"] = params["w"][weighted]
        queries, rows = queries[:, weighted], rows[:, weighted]
    if metric == "jensenshannon":
        out = cdist(_shares(queries), _shares(rows), metric)
    elif metric in BOUNDED_BY_ONE:
        out = _angles(in_range(queries), in_range(rows), metric, params.get("w"))
    else:
        with np.errstate(all="ignore"):
            out = cdist(queries, rows, metric, **params)
            _correct_extremes(out, queries, rows, metric, params)
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
    elif metric == "jensenshannon":
        zero, zeros = ~queries.any(axis=1)[:, None], ~rows.any(axis=1)
        out[zero | zeros] = math.sqrt(math.log(2))
        out[zero & zeros] = 0
    if metric == "mahalanobis" and np.isnan(out).any():
        raise ValueError(
            "mahalanobis needs a positive semidefinite VI, but some squared distances "
            "are negative; give another, or reduce the columns, which nearly determine "
            "one another."
        )
    out[np.isnan(out)] = 0
    return out


def _correct_extremes(out, queries, rows, metric, params):
    """Compute again, in place, what left the range of a float: (m, n)."""
    kernel = EXTREMES.get(metric)
    if kernel is None:
        return
    wrong = np.ones(out.shape, bool)
    if metric == "canberra":  # each column is divided by its own size
        if max(map(np.max, (queries, -queries.min(), rows, -rows.min()))) <= _HALF:
            return
    elif metric != "minkowski" or params.get("p", 2) <= _MOST_POWER:
        largest = 2.0 ** (800 / max(2, params.get("p", 2)))
        wrong = ~((out > 1 / largest) & (out < largest))
    for i in np.flatnonzero(wrong.any(axis=1)):
        j = np.flatnonzero(wrong[i])
        out[i, j] = kernel(queries[i], rows[j], **params)
