"""Power analysis of votes, and Bradley–Terry rankings."""

import math

import numpy as np
from scipy.special import expit
from scipy.stats import norm

_PRIOR_SPREAD = 3.0  # standard deviation of a log strength, a weak prior


def votes_needed(share, *, ties=0.0, confidence=0.95, power=0.8, comparisons=1):
    """Return the number of votes needed to detect a preference.

    Parameters
    ----------
    share : float
        The true share of the decided votes that goes to one model, 0–1.
    ties : float, default=0.0
        Share of the votes that are ties, below 1.
    confidence : float, default=0.95
        1 − the level of the two-sided sign test.
    power : float, default=0.8
        Probability of detecting the preference.
    comparisons : int, default=1
        Number of pairs of models tested (Bonferroni correction).

    Returns
    -------
    n : int or inf
        Votes, including ties. Infinite for a share of 0.5.

    References
    ----------
    Fleiss, Levin and Paik (2003). Statistical methods for rates and proportions, 3rd
    edition, chapter 2: the normal approximation with its correction for continuity.

    Examples
    --------
    >>> votes_needed(0.6), votes_needed(0.75)
    (204, 33)
    """
    for name, value in (("share", share), ("confidence", confidence), ("power", power)):
        if not 0 <= value <= 1 or (name != "share" and value in (0, 1)):
            raise ValueError(f"{name} must be between 0 and 1, got {value!r}.")
    if not 0 <= ties < 1:
        raise ValueError(f"ties must be from 0 to below 1, got {ties!r}.")
    if comparisons < 1:
        raise ValueError(f"comparisons must be 1 or more, got {comparisons!r}.")
    off = abs(share - 0.5)
    if off < 1e-9:
        return math.inf
    z_level = norm.isf((1 - confidence) / 2 / comparisons)
    z_power = norm.isf(1 - power)
    n = ((z_level * 0.5 + z_power * math.sqrt(share * (1 - share))) / off) ** 2
    n *= (1 + math.sqrt(1 + 2 / (n * off))) ** 2 / 4
    return math.ceil(n / (1 - ties) - 1e-9)


def bradley_terry(wins):
    """Fit the log strengths of models that were compared in pairs.

    A weak normal prior (mean 0, standard deviation 3) keeps a model that won everything
    finite.

    Parameters
    ----------
    wins : array-like of shape (..., m, m)
        How often the row's model beat the column's; a tie is half a win for each.

    Returns
    -------
    strengths : ndarray of shape (..., m)
        Their mean is 0.

    References
    ----------
    Bradley and Terry (1952). Rank analysis of incomplete block designs. Biometrika 39.
    """
    wins = np.asarray(wins, float)
    played = wins + np.swapaxes(wins, -1, -2)
    m = wins.shape[-1]
    precision = 1 / _PRIOR_SPREAD**2
    theta = np.zeros(wins.shape[:-1])
    for _ in range(200):
        p = expit(theta[..., :, None] - theta[..., None, :])
        gradient = (wins - played * p).sum(-1) - precision * theta
        weight = played * p * (1 - p)
        hessian = -weight
        hessian[..., range(m), range(m)] = weight.sum(-1) + precision
        step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        # Newton's method; steps are damped where the likelihood is flat.
        theta = theta + step / np.maximum(1, np.abs(step).max(-1, keepdims=True) / 2)
        if np.abs(step).max(initial=0) < 1e-9:
            break
    return theta - theta.mean(-1, keepdims=True)
