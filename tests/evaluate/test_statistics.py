"""Intervals cover at their stated rate, and the test's false alarms are its level."""

import numpy as np
import pytest
from scipy import stats

from geoimages.evaluate import (
    bootstrap_interval,
    holm,
    paired_permutation_test,
    wilson_interval,
)

# 400 data sets: a rate of 0.95 strays by 0.011 (one standard deviation).
SETS = 400


def covered(values, truth, **options):
    low, high = bootstrap_interval(values, n_resamples=1000, **options)
    return np.mean((low <= truth) & (truth <= high))


@pytest.mark.parametrize("n", [15, 100])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_intervals_cover_the_mean(n, confidence):
    rng = np.random.default_rng(n)
    scores = rng.binomial(10, 0.6, (n, SETS)) / 10  # a precision at 10
    rate = covered(scores, 0.6, confidence=confidence)
    assert rate == pytest.approx(confidence, abs=0.04)


def test_intervals_are_wider_for_few_queries():
    # All four draws hit the 1 once in 256 times, which a plain 95 % interval cuts off;
    # of four, Student's t makes the tail 0.0001.
    assert bootstrap_interval([0, 0, 0, 1], n_resamples=4000)[1] > 0.99


def test_intervals_cover_the_mean_of_skewed_scores():
    scores = np.random.default_rng(0).beta(0.5, 2, (100, SETS))
    assert covered(scores, 0.2) == pytest.approx(0.95, abs=0.04)


def grouped(rng, n_groups, each):
    """Scores that are much alike within a group: (n, SETS), and the groups."""
    common = rng.normal(0.5, 0.2, (n_groups, SETS))
    values = np.repeat(common, each, axis=0)
    return values + rng.normal(0, 0.05, values.shape), np.repeat(
        np.arange(n_groups), each
    )


def test_queries_of_one_group_tell_less_than_they_seem_to():
    values, groups = grouped(np.random.default_rng(1), 40, 6)
    assert covered(values, 0.5, groups=groups) == pytest.approx(0.95, abs=0.04)
    assert covered(values, 0.5) < 0.7


def test_groups_of_several_sizes_weigh_as_their_queries():
    values, groups = [0.0, 1, 1, 1], ["a", "b", "b", "b"]
    low, high = bootstrap_interval(values, groups=groups, confidence=0.1)
    assert low <= 0.75 <= high


def test_a_score_that_never_varies_is_not_called_certain():
    low, high = bootstrap_interval(np.ones(20), bounds=(0, 1))
    assert high == 1
    exact = stats.binomtest(20, 20).proportion_ci(0.95, "exact")
    assert low == pytest.approx(exact.low)
    low, high = bootstrap_interval(np.zeros(20), bounds=(0, 1))
    assert (low, high) == (0, pytest.approx(1 - exact.low))
    assert bootstrap_interval(np.ones(20)) == (1, 1)


def test_bootstrap_agrees_with_scipy():
    values = np.random.default_rng(4).beta(2, 5, 300)
    wanted = stats.bootstrap(
        (values,), np.mean, n_resamples=4000, method="percentile", rng=0
    ).confidence_interval
    np.testing.assert_allclose(
        bootstrap_interval(values, n_resamples=4000), wanted, atol=0.002
    )


def test_seeds_decide():
    values = np.random.default_rng(0).random(30)
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert bootstrap_interval(values) != bootstrap_interval(values, random_state=1)
    low, high = bootstrap_interval(np.column_stack([values, values]))
    np.testing.assert_allclose(low, bootstrap_interval(values)[0])


@pytest.mark.parametrize("n", [8, 60])
def test_false_alarms_are_as_frequent_as_stated(n):
    rng = np.random.default_rng(n)
    differences = rng.normal(size=(n, 1000)) ** 3  # heavy tails, about 0
    p_value = paired_permutation_test(differences, n_permutations=999)
    for level in (0.05, 0.2):
        assert np.mean(p_value <= level) == pytest.approx(level, abs=0.03)


def test_false_alarms_of_groups():
    values, groups = grouped(np.random.default_rng(5), 30, 6)
    p_value = paired_permutation_test(values - 0.5, groups=groups, n_permutations=999)
    assert np.mean(p_value <= 0.05) == pytest.approx(0.05, abs=0.03)
    assert (
        np.mean(paired_permutation_test(values - 0.5, n_permutations=999) < 0.05) > 0.2
    )


def test_true_differences_are_found():
    rng = np.random.default_rng(6)
    p_value = paired_permutation_test(rng.normal(0.5, 1, (100, 50)))
    assert np.mean(p_value < 0.05) > 0.95
    assert p_value.min() >= 1 / 10_000


def test_sums_that_tie_are_counted_by_hand():
    # 0.1 + 0.2 - 0.3 in any order is 0; of 8 ways, 6 sums are at least as far from 0.
    assert paired_permutation_test([0.1, 0.2, -0.3]) == 1
    assert paired_permutation_test([0.1, 0.2, 0.3]) == 2 / 8
    assert paired_permutation_test([0.3, 0.1, -0.2, 0.2]) == 8 / 16


def test_no_difference_at_all():
    assert paired_permutation_test(np.zeros(30)) == 1
    assert paired_permutation_test(np.zeros(5)) == 1


def test_draws_are_made():
    with pytest.raises(ValueError, match="n_resamples must be 1 or more draws, got 0"):
        bootstrap_interval([0.1, 0.2], n_resamples=0)
    with pytest.raises(ValueError, match="n_permutations must be 1 or more draws"):
        paired_permutation_test([0.1, 0.2], n_permutations=0)


@pytest.mark.parametrize(("wins", "n"), [(0, 5), (3, 7), (60, 100), (40, 40)])
def test_wilson_agrees_with_scipy(wins, n):
    expected = stats.binomtest(wins, n).proportion_ci(method="wilson")
    assert wilson_interval(wins / n, n) == pytest.approx(
        (expected.low, expected.high), abs=1e-12
    )
    assert np.isnan(wilson_interval(0.5, 0)).all()


def test_holm_by_hand():
    np.testing.assert_allclose(holm([0.02, 0.01, 0.5, 0.04]), [0.06, 0.04, 0.5, 0.08])
    assert holm([0.7, 0.6]).tolist() == [1, 1]


def test_holm_keeps_the_chance_of_any_false_alarm():
    rng = np.random.default_rng(7)
    p_values = rng.random((2000, 6))
    alarms = np.mean([holm(row).min() < 0.05 for row in p_values])
    assert alarms == pytest.approx(0.05, abs=0.02)
    assert np.mean(p_values.min(axis=1) < 0.05) > 0.2


class TestMistakes:
    @pytest.mark.parametrize("ask", [bootstrap_interval, paired_permutation_test])
    def test_too_few(self, ask):
        with pytest.raises(
            ValueError, match="computed from one query; pass two or more"
        ):
            ask([0.5])
        with pytest.raises(ValueError, match="one group of 3 queries"):
            ask([0.5, 0.2, 0.1], groups=["a"] * 3)

    def test_scores_that_are_none(self):
        with pytest.raises(ValueError, match="NaN"):
            bootstrap_interval([0.5, np.nan])

    def test_groups_of_other_queries(self):
        with pytest.raises(ValueError, match="inconsistent"):
            paired_permutation_test([0.5, 0.1], groups=[1])

    def test_confidence(self):
        with pytest.raises(ValueError, match="confidence.*got 95"):
            bootstrap_interval([0.5, 0.1], confidence=95)
