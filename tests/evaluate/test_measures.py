"""Measures of rankings agree with ir_measures, scikit-learn and slow loops."""

import ir_measures
import numpy as np
import pytest
from ir_measures import AP, P, R, Rprec, nDCG
from sklearn.metrics import average_precision_score, ndcg_score

from geoimages.evaluate import (
    average_precision,
    jaccard,
    map_at_r,
    ndcg_at_k,
    precision_at_k,
    r_precision,
    rank_biased_overlap,
    recall_at_k,
)


@pytest.fixture(scope="module", params=[0, 1])
def rankings(request):
    """Random scores with many ties, which pictures are relevant, and the rankings.

    Equal scores are ordered by name from the last to the first, as trec_eval does.
    """
    rng = np.random.default_rng(request.param)
    m, n = 60, 40
    scores = rng.integers(0, 8, (m, n)) / 8
    truth = rng.random((m, n)) < rng.choice([0.03, 0.2, 0.7], (m, 1))
    truth[np.arange(m), rng.integers(n, size=m)] = True
    order = np.lexsort((np.broadcast_to(-np.arange(n), (m, n)), -scores), axis=1)
    return scores, truth, np.take_along_axis(truth, order, axis=1), truth.sum(axis=1)


def by_ir_measures(measure, scores, truth):
    names = [f"d{j:03d}" for j in range(scores.shape[1])]
    qrels = {
        f"q{i:03d}": dict(zip(names, map(int, row), strict=True))
        for i, row in enumerate(truth)
    }
    run = {
        f"q{i:03d}": dict(zip(names, map(float, row), strict=True))
        for i, row in enumerate(scores)
    }
    found = {m.query_id: m.value for m in ir_measures.iter_calc([measure], qrels, run)}
    return [found[query] for query in sorted(qrels)]


@pytest.mark.parametrize("k", [1, 5, 10, 40])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(precision_at_k, P), (recall_at_k, R), (ndcg_at_k, nDCG)],
    ids=["precision", "recall", "nDCG"],
)
def test_measures_at_k_agree_with_ir_measures(rankings, ours, theirs, k):
    scores, truth, relevant, n_relevant = rankings
    wanted = by_ir_measures(theirs @ k, scores, truth)
    np.testing.assert_allclose(ours(relevant, n_relevant, k), wanted, atol=1e-12)


@pytest.mark.parametrize(
    ("ours", "theirs"), [(r_precision, Rprec), (average_precision, AP)]
)
def test_measures_of_a_ranking_agree_with_ir_measures(rankings, ours, theirs):
    scores, truth, relevant, n_relevant = rankings
    wanted = by_ir_measures(theirs, scores, truth)
    np.testing.assert_allclose(ours(relevant, n_relevant), wanted, atol=1e-12)


def test_map_at_r_is_average_precision_cut_at_each_r(rankings):
    scores, truth, relevant, n_relevant = rankings
    ours = map_at_r(relevant, n_relevant)
    for r in np.unique(n_relevant):
        these = n_relevant == r
        wanted = by_ir_measures(AP @ int(r), scores[these], truth[these])
        np.testing.assert_allclose(ours[these], wanted, atol=1e-12)


def test_without_ties_measures_agree_with_scikit_learn():
    rng = np.random.default_rng(2)
    scores, truth = rng.random((30, 50)), rng.random((30, 50)) < 0.2
    relevant = np.take_along_axis(truth, np.argsort(-scores, axis=1), axis=1)
    n_relevant = truth.sum(axis=1)
    np.testing.assert_allclose(
        average_precision(relevant, n_relevant),
        [average_precision_score(t, s) for t, s in zip(truth, scores, strict=True)],
    )
    for k in (1, 7, 50):
        wanted = ndcg_score(truth, scores, k=k)
        assert ndcg_at_k(relevant, n_relevant, k).mean() == pytest.approx(wanted)


def test_a_ranking_cut_short_counts_as_wrong():
    relevant, n_relevant = np.array([[True, True]]), np.array([4])
    assert precision_at_k(relevant, n_relevant, 4) == [0.5]
    assert recall_at_k(relevant, n_relevant, 4) == [0.5]
    assert r_precision(relevant, n_relevant) == [0.5]
    assert map_at_r(relevant, n_relevant) == [0.5]
    gains = 1 / np.log2([2, 3, 4, 5])
    assert ndcg_at_k(relevant, n_relevant, 4) == [gains[:2].sum() / gains.sum()]


def test_a_query_without_anything_to_find_has_no_score():
    relevant, n_relevant = np.zeros((2, 3), bool), np.array([0, 2])
    for measure in (precision_at_k, recall_at_k, ndcg_at_k):
        np.testing.assert_array_equal(measure(relevant, n_relevant, 2), [np.nan, 0])
    for measure in (r_precision, average_precision, map_at_r):
        np.testing.assert_array_equal(measure(relevant, n_relevant), [np.nan, 0])


def slow_rbo(a, b, p):
    """Webber, Moffat and Zobel (2010), equation 32, for rankings of one length."""
    k, total = len(a), 0
    for depth in range(1, k + 1):
        agreement = len(set(a[:depth]) & set(b[:depth])) / depth
        total += agreement * p**depth
    return agreement * p**k + (1 - p) / p * total


@pytest.mark.parametrize("p", [0.5, 0.9])
def test_overlaps_agree_with_slow_loops(p):
    rng = np.random.default_rng(3)
    a = np.array([rng.permutation(15)[:10] for _ in range(50)])
    b = np.array([rng.permutation(15)[:10] for _ in range(50)])
    pairs = list(zip(a.tolist(), b.tolist(), strict=True))
    np.testing.assert_allclose(
        rank_biased_overlap(a, b, p), [slow_rbo(x, y, p) for x, y in pairs]
    )
    np.testing.assert_allclose(
        jaccard(a, b), [len(set(x) & set(y)) / len({*x, *y}) for x, y in pairs]
    )


def test_overlaps_of_the_same_of_others_and_of_nothing():
    a = np.array([[4, 2, 9]])
    assert rank_biased_overlap(a, a) == pytest.approx([1])
    assert rank_biased_overlap(a, a + 10) == [0]
    assert jaccard(a, a[:, ::-1]) == [1]
    assert jaccard(a, a + 10) == [0]
    none = np.full((1, 3), -1)
    assert jaccard(a, none) == [0]
    assert jaccard(none, none) == [1]
    assert rank_biased_overlap(a, none) == [0]
    assert rank_biased_overlap(none, none) == pytest.approx([1])
    # Answers cut short by what is left out agree as far as they go.
    short = np.array([[4, 2, -1, -1]])
    assert rank_biased_overlap(short, short) == pytest.approx([1])
    assert rank_biased_overlap(short, np.array([[4, 9, -1, -1]])) == pytest.approx(
        rank_biased_overlap(np.array([[4, 2]]), np.array([[4, 9]]))
    )
    # One shared picture weighs more where it comes first.
    first, last = np.array([[4, 0, 1]]), np.array([[0, 1, 9]])
    assert rank_biased_overlap(a, first) > rank_biased_overlap(a, last)
