"""Hold-out, calibration and averaging, shared by the networks."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_info, threadpool_limits

from geoimages import ConvNetClassifier, MLPEmbedding, TripletEmbedding
from geoimages.neural.training import fit_temperature, forward, hold_out, train_mlp


def mixture(logits):
    return lambda temperature: softmax(logits / temperature, axis=1)


def test_a_temperature_is_found_again():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (20_000, 4))
    proba = softmax(logits / 1.7, axis=1)
    codes = (proba.cumsum(axis=1) < rng.uniform(size=(20_000, 1))).sum(axis=1)
    assert fit_temperature(mixture(logits), codes) == pytest.approx(1.7, abs=0.08)


def test_a_few_answers_hardly_move_the_temperature():
    # All right, so that the likelihood alone would take the smallest temperature
    # allowed, exp(-1.5) = 0.22; all wrong, and the largest.
    codes = np.arange(12) % 3
    logits = 2 * np.eye(3)[codes]
    assert 0.7 < fit_temperature(mixture(logits), codes) < 1
    assert 1 < fit_temperature(mixture(logits), (codes + 1) % 3) < 2.5


def test_the_weights_of_the_last_epochs_are_averaged():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(90, 4)).astype(np.float32)
    codes = np.arange(90) % 3
    network = MLPClassifier((5,), batch_size=30, random_state=0)
    after = []

    def draw_epoch(epoch):
        if epoch:
            after.append([weight.copy() for weight in network.coefs_])
        return rows, codes

    weights, biases, _ = train_mlp(network, draw_epoch, 5, averaged=3)
    after.append(network.coefs_)
    for layer, weight in enumerate(weights):
        epochs = [weights[layer] for weights in after]
        np.testing.assert_allclose(weight, np.mean(epochs[-3:], axis=0), atol=1e-7)
        assert (weight != epochs[-1]).any()
    np.testing.assert_array_equal(
        train_mlp(network, draw_epoch, 1, averaged=1)[1][1], network.intercepts_[1]
    )


def test_two_classes_have_the_logits_of_their_sigmoid():
    rows = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    codes = (rows[:, 0] > 0).astype(int)
    network = MLPClassifier((4,), batch_size=20, random_state=0)
    weights, biases, _ = train_mlp(network, lambda _: (rows, codes), 3, averaged=1)
    proba = softmax(forward(rows, weights, biases)[1], axis=1)
    np.testing.assert_allclose(proba, network.predict_proba(rows), atol=1e-5)


def test_every_class_is_learned_from():
    codes = np.repeat([0, 1, 2], [100, 3, 2])
    train, held = hold_out(codes, 0.05, np.random.RandomState(0))
    assert sorted([*train, *held]) == list(range(105))
    assert len(held) == 5
    assert set(codes[train]) == {0, 1, 2}


def test_two_rows_stay_to_form_pairs():
    codes = np.repeat([0, 1, 2], [100, 3, 2])
    train, held = hold_out(codes, 0.9, np.random.RandomState(0), pairs=True)
    assert np.bincount(codes[train]).tolist() == [10, 2, 2]
    assert sorted([*train, *held]) == list(range(105))
    assert not len(hold_out(codes, 0, np.random.RandomState(0), pairs=True)[1])
    groups = np.repeat(np.arange(54), [2] * 51 + [1] * 3)  # one row may stay of each
    train, held = hold_out(
        codes, 0.5, np.random.RandomState(0), pairs=True, groups=groups
    )
    assert np.bincount(codes[train]).min() >= 2
    assert len(held) == 51  # the third row of the second class, too
    assert not set(groups[train]) & set(groups[held])


def n_threads():
    return {
        each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"
    }


class Watching(list):
    """Labels that see on how many threads they are looked at."""

    seen = frozenset()

    def __array__(self, dtype=None, copy=None):
        self.seen |= n_threads()
        return np.array(list(self), dtype)


@pytest.mark.parametrize(
    "model",
    [
        ConvNetClassifier(StandardScaler(), (4,), max_epochs=1),
        MLPEmbedding((4,), max_epochs=1),
        TripletEmbedding(2, max_epochs=1),
    ],
    ids=lambda model: type(model).__name__,
)
def test_training_takes_one_thread_of_blas(model):
    rows = np.random.default_rng(0).uniform(size=(60, 5)).astype(np.float32)
    labels = Watching(np.arange(60) % 2)
    with threadpool_limits(2, user_api="blas"):
        before = n_threads()
        model.fit(rows, labels)
        assert labels.seen == {1}
        assert n_threads() == before
