"""Triplets (anchor, positive, negative) from votes."""

import numbers

import numpy as np
from sklearn.utils import check_random_state

from .votes import Votes


def _triplets_of(query, winner, loser):
    """All triplets (query, positive, negative) of one vote."""
    nearer = [key for key in winner if key not in loser]
    farther = [key for key in loser if key not in winner]
    return [(query, near, far) for near in nearer for far in farther]


def triplets_from_votes(votes, *, per_vote=None, random_state=None):
    """Convert votes to triplets (anchor, positive, negative).

    The query is the anchor. Pictures shown only on the preferred side are positives,
    those only on the other side negatives; pictures on both sides, ties, skips and
    repeats are ignored. A changed vote counts as last cast.

    Parameters
    ----------
    votes : Votes
        The votes.
    per_vote : int, optional
        Triplets sampled from each vote, so that all votes have equal weight where
        sample weights are not supported; with replacement if a vote has fewer. By
        default all, up to k² per vote.
    random_state : int, RandomState or None, default=None
        Seed of the sample.

    Returns
    -------
    triplets : ndarray of shape (m, 3), str
        Keys of the query, the positive and the negative.
    weights : ndarray of shape (m,), float64
        1 / the number of triplets of the vote, so that each vote has weight 1.

    Raises
    ------
    TypeError
        If `votes` is not a `Votes`.
    ValueError
        If `per_vote` is not positive.

    See Also
    --------
    TripletEmbedding.fit_triplets : Learns from both,
        ``fit_triplets(X, *triplets_from_votes(votes))``.

    Examples
    --------
    A vote for (b, c) over (b, d) gives the positive c and the negative d.

    >>> from geoimages.voting.triplets import _triplets_of
    >>> _triplets_of("a", ("b", "c"), ("b", "d"))
    [('a', 'c', 'd')]
    """
    if not isinstance(votes, Votes):
        raise TypeError(
            f"votes must be Votes, got {type(votes).__name__}; record_votes(path) opens "
            "a file."
        )
    if per_vote is not None and (
        not isinstance(per_vote, numbers.Integral) or per_vote < 1
    ):
        raise ValueError(f"per_vote must be 1 or more, got {per_vote!r}.")
    rng = check_random_state(random_state)
    trials, table = votes.trials, votes.table
    table = table[table["choice"].isin(["left", "right"]) & (table["repeat_of"] == "")]
    triplets, weights = [], []
    for name, choice in zip(table["trial"], table["choice"], strict=True):
        trial = trials[name]
        sides = (trial.left, trial.right)
        found = _triplets_of(trial.query, *sides[:: 1 if choice == "left" else -1])
        if per_vote is not None and found:
            picks = rng.choice(len(found), per_vote, replace=len(found) < per_vote)
            found = [found[i] for i in picks]
        triplets += found
        weights += [1 / len(found)] * len(found)
    return np.array(triplets, dtype=str).reshape(-1, 3), np.array(weights)
