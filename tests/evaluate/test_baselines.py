"""The plain models that a classifier's scores stand beside."""

import numpy as np
import pytest

from geoimages.evaluate import baselines
from geoimages.evaluate.baselines import (
    baseline_table,
    draw_for_baselines,
    fit_baselines,
)


def test_baselines_are_a_linear_model_and_the_commonest_class():
    rng = np.random.RandomState(0)
    y = np.repeat(["a", "b"], [30, 10])
    rows = (y == "b")[:, None] * 3.0 + rng.normal(size=(40, 2)) * 0.3
    table = baseline_table(fit_baselines(rows, y), rows, y)
    assert table.loc["logistic_regression", "accuracy"] == 1
    assert table.loc["largest_class", "accuracy"] == 0.75
    assert table.loc["largest_class", "calibration_error"] == pytest.approx(0)
    # Scored on others, the commonest class is still that of the training part.
    table = baseline_table(fit_baselines(rows, y), rows[25:], y[25:])
    assert table.loc["largest_class", "accuracy"] == pytest.approx(1 / 3)


def test_many_pictures_are_drawn_from_by_class(monkeypatch):
    monkeypatch.setattr(baselines, "MOST_PICTURES", 50)
    y = np.repeat(["a", "b", "c"], [300, 199, 1])
    drawn = draw_for_baselines(y)
    np.testing.assert_array_equal(drawn, np.unique(drawn))
    counts = [(y[drawn] == name).sum() for name in "abc"]
    assert counts == [30, 20, 1]
    np.testing.assert_array_equal(draw_for_baselines(y[:40]), np.arange(40))
