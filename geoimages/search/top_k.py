"""Which rows can be among the nearest, while bounds of their distances come in."""

import numpy as np

_FEWEST = 256  # rows looked at before the first are dropped
_FIRST_VALUES = 1 << 14  # distances, likewise


def select_top_k(distance, k, margin_of):
    """Places that can be among the k nearest of each candidate, looked at only once.

    Parameters
    ----------
    distance : ndarray of shape (m, n)
        As `TopK.offer` takes it.
    k : int
    margin_of : callable
        Likewise.

    Returns
    -------
    who, places : ndarray of shape (n_near,)
        Candidates, ascending, and the places in the block.
    """
    if k < distance.shape[1]:
        bound = np.partition(distance, k - 1, axis=1)[:, k - 1].astype(np.float64)
    else:
        bound = np.full(len(distance), np.inf)
    for _ in range(2):  # once up to the k-th, once down to the others
        bound = bound + margin_of(np.where(np.isinf(bound), 0, bound))
    limit = np.nextafter(bound.astype(distance.dtype), distance.dtype.type(np.inf))
    return np.nonzero(distance <= limit[:, None])


class TopK:
    """The rows that can be among the k nearest of each of m candidates.

    Parameters
    ----------
    n_candidates : int
        Candidates, m.
    k : int
        Nearest rows wanted of each.

    Attributes
    ----------
    bound : ndarray of shape (m,)
        No farther than this is the k-th nearest of the rows offered so far.
    n_kept : int
        Distances that are remembered.
    """

    def __init__(self, n_candidates, k):
        self.bound = np.full(n_candidates, np.inf)
        self.n_kept = 0
        self._k = k
        self._seen = 0
        self._who, self._upper = np.empty(0, np.int64), np.empty(0)
        self._kept = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]

    def offer(self, distance, positions_of, error_of, margin_of):
        """Look at a block of rows.

        Parameters
        ----------
        distance : ndarray of shape (m, n)
            How far the rows are from each candidate, about; never NaN.
        positions_of : callable
            Places in the block -> positions of the rows.
        error_of : callable
            (candidates, places) -> how far off those distances may be.
        margin_of : callable
            The bounds -> for each candidate, an error that none in the block exceeds
            among distances up to the bound.
        """
        start, bounds = 0, (positions_of, error_of, margin_of)
        while start < distance.shape[1]:
            # Ever larger pieces, so that few rows pass a bound that is still loose.
            fewest = max(_FIRST_VALUES // len(distance), _FEWEST, 4 * self._k)
            stop = start + max(fewest, 3 * self._seen)
            self._look_at(distance[:, start:stop], start, *bounds)
            self._seen += min(stop, distance.shape[1]) - start
            start = stop

    def _look_at(self, distance, start, positions_of, error_of, margin_of):
        if self._seen == 0:
            who, places = select_top_k(distance, self._k, margin_of)
        else:
            bound = self.bound
            limit = bound + margin_of(np.where(np.isinf(bound), 0, bound))
            limit = limit.astype(distance.dtype)
            limit = np.nextafter(limit, distance.dtype.type(np.inf))
            who, places = np.nonzero(distance <= limit[:, None])
        if not len(who):
            return
        estimate = distance[who, places].astype(np.float64)
        places += start
        error = error_of(who, places)
        with np.errstate(invalid="ignore"):  # infinite, give or take anything
            lower, upper = estimate - error, estimate + error
        self._tighten(who, upper)
        kept = lower <= self.bound[who]
        self._kept.append((who[kept], positions_of(places[kept]), lower[kept]))
        self.n_kept += np.count_nonzero(kept)

    def _tighten(self, who, upper):
        """Lower the bounds by what is known of some rows."""
        who = np.concatenate([self._who, who])
        upper = np.concatenate([self._upper, upper])
        order = np.lexsort((upper, who))
        who, upper = who[order], upper[order]
        place = np.arange(len(who)) - np.searchsorted(who, who)
        self._who, self._upper = who[place < self._k], upper[place < self._k]
        last = place == self._k - 1
        self.bound[who[last]] = upper[last]

    def join(self, other):
        """Take in what another has of other rows."""
        self._tighten(other._who, other._upper)
        self._kept += other._kept

    def positions(self):
        """Return the positions that are left of each candidate, ascending."""
        who, positions, lower = map(np.concatenate, zip(*self._kept, strict=True))
        kept = lower <= self.bound[who]
        who, positions = who[kept], positions[kept]
        order = np.lexsort((positions, who))
        ends = np.searchsorted(who[order], np.arange(1, len(self.bound)))
        return np.split(positions[order], ends)
