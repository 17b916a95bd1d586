"""Capacity of a model by cross-validation: folds that keep copies together."""

import numpy as np
from sklearn.metrics import euclidean_distances
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.utils import check_consistent_length

from ..collection.duplicates import components

#: Rows below which capacity is chosen; above, there is enough to learn from.
FEW = 2000
_N_FOLDS = 3
_NEXT = 5  # neighbors after the nearest
_SIBLINGS = 0.65  # of their mean distance: siblings are nearer to each other


def grouped_folds(codes, groups, rng):
    """Folds (inside, outside) of which each leaves rows of every class inside.

    Rows of a group share a fold; without `groups` each is its own. Empty where a class
    has too few.
    """
    groups = np.arange(len(codes)) if groups is None else np.asarray(groups)
    check_consistent_length(codes, groups)
    n_groups = min(len(set(groups[codes == code])) for code in set(codes))
    if n_groups < 2:
        return []
    n_folds, seed = min(_N_FOLDS, n_groups), rng.randint(1 << 31)
    for shuffled in ({"shuffle": True, "random_state": seed}, {}):
        # Shuffled, scikit-learn before 1.7 does not balance the classes of groups.
        folds = StratifiedGroupKFold(n_folds, **shuffled).split(codes, codes, groups)
        folds = list(folds)
        if all(len(set(codes[inside])) == len(set(codes)) for inside, _ in folds):
            return folds
    return []


def join_siblings(rows, groups):
    """Put pictures of one thing into one group: (n, p), (n,) -> (n,).

    Two crops of a photograph, or two pictures of one outcrop in one light, are no copies,
    but what was learned from one is known of the other. They are each other's nearest
    neighbors, and nearer than 0.65 of the mean distance to the next five. Of two crops of
    each of 199 photographs 85 % are found so. Of independent pictures, up to 4 % are
    taken for siblings, which costs no more than having two of one class in one fold.
    """
    n = len(rows)
    if n < 4 * _NEXT:
        return groups
    distances = euclidean_distances(rows)
    distances[groups[:, None] == groups] = np.inf
    near = np.partition(distances, _NEXT, axis=1)[:, : _NEXT + 1]
    first = near.min(axis=1)
    with np.errstate(invalid="ignore"):  # of pictures with fewer others than that
        following = (near.sum(axis=1) - first) / _NEXT
    nearest = distances.argmin(axis=1)
    apart = first < _SIBLINGS * following
    mutual = nearest[nearest] == np.arange(n)
    pairs = np.flatnonzero(apart & apart[nearest] & mutual & np.isfinite(following))
    a = np.concatenate([pairs, np.arange(n)])
    _, members = np.unique(groups, return_inverse=True)
    leader = np.full(members.max() + 1, -1)
    leader[members[::-1]] = np.arange(n)[::-1]
    return components(n, a, np.concatenate([nearest[pairs], leader[members]]))
