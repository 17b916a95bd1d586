"""Rows that stay in their file and are read when they are asked for."""

from itertools import pairwise

import numpy as np
from numpy.lib.stride_tricks import as_strided

_MOST_READ = 1 << 30  # bytes of pixels: those of larger collections stay in the file
_SHORT_BYTES = 1 << 17  # pieces of the file that are shorter are copied together
_COPY_BYTES = 1 << 20  # stays in the cache of a core


class MappedRows:
    """Flat uint8 pictures that lie in a mapped file.

    They are read like an array of shape (n, d). A slice of rows that follow each other
    in the file is a view of it, anything else a copy. Saved, copied or sent to another
    process, they are all read.

    Parameters
    ----------
    content : ndarray of shape (n_bytes,), uint8
        The file, or whatever the rows lie in.
    offsets : ndarray of shape (n,), int64
        Where each row begins.
    n_columns : int
        Values in a row.
    """

    def __init__(self, content, offsets, n_columns):
        self.content = content
        self.offsets = offsets
        self.n_columns = n_columns
        # Rows that do not follow the one before them in the file.
        self._breaks = np.flatnonzero(np.diff(offsets) != n_columns) + 1

    dtype = np.dtype(np.uint8)
    itemsize = 1
    ndim = 2

    @property
    def shape(self):
        return len(self.offsets), self.n_columns

    @property
    def size(self):
        return len(self.offsets) * self.n_columns

    @property
    def nbytes(self):
        """Bytes in memory."""
        return self.offsets.nbytes + self._breaks.nbytes

    def __len__(self):
        return len(self.offsets)

    def __getitem__(self, index):
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step == 1 and start < stop and not len(self._within(start, stop)):
                first = self.offsets[start]
                piece = self.content[first : first + (stop - start) * self.n_columns]
                return piece.reshape(stop - start, self.n_columns)
        # One row for each byte of the content, of which those asked for are copied.
        shape = len(self.content) - self.n_columns + 1, self.n_columns
        rows = as_strided(self.content, shape, (1, 1), writeable=False)
        return rows[self.offsets[index]]

    def _within(self, start, stop):
        """Breaks between the rows of a slice."""
        first, end = np.searchsorted(self._breaks, [start + 1, stop])
        return self._breaks[first:end]

    def __array__(self, dtype=None, copy=None):
        return np.array(self[:], dtype, copy=copy)

    def at(self, positions):
        """Return the rows at some positions, left where they lie: `MappedRows`."""
        return MappedRows(self.content, self.offsets[positions], self.n_columns)

    def pieces(self, part):
        """Yield the rows of a slice in pieces: views of the file, or small copies."""
        start, stop, _ = part.indices(len(self))
        ends = self._within(start, stop)
        if (stop - start) * self.n_columns < len(ends) * _SHORT_BYTES:
            step = max(1, _COPY_BYTES // self.n_columns)
            ends = np.arange(start + step, stop, step)
        for first, end in pairwise([start, *ends.tolist(), stop]):
            yield self[first:end]

    def __getstate__(self):
        """Read the rows into what is saved, copied or sent."""
        return {
            "content": np.asarray(self).reshape(-1),
            "offsets": np.arange(len(self)) * self.n_columns,
            "n_columns": self.n_columns,
            "_breaks": np.empty(0, np.int64),
        }


def mapped_rows(collection):
    """The rows of a large collection, left in its file: `MappedRows`, or None."""
    n_columns = int(np.prod(collection.image_shape))
    if len(collection) * n_columns <= _MOST_READ:
        return None
    content, offsets = collection.mapped()
    return None if content is None else MappedRows(content, offsets, n_columns)


def rows_at(rows, positions):
    """Rows at some positions: a copy, but of mapped rows, which stay in their file."""
    return rows.at(positions) if isinstance(rows, MappedRows) else rows[positions]


def in_pieces(function, rows, part):
    """Call a function of rows with a slice of them, piece by piece if they are mapped.

    Parameters
    ----------
    function : callable
        (n, d) -> (n, …).
    rows : ndarray or MappedRows of shape (n, d)
    part : slice

    Returns
    -------
    out : ndarray
        What the function returns for the whole slice.
    """
    if isinstance(rows, MappedRows):
        out = [function(piece) for piece in rows.pieces(part)]
        return out[0] if len(out) == 1 else np.concatenate(out)
    return function(rows[part])
