"""Rows of a large collection stay in its file, and the answers are those of read ones."""

import copy
import os
import pickle
import sys
import tracemalloc

import h5py
import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA

from geoimages import (
    Collection,
    KMeansModel,
    PairwiseModel,
    PatternFeatures,
    RockFeatures,
    load,
    make_rocks,
    save,
)
from geoimages.search import METRICS, load_index, mapped, save_index
from geoimages.search.mapped import MappedRows, in_pieces, mapped_rows, rows_at
from geoimages.search.rotated import TurnedRows

WIDTH = 14 * 14 * 3


@pytest.fixture
def always(monkeypatch):
    """Map collections of any size."""
    monkeypatch.setattr(mapped, "_MOST_READ", 0)


def scatter(path, chunks=1, **options):
    """Write the pictures of a collection anew, so that they lie in several runs."""
    with h5py.File(path, "r+", rdcc_nbytes=0) as file:
        images = file["images"][:]
        del file["images"]
        shape = images.shape[1:]
        between = file.create_group("between")
        dataset = file.create_dataset(
            "images",
            (0, *shape),
            np.uint8,
            maxshape=(None, *shape),
            chunks=(chunks, *shape),
            **options,
        )
        for start in range(0, len(images), 11):
            dataset.resize(min(start + 11, len(images)), axis=0)
            dataset[start:] = images[start : start + 11]
            between[str(start)] = np.arange(start + 100)


@pytest.fixture(scope="module")
def images():
    images, labels = make_rocks(60, random_state=0)
    return np.ascontiguousarray(images[:, ::2, ::2]), labels


@pytest.fixture(scope="module")
def whole(images, tmp_path_factory):
    """A collection whose pictures lie in one piece."""
    path = tmp_path_factory.mktemp("whole") / "rocks.h5"
    with Collection.from_arrays(path, *images) as collection:
        yield collection


@pytest.fixture(scope="module")
def torn(images, tmp_path_factory):
    """One whose pictures lie in several."""
    path = tmp_path_factory.mktemp("torn") / "rocks.h5"
    Collection.from_arrays(path, *images).close()
    scatter(path)
    with Collection(path) as collection:
        yield collection


@pytest.fixture(params=["whole", "torn"])
def rocks(request):
    return request.getfixturevalue(request.param)


def runs_of(collection):
    """How many pieces the pictures of a collection lie in."""
    _, offsets = collection.mapped()
    return 1 + int((np.diff(offsets) != np.prod(collection.image_shape)).sum())


# Rows that are read like an array


def test_rows_read_like_an_array(rocks):
    rows = MappedRows(*rocks.mapped(), WIDTH)
    array = rocks[:].reshape(60, -1)
    assert (rows.shape, rows.size, rows.dtype, len(rows)) == (
        array.shape,
        array.size,
        array.dtype,
        60,
    )
    assert rows.nbytes < array.nbytes / 50
    mask = np.arange(60) % 7 == 0
    for index in (
        slice(None),
        slice(3, 25),
        slice(50, 10),
        slice(4, 40, 3),
        slice(None, None, -1),
        7,
        -1,
        np.array([5, 5, -2, 0]),
        np.empty(0, int),
        mask,
    ):
        np.testing.assert_array_equal(rows[index], array[index])
    np.testing.assert_array_equal(np.asarray(rows), array)
    np.testing.assert_array_equal(np.ascontiguousarray(rows), array)
    with pytest.raises(IndexError):
        rows[60]
    order = np.random.default_rng(0).permutation(60)[:40]
    np.testing.assert_array_equal(rows_at(rows, order)[:], array[order])
    np.testing.assert_array_equal(rows_at(array, order), array[order])


def test_what_follows_each_other_is_not_copied(whole, torn):
    content, offsets = whole.mapped()
    rows = MappedRows(content, offsets, WIDTH)
    assert np.shares_memory(rows[:], content)
    assert np.shares_memory(rows[5:9], content)
    assert not np.shares_memory(rows.at([3, 2, 1])[:], content)
    assert not rows[:].flags.writeable
    content, offsets = torn.mapped()
    rows = MappedRows(content, offsets, WIDTH)
    assert np.shares_memory(rows[11:22], content)
    assert not np.shares_memory(rows[11:23], content)


@pytest.mark.parametrize("short", [0, 1 << 30])
def test_pieces_are_the_rows(torn, short, monkeypatch):
    monkeypatch.setattr(mapped, "_SHORT_BYTES", short)
    monkeypatch.setattr(mapped, "_COPY_BYTES", 4 * WIDTH)
    content, offsets = torn.mapped()
    rows = MappedRows(content, offsets, WIDTH)
    pieces = list(rows.pieces(slice(3, 57)))
    np.testing.assert_array_equal(np.concatenate(pieces), rows[3:57])
    if short:  # too short to be worth a call each
        assert [len(piece) for piece in pieces] == [4] * 13 + [2]
    else:
        assert [len(piece) for piece in pieces][:3] == [8, 11, 11]
        assert all(np.shares_memory(piece, content) for piece in pieces)
    assert [len(piece) for piece in rows.pieces(slice(5, 5))] == [0]
    for given in (rows, rows[:]):
        sums = in_pieces(lambda rows: rows.sum(axis=1), given, slice(3, 57))
        np.testing.assert_array_equal(sums, rows[3:57].sum(axis=1))


# How pictures lie in a file


@pytest.mark.parametrize(
    ("n", "side", "channels"), [(1, 8, 3), (5000, 8, 3), (300, 28, 4), (40, 224, 3)]
)
def test_pictures_are_written_in_one_piece(n, side, channels, tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(128, 256, (n, side, side, channels), dtype=np.uint8)
    with Collection.from_arrays(tmp_path / "a.h5", images) as collection:
        assert runs_of(collection) == 1
        content, offsets = collection.mapped()
        rows = MappedRows(content, offsets, images[0].size)
        np.testing.assert_array_equal(rows[:], images.reshape(n, -1))
    assert os.listdir(tmp_path) == ["a.h5"]


def test_what_etl_writes_lies_in_one_piece(rock_zip, tmp_path):
    metadata = pd.DataFrame({"file": ["marble.0"], "depth": [7.5]})
    path = tmp_path / "a.h5"
    with Collection.create(path, rock_zip, rotate=True, metadata=metadata) as turned:
        assert len(turned) == 240
        assert runs_of(turned) == 1
        content, offsets = turned.mapped()
        rows = MappedRows(content, offsets, 28 * 28 * 3)
        np.testing.assert_array_equal(rows[:], turned[:].reshape(240, -1))
        assert turned.unmatched == ["marble.0"]
    assert os.listdir(tmp_path) == ["a.h5"]


@pytest.mark.parametrize("chunks", [1, 4])
def test_pieces_are_found_whatever_lies_between(images, chunks, tmp_path):
    Collection.from_arrays(tmp_path / "a.h5", *images).close()
    scatter(tmp_path / "a.h5", chunks)
    with Collection(tmp_path / "a.h5") as collection:
        assert runs_of(collection) > 3
        rows = MappedRows(*collection.mapped(), WIDTH)
        np.testing.assert_array_equal(rows[:], images[0].reshape(60, -1))


def test_the_layout_of_the_proof_of_concept(images, tmp_path):
    plain = images[0]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["X_Train_Orig"], file["X_Dev_Orig"] = plain[:40], plain[40:]
    with Collection(tmp_path / "a.h5") as collection:
        rows = MappedRows(*collection.mapped(), WIDTH)
        np.testing.assert_array_equal(rows[:], plain.reshape(60, -1))


@pytest.mark.parametrize(
    "case", ["compressed", "float", "userblock", "cut", "unwritten", "elsewhere"]
)
def test_what_cannot_be_mapped_is_read(images, case, always, tmp_path):
    pictures, labels = images
    path = tmp_path / "a.h5"
    Collection.from_arrays(path, pictures, labels).close()
    if case == "compressed":
        scatter(path, compression="gzip")
    elif case == "cut":
        with h5py.File(path, "r+") as file:
            del file["images"]
            file.create_dataset("images", data=pictures, chunks=(1, 7, 14, 3))
    elif case == "unwritten":
        with h5py.File(path, "r+") as file:
            file["images"].resize(61, axis=0)
            for name in ("keys", "labels"):
                file[name].resize(61, axis=0)
                file[name][60] = "dark"
    elif case == "elsewhere":
        with h5py.File(path, "r+") as file:
            del file["images"]
            raw = [(str(tmp_path / "a.raw"), 0, pictures.nbytes)]
            file.create_dataset("images", data=pictures, external=raw)
    else:
        userblock = 512 if case == "userblock" else 0
        kind = np.float32 if case == "float" else np.uint8
        with h5py.File(path, "w", userblock_size=userblock) as file:
            file["X_Train_Orig"] = (
                pictures / np.float32(255) if kind == np.float32 else pictures
            )
    with Collection(path) as collection:
        assert collection.mapped() == (None, None)
        assert mapped_rows(collection) is None
        model = PairwiseModel(3).fit(collection)
        assert isinstance(model.search_.rows, np.ndarray)
        expected = PairwiseModel(3).fit(collection.to_frame("uint8"))
        pd.testing.assert_frame_equal(
            model.predict(pictures[7]), expected.predict(pictures[7])
        )


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be replaced")
def test_a_file_that_is_no_longer_there_is_read(images, tmp_path):
    path = tmp_path / "a.h5"
    with Collection.from_arrays(path, *images) as collection:
        Collection.from_arrays(path, images[0][::-1], images[1]).close()
        assert collection.mapped() == (None, None)
        np.testing.assert_array_equal(collection[:], images[0])
        path.unlink()
        assert collection.mapped() == (None, None)


def test_small_collections_are_read(whole):
    assert mapped_rows(whole) is None
    assert isinstance(PairwiseModel().fit(whole).search_.rows, np.ndarray)


# The answers


def read(model, collection):
    """Fit a model on the pictures in memory."""
    model.set_params(image_shape=collection.image_shape)
    return model.fit(collection.to_frame("uint8"), collection.labels)


def both(model, collection, monkeypatch):
    """The model fitted on mapped rows, and on the same in memory."""
    expected = read(copy.deepcopy(model), collection)
    monkeypatch.setattr(mapped, "_MOST_READ", 0)
    return model.fit(collection), expected


def assert_same_answers(model, expected, keys, pictures, **options):
    for candidates in (str(keys[3]), [str(key) for key in keys[:5]], pictures[5:8]):
        pd.testing.assert_frame_equal(
            model.predict(candidates, **options),
            expected.predict(candidates, **options),
        )


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_answers_the_same(rocks, metric, monkeypatch):
    params = {"VI": np.eye(WIDTH)} if metric == "mahalanobis" else None
    model = PairwiseModel(5, metric, metric_params=params)
    model, expected = both(model, rocks, monkeypatch)
    assert isinstance(model.search_.rows, MappedRows)
    assert_same_answers(model, expected, rocks.keys, rocks[:])


@pytest.mark.parametrize("metric", ["correlation", "euclidean", "cityblock"])
@pytest.mark.parametrize("orientation", ["rotations", "any"])
@pytest.mark.parametrize("model", [PairwiseModel(), KMeansModel(random_state=0)])
def test_every_orientation_answers_the_same(
    rocks, model, orientation, metric, monkeypatch
):
    model = copy.deepcopy(model).set_params(orientation=orientation)
    model, expected = both(model, rocks, monkeypatch)
    pictures = np.rot90(rocks[:], axes=(1, 2))
    for k in (4, 60):
        assert_same_answers(
            model, expected, rocks.keys, pictures, k_candidates=k, dist_metric=metric
        )


def test_everything_else_answers_the_same(rocks, monkeypatch):
    model, expected = both(PairwiseModel(4), rocks, monkeypatch)
    pictures = rocks[:]
    for X in (None, pictures[:6], pictures[:6] / np.float32(255), rocks):
        for one, other in zip(model.kneighbors(X), expected.kneighbors(X), strict=True):
            np.testing.assert_array_equal(one, other)
    blurred = (pictures[:3] * np.float32(0.37)) / 255
    pd.testing.assert_frame_equal(model.predict(blurred), expected.predict(blurred))
    assert model.score(rocks, rocks.labels) == expected.score(pictures, rocks.labels)
    pd.testing.assert_frame_equal(model.neighbors_table(), expected.neighbors_table())


def test_clusters_of_mapped_rows(rocks, monkeypatch):
    model = KMeansModel(6, recall_target=0.9, random_state=0)
    model, expected = both(model, rocks, monkeypatch)
    assert isinstance(model.search_.rows, MappedRows)
    for name in ("labels_", "cluster_centers_", "inertia_", "recall_curve_"):
        np.testing.assert_array_equal(getattr(model, name), getattr(expected, name))
    assert model.clusters_searched_ == expected.clusters_searched_
    assert_same_answers(model, expected, rocks.keys, rocks[:])
    assert_same_answers(model, expected, rocks.keys, rocks[:], clusters_searched=6)
    assert model.model_inertias(range(1, 4)) == expected.model_inertias(range(1, 4))


@pytest.mark.parametrize(
    "model",
    [
        KMeansModel(4, pooling=None, random_state=0),
        PairwiseModel(algorithm="partitioned"),
        PairwiseModel(algorithm="auto"),
    ],
    ids=str,
)
def test_rows_are_parted_all_the_same(rocks, model, monkeypatch):
    model, expected = both(copy.deepcopy(model), rocks, monkeypatch)
    assert_same_answers(model, expected, rocks.keys, rocks[:])


@pytest.mark.parametrize("algorithm", ["exact", "auto", "partitioned"])
def test_stored_turns_of_mapped_rows(rock_zip, algorithm, monkeypatch, tmp_path):
    with Collection.create(tmp_path / "a.h5", rock_zip, rotate=True) as turned:
        model = PairwiseModel(algorithm=algorithm)
        model, expected = both(model, turned, monkeypatch)
        if algorithm != "partitioned":
            assert isinstance(model.search_.rows, TurnedRows)
            assert isinstance(model.search_.rows.base, MappedRows)
            assert len(model.search_.rows.base) == 60
        for metric in ("correlation", "cityblock", "chebyshev"):
            assert_same_answers(
                model, expected, turned.keys, turned[:], dist_metric=metric
            )
        assert_same_answers(
            pickle.loads(pickle.dumps(model)), expected, turned.keys, turned[:]
        )


@pytest.mark.parametrize("tear", [False, True])
def test_masked_pictures_are_put_on_white(images, tear, monkeypatch, tmp_path):
    mask = np.random.default_rng(0).integers(0, 256, (60, 14, 14, 1), dtype=np.uint8)
    mask[:, 0, 0] = 255
    masked = np.concatenate([images[0], mask], axis=3)
    path = tmp_path / "a.h5"
    Collection.from_arrays(path, masked, images[1]).close()
    if tear:
        scatter(path)
    monkeypatch.setattr("geoimages.similarity.base._BLOCK_BYTES", 7 * 14 * 14 * 4)
    with Collection(path) as collection:
        model = PairwiseModel(5, orientation="rotations")
        model, expected = both(model, collection, monkeypatch)
        assert model.search_.rows.shape == (60, WIDTH)
        assert_same_answers(model, expected, collection.keys, masked)


@pytest.mark.parametrize(
    "features",
    [RockFeatures(random_state=0), PatternFeatures(), PCA(4, random_state=0)],
    ids=lambda features: type(features).__name__,
)
def test_features_of_mapped_pictures(rocks, features, monkeypatch):
    model = PairwiseModel(4, features=features, orientation="rotations")
    model, expected = both(model, rocks, monkeypatch)
    np.testing.assert_allclose(model.search_.rows, expected.search_.rows, atol=1e-4)
    for candidates in ([str(key) for key in rocks.keys[:5]], rocks[5:8]):
        one, other = model.predict(candidates), expected.predict(candidates)
        pd.testing.assert_frame_equal(one, other, rtol=1e-4)


# Where the rows are read


def test_a_saved_model_needs_no_file(rocks, always, tmp_path):
    pictures = rocks[:]
    for model in (PairwiseModel(), KMeansModel(random_state=0)):
        model.fit(rocks)
        expected = model.predict(pictures[7])
        save(model, tmp_path / "model.skops")
        save_index(model.search_, tmp_path / "index")
        sent = pickle.dumps(model)
        assert len(sent) > pictures.nbytes
        for other in (
            load(tmp_path / "model.skops"),
            pickle.loads(sent),
            copy.deepcopy(model),
        ):
            rows = other.search_.rows
            assert not np.shares_memory(rows.content, model.search_.rows.content)
            np.testing.assert_array_equal(rows[:], model.search_.rows[:])
            pd.testing.assert_frame_equal(other.predict(pictures[7]), expected)
        found = load_index(tmp_path / "index").search(
            pictures[7].reshape(1, -1), 12, "correlation"
        )
        np.testing.assert_array_equal(model.keys_[found[0][1]], expected.index)


@pytest.mark.skipif(sys.platform == "win32", reason="a mapped file cannot be removed")
def test_the_rows_outlive_the_collection_and_its_file(images, always, tmp_path):
    path = tmp_path / "a.h5"
    models = PairwiseModel(5), KMeansModel(random_state=0)
    with Collection.from_arrays(path, *images) as collection:
        tables = [model.fit(collection).predict(images[0][7]) for model in models]
    for change in (lambda: None, lambda: write_others(path, images[0]), path.unlink):
        change()
        for model, table in zip(models, tables, strict=True):
            pd.testing.assert_frame_equal(model.predict(images[0][7]), table)


def write_others(path, images):
    """Put another collection in the place of one."""
    Collection.from_arrays(path, 255 - images).close()


def test_a_mapped_file_can_be_opened_for_writing(images, always, tmp_path):
    path = tmp_path / "a.h5"
    with Collection.from_arrays(path, *images) as collection:
        model = PairwiseModel(5).fit(collection)
        expected = model.predict(images[0][7])
    rock = RockFeatures(random_state=0).fit(images[0])
    with Collection(path, "r+") as collection:
        cached = collection.features(rock)
        pd.testing.assert_frame_equal(
            PairwiseModel(5).fit(collection).predict(images[0][7]), expected
        )
    pd.testing.assert_frame_equal(model.predict(images[0][7]), expected)
    with Collection(path) as collection:
        np.testing.assert_array_equal(collection.features(rock), cached)


@pytest.mark.parametrize("model", [PairwiseModel(5), KMeansModel(random_state=0)])
def test_pictures_are_added_and_removed(rocks, model, monkeypatch):
    model, expected = both(copy.deepcopy(model), rocks, monkeypatch)
    more = pd.DataFrame(255 - rocks[:9].reshape(9, -1)).rename(index="new.{}".format)
    keys = [str(key) for key in rocks.keys[10:20]]
    for one in (model, expected):
        one.add(more, ["dark"] * 9).remove(keys)
    pd.testing.assert_frame_equal(model.predict("new.3"), expected.predict("new.3"))
    assert isinstance(model.search_.rows, np.ndarray)


# What stays out of memory


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """17 MB of noise."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (600, 96, 96, 3), dtype=np.uint8)
    path = tmp_path_factory.mktemp("large") / "noise.h5"
    with Collection.from_arrays(path, images) as collection:
        yield collection


@pytest.fixture
def small_blocks(monkeypatch):
    for module in ("exact", "integers", "rotated", "clustering"):
        monkeypatch.setattr(f"geoimages.search.{module}._BLOCK_BYTES", 1 << 20)
    monkeypatch.setattr("geoimages.search.ivf._MOST_ASKED", 8)


def peak(function):
    """Bytes allocated at the most by a call."""
    tracemalloc.start()
    function()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


@pytest.mark.parametrize(
    "model",
    [
        PairwiseModel(),
        PairwiseModel(orientation="rotations", dist_metric="euclidean"),
        KMeansModel(random_state=0),
        PairwiseModel(features=RockFeatures(conv=0, texture=0), rerank=None),
    ],
    ids=str,
)
def test_mapped_rows_take_no_memory(large, small_blocks, model, monkeypatch):
    if model.features is not None:  # describing takes room of its own
        monkeypatch.setattr(type(large), "features", lambda *_: np.eye(600, 2))
        monkeypatch.setattr(RockFeatures, "_learn", lambda self, images: images[0])
        monkeypatch.setattr(RockFeatures, "_columns", lambda *_: {"a": np.eye(1)})

    def use():
        fitted = copy.deepcopy(model).fit(large)
        if model.features is None:
            fitted.predict([str(key) for key in large.keys[:2]], 3)

    n_bytes = large[:].nbytes
    assert peak(use) > n_bytes
    monkeypatch.setattr(mapped, "_MOST_READ", 0)
    assert peak(use) < n_bytes / 2


def test_stored_turns_are_left_in_the_file(large, small_blocks, monkeypatch, tmp_path):
    images = large[:150]
    turns = np.concatenate([np.rot90(images, k, axes=(1, 2)) for k in range(4)])
    with Collection.from_arrays(tmp_path / "a.h5", turns) as collection:
        fitted = []

        def use():
            fitted.append(PairwiseModel().fit(collection))
            fitted[-1].predict(images[7], 3)

        assert peak(use) > turns.nbytes
        monkeypatch.setattr(mapped, "_MOST_READ", 0)
        assert peak(use) < turns.nbytes / 2
        assert isinstance(fitted[-1].search_.rows, TurnedRows)


def test_reading_takes_no_more_than_what_is_read(large):
    n_bytes = large[:].nbytes
    assert peak(lambda: large[:]) < 2.2 * n_bytes
