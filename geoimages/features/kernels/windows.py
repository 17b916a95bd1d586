"""Sums over overlapping windows of one picture, from sums of the cells they share."""

import itertools

import numpy as np


def cells_of(starts, length):
    """Edges of the cells along a side into which windows divide each other: (n + 1,),
    and the first and last edge of each window: (m,) twice.
    """
    edges = np.unique(np.concatenate([starts, starts + length]))
    return (
        edges,
        np.searchsorted(edges, starts),
        np.searchsorted(edges, starts + length),
    )


def sums_of_cells(sums, down, across):
    """Sums of windows from those of cells: (r, c, ...), `cells_of` twice -> (m, ...)."""
    total = np.zeros((sums.shape[0] + 1, sums.shape[1] + 1, *sums.shape[2:]))
    np.cumsum(sums, axis=0, out=total[1:, 1:])
    np.cumsum(total[1:, 1:], axis=1, out=total[1:, 1:])
    (_, top, bottom), (_, left, right) = down, across
    inside = total[bottom, right]
    inside -= total[top, right]
    inside -= total[bottom, left]
    inside += total[top, left]
    return inside


def window_sums(planes, tops, lefts, high, wide):
    """Sums of windows (high, wide) at corners: (h, w, k), (m,) twice -> (m, k).

    Each value is added up once, however many windows hold it.
    """
    down, across = cells_of(tops, high), cells_of(lefts, wide)
    rows, columns = down[0], across[0]
    inner = planes[rows[0] : rows[-1], columns[0] : columns[-1]]
    sums = np.add.reduceat(inner, rows[:-1] - rows[0], axis=0, dtype=np.float64)
    sums = np.add.reduceat(sums, columns[:-1] - columns[0], axis=1)
    return sums_of_cells(sums, down, across)


def window_products(first, second, tops, lefts, high, wide):
    """Sums over windows of products of two rows: (h, w, j), (h, w, k), corners -> (m,
    j, k).
    """
    down, across = cells_of(tops, high), cells_of(lefts, wide)
    shape = first.shape[2], second.shape[2]
    sums = np.zeros((len(down[0]) - 1, len(across[0]) - 1, *shape))
    for i, (a, b) in enumerate(itertools.pairwise(down[0])):
        for j, (c, d) in enumerate(itertools.pairwise(across[0])):
            one = first[a:b, c:d].reshape(-1, shape[0])
            sums[i, j] = one.T @ second[a:b, c:d].reshape(-1, shape[1])
    return sums_of_cells(sums, down, across)
