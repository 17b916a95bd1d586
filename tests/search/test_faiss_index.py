"""Search by faiss: the answers of exact search from a short list, and its recall."""

import copy
import pickle
import sys

import numpy as np
import pandas as pd
import pytest

from geoimages import KMeansModel, PairwiseModel, RockFeatures, load, make_rocks, save
from geoimages.search import (
    ExactSearch,
    FaissSearch,
    faiss_factory,
    faiss_index,
    load_index,
    save_index,
)

faiss = faiss_factory.require()  # without the warnings of its older versions
METRICS = ["correlation", "cosine", "euclidean", "sqeuclidean"]
INDEXES = ["Flat", "IVF16,Flat", "IVF16,SQ8", "PCA12,IVF16,Flat", "HNSW16", "PQ8x4"]
N = 600


@pytest.fixture(scope="module")
def images():
    return make_rocks(300, random_state=0)[0]


@pytest.fixture(scope="module")
def rank():
    return np.random.default_rng(1).permutation(N)


@pytest.fixture(scope="module")
def grouped():
    """Rows about forty centers, which lists can part."""
    rng = np.random.default_rng(0)
    centers = rng.normal(scale=0.6, size=(40, 24))
    rows = centers[rng.integers(0, 40, N)] + rng.normal(size=(N, 24))
    return rows.astype(np.float32)


@pytest.fixture
def few_asked(monkeypatch):
    """Recall is measured on fewer rows, which is faster."""
    monkeypatch.setattr(faiss_index, "_N_MEASURED", 40)


def drawn(kind):
    """Rows with some that are alike, some without direction and one that is both."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 256, (N, 24), dtype=np.uint8)
    if kind == "float32":
        rows = rng.normal(size=(N, 24)).astype(np.float32)
    if kind == "float64, far off":
        rows = rng.normal(size=(N, 24)) + 1e3
    if kind == "float32, half of them levels of a byte":
        rows = (rows / 255).astype(np.float32)
        rows[::2] += np.float32(1e-3)
    rows[10:16] = rows[10, 0]
    rows[20] = 0
    rows[30:90] = rows[29]
    return rows


KINDS = ["uint8", "float32", "float64, far off"]
KINDS += ["float32, half of them levels of a byte"]


def assert_same(found, wanted):
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


def share_found(engine, exact, queries, k, metric, exclude):
    found = engine.search(queries, k, metric, exclude)
    wanted = exact.search(queries, k, metric, exclude=exclude)
    pairs = zip(wanted, found, strict=True)
    return np.mean([np.isin(true[1], some[1]).mean() for true, some in pairs])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_flat_gives_the_answers_of_exact_search(kind, metric, rank):
    rows = drawn(kind)
    exact = ExactSearch(rows, rank)
    engine = FaissSearch(exact, metric, "Flat")
    queries = rows[::23]
    if "levels" in kind:
        queries = queries + np.float32(1e-4)
    exclude = [np.array([i, (i + 29) % N][: i % 3]) for i in range(0, N, 23)]
    for k in (1, 12, 70, 2 * N):
        found = engine.search(queries, k, metric, exclude)
        assert_same(found, exact.search(queries, k, metric, exclude=exclude))
    turns = np.stack([queries, queries[::-1]], axis=1).reshape(-1, 24)
    found = engine.search(turns, 9, metric, n_orientations=2)
    assert_same(found, exact.search(turns, 9, metric, n_orientations=2))
    assert len({which for _, _, some in found for which in some}) == 2
    np.testing.assert_array_equal(engine.take([5, 0]), rows[[5, 0]])
    assert len(engine) == len(engine.rows) == N


# Rows far off hardly differ in direction: too little for single precision.
LIKELY = [("uint8", metric) for metric in METRICS]
LIKELY += [("float64, far off", metric) for metric in METRICS if metric != "cosine"]


@pytest.mark.parametrize(("kind", "metric"), LIKELY)
def test_not_everything_is_compared(kind, metric, rank, monkeypatch):
    rows = drawn(kind)
    engine = FaissSearch(ExactSearch(rows, rank), metric, "Flat")
    wanted = ExactSearch(rows, rank).search(rows[100:140], 12, metric)
    monkeypatch.delattr(ExactSearch, "take")
    monkeypatch.setattr(engine._exact, "search", None)
    assert_same(engine.search(rows[100:140], 12, metric), wanted)


def test_equally_near_rows_are_ordered_by_key(rank):
    rows = drawn("uint8")
    engine = FaissSearch(ExactSearch(rows, rank), "euclidean", "Flat")
    ((distances, positions, _),) = engine.search(rows[29:30], 12, "euclidean")
    assert not distances.any()
    alike = np.arange(29, 90)
    np.testing.assert_array_equal(positions, alike[np.argsort(rank[alike])][:12])


def test_rows_without_direction_come_last(rank):
    rows = np.abs(drawn("float32")) + 1
    rows[200:] = np.arange(N - 200)[:, None]  # each constant
    exact = ExactSearch(rows, rank)
    engine = FaissSearch(exact, "correlation", "IVF8,Flat")
    engine.nprobe = 8
    for queries in (rows[100:110], rows[300:310]):
        for k in (5, 30, 250):
            found = engine.search(queries, k, "correlation")
            assert_same(found, exact.search(queries, k, "correlation"))


@pytest.mark.parametrize("factory", INDEXES)
def test_as_many_come_back_as_there_are(factory, grouped, rank):
    exact = ExactSearch(grouped, rank)
    engine = FaissSearch(exact, "euclidean", factory)
    exclude = [np.arange(0, 200), np.empty(0, int), np.array([2])]
    for k in (60, 550):  # a list holds some 38
        found = engine.search(grouped[:3], k, "euclidean", exclude)
        held = [min(k, N - len(out)) for out in exclude]
        assert [len(set(positions)) for _, positions, _ in found] == held
        for (_, positions, _), out in zip(found, exclude, strict=True):
            assert not np.isin(positions, out).any()


@pytest.mark.parametrize("factory", [*INDEXES, "IVF16,PQ8x4,RFlat"])
def test_the_stated_recall_is_the_true_one(factory, grouped, rank):
    exact = ExactSearch(grouped, rank)
    engine = FaissSearch(exact, "correlation", factory)
    stated = engine.tune(0.9, 10, "correlation")
    assert stated >= 0.9
    asked, itself = grouped[::3], list(np.arange(0, N, 3)[:, None])
    found = share_found(engine, exact, asked, 10, "correlation", itself)
    assert found == pytest.approx(stated, abs=0.04)
    assert (engine.nprobe is not None) == ("IVF" in factory)
    if factory == "IVF16,Flat":
        assert (engine.times, 1 < engine.nprobe < 16) == (2, True)
        engine.nprobe -= 1
        assert share_found(engine, exact, asked, 10, "correlation", itself) < found
    if "PQ" in factory:
        assert engine.times > 2
    if factory == "Flat":
        assert stated == 1


def test_a_recall_out_of_reach_is_stated_as_it_is(grouped, rank):
    engine = FaissSearch(ExactSearch(grouped, rank), "euclidean", "PCA1,IVF4,Flat")
    stated = engine.tune(0.99, 1, "euclidean")
    assert 0.1 < stated < 0.5
    assert engine.times == 64


def test_more_is_found_for_more_looking(grouped, rank):
    exact = ExactSearch(grouped, rank)
    cases = ("IVF16,Flat", "nprobe", 16), ("HNSW4", "efSearch", 400)
    for factory, parameter, high in cases:
        engine = FaissSearch(exact, "euclidean", factory)
        engine.times = 1
        shares = []
        for value in (1, high):
            setattr(engine, parameter, value)
            asked = grouped[::3]
            shares.append(share_found(engine, exact, asked, 5, "euclidean", None))
        assert shares[0] < shares[1] - 0.05
        assert shares[1] > 0.98


def index_of(engine):
    return faiss.serialize_index(engine._index).tobytes()


def test_the_seed_and_not_the_threads_make_the_index(grouped, rank):
    exact = ExactSearch(grouped, rank)
    one = index_of(FaissSearch(exact, "cosine", "IVF16,Flat", random_state=3))
    assert one == index_of(FaissSearch(exact, "cosine", "IVF16,Flat", random_state=3))
    assert one != index_of(FaissSearch(exact, "cosine", "IVF16,Flat", random_state=4))
    graph = index_of(FaissSearch(exact, "cosine", "HNSW8"))
    before = faiss.omp_get_max_threads()
    try:
        faiss.omp_set_num_threads(3)
        engine = FaissSearch(exact, "cosine", "HNSW8")
        assert index_of(engine) == graph
        engine.search(grouped[:30], 5, "cosine")
        assert faiss.omp_get_max_threads() == 3
    finally:
        faiss.omp_set_num_threads(before)


def test_the_lists_do_not_depend_on_the_order(grouped, rank):
    order = np.random.default_rng(2).permutation(N)
    a = FaissSearch(ExactSearch(grouped, rank), "cosine", "IVF16,Flat")
    b = FaissSearch(ExactSearch(grouped[order], rank[order]), "cosine", "IVF16,Flat")
    found = b.search(grouped[:40], 10, "cosine")
    wanted = a.search(grouped[:40], 10, "cosine")
    assert_same([(d, order[p], w) for d, p, w in found], wanted)


def test_values_beyond_single_precision_are_compared_exactly(rank):
    rows = drawn("float64, far off")
    rows[3] = 1e100
    exact = ExactSearch(rows[:100], rank[:100])
    engine = FaissSearch(exact, "correlation", "Flat")
    found = engine.search(rows[:20], 4, "correlation")
    assert_same(found, exact.search(rows[:20], 4, "correlation"))


# ---- the model


@pytest.mark.parametrize("options", [{}, {"features": RockFeatures()}], ids=repr)
@pytest.mark.parametrize("orientation", ["fixed", "any"])
def test_a_model_answers_as_the_exact_one(images, options, orientation, few_asked):
    exact = PairwiseModel(6, orientation=orientation, **options).fit(images)
    model = PairwiseModel(6, orientation=orientation, algorithm="faiss", **options)
    model.fit(images)
    assert (model.algorithm_, model.recall_, model.clusters_searched_) == (
        "faiss",
        1,
        None,
    )
    asked = images[:6, ::-1]
    pd.testing.assert_frame_equal(model.predict(asked), exact.predict(asked))
    if orientation == "fixed":
        for a, b in zip(model.kneighbors(), exact.kneighbors(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_turned_copies_are_left_out(images):
    turned = np.concatenate([np.rot90(images[:200], k, (1, 2)) for k in range(4)])
    keys = [f"rock.{i:03}{k}" for k in ("", ".90", ".180", ".270") for i in range(200)]
    frame = pd.DataFrame(turned.reshape(800, -1), index=keys)
    exact = PairwiseModel(5).fit(frame)
    model = PairwiseModel(5, algorithm="faiss").fit(frame)
    pd.testing.assert_frame_equal(model.predict(keys[:9]), exact.predict(keys[:9]))
    assert type(model.search_.rows) is type(exact.search_.rows)  # kept once


def test_a_target_sets_the_lists_searched(grouped):
    def fit(recall_target):
        model = PairwiseModel(
            algorithm="faiss", faiss_factory="IVF32,Flat", recall_target=recall_target
        )
        return model.fit(grouped)

    low, high = fit(0.8), fit(0.97)
    assert 1 <= low.clusters_searched_ < high.clusters_searched_ < 32
    assert 0.8 <= low.recall_ < 0.97 <= high.recall_ <= 1
    assert low.recall_curve_ is None
    exact = PairwiseModel().fit(grouped).kneighbors()[1]
    found = low.kneighbors()[1]
    shared = [np.isin(a, b).mean() for a, b in zip(exact, found, strict=True)]
    assert np.mean(shared) == pytest.approx(low.recall_, abs=0.04)
    assert fit(1).recall_ == fit(None).recall_ == 1


def test_the_default_index_follows_the_number_of_rows():
    assert faiss_factory.default_factory(9_999) == "Flat"
    assert faiss_factory.default_factory(10_000) == "IVF400,Flat"
    assert faiss_factory.default_factory(1_000_000) == "IVF4000,Flat"


CHANGED = [
    (None, "correlation", 0),
    (None, "euclidean", 0),
    ("IVF16,Flat", "correlation", 0),
    ("IVF16,SQ8", "euclidean", 0),
    ("PCA12,IVF16,Flat", "cosine", 0),
    ("PCA12,SQ8", "correlation", 0),
    ("HNSW16", "correlation", 1),
]


@pytest.mark.parametrize(("factory", "metric", "n_rebuilds"), CHANGED)
def test_add_then_remove_is_never_added(
    factory, metric, n_rebuilds, grouped, few_asked
):
    frame = pd.DataFrame(grouped, index=[f"rock.{i:03}" for i in range(N)])
    frame.iloc[7] = 90  # without direction
    model = PairwiseModel(5, metric, algorithm="faiss", faiss_factory=factory)
    model.fit(frame.iloc[:400])
    asked = grouped[400:430]
    wanted, recall = model.predict(asked), model.recall_
    engine = model.search_
    added = frame.iloc[400:440].rename(index=lambda key: "a" + key)
    model.add(added)
    assert len(model.search_) == 440
    own = model.predict(asked, k_candidates=1).index.get_level_values("key")
    assert own.tolist() == added.index[:30].tolist()
    assert len(engine) == 400  # what was there is as it was
    np.testing.assert_array_equal(engine.take([3]), model.search_.take([3]))
    model.remove(added.index.tolist())
    assert (model.n_rebuilds_, model.recall_) == (n_rebuilds, recall)
    pd.testing.assert_frame_equal(model.predict(asked), wanted)
    model.remove(["rock.001", "rock.399"])
    exact = PairwiseModel(5, metric).fit(frame.iloc[:400])
    exact.remove(["rock.001", "rock.399"])
    if factory is None:
        pd.testing.assert_frame_equal(model.predict(asked), exact.predict(asked))
    assert not model.predict(asked).index.isin(["rock.001", "rock.399"], 1).any()


def test_an_index_that_no_longer_suits_is_made_anew(images, few_asked):
    model = PairwiseModel(3, algorithm="faiss", faiss_factory="IVF8,Flat")
    model.fit(images[:100]).add(images[100:])
    assert model.n_rebuilds_ == 1
    whole = PairwiseModel(3, algorithm="faiss", faiss_factory="IVF8,Flat").fit(images)
    assert index_of(model.search_) == index_of(whole.search_)
    pd.testing.assert_frame_equal(model.predict(images[:9]), whole.predict(images[:9]))


def test_too_few_rows_for_an_index_are_all_compared(images, few_asked):
    model = PairwiseModel(3, algorithm="faiss", faiss_factory="IVF64,Flat")
    model.fit(images[:200]).remove(list(range(30, 200)))
    assert (model.algorithm_, model.recall_) == ("exact", 1)
    exact = PairwiseModel(3).fit(images[:30])
    pd.testing.assert_frame_equal(model.predict(images[:9]), exact.predict(images[:9]))
    model.add(images[30:200])
    assert model.algorithm_ == "faiss"
    assert model.predict(images[150], k_candidates=1).index.tolist() == [150]


# ---- on disk


@pytest.fixture(scope="module", params=[None, "IVF16,SQ8", "HNSW16"])
def fitted(request, images):
    model = PairwiseModel(5, algorithm="faiss", faiss_factory=request.param)
    images = images.copy()
    images[4] = 7
    return model.fit(images)


def test_a_loaded_model_answers_the_same(fitted, images, tmp_path):
    save(fitted, tmp_path / "model.skops")
    wanted = fitted.predict(images[:20])
    copies = load(tmp_path / "model.skops"), pickle.loads(pickle.dumps(fitted))
    for model in (*copies, copy.deepcopy(fitted)):
        pd.testing.assert_frame_equal(model.predict(images[:20]), wanted)
        assert model.recall_ == fitted.recall_
        assert index_of(model.search_) == index_of(fitted.search_)
        model.add(images[:1]).remove(300)
        pd.testing.assert_frame_equal(model.predict(images[:20]), wanted)


@pytest.mark.parametrize("memory_map", [True, False])
def test_a_loaded_engine_answers_the_same(fitted, tmp_path, memory_map):
    engine = fitted.search_
    save_index(engine, tmp_path / "index")
    loaded = load_index(tmp_path / "index", memory_map=memory_map, verify=True)
    assert isinstance(loaded, FaissSearch)
    assert (loaded.nprobe, loaded.times) == (engine.nprobe, engine.times)
    queries = engine.take(np.arange(30))
    found = loaded.search(queries, 5, "correlation")
    assert_same(found, engine.search(queries, 5, "correlation"))
    save_index(loaded, tmp_path / "index")
    assert index_of(load_index(tmp_path / "index")) == index_of(engine)


def test_no_file_holds_bytes_that_faiss_reads(fitted, tmp_path, monkeypatch):
    """Its reader trusts them: they are built again from arrays that are checked."""
    save(fitted, tmp_path / "model.skops")
    save_index(fitted.search_, tmp_path / "index")
    magic = index_of(fitted.search_)[:4]
    assert magic not in (tmp_path / "index").read_bytes()
    for name in ("deserialize_index", "read_index"):
        monkeypatch.setattr(faiss, name, None)
    assert len(load(tmp_path / "model.skops").search_) == 300
    assert len(load_index(tmp_path / "index")) == 300


@pytest.mark.parametrize(
    ("factory", "n"),
    [
        ("IVF70000,Flat", 300),
        ("HNSW5000", 300),
        ("HNSW512", 10**6),
        ("PQ8x24", 300),
        ("RQ8x16", 300),
        ("IMI2x16,Flat", 300),
        ("LSQ64x8", 300),
        ("IVF4,Flat;rm", 300),
        ("PCA9" + "9" * 30 + ",Flat", 300),
    ],
)
def test_an_index_that_costs_far_more_than_its_rows_is_not_built(fitted, factory, n):
    with pytest.raises(ValueError, match="is not kept in files; use IVF, HNSW"):
        faiss_factory.check_kept(factory, n, 2352)
    values, arrays = fitted.search_.arrays()
    about = values["faiss"] | {"factory": factory}
    with pytest.raises(ValueError, match="is not kept in files"):
        FaissSearch.from_arrays(values | {"faiss": about}, arrays)


@pytest.mark.parametrize(
    "factory",
    [
        "OPQ8_32,IVF16,PQ8x4",
        "PCA32,IVF8_HNSW16,SQ8",
        "PCAR64,HNSW16_SQ8,RFlat",
        "PQ8x4",
    ],
)
def test_what_codes_rows_is_built_again_alike(images, tmp_path, factory):
    model = PairwiseModel(5, algorithm="faiss", faiss_factory=factory)
    model.fit(images[:280, ::7, ::2])
    save_index(model.search_, tmp_path / "index")
    assert index_of(load_index(tmp_path / "index")) == index_of(model.search_)


def test_an_index_of_other_rows(fitted):
    values, arrays = fitted.search_.arrays()
    ids = arrays["faiss_ids"]
    for other in (
        *(ids[:-1], ids[::-1], np.full(300, -1), ids.astype(np.int32)),
        np.where(ids < 0, 300, ids),
        ids + (1 << 62) * (ids >= 0),
    ):
        with pytest.raises(ValueError, match="a faiss index of other rows"):
            FaissSearch.from_arrays(values, arrays | {"faiss_ids": other})
    lists = arrays.get("faiss_lists", np.zeros((3, 2352), np.float32))
    for other in (lists[:-1], lists[:, :-1], np.full_like(lists, np.nan)):
        with pytest.raises(ValueError, match="lists of another one"):
            FaissSearch.from_arrays(values, arrays | {"faiss_lists": other})
    with pytest.raises(ValueError, match="a center of other rows"):
        FaissSearch.from_arrays(values, arrays | {"faiss_center": np.zeros(2352)})


@pytest.mark.parametrize(
    ("name", "value"),
    [("times", 10**9), ("times", 0), ("nprobe", 10**9), ("nprobe", "2"), ("seed", -1)],
)
def test_parameters_out_of_range(fitted, name, value):
    values, arrays = fitted.search_.arrays()
    about = values["faiss"] | {name: value}
    with pytest.raises(ValueError, match="parameters out of range"):
        FaissSearch.from_arrays(values | {"faiss": about}, arrays)


# ---- mistakes


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"dist_metric": "cityblock"}, "searches by correlation, .*; got cityblock"),
        (
            {"dist_metric": "euclidean", "metric_params": {"w": np.ones(2352)}},
            "without weights; got weighted euclidean",
        ),
        ({"faiss_factory": "IVF"}, "faiss_factory='IVF' is no index for 60 rows of"),
        ({"faiss_factory": "rubbish"}, "could not parse index string rubbish"),
        ({"faiss_factory": "PQ5"}, "multiple of the number of subquantizers"),
        (
            {"faiss_factory": "IVF64,Flat"},
            r"no index for 60 rows .* number of clusters \(64\)",
        ),
        ({"faiss_factory": "IDMap,Flat"}, "not by IDMap; got 'IDMap,Flat'"),
        ({"faiss_factory": 1024}, "for example 'IVF1024,SQ8', .*; got 1024"),
        ({"recall_target": 95}, "got 95"),
    ],
)
def test_mistakes(images, options, says):
    with pytest.raises(ValueError, match=says) as error:
        PairwiseModel(algorithm="faiss", **options).fit(images[:60])
    assert "\n" not in str(error.value)


def test_a_distance_that_the_index_does_not_serve(images):
    model = PairwiseModel(3, algorithm="faiss").fit(images[:60])
    with pytest.raises(
        ValueError, match="made for correlation, not for euclidean; fit"
    ):
        model.predict(images[0], dist_metric="euclidean")
    model = PairwiseModel(3, "euclidean", algorithm="faiss").fit(images[:60])
    assert "sqeuclidean" in model.predict(images[0], dist_metric="sqeuclidean")
    with pytest.raises(
        ValueError, match="for euclidean and sqeuclidean, not for cosine"
    ):
        model.predict(images[0], dist_metric="cosine")


def test_clusters_have_no_faiss(images):
    with pytest.raises(
        ValueError, match="'faiss' is not known; expected 'exact', 'par"
    ):
        KMeansModel(algorithm="faiss").fit(images[:60])
    with pytest.raises(ValueError, match="'exact', 'partitioned', 'faiss' or 'auto'"):
        PairwiseModel(algorithm="annoy").fit(images[:60])


def test_without_the_extra(images, tmp_path, monkeypatch):
    path = tmp_path / "model.skops"
    save(PairwiseModel(3, algorithm="faiss").fit(images[:60]), path)
    monkeypatch.setitem(sys.modules, "faiss", None)
    needs = r"needs faiss; pip install 'geoimages\[faiss\]'"
    with pytest.raises(ImportError, match=needs):
        PairwiseModel(algorithm="faiss", features=0).fit(images[:60])  # before all else
    with pytest.raises(ImportError, match=needs):
        load(path)
    PairwiseModel(3).fit(images[:60]).predict(images[0])
