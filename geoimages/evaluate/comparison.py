"""Which of several similarity models is better, by how much, how sure, at what cost."""

import pickle
import time
import tracemalloc
from dataclasses import dataclass
from html import escape
from itertools import combinations

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.utils.validation import check_consistent_length

from ..files import progress
from ..pictures.validation import is_collection
from .measures import jaccard, rank_biased_overlap
from .queries import Queries, check_similarity_model
from .retrieval import (
    check_groups_of_queries,
    check_ks,
    check_same_keys,
    mean_interval,
    measure_names,
    score_queries,
)
from .statistics import holm, paired_permutation_test

_MB = 1e6
_TIMED_ALONE, _TIMED_TOGETHER = 20, 100


@dataclass(repr=False)
class Comparison:
    """What `compare` found out about several models.

    Attributes
    ----------
    models : list of str
        Their names.
    scores : DataFrame
        ``model``, ``measure``, ``mean`` over the queries, ``low`` and ``high``, the
        ends of its interval. No rows without labels.
    per_query : DataFrame
        Index ``(query, label)``, columns ``(measure, model)``: the scores side by
        side. NaN for a query to which no stored picture is relevant.
    differences : DataFrame
        For each pair and measure: ``model``, ``other``, ``measure``, ``difference``
        (the mean of `model` less that of `other`), ``low`` and ``high``, ``p_value``
        of a paired permutation test and ``p_corrected``, corrected (Holm) for there
        being several pairs.
    overlap : DataFrame
        For each pair ``model``, ``other``, ``measure`` (Jaccard@k, and RBO, the
        rank-biased overlap with p = 0.9), ``mean``, ``low`` and ``high``: how much of
        their answers is the same.
    costs : DataFrame
        Index ``model``: ``fit_s``, seconds to fit; ``query_ms``, the median of queries
        asked one at a time; ``batch_ms``, a query's share of a batch; ``model_mb``,
        what the fitted model holds; ``query_peak_mb`` and ``fit_peak_mb``, what one
        query and the fit take at most at a time. NaN where not measured.
    verdict : str
        Which model is better and how sure that is, in plain English.
    measure : str
        The measure that the verdict is about.
    n_queries : int
        Number of queries that count.
    confidence : float
        How often such intervals hold the true value.
    """

    models: list
    scores: pd.DataFrame
    per_query: pd.DataFrame
    differences: pd.DataFrame
    overlap: pd.DataFrame
    costs: pd.DataFrame
    verdict: str
    measure: str
    n_queries: int
    confidence: float = 0.95

    def table(self):
        """Return the mean scores: a row for each measure, a column for each model."""
        table = self.scores.pivot_table(
            index="measure", columns="model", values="mean", sort=False
        )
        return table.rename_axis(index=None, columns=None)

    def _parts(self):
        """The tables that a summary shows, with their headings."""
        if len(self.scores):
            yield f"Mean scores, {self.n_queries:,} queries", self.table()
        overlap = self.overlap.assign(
            pair=self.overlap["model"] + " – " + self.overlap["other"]
        )
        wide = overlap.pivot_table(
            index="pair", columns="measure", values="mean", sort=False
        ).rename_axis(index=None, columns=None)
        yield "Overlap of the answers (1 = the same)", wide
        yield "Costs", self.costs.dropna(axis=1, how="all").rename_axis(index=None)

    def __str__(self):
        parts = [
            f"{heading}\n{table.round(3).to_string()}"
            for heading, table in self._parts()
        ]
        return "\n\n".join([self.verdict, *parts])

    __repr__ = __str__

    def _repr_html_(self):
        parts = [
            f"<p>{heading}</p>{table.to_html(float_format='%.3f')}"
            for heading, table in self._parts()
        ]
        return f"<p><b>{escape(self.verdict)}</b></p>{''.join(parts)}"


def _traced_peak(function):
    """Megabytes that a call takes at most at a time, beyond what was there."""
    already = tracemalloc.is_tracing()
    if not already:
        tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    function()
    peak = tracemalloc.get_traced_memory()[1] - before
    if not already:
        tracemalloc.stop()
    return peak / _MB


class _Measure(pickle.Pickler):
    """Counts what an object holds, but for a collection's pictures on disk."""

    def __init__(self):
        self.nbytes = 0
        super().__init__(self, protocol=5, buffer_callback=self._count)

    def _count(self, buffer):
        self.nbytes += buffer.raw().nbytes

    def write(self, written):
        self.nbytes += len(written)

    def persistent_id(self, value):
        return "elsewhere" if is_collection(value) else None


def _held(model):
    """Megabytes that a fitted model holds; NaN where it can not be written."""
    measure = _Measure()
    try:
        measure.dump(model)
    except (pickle.PicklingError, TypeError, AttributeError):
        return np.nan
    return measure.nbytes / _MB


def _costs_of_asking(model, asked, k):
    """How long queries take, one at a time and together, and what one holds."""
    chosen = np.unique(np.linspace(0, len(asked) - 1, _TIMED_TOGETHER).astype(int))
    alone = chosen[:: max(1, len(chosen) // _TIMED_ALONE)]
    first = asked.take(alone[:1])
    model.predict(first, k)
    peak = _traced_peak(lambda: model.predict(first, k))
    times = []
    for i in alone:
        query = asked.take([i])
        start = time.perf_counter()
        model.predict(query, k)
        times.append(time.perf_counter() - start)
    batch = asked.take(chosen)
    start = time.perf_counter()
    model.predict(batch, k)
    together = (time.perf_counter() - start) / len(chosen)
    return {
        "query_ms": 1000 * np.median(times),
        "batch_ms": 1000 * together,
        "model_mb": _held(model),
        "query_peak_mb": peak,
    }


def _fitted(models, X, y, memory):
    """Fit clones of the models, with what that cost, or check fitted ones."""
    costs = {name: {"fit_s": np.nan} for name in models}
    if X is None:
        if y is not None or memory:
            given = "y" if y is not None else "memory=True"
            raise ValueError(
                f"{given} is for fitting, but there is no X; give the pictures to fit "
                "on as X=, or leave it out."
            )
        for name, model in models.items():
            check_similarity_model(model, name)
        return models, costs
    if y is not None:
        check_consistent_length(X, y)
    fitted = {}
    for name, model in progress(models.items(), desc="fitting", unit="model"):
        start = time.perf_counter()
        fitted[name] = clone(model).fit(X, y)
        costs[name]["fit_s"] = time.perf_counter() - start
        if memory:
            again = clone(model)
            costs[name]["fit_peak_mb"] = _traced_peak(lambda m=again: m.fit(X, y))
        check_similarity_model(fitted[name], name)
    return fitted, costs


def _stored_labels(models):
    """Labels of the stored pictures in the order of the first model, or None."""
    first = next(iter(models.values()))
    keys, labels = pd.Index(first.keys_), None
    for name, model in models.items():
        if model.y_ is None:
            continue
        y = np.asarray(model.y_)[pd.Index(model.keys_).get_indexer(keys)]
        if labels is not None and not np.array_equal(labels, y):
            raise ValueError(
                f"{name!r} was fitted with other labels than the models before it; "
                "fit all on the same."
            )
        labels = y
    return labels


def _agreement(answers, units, ks, options):
    """How much the answers of each pair of models overlap."""
    rows = []
    for a, b in combinations(answers, 2):
        values = {
            f"Jaccard@{k}": jaccard(answers[a][:, :k], answers[b][:, :k]) for k in ks
        }
        values["RBO"] = rank_biased_overlap(answers[a], answers[b])
        mean, low, high = mean_interval(
            np.column_stack([*values.values()]), units, options
        )
        rows.append(
            pd.DataFrame(
                {
                    "model": a,
                    "other": b,
                    "measure": list(values),
                    "mean": mean,
                    "low": low,
                    "high": high,
                }
            )
        )
    return pd.concat(rows, ignore_index=True)


def _summary(per_query, names, units, options):
    """Means with intervals of (query) × (measure, model) scores."""
    mean, low, high = mean_interval(per_query.to_numpy(), units, options)
    measure, model = map(list, zip(*per_query.columns, strict=True))
    table = pd.DataFrame(
        {"model": model, "measure": measure, "mean": mean, "low": low, "high": high}
    )
    order = pd.Categorical(table["model"], names, ordered=True)
    return table.iloc[np.argsort(order.codes, kind="stable")].reset_index(drop=True)


def _differences(per_query, names, units, options, n_permutations):
    """Paired differences of each pair of models in each measure."""
    measures = per_query.columns.unique("measure")
    pairs = list(combinations(names, 2))
    columns = [(measure, *pair) for measure in measures for pair in pairs]
    values = np.column_stack(
        [(per_query[m, a] - per_query[m, b]).to_numpy() for m, a, b in columns]
    )
    difference, low, high = mean_interval(values, units, options, bounds=None)
    table = pd.DataFrame(
        {
            "model": [a for _, a, _ in columns],
            "other": [b for _, _, b in columns],
            "measure": [m for m, _, _ in columns],
            "difference": difference,
            "low": low,
            "high": high,
            "p_value": paired_permutation_test(
                values,
                groups=units,
                n_permutations=n_permutations,
                random_state=options["random_state"],
            ),
        }
    )
    corrected = table.groupby("measure")["p_value"].transform(holm)
    return table.assign(p_corrected=corrected)


def _by_chance(p_value):
    if p_value < 0.001:
        return "by chance less than once in 1,000 times"
    if p_value > 0.5:
        return "by chance more often than not"
    return f"by chance about once in {1 / p_value:.0f} times"


def _listed(parts):
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if parts[1:] else parts)


def _verdict(scores, differences, measure, n_queries, confidence):
    """Say in plain English which model is better, and how sure that is."""
    means = scores[scores["measure"] == measure].set_index("model")["mean"]
    means = means.sort_values(ascending=False, kind="stable")
    best, others = means.index[0], means.index[1:]
    rows = differences[differences["measure"] == measure]
    sure, unsure, seen = [], [], []
    for other in others:
        pair = rows[
            rows["model"].isin([best, other]) & rows["other"].isin([best, other])
        ].iloc[0]
        low, high = pair["low"], pair["high"]
        if pair["model"] != best:
            low, high = -high, -low
        lead = means[best] - means[other]
        text = f"{other} ({means[other]:.3f}) by {lead:.3f} ({low:.3f} to {high:.3f})"
        if pair["p_corrected"] < 1 - confidence:
            sure.append(text)
            seen.append(pair["p_corrected"])
        else:
            text = (
                f"{other} ({means[other]:.3f}): the true difference lies between "
                f"{low:.3f} and {high:.3f}, and one such as seen comes "
                f"{_by_chance(pair['p_corrected'])}"
            )
            unsure.append(text)
    sureness = f"{100 * confidence:g} % intervals"
    ahead = f"{best} ({measure} {means[best]:.3f})"
    if not unsure:
        each = "Such a lead comes" if len(sure) == 1 else "The least sure lead comes"
        return (
            f"{best} is better: its {measure} is {means[best]:.3f}, ahead of "
            f"{_listed(sure)} ({n_queries:,} queries, {sureness}). {each} "
            f"{_by_chance(max(seen))}."
        )
    told = (
        f"It can not be told from {n_queries:,} queries ({sureness}) whether {ahead} "
    )
    told += "is better than " + "; or than ".join(unsure) + "."
    return told + (f" It is ahead of {_listed(sure)}, surely." if sure else "")


def _verdict_without_labels(overlap, k, n_queries):
    rows = overlap[overlap["measure"] == f"Jaccard@{k}"]
    parts = [
        f"{row.model} and {row.other} {row.mean:.2f} ({row.low:.2f} to {row.high:.2f})"
        for row in rows.itertuples()
    ]
    return (
        f"Without labels it can not be told which is better, only how much their first "
        f"{k} answers overlap (Jaccard, 1 = the same pictures; {n_queries:,} queries): "
        f"{_listed(parts)}."
    )


def compare(
    models,
    queries=None,
    labels=None,
    *,
    X=None,
    y=None,
    ks=(1, 5, 10),
    groups=None,
    measure=None,
    full=True,
    memory=False,
    confidence=0.95,
    n_resamples=2000,
    n_permutations=9999,
    random_state=0,
):
    """Compare similarity models on the same queries to the same pictures.

    Parameters
    ----------
    models : dict of str to PairwiseModel or KMeansModel
        Two or more, by name. Without `X` they are fitted, all on the same keys. With
        `X` clones of them are fitted, and that is timed.
    queries : int, list of str, DataFrame, Collection or array-like, optional
        As in `retrieval_scores`: a number of stored pictures to draw, keys of stored
        pictures, or pixels. By default every stored picture.
    labels : array-like of shape (m,), optional
        The queries' labels; not needed for stored pictures that have them, nor for a
        collection. Where there are none, only overlap and costs are told.
    X : DataFrame, Collection or array-like, optional
        Pictures to fit the models on, as ``fit`` takes them.
    y : array-like of shape (n,), optional
        Their labels; those of a collection by default.
    ks : tuple of int, default=(1, 5, 10)
        Numbers of answers to look at.
    groups : optional
        As in `retrieval_scores`; lists are in the order of the first model's keys.
    measure : str, optional
        What the verdict is about; by default the precision at the largest of `ks`.
        Choose it before you look.
    full : bool, default=True
        Whether to rank all stored pictures, as in `retrieval_scores`.
    memory : bool, default=False
        Whether to fit each model once more to see what memory that takes.
    confidence : float, default=0.95
        How often the intervals hold the true value. A difference is called sure where
        its corrected p-value is below 1 − `confidence`.
    n_resamples, n_permutations : int
        How often queries are drawn for the intervals, and signs for the tests.
    random_state : int, RandomState or None, default=0
        Seed of all draws.

    Returns
    -------
    comparison : Comparison
        ``verdict``, ``scores``, ``per_query``, ``differences``, ``overlap`` and
        ``costs``; `Plots.comparison` draws it.

    Raises
    ------
    NotFittedError
        If there is no `X` and a model is not fitted.
    TypeError
        If `models` is no dict of similarity models.
    ValueError
        If the models store different pictures, one query is all there is, labels are
        asked for that are missing, or `ks` asks for more pictures than there are.

    Notes
    -----
    What is left out of the answers, and what the measures are asked for, is as in
    `retrieval_scores`. Intervals and tests take the stored pictures as they are and
    ask what other queries would give. P-values are corrected for the number of pairs,
    not of measures, which are views of one answer. Features that learn from labels
    have seen those of the stored pictures: ask such models held-out queries.

    Times are those of this machine at this moment, after one query to warm up;
    features that a collection has cached cost nothing to fit. Memory is that of
    Python and NumPy, without a collection's pictures on disk.

    Examples
    --------
    >>> from geoimages import KMeansModel, PairwiseModel, compare, make_rocks
    >>> images, labels = make_rocks(120, random_state=0)
    >>> models = {"pairwise": PairwiseModel(), "kmeans": KMeansModel(random_state=0)}
    >>> result = compare(models, images[80:], labels[80:], X=images[:80], y=labels[:80])
    >>> result.scores["model"].unique().tolist()
    ['pairwise', 'kmeans']
    >>> bool(result.differences["p_corrected"].between(0, 1).all())
    True
    """
    if not isinstance(models, dict) or len(models) < 2:
        raise TypeError(
            "models must be a dict of two or more, {'name': model}, got "
            + (f"{len(models)}." if isinstance(models, dict) else f"{models!r}.")
        )
    names = [str(name) for name in models]
    if len(set(names)) < len(names):
        raise ValueError(f"Each model needs a name of its own, got {list(models)!r}.")
    models, costs = _fitted(
        dict(zip(names, models.values(), strict=True)), X, y, memory
    )
    check_same_keys(models)
    first = models[names[0]]
    ks = check_ks(ks, len(first.keys_))
    stored = _stored_labels(models)
    asked = Queries(first, queries, labels, groups, random_state, stored)
    check_groups_of_queries(asked.units)
    known = measure_names(ks, full)
    if measure is not None and (measure not in known or asked.labels is None):
        raise ValueError(
            f"measure={measure!r} needs labels of the stored pictures and the queries."
            if measure in known
            else f"measure={measure!r} is not known; expected one of "
            f"{', '.join(known)}."
        )
    measure = measure or f"precision@{ks[-1]}"
    scores, answers = {}, {}
    for name, model in progress(models.items(), desc="comparing", unit="model"):
        scores[name], answers[name] = score_queries(asked, model, ks, full)
        costs[name] |= _costs_of_asking(model, asked, ks[-1])
    columns = ["fit_s", "query_ms", "batch_ms", "model_mb", "query_peak_mb"]
    costs = pd.DataFrame(costs).T.rename_axis("model")
    costs = costs.reindex(columns=[*columns, "fit_peak_mb"])
    options = {
        "confidence": confidence,
        "n_resamples": n_resamples,
        "random_state": random_state,
    }
    overlap = _agreement(answers, asked.units, ks, options)
    if asked.labels is None:
        return Comparison(
            names,
            pd.DataFrame(columns=["model", "measure", "mean", "low", "high"]),
            pd.DataFrame(index=asked.index()),
            pd.DataFrame(
                columns=[
                    "model",
                    "other",
                    "measure",
                    "difference",
                    "low",
                    "high",
                    "p_value",
                    "p_corrected",
                ]
            ),
            overlap,
            costs,
            _verdict_without_labels(overlap, ks[-1], len(asked)),
            f"Jaccard@{ks[-1]}",
            len(asked),
            confidence,
        )
    per_query = pd.DataFrame(
        {(m, name): scores[name][m] for m in known for name in names},
        index=asked.index(),
    ).rename_axis(columns=["measure", "model"])
    answerable = asked.n_relevant > 0
    units = asked.units[answerable]
    check_groups_of_queries(units)
    counted = per_query[answerable]
    summary = _summary(counted, names, units, options)
    differences = _differences(counted, names, units, options, n_permutations)
    return Comparison(
        names,
        summary,
        per_query,
        differences,
        overlap,
        costs,
        _verdict(summary, differences, measure, len(counted), confidence),
        measure,
        len(counted),
        confidence,
    )
