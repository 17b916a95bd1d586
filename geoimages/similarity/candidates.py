"""Conversion of the candidates of `predict` to keys or pictures."""

import numbers
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pandas.api.extensions import ExtensionArray

from ..pictures.validation import is_collection
from .keys import keys_of

_EXCLUDE = ("lineage", "self", None)
_FEW = 16  # candidates whose lineages are searched for one by one


@dataclass
class Candidates:
    """The queries: pictures, or positions among the fitted ones.

    Parameters
    ----------
    images : ndarray of shape (m, h, w, c) or None
        Pictures as given.
    own : ndarray of shape (m,), int or None
        Otherwise positions among the fitted pictures.
    names : sequence or None
        Their names in the ranked table; None for a single one.
    """

    images: np.ndarray | None = None
    own: np.ndarray | None = None
    names: Sequence | None = None

    def __len__(self):
        return len(self.own if self.images is None else self.images)

    def __getitem__(self, part):
        images, own = self.images, self.own
        if images is None:
            return Candidates(own=own[part])
        return Candidates(images[part])


def read_candidates(X, position_of, check):
    """Return the `Candidates` that X stands for.

    Parameters
    ----------
    X : str, list of str, array-like, DataFrame or Collection
        Keys, or pixels: one row or picture, or several.
    position_of : callable
        List of keys -> positions among the fitted pictures.
    check : callable
        Rows or pictures -> (m, h, w, c) pictures of the shape fitted.

    Returns
    -------
    candidates : Candidates

    Raises
    ------
    TypeError
        If X is neither keys nor pixels.
    ValueError
        If X is empty, or the pixels do not fit.
    KeyError
        If a key is unknown.
    """
    if isinstance(X, str):
        return Candidates(own=position_of([X]))
    if _are_keys(X):
        return Candidates(own=position_of(list(X)), names=list(X))
    if is_collection(X) or isinstance(X, pd.DataFrame):
        return Candidates(check(X), names=keys_of(X))
    given, X = X, X if getattr(X, "ndim", 1) > 1 else np.asarray(X)
    if X.ndim == 1 and not len(X):
        raise ValueError(
            "X holds no candidate; pass a key, a picture or a list of keys."
        )
    if X.ndim == 0 or (X.ndim == 1 and not _are_numbers(X)):
        raise TypeError(
            f"{reprlib.repr(given)} is neither a key or keys, which are strings, nor "
            "pixels; read a picture file first: model.predict(rocks.read(path)), "
            "where rocks is the Collection, or read_image(path)."
        )
    if X.ndim in (1, 3):
        return Candidates(check(X[None]))
    images = check(X)
    return Candidates(images, names=np.arange(len(images)))


def _are_keys(X):
    """Whether X is a list of keys rather than of pixels."""
    lists = (list, tuple, pd.Index, pd.Series, ExtensionArray, np.ndarray)
    return (
        isinstance(X, lists)
        and len(X) > 0
        and np.ndim(X) == 1
        and all(isinstance(key, str) for key in X)
    )


def _are_numbers(values):
    """Whether a 1-D array holds numbers only, whatever its dtype."""
    return values.dtype.kind not in "OUS" or all(
        isinstance(value, numbers.Number) for value in values
    )


def excluded(own, exclude, lineage, boxes=None):
    """Positions to exclude for each candidate: a list of arrays, or None.

    Parameters
    ----------
    own : ndarray of shape (m,), int or None
        The candidates' own positions; pixels (None) exclude nothing.
    exclude : {"lineage", "self", None}
        Their lineage, themselves only, or nothing.
    lineage : ndarray of shape (n,), int
        Rotated copies of one original have the same number, as have the tiles of one
        photograph.
    boxes : ndarray of shape (n, 3), int, optional
        x, y and side of tiles: only those that overlap are excluded.
    """
    if exclude not in _EXCLUDE:
        raise ValueError(
            f"exclude={exclude!r} is not known; expected 'lineage' (the picture and its "
            "rotated copies), 'self' or None."
        )
    if own is None or exclude is None:
        return None
    if exclude == "self":
        return [np.array([position]) for position in own]
    if len(own) < _FEW:  # searching is faster than sorting
        found = [np.flatnonzero(lineage == i) for i in lineage[own]]
        return found if boxes is None else _overlapping(own, found, boxes)
    order = np.argsort(lineage, kind="stable")
    ends = np.searchsorted(lineage[order], np.arange(lineage.max() + 2))
    found = [order[ends[i] : ends[i + 1]] for i in lineage[own]]
    return found if boxes is None else _overlapping(own, found, boxes)


def _overlapping(own, found, boxes):
    """Of the pictures of a lineage those that share pixels: list of arrays."""
    out = []
    for position, others in zip(own, found, strict=True):
        (x, y, side), (left, top, sides) = boxes[position], boxes[others].T
        apart = (np.maximum(left - x - side, x - left - sides) >= 0) | (
            np.maximum(top - y - side, y - top - sides) >= 0
        )
        # What is no tile, its side 0, has no part of its own.
        out.append(others[~(apart & (side > 0) & (sides > 0))])
    return out


def outside(among, n, hidden, n_candidates):
    """Exclude all but some positions, too: a list of arrays, one per candidate.

    Parameters
    ----------
    among : array-like of int or bool
        The positions to search, or a mask of them.
    n : int
        Number of stored pictures.
    hidden : list of ndarray of int, or None
        What each candidate excludes.
    n_candidates : int
        How many there are.

    Raises
    ------
    ValueError
        If `among` is no mask and no positions of stored pictures.
    """
    among = np.asarray(among)
    kind, searched = among.dtype.kind, np.zeros(n, bool)
    if among.ndim != 1 or kind not in "biu" or (kind == "b" and len(among) != n):
        raise ValueError(
            f"among must be positions of the {n} fitted pictures or a mask of them, got "
            f"an array of {among.dtype} of shape {among.shape}."
        )
    if kind != "b" and len(among) and not (among.min() >= 0 and among.max() < n):
        raise ValueError(
            f"among holds positions from {among.min()} to {among.max()}, expected 0 to "
            f"{n - 1}."
        )
    searched[among] = True
    rest = np.flatnonzero(~searched)
    if hidden is None:
        return [rest] * n_candidates
    return [np.union1d(rest, own) for own in hidden]
