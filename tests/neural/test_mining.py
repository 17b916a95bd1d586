"""Triplets, losses, gradients and batches against their definitions."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from geoimages.neural.gradients import backpropagate, embed
from geoimages.neural.mining import MINING, Batches, judgment_loss, triplet_loss


def slow_triplets(unit, codes, mining):
    """Triplets by their definition, one at a time."""
    n = len(unit)
    distance = ((unit[:, None] - unit[None]) ** 2).sum(axis=2)
    for a in range(n):
        positives = [i for i in range(n) if codes[i] == codes[a] and i != a]
        negatives = [i for i in range(n) if codes[i] != codes[a]]
        if not positives or not negatives:
            continue
        if mining == "batch-hard":
            yield (
                a,
                max(positives, key=lambda i: distance[a, i]),
                min(negatives, key=lambda i: distance[a, i]),
            )
            continue
        for p in positives:
            if mining == "batch-all":
                yield from ((a, p, q) for q in negatives)
                continue
            farther = [q for q in negatives if distance[a, q] > distance[a, p]]
            if farther:
                yield a, p, min(farther, key=lambda i: distance[a, i])
            else:
                yield a, p, max(negatives, key=lambda i: distance[a, i])


@pytest.mark.parametrize("mining", MINING)
@pytest.mark.parametrize("margin", [0.2, 1.0])
def test_triplets_are_those_of_the_definition(mining, margin):
    rng = np.random.default_rng(1)
    unit = rng.normal(size=(24, 3))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    codes = np.array([0] * 8 + [1] * 8 + [2] * 7 + [3])
    excess = np.array(
        [
            np.sum((unit[a] - unit[p]) ** 2) - np.sum((unit[a] - unit[q]) ** 2)
            for a, p, q in slow_triplets(unit, codes, mining)
        ]
    )
    excess += margin
    loss, _ = triplet_loss(unit, codes, margin, mining)
    assert loss == pytest.approx(excess[excess > 0].mean())


def test_a_case_by_hand():
    unit = np.array([[1.0, 0], [0.8, 0.6], [0, 1]])
    # |a − p|² = 0.4; |a − q|² = 2 and 0.8: the second anchor is too near.
    loss, _ = triplet_loss(unit, np.array([0, 0, 1]), 0.5)
    assert loss == pytest.approx(0.4 - 0.8 + 0.5)
    assert triplet_loss(unit, np.array([0, 0, 1]), 0.3)[0] == 0
    assert triplet_loss(unit, np.array([0, 0, 0]), 0.3)[0] == 0


@pytest.mark.parametrize("mining", [*MINING, "judgments"])
@pytest.mark.parametrize("hidden", [(), (5,), (5, 4)])
def test_gradients_are_finite_differences(mining, hidden):
    rng = np.random.default_rng(2)
    sizes = [4, *hidden, 3]
    shapes = list(pairwise(sizes))
    weights = [rng.normal(size=shape) for shape in shapes]
    biases = [rng.normal(size=size) for size in sizes[1:]]
    rows = rng.normal(size=(12, 4))
    codes = np.arange(12) % 3
    triplets = np.array([rng.choice(12, 3, replace=False) for _ in range(9)])
    sample_weight = rng.dirichlet(np.ones(9))

    def loss_of(unit):
        if mining == "judgments":
            return judgment_loss(unit, triplets, sample_weight, 0.3)
        return triplet_loss(unit, codes, 0.5, mining)

    def loss_at(flat):
        parts = np.split(flat, np.cumsum([p.size for p in weights + biases])[:-1])
        parts = [
            part.reshape(like.shape)
            for part, like in zip(parts, weights + biases, strict=True)
        ]
        return loss_of(embed(rows, parts[: len(shapes)], parts[len(shapes) :])[0])[0]

    flat = np.concatenate([part.ravel() for part in weights + biases])
    unit, length, layers = embed(rows, weights, biases)
    _, gradient = loss_of(unit)
    by = backpropagate(gradient, unit, length, layers, weights)
    analytic = np.concatenate([part.ravel() for side in by for part in side])
    assert np.abs(analytic).max() > 1e-2
    numeric = approx_fprime(flat, loss_at, 1e-7)
    np.testing.assert_allclose(analytic, numeric, atol=2e-6)


def test_a_row_without_direction_moves_nothing():
    rows, weights = np.zeros((2, 3)), [np.ones((3, 2))]
    unit, length, layers = embed(rows, weights, [np.zeros(2)])
    assert (unit == 0).all()
    _, by_biases = backpropagate(np.ones((2, 2)), unit, length, layers, weights)
    assert (by_biases[0] == 0).all()


def test_batches_hold_classes_evenly_and_rows_in_turn():
    codes = np.repeat([0, 1, 2], [40, 8, 4])
    batches = Batches(codes, 24, np.random.RandomState(0))
    drawn = [batches.draw() for _ in range(5)]
    for positions in drawn:
        assert np.bincount(codes[positions]).tolist() == [8, 8, 8]
    assert sorted(p for b in drawn for p in b if codes[p] == 0) == list(range(40))
    many = Batches(np.arange(100).repeat(5), 32, np.random.RandomState(0))
    seen = [np.unique(many.draw() // 5) for _ in range(13)]
    assert {len(classes) for classes in seen[:12]} == {8}
    assert len(np.unique(np.concatenate(seen))) == 100
