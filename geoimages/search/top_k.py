"""Which rows can be among the top k, while bounds of their distances come in."""

import numpy as np

_FEWEST = 256  # rows looked at before the first are dropped
_FIRST_VALUES = 1 << 14  # distances, likewise


def select_top_k(distance, k, margin_of):
    """Select what can be among the k nearest rows of each candidate.

    Parameters
    ----------
    distance : ndarray of shape (m, n)
        As `TopK.update` takes it.
    k : int
    margin_of : callable
        Likewise.

    Returns
    -------
    candidates, columns : ndarray of shape (n_selected,)
        Candidates, ascending, and the columns of `distance`.
    """
    if k < distance.shape[1]:
        bound = np.partition(distance, k - 1, axis=1)[:, k - 1].astype(np.float64)
    else:
        bound = np.full(len(distance), np.inf)
    # Let b be the k-th smallest of the distances given, each off by no more than e.
    # Then k rows are truly within b + e, and whatever is as near was given b + 2 e
    # or less: one margin up to the true k-th distance, one down to its rivals.
    for _ in range(2):
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
        The k-th nearest of the rows seen so far is no farther than this.
    n_kept : int
        Distances that are remembered.
    """

    def __init__(self, n_candidates, k):
        self.bound = np.full(n_candidates, np.inf)
        self.n_kept = 0
        self._k = k
        self._n_seen = 0
        # The k smallest upper bounds of each candidate, which make its `bound`.
        self._candidates, self._upper = np.empty(0, np.int64), np.empty(0)
        self._kept = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]

    def update(self, distance, positions_of, error_of, margin_of):
        """Take in the distances to a block of rows.

        Parameters
        ----------
        distance : ndarray of shape (m, n)
            Distances that are known up to an error; never NaN.
        positions_of : callable
            Columns of `distance` -> positions of the rows.
        error_of : callable
            (candidates, columns) -> how far off those distances may be.
        margin_of : callable
            The bounds -> for each candidate, an error that none in the block exceeds
            among distances up to the bound.
        """
        start, bounds = 0, (positions_of, error_of, margin_of)
        while start < distance.shape[1]:
            # In growing pieces, as a bound is loose until some rows have been seen.
            fewest = max(_FIRST_VALUES // len(distance), _FEWEST, 4 * self._k)
            stop = start + max(fewest, 3 * self._n_seen)
            self._update(distance[:, start:stop], start, *bounds)
            self._n_seen += min(stop, distance.shape[1]) - start
            start = stop

    def _update(self, distance, start, positions_of, error_of, margin_of):
        if self._n_seen == 0:
            candidates, columns = select_top_k(distance, self._k, margin_of)
        else:
            # `bound` holds for true distances, so that one margin is enough.
            bound = self.bound
            limit = bound + margin_of(np.where(np.isinf(bound), 0, bound))
            limit = limit.astype(distance.dtype)
            limit = np.nextafter(limit, distance.dtype.type(np.inf))
            candidates, columns = np.nonzero(distance <= limit[:, None])
        if not len(candidates):
            return
        estimate = distance[candidates, columns].astype(np.float64)
        columns += start
        error = error_of(candidates, columns)
        with np.errstate(invalid="ignore"):  # infinite, give or take anything
            lower, upper = estimate - error, estimate + error
        self._tighten(candidates, upper)
        kept = lower <= self.bound[candidates]
        self._kept.append((candidates[kept], positions_of(columns[kept]), lower[kept]))
        self.n_kept += np.count_nonzero(kept)

    def _tighten(self, candidates, upper):
        """Lower the bounds by upper bounds of further distances."""
        candidates = np.concatenate([self._candidates, candidates])
        upper = np.concatenate([self._upper, upper])
        order = np.lexsort((upper, candidates))
        candidates, upper = candidates[order], upper[order]
        place = np.arange(len(candidates)) - np.searchsorted(candidates, candidates)
        self._candidates = candidates[place < self._k]
        self._upper = upper[place < self._k]
        last = place == self._k - 1
        self.bound[candidates[last]] = upper[last]

    def merge(self, other):
        """Take in what another has seen of other rows."""
        self._tighten(other._candidates, other._upper)
        self._kept += other._kept

    def positions(self):
        """Return the positions that are left of each candidate, ascending."""
        candidates, positions, lower = map(
            np.concatenate, zip(*self._kept, strict=True)
        )
        kept = lower <= self.bound[candidates]
        candidates, positions = candidates[kept], positions[kept]
        order = np.lexsort((positions, candidates))
        ends = np.searchsorted(candidates[order], np.arange(1, len(self.bound)))
        return np.split(positions[order], ends)
