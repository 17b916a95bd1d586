"""What a search by one metric needs to know of the stored rows."""

from functools import cached_property

import numpy as np

from ..files import let_go
from . import integers
from .block_means import BlockMeans, block_side
from .metrics import learn_metric_params
from .quantized import QuantizedRows
from .rotated import is_mapped
from .scans import RowFactors, norms

MEANS = ("block_means", "block_errors")  # names of what `BlockMeans` learns
PRODUCT_METRICS = ("correlation", "cosine", "euclidean", "sqeuclidean")
_BLOCK_BYTES = 1 << 22  # stays in the cache
_WIDE = 256  # columns of float rows that are quicker read as bytes
FEW_QUERIES = 8  # more at a time are work for the processor, however rows are read


class Prepared:
    """What a search by one metric needs to know of the stored rows.

    Parameters
    ----------
    rows : ndarray or RotatedRows of shape (n, d)
    metric : str
        The distance.
    metric_params : dict or None
        Keywords of the distance.
    image_shape : tuple of int or None
        As `ExactSearch` takes it.
    quantize : bool
        Whether wide float rows are kept as bytes, too.
    known : dict of str to ndarray
        Of the `arrays` of the same rows, those that there are.
    """

    def __init__(self, rows, metric, metric_params, image_shape, quantize, known):
        self.metric, self.quantize = metric, quantize
        self.weighted = "w" in (metric_params or {})
        self.has_products = metric in PRODUCT_METRICS and not self.weighted
        self._rows, self._known = rows, known
        self._metric_params, self._image_shape = metric_params, image_shape

    def compute(self):
        """Compute now what a search would compute on first use; return self."""
        if self.has_products:
            self.factors(FEW_QUERIES)
            self.factors(FEW_QUERIES + 1)
        elif self.metric == "cityblock":
            _ = self.block_means
        _ = self.params
        return self

    def arrays(self):
        """What takes a look at all rows and is worth to be stored with them."""
        arrays = {"norms": self.norms} if self.has_products else {}
        if self.metric == "cityblock" and self.block_means:
            arrays |= dict(zip(MEANS, self.block_means.arrays, strict=True))
        return arrays

    @cached_property
    def params(self):
        """Keywords of the distance, completed from the rows."""
        return learn_metric_params(self._rows, self.metric, self._metric_params)

    @cached_property
    def norms(self):
        """The `norms` of the rows: (3, n)."""
        known = self._known.get("norms")
        if known is not None:
            return known
        rows = self._rows
        step = max(1, _BLOCK_BYTES // (8 * max(1, rows.shape[1])))
        out = np.empty((3, len(rows)))
        for start in range(0, len(rows), step):
            block = slice(start, start + step)
            out[:, block] = norms(rows[block], self.metric)
            let_go(rows)
        return out

    @cached_property
    def _quantized(self):
        """Bytes to scan in place of wide float rows."""
        wide = self._rows.dtype != np.uint8 and self._rows.shape[1] >= _WIDE
        if not (self.quantize and wide and integers.is_fast()):
            return None
        # Rows that lie in a file are left there.
        return None if is_mapped(self._rows) else QuantizedRows(self._rows)

    @cached_property
    def _factors(self):
        return self._factors_of(None)

    @cached_property
    def _quantized_factors(self):
        return self._quantized and self._factors_of(self._quantized)

    def _factors_of(self, quantized):
        n_columns, dtype = self._rows.shape[1], np.dtype(self._rows.dtype)
        return RowFactors(self.norms, self.metric, n_columns, dtype, quantized)

    def factors(self, n_queries):
        """What scans the rows for so many queries: `RowFactors`, `QuantizedRows`."""
        if n_queries <= FEW_QUERIES and self._quantized is not None:
            return self._quantized_factors, self._quantized
        return self._factors, None

    @cached_property
    def block_means(self):
        """Block means of pictures, or None."""
        pictures = self._rows.dtype == np.uint8 and self._image_shape
        if not pictures or block_side(self._image_shape) is None:
            return None
        known = [self._known[name] for name in MEANS if name in self._known]
        return BlockMeans(self._rows, self._image_shape, known)
