"""Folds of the cross-validation that chooses a capacity."""

import numpy as np

from geoimages.neural.capacity import grouped_folds, join_siblings


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


def test_siblings_are_found_and_others_are_not():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(100, 12))
    rows[50:80] = rows[:30] + 0.3 * rng.normal(size=(30, 12))
    groups = join_siblings(rows, np.arange(100))
    np.testing.assert_array_equal(groups[:30], groups[50:80])
    assert len(set(groups)) >= 68
    # Copies stay together, and a sibling of one is that of all.
    given = np.arange(100)
    given[99] = 0
    groups = join_siblings(np.concatenate([rows[:99], rows[:1]]), given)
    assert groups[0] == groups[50] == groups[99]
    # A handful has no usual distance.
    np.testing.assert_array_equal(join_siblings(rows[:9], given[:9]), given[:9])
