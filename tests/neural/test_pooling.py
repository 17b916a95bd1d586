"""Pooling: the temperatures of two experts."""

import numpy as np
import pytest
from scipy.special import log_softmax

from geoimages.neural.pooling import fit_temperatures, temper


def test_each_expert_has_its_own_temperature():
    rng = np.random.default_rng(0)
    true = log_softmax(2 * rng.normal(size=(6000, 4)), axis=1)
    share = rng.uniform(size=6000)
    codes = (np.exp(true).cumsum(axis=1) < rng.random((6000, 1))).sum(axis=1)
    # Too sure where the share is small, not sure enough where it is large.
    answers = true * (1.6 ** (1 - share) * 0.8**share)[:, None]
    found = fit_temperatures(answers, share, codes)
    assert found == pytest.approx([1.6, 0.8], rel=0.1)
    assert np.exp(temper(answers, share, found)).sum(axis=1) == pytest.approx(1)


def test_a_few_answers_hardly_move_the_temperatures():
    answers = log_softmax(np.eye(3)[[0, 1, 2, 0]], axis=1)
    found = fit_temperatures(answers, np.ones(4), np.array([0, 1, 2, 0]))
    assert found[0] == pytest.approx(1)
    assert 0.7 < found[1] < 1
