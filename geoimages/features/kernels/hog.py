"""Histograms of oriented gradients.

References
----------
.. [1] Dalal & Triggs, "Histograms of oriented gradients for human detection", CVPR
   2005.
"""

import numpy as np

from .planes import erode, gradients


def hog(plane, cells=4, bins=8, mask=None):
    """Histograms of oriented gradients on a fixed grid [1]_: (n, h, w) -> (n, cells *
    cells * bins).

    Unsigned directions shared between the two nearest bins, magnitudes summed over
    ``cells`` by ``cells`` equal cells whatever the size, the whole picture one block
    under the L1-sqrt norm of the paper.
    """
    n, h, w = plane.shape
    inner = erode(mask)
    gx, gy = gradients(plane)
    magnitude = np.sqrt(gx * gx + gy * gy)
    if inner is not None:
        magnitude = magnitude * inner
    place = np.arctan2(gy, gx) * np.float32(bins / np.pi)
    place += bins * (place < 0)
    index = place.astype(np.int32)
    upper = (place - index) * magnitude
    lower = magnitude - upper
    index[index >= bins] -= bins
    after = index + 1
    after[after == bins] = 0
    row, column = np.arange(1, h - 1) * cells // h, np.arange(1, w - 1) * cells // w
    start = (np.arange(n, dtype=np.int32) * (cells * cells))[:, None, None]
    start = (start + (row[:, None] * cells + column).astype(np.int32)) * bins
    size = n * cells * cells * bins
    count = np.bincount((start + index).ravel(), lower.ravel(), minlength=size)
    count += np.bincount((start + after).ravel(), upper.ravel(), minlength=size)
    count = count.reshape(n, -1).astype(np.float32)
    # one L* unit per pixel: below it a flat picture's noise would be blown up
    area = (
        np.float32((h - 2) * (w - 2))
        if inner is None
        else inner.reshape(n, -1).sum(axis=1)[:, None]
    )
    return np.sqrt(count / (count.sum(axis=1, keepdims=True) + area + np.float32(1e-6)))
