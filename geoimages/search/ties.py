"""Ties between distances, which floating point hides or invents."""

import math

import numpy as np

from .metrics import BOUNDED_BY_ONE

_LARGEST = np.finfo(np.float64).max


def rounding_unit(metric, n_columns):
    """How far rounding in float64 may separate equal distances, and whether relatively.

    Parameters
    ----------
    metric : str
    n_columns : int

    Returns
    -------
    unit : float
    relative : bool
        Whether it is to be multiplied by the distance.
    """
    # Rounding errors of both signs grow with the root of their number (Higham 2002,
    # section 2.8): √d eps / 2 for a sum, of which two distances have up to six.
    unit = 8 * float(np.finfo(np.float64).eps) * math.sqrt(n_columns)
    return unit, metric not in BOUNDED_BY_ONE


def tolerance(distance, metric, n_columns):
    """How far rounding in float64 may separate each distance from an equal one."""
    unit, relative = rounding_unit(metric, n_columns)
    if relative:
        return unit * np.minimum(np.abs(distance), _LARGEST)
    return np.full(distance.shape, unit)


def settle_ties(distance, rank, tolerance, fraction=None):
    """Sort by (exact distance, rank) what floating point cannot tell apart.

    Parameters
    ----------
    distance, rank : ndarray of shape (n,)
        Float distances and the place of each row's key in key order.
    tolerance : ndarray of shape (n,)
        How far rounding may separate each distance from an equal one.
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
    # Neighbors within the tolerance form runs, of which only those are sorted again
    # that floating point has given an order.
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
