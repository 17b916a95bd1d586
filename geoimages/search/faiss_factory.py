"""Building faiss indexes, and setting nprobe or efSearch."""

import re
import warnings
from contextlib import contextmanager

import numpy as np
from sklearn.utils import check_random_state

from .metrics import check_metric
from .prepared import PRODUCT_METRICS

_FEW_ROWS = 10_000  # of which faiss, too, compares all
_PER_LIST = 40  # rows of each list that its center is learned from
_FEWEST_LEARNED = 50_000  # rows that an index learns from, where there are
_MOST_BITS, _MOST_LINKS = 12, 256  # of a code, and of a row in a graph
_CODE = r"(Flat|SQ(4|6|8|fp16|bf16)|PQ\d+(x\d+)?(np|fs|fsr)?)"
_KEPT = re.compile(
    rf"((OPQ\d+(_\d+)?|PCAR?W?\d+|RR\d+|L2norm),)*"
    rf"({_CODE}|HNSW\d+((,|_){_CODE})?|IVF\d+(_HNSW\d+)?,{_CODE})(,RFlat)?"
)


def require():
    """Import what the extra brings."""
    try:
        with warnings.catch_warnings():  # its older versions use what is deprecated
            warnings.simplefilter("ignore", DeprecationWarning)
            import faiss
    except ImportError:
        raise ImportError(
            "An index of faiss needs faiss; pip install 'geoimages[faiss]'."
        ) from None
    return faiss


def check_faiss(metric, factory=None, metric_params=None):
    """Return the full name of a metric, or raise an error where faiss has no such index.

    Parameters
    ----------
    metric : str
        The distance.
    factory : str, optional
        A description of an index.
    metric_params : dict, optional
        Keywords of the distance.

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
    require()
    return metric


def check_kept(factory, n, n_columns):
    """Raise a ValueError unless an index can be built again when it is loaded.

    A file may name any index: what takes far longer or far more memory than its rows is
    refused.
    """
    kept = _KEPT.fullmatch(factory)
    numbers = map(int, re.findall(r"\d+", factory))
    bits = map(int, re.findall(r"x(\d+)", factory))
    links = map(int, re.findall(r"HNSW(\d+)", factory))
    if not kept or (
        max(numbers, default=0) > max(n, n_columns, _MOST_LINKS)
        or max(bits, default=0) > _MOST_BITS
        or max(links, default=0) > _MOST_LINKS
    ):
        raise ValueError(
            f"An index of faiss {factory!r} over {n:,} rows is not kept in files; use "
            "IVF, HNSW, PQ, SQ, Flat, PCA, OPQ or RFlat with numbers that suit the rows."
        )


def lists_of(faiss, layers):
    """The centers of the lists of an index, (n_lists, d) float32, or None."""
    for layer in layers:
        if isinstance(layer, faiss.IndexIVF):
            centers = faiss.downcast_index(layer.quantizer)
            if isinstance(centers, faiss.IndexFlat):
                return centers.reconstruct_n(0, centers.ntotal)
    return None


def _set_lists(faiss, index, lists):
    """Give an index the centers of its lists, so that it does not learn them."""
    for layer in layers_of(faiss, index):
        if isinstance(layer, faiss.IndexIVF):
            centers = faiss.downcast_index(layer.quantizer)
            if (
                isinstance(centers, faiss.IndexFlat)
                and lists.shape == (layer.nlist, centers.d)
                and np.isfinite(lists).all()
            ):
                centers.add(np.ascontiguousarray(lists, np.float32))
                return
    raise ValueError(
        "The index is damaged, it has lists of another one; save it again."
    )


def reason(error):
    """The last part of what faiss says, on one line."""
    return " ".join(str(error).split()).rpartition(": ")[2]


def default_factory(n):
    """The index of n rows: "Flat" for a few, else 4 √n lists as faiss advises."""
    return "Flat" if n < _FEW_ROWS else f"IVF{round(4 * n**0.5)},Flat"


@contextmanager
def one_thread(faiss):
    """Let faiss use one thread, here only: graphs depend on how many build them."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)  # of the calling thread; others keep theirs
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def layers_of(faiss, index):
    """An index and those that it is built around, outermost first."""
    layers = []
    while index is not None:
        index = faiss.downcast_index(index)
        layers.append(index)
        inner = ("index", "base_index", "storage")
        index = next((getattr(index, i) for i in inner if hasattr(index, i)), None)
    return layers


def build(faiss, n_columns, factory, sample, random_state, lists=None):
    """Build an index and train it.

    Parameters
    ----------
    faiss : module
    n_columns : int
    factory : str
        As `faiss.index_factory` takes it.
    sample : callable
        (n, random state) -> n rows to train on.
    random_state : int, RandomState or None
        Seed of what the index learns.
    lists : ndarray of shape (n_lists, d), float32, optional
        The centers of its lists, instead of learning them.

    Returns
    -------
    index : faiss.Index
        It takes ids, but no rows yet.
    """
    rng = check_random_state(random_state)
    index = faiss.index_factory(n_columns, factory, faiss.METRIC_L2)
    seed, n_learned = int(rng.randint(2**31 - 1)), _FEWEST_LEARNED
    for layer in layers_of(faiss, index):
        for learner in (layer, getattr(layer, "pq", None)):
            if hasattr(learner, "cp"):
                learner.cp.seed = seed
                learner.cp.min_points_per_centroid = 1  # it prints, below 39
        if isinstance(layer, faiss.IndexIVF):
            n_learned = max(n_learned, _PER_LIST * layer.nlist)
    if lists is not None:
        _set_lists(faiss, index, lists)
    if not index.is_trained:
        index.train(sample(n_learned, rng))
    *outer, inner = layers_of(faiss, index)
    keeps_ids = isinstance(inner, faiss.IndexIVF) and all(
        isinstance(layer, faiss.IndexPreTransform) for layer in outer
    )
    return index if keeps_ids else faiss.IndexIDMap(index)


def search_parameters(faiss, layers, value):
    """Tell each layer of an index how far to look: ``nprobe`` or ``efSearch``."""
    options = None
    for layer in reversed(layers):
        if isinstance(layer, faiss.IndexIVF):
            options = faiss.SearchParametersIVF(nprobe=value)
        elif isinstance(layer, faiss.IndexHNSW):
            options = faiss.SearchParametersHNSW(efSearch=value)
        elif options and isinstance(layer, faiss.IndexPreTransform):
            options = faiss.SearchParametersPreTransform(index_params=options)
        elif options and isinstance(layer, faiss.IndexRefine):
            options = faiss.IndexRefineSearchParameters(
                k_factor=layer.k_factor, base_index_params=options
            )
    return options
