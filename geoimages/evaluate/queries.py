"""Run many queries through a similarity model, with exclusions against leakage."""

import numbers

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ..files import progress
from ..pictures.validation import is_collection
from .groups import encode, lineage_groups, sampling_units, stated_groups

_CELLS = 1 << 22  # answers held at a time
_MOST_QUERIES = 32  # of a block, as fast as 512 in exact search
_MOST_VERIFIED = 4  # a second stage takes a third of a second for each


def check_similarity_model(model, name=None):
    """Raise an error unless the model is a fitted similarity model."""
    called = type(model).__name__ if name is None else f"{name!r}"
    if not hasattr(model, "kneighbors") or isinstance(model, type):
        raise TypeError(
            f"{called} is not a similarity model; pass one such as PairwiseModel() or "
            "KMeansModel()."
        )
    check_is_fitted(
        model,
        ["keys_", "y_"],
        msg=f"{called} is not fitted; call fit(X, y) first"
        + (", or pass compare the pictures to fit it on, X=." if name else "."),
    )


def ranks_consistently(model):
    """Whether a model's first answers do not depend on the number requested.

    This holds for exact search without a second stage. Other models must be given the
    k that is scored: with a larger k, an approximate search looks further, and its
    first answers improve.
    """
    exact = getattr(model, "algorithm_", None) == "exact"
    return exact and getattr(model, "thumbnails_", None) is None


def _are_keys(queries):
    return np.ndim(queries) == 1 and all(isinstance(key, str) for key in queries)


class Queries:
    """Queries to models that store the same pictures.

    The model's keys number the stored pictures, whose labels are `y`, by default the
    model's; the rest is as in `geoimages.retrieval_scores`.

    Attributes
    ----------
    keys : Index of shape (n,)
        Keys of the stored pictures.
    y : ndarray of shape (n,) or None
        Their labels.
    names : Index of shape (m,)
        The queries' names.
    labels : ndarray of shape (m,) or None
        Their labels.
    n_relevant : ndarray of shape (m,), int
        Number of stored pictures with the query's label, without the excluded ones.
    units : ndarray of shape (m,), int
        Sampling units: queries with the same number belong to one group or lineage and
        are not independent.
    """

    def __init__(self, model, queries, labels, groups, random_state, y=None):
        self.keys = pd.Index(model.keys_)
        self.y = model.y_ if y is None else y
        if queries is None or isinstance(queries, numbers.Integral):
            queries = self._drawn(queries, random_state)
        names = self._read(queries)
        if len(self) < 2:
            raise ValueError(
                f"An interval cannot be computed from {len(self)} "
                f"{'query' if len(self) == 1 else 'queries'}; pass two or more."
            )
        own = np.full(len(self), -1)
        if names is not None:
            own = self.keys.get_indexer(names)
        if self._by_key and (own < 0).any():
            raise KeyError(
                f"{names[own < 0][0]!r} is not a key of the {len(self.keys)} stored "
                f"pictures, for example {str(self.keys[0])!r}."
            )
        self._groupings = [lineage_groups(self.keys, names, own)]
        if groups is not None:
            stated = stated_groups(groups, self.keys, self.names, own)
            self._groupings.append(stated)
        self.units = sampling_units(self._groupings)
        self._label(labels, own)
        self._count()

    def __len__(self):
        return len(self.names)

    def _drawn(self, n, random_state):
        """Draw the keys of n stored pictures, or take all of them."""
        if not _are_keys(self.keys):
            raise ValueError(
                "Queries can be drawn from the stored pictures only where their keys are "
                "strings; fit a DataFrame or Collection, or give the queries' pixels."
            )
        if n is None:
            return self.keys
        if not 2 <= n <= len(self.keys):
            raise ValueError(
                f"queries={n} cannot be drawn from {len(self.keys)} stored pictures; "
                f"give a number from 2 to {len(self.keys)}."
            )
        rng = check_random_state(random_state)
        return self.keys[np.sort(rng.permutation(len(self.keys))[:n])]

    def _read(self, queries):
        """Set the names, and where to take the queries from; return names or None."""
        queries = [queries] if isinstance(queries, str) else queries
        self._by_key = not is_collection(queries) and _are_keys(queries)
        named = True
        if self._by_key:
            names = [str(key) for key in queries]
        elif is_collection(queries):
            names = queries.keys
        elif isinstance(queries, pd.DataFrame):
            names = queries.index
        else:
            queries, named = np.asarray(queries), False
            if queries.ndim not in (2, 4):
                raise ValueError(
                    f"queries of shape {queries.shape} are neither flat rows "
                    "(m, n_features) nor pictures (m, height, width, channels); pass "
                    "two or more queries."
                )
            names = np.arange(len(queries))
        self._queries, self.names = queries, pd.Index(names, name="query")
        if self.names.has_duplicates:
            twice = self.names[self.names.duplicated()][0]
            raise ValueError(f"Queries must be unique; {twice!r} is repeated.")
        return self.names if named else None

    def _label(self, labels, own):
        """Set labels, and codes by which they are compared."""
        if labels is None and is_collection(self._queries):
            labels = self._queries.labels if len(self._queries.classes) else None
        if labels is None and self.y is not None and (own >= 0).all():
            labels = self.y[own]
        self.labels = labels = None if labels is None else np.asarray(labels)
        if labels is None:
            return
        if labels.shape != (len(self),):
            raise ValueError(
                f"Give one label for each query, got labels of shape {labels.shape} "
                f"for {len(self)} queries."
            )
        if self.y is None:
            raise ValueError(
                "The queries have labels, but the stored pictures have none; call "
                "fit(X, y) with one label per picture."
            )
        self._stored_code, self._query_code = encode(self.y, labels)
        if not np.isin(
            self._query_code[self._query_code >= 0], self._stored_code
        ).any():
            raise ValueError(
                f"No stored picture has the label of any query: "
                f"{labels.tolist()[0]!r} is none of "
                f"{', '.join(map(repr, pd.unique(pd.Series(self.y))[:4].tolist()))}."
            )

    def _count(self):
        """Count what is excluded from each query's answers, and what is relevant."""
        # What the model excludes itself, and what must be removed from its answer.
        self._excluded = np.zeros(len(self), int)
        self._taken_out = np.zeros(len(self), int)
        self.n_relevant = np.zeros(len(self), int)
        if self.labels is not None:
            code = self._query_code
            known = self._stored_code[self._stored_code >= 0]
            sizes = np.bincount(known, minlength=code.max(initial=0) + 1)
            self.n_relevant = np.where(code < 0, 0, sizes[code])
        for i in range(len(self)):
            lineage, *others = (groups.members(i) for groups in self._groupings)
            hidden = np.union1d(lineage, others[0]) if others else lineage
            self._excluded[i] = len(lineage) if self._by_key else 0
            self._taken_out[i] = len(hidden) - self._excluded[i]
            if self.labels is not None and self._query_code[i] >= 0:
                same = self._stored_code[hidden] == self._query_code[i]
                self.n_relevant[i] -= same.sum()

    def index(self):
        """Index of a table with one row per query: names, and labels if known."""
        if self.labels is None:
            return self.names
        return pd.MultiIndex.from_arrays(
            [self.names, self.labels], names=["query", "label"]
        )

    def take(self, chosen):
        """Return queries as model input: positions (b,) -> keys or pixels."""
        if self._by_key:
            return [str(name) for name in self.names[chosen]]
        if is_collection(self._queries):
            return self._queries.to_frame("uint8", chosen)
        if isinstance(self._queries, pd.DataFrame):
            return self._queries.iloc[chosen]
        return self._queries[chosen]

    def _blocks(self, model, depth):
        """Yield (queries, answers to ask for).

        Queries of a block exclude as many pictures and, unless the model ranks
        consistently, ask for as many answers; else for as many as the one that asks for
        the most.
        """
        verified = getattr(model, "thumbnails_", None) is not None
        most = _MOST_VERIFIED if verified else _MOST_QUERIES
        order = np.lexsort((-depth, self._excluded))
        start = 0
        while start < len(order):
            first = order[start]
            size = min(most, max(1, _CELLS // max(1, depth[first])))
            block = order[start : start + size]
            same = self._excluded[block] == self._excluded[first]
            if not ranks_consistently(model):
                same &= depth[block] == depth[first]
            yield block[same], int(depth[first])
            start += same.sum()

    def ask(self, model, depth, desc="asking"):
        """Yield the answers of a model, one block of queries at a time.

        `depth` is how many answers are wanted, one number or one for each query. A block
        is the positions (b,) of its queries, those of the answers in ``keys`` (b, d), the
        best first and -1 where there are fewer, and their distances (b, d).
        """
        n = len(self.keys)
        place = self.keys.get_indexer(model.keys_)
        wanted = np.minimum(np.broadcast_to(depth, len(self)), n)
        total = np.minimum(wanted + self._taken_out, n - self._excluded)
        with progress(desc=desc, total=len(self), unit="query") as bar:
            for block, k in self._blocks(model, total):
                distances = np.empty((len(block), 0))
                positions = distances.astype(int)
                if k:
                    distances, positions = model.kneighbors(self.take(block), k)
                    positions = place[positions]
                if self._taken_out[block].any():
                    differ = np.logical_and.reduce(
                        [groups.differ(block, positions) for groups in self._groupings]
                    )
                    positions = np.where(differ, positions, -1)
                    order = np.argsort(~differ, axis=1, kind="stable")
                    positions = np.take_along_axis(positions, order, axis=1)
                    distances = np.take_along_axis(distances, order, axis=1)
                most = wanted[block].max()
                yield block, positions[:, :most], distances[:, :most]
                bar.update(len(block))

    def relevant(self, queries, positions):
        """Which answers have their query's label: (b,), (b, d) -> (b, d) bool."""
        code = self._query_code[queries][:, None]
        return (self._stored_code[positions] == code) & (positions >= 0) & (code >= 0)
