"""What is held against what: each prepares its data and returns what is timed.

A contestant is called with a `Size` and returns a function of a whole number, the how
manieth candidate; what that gives back is its answer, by which the tests see that
rivals do the same work. `figures`, where a function has them, are printed beside.
"""

import tracemalloc
import zipfile
from dataclasses import dataclass

import h5py
import numpy as np
from PIL import Image
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances

from geoimages import Collection, KMeansModel, PairwiseModel
from geoimages.search import ExactSearch

from . import data

K = 12  # pictures wanted
K_ROWS = 10  # rows wanted, of many
RECALL = 0.95
CONTESTANTS = {}


@dataclass
class Size:
    """How much is searched."""

    n_pictures: int | None = None
    n_rows: int = 1_000_000
    n_many: int = 10_000_000
    n_queries: int = 200


SMALL = Size(n_pictures=240, n_rows=4000, n_many=8000, n_queries=20)


def contestant(function):
    """Register a contestant under its name."""
    CONTESTANTS[function.__name__] = function
    return function


def _with_rotations(images):
    """Pictures and their quarter turns."""
    return np.concatenate([np.rot90(images, k, axes=(1, 2)) for k in range(4)])


def _asked(images, i):
    """The i-th candidate."""
    return images[i * 7919 % len(images)]


# ---- one candidate among pictures


@contestant
def ours_by_rotations(size, metric="correlation"):
    """The originals, and the candidate in its four orientations."""
    images = data.pictures(size.n_pictures)
    model = PairwiseModel(K, metric, orientation="rotations").fit(images)
    return lambda i: model.predict(_asked(images, i)).index.to_numpy()


@contestant
def ours_by_rotations_euclidean(size):
    return ours_by_rotations(size, "euclidean")


@contestant
def ours_by_rotations_cityblock(size):
    return ours_by_rotations(size, "cityblock")


@contestant
def ours_with_stored_rotations(size):
    """Turned pictures stored, which `fit` finds and keeps once."""
    images = data.pictures(size.n_pictures)
    model = PairwiseModel(K).fit(_with_rotations(images))
    return lambda i: model.predict(_asked(images, i)).index.to_numpy() % len(images)


@contestant
def original(size, metric="correlation"):
    """float64 rows of rotated pictures, `pairwise_distances` and a full sort."""
    images = data.pictures(size.n_pictures)
    rows = _with_rotations(images).reshape(4 * len(images), -1) / 255

    def find(i):
        candidate = _asked(images, i).reshape(1, -1) / 255
        distance = pairwise_distances(candidate, rows, metric=metric)[0]
        return np.argsort(distance)[:K] % len(images)

    return find


@contestant
def original_euclidean(size):
    return original(size, "euclidean")


@contestant
def original_cityblock(size):
    return original(size, "cityblock")


def _faiss_flat(images):
    """An `IndexFlatIP` of rotated pictures, and what makes pictures ready for it."""
    import faiss

    faiss.omp_set_num_threads(1)

    def ready(pictures):
        rows = pictures.reshape(len(pictures), -1).astype(np.float32)
        rows -= rows.mean(axis=1, keepdims=True)
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
        return rows

    index = faiss.IndexFlatIP(images[0].size)
    index.add(ready(_with_rotations(images)))
    return faiss, index, ready


@contestant
def faiss_flat(size):
    """The inner product of all rotated pictures in float32."""
    images = data.pictures(size.n_pictures)
    _, index, ready = _faiss_flat(images)
    return lambda i: index.search(ready(_asked(images, i)[None]), K)[1][0] % len(images)


# ---- a batch

_BATCH = 256


def _batch(images):
    return images[np.random.default_rng(1).permutation(len(images))[:_BATCH]]


@contestant
def ours_batch(size):
    images = data.pictures(size.n_pictures)
    model = PairwiseModel(K, orientation="rotations").fit(images)
    batch = _batch(images)
    return lambda i: model.kneighbors(batch)[1]


@contestant
def faiss_batch(size):
    images = data.pictures(size.n_pictures)
    faiss, index, ready = _faiss_flat(images)
    faiss.cvar.distance_compute_blas_threshold = 20
    batch = _batch(images)
    return lambda i: index.search(ready(batch), K)[1] % len(images)


# ---- memory: bytes held once fitted and asked


def _held(fit):
    """Bytes that a fitted model holds."""
    tracemalloc.start()
    model = fit()
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del model
    return held


@contestant
def ours_memory_by_rotations(size):
    """Bytes of a model of the originals."""
    images = data.pictures(size.n_pictures)

    def fit():
        # What it is given would be counted, too, were it not its own.
        model = PairwiseModel(K, orientation="rotations").fit(images.copy())
        model.predict(images[0])
        return model

    return lambda i: _held(fit)


@contestant
def ours_memory_with_stored_rotations(size):
    images = data.pictures(size.n_pictures)

    def fit():
        model = PairwiseModel(K).fit(_with_rotations(images))
        model.predict(images[0])
        return model

    return lambda i: _held(fit)


@contestant
def original_memory(size):
    images = data.pictures(size.n_pictures)
    return lambda i: _held(
        lambda: _with_rotations(images).reshape(-1, images[0].size) / 255
    )


# ---- k-means


@contestant
def ours_elbow(size):
    images = _with_rotations(data.pictures(size.n_pictures))
    model = KMeansModel(1, random_state=0).fit(images)
    return lambda i: model.model_inertias(range(1, 11))


@contestant
def original_elbow(size):
    rows = _with_rotations(data.pictures(size.n_pictures))
    rows = rows.reshape(len(rows), -1) / 255

    def elbow(i):
        return [KMeans(k, random_state=0).fit(rows).inertia_ for k in range(1, 11)]

    return elbow


# ---- many rows of features


def _rows(n_rows, size):
    return map(np.load, data.features(n_rows, size.n_queries))


def _recall_of(rows, queries):
    """A function of what finds rows -> what share of the true nearest it finds."""
    exact = ExactSearch(rows, np.arange(len(rows)))
    true = [found[1] for found in exact.search(queries, K_ROWS, "euclidean")]
    return lambda find: float(
        np.mean([np.isin(rows, find(i)).mean() for i, rows in enumerate(true)])
    )


@contestant
def ours_partitioned(size):
    """The nearest clusters, as many as the recall takes on fresh queries."""
    rows, queries = _rows(size.n_rows, size)
    model = PairwiseModel(
        K_ROWS,
        "euclidean",
        algorithm="partitioned",
        recall_target=RECALL,
    ).fit(rows)
    engine = model.search_

    def find(i):
        query = queries[i % len(queries)][None]
        return engine.search(query, K_ROWS, "euclidean")[0][1]

    recall_of = _recall_of(rows, queries)
    while (recall := recall_of(find)) < RECALL:
        engine.nprobe += 1
    find.figures = {
        "recall": recall,
        "recall stated": model.recall_,
        "clusters searched": engine.nprobe,
        "clusters": len(model.recall_curve_),
    }
    return find


@contestant
def ours_exact(size):
    """All rows by exact search."""
    rows, queries = _rows(size.n_rows, size)
    engine = ExactSearch(rows, np.arange(len(rows)), metric="euclidean")

    def find(i):
        query = queries[i % len(queries)][None]
        return engine.search(query, K_ROWS, "euclidean")[0][1]

    return find


@contestant
def numpy_product(size):
    """All rows by one float32 product and a partial sort."""
    rows, queries = _rows(size.n_rows, size)
    squares = np.einsum("ij,ij->i", rows, rows)

    def find(i):
        distance = squares - 2 * (rows @ queries[i % len(queries)])
        best = np.argpartition(distance, K_ROWS)[:K_ROWS]
        return best[np.argsort(distance[best])]

    return find


def _faiss_ivf(size, factory):
    import faiss

    faiss.omp_set_num_threads(1)
    rows, queries = _rows(size.n_rows, size)
    index = faiss.index_factory(rows.shape[1], factory)
    index.train(rows[np.random.default_rng(0).permutation(len(rows))[:100_000]])
    index.add(rows)
    lists = faiss.extract_index_ivf(index)

    def find(i):
        return index.search(queries[i % len(queries)][None], K_ROWS)[1][0]

    recall_of = _recall_of(rows, queries)
    for n_probes in range(1, lists.nlist + 1):
        lists.nprobe = n_probes
        recall = recall_of(find)
        if recall >= RECALL:
            break
    find.figures = {
        "recall": recall,
        "clusters searched": n_probes,
        "clusters": lists.nlist,
    }
    return find


def _n_lists(size):
    return round(2 * size.n_rows**0.5)


@contestant
def faiss_ivf(size):
    return _faiss_ivf(size, f"IVF{_n_lists(size)},Flat")


@contestant
def faiss_ivf_more_lists(size):
    return _faiss_ivf(size, f"IVF{2 * _n_lists(size)},Flat")


@contestant
def faiss_ivf_bytes(size):
    return _faiss_ivf(size, f"IVF{_n_lists(size)},SQ8,RFlat")


@contestant
def ours_exact_many(size):
    """Ten times as many rows."""
    return ours_exact(Size(n_rows=size.n_many, n_queries=size.n_queries))


@contestant
def read_many(size):
    """Reading them once: their sum."""
    rows, _ = _rows(size.n_many, size)
    flat = rows.reshape(-1)
    return lambda i: flat.sum()


# ---- from zip to .h5


@contestant
def ours_etl(size):
    path = data.temporary("rocks.h5")

    def create(i):
        Collection.create(path, data.archive()).close()
        return path

    return create


@contestant
def original_etl(size):
    """Every picture decoded twice and kept as float64, compressed by gzip -9."""
    path = data.temporary("rocks.h5")

    def create(i):
        with zipfile.ZipFile(data.archive()) as archive:
            names = [name for name in archive.namelist() if name.endswith(".jpg")]
            for name in names:
                with archive.open(name) as file:
                    np.asarray(Image.open(file)).shape  # noqa: B018
            rows = []
            for name in names:
                with archive.open(name) as file:
                    rows.append(np.asarray(Image.open(file)) / 255.0)
        with h5py.File(path, "w") as file:
            file.create_dataset(
                "X_Train_Orig",
                data=np.stack(rows),
                compression="gzip",
                compression_opts=9,
            )
        return path

    return create
