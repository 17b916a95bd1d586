"""Adding pictures to a fitted model and taking them out."""

import numpy as np
import pandas as pd
import pytest

from geoimages import (
    Collection,
    KMeansModel,
    PairwiseModel,
    PatternFeatures,
    RockFeatures,
    make_rocks,
)

MODELS = [
    PairwiseModel(),
    PairwiseModel(features=RockFeatures(), algorithm="partitioned"),
    PairwiseModel(algorithm="partitioned", dist_metric="euclidean"),
    KMeansModel(6, random_state=0),
    KMeansModel(6, features=RockFeatures(), recall_target=0.9, random_state=0),
    PairwiseModel(features=PatternFeatures(), orientation="rotations"),
]


@pytest.fixture(scope="module")
def rocks():
    images, labels = make_rocks(240, random_state=0)
    return images, labels


@pytest.fixture(scope="module")
def frame(rocks):
    images, _ = rocks
    names = [f"rock.{i:03}" for i in range(240)]
    names[3] = "rock.000.90"
    return pd.DataFrame(images.reshape(240, -1), index=names)


def state(model):
    """What answers follow from."""
    return {
        "keys": model.keys_,
        "y": model.y_,
        "lineage": model.lineage_,
        "rank": model.search_rank_,
        "rows": model.search_.rows,
        "labels": getattr(model.search_, "labels", None),
        "searched": model.clusters_searched_,
        "thumbnails": model.thumbnails_,
        "pictures": model.pictures_,
    }


def assert_same(model, other):
    for name, value in state(model).items():
        np.testing.assert_array_equal(value, state(other)[name], err_msg=name)
        if isinstance(value, np.ndarray):
            assert value.dtype == state(other)[name].dtype


@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_add_then_remove_is_never_added(model, frame, rocks):
    y = rocks[1]
    model.fit(frame.iloc[:160], y[:160])
    before = state(model)
    asked = rocks[0][160:180]
    wanted = model.predict(asked, k_candidates=5)
    added = frame.iloc[160:200].rename(index=lambda key: "a longer name " + key)
    model.add(added, y[160:200])
    assert len(model.keys_) == len(model.search_) == len(model.y_) == 200
    own = model.predict(asked, k_candidates=1).index.get_level_values("key")
    assert np.mean(own == added.index[:20]) > 0.9
    model.remove(added.index.tolist())
    assert model.n_rebuilds_ == 0
    for name, value in state(model).items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)
    pd.testing.assert_frame_equal(model.predict(asked, k_candidates=5), wanted)


@pytest.mark.parametrize("metric", ["correlation", "euclidean", "seuclidean"])
def test_exact_search_is_as_if_fitted_at_once(frame, rocks, metric):
    y = rocks[1]
    grown = PairwiseModel(dist_metric=metric).fit(frame.iloc[:200], y[:200])
    grown.add(frame.iloc[200:], y[200:]).remove(["rock.007", "rock.230"])
    at_once = frame.drop(index=["rock.007", "rock.230"])
    whole = PairwiseModel(dist_metric=metric).fit(at_once, np.delete(y, [7, 230]))
    assert_same(grown, whole)
    pd.testing.assert_frame_equal(
        grown.neighbors_table(3).iloc[:90], whole.neighbors_table(3).iloc[:90]
    )


def test_lineage_follows(frame):
    model = PairwiseModel().fit(frame.drop(index="rock.000.90"))
    model.add(frame.loc[["rock.000.90"]])
    assert model.predict("rock.000.90", 3).index.isin(["rock.000"]).sum() == 0
    model.remove("rock.000")
    assert len(set(model.lineage_)) == len(model.keys_)


def test_rows_between_the_levels_of_a_byte(frame):
    model = PairwiseModel().fit(frame.iloc[:50])
    finer = frame.iloc[50:60] / 255 + 1e-3
    model.add(finer)
    assert model.search_.rows.dtype == np.float64
    whole = pd.concat([frame.iloc[:50] / 255, finer])
    np.testing.assert_allclose(model.search_.rows, whole, atol=1e-15)
    model.remove(finer.index)
    assert model.search_.rows.dtype == np.uint8
    model.add(frame.iloc[60:70] / 255)
    np.testing.assert_array_equal(model.search_.rows[50:], frame.iloc[60:70])


def test_arrays_count_on(rocks):
    model = PairwiseModel().fit(rocks[0][:20]).remove(4).add(rocks[0][20:22])
    assert model.keys_.tolist() == [*range(4), *range(5, 22)]
    assert model.predict(rocks[0][21], k_candidates=1).index.tolist() == [21]


def test_a_collection_is_added(rocks, tmp_path):
    first = Collection.from_arrays(tmp_path / "a.h5", rocks[0][:60], rocks[1][:60])
    model = PairwiseModel(features=RockFeatures(), orientation="rotations").fit(first)
    more = pd.DataFrame(rocks[0][60:70].reshape(10, -1))
    model.add(more.rename(index="new.{}".format), rocks[1][60:70])
    assert model.predict("new.3", 2).index.isin(["new.3"]).sum() == 0
    model.remove([f"new.{i}" for i in range(10)])
    np.testing.assert_array_equal(model.pictures_, first[:])


def test_clusters_that_lost_their_balance_are_made_again(rocks):
    model = KMeansModel(4, random_state=0).fit(rocks[0][:60])
    model.add(rocks[0][60:])
    assert model.n_rebuilds_ == 1
    whole = KMeansModel(4, random_state=0).fit(rocks[0])
    assert_same(model, whole)
    assert model.inertia_ == pytest.approx(whole.inertia_)
    model.remove(list(range(50, 240)))
    assert model.n_rebuilds_ == 2
    many = PairwiseModel(algorithm="partitioned").fit(rocks[0][:30]).add(rocks[0][30:])
    assert many.n_rebuilds_ == 1
    assert_same(many, PairwiseModel(algorithm="partitioned").fit(rocks[0]))


def test_the_inertia_follows(rocks):
    model = KMeansModel(4, random_state=0).fit(rocks[0][:100])
    before = model.inertia_
    model.add(rocks[0][100:110])
    assert model.inertia_ > before
    assert len(model.labels_) == 110
    model.remove(list(range(100, 110)))
    assert model.inertia_ == pytest.approx(before)


def test_mistakes_change_nothing(frame, rocks):
    y = rocks[1]
    model = KMeansModel(5, random_state=0).fit(frame.iloc[:30], y[:30])
    before = state(model)
    for X, labels, says in [
        (frame.iloc[29:32], y[29:32], "'rock.029' already exists or is repeated"),
        (frame.iloc[[40, 40]], y[:2], "'rock.040' already exists or is repeated"),
        (frame[40:41].set_axis(["rock.029\0"]), y[:1], "'rock.029' already exists"),
        (frame.iloc[30:32], None, "fitted with labels; pass y, one label"),
        (frame.iloc[30:32], y[:1], "inconsistent numbers of samples"),
        (rocks[0][:2], y[:2], "keys of their own, for example 'rock.000'"),
        (rocks[0][:2, :9], y[:2], "9"),
    ]:
        with pytest.raises(ValueError, match=says):
            model.add(X, labels)
    with pytest.raises(KeyError, match="'rock.9' is not a key"):
        model.remove(["rock.001", "rock.9"])
    with pytest.raises(ValueError, match="Only 4 of 30 pictures would be left, and"):
        model.remove(frame.index[4:30])
    with pytest.raises(ValueError, match="without labels; omit y"):
        PairwiseModel().fit(rocks[0][:9]).add(rocks[0][9:12], y[:3])
    for name, value in state(model).items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)
