"""Rows that are lossless rotations of others, kept once."""

import numpy as np

from . import integers
from .stored import check_stored

_BLOCK_BYTES = 1 << 26
_WORTH = 0.7  # share of the rows that may be left for it to pay


def is_mapped(rows):
    """Whether an array, or what it is a view of, lies in a mapped file."""
    while rows is not None and not isinstance(rows, np.memmap):
        rows = getattr(rows, "base", None)
    return rows is not None


def _rotate_rows(rows, image_shape, quarters):
    """Rotate flat square pictures counter-clockwise: (n, d) -> (n, d)."""
    if quarters == 0:
        return rows
    pictures = rows.reshape(len(rows), *image_shape)
    rotated = np.rot90(pictures, quarters, axes=(1, 2))
    return np.ascontiguousarray(rotated).reshape(rows.shape)


class RotatedRows:
    """Flat square pictures, of which rotations of each other are kept once.

    It is read like an array of shape (n, d): rows are rotated when they are asked for.

    Parameters
    ----------
    base : ndarray of shape (m, d), uint8
        The pictures kept.
    image_shape : tuple of int
        (side, side, channels).
    source : ndarray of shape (n,), int
        Which of them each row shows.
    quarters : ndarray of shape (n,), int
        By how many quarters it is rotated, counter-clockwise.
    """

    def __init__(self, base, image_shape, source, quarters):
        self.base = base
        self.image_shape = image_shape
        self.source = source
        self.quarters = quarters

    @classmethod
    def from_arrays(cls, base, image_shape, source, quarters):
        """Make them of stored arrays, or raise a ValueError if they contradict."""
        side = image_shape[0] if image_shape else 0
        check_stored(
            base.dtype == np.uint8
            and side > 0
            and side == image_shape[1]
            and base.shape[1] % side**2 == 0
            and source.shape == quarters.shape == (len(source),)
            and np.isin(quarters, range(4)).all()
            and ((source >= 0) & (source < len(base))).all(),
            "rotations of no picture",
        )
        channels = base.shape[1] // side**2
        return cls(base, (side, side, channels), source, quarters)

    dtype = np.dtype(np.uint8)

    @property
    def shape(self):
        return len(self.source), self.base.shape[1]

    @property
    def size(self):
        return len(self.source) * self.base.shape[1]

    @property
    def itemsize(self):
        return 1

    @property
    def nbytes(self):
        return self.base.nbytes + self.source.nbytes + self.quarters.nbytes

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        source, quarters = self.source[index], self.quarters[index]
        if np.ndim(source) == 0:
            return _rotate_rows(self.base[[source]], self.image_shape, quarters)[0]
        out = self.base[source]
        for k in (1, 2, 3):
            rotated = quarters == k
            out[rotated] = _rotate_rows(out[rotated], self.image_shape, k)
        return out

    def comparer(self, compare, queries):
        """Compare with queries, by rotating the queries instead of the rows.

        Parameters
        ----------
        compare : callable
            (rows, queries) -> (n, m), which does not mind what place a column has.
        queries : ndarray of shape (m, d), uint8

        Returns
        -------
        compared : callable
            Slice of the rows -> (n, m).
        """
        place, asked = {}, []
        for k in range(4):
            for query in _rotate_rows(queries, self.image_shape, -k):
                place.setdefault(query.tobytes(), len(place))
                asked.append(place[query.tobytes()])
        distinct = np.frombuffer(b"".join(place), np.uint8).reshape(len(place), -1)
        step = max(1, _BLOCK_BYTES // self.base.shape[1])
        compared = np.concatenate(
            [
                compare(self.base[start : start + step], distinct)
                for start in range(0, len(self.base), step)
            ]
        )
        asked = np.array(asked).reshape(4, len(queries))
        return lambda piece: compared[
            self.source[piece, None], asked[self.quarters[piece]]
        ]


def deduplicate_rotations(rows, image_shape):
    """Keep of pictures that are lossless rotations of each other only the first.

    Parameters
    ----------
    rows : ndarray of shape (n, d), uint8
        Flat pictures.
    image_shape : tuple of int
        (height, width, channels).

    Returns
    -------
    rows : RotatedRows or ndarray
        The rows as they are where they are not square, or few are rotations of others.
    """
    square = image_shape[0] == image_shape[1] > 1
    if not square or rows.dtype != np.uint8 or len(rows) < 2:
        return rows
    # Masked pictures were put on white, which left three channels.
    image_shape = (*image_shape[:2], rows.shape[1] // image_shape[0] ** 2)
    groups = _signatures(rows, image_shape)
    order = np.argsort(groups, kind="stable")
    source = np.full(len(rows), -1)
    quarters = np.zeros(len(rows), np.int8)
    kept, open_ = [], order
    while len(open_):
        # The first open row of each group is kept, and the others held against it.
        first = np.flatnonzero(np.diff(groups[open_], prepend=-1))
        of = np.repeat(open_[first], np.diff(np.append(first, len(open_))))
        kept.append(open_[first])
        source[open_[first]] = open_[first]
        rest = open_ != of
        members, originals = open_[rest], of[rest]
        equal = _find_quarters(rows, members, originals, image_shape)
        found = equal >= 0
        source[members[found]] = originals[found]
        quarters[members[found]] = equal[found]
        open_ = members[~found]
        if sum(map(len, kept)) > _WORTH * len(rows):
            return rows
    kept = np.sort(np.concatenate(kept))
    source = np.searchsorted(kept, source)
    steps = np.diff(kept)
    if len(steps) and (steps == steps[0]).all() and is_mapped(rows):
        kept = slice(kept[0], kept[-1] + 1, steps[0])  # a view, which stays in the file
    return RotatedRows(rows[kept], image_shape, source, quarters)


def _signatures(rows, image_shape):
    """Number pictures so that rotations of one have the same: (n,) int."""
    rng = np.random.default_rng(0)
    mask = rng.integers(0, 256, (1, rows.shape[1]), dtype=np.uint8)
    masks = np.concatenate([_rotate_rows(mask, image_shape, k) for k in range(4)])
    products = integers.products_with(masks)
    signature = products(rows).astype(np.int64)
    # A product of the rotated picture is one of the picture with a mask rotated back:
    # rotations permute the four products of a picture.
    signature.sort(axis=1)
    return np.unique(signature, axis=0, return_inverse=True)[1].ravel()


def _find_quarters(rows, members, originals, image_shape):
    """The quarters that make each original its member, −1 where none do: (n,)."""
    out = np.full(len(members), -1, np.int8)
    step = max(1, _BLOCK_BYTES // (4 * rows.shape[1]))
    for start in range(0, len(members), step):
        these = slice(start, start + step)
        wanted, base = rows[members[these]], rows[originals[these]]
        for k in (3, 2, 1, 0):  # the smallest rotation wins
            same = (_rotate_rows(base, image_shape, k) == wanted).all(axis=1)
            out[these][same] = k
    return out
