"""Sums over overlapping windows of one picture, from sums of the cells they share."""

import itertools

import numpy as np


def cells_of(starts, ends):
    """Edges of the cells along a side into which windows divide each other: (n + 1,),
    and the first and last edge of each window: (m,) twice.
    """
    edges = np.unique(np.concatenate([starts, ends]))
    return edges, np.searchsorted(edges, starts), np.searchsorted(edges, ends)


def sums_of_cells(sums, down, across):
    """Sums of windows from those of cells: (r, c, k), `cells_of` twice -> (m, k)."""
    rows, row = np.unique(np.column_stack(down[1:]), axis=0, return_inverse=True)
    columns, column = np.unique(
        np.column_stack(across[1:]), axis=0, return_inverse=True
    )
    bands = np.empty((len(rows), *sums.shape[1:]))
    for i, (top, bottom) in enumerate(rows):
        sums[top:bottom].sum(axis=0, out=bands[i])
    out = np.empty((row.size, sums.shape[2]))
    for i, (left, right) in enumerate(columns):
        these = np.flatnonzero(column.ravel() == i)
        out[these] = bands[row.ravel()[these], left:right].sum(axis=1)
    return out


def window_sums(strip, tops, bottoms, lefts, rights):
    """Sums of windows: four of (m,) -> (m, k) float64.

    ``strip(top, bottom)`` gives the sums of these rows, (w, k): each is asked for once,
    however many windows hold it, and need not be kept.
    """
    down, across = cells_of(tops, bottoms), cells_of(lefts, rights)
    # Slices are added as a whole, which takes a sixth of the time of reduceat.
    rows = np.stack([strip(a, b) for a, b in itertools.pairwise(down[0])])
    sums = [
        rows[:, a:b].sum(axis=1, dtype=np.float64)
        for a, b in itertools.pairwise(across[0])
    ]
    return sums_of_cells(np.stack(sums, axis=1), down, across)


def window_products(strip, tops, lefts, high, wide):
    """Sums over windows of products of two rows: (m,) twice -> (m, j, k) float64.

    ``strip(top, bottom)`` gives both for these rows, (h, w, j) and (h, w, k).
    """
    down, across = cells_of(tops, tops + high), cells_of(lefts, lefts + wide)
    starts, widths = across[0][:-1], np.diff(across[0])
    sums = None
    for i, (top, bottom) in enumerate(itertools.pairwise(down[0])):
        parts = strip(top, bottom)
        shape = [part.shape[2] for part in parts]
        if sums is None:
            sums = np.empty((len(down[0]) - 1, len(starts), *shape))
        for width in np.unique(widths):  # cells of one size are multiplied together
            these = np.flatnonzero(widths == width)
            places = starts[these, None] + np.arange(width)
            one, two = (
                part[:, places].transpose(1, 0, 2, 3).reshape(len(these), -1, n)
                for part, n in zip(parts, shape, strict=True)
            )
            sums[i, these] = one.transpose(0, 2, 1) @ two
    sums = sums.reshape(*sums.shape[:2], -1)
    return sums_of_cells(sums, down, across).reshape(-1, *shape)
