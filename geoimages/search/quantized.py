"""Float rows quantized to bytes, which a scan reads in a quarter of the time."""

import math

import numpy as np

from . import integers

_LEVELS = 127
_BLOCK_BYTES = 1 << 20  # stays in the cache of a core


def _quantize(rows):
    """Quantize by a scale for each row: (n, d) -> int8 (n, d), (n,), residual (n, d)."""
    most, limits = np.abs(rows).max(axis=1, initial=0), np.finfo(np.float32)
    scale = np.minimum(most / _LEVELS, limits.max)
    scale = np.where(scale > limits.tiny, scale, 1).astype(np.float32)
    codes = np.rint(rows / scale[:, None]).clip(-_LEVELS, _LEVELS).astype(np.int8)
    return codes, scale, rows - scale[:, None].astype(np.float64) * codes


class QuantizedRows:
    """Float rows as bytes, with a scale and the length of the residual of each.

    Parameters
    ----------
    rows : ndarray of shape (n, d), float32 or float64

    Attributes
    ----------
    codes : ndarray of shape (n, d), int8
        The rows divided by their scales, rounded.
    scale : ndarray of shape (n,), float32
        The largest absolute value of each row, over 127.
    residual : ndarray of shape (n,), float32
        The length of x − scale · codes, or a little more. By the Cauchy–Schwarz
        inequality no product with a query of length 1 is further off.
    """

    def __init__(self, rows):
        n, d = rows.shape
        self.codes = np.empty((n, d), np.int8)
        self.scale, self.residual = np.empty(n, np.float32), np.empty(n, np.float32)
        step = max(1, _BLOCK_BYTES // (8 * max(1, d)))
        for start in range(0, n, step):
            block = slice(start, start + step)
            self.codes[block], self.scale[block], rest = _quantize(rows[block])
            with np.errstate(over="ignore"):
                length = np.sqrt(np.einsum("ij,ij->i", rest, rest, dtype=np.float64))
            # A float32 rounds by 6e-8 of itself, so that 1 + 1e-6 keeps it a bound.
            length = np.minimum(1.000001 * length, np.finfo(np.float32).max)
            self.residual[block] = length

    @property
    def query_residual(self):
        """The length of the residual of a query of length 1, at most."""
        # Each pass leaves half a scale, 1/254 of the largest value, so that two leave
        # 1/254² = 1.55e-5 of it in each of d columns; the rest is for rounding.
        return 2e-5 * math.sqrt(self.codes.shape[1])

    def products_with(self, queries):
        """Prepare for the products of rows with a few queries.

        Parameters
        ----------
        queries : ndarray of shape (m, d), float64

        Returns
        -------
        products : callable
            `Block` of rows -> their products, (m, n), float32.
        """
        # The residual is quantized again: one more product with bytes takes the error
        # of a query from the size of that of a row to next to nothing.
        first, scale, rest = _quantize(queries)
        second, small, _ = _quantize(rest)
        multiply = integers.products_with(np.concatenate([first, second]))
        scales = np.hstack([np.diag(scale), np.diag(small)])

        def products(block):
            whole = [multiply(self.codes[piece]) for piece in block.slices]
            whole = whole[0] if len(whole) == 1 else np.concatenate(whole)
            out = scales @ whole.astype(np.float32).T
            out *= block.take(self.scale)
            return out

        return products
