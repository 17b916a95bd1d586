"""Distributions of values: quantiles, histograms, covariances."""

from functools import lru_cache

import numpy as np

SAMPLE = 4096  # pixels that a distribution is taken from, about, where there are more
_LEAST = 1024  # on rock


@lru_cache(32)
def _grid(height, width):
    step = round((height * width / SAMPLE) ** 0.5)
    if step <= 1:
        return None
    rows, columns = (
        np.unique([(half := np.arange(0, (side + 1) // 2, step)), side - 1 - half])
        for side in (height, width)
    )
    return (rows[:, None] * width + columns).ravel()


def pixel_sample(height, width, mask=None):
    """Positions of about 4,096 evenly spaced pixels: -> (p,) or (n, p), and which of
    them count, (n, p) or None. None twice where pictures hold no more.

    Their distribution is that of all pixels up to noise, in a quarter of the time at 128
    px. The grid is symmetric about the center, so that a rotated picture keeps its
    sample. Rock that has few pixels on the grid gives its own.
    """
    grid = _grid(height, width)
    if grid is None:
        return None, None
    if mask is None:
        return grid, None
    flat = mask.reshape(len(mask), -1)
    positions, inside = np.tile(grid, (len(flat), 1)), flat[:, grid]
    for i in np.flatnonzero(inside.sum(axis=1) < _LEAST):
        rock = np.flatnonzero(flat[i])
        if len(rock) > len(grid):
            rock = rock[np.linspace(0, len(rock) - 1, len(grid)).astype(int)]
        positions[i, : len(rock)] = rock
        inside[i] = np.arange(len(grid)) < len(rock)
    return positions, inside


def take_pixels(plane, positions):
    """Values at positions of `pixel_sample`, all for None: (n, h, w) -> (n, p)."""
    flat = plane.reshape(len(plane), -1)
    if positions is None:
        return flat
    if positions.ndim == 1:
        return np.take(flat, positions, axis=1)
    return np.take_along_axis(flat, positions, axis=1)


def plane_quantiles(planes, levels, mask=None):
    """Quantiles of a sample of pixels: k times (n, h, w) -> k times (n, len(levels))."""
    positions, inside = pixel_sample(*planes[0].shape[1:], mask)
    if positions is None and mask is not None:
        inside = mask.reshape(len(mask), -1)
    return [quantiles(take_pixels(x, positions), levels, inside) for x in planes]


def quantiles(values, levels, mask=None):
    """Quantiles of each row, linear between order statistics: (n, p) -> (n,
    len(levels)).

    A full sort: NumPy's vectorised sort of 784 float32 takes 1 us, its partition 16 us.
    With a mask the other values sort to the end as infinities; a row without any is 0.
    """
    if mask is None:
        ordered = np.sort(values, axis=1)
        place = levels * (values.shape[1] - 1)
        low = place.astype(np.intp)
        high = np.minimum(low + 1, values.shape[1] - 1)
        part = (place - low).astype(np.float32)
        return ordered[:, low] * (1 - part) + ordered[:, high] * part
    count = mask.sum(axis=1)[:, None]
    beyond = np.where(count > 0, np.float32(np.inf), np.float32(0))
    ordered = np.sort(np.where(mask, values, beyond), axis=1)
    place = levels * np.maximum(count - 1, 0)
    low = place.astype(np.intp)
    high = np.minimum(low + 1, np.maximum(count - 1, 0))
    part = (place - low).astype(np.float32)
    low, high = (np.take_along_axis(ordered, place, 1) for place in (low, high))
    return low * (1 - part) + high * part


@lru_cache(32)
def _triangles(bins, fine, circular):
    """Weights that share ``fine`` narrow counts between the nearest of ``bins``
    centers: (fine, bins).
    """
    place = (
        np.arange(fine) / fine * bins
        if circular
        else np.arange(fine) / (fine - 1) * (bins - 1)
    )
    distance = np.abs(place[:, None] - np.arange(bins))
    if circular:
        distance = np.minimum(distance, bins - distance)
    return np.maximum(1 - distance, 0)


def soft_histogram(values, low, high, bins, weights=None, circular=False, narrow=4):
    """Histogram whose counts are shared between the two nearest bin centers: (n, p) ->
    (n, bins).

    Centers run from ``low`` to ``high`` (values beyond go to the end bins); a circular
    one has its first center at ``low`` and ``high`` is ``low`` again. Rows sum to one
    (to zero where the weights do). Shared counts move smoothly when the light does,
    hard ones jump. Counting into ``narrow`` times finer bins and sharing those costs a
    quarter of sharing every pixel.
    """
    n = len(values)
    fine = bins * narrow if circular else (bins - 1) * narrow + 1
    steps = fine if circular else fine - 1
    place = (values - np.float32(low)) * np.float32(steps / (high - low))
    place += np.float32(0.5)
    np.clip(place, 0, np.float32(steps + 0.5), out=place)
    index = place.astype(np.int32)
    if circular:
        index[index == fine] = 0
    index += (np.arange(n, dtype=np.int32) * fine)[:, None]
    count = np.bincount(
        index.ravel(), None if weights is None else weights.ravel(), minlength=n * fine
    )
    # Whole counts times quarters are exact, so that a row is the same in any batch.
    share = count.reshape(n, fine) @ _triangles(bins, fine, circular)
    share /= np.maximum(share.sum(axis=1, keepdims=True), 1e-12)
    return share.astype(np.float32)


def covariance_statistics(planes, weight=None):
    """Correlations and log standard deviations of three planes: 3 x (n, p) -> (n, 6),
    and the centered planes.
    """
    if weight is None:
        count = np.float32(planes[0].shape[1])
        centered = [x - x.mean(axis=1, keepdims=True) for x in planes]
    else:
        count = np.maximum(weight.sum(axis=1), 1)
        centered = [
            (x - (np.einsum("ij,ij->i", x, weight) / count)[:, None]) * weight
            for x in planes
        ]
    products = {
        (i, j): np.einsum("ij,ij->i", centered[i], centered[j]) / count
        for i in range(3)
        for j in range(i, 3)
    }
    # units are L* and log levels: the addend is a tenth of what quantization makes
    deviation = [np.sqrt(products[i, i] + np.float32(1e-4)) for i in range(3)]
    correlation = [
        products[i, j] / deviation[i] / deviation[j]
        for i, j in ((0, 1), (0, 2), (1, 2))
    ]
    return np.stack(correlation + [np.log(s) for s in deviation], axis=1), centered
