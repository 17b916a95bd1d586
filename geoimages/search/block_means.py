"""Pictures reduced to block means, which bound their cityblock distances from below."""

import math

import numpy as np

from ..pictures.averages import average_to
from . import integers
from .rotated import RotatedRows

_SMALLEST_SIDE = 4  # pixels along a block
_CELLS = (4, 16)  # along each side of a picture
_BLOCK_BYTES = 1 << 25


def _block_side(image_shape):
    """Pixels along the blocks that part a picture evenly, or None."""
    height, width = image_shape[:2]
    common = math.gcd(height, width)
    for side in range(_SMALLEST_SIDE, common + 1):
        if common % side == 0 and max(height, width) <= _CELLS[1] * side:
            return side if min(height, width) >= _CELLS[0] * side else None
    return None


class BlockMeans:
    """Block means of flat pictures.

    The sum of the absolute differences within a block is no less than the absolute
    difference of its sums (the triangle inequality), so that a few columns tell which
    rows cannot be near.

    Parameters
    ----------
    rows : ndarray or RotatedRows of shape (n, d), uint8
        Flat pictures.
    image_shape : tuple of int or None
        (height, width, channels); with four channels, three where they are masked.

    Attributes
    ----------
    side : int or None
        Pixels along a block; None where blocks do not part the pictures.
    """

    def __init__(self, rows, image_shape):
        self.side = image_shape and _block_side(image_shape)
        if self.side is None:
            return
        height, width = image_shape[:2]
        channels = rows.shape[1] // (height * width)
        self._shape = height, width, channels
        base = rows.base if isinstance(rows, RotatedRows) else rows
        self.rows, self._slack = self._averaged(base)
        if isinstance(rows, RotatedRows):
            shape = height // self.side, width // self.side, channels
            self.rows = RotatedRows(self.rows, shape, rows.source, rows.quarters)
            self._slack = self._slack[rows.source]

    def _averaged(self, rows):
        """Block means, rounded, and how far off their sums are: (n, c), (n,)."""
        height, width, channels = self._shape
        high, wide = height // self.side, width // self.side
        means = np.empty((len(rows), high * wide * channels), np.uint8)
        slack = np.empty(len(rows))
        step = max(1, _BLOCK_BYTES // (8 * rows.shape[1]))
        for start in range(0, len(rows), step):
            block = rows[start : start + step]
            exact, _ = average_to(block.reshape(len(block), *self._shape), high, wide)
            exact = 255 * exact.reshape(len(block), -1)
            rounded = np.rint(exact)
            means[start : start + step] = rounded
            slack[start : start + step] = np.abs(exact - rounded).sum(axis=1)
        # So far off, at most, are sums in single precision, for each pixel.
        unit = 255 * float(np.finfo(np.float32).eps) * (self.side + 16)
        return means, self.side**2 * slack + unit * rows.shape[1]

    def bounds(self, queries):
        """Make ready for lower bounds of cityblock distances.

        Parameters
        ----------
        queries : ndarray of shape (m, d), uint8

        Returns
        -------
        bounds : callable
            Slice of the rows -> the bounds, (n, m), in units of 1 / 255.
        """
        means, slack = self._averaged(queries)
        if isinstance(self.rows, RotatedRows):
            compare = self.rows.comparer(integers.absolute_differences, means)
        else:

            def compare(part):
                return integers.absolute_differences(self.rows[part], means)

        def bounds(part):
            sums = self.side**2 * compare(part)
            return sums - self._slack[part, None] - slack

        return bounds
