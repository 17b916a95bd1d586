"""Batches, mined triplets and their losses."""

import numpy as np
from scipy.special import expit

_FEWEST_OF_A_CLASS = 4  # rows of a class in a batch, where classes are many


class Batches:
    """P × K batches without end: P classes, K rows of each (Hermans et al. 2017)."""

    def __init__(self, codes, batch_size, rng):
        self.members = [np.flatnonzero(codes == code) for code in np.unique(codes)]
        most = max(2, batch_size // _FEWEST_OF_A_CLASS)
        self.n_classes = min(len(self.members), most)
        fair = max(2, batch_size // self.n_classes)
        self.n_rows = min(fair, max(map(len, self.members)))
        self.size = self.n_classes * self.n_rows
        self.rng = rng
        self.queues = [np.empty(0, int) for _ in self.members]
        self.classes = np.empty(0, int)

    def _take(self, queue, values, count):
        """Return (the next `count`, the remaining queue), refilled by a new shuffle."""
        while len(queue) < count:
            queue = np.concatenate([queue, self.rng.permutation(values)])
        return queue[:count], queue[count:]

    def draw(self):
        """Positions of the next batch."""
        codes = np.arange(len(self.members))
        if self.n_classes < len(codes):
            codes, self.classes = self._take(self.classes, codes, self.n_classes)
        batch = []
        for code in codes:
            rows, self.queues[code] = self._take(
                self.queues[code], self.members[code], self.n_rows
            )
            batch.append(rows)
        return np.concatenate(batch)


def _mine_hard(similarity, positives, negatives):
    """Each anchor with its farthest positive and its nearest negative."""
    anchors = np.flatnonzero(positives.any(axis=1))
    positive = np.where(positives, similarity, np.inf).argmin(axis=1)
    negative = np.where(negatives, similarity, -np.inf).argmax(axis=1)
    return anchors, positive[anchors], negative[anchors]


def _mine_semi_hard(similarity, positives, negatives):
    """Each anchor and positive with the nearest negative that lies farther.

    Where none lies farther, with the farthest. The very nearest negatives pull all rows
    to one point early in training (Schroff et al. 2015, section 3.2).
    """
    order = np.where(negatives, similarity, np.inf).argsort(axis=1, kind="stable")
    ascending = np.take_along_axis(similarity, order, axis=1)
    n_negatives = negatives.sum(axis=1)
    anchors, positive = np.nonzero(positives)
    negative = np.empty_like(positive)
    stops = np.cumsum(positives.sum(axis=1))
    for i, stop in enumerate(stops):
        here = slice(stops[i - 1] if i else 0, stop)
        # The last one less similar than the positive is the nearest one beyond it.
        farther = ascending[i, : n_negatives[i]].searchsorted(
            similarity[i, positive[here]]
        )
        negative[here] = order[i, np.maximum(farther - 1, 0)]
    return anchors, positive, negative


def _mine_all(similarity, positives, negatives):
    """Every anchor with every positive and every negative."""
    anchors, positive = np.nonzero(positives)
    pair, negative = np.nonzero(negatives[anchors])
    return anchors[pair], positive[pair], negative


MINING = {
    "semi-hard": _mine_semi_hard,
    "batch-hard": _mine_hard,
    "batch-all": _mine_all,
}


def triplet_loss(unit, codes, margin, mining="semi-hard"):
    """Triplet loss of a batch: unit (n, d), codes (n,) -> loss, gradient (n, d).

    The mean of max(0, |a − p|² − |a − n|² + margin) over the mined triplets of an
    anchor a, a positive p and a negative n for which it is above 0.

    References
    ----------
    Schroff, Kalenichenko and Philbin (2015), https://arxiv.org/abs/1503.03832

    Hermans, Beyer and Leibe (2017), https://arxiv.org/abs/1703.07737
    """
    n_rows = len(unit)
    similarity = unit @ unit.T
    positives = codes[:, None] == codes
    negatives = ~positives
    np.fill_diagonal(positives, False)
    positives &= negatives.any(axis=1)[:, None]
    a, p, n = MINING[mining](similarity, positives, negatives)
    # Of unit rows, |x − y|² = 2 − 2 x·y.
    violation = 2 * (similarity[a, n] - similarity[a, p]) + margin
    active = violation > 0
    # A mean over all triplets would vanish as most of them come to satisfy the margin.
    count = max(1, int(active.sum()))
    a, p, n = a[active], p[active], n[active]
    # The loss is linear in S = U Uᵀ, with ∂loss/∂S_an = 2 / count and ∂loss/∂S_ap =
    # −2 / count summed over triplets (D), and so ∂loss/∂U = (D + Dᵀ) U.
    by_similarity = np.bincount(
        a * n_rows + n, minlength=n_rows * n_rows
    ) - np.bincount(a * n_rows + p, minlength=n_rows * n_rows)
    by_similarity = by_similarity.reshape(n_rows, n_rows) * (2 / count)
    by_similarity = by_similarity.astype(unit.dtype)
    loss = violation[active].sum(dtype=np.float64) / count
    return float(loss), (by_similarity + by_similarity.T) @ unit


def judgment_loss(unit, triplets, sample_weight, scale):
    """Logistic loss of judgments: unit (n, d), (m, 3), (m,) -> loss, gradient (n, d).

    The probability of "a is more like b than like c" is modeled as
    1 / (1 + exp((|a − b|² − |a − c|²) / scale)).

    References
    ----------
    van der Maaten and Weinberger (2012). Stochastic triplet embedding.
    """
    a, b, c = triplets.T
    # (|a − b|² − |a − c|²) / scale of unit rows; the loss is softplus of it, and the
    # derivative of softplus is the logistic function.
    violation = 2 * np.einsum("ij,ij->i", unit[a], unit[c] - unit[b]) / scale
    factor = (expit(violation) * sample_weight * (2 / scale))[:, None]
    gradient = np.zeros_like(unit)
    np.add.at(gradient, a, factor * (unit[c] - unit[b]))
    np.add.at(gradient, b, -factor * unit[a])
    np.add.at(gradient, c, factor * unit[a])
    return float(sample_weight @ np.logaddexp(0, violation)), gradient
