"""ConvNetClassifier: learning, calibration, novelty, refusing."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import log_softmax
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.svm import SVC

from geoimages import (
    Augmentation,
    Collection,
    ColorFeatures,
    ConvNetClassifier,
    MLPEmbedding,
    PairwiseModel,
    RockFeatures,
    expected_calibration_error,
    make_rocks,
)
from geoimages.neural.training import hold_out
from geoimages.pictures.ground import mask_ground


@pytest.fixture(scope="module")
def data():
    images, labels = make_rocks(900, random_state=1)
    return images[:600], labels[:600], images[600:], labels[600:]


FEW_FILTERS = RockFeatures(conv=1, tone=0, n_filters=8, random_state=0)
SMALL = ConvNetClassifier(
    FEW_FILTERS,
    hidden_layer_sizes=(64, 32),
    expert_layer_sizes=(64, 32),
    max_epochs=8,
    random_state=0,
)
# Without augmentation 30 pictures are learned in a blink: enough where only the way
# that pictures take is tested.
PLAIN = ConvNetClassifier(
    hidden_layer_sizes=(16, 8), augment=None, max_epochs=2, random_state=0
)


@pytest.fixture(scope="module")
def model(data):
    return clone(SMALL).fit(data[0], data[1])


@pytest.fixture(scope="module")
def few(data):
    return data[0][:30], data[1][:30]


@pytest.fixture(scope="module")
def plain(few):
    return clone(PLAIN).fit(*few)


@pytest.fixture(scope="module")
def augmented(few):
    return clone(PLAIN).set_params(augment="default", n_copies=1).fit(*few)


def test_drawn_rocks_are_told_apart(model, data):
    _, _, images, labels = data
    assert model.score(images, labels) > 0.9
    proba = model.predict_proba(images)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    np.testing.assert_array_equal(
        model.classes_[proba.argmax(axis=1)], model.predict(images)
    )
    assert model.classes_.tolist() == sorted(set(labels))


def test_probabilities_are_calibrated(model, data):
    _, _, images, labels = data
    proba = model.predict_proba(images)
    assert expected_calibration_error(labels, proba, model.classes_) < 0.06
    calibrated = log_loss(labels, proba, labels=model.classes_)
    sure = np.eye(6)[proba.argmax(axis=1)] * (1 - 6e-4) + 1e-4
    assert calibrated < log_loss(labels, sure, labels=model.classes_)


def test_the_embedding_is_the_last_hidden_layer(plain, data):
    embedding = plain.transform(data[2])
    assert embedding.shape == (300, 8)
    assert embedding.dtype == np.float32
    assert (embedding >= 0).all()
    logits = embedding @ plain.coefs_[-1] + plain.intercepts_[-1]
    wanted = plain._network_opinion(plain._network_rows(data[2]))
    np.testing.assert_allclose(log_softmax(logits, axis=1), wanted, atol=1e-4)
    assert plain.get_feature_names_out()[[0, -1]].tolist() == [
        "convnetclassifier0",
        "convnetclassifier7",
    ]


def test_the_embedding_brings_a_class_together(model, data):
    images, labels, queries, of_queries = data
    raw = PairwiseModel(5).fit(images, labels).score(queries, of_queries)
    learned = PairwiseModel(5, "cosine", FrozenEstimator(model)).fit(images, labels)
    assert learned.score(queries, of_queries) > raw + 0.3


def test_the_learning_curve_is_kept(model):
    assert model.n_iter_ == len(model.loss_curve_) <= 8
    assert len(model.validation_loss_curve_) == model.n_iter_
    assert len(model.validation_score_curve_) == model.n_iter_
    assert model.loss_curve_[-1] < model.loss_curve_[0] / 2
    assert model.temperature_ > 0


def test_few_pictures_are_calibrated_out_of_fold(data):
    images, labels, queries, of_queries = data
    rng = np.random.default_rng(0)
    wrong = rng.choice(labels, 900)  # of a third of the pictures, at random
    labels = np.where(rng.uniform(size=600) < 1 / 3, wrong[:600], labels)
    of_queries = np.where(rng.uniform(size=300) < 1 / 3, wrong[600:], of_queries)
    model = clone(PLAIN).set_params(hidden_layer_sizes=(64,), max_epochs=20)
    model.fit(images[:150], labels[:150])
    assert model.is_calibrated_
    proba = model.predict_proba(queries)
    assert expected_calibration_error(of_queries, proba, model.classes_, 5) < 0.15
    # What it learned by heart it would be sure of.
    network = log_loss(of_queries, np.exp(model._network_opinion(model._rows(queries))))
    assert log_loss(of_queries, proba) < network - 0.1


def test_models_of_all_pictures_are_surer_than_those_of_some():
    rng = np.random.default_rng(0)
    opinion, codes = rng.normal(size=(1, 300, 3)), rng.integers(3, size=300)
    opinion[0, np.arange(300), codes] += 2
    temperatures, losses = [], []
    for learned in (2 / 3, 0.8, 1):
        model = clone(PLAIN)
        shares = np.full(3, 1 / 3)
        model._pool_candidates({"kernel": opinion}, None, codes, shares, 300, learned)
        temperatures.append(model.temperature_)
        losses.append(model.candidates_["pool"]["log_loss"])
    assert temperatures[0] < temperatures[1] < temperatures[2]
    assert losses[0] == losses[2]  # of the answers by cross-validation


def test_weights_that_fit_few_answers_too_well_make_no_sure_model():
    rng = np.random.default_rng(0)
    codes, shares = np.arange(60) % 3, np.full(3, 1 / 3)
    of_chance = {name: rng.normal(size=(1, 60, 3)) for name in "abcdefgh"}
    temperatures, losses = [], []
    for folds in (None, np.arange(60) // 12):
        model = clone(PLAIN)
        model._pool_candidates(of_chance, None, codes, shares, 60, 1, folds)
        temperatures.append(model.temperature_)
        losses.append(model.candidates_["pool"]["log_loss"])
    assert losses[0] < np.log(3)  # as if they told something
    assert losses[1] > np.log(3)
    assert temperatures[1] > 1.1 * temperatures[0]


def test_capacity_is_chosen_by_cross_validation(data):
    network = ConvNetClassifier("passthrough", (32,), None, random_state=0)
    network.set_params(max_epochs=40, n_epochs_no_change=40, learning_rate_init=0.01)
    # Exclusive or: a linear model tells nothing.
    X = np.random.default_rng(0).uniform(size=(500, 12))
    y = (X[:, 0] > 0.5) ^ (X[:, 1] > 0.5)
    model = clone(network).fit(X[:400], y[:400])
    assert model.weights_["clean"]["linear"] < 0.05
    assert model.candidates_["linear"]["accuracy"] < 0.6
    assert model.candidates_["network"]["accuracy"] > 0.75
    assert model.score(X[400:], y[400:]) > 0.8
    # Few rows of many columns: others tell more than the network.
    images, labels, queries, of_queries = data
    model = clone(network).set_params(max_epochs=10).fit(images[:120], labels[:120])
    losses = {name: of["log_loss"] for name, of in model.candidates_.items()}
    assert min(losses["linear"], losses["kernel"]) < losses["network"]
    assert losses["pool"] < min(losses["linear"], losses["kernel"]) + 0.02
    pooled = log_loss(of_queries, model.predict_proba(queries))
    assert {"linear", "kernel"} < set(model.summary()["network"])
    alone = {name: float(name in ("network", "prior")) for name in losses}
    model.weights_ = {"clean": {**alone, "prior": 0.0}}
    del model.weights_["clean"]["pool"]
    assert pooled < log_loss(of_queries, model.predict_proba(queries))


def test_the_choice_stands_in_the_diagram(plain):
    if hasattr(plain, "_get_fitted_attr_html"):  # from scikit-learn 1.9 on
        assert "candidates_" in plain._repr_html_()
    assert plain.candidates_.keys() == {"kernel", "linear", "network", "pool"}


def test_no_worse_than_a_logistic_regression_or_a_vector_machine(data):
    images, labels, queries, of_queries = data
    model = clone(SMALL).set_params(augment=None).fit(images[:120], labels[:120])
    rows = [model.features_.transform(x) for x in (images[:120], queries)]
    for rival in (LogisticRegression(C=0.01), SVC(C=10)):
        score = rival.fit(rows[0], labels[:120]).score(rows[1], of_queries)
        assert model.score(queries, of_queries) > score - 0.03


@pytest.mark.parametrize("copies_differ", [False, True])
def test_copies_of_a_picture_are_in_one_fold(data, copies_differ):
    # What is random about 40 pictures cannot be told of the others; it could of
    # their rotated copies.
    images = np.concatenate([np.rot90(data[0][:40], k, axes=(1, 2)) for k in range(4)])
    rng = np.random.default_rng(0)
    labels = np.tile(rng.choice(["a", "b"], 40), 4)
    if copies_differ:
        labels[:2] = "c"
    model = clone(PLAIN).set_params(
        features=ColorFeatures(), augment="default", n_copies=1, max_epochs=4
    )
    model.fit(images, labels)
    assert model.candidates_["kernel"]["accuracy"] < 0.75
    assert model.predict_proba(data[2]).max(axis=1).mean() < 0.8
    assert model.novelty_scale_.min() > 0  # and a copy is not the nearest other one


@pytest.mark.parametrize("given", [True, False])
def test_tiles_of_a_photograph_are_in_one_fold(tmp_path, given):
    # What is random about 30 photographs cannot be told from tiles of the others.
    photographs, _ = make_rocks(30, image_shape=(56, 56, 3), random_state=3)
    corners = [(y, x) for y in (0, 28) for x in (0, 28)]
    tiles = np.concatenate([photographs[:, y : y + 28, x : x + 28] for y, x in corners])
    labels = np.tile(np.random.default_rng(1).permutation(["a", "b"] * 15), 4)
    model = clone(PLAIN).set_params(features=ColorFeatures())
    if given:
        model.fit(tiles, labels, groups=np.tile(np.arange(30), 4))
    else:
        keys = [f"{n}@{x},{y},28" for y, x in corners for n in range(30)]
        path = tmp_path / "tiles.h5"
        with Collection.from_arrays(path, tiles, labels, keys=keys) as collection:
            model.fit(collection)
    assert model.candidates_["kernel"]["accuracy"] < 0.75
    with pytest.raises(ValueError, match="inconsistent numbers"):
        model.fit(tiles, labels, groups=[1, 2])


def test_crops_of_a_small_cut_out_hold_rock():
    images, labels = make_rocks(24, image_shape=(96, 96, 3), random_state=0)
    mask = np.zeros((24, 96, 96, 1), np.uint8)
    mask[:, 70:90, 4:24] = 255
    cut_outs = np.concatenate([images, mask], axis=3)
    model = clone(PLAIN).set_params(augment="default", n_copies=1)
    proba = model.fit(cut_outs, labels).predict_proba(cut_outs)
    assert np.isfinite(proba).all()


def test_ground_stays_ground_in_copies(augmented):
    # Augmented it would not be white, and look like rock.
    white, _ = make_rocks(6, image_shape=(64, 64, 3), random_state=0)
    white[:, [*range(8), *range(56, 64)]] = 255
    white[:, :, [*range(8), *range(56, 64)]] = 255
    rows = augmented._describe(white)
    copies = [
        augmented._add_copies(
            rows, images, images, Augmentation(), np.random.RandomState(0)
        )[0]
        for images in (white, mask_ground(white))
    ]
    np.testing.assert_allclose(*copies, atol=1e-3)


def test_copies_are_held_out_together():
    codes = np.repeat([0, 1, 2], 40)
    groups = np.arange(120) // 4
    train, held = hold_out(codes, 0.1, np.random.RandomState(0), groups=groups)
    assert sorted([*train, *held]) == list(range(120))
    assert not set(groups[train]) & set(groups[held])
    assert set(codes[held]) == {0, 1, 2}
    # A class of one group is learned from.
    train, held = hold_out(codes, 0.1, np.random.RandomState(0), groups=codes)
    assert set(codes[train]) == {0, 1, 2}


@pytest.mark.parametrize("augment", [None, "default"])
def test_pictures_of_one_photograph_train_and_calibrate_nothing(data, augment):
    model = clone(PLAIN).set_params(augment=augment, n_copies=1)
    model.fit(data[0][:60], data[1][:60], groups=np.zeros(60, int))
    assert not model.is_calibrated_
    assert np.isfinite(model.predict_proba(data[2])).all()
    assert model.score(data[2], data[3]) > 0.3


def test_the_fewer_the_nearer_to_the_shares_of_the_classes(data):
    rng = np.random.default_rng(0)
    confidence = []
    for n in (12, 90):
        labels = np.repeat(["a", "b", "c"], n // 3)
        rng.shuffle(labels)
        model = clone(PLAIN).fit(data[0][:n], labels)
        assert model.is_calibrated_ == (n >= 50)
        confidence.append(model.predict_proba(data[2]).max(axis=1).mean())
    assert max(confidence) < 0.7


def test_fisher_vectors_join_where_they_pay():
    images, labels = make_rocks(36, image_shape=(64, 64, 3), random_state=0)
    model = ConvNetClassifier(augment=None, max_epochs=1, random_state=0)
    model.fit(images, labels)
    assert np.isfinite(model.fisher_gain_)
    columns = model.features_._n_features_out
    assert (model.fisher_ is None) == (model.fisher_weight_ == 0)
    assert (model.references_.shape[1] > columns) == (model.fisher_ is not None)
    assert len(model.coefs_[0]) == columns
    # Of noise they tell nothing.
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (24, 64, 64, 3), dtype=np.uint8)
    labels = np.tile(["a", "b"], 12)
    assert not clone(model).fit(noise, labels).fisher_weight_


def test_what_is_not_calibrated_says_so(few, data):
    assert not clone(PLAIN).fit(*few).is_calibrated_
    pairs = np.repeat(np.arange(40), 2)
    assert clone(PLAIN).fit(data[0][:80], pairs).temperature_ > 0
    rows = data[0][:200].reshape(200, -1)[:, :30]
    for n, enough in ((48, False), (100, True)):
        model = MLPEmbedding((4,), max_epochs=2, validation_fraction=0.25)
        assert model.fit(rows[:n], data[1][:n]).is_calibrated_ == enough


def test_training_stops_early(few):
    model = clone(PLAIN).set_params(
        max_epochs=25, n_epochs_no_change=1, learning_rate_init=0.05
    )
    assert model.fit(*few).n_iter_ < 25


def test_seeds_repeat_whatever_the_threads(few, plain, augmented):
    same = clone(augmented).set_params(n_jobs=2).fit(*few)
    wanted = augmented.predict_proba(few[0])
    np.testing.assert_array_equal(same.predict_proba(few[0]), wanted)
    other = clone(plain).set_params(random_state=1).fit(*few)
    assert (other.predict_proba(few[0]) != plain.predict_proba(few[0])).any()


def test_rows_frames_floats_and_collections_learn_the_same(few, plain, tmp_path):
    images, labels = few
    rows = images.reshape(30, -1)
    wanted = plain.predict_proba(images)
    rocks = Collection.from_arrays(tmp_path / "a.h5", images, labels)
    for X in (rows, pd.DataFrame(rows), images / np.float32(255), images / 255):
        model = clone(PLAIN).fit(X, labels)
        np.testing.assert_allclose(model.predict_proba(X), wanted, atol=1e-5)
    model = clone(PLAIN).fit(rocks)
    np.testing.assert_allclose(model.predict_proba(rocks), wanted, atol=1e-5)
    assert list(model.classes_) == sorted(set(labels))


def test_any_features_will_do(few):
    images, labels = few
    texture = RockFeatures(color=0, tone=0, n_filters=8)
    for features in ("passthrough", PCA(5, random_state=0), texture):
        model = clone(PLAIN).set_params(features=features).fit(images, labels)
        assert model.predict(images[:4]).shape == (4,)
        assert model.novelty(images[:4]).shape == (4,)
    assert set(model.features_.block_of_) == {"texture", "conv"}


def test_masked_pictures_are_learned_from_their_rock(few):
    images, labels = few
    mask = np.zeros((30, 28, 28, 1), np.uint8)
    mask[:, 4:24, 4:24] = 255
    rgba = np.concatenate([images, mask], axis=3)
    model = clone(PLAIN).fit(rgba, labels)
    other = rgba.copy()
    other[..., :3] = np.where(mask > 0, images, 99)
    np.testing.assert_allclose(
        model.predict_proba(other), model.predict_proba(rgba), atol=1e-6
    )


def test_two_classes_have_two_probabilities(data):
    images, labels = data[0], data[1]
    two = np.isin(labels, ["marble", "schist"])
    model = clone(PLAIN).set_params(max_epochs=8).fit(images[two], labels[two])
    proba = model.predict_proba(images[two])
    assert proba.shape == (two.sum(), 2)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    assert model.score(images[two], labels[two]) > 0.9


def test_augmentation_is_a_parameter(few, augmented):
    noise = clone(augmented).set_params(augment=Augmentation(noise=9)).fit(*few)
    probas = [model.predict_proba(few[0]) for model in (noise, augmented)]
    assert (probas[0] != probas[1]).any()


def test_augmentation_makes_a_model_robust_to_light(model, data):
    images, labels, queries, of_queries = data
    darker = np.rint(queries * 0.7).astype(np.uint8)
    without = clone(SMALL).set_params(augment=None).fit(images, labels)
    assert model.score(darker, of_queries) > without.score(darker, of_queries)


def test_the_expert_counts_on_clean_pictures(model, data):
    images = data[2]
    grey = np.repeat(images.mean(axis=3, keepdims=True), 3, axis=3).astype(np.uint8)
    together = [model.predict_proba(x) for x in (images, grey)]
    weights = model.gate_weights_
    model.gate_weights_ = np.array([0.0, -50.0])
    alone = [model.predict_proba(x) for x in (images, grey)]
    model.gate_weights_ = weights
    moved = [
        np.abs(a - b).max(axis=1).mean() for a, b in zip(together, alone, strict=True)
    ]
    assert moved[0] > moved[1]


def test_what_was_never_seen_is_new(model, data):
    _, _, images, _ = data
    assert 20 < np.median(model.novelty(images)) < 85
    rng = np.random.default_rng(0)
    static = rng.integers(0, 256, (10, 28, 28, 3), dtype=np.uint8)
    assert (model.novelty(static) > 99).all()


class TestMistakes:
    @pytest.mark.parametrize("model", [PLAIN, MLPEmbedding()])
    @pytest.mark.parametrize(
        ("y", "message"),
        [
            (None, "y is None: give one label"),
            (["a"] * 12, "two classes or more, got one class: 'a'"),
            (["a"] * 11 + ["b"], "The class 'b' has one picture"),
            (["a", "b"] * 5 + ["", ""], "2 of 12 pictures have no label"),
            (["a", "b"], "inconsistent"),
        ],
    )
    def test_labels(self, model, y, message):
        X = np.random.default_rng(0).integers(0, 256, (12, 48), dtype=np.uint8)
        with pytest.raises(ValueError, match=message):
            clone(model).fit(X, y)

    def test_mixed_sizes(self):
        images = [np.zeros((4, 4, 3), np.uint8), np.zeros((5, 5, 3), np.uint8)]
        with pytest.raises(ValueError, match="2 shapes, from 4 × 4 × 3 to 5 × 5 × 3"):
            clone(PLAIN).fit(images, ["a", "b"])

    def test_nan_and_nothing(self):
        with pytest.raises(ValueError, match="NaN"):
            clone(PLAIN).fit(np.full((4, 48), np.nan), list("abab"))
        with pytest.raises(ValueError, match="0 sample"):
            clone(PLAIN).fit(np.empty((0, 28, 28, 3), np.uint8), [])

    def test_another_shape(self, model):
        with pytest.raises(ValueError, match="32 × 32 × 3, expected 28 × 28 × 3"):
            model.predict(np.zeros((1, 32, 32, 3), np.uint8))
        with pytest.raises(ValueError, match="features"):
            model.predict(np.zeros((1, 99)))

    def test_a_single_picture(self, plain, few):
        for ask in (plain.predict, plain.novelty):
            with pytest.raises(
                ValueError, match=r"got \(28, 28, 3\); pass images\[None"
            ):
                ask(few[0][0])


def test_layers_and_their_parameters_are_counted(model, plain):
    table = model.summary().set_index(["network", "layer"])
    assert table.loc[("filters", 1)].tolist() == [108, 8, 108 * 8 + 8]
    columns = model.features_._n_features_out
    assert table.loc[("classifier", 1), "parameters"] == columns * 64 + 64
    assert table.loc[("linear, augmented", 1), "outputs"] == 6
    kernel = table.loc[["kernel"], "parameters"].tolist()
    landmarks = model.kernel_["landmarks"]
    assert kernel == [landmarks.size, len(landmarks) * 6]
    others = {"filters", "classifier", "linear", "kernel"}
    assert set(plain.summary()["network"]) == others
