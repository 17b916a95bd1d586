"""Blinded side-by-side trials: which of two answers is better, without the names."""

import hashlib
import json
import math
import numbers
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_random_state

from ..files import atomic_path
from ..pictures.validation import is_collection

_FORMAT = "geoimages.trials"
_FORMAT_VERSION = 1
_GAP = 10  # trials between one and its repeat, where there are as many


@dataclass(frozen=True)
class Trial:
    """One question to a voter: which side is more like the query?

    Parameters
    ----------
    name : str
        What votes call it.
    query : str
        Key of the query.
    left, right : tuple of str
        Keys found, best first.
    left_model, right_model : str
        Who found them. Not shown.
    repeat_of : str
        Name of the trial that this one asks again with sides swapped, or empty. Not
        shown.
    """

    name: str
    query: str
    left: tuple
    right: tuple
    left_model: str = field(repr=False)
    right_model: str = field(repr=False)
    repeat_of: str = field(default="", repr=False)


class Trials:
    """Side-by-side trials in the order in which they are shown.

    Made by `blind_trials`. Which model stands on which side is left out of everything
    that is printed; `revealed` tells it. (In the file it is hidden from a glance, not
    from somebody who looks for it.)

    Parameters
    ----------
    trials : list of Trial
        The trials.
    pairs : DataFrame
        Index (first, second); columns ``queries``, how many were looked at, and
        ``identical``, on how many of them both gave the same pictures in the same
        order. Those make no trial.

    Attributes
    ----------
    id : str
        Eight hexadecimal digits that stand for the content.
    models : list of str
        The models compared.
    table : DataFrame
        Index ``trial``; ``query``, ``left``, ``right``.

    See Also
    --------
    blind_trials : Draws trials.
    record_votes : Keeps the votes on them.
    """

    def __init__(self, trials, pairs):
        self._trials = {trial.name: trial for trial in trials}
        self.pairs = pairs
        self.models = list(dict.fromkeys(name for pair in pairs.index for name in pair))
        self.id = _digest([vars(trial) for trial in trials])

    def __len__(self):
        return len(self._trials)

    def __iter__(self):
        return iter(self._trials.values())

    def __getitem__(self, name):
        return self._trials[name]

    def __contains__(self, name):
        return name in self._trials

    def __repr__(self):
        repeats = sum(bool(trial.repeat_of) for trial in self)
        return (
            f"Trials({len(self)} trials of {len(self.models)} models, {repeats} of them "
            f"repeats; {int(self.pairs['identical'].sum())} left out as identical)"
        )

    @property
    def table(self):
        """What a voter may see of each trial."""
        return self.revealed[["query", "left", "right"]]

    @property
    def revealed(self):
        """What is known of each trial, with ``left_model``, ``right_model`` and more.

        ``repeat_of`` names the trial that it repeats, or is empty.
        """
        columns = list(Trial.__dataclass_fields__)
        table = pd.DataFrame([vars(trial) for trial in self], columns=columns)
        return table.set_index("name").rename_axis("trial")

    def to_json(self):
        """Return the trials as text, which `from_json` reads.

        Returns
        -------
        text : str
        """
        about = {
            "format": _FORMAT,
            "format_version": _FORMAT_VERSION,
            "created_by": f"geoimages {version('geoimages')}",
            "pairs": [
                [*pair, *map(int, counts)]
                for pair, *counts in self.pairs[["queries", "identical"]].itertuples()
            ],
            "trials": [vars(trial) for trial in self],
        }
        return json.dumps(about, ensure_ascii=False, indent=1)

    @classmethod
    def from_json(cls, text):
        """Return the trials that a text of `to_json` holds.

        Parameters
        ----------
        text : str
            JSON.

        Returns
        -------
        trials : Trials

        Raises
        ------
        ValueError
            If it is something else.
        """
        try:
            about = json.loads(text)
            if about["format"] != _FORMAT:
                raise ValueError("it has another mark")
            if about["format_version"] > _FORMAT_VERSION:
                raise ValueError("it was written by a newer version")
            trials = [
                Trial(
                    **row | {"left": tuple(row["left"]), "right": tuple(row["right"])}
                )
                for row in about["trials"]
            ]
            return cls(
                trials, _pairs_frame([(tuple(p[:2]), p[2:]) for p in about["pairs"]])
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"These are no trials of geoimages ({error}).") from None

    def save(self, path):
        """Write the trials to a JSON file, whole or not at all.

        Parameters
        ----------
        path : str or path-like
            The file.
        """
        with atomic_path(path) as temporary:
            temporary.write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def load(cls, path):
        """Read trials that `save` wrote.

        Parameters
        ----------
        path : str or path-like
            The file.

        Returns
        -------
        trials : Trials

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it holds something else.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"No trials at {path}; draw some (blind_trials).")
        try:
            return cls.from_json(path.read_bytes().decode("utf-8"))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    @classmethod
    def joined(cls, parts):
        """Return the trials of several sets, one set after the other.

        Parameters
        ----------
        parts : list of Trials
            The sets.

        Returns
        -------
        trials : Trials
        """
        counts = {}
        for part in parts:
            for pair, *more in part.pairs.itertuples():
                pair = pair[::-1] if pair[::-1] in counts else pair
                counts[pair] = np.add(counts.get(pair, 0), more)
        trials = [trial for part in parts for trial in part]
        return cls(trials, _pairs_frame(list(counts.items())))


def _digest(rows):
    text = json.dumps(rows, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _pairs_frame(rows):
    """Make the table of pairs of [((first, second), (queries, identical)), …]."""
    index = pd.MultiIndex.from_tuples([pair for pair, _ in rows])
    counts = [counts for _, counts in rows]
    frame = pd.DataFrame(counts, columns=["queries", "identical"], index=index)
    return frame.rename_axis(["first", "second"])


def _answers(name, model, queries, k):
    """The keys that a model finds for each query: list of tuples."""
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


def _check_queries(queries):
    queries = queries.keys if is_collection(queries) else queries
    if isinstance(queries, str):
        raise TypeError(f"queries is a list of keys, got the text {queries!r}.")
    keys = np.asarray(queries)
    names = keys.tolist() if keys.ndim == 1 else []
    if not names or not all(isinstance(name, str) for name in names):
        got = repr(names[:3]) if keys.ndim == 1 else type(queries).__name__
        raise TypeError(
            "queries must be keys of the fitted pictures, as text, and at least one; "
            f"got {got}."
        )
    return list(dict.fromkeys(names))


def _quotas(n_trials, pairs, n_queries, rng):
    """How many trials each pair gets; they differ by one at most."""
    if n_trials is None:
        return [n_queries] * len(pairs)
    whole = isinstance(n_trials, numbers.Integral)
    if not whole or not len(pairs) <= n_trials <= len(pairs) * n_queries:
        raise ValueError(
            f"n_trials={n_trials!r} is not a whole number from {len(pairs)}, one for "
            f"each pair of models, to {len(pairs) * n_queries}, one for each pair and "
            "query."
        )
    share, rest = divmod(n_trials, len(pairs))
    extra = rng.permutation(len(pairs)) < rest
    return [share + int(more) for more in extra]


def _differing(models, pairs, quotas, queries, k):
    """For each pair the (query, answer, answer) that differ, and what was counted."""
    found = [[] for _ in pairs]
    looked, identical = [0] * len(pairs), [0] * len(pairs)
    step = max(32, *quotas)
    for start in range(0, len(queries), step):
        unfilled = [i for i in range(len(pairs)) if len(found[i]) < quotas[i]]
        wanted = {name for i in unfilled for name in pairs[i]}
        block = queries[start : start + step]
        answers = {
            name: _answers(name, models[name], block, k)
            for name in models
            if name in wanted
        }
        for i in unfilled:
            first, second = (answers[name] for name in pairs[i])
            for query, one, other in zip(block, first, second, strict=True):
                if len(found[i]) == quotas[i]:
                    break
                looked[i] += 1
                if one == other:
                    identical[i] += 1
                else:
                    found[i].append((query, one, other))
    return found, _pairs_frame(
        list(zip(pairs, zip(looked, identical, strict=True), strict=True))
    )


def _sides(n, rng):
    """0 or 1 for each of n, half of each in every stretch."""
    blocks = [rng.permutation(2) for _ in range(math.ceil(n / 2))]
    return np.concatenate(blocks)[:n] if n else np.empty(0, int)


def _in_order(pairs, found, rng):
    """Rows (query, left, right, left model, right model) in the order of showing."""
    queues = []
    for pair, rows in zip(pairs, found, strict=True):
        queue = []
        for i, swap in zip(
            rng.permutation(len(rows)), _sides(len(rows), rng), strict=True
        ):
            query, *answers = rows[i]
            turn = -1 if swap else 1
            queue.append((query, *answers[::turn], *pair[::turn]))
        queues.append(queue)
    # Round by round, so that whoever stops early has seen each pair as often.
    return [
        queues[i][turn]
        for turn in range(max(map(len, queues)))
        for i in rng.permutation(len(pairs))
        if turn < len(queues[i])
    ]


def _with_repeats(rows, share, rng):
    """(position of the row, whether it is a repeat) in the order of showing."""
    gap = min(_GAP, len(rows) // 2)
    early = len(rows) - gap
    again = rng.permutation(early)[: round(share * len(rows))]
    late = again + gap + rng.uniform(size=len(again)) * (early - again)
    places = np.concatenate([np.arange(len(rows)), late])
    source = np.concatenate([np.arange(len(rows)), again])
    return [(source[i], i >= len(rows)) for i in np.argsort(places, kind="stable")]


def blind_trials(
    models, queries, *, k=5, n_trials=None, repeats=0.1, random_state=None
):
    """Draw balanced, blinded side-by-side trials of similarity models.

    Every pair of models gets the same number of trials (one more for some where
    `n_trials` does not divide), each model stands left and right equally often (± 1),
    and queries, sides and order are random. Whoever stops early has still seen each
    pair about equally often. Where two models give the same pictures in the same order
    there is nothing to vote on: the query is left out for that pair, another takes its
    place while there are any, and `Trials.pairs` counts it.

    Parameters
    ----------
    models : dict of str to estimator
        Two or more fitted similarity models by name; ``predict(keys, k_candidates=k)``
        must give a ranked table.
    queries : list of str or Collection
        Keys that all models know, to draw from; a collection stands for all of its
        own.
    k : int, default=5
        Pictures on a side.
    n_trials : int, optional
        Number of trials, repeats not counted. By default one for each query and pair.
    repeats : float, default=0.1
        Share of the trials that are shown once more, later and with sides swapped, to
        measure how consistent a voter is. They count for nothing else.
    random_state : int, RandomState or None, default=None
        Seed of the draw.

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
        If a model is none, or queries are no keys.
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
    if not isinstance(models, dict) or len(models) < 2:
        raise ValueError(
            "models must be a dict of two or more fitted models by name, got "
            f"{list(models) if isinstance(models, dict) else type(models).__name__}."
        )
    for name, model in models.items():
        if not hasattr(model, "predict") or isinstance(model, type):
            raise TypeError(
                f"{name!r} is no similarity model; give one such as PairwiseModel() or "
                "KMeansModel()."
            )
    if not all(isinstance(name, str) and name for name in models):
        raise ValueError(f"Models are named by text, got {list(models)!r}.")
    if not 0 <= repeats <= 1:
        raise ValueError(f"repeats is a share from 0 to 1, got {repeats!r}.")
    queries = _check_queries(queries)
    rng = check_random_state(random_state)
    queries = [queries[i] for i in rng.permutation(len(queries))]
    pairs = list(combinations(models, 2))
    quotas = _quotas(n_trials, pairs, len(queries), rng)
    found, counts = _differing(models, pairs, quotas, queries, k)
    rows = _in_order(pairs, found, rng)
    if not rows:
        raise ValueError(
            f"On all {len(queries)} queries the models give the same pictures in the "
            "same order; there is nothing to vote on."
        )
    order = _with_repeats(rows, repeats, rng)
    digest = _digest([rows, [[int(source), bool(again)] for source, again in order]])
    names = {
        source: f"{digest}.{number:04d}"
        for number, (source, again) in enumerate(order, 1)
        if not again
    }
    trials = []
    for number, (source, again) in enumerate(order, 1):
        query, left, right, left_model, right_model = rows[source]
        if again:
            left, right, left_model, right_model = right, left, right_model, left_model
        trials.append(
            Trial(
                f"{digest}.{number:04d}",
                query,
                left,
                right,
                left_model,
                right_model,
                names[source] if again else "",
            )
        )
    return Trials(trials, counts)
