"""Pictures averaged over blocks, which bounds their cityblock distances from below."""

import math

import numpy as np

from ..pictures.averages import average_to
from . import integers
from .rotated import RotatedRows

_SMALLEST_SIDE = 4  # pixels along a block
_CELLS = (4, 16)  # along each side of a picture
_BLOCK_BYTES = 1 << 25


def block_side(image_shape):
    """Pixels along the blocks that divide a picture evenly, or None."""
    height, width = image_shape[:2]
    common = math.gcd(height, width)
    for side in range(_SMALLEST_SIDE, common + 1):
        if common % side == 0 and max(height, width) <= _CELLS[1] * side:
            return side if min(height, width) >= _CELLS[0] * side else None
    return None


class BlockMeans:
    """Block means of flat pictures.

    The absolute differences within a block add up to no less than the absolute
    difference of its sums (the triangle inequality), so that a few columns tell which
    rows cannot be among the top k.

    Parameters
    ----------
    rows : ndarray or RotatedRows of shape (n, d), uint8
        Flat pictures.
    image_shape : tuple of int
        (height, width, channels), of which `block_side` divides the sides; with four
        channels, three where they are masked.
    known : sequence of ndarray, optional
        The `arrays` of the same rows.

    Attributes
    ----------
    side : int
        Pixels along a block.
    arrays : tuple of ndarray
        Means of the rows that are stored, uint8, and the error of their sums.
    """

    def __init__(self, rows, image_shape, known=None):
        self.side = block_side(image_shape)
        height, width = image_shape[:2]
        channels = rows.shape[1] // (height * width)
        self._shape = height, width, channels
        stored = rows.base if isinstance(rows, RotatedRows) else rows
        self.arrays = known or self._averages(stored)
        self.rows, self._error = self.arrays
        n_means = height * width * channels // self.side**2
        if self.rows.shape != (len(stored), n_means) or self.rows.dtype != np.uint8:
            raise ValueError("block means of other rows")
        if isinstance(rows, RotatedRows):
            shape = height // self.side, width // self.side, channels
            self.rows = RotatedRows(self.rows, shape, rows.source, rows.quarters)
            self._error = self._error[rows.source]

    def _averages(self, rows):
        """Block means, rounded, and how far off their sums are: (n, c), (n,)."""
        height, width, channels = self._shape
        high, wide = height // self.side, width // self.side
        means = np.empty((len(rows), high * wide * channels), np.uint8)
        error = np.empty(len(rows))
        step = max(1, _BLOCK_BYTES // (8 * rows.shape[1]))
        for start in range(0, len(rows), step):
            block = rows[start : start + step]
            exact, _ = average_to(block.reshape(len(block), *self._shape), high, wide)
            exact = 255 * exact.reshape(len(block), -1)
            rounded = np.rint(exact)
            means[start : start + step] = rounded
            error[start : start + step] = np.abs(exact - rounded).sum(axis=1)
        # A mean of values up to 255 passes through 2 · side + 5 roundings of at most
        # eps / 2 each (Higham 2002, 4.2); 16 instead of 2.5 is for the sums to come.
        unit = 255 * float(np.finfo(np.float32).eps) * (self.side + 16)
        return means, self.side**2 * error + unit * rows.shape[1]

    def bounds(self, queries):
        """Prepare for lower bounds of cityblock distances.

        Parameters
        ----------
        queries : ndarray of shape (m, d), uint8

        Returns
        -------
        bounds : callable
            Slice of the rows -> the bounds, (n, m), in units of 1 / 255.
        """
        means, error = self._averages(queries)
        if isinstance(self.rows, RotatedRows):
            differences = self.rows.comparer(integers.absolute_differences, means)
        else:

            def differences(piece):
                return integers.absolute_differences(self.rows[piece], means)

        def bounds(piece):
            sums = self.side**2 * differences(piece)
            return sums - self._error[piece, None] - error

        return bounds
