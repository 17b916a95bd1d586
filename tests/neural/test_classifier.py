"""ConvNetClassifier and MLPEmbedding: learning, believing, refusing."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import log_loss

from geoimages import (
    Augmentation,
    Collection,
    ConvNetClassifier,
    MLPEmbedding,
    PairwiseModel,
    RockFeatures,
    expected_calibration_error,
    make_rocks,
)


@pytest.fixture(scope="module")
def data():
    images, labels = make_rocks(900, random_state=1)
    return images[:600], labels[:600], images[600:], labels[600:]


@pytest.fixture(scope="module")
def model(data):
    images, labels, _, _ = data
    return ConvNetClassifier(n_copies=2, max_epochs=12, random_state=0).fit(
        images, labels
    )


QUICK = ConvNetClassifier(
    hidden_layer_sizes=(16, 8), n_copies=1, max_epochs=2, random_state=0
)


def test_drawn_rocks_are_told_apart(model, data):
    _, _, images, labels = data
    assert model.score(images, labels) > 0.9
    proba = model.predict_proba(images)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    np.testing.assert_array_equal(
        model.classes_[proba.argmax(axis=1)], model.predict(images)
    )
    assert model.classes_.tolist() == sorted(set(labels))


def test_probabilities_can_be_believed(model, data):
    _, _, images, labels = data
    proba = model.predict_proba(images)
    assert expected_calibration_error(labels, proba, model.classes_) < 0.06
    believed = log_loss(labels, proba, labels=model.classes_)
    sure = np.eye(6)[proba.argmax(axis=1)] * (1 - 6e-4) + 1e-4
    assert believed < log_loss(labels, sure, labels=model.classes_)


def test_the_embedding_is_the_last_hidden_layer(model, data):
    images = data[2]
    embedding = model.transform(images)
    assert embedding.shape == (300, 128)
    assert embedding.dtype == np.float32
    assert (embedding >= 0).all()
    logits = embedding @ model.coefs_[-1] + model.intercepts_[-1]
    # The expert has its say beside this network, and seldom another opinion.
    same = model.classes_[logits.argmax(axis=1)] == model.predict(images)
    assert 0.9 < same.mean() <= 1
    alone = clone(QUICK).set_params(expert_layer_sizes=None)
    alone.fit(data[0][:60], data[1][:60])
    logits = alone.transform(images) @ alone.coefs_[-1] + alone.intercepts_[-1]
    np.testing.assert_array_equal(
        alone.classes_[logits.argmax(axis=1)], alone.predict(images)
    )
    names = model.get_feature_names_out()
    assert names[0] == "convnetclassifier0"
    assert len(names) == 128


def test_an_embedding_finds_class_mates(model, data):
    images, labels, queries, of_queries = data
    raw = PairwiseModel(5).fit(images, labels).score(queries, of_queries)
    learned = PairwiseModel(5, "cosine", FrozenEstimator(model)).fit(images, labels)
    assert learned.score(queries, of_queries) > raw + 0.3


def test_the_learning_curve_is_kept(model):
    assert model.n_iter_ == len(model.loss_curve_) <= 12
    assert len(model.validation_loss_curve_) == model.n_iter_
    assert len(model.validation_score_curve_) == model.n_iter_
    assert model.loss_curve_[-1] < model.loss_curve_[0] / 2
    assert model.temperature_ > 0


def test_training_stops_early(data):
    images, labels = data[0][:90], data[1][:90]
    model = clone(QUICK).set_params(
        max_epochs=60, n_epochs_no_change=1, learning_rate_init=0.05, augment=None
    )
    assert model.fit(images, labels).n_iter_ < 60


def test_seeds_repeat_whatever_the_threads(data):
    images, labels = data[0][:60], data[1][:60]
    a, b, c = (
        clone(QUICK).set_params(random_state=seed, n_jobs=jobs).fit(images, labels)
        for seed, jobs in ((0, None), (0, 2), (1, None))
    )
    np.testing.assert_array_equal(a.predict_proba(images), b.predict_proba(images))
    assert (a.predict_proba(images) != c.predict_proba(images)).any()


def test_rows_frames_floats_and_collections_learn_the_same(data, tmp_path):
    images, labels = data[0][:60], data[1][:60]
    rows = images.reshape(60, -1)
    wanted = clone(QUICK).fit(images, labels).predict_proba(images)
    rocks = Collection.from_arrays(tmp_path / "a.h5", images, labels)
    for X in (rows, pd.DataFrame(rows), images / np.float32(255), images / 255):
        model = clone(QUICK).fit(X, labels)
        np.testing.assert_allclose(model.predict_proba(X), wanted, atol=1e-5)
    model = clone(QUICK).fit(rocks)
    np.testing.assert_allclose(model.predict_proba(rocks), wanted, atol=1e-5)
    assert list(model.classes_) == sorted(set(labels))


def test_any_features_will_do(data):
    images, labels = data[0][:120], data[1][:120]
    texture = RockFeatures(color=0, tone=0)
    for features in ("passthrough", PCA(5, random_state=0), texture):
        model = clone(QUICK).set_params(features=features).fit(images, labels)
        assert model.predict(images[:4]).shape == (4,)
        assert model.novelty(images[:4]).shape == (4,)
    assert set(model.features_.block_of_) == {"texture", "conv"}


def test_masked_pictures_are_learned_from_their_rock(data):
    images, labels = data[0][:60], data[1][:60]
    mask = np.zeros((60, 28, 28, 1), np.uint8)
    mask[:, 4:24, 4:24] = 255
    rgba = np.concatenate([images, mask], axis=3)
    model = clone(QUICK).fit(rgba, labels)
    other = rgba.copy()
    other[..., :3] = np.where(mask > 0, images, 99)
    np.testing.assert_allclose(
        model.predict_proba(other), model.predict_proba(rgba), atol=1e-6
    )


def test_two_classes_have_two_probabilities(data):
    images, labels = data[0], data[1]
    two = np.isin(labels, ["marble", "schist"])
    model = clone(QUICK).set_params(max_epochs=8).fit(images[two], labels[two])
    proba = model.predict_proba(images[two])
    assert proba.shape == (two.sum(), 2)
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    assert model.score(images[two], labels[two]) > 0.9


def test_augmentation_can_be_tuned_or_left_out(data):
    images, labels = data[0][:60], data[1][:60]
    plain = clone(QUICK).set_params(augment=None).fit(images, labels)
    other = clone(QUICK).set_params(augment=Augmentation(noise=9)).fit(images, labels)
    usual = clone(QUICK).fit(images, labels)
    probas = [model.predict_proba(images) for model in (plain, other, usual)]
    assert (probas[0] != probas[1]).any()
    assert (probas[1] != probas[2]).any()


def test_augmentation_makes_a_model_stand_up_to_light(data):
    images, labels, queries, of_queries = data
    darker = np.rint(queries * 0.7).astype(np.uint8)
    scores = [
        ConvNetClassifier(augment=augment, max_epochs=10, random_state=0)
        .fit(images, labels)
        .score(darker, of_queries)
        for augment in ("default", None)
    ]
    assert scores[0] > scores[1]


def test_the_expert_is_heard_on_pictures_as_they_are(model, data):
    images = data[2]
    grey = np.repeat(images.mean(axis=3, keepdims=True), 3, axis=3).astype(np.uint8)
    together = [model.predict_proba(x) for x in (images, grey)]
    expert, gate = model.expert_, model.gate_
    model.expert_ = None
    alone = [model.predict_proba(x) for x in (images, grey)]
    model.expert_, model.gate_ = expert, gate
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
    @pytest.mark.parametrize("model", [QUICK, MLPEmbedding()])
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
            clone(QUICK).fit(images, ["a", "b"])

    def test_nan_and_nothing(self):
        with pytest.raises(ValueError, match="NaN"):
            clone(QUICK).fit(np.full((4, 48), np.nan), list("abab"))
        with pytest.raises(ValueError, match="0 sample"):
            clone(QUICK).fit(np.empty((0, 28, 28, 3), np.uint8), [])

    def test_another_shape(self, model):
        with pytest.raises(ValueError, match="32 × 32 × 3, expected 28 × 28 × 3"):
            model.predict(np.zeros((1, 32, 32, 3), np.uint8))
        with pytest.raises(ValueError, match="features"):
            model.predict(np.zeros((1, 99)))


def test_mlp_embedding_learns_any_rows(data):
    images, labels, queries, of_queries = data
    rows = RockFeatures().fit(images)
    embedding = MLPEmbedding((32,), random_state=0)
    embedding.fit(rows.transform(images), labels)
    vectors = embedding.transform(rows.transform(queries))
    assert vectors.shape == (300, 32)
    assert embedding.score(rows.transform(queries), of_queries) > 0.85
    again = clone(embedding).fit(rows.transform(images), labels)
    np.testing.assert_array_equal(again.transform(rows.transform(queries)), vectors)
