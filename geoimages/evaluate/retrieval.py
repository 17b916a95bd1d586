"""Retrieval scores of similarity models, and the recall of approximate search."""

import numbers
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..similarity.base import check_count
from . import measures
from .queries import Queries, check_similarity_model, ranks_consistently
from .statistics import bootstrap_interval

ALL = "all"


@dataclass(repr=False)
class RetrievalScores:
    """Scores of a similarity model with their intervals.

    Attributes
    ----------
    scores : DataFrame
        One row per class and measure, the class ``all`` first: ``class``, ``measure``,
        ``mean`` over the queries, ``low`` and ``high`` (the interval of the mean; NaN
        for a single query or group) and ``queries``, their number.
    per_query : DataFrame
        Index ``(query, label)``, or ``query`` without labels; one column per measure.
        NaN for a query without relevant stored pictures; means ignore it.
    confidence : float
        Confidence level of the intervals.
    """

    scores: pd.DataFrame
    per_query: pd.DataFrame
    confidence: float = 0.95

    def table(self):
        """Return the means as a table, one row per class and one column per measure."""
        table = self.scores.pivot_table(
            index="class", columns="measure", values="mean", sort=False
        ).rename_axis(columns=None)
        return table.assign(queries=self.scores.groupby("class")["queries"].max())

    def __str__(self):
        rows = self.scores[self.scores["class"] == ALL]
        lines = [
            f"{row.measure:>14}  {row.mean:.3f}  ({row.low:.3f} to {row.high:.3f})"
            for row in rows.itertuples()
        ]
        n = rows["queries"].max() if len(rows) else 0
        head = f"{n:,} queries, means and their {100 * self.confidence:g} % intervals"
        text = "\n".join([head, *lines])
        table = self.table()
        return text + (f"\n\n{table.round(3)}" if len(table) > 2 else "")

    __repr__ = __str__

    def _repr_html_(self):
        rows = self.scores[self.scores["class"] == ALL].set_index("measure")
        shown = rows[["mean", "low", "high", "queries"]].rename_axis(None)
        table = self.table()
        return shown.to_html(float_format="%.3f") + (
            table.to_html(float_format="%.3f") if len(table) > 2 else ""
        )


def check_ks(ks, n_stored):
    """Validate ks and return it as a sorted tuple."""
    ks = [ks] if isinstance(ks, numbers.Number) else list(ks)
    whole = [isinstance(k, numbers.Integral) and not isinstance(k, bool) for k in ks]
    if not ks or not all(whole) or min(ks) < 1:
        raise ValueError(f"ks must be numbers of answers, 1 or more, got {ks!r}.")
    if max(ks) > n_stored:
        raise ValueError(
            f"ks asks for the first {max(ks)} answers, but only {n_stored} pictures "
            "are stored."
        )
    return tuple(sorted({int(k) for k in ks}))


def measure_names(ks, full):
    """Names of the measures, in display order."""
    at_k = [f"{name}@{k}" for name in ("precision", "recall", "nDCG") for k in ks]
    return at_k + (["R-precision", "MAP@R", "mAP"] if full else [])


def score_queries(queries, model, ks, full):
    """Run queries through a model and score its answers.

    Returns scores (m,) by measure, in the order of `measure_names` and none without
    labels, and the positions of the answers, (m, max(ks)).
    """
    answers = np.full((len(queries), max(ks)), -1)
    scores = {}
    if queries.labels is not None:
        scores = {name: np.empty(len(queries)) for name in measure_names(ks, full)}

    def first_k(block, positions):
        found = positions[:, : max(ks)]
        answers[block, : found.shape[1]] = found
        if not scores:
            return
        found = queries.relevant(block, found), queries.n_relevant[block]
        for k in ks:
            scores[f"precision@{k}"][block] = measures.precision_at_k(*found, k)
            scores[f"recall@{k}"][block] = measures.recall_at_k(*found, k)
            scores[f"nDCG@{k}"][block] = measures.ndcg_at_k(*found, k)

    def first_r(block, positions):
        found = queries.relevant(block, positions), queries.n_relevant[block]
        scores["R-precision"][block] = measures.r_precision(*found)
        scores["MAP@R"][block] = measures.map_at_r(*found)

    def whole(block, positions):
        found = queries.relevant(block, positions), queries.n_relevant[block]
        scores["mAP"][block] = measures.average_precision(*found)

    n = len(queries.keys)
    if not scores or not full:
        passes = [(max(ks), [first_k])]
    elif ranks_consistently(model):
        passes = [(n, [first_k, first_r, whole])]
    else:
        passes = [(max(ks), [first_k]), (queries.n_relevant, [first_r]), (n, [whole])]
    for depth, parts in passes:
        for block, positions, _ in queries.ask(model, depth):
            for part in parts:
                part(block, positions)
    return scores, answers


def mean_table(values, units, options, bounds=(0, 1)):
    """Means of (n, m) scores with intervals: DataFrame of m rows, mean, low, high."""
    mean = values.mean(axis=0) if len(values) else np.full(values.shape[1], np.nan)
    low = high = np.nan
    if len(np.unique(units)) > 1:
        low, high = bootstrap_interval(values, groups=units, bounds=bounds, **options)
    return pd.DataFrame({"mean": mean, "low": low, "high": high})


def check_units(units):
    """Raise an error if the queries are too few, or not independent, for intervals."""
    if not len(units):
        raise ValueError(
            "No query has a relevant stored picture that is not excluded; pass queries "
            "of larger classes, or other groups."
        )
    if len(np.unique(units)) < 2:
        found = f"All {len(units)} queries are of one group or one lineage"
        found = found if len(units) > 1 else "Only one query has relevant pictures"
        raise ValueError(
            f"{found}, so an interval cannot be computed; pass queries of two or more."
        )


def _scored(per_query, queries, confidence, n_resamples, random_state):
    """Add means with intervals, over all queries and per class."""
    options = {
        "confidence": confidence,
        "n_resamples": n_resamples,
        "random_state": random_state,
    }
    per_query = pd.DataFrame(per_query, index=queries.index())
    values, labels = per_query.to_numpy(), queries.labels
    answerable = np.isfinite(values).all(axis=1)
    check_units(queries.units[answerable])
    parts = {ALL: answerable}
    if labels is not None:
        classes = sorted(pd.unique(pd.Series(labels[answerable])), key=str)
        parts |= {label: answerable & (labels == label) for label in classes}
    tables = []
    for label, chosen in parts.items():
        table = mean_table(values[chosen], queries.units[chosen], options)
        table.insert(0, "class", label)
        table.insert(1, "measure", per_query.columns)
        tables.append(table.assign(queries=chosen.sum()))
    scores = pd.concat(tables, ignore_index=True)
    return RetrievalScores(scores, per_query, confidence)


def retrieval_scores(
    model,
    queries=None,
    labels=None,
    ks=(1, 5, 10),
    groups=None,
    *,
    full=True,
    confidence=0.95,
    n_resamples=2000,
    random_state=0,
):
    """Score the answers of a similarity model; those with the query's label are relevant.

    Parameters
    ----------
    model : PairwiseModel or KMeansModel
        Fitted with labels.
    queries : int, list of str, DataFrame, Collection or array-like, optional
        A number of stored pictures to draw, keys of stored pictures, or pixels (rows
        or pictures, two or more). By default every stored picture.
    labels : array-like of shape (m,), optional
        The queries' labels. Not needed for stored pictures or a collection.
    ks : tuple of int, default=(1, 5, 10)
        Numbers of answers to score.
    groups : Series, dict, array-like or tuple, optional
        Groups that leak the answer to a query, for example drill holes: by key for all
        stored pictures and queries; or for the stored pictures in the order of
        ``keys_``, if the queries are among them; or two lists, of the stored pictures
        and of the queries. None, NaN and "" are a group of their own.
    full : bool, default=True
        Whether to rank all stored pictures, as R-precision, MAP@R and mAP require.
        Otherwise only the first ``max(ks)`` answers are computed, which is faster, and
        much faster for models that re-rank (`rerank`).
    confidence : float, default=0.95
        Confidence level of the intervals.
    n_resamples : int, default=2000
        Number of bootstrap samples for the intervals.
    random_state : int, RandomState or None, default=0
        Seed of all random draws.

    Returns
    -------
    scores : RetrievalScores
        ``scores``, a DataFrame of each measure over all queries and per class, and
        ``per_query``.

    Raises
    ------
    NotFittedError
        If the model is not fitted.
    TypeError
        If it is not a similarity model.
    KeyError
        If a key is not among the stored ones.
    ValueError
        If labels are missing, there is only one query, or `ks` exceeds the number of
        pictures.

    Notes
    -----
    The query's own picture, its rotated copies and its group are excluded from the
    answers and from the relevant pictures. The first two are identified by key: those
    of a list, a DataFrame (its index) or a Collection; plain arrays have no keys, so
    pass `groups`. The intervals generalize to new queries to the same stored pictures;
    queries of one group are resampled together.

    An approximate model (partitioned, faiss, k-means, or a third-party one) returns
    exactly as many answers as are scored: max(ks) for the measures at k, R for
    R-precision and MAP@R, all for mAP. To rank all pictures it searches everything, so
    its mAP is that of exact search; MAP@R and the measures at k show what it misses.

    Examples
    --------
    >>> from geoimages import PairwiseModel, make_rocks, retrieval_scores
    >>> images, labels = make_rocks(120, random_state=0)
    >>> model = PairwiseModel().fit(images[:80], labels[:80])
    >>> result = retrieval_scores(model, images[80:], labels[80:], ks=(1, 5))
    >>> list(result.per_query.columns[:4])
    ['precision@1', 'precision@5', 'recall@1', 'recall@5']
    >>> overall = result.scores[result.scores["class"] == "all"]
    >>> bool((overall["low"] <= overall["mean"]).all())
    True
    """
    check_similarity_model(model)
    ks = check_ks(ks, len(model.keys_))
    queries = Queries(model, queries, labels, groups, random_state)
    if queries.labels is None:
        raise ValueError(
            "retrieval_scores compares labels: "
            + (
                "pass those of the queries, labels=, one for each."
                if model.y_ is not None
                else "fit the model with them, fit(X, y), and pass those of the queries."
            )
        )
    scores, _ = score_queries(queries, model, ks, full)
    return _scored(scores, queries, confidence, n_resamples, random_state)


class _EveryCluster:
    """A fitted model that searches all its clusters."""

    def __init__(self, model):
        self.model, self.keys_, self.y_ = model, model.keys_, model.y_

    def kneighbors(self, X, n_neighbors):
        every = len(self.model.cluster_centers_)
        table = self.model.predict(X, n_neighbors, clusters_searched=every)
        keys = table.index.get_level_values("key")
        positions = pd.Index(self.keys_).get_indexer(keys)
        distances = table.iloc[:, 0].to_numpy()
        return distances.reshape(-1, n_neighbors), positions.reshape(-1, n_neighbors)


def _exact_model(model):
    """Return the same fitted model, set to search everything."""
    if "clusters_searched" not in model.get_params(deep=False):
        raise ValueError(
            f"{type(model).__name__} has no exact mode; "
            "pass the exact model to compare it with, exact=PairwiseModel().fit(...)."
        )
    return _EveryCluster(model)


def _first_k(queries, model, k):
    """Return the answers, padded with -1, and their distances: two of (m, k)."""
    found, distance = np.full((len(queries), k), -1), np.full((len(queries), k), np.nan)
    for block, positions, distances in queries.ask(model, k):
        width = positions.shape[1]
        found[block, :width], distance[block, :width] = positions, distances
    return found, distance


def recall_against_exact(
    model,
    queries=None,
    k=10,
    *,
    exact=None,
    groups=None,
    confidence=0.95,
    n_resamples=2000,
    random_state=0,
):
    """Return the recall of an approximate search against exact search.

    Parameters
    ----------
    model : KMeansModel
        Fitted; or another approximate model.
    queries : int, list of str, DataFrame, Collection or array-like, optional
        As in `retrieval_scores`.
    k : int, default=10
        Number of answers.
    exact : similarity model, optional
        Fitted on the same keys; by default `model` itself, searching every cluster.
    groups : optional
        As in `retrieval_scores`.
    confidence, n_resamples, random_state
        As in `retrieval_scores`.

    Returns
    -------
    scores : RetrievalScores
        One measure, ``recall@k of exact``: the share of the k nearest neighbors that
        is found. A tie with the k-th nearest counts as found; a re-ranked answer
        (`rerank`) must contain the same pictures.

    Raises
    ------
    As `retrieval_scores`; also ValueError if the two models store different keys or
    compute different distances.

    Examples
    --------
    >>> from geoimages import KMeansModel, make_rocks, recall_against_exact
    >>> images, labels = make_rocks(120, random_state=0)
    >>> model = KMeansModel(num_clusters=4, random_state=0).fit(images[:100])
    >>> result = recall_against_exact(model, images[100:], k=5)
    >>> bool(0 < result.scores["mean"][0] <= 1)
    True
    """
    check_similarity_model(model)
    exact = _exact_model(model) if exact is None else exact
    if not isinstance(exact, _EveryCluster):
        check_similarity_model(exact)
    check_same_keys({"model": model, "exact": exact})
    (k,) = check_ks(check_count("k", k), len(model.keys_))
    queries = Queries(model, queries, None, groups, random_state)
    (true, true_distance), (found, distance) = (
        _first_k(queries, engine, k) for engine in (exact, model)
    )
    n_true = (true >= 0).sum(axis=1)
    row, place, of_true = measures.shared(found, true)
    hits = np.zeros(found.shape, bool)
    hits[row, place] = True
    if all(getattr(m, "thumbnails_", None) is None for m in (model, exact)):
        ours, theirs = distance[row, place], true_distance[row, of_true]
        # Two engines may round distances differently.
        differ = ~np.isclose(ours, theirs, rtol=1e-4, atol=1e-6)
        if differ.any():
            raise ValueError(
                "model and exact compute different distances, "
                f"{ours[differ][0]:.6g} and {theirs[differ][0]:.6g} of the same two "
                "pictures; use the same features, dist_metric and orientation."
            )
        farthest = true_distance.max(axis=1, where=true >= 0, initial=-np.inf)
        farthest = farthest[:, None] + 1e-9 * np.maximum(1, np.abs(farthest[:, None]))
        hits |= (found >= 0) & (distance <= farthest)
    hits = hits.sum(axis=1)
    share = np.divide(hits, n_true, out=np.full(len(hits), np.nan), where=n_true > 0)
    scores = {f"recall@{k} of exact": share}
    return _scored(scores, queries, confidence, n_resamples, random_state)


def check_same_keys(models):
    """Raise an error unless all models, by name, store the same pictures."""
    (first, model), *others = models.items()
    keys = set(model.keys_.tolist())
    for name, other in others:
        theirs = set(other.keys_.tolist())
        if theirs != keys:
            raise ValueError(
                "Models can only be compared on the same pictures, but "
                f"{first!r} and {name!r} share {len(keys & theirs)} keys of "
                f"{len(keys)} and {len(theirs)}; fit them on the same pictures."
            )
