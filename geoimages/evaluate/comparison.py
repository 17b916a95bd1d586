"""Comparison of similarity models: scores, paired tests, overlap, costs."""

import time
from dataclasses import dataclass
from html import escape
from itertools import combinations

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.utils.validation import check_consistent_length

from ..files import progress
from .measures import jaccard, rank_biased_overlap
from .queries import Queries, check_similarity_model
from .retrieval import (
    check_ks,
    check_same_keys,
    check_units,
    mean_table,
    measure_names,
    score_queries,
)
from .statistics import holm, paired_permutation_test
from .verdict import labeled_verdict, unlabeled_verdict

_TIMED_ALONE, _TIMED_TOGETHER = 20, 100
_TIMED_SECONDS = 2.0
_MEANS = ["model", "measure", "mean", "low", "high"]
_PAIRS = ["model", "other", "measure", "difference", "low", "high"]
_PAIRS += ["p_value", "p_corrected"]


@dataclass(repr=False)
class Comparison:
    """Result of `compare`.

    Attributes
    ----------
    models : list of str
        Their names.
    scores : DataFrame
        ``model``, ``measure``, ``mean`` over the queries, ``low`` and ``high``, the
        ends of its interval. No rows without labels.
    per_query : DataFrame
        Index ``(query, label)``, columns ``(measure, model)``. NaN for a query without
        relevant stored pictures.
    differences : DataFrame
        For each pair and measure: ``model``, ``other``, ``measure``, ``difference``
        (the mean of `model` less that of `other`), ``low`` and ``high``, ``p_value``
        of a paired permutation test and ``p_corrected``, corrected (Holm) for the
        number of pairs.
    overlap : DataFrame
        For each pair ``model``, ``other``, ``measure`` (Jaccard@k, and RBO, the
        rank-biased overlap with p = 0.9), ``mean``, ``low`` and ``high``: how much
        their answers overlap.
    costs : DataFrame
        Index ``model``; ``fit_s``, seconds to fit, NaN for models already fitted;
        ``query_ms``, the median time of single queries; ``batch_ms``, the time per
        query in a batch.
    verdict : str
        Which model is better, with intervals, in plain English.
    measure : str
        The measure of the verdict.
    n_queries : int
        Number of queries scored.
    confidence : float
        Confidence level of the intervals.
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
        """Return the mean scores, one row per measure and one column per model."""
        table = self.scores.pivot_table(
            index="measure", columns="model", values="mean", sort=False
        )
        return table.rename_axis(index=None, columns=None)

    def _parts(self):
        """Yield the headings and tables of a summary."""
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


def _named(models):
    """Check the models and return them by name."""
    if not isinstance(models, dict) or len(models) < 2:
        raise TypeError(
            "models must be a dict of two or more {'name': model}, got "
            + (f"{len(models)}." if isinstance(models, dict) else f"{models!r}.")
        )
    named = {str(name): model for name, model in models.items()}
    if len(named) < len(models):
        raise ValueError(f"Each model needs a unique name, got {list(models)!r}.")
    return named


def _fitted(models, X, y):
    """Fit clones of the models, or check fitted ones: models, seconds by name."""
    seconds = dict.fromkeys(models, np.nan)
    if X is None and y is not None:
        raise ValueError(
            "y is for fitting, but there is no X; pass the pictures to fit on as X=, or "
            "leave y out."
        )
    if X is not None:
        if y is not None:
            check_consistent_length(X, y)
        fitted = {}
        for name, model in progress(models.items(), desc="fitting", unit="model"):
            start = time.perf_counter()
            fitted[name] = clone(model).fit(X, y)
            seconds[name] = time.perf_counter() - start
        models = fitted
    for name, model in models.items():
        check_similarity_model(model, name)
    return models, seconds


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


def _check_measure(measure, ks, full, has_labels):
    """Return the measure of the verdict."""
    known = measure_names(ks, full)
    if measure is not None and measure not in known:
        raise ValueError(
            f"measure={measure!r} is not known; expected one of {', '.join(known)}."
        )
    if measure is not None and not has_labels:
        raise ValueError(
            f"measure={measure!r} needs labels of the stored pictures and the queries."
        )
    return measure or f"{'precision' if has_labels else 'Jaccard'}@{ks[-1]}"


def _timed(model, queries, k):
    """Time queries, one at a time and in a batch, in milliseconds."""

    def seconds(chosen):
        query = queries.take(chosen)
        start = time.perf_counter()
        model.predict(query, k)
        return time.perf_counter() - start

    last = len(queries) - 1
    chosen = np.unique(np.linspace(0, last, _TIMED_TOGETHER).astype(int))
    seconds(chosen[:1])  # to warm up
    alone = []
    for query in chosen[:: max(1, len(chosen) // _TIMED_ALONE)]:
        if sum(alone) < _TIMED_SECONDS:
            alone.append(seconds([query]))
    median = float(np.median(alone))
    batch = chosen[: max(2, int(_TIMED_SECONDS / max(median, 1e-9)))]
    return {"query_ms": 1000 * median, "batch_ms": 1000 * seconds(batch) / len(batch)}


def _pair_columns(pairs):
    """Move (model, other, measure) to the first columns of a table."""
    return pd.DataFrame(pairs, columns=["model", "other", "measure"])


def _overlap(answers, units, ks, options):
    """Overlap of the answers of each pair of models."""
    values = {}
    for a, b in combinations(answers, 2):
        for k in ks:
            values[a, b, f"Jaccard@{k}"] = jaccard(answers[a][:, :k], answers[b][:, :k])
        values[a, b, "RBO"] = rank_biased_overlap(answers[a], answers[b])
    table = mean_table(np.column_stack([*values.values()]), units, options)
    return pd.concat([_pair_columns(list(values)), table], axis=1)


def _per_query(scores, index):
    """The scores of all models side by side."""
    measures = next(iter(scores.values()))
    columns = {
        (measure, name): scores[name][measure]
        for measure in measures
        for name in scores
    }
    table = pd.DataFrame(columns, index=index)
    return table.rename_axis(columns=["measure", "model"]) if columns else table


def _mean_scores(per_query, models, units, options):
    """Means with intervals, model by model."""
    columns = per_query.columns.to_frame(index=False)[["model", "measure"]]
    table = mean_table(per_query.to_numpy(), units, options)
    order = np.argsort(columns["model"].map(models.index), kind="stable")
    return pd.concat([columns, table], axis=1).iloc[order].reset_index(drop=True)


def _differences(per_query, models, units, options, n_permutations):
    """Paired differences of each pair of models in each measure."""
    pairs = [
        (a, b, measure)
        for measure in per_query.columns.unique("measure")
        for a, b in combinations(models, 2)
    ]
    values = np.column_stack(
        [per_query[measure, a] - per_query[measure, b] for a, b, measure in pairs]
    )
    table = mean_table(values, units, options, bounds=None)
    table = table.rename(columns={"mean": "difference"})
    table["p_value"] = paired_permutation_test(
        values,
        groups=units,
        n_permutations=n_permutations,
        random_state=options["random_state"],
    )
    table = pd.concat([_pair_columns(pairs), table], axis=1)
    corrected = table.groupby("measure")["p_value"].transform(holm)
    return table.assign(p_corrected=corrected)


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
        The queries' labels; not needed for labeled stored pictures or a collection.
        Without labels, only overlap and costs are computed.
    X : DataFrame, Collection or array-like, optional
        Pictures to fit the models on, as ``fit`` takes them.
    y : array-like of shape (n,), optional
        Their labels; those of a collection by default.
    ks : tuple of int, default=(1, 5, 10)
        Numbers of answers to score.
    groups : optional
        As in `retrieval_scores`; lists are in the order of the first model's keys.
    measure : str, optional
        The measure of the verdict; by default the precision at the largest of `ks`.
        Choose it before looking at results.
    full : bool, default=True
        Whether to rank all stored pictures, as in `retrieval_scores`.
    confidence : float, default=0.95
        Confidence level of the intervals. A difference is significant if its corrected
        p-value is below 1 − `confidence`.
    n_resamples, n_permutations : int
        Bootstrap samples of the intervals, and sign permutations of the tests.
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
        If `models` is not a dict of similarity models.
    ValueError
        If the models store different pictures, there is only one query, `measure`
        needs labels that are missing, or `ks` exceeds the number of pictures.

    Notes
    -----
    Exclusions and the number of answers requested are as in `retrieval_scores`.
    Intervals and tests generalize to other queries to the same stored pictures.
    P-values are corrected for the number of pairs, not of measures, which are strongly
    correlated. Features learned from labels have seen those of the stored pictures:
    evaluate such models on held-out queries.

    Times are measured on this machine after one warm-up query; features cached in a
    collection cost nothing to fit.

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
    models, fit_seconds = _fitted(_named(models), X, y)
    check_same_keys(models)
    first = next(iter(models.values()))
    ks = check_ks(ks, len(first.keys_))
    stored = _stored_labels(models)
    queries = Queries(first, queries, labels, groups, random_state, stored)
    check_units(queries.units)
    has_labels = queries.labels is not None
    measure = _check_measure(measure, ks, full, has_labels)

    scores, answers, costs = {}, {}, {}
    for name, model in progress(models.items(), desc="comparing", unit="model"):
        scores[name], answers[name] = score_queries(queries, model, ks, full)
        costs[name] = {"fit_s": fit_seconds[name]} | _timed(model, queries, ks[-1])
    costs = pd.DataFrame.from_dict(costs, orient="index").rename_axis("model")

    options = {
        "confidence": confidence,
        "n_resamples": n_resamples,
        "random_state": random_state,
    }
    overlap = _overlap(answers, queries.units, ks, options)
    per_query = _per_query(scores, queries.index())
    if has_labels:
        counted = queries.n_relevant > 0
        n_queries, units = int(counted.sum()), queries.units[counted]
        check_units(units)
        shared = per_query[counted], list(models), units, options
        means, differences = (
            _mean_scores(*shared),
            _differences(*shared, n_permutations),
        )
        verdict = labeled_verdict(means, differences, measure, n_queries, confidence)
    else:
        n_queries = len(queries)
        means, differences = pd.DataFrame(columns=_MEANS), pd.DataFrame(columns=_PAIRS)
        verdict = unlabeled_verdict(overlap, ks[-1], n_queries)
    return Comparison(
        list(models),
        means,
        per_query,
        differences,
        overlap,
        costs,
        verdict,
        measure,
        n_queries,
        confidence,
    )
