"""PairwiseModel and KMeansModel: the contracts on fitting and on candidates."""

import inspect
import tracemalloc
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from scipy.spatial.distance import cdist
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer

from geoimages import (
    Collection,
    ColorFeatures,
    KMeansModel,
    PairwiseModel,
    RockFeatures,
    similarity_from_distance,
)
from geoimages.search import integers

MODELS = [
    pytest.param(PairwiseModel(k_candidates=5), id="pairwise"),
    pytest.param(KMeansModel(k_candidates=5, random_state=0), id="kmeans"),
]


@pytest.fixture
def frame(pictures):
    images, labels = pictures
    keys = [f"{label}.{i:03d}" for i, label in enumerate(labels)]
    return pd.DataFrame(images.reshape(len(images), -1), index=keys)


@pytest.fixture(params=MODELS)
def model(request):
    return clone(request.param)


def test_the_ranked_table(model, frame):
    matches = model.fit(frame).predict(frame.index[0])
    assert matches.index.name == "key"
    assert list(matches.columns) == ["correlation", "similarity"]
    assert matches["correlation"].is_monotonic_increasing
    np.testing.assert_array_equal(
        matches["similarity"],
        similarity_from_distance(matches["correlation"], "correlation"),
    )
    assert len(matches) == 5
    assert frame.index[0] not in matches.index
    assert set(matches.index) <= set(frame.index)


@pytest.mark.parametrize("metric", ["correlation", "cosine", "euclidean", "cityblock"])
def test_pairwise_agrees_with_cdist(frame, metric):
    scaled = frame.to_numpy() / 255
    reference = cdist(scaled, scaled, metric)
    matches = PairwiseModel(10, metric).fit(frame).predict(frame)
    for i, key in enumerate(frame.index):
        found = matches.loc[key]
        np.testing.assert_allclose(found[metric], np.sort(reference[i])[:10], atol=1e-9)
        places = frame.index.get_indexer(found.index)
        np.testing.assert_allclose(found[metric], reference[i, places], atol=1e-9)


def test_the_same_rows_give_the_same_table_in_every_form(
    model, frame, pictures, tmp_path
):
    images, labels = pictures
    collection = Collection.from_arrays(
        tmp_path / "a.h5", images, labels, keys=frame.index
    )
    candidate = images[7]
    tables = [
        clone(model).fit(X, labels).predict(candidate)
        for X in (frame, frame / np.float32(255), collection)
    ]
    arrays = [
        clone(model).fit(X, labels).predict(candidate)
        for X in (images, images.reshape(len(images), -1), images / 255)
    ]
    for table in tables[1:]:
        pd.testing.assert_frame_equal(table, tables[0])
    for table in arrays:
        pd.testing.assert_frame_equal(table, arrays[0])
        assert [frame.index[i] for i in table.index] == list(tables[0].index)
        np.testing.assert_array_equal(table["correlation"], tables[0]["correlation"])


def test_one_candidate_however_it_is_given(model, frame, pictures):
    images, _ = pictures
    model.fit(frame)
    row = frame.iloc[3]
    tables = [
        model.predict(candidate)
        for candidate in (
            images[3],
            images[3].ravel(),
            images[3] / 255,
            (images[3] / 255).ravel().tolist(),
            row,
        )
    ]
    for table in tables:
        assert table.index.nlevels == 1
        pd.testing.assert_frame_equal(table, tables[0])
    assert tables[0].index[0] == frame.index[3]
    assert tables[0]["similarity"].iloc[0] == 1


@pytest.mark.parametrize("keys", [list, tuple, pd.Index, pd.Series, pd.array])
def test_keys_come_in_any_kind_of_list(model, frame, keys):
    names = frame.index[:2].tolist()
    table = model.fit(frame).predict(keys(names))
    assert list(table.index.unique("query")) == names


@pytest.mark.parametrize("X", [7, None, Path("a.jpg"), ["marble.001", 5], [Path("a")]])
def test_neither_keys_nor_pixels(model, frame, X):
    with pytest.raises(TypeError, match="neither a key or keys.*rocks.read") as error:
        model.fit(frame).predict(X)
    assert "\n" not in str(error.value)


def test_a_batch_has_a_query_level_even_for_one_row(model, frame, pictures):
    images, _ = pictures
    model.fit(frame)
    batches = {
        "rows": (images[[5, 2]].reshape(2, -1), [0, 1]),
        "pictures": (images[[5, 2]], [0, 1]),
        "frame": (frame.iloc[[5, 2]], list(frame.index[[5, 2]])),
        "keys": (list(frame.index[[5, 2]]), list(frame.index[[5, 2]])),
        "series of keys": (frame.index[[5, 2]].to_series(), list(frame.index[[5, 2]])),
        "one row": (frame.iloc[[5]], [frame.index[5]]),
        "one picture": (images[5:6], [0]),
        "one key": ([frame.index[5]], [frame.index[5]]),
    }
    for name, (X, queries) in batches.items():
        table = model.predict(X)
        assert table.index.names == ["query", "key"], name
        assert list(table.index.unique("query")) == queries, name
        assert len(table) == 5 * len(queries), name


def test_keys_exclude_their_lineage_and_pixels_nothing(pictures):
    images, labels = pictures
    images = images[:20]
    stacked = np.concatenate([np.rot90(images, turn, (1, 2)) for turn in range(4)])
    ends = ["", ".90", ".180", ".270"]
    keys = [f"rock.{i:02d}{end}" for end in ends for i in range(20)]
    frame = pd.DataFrame(stacked.reshape(80, -1), index=keys)
    model = PairwiseModel(80).fit(frame)
    family = {f"rock.07{end}" for end in ends}
    assert not family & set(model.predict("rock.07").index)
    assert not family & set(model.predict("rock.07.90").index)
    assert len(model.predict("rock.07")) == 76
    alone = model.predict("rock.07", exclude="self")
    assert family & set(alone.index) == family - {"rock.07"}
    assert model.predict("rock.07", exclude=None).index[0] == "rock.07"
    assert model.predict(frame.loc["rock.07"]).index[0] == "rock.07"
    with pytest.raises(ValueError, match="exclude='family'"):
        model.predict("rock.07", exclude="family")


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("metric", ["correlation", "cityblock", "chebyshev"])
def test_only_some_pictures_are_searched(model, metric, frame):
    model = clone(model).fit(frame)
    among = np.arange(0, 120, 3)
    mask = np.isin(np.arange(120), among)
    own = frame.index[6]
    found = model.predict(own, 120, metric, among=among)
    fewer = clone(model).fit(frame.iloc[among]).predict(own, 120, metric)
    assert len(found) == len(among) - 1
    assert found.equals(fewer)
    assert model.predict(own, 120, metric, among=mask).equals(found)
    batch = model.predict([own, frame.index[7]], 3, metric, among=among)
    assert len(batch) == 6
    assert set(batch.index.get_level_values("key")) <= set(frame.index[among])
    for wrong in ([120], [-1], [0.5], [[1]], [True]):
        with pytest.raises(ValueError, match="among"):
            model.predict(own, among=wrong)


def test_call_time_keywords_hold_for_one_call(model, frame):
    model.fit(frame)
    before = model.get_params()
    table = model.predict(frame.index[0], 3, "euclidean")
    assert table.shape == (3, 2)
    assert table.columns[0] == "euclidean"
    assert model.get_params() == before
    assert model.predict(frame.index[0], k_candidates=9).shape == (9, 2)


class Recorder:
    """An engine that remembers what it was asked with."""

    def __init__(self, engine):
        self.engine, self.asked = engine, []

    def search(self, *args, **kwargs):
        call = inspect.signature(self.engine.search).bind(*args, **kwargs)
        self.asked.append(call.arguments)
        return self.engine.search(*args, **kwargs)


def test_the_engine_searches_with_the_threads_of_the_model(model, frame):
    model.fit(frame).set_params(n_jobs=3)
    model.search_ = Recorder(model.search_)
    model.predict(frame.iloc[:2])
    assert [call["n_jobs"] for call in model.search_.asked] == [3]


def test_predict_changes_nothing_in_the_model(model, frame):
    model.fit(frame).set_params(n_jobs=2)
    before = joblib.hash(model)
    model.predict(frame, 7, "euclidean", orientation="any")
    assert joblib.hash(model) == before


def test_more_than_there_are_gives_all(model, frame):
    model.fit(frame)
    assert len(model.predict(frame.index[0], 999)) == len(frame) - 1
    assert len(model.predict(frame.iloc[0], 999)) == len(frame)


def test_kneighbors_as_scikit_learn(model, frame):
    model.fit(frame)
    distances, positions = model.kneighbors(frame.iloc[:4], n_neighbors=3)
    assert distances.shape == positions.shape == (4, 3)
    assert positions[:, 0].tolist() == [0, 1, 2, 3]
    _, others = model.kneighbors(n_neighbors=3)
    assert others.shape == (len(frame), 3)
    assert not (others == np.arange(len(frame))[:, None]).any()
    with pytest.raises(ValueError, match="n_neighbors <= 120.*n_neighbors=121"):
        model.kneighbors(frame, n_neighbors=121)
    with pytest.raises(ValueError, match="n_neighbors <= 119"):
        model.kneighbors(n_neighbors=120)


def test_kneighbors_of_a_key_exclude_its_rotated_copies(model, pictures):
    images = np.concatenate([np.rot90(pictures[0][:20], t, (1, 2)) for t in range(4)])
    keys = [f"rock.{i}{end}" for end in ("", ".90", ".180", ".270") for i in range(20)]
    frame = pd.DataFrame(images.reshape(80, -1), index=keys)
    model.set_params(clusters_searched=3) if isinstance(model, KMeansModel) else None
    model.fit(frame)
    _, positions = model.kneighbors(["rock.7", "rock.8.90"], n_neighbors=76)
    for own, found in zip((7, 8), positions, strict=True):
        assert sorted(found) == [i for i in range(80) if i % 20 != own]
    with pytest.raises(ValueError, match="n_neighbors <= 76"):
        model.kneighbors("rock.7", n_neighbors=77)
    _, positions = model.kneighbors(n_neighbors=79)
    assert sorted(positions[7]) == [i for i in range(80) if i != 7]


def test_score_is_precision_at_k(frame, pictures):
    _, labels = pictures
    model = PairwiseModel(5).fit(frame, labels)
    keys = list(frame.index[:30])
    matches = model.predict(keys)
    label_of = dict(zip(frame.index, labels, strict=True))
    wanted = np.mean([label_of[key] == label_of[query] for query, key in matches.index])
    assert model.score(keys, labels[:30]) == pytest.approx(wanted)
    with pytest.raises(ValueError, match="fitted without"):
        PairwiseModel().fit(frame).score(keys, labels[:30])
    with pytest.raises(ValueError, match="inconsistent"):
        model.score(keys, labels[:3])


def test_a_collection_brings_its_labels(model, rocks):
    model.fit(rocks)
    np.testing.assert_array_equal(model.y_, rocks.labels)
    assert list(model.keys_) == list(rocks.keys)
    assert 0 < model.score(rocks, rocks.labels) <= 1
    table = model.predict(rocks)
    assert list(table.index.unique("query")) == list(rocks.keys)


def test_a_collection_brings_its_labels_to_the_features(model, rocks):
    model.set_params(features=LinearDiscriminantAnalysis(), dist_metric="euclidean")
    model.fit(rocks)
    assert list(model.features_.classes_) == list(rocks.classes)


@pytest.mark.parametrize("features", ["rock", PCA, 5])
def test_features_that_are_no_transformer(model, frame, features):
    with pytest.raises(TypeError, match="is not a transformer; pass one"):
        model.set_params(features=features).fit(frame)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda X: X[:, 0], r"returned float32 of shape \(120,\) for 120 pictures"),
        (csr_matrix, r"expected dense numbers of shape \(120, n_features\)"),
        (lambda X: X[:, :3] + np.nan, "returned NaN or infinity"),
    ],
)
def test_features_that_cannot_be_compared(model, frame, function, says):
    with pytest.raises(ValueError, match=says):
        model.set_params(features=FunctionTransformer(function)).fit(frame)


class TwiceTheMean(TransformerMixin, BaseEstimator):
    """Counts its fits; knows no image_shape."""

    def fit(self, X, y=None):
        self.fits_ = getattr(self, "fits_", 0) + 1
        self.largest_ = X.max()
        return self

    def transform(self, X):
        return np.column_stack([2 * X.mean(axis=1), X.std(axis=1), X.max(axis=1)])


def test_features_are_cloned_fitted_and_compared(model, frame):
    features = TwiceTheMean()
    model.set_params(features=features, dist_metric="euclidean").fit(frame)
    assert not hasattr(features, "fits_")
    assert model.features_.fits_ == 1
    assert model.features_.largest_ <= 1  # a foreign transformer gets 0–1
    rows = TwiceTheMean().fit(frame).transform(frame.to_numpy() / np.float32(255))
    assert model.search_.rows.shape == rows.shape
    wanted = np.sort(cdist(rows[:1], rows))[0, 1]
    if isinstance(model, PairwiseModel):
        table = model.predict(frame.index[0])
        assert table["euclidean"].iloc[0] == pytest.approx(wanted, rel=1e-4)


def test_frozen_features_are_not_fitted_again(frame):
    scaled = frame.to_numpy() / np.float32(255)
    pca = PCA(4, random_state=0).fit(scaled[:50])
    model = PairwiseModel(3, "euclidean", FrozenEstimator(pca)).fit(frame)
    np.testing.assert_allclose(model.search_.rows, pca.transform(scaled), atol=1e-4)


class MeanLevel(TransformerMixin, BaseEstimator):
    """Takes pictures, and keeps what it was given."""

    takes_pictures = True

    def fit(self, X, y=None):
        self.given_ = X
        return self

    def transform(self, X):
        return X.mean(axis=(1, 2))


@pytest.mark.parametrize("wrap", [clone, make_pipeline, lambda f: FrozenEstimator(f)])
def test_features_that_take_pictures_get_them_as_they_are(frame, pictures, wrap):
    features = MeanLevel().fit(pictures[0])
    model = PairwiseModel(3, "euclidean", wrap(features)).fit(frame)
    np.testing.assert_allclose(
        model.search_.rows, pictures[0].mean(axis=(1, 2)), rtol=1e-6
    )
    if wrap is clone:
        assert model.features_.given_.dtype == np.uint8


def test_fitted_features_have_the_parameters_that_were_given(pictures):
    images = np.concatenate([pictures[0][:20, 3:], pictures[0][:20, 3:, :, :1]], axis=3)
    model = PairwiseModel(2, features=RockFeatures(conv=0)).fit(images)
    assert repr(model.features_) == "RockFeatures(conv=0)"
    assert model.features_.image_shape_ == (25, 28, 4)


def test_a_union_of_both_kinds_of_features(pictures):
    def union(**shape):
        return make_union(ColorFeatures(**shape), PCA(2, random_state=0))

    images = pictures[0][:30]
    rows = PairwiseModel(3, "euclidean", union()).fit(images).search_.rows
    colors = ColorFeatures().fit_transform(images / np.float32(255))
    np.testing.assert_allclose(rows[:, :-2], colors, atol=1e-3)
    with pytest.raises(ValueError, match=r"set image_shape=\(20, 28, 3\) in Color"):
        PairwiseModel(features=union()).fit(images[:, :20])
    model = PairwiseModel(features=union(image_shape=(20, 28, 3)))
    assert len(model.fit(images[:, :20]).predict(images[0, :20], 3)) == 3


def test_features_of_a_collection_are_cached_when_it_is_writable(pictures, tmp_path):
    images, labels = pictures
    path = tmp_path / "a.h5"
    Collection.from_arrays(path, images, labels).close()
    model = PairwiseModel(3, "euclidean", PCA(4, random_state=0))
    with Collection(path) as rocks:
        table = clone(model).fit(rocks).predict(rocks.keys[0])
    with Collection(path, "r+") as rocks:
        pd.testing.assert_frame_equal(
            clone(model).fit(rocks).predict(rocks.keys[0]), table
        )
        assert len(rocks.cache.files()) == 1
        clone(model).fit(rocks)
        assert len(rocks.cache.files()) == 1


def test_masked_pictures_are_compared_on_white(pictures):
    images, _ = pictures
    images = images[:10]
    mask = np.zeros((10, 28, 28, 1), np.uint8)
    mask[:, 5:20, 5:20] = 255
    rgba = np.concatenate([images, mask], axis=3)
    white = np.where(mask > 0, images, 255).astype(np.uint8)
    model = PairwiseModel(4).fit(rgba)
    pd.testing.assert_frame_equal(
        model.predict(rgba[0]), PairwiseModel(4).fit(white).predict(white[0])
    )
    repainted = rgba.copy()
    repainted[..., :3] = np.where(mask > 0, images, 7)
    pd.testing.assert_frame_equal(model.predict(repainted[0]), model.predict(rgba[0]))
    assert model.image_shape_ == (28, 28, 4)


def test_order_of_rows_does_not_matter(model, frame):
    shuffled = frame.iloc[np.random.default_rng(0).permutation(len(frame))]
    other = clone(model).fit(shuffled)
    pd.testing.assert_frame_equal(model.fit(frame).predict(frame), other.predict(frame))
    if isinstance(model, KMeansModel):
        assert model.model_inertias([2, 5]) == other.model_inertias([2, 5])


@pytest.mark.parametrize("missing", [None, np.nan, pd.NaT])
def test_a_missing_key_is_refused(model, frame, missing):
    frame.index = [missing, *frame.index[1:]]
    with pytest.raises(ValueError, match="Row 0 has no key"):
        model.fit(frame)


@pytest.mark.parametrize("key", ["rock\0", "\0", "", " rock", "rock ", "Rock"])
def test_a_key_is_found_as_it_is_only(model, frame, key):
    frame.index = ["rock", *frame.index[1:]]
    model.fit(frame)
    assert len(model.predict("rock")) == 5
    with pytest.raises(KeyError, match="is not a key"):
        model.predict(["rock", key])


def test_a_long_key_takes_no_memory(frame):
    model = PairwiseModel().fit(frame)
    tracemalloc.start()
    with pytest.raises(KeyError, match="is not a key"):
        model.predict("x" * 10**6)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6 * len(frame) / 2  # all keys as wide would take 4 MB each


def test_keys_that_differ_by_what_cannot_be_kept(model, frame):
    frame.index = ["rock", "rock\0", *map(str, frame.index[2:])]
    with pytest.raises(ValueError, match="'rock' stands for several rows"):
        model.fit(frame)


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint16", "int64", "f2", "longdouble"]
)
def test_features_of_any_number(pictures, dtype):
    def levels(rows):
        return (rows[:, :40] * 100).astype(dtype)

    def answer(function):
        model = PairwiseModel(5, "cosine", FunctionTransformer(function))
        return model.fit(pictures[0]).predict(pictures[0][:3])

    wanted = answer(lambda rows: levels(rows).astype(np.float64))
    pd.testing.assert_frame_equal(answer(levels), wanted)


def test_mixed_keys_have_an_order():
    rows = np.ones((4, 5)) * np.array([[1], [1], [1], [1]]) + 0.3
    frame = pd.DataFrame(rows, index=["b", 2, "a", 1])
    table = PairwiseModel(4, "euclidean").fit(frame).predict(rows[0])
    assert list(table.index) == [1, 2, "a", "b"]


class TestMistakes:
    def test_a_number_as_y(self, frame):
        with pytest.raises(TypeError, match="num_clusters=4"):
            KMeansModel().fit(frame, 4)
        with pytest.raises(TypeError, match="k_candidates=4"):
            PairwiseModel().fit(frame, 4)

    def test_keys_that_stand_twice(self, frame):
        twice = pd.concat([frame, frame.iloc[:1]])
        with pytest.raises(ValueError, match=f"'{frame.index[0]}' stands for several"):
            PairwiseModel().fit(twice)

    def test_an_unknown_key(self, model, frame):
        model.fit(frame)
        with pytest.raises(KeyError, match="'granite.1' is not a key of the 120"):
            model.predict("granite.1")
        with pytest.raises(KeyError, match=r"file first: model.predict\(rocks.read\("):
            model.predict("noise.png")
        with pytest.raises(KeyError, match="'granite.1'"):
            model.predict([frame.index[0], "granite.1"])

    @pytest.mark.parametrize("k", [0, -3])
    def test_too_few_candidates(self, model, frame, k):
        with pytest.raises(ValueError, match="k_candidates must be 1 or more"):
            model.fit(frame).predict(frame.index[0], k)

    @pytest.mark.parametrize("k", [2.5, "7", True])
    def test_no_number_of_candidates(self, model, frame, k):
        with pytest.raises(TypeError, match="k_candidates must be an integer"):
            model.fit(frame).predict(frame.index[0], k)

    def test_an_unknown_metric(self, model, frame):
        with pytest.raises(ValueError, match="dist_metric='manhattan'"):
            model.fit(frame).predict(frame.index[0], dist_metric="manhattan")

    def test_unknown_options_are_said_at_fit(self, model, frame):
        with pytest.raises(ValueError, match="dist_metric='L2'"):
            clone(model).set_params(dist_metric="L2").fit(frame)
        with pytest.raises(ValueError, match="metric_params has 'q'"):
            clone(model).set_params(metric_params={"q": 3}).fit(frame)

    @pytest.mark.parametrize("nothing", [[], (), np.array([])])
    def test_no_candidate(self, model, frame, nothing):
        with pytest.raises(ValueError, match="X holds no candidate"):
            model.fit(frame).predict(nothing)

    def test_pixels_of_another_shape(self, model, frame):
        with pytest.raises(ValueError, match="27 × 28 × 3, expected 28 × 28 × 3"):
            model.fit(frame).predict(np.zeros((27, 28, 3), np.uint8))

    def test_labels_of_another_length(self, model, frame):
        with pytest.raises(ValueError, match="inconsistent"):
            model.fit(frame, ["a"] * 3)


class TestKMeansModel:
    def test_finds_only_in_the_nearest_clusters(self, frame):
        model = KMeansModel(6, 4, random_state=0).fit(frame)
        table = model.predict(frame.iloc[0])
        cluster = dict(zip(model.keys_, model.labels_, strict=True))
        own = cluster[frame.index[0]]
        assert {cluster[key] for key in table.index} == {own}
        every = model.predict(frame.iloc[0], clusters_searched=6)
        pd.testing.assert_frame_equal(
            every, PairwiseModel(4).fit(frame).predict(frame.iloc[0])
        )

    def test_the_next_clusters_follow_where_one_is_too_small(self, frame):
        model = KMeansModel(40, random_state=0).fit(frame)
        sizes = np.bincount(model.labels_)
        for key in frame.index[:20]:
            assert len(model.predict(key, 30)) == 30
        assert sizes.max() < 30

    def test_positions_are_those_given_to_fit(self, frame):
        model = KMeansModel(6, 4, clusters_searched=6, random_state=0).fit(frame)
        found = model.kneighbors(frame, 5)[1]
        wanted = PairwiseModel().fit(frame).kneighbors(frame, 5)[1]
        np.testing.assert_array_equal(found, wanted)
        for c in range(6):
            part = model.search_.rows[model.search_.members(c)]
            members = frame.to_numpy()[model.labels_ == c]
            np.testing.assert_array_equal(part, members)

    def test_a_batch_reads_each_cluster_once(self, frame, monkeypatch):
        model = KMeansModel(3, 4, random_state=0).fit(frame)
        read = []
        dots = integers.dots

        def counting(rows, queries):
            if len(queries) > 1:  # one is a sum over columns
                read.append(rows)
            return dots(rows, queries)

        monkeypatch.setattr(integers, "dots", counting)
        model.predict(frame)
        stored = [rows for rows in read if np.shares_memory(rows, model.search_.rows)]
        assert sorted(len(rows) for rows in stored) == sorted(
            np.bincount(model.labels_)
        )

    def test_metrics_go_by_their_short_names(self, frame):
        model = KMeansModel(random_state=0, dist_metric="cos").fit(frame)
        assert model.predict(frame.index[0]).columns[0] == "cosine"

    def test_more_clusters_than_pictures(self, frame):
        with pytest.raises(ValueError, match=r"num_clusters=3 .* \(n_samples=2\)"):
            KMeansModel().fit(frame.iloc[:2])

    def test_one_number_is_no_range(self, frame):
        model = KMeansModel(random_state=0).fit(frame)
        with pytest.raises(TypeError, match=r"got 3; pass range\(1, 4\)"):
            model.model_inertias(3)

    def test_num_clusters_of_one_call(self, frame):
        model = KMeansModel(random_state=0).fit(frame, num_clusters=7)
        assert len(model.cluster_centers_) == 7
        assert model.num_clusters == 3
        assert len(model.fit(frame).cluster_centers_) == 3

    def test_inertias_are_those_of_fresh_models(self, frame):
        model = KMeansModel(random_state=0).fit(frame)
        centers = model.cluster_centers_.copy()
        inertias = model.model_inertias(range(1, 6))
        assert len(inertias) == 5
        assert (np.diff(inertias) < 0).all()
        np.testing.assert_array_equal(model.cluster_centers_, centers)
        assert inertias[2] == pytest.approx(model.inertia_)
        scaled = frame.to_numpy() / 255
        total = ((scaled - scaled.mean(axis=0)) ** 2).sum()
        assert inertias[0] == pytest.approx(total, rel=1e-4)

    @pytest.mark.parametrize(
        ("clusters", "message"),
        [([0], "must be 1 or more"), ([121], "holds 121, but only 120")],
    )
    def test_impossible_numbers_of_clusters(self, frame, clusters, message):
        model = KMeansModel(random_state=0).fit(frame)
        with pytest.raises(ValueError, match=message):
            model.model_inertias(clusters)

    def test_seeds_repeat(self, frame):
        labels = [
            KMeansModel(9, random_state=3).fit(frame).labels_.tolist() for _ in range(2)
        ]
        assert labels[0] == labels[1]
