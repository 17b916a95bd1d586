"""The design of blind trials: balanced over pairs of models, sides and order."""

import numbers
from itertools import combinations

import numpy as np
import pandas as pd
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_random_state

from ..files import progress
from ..pictures.validation import is_collection
from .trials import Trial, Trials, digest, pairs_table

_GAP = 10  # minimum number of trials between one and its repeat, if possible


def _check_models(models):
    if not isinstance(models, dict) or len(models) < 2:
        raise ValueError(
            "models must be a dict of two or more fitted models by name, got "
            f"{list(models) if isinstance(models, dict) else type(models).__name__}."
        )
    for name, model in models.items():
        if not hasattr(model, "predict") or isinstance(model, type):
            raise TypeError(
                f"{name!r} is not a similarity model; pass one such as PairwiseModel() "
                "or KMeansModel()."
            )
    if not all(isinstance(name, str) and name for name in models):
        raise ValueError(f"Names of models must be strings, got {list(models)!r}.")


def _check_queries(queries):
    queries = queries.keys if is_collection(queries) else queries
    if isinstance(queries, str):
        raise TypeError(f"queries must be a list of keys, got the string {queries!r}.")
    keys = np.asarray(queries)
    names = keys.tolist() if keys.ndim == 1 else []
    if not names or not all(isinstance(name, str) for name in names):
        got = repr(names[:3]) if keys.ndim == 1 else type(queries).__name__
        raise TypeError(
            "queries must be keys (strings) of the fitted pictures, at least one; "
            f"got {got}."
        )
    return list(dict.fromkeys(names))


def _answers(name, model, queries, k):
    """Return the keys of a model's answers to each query: list of tuples."""
    try:
        table = model.predict(queries, k_candidates=k)
    except NotFittedError:
        raise NotFittedError(
            f"The model {name!r} is not fitted; call fit with the collection first."
        ) from None
    except KeyError as error:
        raise KeyError(f"The model {name!r}: {error.args[0]}") from None
    names = table.index.names if isinstance(table, pd.DataFrame) else None
    if names != ["query", "key"]:
        raise TypeError(
            f"The model {name!r} must give a ranked table with the index (query, key), "
            f"got {type(table).__name__} with {names}."
        )
    index = table.index.to_frame(index=False)
    found = index.groupby("query", sort=False)["key"].agg(tuple)
    return [tuple(map(str, found.get(query, ()))) for query in queries]


def _quotas(n_trials, n_pairs, n_queries, rng):
    """Number of trials of each pair; they differ by at most one."""
    if n_trials is None:
        return np.full(n_pairs, n_queries)
    whole = isinstance(n_trials, numbers.Integral)
    if not whole or not n_pairs <= n_trials <= n_pairs * n_queries:
        raise ValueError(
            f"n_trials={n_trials!r} must be an integer from {n_pairs}, one for each "
            f"pair of models, to {n_pairs * n_queries}, one for each pair and query."
        )
    share, rest = divmod(n_trials, n_pairs)
    return share + (rng.permutation(n_pairs) < rest)


def _differing(models, queries, quotas, k):
    """For each pair the (query, answer, answer) that differ, and what was counted."""
    found = {pair: [] for pair in quotas}
    counts = {pair: [0, 0] for pair in quotas}
    step = max(32, *quotas.values())
    for start in range(0, len(queries), step):
        block = queries[start : start + step]
        unfilled = [pair for pair in quotas if len(found[pair]) < quotas[pair]]
        wanted = [name for name in models if any(name in pair for pair in unfilled)]
        answers = {name: [] for name in wanted}
        parts = [block[i : i + 16] for i in range(0, len(block), 16)]
        bar = progress(
            [(name, part) for name in wanted for part in parts],
            desc="drawing trials",
            unit="block",
        )
        for name, part in bar:
            answers[name] += _answers(name, models[name], part, k)
        for pair in unfilled:
            answered = zip(block, *(answers[name] for name in pair), strict=True)
            for query, one, other in answered:
                if len(found[pair]) == quotas[pair]:
                    break
                counts[pair][0] += 1
                counts[pair][1] += one == other
                if one != other:
                    found[pair].append((query, one, other))
    return found, pairs_table(counts)


def _in_order(found, rng):
    """Rows (query, left, right, left model, right model) in display order."""
    queues = []
    for pair, rows in found.items():
        # Of every two trials one is swapped: each model is left as often as right.
        swap = np.ravel([rng.permutation(2) for _ in range(len(rows) // 2 + 1)])
        queues.append([])
        for i, turn in zip(rng.permutation(len(rows)), 1 - 2 * swap, strict=False):
            query, *answers = rows[i]
            queues[-1].append((query, *answers[::turn], *pair[::turn]))
    # Round by round, so that whoever stops early has seen each pair as often.
    return [
        queues[i][place]
        for place in range(max(map(len, queues)))
        for i in rng.permutation(len(queues))
        if place < len(queues[i])
    ]


def _with_repeats(rows, share, rng):
    """(position of the row, whether it is a repeat) in display order."""
    gap = min(_GAP, len(rows) // 2)
    early = len(rows) - gap
    again = rng.permutation(early)[: round(share * len(rows))]
    late = again + gap + rng.uniform(size=len(again)) * (early - again)
    places = np.concatenate([np.arange(len(rows)), late])
    source = np.concatenate([np.arange(len(rows)), again]).tolist()
    return [
        (source[i], bool(i >= len(rows))) for i in np.argsort(places, kind="stable")
    ]


def blind_trials(
    models, queries, *, k=5, n_trials=None, repeats=0.1, random_state=None
):
    """Draw balanced, blinded side-by-side trials of similarity models.

    Every pair of models gets the same number of trials (one more for some where
    `n_trials` is not divisible), each model appears left and right equally often (± 1),
    and queries, sides and order are random. Whoever stops early has still seen each
    pair about equally often. If two models give identical answers, the query is skipped
    for that pair, replaced by another if possible, and counted in `Trials.pairs`.

    Parameters
    ----------
    models : dict of str to estimator
        Two or more fitted similarity models by name; ``predict(keys, k_candidates=k)``
        must give a ranked table.
    queries : list of str or Collection
        Keys stored in all models, to draw from; a collection means all of its keys.
    k : int, default=5
        Pictures per side.
    n_trials : int, optional
        Number of trials without repeats. By default one for each query and pair.
    repeats : float, default=0.1
        Share of the trials that are repeated later with sides swapped, only to measure
        the consistency of voters.
    random_state : int, RandomState or None, default=None
        Seed of the design.

    Returns
    -------
    trials : Trials

    Raises
    ------
    KeyError
        If a query is not among a model's fitted keys.
    NotFittedError
        If a model is not fitted.
    TypeError
        If `models` or `queries` have the wrong type.
    ValueError
        If there are fewer than two models, `n_trials` or `repeats` is out of range, or
        the models agree on every query.

    Examples
    --------
    >>> from geoimages import PairwiseModel, blind_trials, make_rocks
    >>> import pandas as pd
    >>> images, _ = make_rocks(30, random_state=0)
    >>> keys = [f"rock.{i}" for i in range(30)]
    >>> X = pd.DataFrame(images.reshape(30, -1), index=keys)
    >>> models = {m: PairwiseModel(dist_metric=m).fit(X) for m in ("cosine", "cityblock")}
    >>> blind_trials(models, keys, k=3, n_trials=10, random_state=0)
    Trials(11 trials of 2 models, 1 of them repeats; ... left out as identical)
    """
    _check_models(models)
    if not 0 <= repeats <= 1:
        raise ValueError(f"repeats must be a share from 0 to 1, got {repeats!r}.")
    queries, rng = _check_queries(queries), check_random_state(random_state)
    queries = [queries[i] for i in rng.permutation(len(queries))]
    pairs = list(combinations(models, 2))
    quotas = _quotas(n_trials, len(pairs), len(queries), rng)
    found, counts = _differing(
        models, queries, dict(zip(pairs, quotas.tolist(), strict=True)), k
    )
    rows = _in_order(found, rng)
    if not rows:
        raise ValueError(
            f"The models give identical answers to all {len(queries)} queries; there "
            "is nothing to vote on."
        )
    order = _with_repeats(rows, repeats, rng)
    prefix = digest([rows, order])
    trials, names = [], {}
    for number, (source, again) in enumerate(order, 1):
        name, (query, *sides) = f"{prefix}.{number:04d}", rows[source]
        if again:
            sides = [sides[i] for i in (1, 0, 3, 2)]
        trials.append(Trial(name, query, *sides, names.get(source, "")))
        names[source] = name
    return Trials(trials, counts)
