"""Pooling of opinions: weights and a gate fitted to answers not learned from."""

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_softmax

_DEVIATION = 3.0  # of the prior of a weight: it counts where answers are few
_GATE = np.array([4.0, 0.0])  # slope and offset, and the deviations of their prior
_GATE_DEVIATION = np.array([4.0, 4.0])
_AUGMENTED = 0.5  # weight of augmented pictures beside the others
_LEAST = 1e-12
_TEMPERATURE_DEVIATION = 0.2  # of the prior of log T


def log_loss_of(log_proba, codes):
    """Negative log probability of each answer's class: (n, k), (n,) -> (n,)."""
    return -log_proba[np.arange(len(codes)), codes]


def pool(opinions, weights):
    """Weighted sum of opinions as log probabilities: (m, n, k), (m,) -> (n, k).

    A logarithmic pool: unlike a mean of probabilities it is not less sure than the
    opinions where they agree.
    """
    return log_softmax(np.tensordot(weights, opinions, 1), axis=1)


def fit_weights(opinions, codes, importance=None):
    """Weights of opinions by maximum posterior probability: (m, n, k), (n,) -> (m,).

    They are 0 or more. The last opinion is the prior of the classes, whose weight is
    drawn to 1 and the others' to 0: where answers are few, probabilities shrink toward
    it.

    References
    ----------
    Genest and Zidek (1986). Combining probability distributions. Statistical Science 1.
    """
    opinions = np.asarray(opinions, np.float64)
    importance = np.ones(len(codes)) if importance is None else importance
    center = np.zeros(len(opinions))
    center[-1] = 1
    every = np.arange(len(codes))
    of_class = opinions[:, every, codes]

    def loss(weights):
        log_proba = pool(opinions, weights)
        expected = np.einsum("mnk,nk->mn", opinions, np.exp(log_proba))
        gradient = (expected - of_class) @ importance
        offset = (weights - center) / _DEVIATION
        value = log_loss_of(log_proba, codes) @ importance + offset @ offset / 2
        return value, gradient + offset / _DEVIATION

    start = np.full(len(opinions), 0.5)
    bounds = [(0, None)] * len(opinions)
    return minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x


def mix(robust, expert, openness):
    """Log probabilities of two experts, mixed by the second's share (n,)."""
    share = openness[:, None]
    mixed = (1 - share) * np.exp(robust) + share * np.exp(expert)
    return np.log(np.maximum(mixed, _LEAST))


def openness(scores, gate):
    """The expert's share of an answer, from the gate's score: (n,) -> (n,)."""
    return expit(gate[0] * scores + gate[1])


def fit_gate(robust, expert, scores, codes, n_clean):
    """Slope and offset of the gate, which decide how much the expert counts.

    The first `n_clean` answers are of pictures as they are, the others augmented.
    """
    importance = np.ones(len(codes))
    importance[n_clean:] *= _AUGMENTED * n_clean / max(1, len(codes) - n_clean)

    def loss(gate):
        answers = mix(robust, expert, openness(scores, gate))
        offset = (gate - _GATE) / _GATE_DEVIATION
        return log_loss_of(answers, codes) @ importance + offset @ offset / 2

    best = minimize(loss, _GATE, method="L-BFGS-B", bounds=[(0, 50), (-50, 50)])
    return best.x


def temper(answers, share, temperatures):
    """Divide answers by the temperatures of the two experts, by the second's share.

    Log probabilities (n, k), shares (n,), two temperatures -> log probabilities (n, k).
    """
    low, high = np.log(temperatures)
    divisor = np.exp(low + (high - low) * share)
    return log_softmax(answers / divisor[:, None], axis=1)


def fit_temperatures(answers, share, codes):
    """Temperatures of maximum posterior probability, of the two experts: (2,).

    One for all would fit neither: where the answers about disturbed pictures are too
    sure, those about others would be made less sure than they are right.
    """

    def loss(logs):
        offset = logs / _TEMPERATURE_DEVIATION
        answered = temper(answers, share, np.exp(logs))
        return log_loss_of(answered, codes).sum() + offset @ offset / 2

    return np.exp(minimize(loss, np.zeros(2), method="L-BFGS-B").x)
