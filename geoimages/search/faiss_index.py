"""Search by faiss: its index names a short list, which is then compared exactly."""

import hashlib
import warnings
from contextlib import contextmanager

import numpy as np
from sklearn.utils import check_random_state

from .clustering import directions, draw, float_rows
from .exact import PRODUCT_METRICS, ExactSearch
from .metrics import BOUNDED_BY_ONE, check_metric, without_direction

_BLOCK_BYTES = 1 << 26
_FEW_ROWS = 10_000  # of which faiss, too, compares all
_PER_LIST = 40  # rows of each list that its center is learned from
_FEWEST_LEARNED = 50_000  # rows that an index learns from, where there are
_MOST_ASKED = 256  # queries that recall is measured with
_TIMES, _MOST_TIMES = 2, 64  # lengths of a short list, in answers
_STALLED = 0.9  # looking twice as far hardly helps where it leaves more misses
_MOST_WALKED = 2048  # the widest walk through a graph
_PASSES = 4  # short lists, each twice as long, before all rows are compared
_MANY = 4  # a short list is long where this times its length exceeds the rows
_NOTHING = np.empty(0, np.int64)
_STATE = ("metric", "factory", "times", "_parameter", "_exact", "_center", "_ids")


def _require():
    """Import what the extra brings."""
    try:
        with warnings.catch_warnings():  # its older versions use what is deprecated
            warnings.simplefilter("ignore", DeprecationWarning)
            import faiss
    except ImportError:
        raise ImportError(
            "algorithm='faiss' needs faiss; pip install 'geoimages[faiss]'."
        ) from None
    return faiss


def check_faiss(metric, factory=None, metric_params=None):
    """Raise an error where faiss cannot be asked.

    Parameters
    ----------
    metric : str
        The distance.
    factory : str, optional
        A description of an index.
    metric_params : dict, optional
        Keywords of the distance.

    Returns
    -------
    metric : str
        Its full name.

    Raises
    ------
    ImportError
        If faiss is not installed.
    ValueError
        If it has no such distance, or the description is none.
    """
    metric = check_metric(metric)
    weighted = "w" in (metric_params or {})
    if metric not in PRODUCT_METRICS or weighted:
        raise ValueError(
            f"algorithm='faiss' searches by {', '.join(PRODUCT_METRICS)}, without "
            f"weights; got {'weighted ' * weighted}{metric}; algorithm='partitioned' "
            "takes any distance."
        )
    if factory is not None and (not isinstance(factory, str) or "IDMap" in factory):
        raise ValueError(
            "faiss_factory describes an index to faiss, for example 'IVF1024,SQ8', and "
            f"keys are kept beside it, not by IDMap; got {factory!r}."
        )
    _require()
    return metric


def default_factory(n):
    """The index of n rows: "Flat" for a few, else 4 √n lists as faiss advises."""
    return "Flat" if n < _FEW_ROWS else f"IVF{round(4 * n**0.5)},Flat"


@contextmanager
def _one_thread(faiss):
    """Let faiss use one thread, here only: graphs depend on how many build them."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # of the calling thread; others keep theirs
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _layers(faiss, index):
    """An index and those that it is laid around, outermost first."""
    layers = []
    while index is not None:
        index = faiss.downcast_index(index)
        layers.append(index)
        inner = ("index", "base_index", "storage")
        index = next((getattr(index, i) for i in inner if hasattr(index, i)), None)
    return layers


class FaissSearch:
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
        How many rows are held while a graph is walked, where the index is one; 1 to
        begin with.
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
        self._parameter, self.times = 1, _TIMES
        self._exact = exact
        self._center = None if self.metric in BOUNDED_BY_ONE else self._mean()
        self._ids = self._number(0)
        faiss = _require()
        try:
            with _one_thread(faiss):
                index = self._trained(faiss, check_random_state(random_state))
                self._add(index, 0)
        except RuntimeError as error:
            reason = " ".join(str(error).split()).rpartition(": ")[2]
            raise ValueError(
                f"faiss_factory={self.factory!r} is no index for {len(self)} rows of "
                f"{self.rows.shape[1]} values, says faiss: {reason}"
            ) from None
        self._keep(faiss, index)

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

    def _ready(self, rows):
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

    def _trained(self, faiss, rng):
        """Make the index and let it learn from rows drawn by their content."""
        index = faiss.index_factory(self.rows.shape[1], self.factory, faiss.METRIC_L2)
        seed, n_learned = int(rng.randint(2**31 - 1)), _FEWEST_LEARNED
        for layer in _layers(faiss, index):
            for learner in (layer, getattr(layer, "pq", None)):
                if hasattr(learner, "cp"):
                    learner.cp.seed = seed
                    learner.cp.min_points_per_centroid = 1  # it prints, below 39
            if isinstance(layer, faiss.IndexIVF):
                n_learned = max(n_learned, _PER_LIST * layer.nlist)
        if not index.is_trained:
            drawn = draw(self.rows, n_learned, rng)
            index.train(self._ready(self.rows[drawn[self._ids[drawn] >= 0]]))
        layers = _layers(faiss, index)
        keeps_ids = isinstance(layers[-1], faiss.IndexIVF) and all(
            isinstance(layer, faiss.IndexPreTransform) for layer in layers[:-1]
        )
        return index if keeps_ids else faiss.IndexIDMap(index)

    def _add(self, index, start):
        """Put the rows from a position on into an index."""
        for block in self._blocks(start + np.flatnonzero(self._ids[start:] >= 0)):
            index.add_with_ids(self._ready(self.rows[block]), self._ids[block])

    def _keep(self, faiss, index):
        """Learn what follows from the index and the numbers of its rows."""
        self._faiss, self._index = faiss, index
        self._layers = _layers(faiss, index)
        self._held = np.flatnonzero(self._ids >= 0)
        self._held_ids = self._ids[self._held]
        loose = np.flatnonzero(self._ids < 0)
        self._loose = loose[np.argsort(self._exact.rank[loose])]
        self._most = 1
        for layer in self._layers:
            if isinstance(layer, faiss.IndexIVF):
                self._most = layer.nlist
            elif isinstance(layer, faiss.IndexHNSW):
                self._most = _MOST_WALKED

    def __getstate__(self):
        """The index as bytes, with their checksum."""
        state = {name: getattr(self, name) for name in _STATE}
        state["index"] = self._faiss.serialize_index(self._index)
        state["sha256"] = hashlib.sha256(state["index"]).hexdigest()
        return state

    def __setstate__(self, state):
        """Hand the bytes to faiss where they are those that were saved."""
        state = dict(state)
        index = np.ascontiguousarray(state.pop("index"))
        if hashlib.sha256(index).hexdigest() != state.pop("sha256"):
            raise ValueError(
                "The faiss index is damaged: its checksum is another; save it again."
            )
        self.__dict__.update(state)
        faiss = _require()
        try:
            index = faiss.deserialize_index(index)
        except RuntimeError as error:
            reason = " ".join(str(error).split()).rpartition(": ")[2]
            raise ValueError(
                f"faiss {faiss.__version__} cannot read the index ({reason}); install "
                "the version that it was saved with, or a later one."
            ) from None
        self._keep(faiss, index)

    def __len__(self):
        return len(self._exact)

    @property
    def rows(self):
        """The rows."""
        return self._exact.rows

    @property
    def nprobe(self):
        """Lists that are searched, None where the index has none."""
        return self._parameter if self._has(self._faiss.IndexIVF) else None

    @nprobe.setter
    def nprobe(self, nprobe):
        self._parameter = nprobe

    @property
    def efSearch(self):
        """Rows that are held while a graph is walked, None where there is none."""
        return self._parameter if self._has(self._faiss.IndexHNSW) else None

    @efSearch.setter
    def efSearch(self, efSearch):
        self._parameter = efSearch

    def _has(self, kind):
        return any(isinstance(layer, kind) for layer in self._layers)

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
            None where the index has to be made anew: a graph cannot be taken from.
        """
        faiss = self._faiss
        engine = FaissSearch.__new__(FaissSearch)
        engine.__dict__.update(self.__dict__)
        engine._exact = exact
        first = self._ids.max(initial=-1) + 1
        engine._ids = np.append(self._ids[kept], engine._number(len(kept), first))
        gone = np.delete(self._ids, kept)
        gone = gone[gone >= 0]
        try:
            with _one_thread(faiss):
                index = faiss.clone_index(self._index)
                if len(gone) and index.remove_ids(gone) != len(gone):
                    return None
                engine._add(index, len(kept))
        except RuntimeError:
            return None
        engine._keep(faiss, index)
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

    def _options(self, parameter):
        """What tells each layer of the index how far to look."""
        faiss, options = self._faiss, None
        for layer in reversed(self._layers):
            if isinstance(layer, faiss.IndexIVF):
                options = faiss.SearchParametersIVF(nprobe=parameter)
            elif isinstance(layer, faiss.IndexHNSW):
                options = faiss.SearchParametersHNSW(efSearch=parameter)
            elif options and isinstance(layer, faiss.IndexPreTransform):
                options = faiss.SearchParametersPreTransform(index_params=options)
            elif options and isinstance(layer, faiss.IndexRefine):
                options = faiss.IndexRefineSearchParameters(
                    k_factor=layer.k_factor, base_index_params=options
                )
        return options

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
        self._check_served(check_metric(metric))
        queries = np.asarray(queries)
        queries = queries.reshape(-1, n_orientations, queries.shape[1])
        hidden = [_NOTHING] * len(queries) if exclude is None else exclude
        found = [None] * len(queries)
        asking = {}  # together those for which faiss is to name as many
        for i, out in enumerate(hidden):
            asking.setdefault(len(out), []).append(i)
        for n_hidden, members in asking.items():
            width, parameter = self.times * k + n_hidden, self._parameter
            for _ in range(_PASSES):
                if not members or _MANY * width > len(self):
                    break
                lists = self._ask(queries[members], width, parameter)
                for i, named in zip(members, zip(*lists, strict=True), strict=True):
                    found[i] = self._answer(queries[i], k, metric, *named, hidden[i])
                members = [i for i in members if found[i] is None]
                width, parameter = 2 * width, min(2 * parameter, self._most)
            if members:
                rest = self._exact.search(
                    queries[members].reshape(-1, queries.shape[2]),
                    k,
                    metric,
                    exclude=[hidden[i] for i in members],
                    n_orientations=n_orientations,
                    n_jobs=n_jobs,
                )
                for i, answer in zip(members, rest, strict=True):
                    found[i] = answer
        return found

    def _check_served(self, metric):
        """Raise a ValueError where the index was not made for a metric."""
        served = (self.metric,)
        if self.metric not in BOUNDED_BY_ONE:
            served = ("euclidean", "sqeuclidean")
        if metric not in served:
            raise ValueError(
                f"The faiss index was made for {' and '.join(served)}, not for "
                f"{metric}; fit with dist_metric={metric!r}, or with "
                "algorithm='exact', which takes any."
            )

    def _ask(self, queries, width, parameter):
        """Let faiss name rows: (m, t, d) -> squares of distances, numbers: (m, t, w)."""
        m, t, d = queries.shape
        with _one_thread(self._faiss):
            squares, ids = self._index.search(
                self._ready(queries.reshape(-1, d)),
                width,
                params=self._options(parameter),
            )
        return squares.reshape(m, t, width), ids.reshape(m, t, width)

    def _answer(self, turns, k, metric, squares, ids, hidden):
        """The k nearest of those named, or None where they may not be enough.

        The squares and numbers are (t, w), a row for each orientation, and numbers
        below 0 mean that there are no more.
        """
        named = ids >= 0
        last = squares[:, -1].min(where=named[:, -1], initial=np.inf)
        ids, place = np.unique(ids[named], return_inverse=True)
        square = np.full(len(ids), np.inf)
        np.minimum.at(square, place, squares[named])
        positions = self._held[np.searchsorted(self._held_ids, ids)]
        # Rows without direction, which faiss does not hold, are all equally far.
        loose = self._loose[: k + len(hidden)]
        positions = np.append(positions, loose)
        square = np.append(square, np.full(len(loose), 2.0))
        if len(hidden):
            shown = ~np.isin(positions, hidden)
            positions, square = positions[shown], square[shown]
        if len(positions) < min(k, len(self) - len(hidden)):
            return None
        rows = self.rows[positions]
        short = ExactSearch(
            rows, self._exact.rank[positions], self._exact.metric_params
        )
        short.rows = rows  # not as uint8 where the others are not
        ((distances, places, which),) = short.search(
            turns, k, metric, n_orientations=len(turns)
        )
        if not len(places):
            return distances, positions[places], which
        # Equally near rows may follow where the list ends no farther than the answer.
        reach = max(0.0, square[places].max())
        size = 1.0
        if self._center is not None:
            size = np.square(self._ready(turns), dtype=np.float64).sum(axis=1).max()
        unit = 8 * np.finfo(np.float32).eps * turns.shape[1] ** 0.5
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
        asked = np.sort(rng.permutation(len(self))[:_MOST_ASKED])
        queries, itself = self.take(asked), list(asked[:, None])
        exact = self._exact.search(queries, k, metric, exclude=itself)
        wanted = sum(len(places) for _, places, _ in exact)

        def recall_of(parameter, times):
            self._parameter, self.times = parameter, times
            found = self.search(queries, k, metric, itself)
            hits = sum(
                np.isin(true, places).sum()
                for (_, true, _), (_, places, _) in zip(exact, found, strict=True)
            )
            return float(hits / wanted) if wanted else 1.0

        times = _TIMES
        parameter = min(self._most, 1 if self._has(self._faiss.IndexIVF) else times * k)
        low = parameter - 1
        recall = recall_of(parameter, times)
        while recall < recall_target:
            low, missed = parameter, 1 - recall
            parameter = min(2 * parameter, self._most)
            if parameter > low:
                recall = recall_of(parameter, times)
            # Where to look further finds little, it is the short lists that lose.
            if recall < recall_target and 1 - recall > _STALLED * missed:
                if times == _MOST_TIMES:
                    break
                low, times = 0, 2 * times
                recall = recall_of(parameter, times)
        target = min(recall_target, recall)
        while parameter - low > 1:
            middle = (low + parameter) // 2
            if recall_of(middle, times) < target:
                low = middle
            else:
                parameter = middle
        return recall_of(parameter, times)
