"""Measures of rankings: relevance of answers in, one score per query out.

``relevant`` is (m, depth) bool, the best answer first, padded with False where fewer
answers were returned. ``n_relevant`` is (m,) int, the number of relevant pictures. A
query without relevant pictures has no score (NaN).
"""

import numpy as np


def _per_relevant(values, n_relevant):
    """Return values / n_relevant, NaN where nothing is relevant: (m,)."""
    n_relevant = np.asarray(n_relevant, float)
    return np.divide(
        values, n_relevant, out=np.full(len(n_relevant), np.nan), where=n_relevant > 0
    )


def _within(relevant, depth):
    """Truncate each row to its own depth: (m, d), (m,) -> (m, max depth)."""
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
        Relevance of the answers.
    n_relevant : ndarray of shape (m,), int
        Number of relevant pictures.
    k : int
        Number of answers scored.

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
    """Return the share of relevant pictures found among the first k answers.

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
    """Return the precision at R, the number of relevant pictures.

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
    """Return the mean of the precisions at the ranks of all relevant pictures.

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
    """Return the normalized discounted cumulative gain of the first k answers.

    Parameters
    ----------
    relevant, n_relevant, k
        As in `precision_at_k`.

    Returns
    -------
    scores : ndarray of shape (m,)
        A relevant answer gains 1 / log2(1 + rank).

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
    """Return the Jaccard index of two sets of answers.

    Parameters
    ----------
    a, b : ndarray of shape (m, k), int
        Answers of two models; -1 pads shorter answers.

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
    both = np.bincount(shared(a, b)[0], minlength=len(a))
    union = (a >= 0).sum(axis=1) + (b >= 0).sum(axis=1) - both
    return np.divide(both, union, out=np.ones(len(a)), where=union > 0)


def rank_biased_overlap(a, b, p=0.9):
    """Return the rank-biased overlap (RBO) of two rankings.

    Parameters
    ----------
    a, b : ndarray of shape (m, k), int
        Answers of two models, the best first; -1 pads shorter answers.
    p : float, default=0.9
        Persistence: the probability of looking at one more answer. With 0.9, the first
        ten have 86 % of the weight.

    Returns
    -------
    scores : ndarray of shape (m,)
        In [0, 1], extrapolated from the first k (or from the longer answer if both are
        shorter) assuming constant agreement; 1 for two empty answers.

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
    row, place, other = shared(a, b)
    # A shared answer counts from the depth at which both rankings contain it.
    overlap = np.zeros((len(a), k))
    np.add.at(overlap, (row, np.maximum(place, other)), 1)
    ranks = np.arange(1, k + 1)
    length = np.maximum((a >= 0).sum(axis=1), (b >= 0).sum(axis=1))
    agreement = overlap.cumsum(axis=1) / np.minimum(
        ranks, np.maximum(length, 1)[:, None]
    )
    agreement[length == 0] = 1
    return (1 - p) / p * (agreement @ p**ranks) + agreement[:, -1] * p**k


def shared(a, b):
    """Find the shared answers: (m, k), (m, k) -> (rows, ranks in a, ranks in b).

    The rows are ascending.
    """
    width = max(a.max(initial=0), b.max(initial=0)) + 1
    first, second = (np.flatnonzero(answers >= 0) for answers in (a, b))
    code_a, code_b = (
        (answers + width * np.arange(len(answers))[:, None]).ravel()[given]
        for answers, given in ((a, first), (b, second))
    )
    _, i, j = np.intersect1d(code_a, code_b, return_indices=True)
    row, place = np.divmod(first[i], a.shape[1])
    return row, place, second[j] % b.shape[1]
