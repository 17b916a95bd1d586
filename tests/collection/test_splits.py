"""Nothing leaks from one side of a split to the other."""

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import (
    KFold,
    cross_val_score,
    train_test_split,
)
from sklearn.neighbors import KNeighborsClassifier

from geoimages import (
    Collection,
    LineageKFold,
    find_duplicates,
    groups_of,
    make_rocks,
    split,
    write_rocks,
)


@pytest.fixture(scope="module")
def leaky(tmp_path_factory):
    """60 pictures of random labels; a turned copy and a nameless darker one of each."""
    images, _ = make_rocks(60, random_state=1)
    labels = np.random.default_rng(0).choice(["a", "b"], 60)
    keys = [f"m.{i:02}" for i in range(60)]
    images = np.concatenate(
        [images, np.rot90(images, axes=(1, 2)), np.rint(images * 0.97).astype(np.uint8)]
    )
    keys += [f"{key}.90" for key in keys] + [f"x.{i:02}" for i in range(60)]
    path = tmp_path_factory.mktemp("leaky") / "leaky.h5"
    with Collection.from_arrays(path, images, np.tile(labels, 3), keys) as rocks:
        yield rocks


def memorise(rocks, train, test):
    rows = rocks.to_frame()
    model = KNeighborsClassifier(1).fit(rows.iloc[train], rocks.labels[train])
    return model.score(rows.iloc[test], rocks.labels[test])


def test_a_planted_leak_flatters_the_naive_split_and_not_the_safe_one(leaky):
    naive, safe = [], []
    for seed in range(5):
        naive.append(memorise(leaky, *train_test_split(range(180), random_state=seed)))
        parts = split(leaky, 0.25, random_state=seed)
        safe.append(memorise(leaky, parts.train, parts.test))
    assert np.mean(naive) > 0.7
    assert np.mean(safe) < 0.6


def test_a_planted_leak_flatters_naive_folds_and_not_the_safe_ones(leaky):
    rows, y, model = leaky.to_frame(), leaky.labels, KNeighborsClassifier(1)
    naive = cross_val_score(model, rows, y, cv=KFold(5, shuffle=True, random_state=0))
    groups = groups_of(leaky, duplicates=True)
    safe = cross_val_score(model, rows, y, cv=LineageKFold(5), groups=groups)
    assert naive.mean() > 0.75
    assert safe.mean() < 0.65


def test_groups_join_lineage_copies_and_column(leaky):
    assert len(np.unique(groups_of(leaky))) == 120
    found = find_duplicates(leaky)
    groups = groups_of(leaky, duplicates=found)
    np.testing.assert_array_equal(groups, np.tile(np.arange(60), 3))
    np.testing.assert_array_equal(groups_of(leaky, True), groups)
    hole = [""] * 178 + ["h", "h"]
    joined = groups_of(leaky, found, hole)
    assert len(np.unique(joined)) == 59
    assert joined[58] == joined[59] == joined[178]


def test_a_column_without_values_joins_nobody():
    assert groups_of(["a", "b", "c"], column=["", None, np.nan]).tolist() == [0, 1, 2]
    assert groups_of(range(3), column=[np.nan, 1.0, 1.0]).tolist() == [0, 1, 1]


def test_a_column_of_the_collection_stays_on_one_side(tmp_path):
    path = tmp_path / "a.h5"
    source = write_rocks(tmp_path / "rocks.zip", 240, random_state=0)
    with Collection.create(tmp_path / "plain.h5", source) as plain:
        keys = plain.keys
    table = pd.DataFrame({"file": keys, "hole": np.arange(240) % 40})
    with Collection.create(path, source, metadata=table) as rocks:
        hole = rocks.table["hole"].to_numpy()
        parts = split(rocks, 0.2, 0.1, column="hole", random_state=0)
        sides = [set(hole[part]) for part in parts]
        assert sum(map(len, sides)) == len(set.union(*sides)) == 40
        assert [len(part) for part in parts] == [168, 24, 48]
        with pytest.raises(KeyError, match="No column 'drill'; a.h5 has label"):
            split(rocks, column="drill")


@pytest.mark.parametrize("sizes", [(0.2, 0.0), (0.15, 0.25), (0.5, None)])
def test_every_part_gets_its_share_of_each_class(sizes, tmp_path):
    images, _ = make_rocks(400, random_state=0)
    labels = np.repeat(["a", "b", "c"], [300, 80, 20])
    with Collection.from_arrays(tmp_path / "a.h5", images, labels) as rocks:
        parts = split(rocks, *sizes, random_state=0)
        again = split(rocks, *sizes, random_state=0)
        other = split(rocks, *sizes, random_state=1)
    for part, same in zip(parts, again, strict=True):
        np.testing.assert_array_equal(part, same)
    assert (parts.test != other.test).any()
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(400))
    for part, share in ((parts.test, sizes[0]), (parts.dev, sizes[1] or 0)):
        for name, n in (("a", 300), ("b", 80), ("c", 20)):
            assert abs((labels[part] == name).sum() - share * n) <= 1


def test_many_small_classes_still_fill_the_parts(tmp_path):
    images, _ = make_rocks(150, random_state=0)
    labels = np.arange(150) // 3
    with Collection.from_arrays(tmp_path / "a.h5", images, labels) as rocks:
        assert len(split(rocks, 0.15, random_state=0).test) == pytest.approx(
            22.5, abs=2
        )


def test_groups_too_large_for_the_shares_are_named(leaky):
    hole = np.repeat(["h", "g"], 90)
    with pytest.raises(ValueError, match="groups, the largest of .* choose other"):
        split(leaky, 0.2, column=hole, random_state=0)


@pytest.mark.parametrize("sizes", [(1.0, 0), (0.6, 0.4), (-0.1, 0), (0, 0), (5, 0)])
def test_shares_leave_something_to_learn_from(leaky, sizes):
    with pytest.raises(ValueError, match="leave some pictures for training, got"):
        split(leaky, *sizes)


def test_bad_input_is_named(leaky):
    with pytest.raises(TypeError, match="split takes a Collection, got list"):
        split(["a"])
    for given in (None, np.zeros((2, 4, 4, 3)), {"a": 1}):
        with pytest.raises(TypeError, match="or a list of keys, got"):
            groups_of(given)
    with pytest.raises(ValueError, match="duplicates=True looks at pictures"):
        groups_of(["a"], duplicates=True)
    with pytest.raises(ValueError, match="duplicates is what find_duplicates returned"):
        groups_of(["a"], duplicates=["a"])
    found = find_duplicates(np.zeros((2, 4, 4, 3), np.uint8))
    with pytest.raises(ValueError, match="duplicates is what.*got DataFrame"):
        groups_of(["a"], duplicates=found.pairs)
    with pytest.raises(
        ValueError, match=r"of other pictures, such as \[0\], than \['a'"
    ):
        groups_of(["a", "b"], duplicates=found)
    with pytest.raises(ValueError, match="column holds 2 values for 1 pictures"):
        groups_of(["a"], column=["x", "y"])
    with pytest.raises(ValueError, match="column='hole' names a column of a Coll"):
        groups_of(["a"], column="hole")
    with pytest.raises(ValueError, match="pass a DataFrame whose index holds the keys"):
        next(LineageKFold().split(np.zeros((9, 2))))


def test_folds_know_turned_copies_by_the_index():
    keys = [f"m.{i}{turn}" for i in range(20) for turn in ("", ".90", ".180")]
    rows = pd.DataFrame({"x": range(60)}, index=keys)
    y = np.repeat(np.arange(20) % 2, 3)
    folds = list(LineageKFold(4, shuffle=True, random_state=0).split(rows, y))
    assert len(folds) == LineageKFold(4).get_n_splits() == 4
    groups = groups_of(rows)
    for train, test in folds:
        assert not set(groups[train]) & set(groups[test])
    for _, test in LineageKFold(4).split(
        rows, y
    ):  # shuffled only from scikit-learn 1.7
        assert abs(y[test].mean() - 0.5) < 0.25
    # Groups given are joined with the lineage, and numbers need no classes.
    of_ten = np.arange(60) // 10
    for train, test in LineageKFold(2).split(rows, np.arange(60) / 7, of_ten):
        assert not set(groups[train]) & set(groups[test])
        assert not set(of_ten[train]) & set(of_ten[test])
