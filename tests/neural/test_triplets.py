"""TripletEmbedding: learning from labels and from judgments, and refusing."""

import copy

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import label_ranking_average_precision_score
from sklearn.model_selection import train_test_split
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline

from geoimages import (
    PairwiseModel,
    RockFeatures,
    TripletEmbedding,
    load,
    make_rocks,
    save,
)

MINING = ["semi-hard", "batch-hard", "batch-all"]
QUICK = TripletEmbedding(
    8, hidden_layer_sizes=(16,), learning_rate_init=0.01, max_epochs=6, random_state=0
)


@pytest.fixture(scope="module")
def data():
    """Four classes in 3 of 12 columns; the others are noise, and louder."""
    X, y = make_blobs(600, n_features=3, centers=4, cluster_std=0.7, random_state=0)
    noise = np.random.default_rng(0).normal(0, 10, (600, 9))
    X = np.hstack([X, noise]).astype(np.float32)
    return train_test_split(X, np.array(list("abcd"))[y], random_state=0)


def precision(stored, labels, queries, wanted, k=10):
    found = NearestNeighbors(n_neighbors=k).fit(stored).kneighbors(queries)[1]
    return (labels[found] == wanted[:, None]).mean()


@pytest.mark.parametrize("mining", MINING)
@pytest.mark.parametrize("hidden", [(), (32,)])
def test_rows_of_a_class_come_together(data, mining, hidden):
    X, queries, y, wanted = data
    model = TripletEmbedding(
        8,
        hidden_layer_sizes=hidden,
        mining=mining,
        learning_rate_init=0.01,
        max_epochs=10,
        batch_size=128,
        random_state=0,
    )
    stored = model.fit(X, y).transform(X)
    before = precision(X, y, queries, wanted)
    after = precision(stored, y, model.transform(queries), wanted)
    assert before < 0.6
    assert after > 0.8


def test_rows_have_length_1_and_names(data):
    model = clone(QUICK).fit(data[0], data[2])
    out = model.transform(data[1])
    assert out.shape == (150, 8)
    assert out.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(out, axis=1), 1, atol=1e-6)
    assert model.get_feature_names_out()[-1] == "tripletembedding7"
    np.testing.assert_allclose(model.transform(data[1][:1]), out[:1], atol=1e-7)


def test_units_of_columns_do_not_matter(data):
    X, queries, y, _ = data
    units = 10.0 ** np.arange(-3, 3)[np.arange(12) % 6]
    a = clone(QUICK).fit(X, y).transform(queries)
    b = clone(QUICK).fit(X * units + 5, y).transform(queries * units + 5)
    assert np.einsum("ij,ij->i", a, b).min() > 0.95


def test_the_learning_curve_is_kept(data):
    model = clone(QUICK).fit(data[0], data[2])
    assert model.n_iter_ == len(model.loss_curve_) == 6
    assert len(model.validation_score_curve_) == 6
    assert model.validation_score_curve_[-1] > model.validation_score_curve_[0]
    assert 0.5 < model.validation_score_curve_[-1] <= 1
    plain = clone(QUICK).set_params(validation_fraction=0).fit(data[0], data[2])
    assert plain.validation_score_curve_ == []


def test_training_stops_early(data):
    model = clone(QUICK).set_params(max_epochs=80, n_epochs_no_change=2)
    assert model.fit(data[0], data[2]).n_iter_ < 80


def test_the_last_epochs_are_averaged(data):
    a, b = (
        clone(QUICK).set_params(averaged_epochs=n).fit(data[0], data[2]) for n in (1, 3)
    )
    assert a.loss_curve_ == b.loss_curve_
    assert (a.coefs_[0] != b.coefs_[0]).any()


def test_seeds_repeat(data):
    X, queries, y, _ = data
    a, b, c = (
        clone(QUICK).set_params(random_state=seed).fit(X, y).transform(queries)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()


def test_a_class_of_one_row_is_told_from_the_others():
    X = np.random.default_rng(0).normal(size=(21, 3))
    X[20] += 30
    model = clone(QUICK).fit(X, np.array([0] * 10 + [1] * 10 + [2]))
    assert np.isfinite(model.transform(X)).all()


def test_few_rows_choose_the_capacity(data):
    X, queries, y, wanted = data
    model = TripletEmbedding(8, max_epochs=8, random_state=0).fit(X[:120], y[:120])
    scores = model.capacity_scores_
    assert list(scores) == ["principal components", "()", "(512,)"]
    best = max(scores, key=scores.get)
    # Nine loud columns of noise: training pays.
    assert scores[best] > scores["principal components"] + 0.2
    assert str(model.hidden_layer_sizes_) == best
    assert len(model.coefs_) == 1 + len(model.hidden_layer_sizes_)
    stored = model.transform(X[:120])
    assert precision(stored, y[:120], model.transform(queries), wanted) > 0.8
    fixed = clone(QUICK).fit(X, y)
    assert (fixed.hidden_layer_sizes_, fixed.capacity_scores_) == ((16,), {})


def test_where_training_does_not_pay_components_are_kept(tmp_path):
    X, y = make_blobs(60, 12, centers=3, cluster_std=0.1, random_state=0)
    model = TripletEmbedding(4, max_epochs=2, random_state=0).fit(X, y)
    assert model.capacity_scores_["principal components"] == 1
    assert model.n_iter_ == 0
    rows = (X - X.mean(axis=0)) / X.std(axis=0)
    expected = PCA(4).fit(rows).components_
    np.testing.assert_allclose(abs(model.coefs_[0].T), abs(expected), atol=1e-3)
    save(model, tmp_path / "model.skops")
    loaded = load(tmp_path / "model.skops")
    np.testing.assert_array_equal(loaded.transform(X), model.transform(X))


def test_copies_stay_in_one_fold():
    # Two pictures of each class, which have nothing in common, and ten copies of each.
    X = np.tile(np.random.default_rng(0).normal(size=(6, 20)), (10, 1))
    y, groups = np.tile([0, 1, 2, 0, 1, 2], 10), np.tile(range(6), 10)
    model = TripletEmbedding(4, max_epochs=2, random_state=0)
    apart = model.fit(X, y).capacity_scores_["principal components"]
    together = model.fit(X, y, groups).capacity_scores_["principal components"]
    assert together < 0.6 < apart


def test_wrong_layers_are_refused(data):
    with pytest.raises(ValueError, match="tuple of int or \"auto\", got 'many'"):
        TripletEmbedding(hidden_layer_sizes="many").fit(data[0], data[2])


# Judgments: people look at 3 of 10 columns.


def judge(X, n, rng, noise=0.2, of=None):
    """Judgments by the first three columns, some of them by mistake."""
    of = np.arange(len(X)) if of is None else of
    triplets = np.array([rng.choice(of, 3, replace=False) for _ in range(n)])
    a, b, c = X[triplets, :3].transpose(1, 0, 2)
    nearer = np.log(((a - b) ** 2).sum(axis=1) / ((a - c) ** 2).sum(axis=1))
    wrong = nearer + rng.normal(0, noise, n) > 0
    triplets[wrong] = triplets[wrong][:, [0, 2, 1]]
    return triplets


@pytest.fixture(scope="module")
def judged():
    """Rows, 200 judgments of 100 of them, and others of the rest."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(400, 10))
    return (
        X,
        judge(X, 200, rng, of=np.arange(100)),
        judge(X, 1000, rng, noise=0, of=np.arange(100, 400)),
    )


def test_judgments_of_some_rows_teach_about_others(judged):
    X, triplets, others = judged
    model = TripletEmbedding(10, random_state=0).fit_triplets(X, triplets)
    before = TripletEmbedding(10, stiffness=1e9).fit_triplets(X, triplets)
    assert before.score_triplets(X, others) < 0.68
    assert model.score_triplets(X, others) > before.score_triplets(X, others) + 0.05
    assert model.loss_curve_[-1] < model.loss_curve_[0]
    assert model.n_iter_ == len(model.loss_curve_)


def test_a_stiff_map_is_that_of_the_principal_components(judged):
    X, triplets, _ = judged
    model = TripletEmbedding(5, stiffness=1e9, random_state=0)
    out = model.fit_triplets(X, triplets).transform(X)
    rows = (X - X.mean(axis=0)) / X.std(axis=0)
    wanted = PCA(5).fit_transform(rows)
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose(out @ out.T, wanted @ wanted.T, atol=1e-4)


def test_labels_after_judgments_leave_no_stiffness(judged):
    X, triplets, *_ = judged
    model = TripletEmbedding(2, hidden_layer_sizes=(), random_state=0)
    assert model.fit_triplets(X, triplets).stiffness_ > 0
    assert not hasattr(model.fit(X, np.arange(len(X)) % 2), "stiffness_")


def test_stiffness_says_how_far_the_map_moves(judged):
    X, triplets, _ = judged
    rigid, stiff, soft = (
        TripletEmbedding(10, stiffness=stiffness, random_state=0)
        .fit_triplets(X, triplets)
        .transform(X)
        for stiffness in (1e9, 300, 10)
    )
    assert 0 < np.square(stiff - rigid).sum() < np.square(soft - rigid).sum()


def test_the_stiffness_is_chosen(judged):
    X, triplets, others = judged
    model = TripletEmbedding(10, random_state=0).fit_triplets(X, triplets)
    scores = model.capacity_scores_
    assert list(scores) == ["inf", "2000", "600", "200", "60", "20"]
    assert f"{model.stiffness_:g}" in scores
    assert scores[f"{model.stiffness_:g}"] > scores["inf"] + 0.02
    again = TripletEmbedding(10, stiffness=model.stiffness_, random_state=0)
    again.fit_triplets(X, triplets)
    np.testing.assert_allclose(again.transform(X), model.transform(X), atol=1e-6)
    assert again.capacity_scores_ == {}


def test_judgments_by_chance_change_nothing(judged):
    X, triplets, others = judged
    rng = np.random.default_rng(1)
    guessed = np.array([rng.permutation(100)[:3] for _ in range(200)])
    model = TripletEmbedding(10, random_state=0).fit_triplets(X, guessed)
    rigid = TripletEmbedding(10, stiffness=1e9).fit_triplets(X, guessed)
    assert model.stiffness_ == np.inf
    assert model.score_triplets(X, others) == rigid.score_triplets(X, others)
    fixed = TripletEmbedding(10, stiffness=20).fit_triplets(X, guessed)
    assert fixed.score_triplets(X, others) < rigid.score_triplets(X, others)


def test_judgments_of_copies_are_in_one_fold(judged):
    # Each guess is repeated for five copies of its anchor: apart, they teach each other.
    X, _, _ = judged
    rng = np.random.default_rng(1)
    guessed = np.array([rng.permutation(100)[:3] for _ in range(60)])
    copies = X[guessed[:, 0]].repeat(5, axis=0)
    triplets = guessed.repeat(5, axis=0)
    triplets[:, 0] = 400 + np.arange(300)
    groups = np.concatenate([np.arange(400), guessed[:, 0].repeat(5)])
    model = TripletEmbedding(10, random_state=0)
    X = np.concatenate([X, copies])
    assert model.fit_triplets(X, triplets).stiffness_ < np.inf
    assert model.fit_triplets(X, triplets, groups=groups).stiffness_ == np.inf


def test_a_learned_map_is_refined(data):
    X, queries, y, wanted = data
    rng = np.random.default_rng(0)
    # A judge who looks at a column that the classes say nothing about.
    triplets = judge(X[:, [5, 5, 5]], 300, rng)
    others = judge(queries[:, [5, 5, 5]], 1000, rng, noise=0)
    model = clone(QUICK).set_params(hidden_layer_sizes=()).fit(X, y)
    refined = copy.deepcopy(model)
    assert refined.refine(X, triplets) is refined
    gained = refined.score_triplets(queries, others) - model.score_triplets(
        queries, others
    )
    assert gained > 0.05
    kept = precision(refined.transform(X), y, refined.transform(queries), wanted)
    again = clone(model).fit_triplets(X, triplets)
    lost = precision(again.transform(X), y, again.transform(queries), wanted)
    assert kept > lost + 0.1


def test_keys_name_rows(judged):
    X, triplets, _ = judged
    keys = np.array([f"rock.{i:03d}" for i in range(len(X))])
    frame = pd.DataFrame(X, index=keys)
    a = TripletEmbedding(5, random_state=0).fit_triplets(X, triplets)
    b = TripletEmbedding(5, random_state=0).fit_triplets(frame, keys[triplets])
    np.testing.assert_array_equal(a.transform(X), b.transform(frame))
    assert a.score_triplets(X, triplets) == b.score_triplets(frame, keys[triplets])
    few = frame.iloc[:100]
    np.testing.assert_array_equal(
        a.refine(X, triplets).transform(X), b.refine(few, keys[triplets]).transform(X)
    )


def test_weights_are_judgments_repeated(judged):
    X, triplets, _ = judged
    twice = np.arange(200) < 50
    a = TripletEmbedding(5, random_state=0).fit_triplets(X, triplets, 1 + twice)
    repeated = np.concatenate([triplets, triplets[twice]])
    b = TripletEmbedding(5, random_state=0).fit_triplets(X, repeated)
    plain = TripletEmbedding(5, random_state=0).fit_triplets(X, triplets)
    np.testing.assert_allclose(a.transform(X), b.transform(X), atol=1e-3)
    assert np.abs(a.transform(X) - plain.transform(X)).max() > 1e-2


class TestMistakes:
    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ({"mining": "hard"}, "mining='hard' is not known; expected one of 'semi"),
            ({"margin": 0}, "margin must be above 0, got 0"),
            ({"stiffness": -1}, "stiffness must be above 0, got -1"),
            ({"stiffness": "soft"}, "stiffness is a number or \"auto\", got 'soft'"),
            ({"learning_rate_init": 0}, "learning_rate_init must be above 0"),
            ({"alpha": -1}, "alpha must be 0 or more, got -1"),
            ({"n_components": 0}, "n_components must be a positive integer"),
            ({"hidden_layer_sizes": (8, 0)}, r"hidden_layer_sizes .* got \(8, 0\)"),
            ({"dropout": 1}, "from 0 to below 1"),
        ],
    )
    def test_parameters(self, data, parameters, message):
        with pytest.raises(ValueError, match=message):
            clone(QUICK).set_params(**parameters).fit(data[0], data[2])

    @pytest.mark.parametrize(
        ("y", "message"),
        [
            (None, "y is None: give one label"),
            (["a"] * 6, r"two classes or more.*got 1 class\(es\) of at most 6"),
            (list("abcdef"), r"got 6 class\(es\) of at most 1 row"),
            (["a", "a", "b", "b", "", ""], "2 of 6 pictures have no label"),
            (["a", "b"], "inconsistent"),
        ],
    )
    def test_labels(self, y, message):
        with pytest.raises(ValueError, match=message):
            clone(QUICK).fit(np.eye(6), y)

    @pytest.mark.parametrize(
        ("triplets", "error", "message"),
        [
            ([[0, 1]], ValueError, r"got an array of shape \(1, 2\)"),
            (np.empty((0, 3), int), ValueError, r"shape \(0, 3\)"),
            ([[0, 1, 6]], ValueError, "name rows 0 to 6, but X has rows 0 to 5"),
            ([[0, 1, -1]], ValueError, "name rows -1 to 1"),
            ([[0, 1, 2], [3, 3, 4]], ValueError, "Judgment 1 names one row twice"),
            ([["a", "b", "c"]], TypeError, "give X as a DataFrame"),
        ],
    )
    def test_judgments(self, triplets, error, message):
        with pytest.raises(error, match=message):
            TripletEmbedding(2).fit_triplets(np.eye(6), triplets)

    def test_keys(self):
        frame = pd.DataFrame(np.eye(3), index=list("abc"))
        with pytest.raises(KeyError, match="'d' is judged, but is no key of the 3"):
            TripletEmbedding(2).fit_triplets(frame, [["a", "b", "d"]])
        frame.index = list("abb")
        with pytest.raises(ValueError, match="'b' names several rows"):
            TripletEmbedding(2).fit_triplets(frame, [["a", "b", "b"]])

    def test_weights(self):
        for weights in ([-1, 1], [0, 0]):
            with pytest.raises(ValueError, match="0 or more, and above 0 for one"):
                TripletEmbedding(2).fit_triplets(
                    np.eye(6), [[0, 1, 2], [3, 4, 5]], weights
                )
        with pytest.raises(ValueError, match="inconsistent"):
            TripletEmbedding(2).fit_triplets(np.eye(6), [[0, 1, 2]], [1, 2])

    def test_rows_that_are_all_the_same(self):
        with pytest.raises(ValueError, match="All 4 rows are identical"):
            TripletEmbedding(2).fit_triplets(np.ones((4, 3)), [[0, 1, 2]])

    def test_refining_before_fitting(self):
        with pytest.raises(NotFittedError):
            TripletEmbedding().refine(np.eye(3), [[0, 1, 2]])


def test_pictures_are_compared_in_the_learned_space(tmp_path):
    images, labels = make_rocks(360, random_state=1)
    images, queries, labels, wanted = train_test_split(
        images, labels, test_size=120, random_state=0
    )
    space = make_pipeline(RockFeatures(n_filters=8), clone(QUICK))
    plain = PairwiseModel(5, "cosine", RockFeatures(n_filters=8)).fit(images, labels)
    model = PairwiseModel(5, "cosine", space).fit(images, labels)
    assert model.score(queries, wanted) > plain.score(queries, wanted)
    assert model.score(queries, wanted) > 0.8
    fitted = clone(space).fit(images.reshape(240, -1), labels)
    frozen = PairwiseModel(5, "cosine", FrozenEstimator(fitted)).fit(images)
    pd.testing.assert_frame_equal(frozen.predict(queries), model.predict(queries))
    save(model, tmp_path / "model.skops")
    loaded = load(tmp_path / "model.skops")
    pd.testing.assert_frame_equal(loaded.predict(queries), model.predict(queries))


@pytest.mark.real
def test_real_tiles_find_their_class(real_rocks):
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.choice(len(real_rocks), 2400, replace=False))
    images, labels = real_rocks[chosen], real_rocks.labels[chosen]
    rows = RockFeatures(n_filters=16).fit_transform(images)
    rows, queries, labels, wanted = train_test_split(
        rows, labels, test_size=600, random_state=0
    )
    model = TripletEmbedding(hidden_layer_sizes=(128,), max_epochs=10, random_state=0)
    stored = model.fit(rows, labels).transform(rows)
    answers = model.transform(queries)
    assert precision(stored, labels, answers, wanted) > 0.98
    relevant = wanted[:, None] == labels
    mean_ap = label_ranking_average_precision_score(relevant, answers @ stored.T)
    assert mean_ap > 0.97
