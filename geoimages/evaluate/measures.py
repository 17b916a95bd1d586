"""Measures of rankings: which answers are relevant in, a score a query out.

``relevant`` is (m, depth) bool, the best answer first; where fewer answers came than
asked for, the rest is False. ``n_relevant`` is (m,) int, how many relevant pictures there
are to find. A query without any has no score (NaN).
"""

import numpy as np

_CELLS = 1 << 24  # pairs of answers compared at a time


def _per_relevant(values, n_relevant):
    """values / n_relevant, NaN where nothing is relevant: (m,)."""
    n_relevant = np.asarray(n_relevant, float)
    return np.divide(
        values, n_relevant, out=np.full(len(n_relevant), np.nan), where=n_relevant > 0
    )


def _within(relevant, depth):
    """Leave of each row its first answers only: (m, d), (m,) -> (m, max depth)."""
    depth = np.asarray(depth)
    relevant = relevant[:, : depth.max(initial=0)]
    return relevant & (np.arange(relevant.shape[1]) < depth[:, None])


def _summed_precision(relevant):
    """The sum of the precisions at the relevant answers: (m, d) -> (m,)."""
    ranks = np.arange(1, relevant.shape[1] + 1)
    return (relevant.cumsum(axis=1, dtype=np.int32) / ranks * relevant).sum(axis=1)


def precision_at_k(relevant, n_relevant, k):
    """Return the share of the first k answers that are relevant.

    Parameters
    ----------
    relevant : ndarray of shape (m, depth), bool
        Which answers are relevant.
    n_relevant : ndarray of shape (m,), int
        How many there are to find.
    k : int
        Number of answers looked at.

    Returns
    -------
    scores : ndarray of shape (m,)

    Examples
    --------
    >>> import numpy as np
    >>> precision_at_k(np.array([[True, False, True, False]]), np.array([3]), 4)
    array([0.5])
    """
    hits = relevant[:, :k].sum(axis=1) / k
    return np.where(np.asarray(n_relevant) > 0, hits, np.nan)


def recall_at_k(relevant, n_relevant, k):
    """Return the share of all that is relevant that the first k answers hold.

    Parameters
    ----------
    relevant, n_relevant, k
        As in `precision_at_k`.

    Returns
    -------
    scores : ndarray of shape (m,)

    Examples
    --------
    >>> import numpy as np
    >>> recall_at_k(np.array([[True, False, True, False]]), np.array([4]), 4)
    array([0.5])
    """
    return _per_relevant(relevant[:, :k].sum(axis=1), n_relevant)


def r_precision(relevant, n_relevant):
    """Return the precision at R, the number of relevant pictures there are.

    Parameters
    ----------
    relevant, n_relevant
        As in `precision_at_k`; `relevant` as deep as the largest R.

    Returns
    -------
    scores : ndarray of shape (m,)

    Examples
    --------
    >>> import numpy as np
    >>> r_precision(np.array([[True, False, True, False]]), np.array([2]))
    array([0.5])
    """
    return _per_relevant(_within(relevant, n_relevant).sum(axis=1), n_relevant)


def average_precision(relevant, n_relevant):
    """Return the mean precision at the places of all relevant pictures.

    Parameters
    ----------
    relevant, n_relevant
        As in `precision_at_k`; `relevant` is the ranking of all pictures.

    Returns
    -------
    scores : ndarray of shape (m,)
        Their mean over the queries is called mAP.

    Examples
    --------
    >>> import numpy as np
    >>> average_precision(np.array([[True, False, False, True]]), np.array([2]))
    array([0.75])
    """
    return _per_relevant(_summed_precision(relevant), n_relevant)


def map_at_r(relevant, n_relevant):
    """Return the average precision within the first R answers.

    Parameters
    ----------
    relevant, n_relevant
        As in `r_precision`.

    Returns
    -------
    scores : ndarray of shape (m,)

    References
    ----------
    Musgrave, Belongie and Lim (2020). A metric learning reality check. ECCV.

    Examples
    --------
    >>> import numpy as np
    >>> map_at_r(np.array([[True, False, False, True]]), np.array([2]))
    array([0.5])
    """
    return _per_relevant(_summed_precision(_within(relevant, n_relevant)), n_relevant)


def ndcg_at_k(relevant, n_relevant, k):
    """Return the discounted gain of the first k answers, 1 for the best order.

    Parameters
    ----------
    relevant, n_relevant, k
        As in `precision_at_k`.

    Returns
    -------
    scores : ndarray of shape (m,)
        A relevant answer gains 1 / log2(1 + its place).

    References
    ----------
    Järvelin and Kekäläinen (2002). Cumulated gain-based evaluation of IR techniques.
    ACM Transactions on Information Systems 20.

    Examples
    --------
    >>> import numpy as np
    >>> ndcg_at_k(np.array([[False, False, True]]), np.array([1]), 3)
    array([0.5])
    """
    gains = 1 / np.log2(np.arange(2, k + 2))
    best = np.append(0, gains.cumsum())[np.minimum(n_relevant, k)]
    relevant = relevant[:, :k]
    return _per_relevant(relevant @ gains[: relevant.shape[1]], best)


def jaccard(a, b):
    """Return how much of two answers is the same, in any order.

    Parameters
    ----------
    a, b : ndarray of shape (m, k), int
        What each of two models answered; -1 where fewer answers came.

    Returns
    -------
    scores : ndarray of shape (m,)
        The size of the intersection over that of the union; 1 for two empty answers.

    Examples
    --------
    >>> import numpy as np
    >>> jaccard(np.array([[1, 2, 3]]), np.array([[3, 4, 1]]))
    array([0.5])
    """
    both = np.zeros(len(a), int)
    for block in blocks_of_answers(a):
        both[block] = shared(a[block], b[block]).sum(axis=(1, 2))
    union = (a >= 0).sum(axis=1) + (b >= 0).sum(axis=1) - both
    return np.divide(both, union, out=np.ones(len(a)), where=union > 0)


def rank_biased_overlap(a, b, p=0.9):
    """Return how much two rankings agree, the first answers counting most.

    Parameters
    ----------
    a, b : ndarray of shape (m, k), int
        What each of two models answered, the best first; -1 where fewer came.
    p : float, default=0.9
        How patient a reader is: the chance to look at one more answer. With 0.9, the
        first ten have 86 % of the weight.

    Returns
    -------
    scores : ndarray of shape (m,)
        In [0, 1], extrapolated from the first k, or the longer answer where both are
        shorter, as if they agreed as much ever after; 1 for two empty answers.

    References
    ----------
    Webber, Moffat and Zobel (2010). A similarity measure for indefinite rankings. ACM
    Transactions on Information Systems 28, equation 32.

    Examples
    --------
    >>> import numpy as np
    >>> rank_biased_overlap(np.array([[1, 2]]), np.array([[1, 2]]))
    array([1.])
    """
    k = a.shape[1]
    scores = np.empty(len(a))
    depth = np.maximum.outer(np.arange(k), np.arange(k)).ravel()
    ranks = np.arange(1, k + 1)
    for block in blocks_of_answers(a):
        # A shared answer counts from the depth on at which both have named it.
        row, place = np.nonzero(shared(a[block], b[block]).reshape(-1, k * k))
        overlap = np.zeros((len(a[block]), k))
        np.add.at(overlap, (row, depth[place]), 1)
        length = np.maximum((a[block] >= 0).sum(axis=1), (b[block] >= 0).sum(axis=1))
        agreement = overlap.cumsum(axis=1) / np.minimum(
            ranks, np.maximum(length, 1)[:, None]
        )
        agreement[length == 0] = 1
        scores[block] = (1 - p) / p * (agreement @ p**ranks) + agreement[:, -1] * p**k
    return scores


def blocks_of_answers(a):
    """Yield slices of (m, k) answers that `shared` can take without much memory."""
    step = max(1, _CELLS // a.shape[1] ** 2)
    for start in range(0, len(a), step):
        yield slice(start, start + step)


def shared(a, b):
    """Which answers are the same: (m, k), (m, k) -> (m, k, k) bool."""
    return (a[:, :, None] == b[:, None, :]) & (a >= 0)[:, :, None]
