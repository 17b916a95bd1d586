"""Search by faiss: its index names a short list, which is then compared exactly."""

import numpy as np
from sklearn.utils import check_random_state

from .clustering import directions, draw, float_rows
from .exact import ExactSearch
from .faiss_factory import (
    build,
    check_faiss,
    check_kept,
    default_factory,
    layers_of,
    lists_of,
    one_thread,
    reason,
    require,
    search_parameters,
)
from .metrics import BOUNDED_BY_ONE, check_metric, without_direction
from .stored import Stored, check_stored

_BLOCK_BYTES = 1 << 26
_N_MEASURED = 256  # queries that recall is measured with
_TIMES, _MOST_TIMES = 2, 64  # lengths of a short list, in answers
_STALLED = 0.9  # looking twice as far hardly helps where it leaves more misses
_MOST_WALKED = 2048  # the largest efSearch
_PASSES = 4  # short lists, each twice as long, before all rows are compared
_MANY = 4  # a short list is long where this times its length exceeds the rows
_NOTHING = np.empty(0, np.int64)
_VALUES = ("metric", "factory", "times", "nprobe", "efSearch", "seed")
_MOST_ID, _MOST_SEED = 1 << 62, 2**31 - 1


def _in_range(value, low, high):
    return type(value) is int and low <= value <= high


def _unpickled(state):
    """Make an engine of what `FaissSearch.__reduce__` gave."""
    engine, faiss = FaissSearch.__new__(FaissSearch), require()
    engine.__dict__.update(state)
    engine._set(faiss, faiss.deserialize_index(state["_index"]))
    return engine


class FaissSearch(Stored):
    """Stored rows of which an index of faiss names a few, which are compared exactly.

    faiss sees the rows in float32: for correlation centered and scaled to length 1,
    for cosine scaled, else without their mean. The distances and the order of what it
    names are those of `ExactSearch`, so that an index that compares everything
    ("Flat") gives the answers of exact search. Where it names too few, or equally near
    rows may lie beyond its list, it is asked for more, and at last all are compared.

    Parameters
    ----------
    exact : ExactSearch
        The stored rows.
    metric : {"correlation", "cosine", "euclidean", "sqeuclidean"}
        The distance that will be searched by.
    factory : str, optional
        The index, as `faiss.index_factory` takes it; by default "Flat" below 10,000
        rows, else "IVF{4 √n},Flat".
    random_state : int, RandomState or None, default=0
        Seed of what the index learns.

    Attributes
    ----------
    factory : str
        The index.
    nprobe : int or None
        Lists that are searched, where the index has lists; 1 to begin with.
    efSearch : int or None
        Rows held while a graph is walked, where the index is one; 1 to begin with.
    times : int
        How many times as many rows as wanted faiss is to name; 2 to begin with.

    Raises
    ------
    ImportError
        If faiss is not installed.
    ValueError
        If it has no such distance, or refuses the index.

    References
    ----------
    Douze et al. (2024). The Faiss library. https://arxiv.org/abs/2401.08281

    Examples
    --------
    >>> from geoimages import make_rocks
    >>> rows = make_rocks(120, random_state=0)[0].reshape(120, -1)
    >>> exact = ExactSearch(rows, np.arange(120))
    >>> engine = FaissSearch(exact, "correlation", "IVF8,Flat")
    >>> engine.search(rows[7:8], 1, "correlation")[0][1]
    array([7])
    """

    def __init__(self, exact, metric, factory=None, random_state=0):
        self.metric = check_faiss(metric, factory, exact.metric_params)
        self.factory = factory or default_factory(len(exact))
        self.times, self.nprobe, self.efSearch = _TIMES, None, None
        self._exact = exact.prepared(self.metric, quantize=False)
        self._center = None if self.metric in BOUNDED_BY_ONE else self._mean()
        self._ids = self._number(0)
        if not isinstance(random_state, int | np.integer):
            random_state = check_random_state(random_state).randint(_MOST_SEED)
        self.seed = int(random_state)
        self._build()
        if self._parameter:
            setattr(self, self._parameter, 1)

    def _build(self, lists=None):
        """Build the index of the rows, around the centers of its lists if given."""
        faiss = require()
        n_columns = self.rows.shape[1]
        try:
            with one_thread(faiss):
                index = build(
                    faiss, n_columns, self.factory, self._sample, self.seed, lists
                )
                self._add(index, 0)
        except (RuntimeError, MemoryError) as error:
            raise ValueError(
                f"faiss_factory={self.factory!r} is no index for {len(self)} rows of "
                f"{n_columns} values, says faiss: {reason(error)}"
            ) from None
        self._set(faiss, index)

    def _sample(self, n, rng):
        """Some rows to train on, drawn by their content: (n, d) float32."""
        drawn = draw(self.rows, n, rng)
        return self._directions(self.rows[drawn[self._ids[drawn] >= 0]])

    def _mean(self):
        """The mean of the rows, in 0–1 units: (d,)."""
        total = np.zeros(self.rows.shape[1])
        for block in self._blocks(np.arange(len(self))):
            total += float_rows(self.rows[block]).sum(axis=0, dtype=np.float64)
        return total / max(1, len(self))

    def _blocks(self, positions):
        """Positions, some megabytes of rows at a time."""
        step = max(1, _BLOCK_BYTES // (16 * max(1, self.rows.shape[1])))
        return [positions[i : i + step] for i in range(0, len(positions), step)]

    def _directions(self, rows):
        """Rows as faiss compares them: (n, d) -> (n, d) float32."""
        rows = float_rows(rows).astype(np.float64)
        if self._center is None:
            rows = directions(rows, self.metric)
        else:
            rows -= self._center
        with np.errstate(over="ignore"):  # what is too large is compared exactly
            return rows.astype(np.float32, order="C")

    def _number(self, start, first=0):
        """Number the rows from a position on: (n,), −1 for those without direction."""
        ids = np.full(len(self) - start, -1)
        held = np.ones(len(ids), bool)
        if self._center is None:
            for block in self._blocks(np.arange(len(ids))):
                rows = self.rows[start + block]
                held[block] = ~without_direction(rows, self.metric)
        ids[held] = np.arange(first, first + held.sum())
        return ids

    def _add(self, index, start):
        """Put the rows from a position on into an index."""
        for block in self._blocks(start + np.flatnonzero(self._ids[start:] >= 0)):
            index.add_with_ids(self._directions(self.rows[block]), self._ids[block])

    def _set(self, faiss, index):
        """Keep the index, and what follows from it and the numbers of its rows."""
        self._faiss, self._index = faiss, index
        self._layers = layers_of(faiss, index)
        self._held = np.flatnonzero(self._ids >= 0)
        self._held_ids = self._ids[self._held]
        rest = np.flatnonzero(self._ids < 0)
        self._without_direction = rest[np.argsort(self._exact.rank[rest])]
        # What says how far to look, by faiss's name, and the most of it.
        self._parameter, self._most = None, 1
        for layer in self._layers:
            if isinstance(layer, faiss.IndexIVF):
                self._parameter, self._most = "nprobe", layer.nlist
            elif isinstance(layer, faiss.IndexHNSW):
                self._parameter, self._most = "efSearch", _MOST_WALKED

    def arrays(self):
        """What `from_arrays` makes the engine of: JSON values and arrays by name.

        faiss's own bytes are none of them: its reader trusts the sizes and numbers in
        them. The index is built again, around the same lists.
        """
        check_kept(self.factory, *self.rows.shape)
        values, arrays = self._exact.arrays()
        values["faiss"] = {name: getattr(self, name) for name in _VALUES}
        arrays["faiss_ids"] = self._ids
        lists = lists_of(self._faiss, self._layers)
        if lists is not None:
            arrays["faiss_lists"] = lists
        if self._center is not None:
            arrays["faiss_center"] = self._center
        return values, arrays

    @classmethod
    def from_arrays(cls, values, arrays):
        """Make the engine whose `arrays` these are; a ValueError if they contradict."""
        engine = cls.__new__(cls)
        engine._exact = ExactSearch.from_arrays(values, arrays)
        for name in _VALUES:
            setattr(engine, name, values["faiss"][name])
        engine._ids, engine._center = arrays["faiss_ids"], arrays.get("faiss_center")
        check_faiss(engine.metric, engine.factory)
        n, n_columns = engine.rows.shape
        check_kept(engine.factory, n, n_columns)
        centered = check_metric(engine.metric) not in BOUNDED_BY_ONE
        check_stored(
            (engine._center is not None) == centered
            and (not centered or engine._center.shape == (n_columns,)),
            "a center of other rows",
        )
        ids, held = engine._ids, engine._ids[engine._ids >= 0]
        check_stored(
            ids.shape == (n,)
            and ids.dtype == np.int64
            and (np.diff(held) > 0).all()
            and np.array_equal(ids >= 0, engine._number(0) >= 0)
            and held.max(initial=0) < _MOST_ID,
            "a faiss index of other rows",
        )
        check_stored(
            all(
                _in_range(*limits)
                for limits in (
                    (engine.times, 1, _MOST_TIMES),
                    (engine.seed, 0, _MOST_SEED),
                    (engine.nprobe or 1, 1, n),
                    (engine.efSearch or 1, 1, _MOST_WALKED),
                )
            ),
            "parameters out of range",
        )
        engine._build(arrays.get("faiss_lists"))
        if engine._parameter is not None:
            value = getattr(engine, engine._parameter)
            check_stored(value is not None, f"no {engine._parameter}")
        return engine

    def __reduce__(self):
        # Within a process, and between one's own, faiss reads what it wrote.
        state = self.__dict__ | {"_faiss": None, "_layers": None}
        state["_index"] = self._faiss.serialize_index(self._index)
        return _unpickled, (state,)

    def __len__(self):
        return len(self._exact)

    @property
    def rows(self):
        """The rows."""
        return self._exact.rows

    @property
    def mean_list_size(self):
        """How many rows a row shares its list with, itself too, on average."""
        for layer in self._layers:
            if isinstance(layer, self._faiss.IndexIVF) and len(self._held):
                imbalance = layer.invlists.imbalance_factor()
                return float(imbalance * len(self._held) / layer.nlist)
        return float(len(self))

    def changed(self, exact, kept):
        """Return an engine of other rows with the same lists.

        Parameters
        ----------
        exact : ExactSearch
            The rows kept, and any others below them.
        kept : ndarray of int
            Positions of those that are kept.

        Returns
        -------
        engine : FaissSearch or None
            None where the index has to be built again: a graph loses no rows.
        """
        faiss = self._faiss
        engine = FaissSearch.__new__(FaissSearch)
        engine.__dict__.update(self.__dict__)
        engine._exact = exact.prepared(self.metric, quantize=False)
        first = self._ids.max(initial=-1) + 1
        engine._ids = np.append(self._ids[kept], engine._number(len(kept), first))
        gone = np.delete(self._ids, kept)
        gone = gone[gone >= 0]
        try:
            with one_thread(faiss):
                index = faiss.clone_index(self._index)
                if len(gone) and index.remove_ids(gone) != len(gone):
                    return None
                engine._add(index, len(kept))
        except RuntimeError:
            return None
        engine._set(faiss, index)
        return engine

    def take(self, positions):
        """Return rows by their positions.

        Parameters
        ----------
        positions : array-like of int
            In the order of the rows that were given.

        Returns
        -------
        rows : ndarray of shape (len(positions), d)
        """
        return self._exact.take(positions)

    def search(self, queries, k, metric, exclude=None, n_orientations=1, n_jobs=None):
        """Find the k nearest rows among those that faiss names for each candidate.

        Parameters
        ----------
        queries, k, metric, exclude, n_orientations, n_jobs
            As in `ExactSearch.search`; the metric must be one that the index serves.

        Returns
        -------
        found : list of (distances, positions, orientations)
            As `ExactSearch.search` returns it.

        Raises
        ------
        ValueError
            If the index was made for another metric.
        """
        served = (self.metric,)
        if self.metric not in BOUNDED_BY_ONE:
            served = ("euclidean", "sqeuclidean")
        if check_metric(metric) not in served:
            raise ValueError(
                f"The faiss index was made for {' and '.join(served)}, not for "
                f"{metric}; fit with dist_metric={metric!r}, or with "
                "algorithm='exact', which takes any."
            )
        queries = np.asarray(queries)
        queries = queries.reshape(-1, n_orientations, queries.shape[1])
        excluded = [_NOTHING] * len(queries) if exclude is None else exclude
        found = [None] * len(queries)
        groups = {}  # candidates for which faiss is to name as many rows
        for i, out in enumerate(excluded):
            groups.setdefault(len(out), []).append(i)
        for n_excluded, members in groups.items():
            width = self.times * k + n_excluded
            value = getattr(self, self._parameter) if self._parameter else 1
            # Those whose short list may end among ties are asked again, for more.
            for _ in range(_PASSES):
                if not members or _MANY * width > len(self):
                    break
                named = self._name(queries[members], width, value)
                for i, squares, ids in zip(members, *named, strict=True):
                    found[i] = self._rank(
                        queries[i], k, metric, squares, ids, excluded[i]
                    )
                members = [i for i in members if found[i] is None]
                width, value = 2 * width, min(2 * value, self._most)
            if members:
                rest = self._exact.search(
                    queries[members].reshape(-1, queries.shape[2]),
                    k,
                    metric,
                    exclude=[excluded[i] for i in members],
                    n_orientations=n_orientations,
                    n_jobs=n_jobs,
                )
                for i, answer in zip(members, rest, strict=True):
                    found[i] = answer
        return found

    def _name(self, queries, width, value):
        """Let faiss name rows: (m, t, d) -> squared distances and ids, (m, t, width)."""
        m, t, d = queries.shape
        with one_thread(self._faiss):
            squares, ids = self._index.search(
                self._directions(queries.reshape(-1, d)),
                width,
                params=search_parameters(self._faiss, self._layers, value),
            )
        return squares.reshape(m, t, width), ids.reshape(m, t, width)

    def _rank(self, queries, k, metric, squares, ids, excluded):
        """The k nearest of those named, or None where they may not be enough.

        `squares` and `ids` are (t, width), a row for each orientation, and ids below 0
        mean that there are no more.
        """
        named = ids >= 0
        last = squares[:, -1].min(where=named[:, -1], initial=np.inf)
        ids, place = np.unique(ids[named], return_inverse=True)
        square = np.full(len(ids), np.inf)
        np.minimum.at(square, place, squares[named])
        positions = self._held[np.searchsorted(self._held_ids, ids)]
        # Rows without direction, which faiss does not hold, are all equally far.
        rest = self._without_direction[: k + len(excluded)]
        positions = np.append(positions, rest)
        square = np.append(square, np.full(len(rest), 2.0))
        if len(excluded):
            kept = ~np.isin(positions, excluded)
            positions, square = positions[kept], square[kept]
        if len(positions) < min(k, len(self) - len(excluded)):
            return None
        rows, rank = self.rows[positions], self._exact.rank[positions]
        short = ExactSearch(rows, rank, self._exact.metric_params)
        short.rows = rows  # not as uint8 where the others are not
        ((distances, places, which),) = short.search(
            queries, k, metric, n_orientations=len(queries)
        )
        if not len(places):
            return distances, positions[places], which
        # Equally near rows may follow where the list ends no farther than the answer.
        # With r the distance of the answer, faiss computes the square as |q|² + |x|² −
        # 2 q·x in float32, of which |x| <= |q| + r bounds the parts and so the error.
        reach = max(0.0, square[places].max())
        size = 1.0
        if self._center is not None:
            size = np.square(self._directions(queries), dtype=np.float64)
            size = size.sum(axis=1).max()
        unit = 8 * np.finfo(np.float32).eps * queries.shape[1] ** 0.5
        if not last - reach > unit * (size + (size**0.5 + reach**0.5) ** 2):
            return None
        return distances, positions[places], which

    def tune(self, recall_target, k, metric, random_state=0):
        """Look as far as a recall takes on the rows themselves.

        Parameters
        ----------
        recall_target : float
            Share of the true k nearest to find, in (0, 1].
        k, metric
            As in `search`.
        random_state : int, default=0
            Seed of the choice of 256 rows, each of which leaves itself out.

        Returns
        -------
        recall : float
            Share that is found. Where the target is out of reach, as it is for indexes
            that keep little of a row, the most that can be.
        """
        rng = np.random.default_rng(random_state)
        measured = np.sort(rng.permutation(len(self))[:_N_MEASURED])
        queries, itself = self.take(measured), list(measured[:, None])
        exact = self._exact.search(queries, k, metric, exclude=itself)
        n_wanted = sum(len(positions) for _, positions, _ in exact)

        def recall_of(value, times):
            self.times = times
            if self._parameter:
                setattr(self, self._parameter, value)
            found = self.search(queries, k, metric, itself)
            hits = sum(
                np.isin(true, positions).sum()
                for (_, true, _), (_, positions, _) in zip(exact, found, strict=True)
            )
            return float(hits / n_wanted) if n_wanted else 1.0

        # Twice as far until the target is reached, then by bisection to the least.
        times = _TIMES
        value = min(self._most, 1 if self._parameter == "nprobe" else times * k)
        low = value - 1
        recall = recall_of(value, times)
        while recall < recall_target:
            low, missed = value, 1 - recall
            value = min(2 * value, self._most)
            if value > low:
                recall = recall_of(value, times)
            # Where to look further finds little, it is the short lists that lose.
            if recall < recall_target and 1 - recall > _STALLED * missed:
                if times == _MOST_TIMES:
                    break
                low, times = 0, 2 * times
                recall = recall_of(value, times)
        target = min(recall_target, recall)
        while value - low > 1:
            middle = (low + value) // 2
            if recall_of(middle, times) < target:
                low = middle
            else:
                value = middle
        return recall_of(value, times)
