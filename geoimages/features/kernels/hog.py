"""Histograms of oriented gradients.

References
----------
.. [1] Dalal & Triggs, "Histograms of oriented gradients for human detection", CVPR
   2005.
"""

import numpy as np

from .planes import erode, gradients
from .windows import window_sums


def directions(plane, bins):
    """Magnitudes of gradients, shared between the two nearest of `bins` unsigned
    directions: (n, h, w) -> lower and upper share, and their bins, all (n, h - 2, w - 2).
    """
    gx, gy = gradients(plane)
    magnitude = np.sqrt(gx * gx + gy * gy)
    place = np.arctan2(gy, gx) * np.float32(bins / np.pi)
    place += bins * (place < 0)
    index = place.astype(np.int32)
    upper = (place - index) * magnitude
    lower = magnitude - upper
    index[index >= bins] -= bins
    after = index + 1
    after[after == bins] = 0
    return lower, upper, index, after


def _normalized(count, area):
    """The L1-sqrt norm of the paper, the whole picture one block."""
    count = count.astype(np.float32)
    # one L* unit per pixel: below it a flat picture's noise would be blown up
    return np.sqrt(count / (count.sum(axis=1, keepdims=True) + area + np.float32(1e-6)))


def hog(plane, cells=4, bins=8, mask=None):
    """Histograms of oriented gradients on a fixed grid [1]_: (n, h, w) -> (n, cells *
    cells * bins).

    Unsigned directions shared between the two nearest bins, magnitudes summed over
    ``cells`` by ``cells`` equal cells whatever the size, the whole picture one block.
    """
    n, h, w = plane.shape
    inner = erode(mask)
    lower, upper, index, after = directions(plane, bins)
    if inner is not None:
        lower, upper = lower * inner, upper * inner
    row, column = np.arange(1, h - 1) * cells // h, np.arange(1, w - 1) * cells // w
    start = (np.arange(n, dtype=np.int32) * (cells * cells))[:, None, None]
    start = (start + (row[:, None] * cells + column).astype(np.int32)) * bins
    size = n * cells * cells * bins
    count = np.bincount((start + index).ravel(), lower.ravel(), minlength=size)
    count += np.bincount((start + after).ravel(), upper.ravel(), minlength=size)
    area = (
        np.float32((h - 2) * (w - 2))
        if inner is None
        else inner.reshape(n, -1).sum(axis=1)[:, None]
    )
    return _normalized(count.reshape(n, -1), area)


def window_hog(plane, cells, bins, tops, lefts, side):
    """`hog` of windows of one picture: (h, w), (m,) twice -> (m, cells * cells *
    bins).
    """
    lower, upper, index, after = (x[0] for x in directions(plane[None], bins))
    shares = np.zeros((*lower.shape, bins), np.float32)
    down, right = np.indices(lower.shape, sparse=True)
    shares[down, right, index] = lower
    shares[down, right, after] += upper
    # Edges of a window's cells, on pixels that have neighbors in it.
    cell = np.arange(1, side - 1) * cells // side
    first = np.searchsorted(cell, np.arange(cells + 1))
    i, j = np.divmod(np.arange(cells * cells), cells)
    edges = (
        (at[:, None] + first[n]).ravel()
        for at, n in ((tops, i), (tops, i + 1), (lefts, j), (lefts, j + 1))
    )
    count = window_sums(lambda a, b: shares[a:b].sum(axis=0), *edges)
    return _normalized(count.reshape(len(tops), -1), np.float32((side - 2) ** 2))
