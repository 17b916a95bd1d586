"""Folds of the cross-validation that chooses a capacity."""

import numpy as np

from geoimages.neural.capacity import grouped_folds


def test_groups_share_a_fold_and_every_class_is_learned():
    codes = np.arange(60) % 4
    groups = np.arange(60) // 8
    folds = grouped_folds(codes, groups, np.random.RandomState(0))
    assert len(folds) == 3
    for inside, outside in folds:
        assert not set(groups[inside]) & set(groups[outside])
        assert set(codes[inside]) == set(range(4))
    outside = np.concatenate([outside for _, outside in folds])
    np.testing.assert_array_equal(np.sort(outside), np.arange(60))


def test_a_class_of_one_group_cannot_be_held_out():
    rng = np.random.RandomState(0)
    assert grouped_folds(np.array([0, 0, 0, 1]), None, rng) == []
    assert grouped_folds(np.arange(8) % 2, [0, 1, 2, 1, 3, 1, 4, 1], rng) == []
    assert len(grouped_folds(np.array([0, 0, 0, 1, 1]), None, rng)) == 2
