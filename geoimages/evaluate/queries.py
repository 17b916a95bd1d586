"""Ask a similarity model many queries, and leave out what gives the answer away."""

import numbers

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ..collection.lineage import lineage_of
from ..files import progress
from ..pictures.validation import is_collection

_CELLS = 1 << 22  # answers held at a time
_MOST_QUERIES = 512


def check_similarity_model(model, name=None):
    """Raise an error unless the model is a fitted one that finds neighbors."""
    called = type(model).__name__ if name is None else f"{name!r}"
    if not hasattr(model, "kneighbors") or isinstance(model, type):
        raise TypeError(
            f"{called} is no similarity model; give one such as PairwiseModel() or "
            "KMeansModel()."
        )
    check_is_fitted(
        model,
        ["keys_", "y_"],
        msg=f"{called} is not fitted; call fit(X, y) first"
        + (", or give compare X=, the pictures to fit it on." if name else "."),
    )


class _Families:
    """Stored rows by the code that they share with others; -1 shares with none."""

    def __init__(self, stored, asked):
        self.stored, self.asked = stored, asked
        self._order = np.argsort(stored, kind="stable")
        self._sorted = stored[self._order]

    def members(self, code):
        """Positions of the stored rows with a code."""
        if code < 0:
            return np.empty(0, int)
        return self._order[slice(*np.searchsorted(self._sorted, [code, code + 1]))]

    def sees(self, queries, positions):
        """Which answers (b, d) are of another family than their query (b,)."""
        asked = self.asked[queries][:, None]
        return (asked < 0) | (self.stored[positions] != asked)


def _codes(stored, asked):
    """Number two lists of values alike, -1 for what is empty or NaN."""
    values = np.concatenate(
        [np.asarray(stored).astype(object), np.asarray(asked).astype(object)]
    )
    values[values == ""] = None
    codes = pd.factorize(values)[0]
    return codes[: len(stored)], codes[len(stored) :]


def _is_keys(queries):
    return np.ndim(queries) == 1 and all(isinstance(key, str) for key in queries)


class Queries:
    """Queries to models that store the same pictures.

    Parameters
    ----------
    model : similarity model
        Fitted; its keys number the stored pictures.
    queries : int, None, list of str, DataFrame, Collection or ndarray
        As in `geoimages.retrieval_scores`.
    labels : array-like of shape (m,), optional
        Their labels; those of a collection, and of stored keys the stored ones, by
        default.
    groups : optional
        As in `geoimages.retrieval_scores`.
    random_state : int, RandomState or None
        Seed of the draw where `queries` is a number.
    y : ndarray of shape (n,), optional
        Labels of the stored pictures; the model's by default.

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
        Stored pictures of the query's label, without those left out.
    units : ndarray of shape (m,), int
        Queries with the same number tell the same: one group, or one lineage.
    """

    def __init__(self, model, queries, labels, groups, random_state, y=None):
        self.keys = pd.Index(model.keys_)
        self.y = model.y_ if y is None else y
        self._read(queries, random_state)
        if len(self) < 2:
            raise ValueError(
                f"How sure a score is can not be told from {len(self)} "
                f"{'query' if len(self) == 1 else 'queries'}; give two or more."
            )
        self._own = np.full(len(self), -1)
        if self._named:
            self._own = self.keys.get_indexer(self.names)
        if self._by_key and (self._own < 0).any():
            missing = self.names[int(np.flatnonzero(self._own < 0)[0])]
            raise KeyError(
                f"{missing!r} is not a key of the {len(self.keys)} stored pictures, "
                f"for example {str(self.keys[0])!r}."
            )
        self._families = [self._lineage()]
        if groups is not None:
            self._families.append(_Families(*self._read_groups(groups)))
        self._label(labels)
        self._count()
        self.units = np.arange(len(self))
        for family in self._families:
            codes = family.asked
            rest = codes.max(initial=0) + 1 + self.units
            self.units = np.where(codes >= 0, codes, rest)

    def __len__(self):
        return len(self.names)

    def _read(self, queries, random_state):
        """Set names, and where to take the queries from."""
        if queries is None or isinstance(queries, numbers.Integral):
            if not _is_keys(self.keys):
                raise ValueError(
                    "Queries can be drawn from the stored pictures only where their "
                    "keys are strings; fit a DataFrame or Collection, or give the "
                    "queries' pixels."
                )
            n = len(self.keys) if queries is None else queries
            if not 2 <= n <= len(self.keys):
                raise ValueError(
                    f"queries={n} can not be drawn from {len(self.keys)} stored "
                    f"pictures; give a number from 2 to {len(self.keys)}."
                )
            chosen = np.arange(n)
            if queries is not None:
                rng = check_random_state(random_state)
                chosen = np.sort(rng.permutation(len(self.keys))[:n])
            queries = self.keys[chosen]
        queries = [queries] if isinstance(queries, str) else queries
        self._by_key = not is_collection(queries) and _is_keys(queries)
        self._named = self._by_key
        if self._by_key:
            names = [str(key) for key in queries]
        elif is_collection(queries) or isinstance(queries, pd.DataFrame):
            names = queries.keys if is_collection(queries) else queries.index
            self._named = True
        else:
            queries = np.asarray(queries)
            if queries.ndim not in (2, 4):
                raise ValueError(
                    f"queries of shape {queries.shape} are neither flat rows "
                    "(m, n_features) nor pictures (m, height, width, channels); of a "
                    "single query it can not be told how sure a score is."
                )
            names = np.arange(len(queries))
        self.names = pd.Index(names, name="query")
        self._queries = queries
        if self.names.has_duplicates:
            twice = self.names[self.names.duplicated()][0]
            raise ValueError(f"Each query stands once; {twice!r} stands twice.")

    def index(self):
        """The index of a table with a row a query: names, and labels if known."""
        if self.labels is None:
            return self.names
        return pd.MultiIndex.from_arrays(
            [self.names, self.labels], names=["query", "label"]
        )

    def take(self, chosen):
        """Some queries as a model takes them: positions (b,) -> keys or pixels."""
        if self._by_key:
            return [str(name) for name in self.names[chosen]]
        if is_collection(self._queries):
            return self._queries.to_frame("uint8", chosen)
        if isinstance(self._queries, pd.DataFrame):
            return self._queries.iloc[chosen]
        return self._queries[chosen]

    def _lineage(self):
        n = len(self.keys)
        if not self._named:
            return _Families(np.arange(n), self._own)
        new = self._own < 0
        lineage = lineage_of([*self.keys.tolist(), *self.names[new].tolist()])
        codes = pd.factorize(lineage)[0]
        asked = np.empty(len(self), int)
        asked[~new], asked[new] = codes[self._own[~new]], codes[n:]
        return _Families(codes[:n], asked)

    def _read_groups(self, groups):
        """Codes of the stored pictures' groups and of the queries'."""
        n, m = len(self.keys), len(self)
        if isinstance(groups, dict | pd.Series):
            groups = pd.Series(groups)
            known = groups.index
            named = dict.fromkeys((*self.keys, *self.names))
            missing = [key for key in named if key not in known]
            if missing:
                raise ValueError(
                    f"groups names no group of {missing[0]!r} and {len(missing) - 1} "
                    "other pictures; give one for every stored picture and query, "
                    "None for a picture of its own."
                )
            return _codes(groups[self.keys], groups[self.names])
        if isinstance(groups, tuple) and len(groups) == 2:
            stored, asked = groups
        elif (self._own >= 0).all():
            stored = np.asarray(groups)
            asked = stored[self._own] if stored.shape == (n,) else self._own
        else:
            raise ValueError(
                "groups must be (those of the stored pictures, those of the queries) "
                "where queries are not keys of the stored pictures."
            )
        if np.shape(stored) != (n,) or np.shape(asked) != (m,):
            raise ValueError(
                f"groups is of shape {np.shape(stored)} for the stored pictures and "
                f"{np.shape(asked)} for the queries; give one for each, expected {n} and "
                f"{m}."
            )
        return _codes(stored, asked)

    def _label(self, labels):
        """Set labels, and codes by which they are compared."""
        if labels is None and is_collection(self._queries):
            labels = self._queries.labels if len(self._queries.classes) else None
        if labels is None and self.y is not None and (self._own >= 0).all():
            labels = self.y[self._own]
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
                "fit(X, y) with one label a picture."
            )
        self._code, self._asked_code = _codes(self.y, labels)
        if not np.isin(self._asked_code[self._asked_code >= 0], self._code).any():
            raise ValueError(
                f"No stored picture has the label of any query: "
                f"{labels.tolist()[0]!r} is none of "
                f"{', '.join(map(repr, pd.unique(pd.Series(self.y))[:4].tolist()))}."
            )

    def _count(self):
        """Count what each query leaves out, and what is relevant to it."""
        lineage = self._families[0]
        # What the model itself leaves out, and what is taken out of its answer.
        self._left_out = np.zeros(len(self), int)
        self._taken_out = np.zeros(len(self), int)
        self.n_relevant = np.zeros(len(self), int)
        if self.labels is not None:
            known = self._code[self._code >= 0]
            sizes = np.bincount(known, minlength=self._asked_code.max(initial=0) + 1)
            self.n_relevant = np.where(self._asked_code < 0, 0, sizes[self._asked_code])
        for i in range(len(self)):
            turned = lineage.members(lineage.asked[i])
            hidden = turned
            for family in self._families[1:]:
                hidden = np.union1d(turned, family.members(family.asked[i]))
            if self._by_key:
                self._left_out[i] = len(turned)
            self._taken_out[i] = len(hidden) - self._left_out[i]
            if self.labels is not None and self._asked_code[i] >= 0:
                same = self._code[hidden] == self._asked_code[i]
                self.n_relevant[i] -= same.sum()

    def ask(self, model, depth, desc="asking"):
        """Yield what a model answers, a block of queries at a time.

        Parameters
        ----------
        model : similarity model
            Fitted on the same keys.
        depth : int or ndarray of shape (m,)
            Answers wanted; all that there are where there are fewer.
        desc : str
            What the progress bar says.

        Yields
        ------
        queries : ndarray of shape (b,), int
            Which queries these are.
        positions : ndarray of shape (b, d), int
            The pictures found, as places in ``keys``, the best first; -1 where fewer
            were found.
        distances : ndarray of shape (b, d)
            Their distances.
        """
        n = len(self.keys)
        place = self.keys.get_indexer(model.keys_)
        wanted = np.minimum(np.broadcast_to(depth, len(self)), n)
        asked = np.minimum(wanted + self._taken_out, n - self._left_out)
        order = np.lexsort((-asked, self._left_out))
        blocks, start = [], 0
        while start < len(order):
            first = order[start]
            size = min(_MOST_QUERIES, max(1, _CELLS // max(1, asked[first])))
            block = order[start : start + size]
            blocks.append(block[self._left_out[block] == self._left_out[first]])
            start += len(blocks[-1])
        for block in progress(blocks, desc=desc, unit="block"):
            k = int(asked[block[0]])
            distances = np.empty((len(block), 0))
            positions = distances.astype(int)
            if k:
                distances, positions = model.kneighbors(self.take(block), k)
                positions = place[positions]
            if self._taken_out[block].any():
                seen = np.logical_and.reduce(
                    [family.sees(block, positions) for family in self._families]
                )
                positions = np.where(seen, positions, -1)
                seen_first = np.argsort(~seen, axis=1, kind="stable")
                positions = np.take_along_axis(positions, seen_first, axis=1)
                distances = np.take_along_axis(distances, seen_first, axis=1)
            most = wanted[block].max()
            yield block, positions[:, :most], distances[:, :most]

    def relevant(self, queries, positions):
        """Which answers have their query's label: (b,), (b, d) -> (b, d) bool."""
        same = self._code[positions] == self._asked_code[queries][:, None]
        return same & (positions >= 0) & (self._asked_code[queries] >= 0)[:, None]
