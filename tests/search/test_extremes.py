"""Distances in the whole range of a float, compared with exact fractions."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from geoimages.search import METRICS, ExactSearch, similarity_from_distance
from geoimages.search.clustering import Clustering, inertia_of, partition
from geoimages.search.metrics import distances, learn_metric_params

LARGEST = Fraction(np.finfo(np.float64).max)


def root(fraction):
    """The square root of a fraction of any size, to 100 bits."""
    if fraction == 0:
        return Fraction(0)
    shift = 200 - fraction.numerator.bit_length() + fraction.denominator.bit_length()
    shift += shift % 2
    whole = math.isqrt(int(fraction * Fraction(2) ** shift))
    return Fraction(whole) / Fraction(2) ** (shift // 2)


def ratio(above, below):
    """A ratio whose 0 / 0 is 0, for rows that are identical; None where infinite."""
    if below == 0:
        return Fraction(0) if above == 0 else None
    return above / below


def one_minus_cosine(u, v):
    square = sum(a * a for a in u) * sum(b * b for b in v)
    if square == 0:
        return Fraction(int(u != v))
    return 1 - sum(map(Fraction.__mul__, u, v)) / root(square)


def correlation(u, v):
    centered = [[a - sum(row) / len(row) for a in row] for row in (u, v)]
    if not all(map(any, centered)):
        return Fraction(int(u != v))
    return one_minus_cosine(*centered)


def counts(u, v):
    """How often both, only u, only v and neither are nonzero."""
    pairs = [(bool(a), bool(b)) for a, b in zip(u, v, strict=True)]
    return [pairs.count(p) for p in ((1, 1), (1, 0), (0, 1), (0, 0))]


def yule(u, v):
    both, first, second, neither = counts(u, v)
    odd = 2 * first * second
    return ratio(Fraction(odd), Fraction(both * neither + first * second))


def of_counts(formula):
    return lambda u, v: ratio(*map(Fraction, formula(*counts(u, v))))


def apart(u, v):
    return [abs(a - b) for a, b in zip(u, v, strict=True)]


EXACT = {
    "braycurtis": lambda u, v: ratio(
        sum(apart(u, v)), sum(abs(a + b) for a, b in zip(u, v, strict=True))
    ),
    "canberra": lambda u, v: sum(
        ratio(abs(a - b), abs(a) + abs(b)) for a, b in zip(u, v, strict=True)
    ),
    "chebyshev": lambda u, v: max(apart(u, v)),
    "cityblock": lambda u, v: sum(apart(u, v)),
    "correlation": correlation,
    "cosine": one_minus_cosine,
    "dice": lambda u, v: ratio(
        sum(a * (1 - b) + b * (1 - a) for a, b in zip(u, v, strict=True)),
        sum(u) + sum(v),
    ),
    "euclidean": lambda u, v: root(sum(d * d for d in apart(u, v))),
    "hamming": lambda u, v: Fraction(sum(d != 0 for d in apart(u, v)), len(u)),
    "jaccard": of_counts(lambda a, b, c, d: (b + c, a + b + c)),
    "minkowski": lambda u, v: root(sum(d * d for d in apart(u, v))),
    "rogerstanimoto": of_counts(lambda a, b, c, d: (2 * (b + c), a + d + 2 * (b + c))),
    "russellrao": of_counts(lambda a, b, c, d: (b + c + d, a + b + c + d)),
    "sokalsneath": of_counts(lambda a, b, c, d: (2 * (b + c), a + 2 * (b + c))),
    "sqeuclidean": lambda u, v: sum(d * d for d in apart(u, v)),
    "yule": yule,
}
UNWEIGHTED = ("mahalanobis", "seuclidean")
DEGREES = {"sqeuclidean": 2, "braycurtis": 0, "canberra": 0}  # of homogeneity, or 1


@st.composite
def some_rows(draw, non_negative=False, most=1.7e308):
    """Two to five rows of one to six columns, few values but far apart."""
    extreme = [1e-320, 3e-310, 1e-200, 2e-160, 1e-30, 1e30, 2e155, 1e200, 1e300]
    values = [0.0, 0.25, 1.0, 255.0, *extreme, 1.7e308, 1.6e308]
    values = [value for value in values if value <= most]
    values += [] if non_negative else [-value for value in values]
    pool = draw(st.lists(st.sampled_from(values), min_size=1, max_size=4))
    shape = draw(st.tuples(st.integers(2, 5), st.integers(1, 6)))
    picks = st.lists(st.sampled_from(pool), min_size=shape[1], max_size=shape[1])
    return np.array(draw(st.lists(picks, min_size=shape[0], max_size=shape[0])))


def rows_for(metric):
    return some_rows(
        metric in ("dice", "jensenshannon"), 1 if metric == "dice" else 2e308
    )


def as_float(exact):
    return math.inf if exact is None or exact > LARGEST else float(exact)


@pytest.mark.parametrize("metric", EXACT)
def test_distances_are_exact_in_the_whole_range(metric):
    @settings(max_examples=40, derandomize=True, deadline=None, database=None)
    @given(rows_for(metric))
    def check(rows):
        found = distances(rows[:1], rows, metric)[0]
        exact = [[Fraction(x) for x in row] for row in rows.tolist()]
        for row, v, distance in zip(rows, exact, found, strict=True):
            # What a row's largest value rounds, and no more.
            most = max(np.abs(rows[0]).max(), np.abs(row).max())
            rounding = min(most, 1e140) ** DEGREES.get(metric, 1) * 1e-15
            wanted = as_float(EXACT[metric](exact[0], v))
            if metric in ("correlation", "cosine"):
                rounding = 1e-9
            assert distance == pytest.approx(wanted, rel=1e-9, abs=rounding)

    check()


@pytest.mark.parametrize("metric", sorted(set(METRICS) - {"dice", "jensenshannon"}))
def test_any_rows_are_ranked_or_refused(metric):
    """Fitted on some rows, asked for others: a number, in order, or one line."""

    @settings(max_examples=25, derandomize=True, deadline=None, database=None)
    @given(some_rows(), st.integers(1, 6))
    def check(rows, k):
        try:
            engine = ExactSearch(rows[1:], np.arange(len(rows) - 1), metric=metric)
            ((distance, positions, _),) = engine.search(rows[:1], k, metric)
        except ValueError as error:
            assert metric in ("mahalanobis", "seuclidean")
            assert "\n" not in str(error)  # noqa: PT017
            return
        params = learn_metric_params(rows[1:], metric)
        every = distances(rows[:1], rows[1:], metric, params)[0]
        assert len(positions) == min(k, len(rows) - 1)
        np.testing.assert_allclose(distance, every[positions], rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(distance, np.sort(every)[:k], rtol=1e-12, atol=1e-12)

    check()


@pytest.mark.parametrize("scale", [1e-250, 1e-100, 1e100])
def test_learned_distances_are_blind_to_scale_or_refused(scale):
    rows = np.random.default_rng(0).random((20, 3))
    for metric in ("seuclidean", "mahalanobis"):
        wanted = distances(rows, rows, metric, learn_metric_params(rows, metric))
        try:
            params = learn_metric_params(rows * scale, metric)
        except ValueError as error:
            assert "scale the features first" in str(error)  # noqa: PT017
            assert scale == 1e-250
            continue
        found = distances(rows * scale, rows * scale, metric, params)
        np.testing.assert_allclose(found, wanted, rtol=1e-9)


def test_rows_that_only_rounding_varies_have_no_variance():
    rows = np.full((3, 2), 0.1)
    rows[:, 1] = [0.2, 0.4, 0.5]
    params = learn_metric_params(rows, "seuclidean")
    assert params["V"][0] == 1
    assert params["V"][1] == pytest.approx(np.var(rows[:, 1], ddof=1))


@pytest.mark.parametrize("p", [0.5, 1, 3, 16, 17, 1000, 1e6, np.inf])
def test_minkowski_of_any_power(p):
    rows = np.array([[0.1, 0.2, 0.4], [0.1, 0.2, 0.4], [0.5, 0.2, 0.1]])
    unit = np.abs(rows[2] - rows[0])
    wanted = 0.4 if p == np.inf else 0.4 * ((unit / 0.4) ** p).sum() ** (1 / p)
    for scale in (1, 1e-300, 1e300):
        found = distances(rows[:1] * scale, rows * scale, "minkowski", {"p": p})[0]
        np.testing.assert_allclose(found / scale, [0, 0, wanted], rtol=1e-9)


@pytest.mark.parametrize(
    ("metric", "params", "message"),
    [
        ("euclidean", {"w": [1, 2]}, r"'w'\] must be an array of shape \(3,\)"),
        ("euclidean", {"w": [1, -2, 3]}, "0 or more, not all 0"),
        ("correlation", {"w": [0, 0, 0]}, "0 or more, not all 0"),
        ("euclidean", {"w": [1, np.nan, 3]}, "0 or more"),
        ("euclidean", {"w": "heavy"}, "got 'heavy'"),
        ("seuclidean", {"w": [1, 1, 1]}, "seuclidean takes no weights"),
        ("seuclidean", {"V": [1, 0, 1]}, "above 0"),
        ("mahalanobis", {"VI": np.eye(2)}, r"shape \(3, 3\)"),  # SciPy reads beyond it
        ("mahalanobis", {"VI": -np.eye(3)}, "positive semidefinite"),
        ("minkowski", {"p": 0}, "must be a number above 0, got 0"),
        ("minkowski", {"p": "2"}, "must be a number above 0, got '2'"),
        ("minkowski", {"p": np.nan}, "must be a number above 0, got nan"),
        ("jensenshannon", {"base": 2}, "which no distance takes"),
    ],
)
def test_parameters_that_do_not_suit_the_rows_are_said(metric, params, message):
    rows = np.random.default_rng(0).random((4, 3))
    with pytest.raises(ValueError, match=message) as error:
        ExactSearch(rows, np.arange(4), params, metric=metric).search(rows, 2, metric)
    assert "\n" not in str(error.value)


def test_parameters_are_a_dict():
    with pytest.raises(TypeError, match="must be a dict such as"):
        ExactSearch(np.eye(3), np.arange(3), ["p"])


def test_weights_are_those_of_scipy():
    rng = np.random.default_rng(0)
    rows, w = rng.random((6, 4)), rng.random(4)
    for metric in ("correlation", "cosine"):
        wanted = cdist(rows, rows, metric, w=w)
        for scale in (1, 1e-200, 1e200):
            found = distances(rows * scale, rows, metric, {"w": w})
            np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_columns_without_weight_are_not_compared():
    rows = np.array([[1.0, 1, 5], [1, 1, 7], [1, 2, 5], [3, 3, 3]])
    for metric in sorted(set(METRICS) - {"dice", "jensenshannon", *UNWEIGHTED}):
        params = learn_metric_params(rows, metric, {"w": [1, 1, 0]})
        wanted = distances(rows[:, :2], rows[:, :2], metric)
        found = distances(rows, rows, metric, params)
        np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_rows_that_a_distance_does_not_define_are_said():
    for metric, rows in (("dice", [[0.5, 2]]), ("jensenshannon", [[0.5, -2]])):
        rows = np.array(rows)
        with pytest.raises(ValueError, match=f"{metric} compares .*-?2; .*metric"):
            ExactSearch(rows, np.arange(1), metric=metric)
        with pytest.raises(ValueError, match=f"{metric} compares"):
            ExactSearch(np.eye(2), np.arange(2)).search(rows, 1, metric)


def test_zero_rows_are_far_from_every_distribution():
    rows = np.array([[0.0, 0], [0, 0], [1, 3], [1e300, 3e300], [1e-320, 3e-320]])
    found = distances(rows, rows, "jensenshannon")
    far = math.sqrt(math.log(2))
    np.testing.assert_allclose(found[0], [0, 0, far, far, far])
    np.testing.assert_allclose(found[2], [far, far, 0, 0, 0], atol=1e-3)
    assert distances(rows[2:3], rows[2:3, ::-1], "jensenshannon") > 0.2


def test_negative_distances_have_no_similarity():
    with pytest.raises(ValueError, match="must be 0 or more, got -1"):
        similarity_from_distance([0.5, -1], "euclidean")
    assert similarity_from_distance(np.inf, "euclidean") == 0
    assert similarity_from_distance(-1, "verification") == 2


@pytest.mark.parametrize("exponent", [-900, -50, 50, 900])
def test_k_means_of_any_scale(exponent):
    rows = np.random.default_rng(0).random((40, 6)) + np.repeat([[0], [5]], 20, axis=0)
    labels, centers, inertia = Clustering(rows).fit(2, 0)
    scaled = np.ldexp(rows, exponent)
    found = Clustering(scaled).fit(2, 0)
    np.testing.assert_array_equal(found[0], labels)
    np.testing.assert_allclose(found[1], np.ldexp(centers, exponent), rtol=1e-12)
    wanted = np.inf if exponent == 900 else np.ldexp(inertia, 2 * exponent)
    assert found[2] == pytest.approx(wanted)
    again = inertia_of(scaled, found[0], found[1])
    assert again == pytest.approx(found[2], rel=1e-9)
    for metric in ("euclidean", "cosine"):
        labels, centers = partition(scaled, metric, 4, 0)
        nearest = distances(scaled, centers.astype(float), metric).argmin(axis=1)
        np.testing.assert_array_equal(labels, nearest)
        assert len(centers) == 4


def test_k_means_of_fewer_distinct_rows_than_clusters():
    labels, centers, inertia = Clustering(np.ones((4, 5))).fit(3, 0)
    assert inertia == 0
    assert (centers[labels] == 1).all()
