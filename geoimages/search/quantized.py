"""Float rows rounded to bytes, which a scan reads in a quarter of the time."""

import math

import numpy as np

from . import integers

_LEVELS = 127
_BLOCK_BYTES = 1 << 20  # stays in the cache of a core


def _to_bytes(rows):
    """Round rows to a scale each: (n, d) -> int8 (n, d), float32 (n,), rest (n, d)."""
    most, limits = np.abs(rows).max(axis=1, initial=0), np.finfo(np.float32)
    scale = np.minimum(most / _LEVELS, limits.max)
    scale = np.where(scale > limits.tiny, scale, 1).astype(np.float32)
    codes = np.rint(rows / scale[:, None]).clip(-_LEVELS, _LEVELS).astype(np.int8)
    return codes, scale, rows - scale[:, None].astype(np.float64) * codes


class QuantizedRows:
    """Float rows as bytes, a scale for each row, and what rounding took.

    Parameters
    ----------
    rows : ndarray of shape (n, d), float32 or float64

    Attributes
    ----------
    codes : ndarray of shape (n, d), int8
        The rows divided by their scales, rounded.
    scale : ndarray of shape (n,), float32
        The largest absolute value of each row, over 127.
    lost : ndarray of shape (n,), float32
        The length of what is left of each row, or a little more: by the Cauchy–Schwarz
        inequality no product with a query of length 1 is further off.
    """

    def __init__(self, rows):
        n, d = rows.shape
        self.codes = np.empty((n, d), np.int8)
        self.scale, self.lost = np.empty(n, np.float32), np.empty(n, np.float32)
        step = max(1, _BLOCK_BYTES // (8 * max(1, d)))
        for start in range(0, n, step):
            part = slice(start, start + step)
            self.codes[part], self.scale[part], rest = _to_bytes(rows[part])
            with np.errstate(over="ignore"):
                lost = np.sqrt(np.einsum("ij,ij->i", rest, rest, dtype=np.float64))
            self.lost[part] = np.minimum(1.000001 * lost, np.finfo(np.float32).max)

    @property
    def query_lost(self):
        """What rounding takes of a query of length 1, at most."""
        return 2e-5 * math.sqrt(self.codes.shape[1])

    def products_with(self, queries):
        """Make ready for the products of rows with a few queries.

        Parameters
        ----------
        queries : ndarray of shape (m, d), float64

        Returns
        -------
        products : callable
            `Block` of rows -> their products, (m, n), float32.
        """
        # What the first bytes leave is rounded again, so that next to nothing is lost.
        first, scale, rest = _to_bytes(queries)
        second, small, _ = _to_bytes(rest)
        compare = integers.products_with(np.concatenate([first, second]))
        scales = np.hstack([np.diag(scale), np.diag(small)])

        def products(block):
            whole = [compare(self.codes[part]) for part in block.slices]
            whole = whole[0] if len(whole) == 1 else np.concatenate(whole)
            out = scales @ whole.astype(np.float32).T
            out *= block.take(self.scale)
            return out

        return products
