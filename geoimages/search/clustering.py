"""K-means of stored rows: on block means of pictures, with the exact inertia."""

import warnings

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from ..files import progress
from ..pictures.averages import average_to
from . import integers
from .metrics import in_range

POOLED_SIDE = 2  # cells along each side of a picture
_POOLED_STARTS = 4  # on twelve columns a start costs next to nothing
_ENOUGH = 20_000  # of them show as well which start ends best
_EXACT_SUMS = 65_536  # times 255 stays below 2**24, whole in single precision
_SUMMED_BYTES = 1 << 23
_BLOCK_BYTES = 1 << 26
PER_CLUSTER = 25  # rows of each cluster that `partition` learns from
_ROUNDS = 10  # its steps of Lloyd's algorithm: more help little
_LARGE = 40  # exponent: sums of squares of smaller values fit single precision


def float_rows(rows):
    """Rows in 0–1 units for k-means: uint8 -> float32, floats as they are."""
    return rows / np.float32(255) if rows.dtype == np.uint8 else rows


def exponent_of(values):
    """The power of two that brings values of extreme size near 1; 0 for others."""
    if values.dtype == np.uint8 or not values.size:
        return 0
    exponent = int(np.frexp(max(values.max(), -values.min()))[1])
    return exponent if abs(exponent) > _LARGE else 0


class Centers:
    """Centers of clusters, and which are nearest to a row.

    Parameters
    ----------
    centers : ndarray of shape (c, d), float32 or float64
        Among the `directions` of the rows.
    metric : str or None
        The distance of these directions.
    """

    def __init__(self, centers, metric):
        self._metric, self._exponent = metric, exponent_of(centers)
        self._centers = np.ldexp(centers, -self._exponent)
        self._half_squares = np.einsum("ij,ij->i", self._centers, self._centers) / 2

    def distances(self, rows, one_by_one=False):
        """What orders the centers as their distances to each row do: (n, d) -> (n, c).

        With `one_by_one` it does not depend on the other rows: the rounding of a product
        of matrices depends on their sizes.
        """
        rows, most = directions(rows, self._metric), 2.0**_LARGE
        if self._exponent:
            with np.errstate(over="ignore"):
                rows = np.ldexp(rows, -self._exponent)
        if rows.size and max(rows.max(), -rows.min()) > most:
            rows = rows.clip(-most, most)  # beyond, all centers are as far
        rows = rows.astype(self._centers.dtype, copy=False)
        if one_by_one:
            products = np.matmul(rows[:, None], self._centers.T)[:, 0]
        else:
            products = rows @ self._centers.T
        # |x − c|² / 2 less |x|² / 2, which is the same for all centers.
        return self._half_squares - products


def directions(rows, metric):
    """Rows whose euclidean distances order neighbors as a distance does.

    Parameters
    ----------
    rows : ndarray of shape (n, d)
        uint8 means 0–255, everything else is taken as it is.
    metric : str or None
        For correlation rows are centered and scaled to length 1, for cosine scaled;
        for the others they stay as they are.

    Returns
    -------
    rows : ndarray of shape (n, d), float32 or float64
        A row without direction is 0.
    """
    rows = float_rows(rows)
    if metric not in ("correlation", "cosine"):
        return rows
    rows = in_range(rows, 2.0**_LARGE)
    if metric == "correlation":
        rows = rows - rows.mean(axis=1, keepdims=True)
    length = np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
    return np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)


def partition(rows, metric, n_clusters=None, random_state=None):
    """Partition many rows into many clusters, quickly.

    K-means is learned from 25 rows for each cluster, drawn by their content, so that
    the result does not depend on the order of the rows; then each row joins its
    nearest center.

    Parameters
    ----------
    rows : ndarray of shape (n, d), uint8, float32 or float64
        uint8 means 0–255, everything else is taken as it is.
    metric : str
        The distance that will be searched by; see `directions`.
    n_clusters : int, optional
        By default 2 √n: then finding the nearest clusters takes about as long as
        scanning them.
    random_state : int, RandomState or None

    Returns
    -------
    labels : ndarray of shape (n,), int
    centers : ndarray of shape (n_clusters, d), float32
        Among the directions of the rows; fewer if rows are identical.
    """
    rng = check_random_state(random_state)
    if n_clusters is None:
        n_clusters = round(2 * len(rows) ** 0.5)
    n_clusters = min(max(n_clusters, 1), len(rows))
    drawn = draw(rows, PER_CLUSTER * n_clusters, rng)
    centers = fit_partition(directions(rows[drawn], metric), n_clusters, rng)
    labels = nearest_centers(rows, metric, centers)
    used, labels = np.unique(labels, return_inverse=True)
    return labels, centers[used]


def fit_partition(some, n_clusters, rng):
    """Centers for `partition`, learned from the directions of some rows: (c, d)."""
    kmeans = KMeans(
        n_clusters, init="random", n_init=1, max_iter=_ROUNDS, random_state=rng
    )
    exponent = exponent_of(some)
    _fit(kmeans, np.ldexp(some, -exponent).astype(np.float32, copy=False))
    centers = kmeans.cluster_centers_
    return np.ldexp(centers.astype(np.float64), exponent) if exponent else centers


def rows_at_once(centers):
    """How many rows `nearest_centers` compares with centers (c, d) at a time.

    The rounding of a product of matrices depends on their sizes, so that only what
    begins at a multiple of it is compared as it is among all rows.
    """
    return max(1, _BLOCK_BYTES // (8 * sum(centers.shape)))


def nearest_centers(rows, metric, centers):
    """The center nearest to each row among its directions: (n, d) -> (n,) int."""
    labels, step = np.empty(len(rows), np.int64), rows_at_once(centers)
    centers = Centers(centers, metric)
    for start in range(0, len(rows), step):
        block = slice(start, start + step)
        labels[block] = centers.distances(rows[block]).argmin(axis=1)
    return labels


def inertia_of(rows, labels, centers):
    """Sum of squared distances of rows to the centers of their clusters."""
    total, step = 0.0, max(1, _BLOCK_BYTES // (8 * max(1, rows.shape[1])))
    exponent = max(exponent_of(rows), exponent_of(centers))
    for start in range(0, len(rows), step):
        block = slice(start, start + step)
        away = np.ldexp(float_rows(rows[block]).astype(np.float64), -exponent)
        away -= np.ldexp(centers[labels[block]], -exponent)
        total += float(np.einsum("ij,ij->", away, away))
    return _scaled(total, 2 * exponent)


def _scaled(value, exponent):
    """A number times a power of two, infinite where no float holds it."""
    with np.errstate(over="ignore"):
        return float(np.ldexp(value, exponent))


def _fit(kmeans, rows):
    """Fit k-means, also to fewer distinct rows than clusters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return kmeans.fit(rows)


def draw(rows, most, rng):
    """Positions of some rows, chosen and ordered by a random hash of their bytes."""
    return np.argsort(hashes_of(rows, rng), kind="stable")[:most]


def hashes_of(rows, rng):
    """A random hash of the bytes of each row: (n, d) -> (n,) uint64."""
    words = -(-rows.dtype.itemsize * rows.shape[1] // 8)
    factors = rng.randint(1 << 32, size=(2, words), dtype=np.uint64)
    factors = (factors[0] << np.uint64(32)) | factors[1] | np.uint64(1)
    # A multiply-add hash modulo 2**64 with odd factors, so that no bit of a row is lost.
    hashed = np.empty(len(rows), np.uint64)
    step = max(1, _BLOCK_BYTES // (32 * words))
    for start in range(0, len(rows), step):
        block = np.ascontiguousarray(rows[start : start + step])
        whole = np.zeros((len(block), 8 * words), np.uint8)
        whole[:, : rows.dtype.itemsize * rows.shape[1]] = block.view(np.uint8)
        hashed[start : start + step] = (whole.view(np.uint64) * factors).sum(axis=1)
    return hashed


def pool(rows, image_shape, side=POOLED_SIDE):
    """Average each picture in cells: (n, h·w·c) -> (n, side·side·c) float32.

    Parameters
    ----------
    rows : ndarray of shape (n, h·w·c)
        Flat pictures; uint8 means 0–255.
    image_shape : tuple of int
        (h, w, c).
    side : int, default=2
        Cells along each side.

    Returns
    -------
    pooled : ndarray of shape (n, side·side·c), float32
        In 0–1 units.
    """
    out = np.empty((len(rows), side * side * image_shape[2]), np.float32)
    step = max(1, _BLOCK_BYTES // (4 * max(1, rows.shape[1])))
    for start in range(0, len(rows), step):
        pictures = rows[start : start + step].reshape(-1, *image_shape)
        cells, _ = average_to(pictures, side, side)
        out[start : start + step] = cells.reshape(len(cells), -1)
    return out


class Clustering:
    """Rows made ready for k-means with any number of clusters.

    Parameters
    ----------
    rows : ndarray of shape (n, d), uint8, float32 or float64
        uint8 means 0–255, everything else is taken as it is.
    image_shape : tuple of int, optional
        (h, w, c) where rows are pictures that may be pooled: then their block means
        are clustered, which differ between pictures as overall color does. The inertia is
        that of the whole rows.
    n_init : int or "auto", default="auto"
        Starts of k-means; "auto" is 4 on block means, else scikit-learn's.
    """

    def __init__(self, rows, image_shape=None, n_init="auto"):
        self._exponent = exponent_of(rows)
        self.rows = np.ldexp(rows, -self._exponent) if self._exponent else rows
        self.n_init = n_init
        self.pooled = None
        if image_shape is not None and min(image_shape[:2]) > POOLED_SIDE:
            pooled = pool(self.rows, image_shape)
            self._order = _content_order(pooled)
            self.pooled = pooled[self._order]
            self._some = self.pooled[:: max(1, len(pooled) // _ENOUGH)]
            self.n_distinct = _count_distinct(self.pooled)

    def fit(self, n_clusters, random_state=None):
        """Cluster the rows.

        The result does not depend on the order of the rows.

        Parameters
        ----------
        n_clusters : int
        random_state : int, RandomState or None

        Returns
        -------
        labels : ndarray of shape (n,), int
        centers : ndarray of shape (n_clusters, d)
            Means of the rows, in 0–1 units.
        inertia : float
            Sum of squared distances of the rows to their centers.
        """
        if self._may_pool(n_clusters):
            labels = self._cluster_pooled(n_clusters, random_state)
            ((centers, inertia),) = self._centers([labels], [n_clusters])
        else:
            labels, centers, inertia = self._fit_whole(n_clusters, random_state)
        centers = np.ldexp(centers, self._exponent)
        return labels, centers, _scaled(inertia, 2 * self._exponent)

    def inertias(self, clusters, random_state=None):
        """Return the inertias of `fit` for several numbers of clusters.

        Parameters
        ----------
        clusters : list of int
        random_state : int, RandomState or None

        Returns
        -------
        inertias : list of float
        """
        out, labels_of = dict.fromkeys(clusters), {}
        for k in progress(out, desc="k-means", unit="model"):
            if self._may_pool(k):
                labels_of[k] = self._cluster_pooled(k, random_state)
            else:
                out[k] = self._fit_whole(k, random_state)[2]
        found = (
            self._centers(list(labels_of.values()), list(labels_of))
            if labels_of
            else []
        )
        out |= {k: inertia for k, (_, inertia) in zip(labels_of, found, strict=True)}
        return [_scaled(out[k], 2 * self._exponent) for k in clusters]

    def _may_pool(self, n_clusters):
        return self.pooled is not None and n_clusters <= self.n_distinct

    def _fit_whole(self, n_clusters, random_state):
        """Cluster the rows by all their columns."""
        order = _content_order(self.rows)
        kmeans = KMeans(n_clusters, n_init=self.n_init, random_state=random_state)
        _fit(kmeans, float_rows(self.rows[order]))
        labels = np.empty_like(kmeans.labels_)
        labels[order] = kmeans.labels_
        return labels, kmeans.cluster_centers_, float(kmeans.inertia_)

    def _cluster_pooled(self, n_clusters, random_state):
        """Cluster the block means: labels, (n,) int."""
        n_init = _POOLED_STARTS if self.n_init == "auto" else self.n_init
        kmeans = KMeans(n_clusters, n_init=n_init, random_state=random_state)
        # The starts are made on some of the rows, and the best one ends on all.
        fewer = len(self._some) < len(self.pooled)
        if fewer and _count_distinct(self._some) >= n_clusters:
            centers = _fit(kmeans, self._some).cluster_centers_
            kmeans = KMeans(n_clusters, init=centers, n_init=1)
        _fit(kmeans, self.pooled)
        labels = np.empty_like(kmeans.labels_)
        labels[self._order] = kmeans.labels_
        return labels

    def _centers(self, labels_of, sizes):
        """Means of clusters and the inertia about them, in one pass over the rows.

        Parameters
        ----------
        labels_of : list of ndarray of shape (n,), int
            Labels.
        sizes : list of int
            How many clusters each of them names.

        Returns
        -------
        found : list of (centers, inertia)
        """
        exact = self.rows.dtype == np.uint8
        # Sums of so few whole numbers are exact in single precision.
        dtype, most = (np.float32, _EXACT_SUMS) if exact else (np.float64, 1024)
        step = max(1, min(most, _SUMMED_BYTES // (8 * self.rows.shape[1])))
        ends = np.cumsum(sizes)
        labels = np.stack(labels_of) + (ends - sizes)[:, None]
        sums, total = np.zeros((ends[-1], self.rows.shape[1])), 0
        # Far from 0 the difference of two sums of squares would tell nothing.
        origin = 0 if exact else self.rows[0].astype(dtype)
        for start in range(0, len(self.rows), step):
            rows = self.rows[start : start + step]
            member = np.zeros((ends[-1], len(rows)), dtype)
            member[labels[:, start : start + step], np.arange(len(rows))] = 1
            if exact:
                sums += member @ rows.astype(dtype)
                total += integers.row_squares(rows).sum()
            else:
                away = rows - origin
                sums += member @ away
                total += np.vdot(away, away)
        scale = 255 if exact else 1
        sums, total = sums / scale, total / scale**2
        count = np.maximum(np.bincount(labels.ravel(), minlength=ends[-1]), 1)
        centers = sums / count[:, None]
        # Σ |x − c|² = Σ |x|² − n |c|² for the mean c of n rows.
        between = np.einsum("ij,ij->i", sums, centers)
        return [
            # Rounding can leave less than nothing where every row is its own center.
            (origin + centers[piece], max(float(total - between[piece].sum()), 0.0))
            for piece in map(slice, ends - sizes, ends)
        ]


def _count_distinct(rows):
    """How many rows, sorted by their bytes, are distinct."""
    return 1 + int((rows[1:] != rows[:-1]).any(axis=1).sum())


def _content_order(rows):
    """Order rows by their bytes, so that k-means is blind to the order given."""
    whole = np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))
    return np.argsort(np.ascontiguousarray(rows).view(whole).ravel(), kind="stable")
