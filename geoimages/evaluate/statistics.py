"""Confidence intervals and significance tests."""

import numbers

import numpy as np
from scipy.stats import norm, permutation_test, t
from sklearn.utils import check_consistent_length, check_random_state

_BLOCK = 1 << 22  # values drawn at a time


def wilson_interval(share, n, confidence=0.95):
    """Return the Wilson score interval of a proportion.

    Parameters
    ----------
    share : float or array-like
        The observed proportion, 0–1.
    n : float or array-like
        Number of independent trials; need not be whole, as that of
        `scipy.stats.binomtest` must be.
    confidence : float, default=0.95
        Confidence level.

    Returns
    -------
    lower, upper : float or ndarray
        NaN without trials.

    References
    ----------
    Wilson (1927). Probable inference, the law of succession, and statistical
    inference. Journal of the American Statistical Association 22.

    Examples
    --------
    >>> lower, upper = wilson_interval(0.6, 100)
    >>> round(float(lower), 3), round(float(upper), 3)
    (0.502, 0.691)
    """
    share, n = np.asarray(share, float), np.asarray(n, float)
    weight = norm.isf((1 - confidence) / 2) ** 2 / np.where(n > 0, n, np.nan)
    middle = (share + weight / 2) / (1 + weight)
    half = np.sqrt(share * (1 - share) * weight + weight**2 / 4) / (1 + weight)
    return np.maximum(middle - half, 0), np.minimum(middle + half, 1)


def _by_group(values, groups):
    """Sum rows by group: (n, m), (n,) -> sums (g, m) and sizes (g,)."""
    values = np.asarray(values, float)
    values = values[:, None] if values.ndim == 1 else values
    if not np.isfinite(values).all():
        raise ValueError("values hold NaN or infinity; leave those queries out first.")
    if groups is None:
        sums, sizes = values, np.ones(len(values))
    else:
        check_consistent_length(values, groups)
        _, group = np.unique(groups, return_inverse=True)
        sizes = np.bincount(group).astype(float)
        sums = np.zeros((len(sizes), values.shape[1]))
        np.add.at(sums, group, values)
    if len(sizes) < 2:
        of_what = "query" if groups is None else f"group of {len(values)} queries"
        raise ValueError(
            f"An interval cannot be computed from one {of_what}; pass two or more."
        )
    return sums, sizes


def _check_draws(name, number):
    if not isinstance(number, numbers.Integral) or number < 1:
        raise ValueError(f"{name} must be 1 or more draws, got {number!r}.")


def bootstrap_interval(
    values,
    *,
    groups=None,
    confidence=0.95,
    n_resamples=2000,
    bounds=None,
    random_state=0,
):
    """Return the bootstrap interval of a mean over queries.

    Parameters
    ----------
    values : array-like of shape (n,) or (n, m)
        One score per query; m scores are resampled together.
    groups : array-like of shape (n,), optional
        Queries of one group, for example of one drill hole, are resampled together, as
        they are not independent.
    confidence : float, default=0.95
        Confidence level.
    n_resamples : int, default=2000
        Number of bootstrap samples.
    bounds : tuple of float, optional
        Minimum and maximum of a score. If every query scores one of them, the exact
        binomial interval is returned; without bounds it would have width 0.
    random_state : int, RandomState or None, default=0
        Seed of the resampling.

    Returns
    -------
    low, high : float or ndarray of shape (m,)
        Ends of the interval.

    Raises
    ------
    ValueError
        If there are fewer than two queries or groups, values are NaN, or a number is
        out of range.

    Notes
    -----
    The expanded percentile interval: for few queries it is widened in the ratio of
    Student's t to the normal distribution.

    References
    ----------
    Hesterberg (2015). What teachers should know about the bootstrap. The American
    Statistician 69.

    Examples
    --------
    >>> low, high = bootstrap_interval([0.2, 0.4, 0.6, 0.8] * 10)
    >>> bool(0.4 < low < 0.5 < high < 0.6)
    True
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence!r}.")
    _check_draws("n_resamples", n_resamples)
    sums, sizes = _by_group(values, groups)
    n, rng = len(sizes), check_random_state(random_state)
    means = []
    step = max(1, _BLOCK // n)
    for start in range(0, n_resamples, step):
        draws = min(step, n_resamples - start)
        drawn = rng.randint(n, size=(draws, n)) + np.arange(draws)[:, None] * n
        times = np.bincount(drawn.ravel(), minlength=draws * n).reshape(draws, n)
        times = times.astype(float)
        means.append(times @ sums / (times @ sizes)[:, None])
    miss = (1 - confidence) / 2
    tail = norm.cdf(t.ppf(miss, n - 1) * np.sqrt(n / (n - 1)))
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail], axis=0)
    if bounds is not None:
        least, most = bounds
        reach = (most - least) * (1 - miss ** (1 / n))
        mean = sums.sum(axis=0) / sizes.sum()
        low = np.where(mean == most, most - reach, low)
        high = np.where(mean == least, least + reach, high)
    return (low[0], high[0]) if np.ndim(values) == 1 else (low, high)


def paired_permutation_test(
    differences, *, groups=None, n_permutations=9999, random_state=0
):
    """Test a mean paired difference by a sign-flip permutation test.

    Under the null hypothesis that two models are equally good, the sign of each query's
    difference is random.

    Parameters
    ----------
    differences : array-like of shape (n,) or (n, m)
        Per query, the score of one model minus that of the other; m comparisons are
        permuted together.
    groups : array-like of shape (n,), optional
        Queries of one group change their sign together.
    n_permutations : int, default=9999
        Number of random sign flips. If there are no more combinations than that, all
        are enumerated and the result is exact.
    random_state : int, RandomState or None, default=0
        Seed of the permutations.

    Returns
    -------
    p_value : float or ndarray of shape (m,)
        Two-sided, in (0, 1]; at least 1 / (`n_permutations` + 1).

    Raises
    ------
    ValueError
        If there are fewer than two queries or groups, differences are NaN, or there
        are no draws.

    References
    ----------
    Smucker, Allan and Carterette (2007). A comparison of statistical significance
    tests for information retrieval evaluation. CIKM.

    Examples
    --------
    >>> float(paired_permutation_test([0.1, 0.2, 0.3, 0.1]))
    0.125
    """
    _check_draws("n_permutations", n_permutations)
    sums, _ = _by_group(differences, groups)
    scale = np.maximum(np.abs(sums).sum(axis=0), np.finfo(float).tiny)

    def statistic(signs, axis):
        # Rounded, because sums in another order differ in the last digits.
        return np.round(np.abs(signs @ sums) / scale, 12)

    p_value = permutation_test(
        (np.ones(len(sums)),),  # for one sample, SciPy permutes the signs
        statistic,
        permutation_type="samples",
        vectorized=True,
        n_resamples=n_permutations,
        batch=max(1, _BLOCK // len(sums)),
        alternative="greater",
        random_state=random_state,
    ).pvalue
    return p_value[0] if np.ndim(differences) == 1 else p_value


def holm(p_values):
    """Correct p-values for multiple comparisons by Holm's method.

    Parameters
    ----------
    p_values : array-like of shape (m,)
        One for each comparison.

    Returns
    -------
    corrected : ndarray of shape (m,)
        Rejecting those below α keeps the family-wise error rate at or below α.

    References
    ----------
    Holm (1979). A simple sequentially rejective multiple test procedure. Scandinavian
    Journal of Statistics 6.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    p_values = np.asarray(p_values, float)
    order = np.argsort(p_values, kind="stable")
    scaled = p_values[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return corrected
