"""Pictures of a large collection stay in its file; the answers are those of read ones."""

import copy
import os
import pickle
import sys
import tracemalloc

import h5py
import numpy as np
import pandas as pd
import pytest

from geoimages import (
    Collection,
    KMeansModel,
    PairwiseModel,
    RockFeatures,
    load,
    make_rocks,
    save,
)
from geoimages.search.rotated import RotatedRows


@pytest.fixture(scope="module")
def images():
    images, labels = make_rocks(60, random_state=0)
    return np.ascontiguousarray(images[:, ::2, ::2]), labels


@pytest.fixture(scope="module")
def rocks(images, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "rocks.h5"
    with Collection.from_arrays(path, *images) as collection:
        yield collection


@pytest.fixture
def always(monkeypatch):
    """Map collections of any size."""
    monkeypatch.setattr("geoimages.similarity.base._MOST_READ", 0)


def lies_in_file(rows):
    """Whether an array, or what it is a view of, is mapped."""
    while rows is not None and not isinstance(rows, np.memmap):
        rows = getattr(rows, "base", None)
    return rows is not None


# How pictures lie in a file


@pytest.mark.parametrize(
    ("n", "side", "channels"), [(1, 8, 3), (5000, 8, 3), (300, 28, 4), (40, 224, 3)]
)
def test_pictures_are_written_in_one_piece(n, side, channels, tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(128, 256, (n, side, side, channels), dtype=np.uint8)
    with Collection.from_arrays(tmp_path / "a.h5", images) as collection:
        mapped = collection.mapped()
        assert isinstance(mapped, np.memmap)
        assert not mapped.flags.writeable
        np.testing.assert_array_equal(mapped, images)
    assert os.listdir(tmp_path) == ["a.h5"]


def test_what_etl_writes_lies_in_one_piece(rock_zip, tmp_path):
    metadata = pd.DataFrame({"file": ["marble.0"], "depth": [7.5]})
    path = tmp_path / "a.h5"
    with Collection.create(path, rock_zip, rotate=True, metadata=metadata) as rotated:
        assert len(rotated) == 240
        np.testing.assert_array_equal(rotated.mapped(), rotated[:])
        assert rotated.unmatched == ["marble.0"]
    assert os.listdir(tmp_path) == ["a.h5"]


def test_the_layout_of_the_proof_of_concept(images, tmp_path):
    plain = images[0]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["X_Train_Orig"] = plain
    with Collection(tmp_path / "a.h5") as collection:
        np.testing.assert_array_equal(collection.mapped(), plain)


@pytest.mark.parametrize(
    "case",
    ["parts", "scattered", "compressed", "float", "userblock", "chunks"],
)
def test_what_cannot_be_mapped_is_read(images, case, always, tmp_path):
    pictures, labels = images
    path = tmp_path / "a.h5"
    Collection.from_arrays(path, pictures, labels).close()
    with h5py.File(path, "r+", rdcc_nbytes=0) as file:
        if case in ("scattered", "compressed", "chunks"):
            del file["images"]
            dataset = file.create_dataset(
                "images",
                (30, 14, 14, 3),
                np.uint8,
                maxshape=(None, 14, 14, 3),
                chunks=(1, 7, 14, 3) if case == "chunks" else (1, 14, 14, 3),
                compression="gzip" if case == "compressed" else None,
            )
            dataset[:] = pictures[:30]
            file["between"] = np.arange(100)
            dataset.resize(60, axis=0)
            dataset[30:] = pictures[30:]
    if case in ("parts", "float", "userblock"):
        with h5py.File(path, "w", userblock_size=512 * (case == "userblock")) as file:
            if case == "parts":
                file["X_Train_Orig"], file["X_Dev_Orig"] = pictures[:40], pictures[40:]
            elif case == "float":
                file["X_Train_Orig"] = pictures / np.float32(255)
            else:
                file["X_Train_Orig"] = pictures
    with Collection(path) as collection:
        assert collection.mapped() is None
        model = PairwiseModel(3).fit(collection)
        assert not lies_in_file(model.search_.rows)
        expected = PairwiseModel(3).fit(collection.to_frame("uint8"))
        pd.testing.assert_frame_equal(
            model.predict(pictures[7]), expected.predict(pictures[7])
        )


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be replaced")
def test_a_file_that_is_no_longer_there_is_read(images, tmp_path):
    path = tmp_path / "a.h5"
    with Collection.from_arrays(path, *images) as collection:
        Collection.from_arrays(path, images[0][::-1], images[1]).close()
        assert collection.mapped() is None
        np.testing.assert_array_equal(collection[:], images[0])
        path.unlink()
        assert collection.mapped() is None


# The answers


def test_small_collections_are_read(rocks):
    assert not lies_in_file(PairwiseModel().fit(rocks).search_.rows)


@pytest.mark.parametrize("metric", ["correlation", "euclidean", "cityblock"])
@pytest.mark.parametrize("orientation", ["fixed", "any"])
def test_mapped_rows_answer_as_read_ones(rocks, orientation, metric, always):
    model = PairwiseModel(5, metric, orientation=orientation)
    model.fit(rocks)
    assert lies_in_file(model.search_.rows)
    expected = copy.deepcopy(model).fit(rocks.to_frame("uint8"), rocks.labels)
    assert not lies_in_file(expected.search_.rows)
    for candidates in (str(rocks.keys[3]), rocks.keys[:5].tolist(), rocks[5:8]):
        pd.testing.assert_frame_equal(
            model.predict(candidates), expected.predict(candidates)
        )
    assert model.score(rocks, rocks.labels) == expected.score(rocks[:], rocks.labels)


@pytest.mark.parametrize(
    "model",
    [
        KMeansModel(4, random_state=0),
        PairwiseModel(algorithm="partitioned"),
        PairwiseModel(features=RockFeatures(random_state=0), rerank=None),
    ],
    ids=str,
)
def test_what_reads_mapped_pictures_answers_the_same(rocks, model, always):
    expected = copy.deepcopy(model).fit(rocks.to_frame("uint8"))
    model.fit(rocks)
    assert not lies_in_file(model.search_.rows)
    pd.testing.assert_frame_equal(
        model.predict(rocks[5:8]), expected.predict(rocks[5:8]), rtol=1e-4
    )


def test_stored_rotations_are_left_in_the_file(rock_zip, always, tmp_path):
    with Collection.create(tmp_path / "a.h5", rock_zip, rotate=True) as rotated:
        expected = PairwiseModel(image_shape=(28, 28, 3)).fit(rotated.to_frame("uint8"))
        model = PairwiseModel().fit(rotated)
        assert isinstance(model.search_.rows, RotatedRows)
        assert len(model.search_.rows.base) == 60
        assert lies_in_file(model.search_.rows.base)
        assert not lies_in_file(expected.search_.rows.base)
        for metric in ("correlation", "cityblock", "chebyshev"):
            for one in (model, pickle.loads(pickle.dumps(model))):
                pd.testing.assert_frame_equal(
                    one.predict(rotated[:9], dist_metric=metric),
                    expected.predict(rotated[:9], dist_metric=metric),
                )


def test_masked_pictures_are_put_on_white(images, always, tmp_path):
    mask = np.random.default_rng(0).integers(0, 256, (60, 14, 14, 1), dtype=np.uint8)
    mask[:, 0, 0] = 255
    masked = np.concatenate([images[0], mask], axis=3)
    with Collection.from_arrays(tmp_path / "a.h5", masked) as collection:
        model = PairwiseModel(5, orientation="rotations").fit(collection)
        expected = PairwiseModel(5, orientation="rotations").fit(masked)
        assert model.search_.rows.shape == (60, 14 * 14 * 3)
        one, other = model.predict(masked[:3]), expected.predict(masked[:3])
        np.testing.assert_array_equal(one, other)


def test_a_saved_model_needs_no_file(rocks, always, tmp_path):
    model = PairwiseModel().fit(rocks)
    expected = model.predict(rocks[7])
    save(model, tmp_path / "model.skops")
    sent = pickle.dumps(model)
    assert len(sent) > rocks[:].nbytes
    for other in (
        load(tmp_path / "model.skops"),
        pickle.loads(sent),
        copy.deepcopy(model),
    ):
        assert not lies_in_file(other.search_.rows)
        assert type(other.search_.rows) is np.ndarray
        pd.testing.assert_frame_equal(other.predict(rocks[7]), expected)


@pytest.mark.skipif(sys.platform == "win32", reason="a mapped file cannot be removed")
def test_the_rows_outlive_the_collection_and_its_file(images, always, tmp_path):
    path = tmp_path / "a.h5"
    with Collection.from_arrays(path, *images) as collection:
        model = PairwiseModel(5).fit(collection)
        table = model.predict(images[0][7])
    for change in (
        lambda: None,
        lambda: Collection.from_arrays(path, 255 - images[0]).close(),
        path.unlink,
    ):
        change()
        pd.testing.assert_frame_equal(model.predict(images[0][7]), table)


def test_pictures_are_added_and_removed(rocks, always):
    model = PairwiseModel(5).fit(rocks)
    expected = PairwiseModel(5).fit(rocks.to_frame("uint8"), rocks.labels)
    more = pd.DataFrame(255 - rocks[:9].reshape(9, -1)).rename(index="new.{}".format)
    for one in (model, expected):
        one.add(more, ["dark"] * 9).remove(rocks.keys[10:20].tolist())
    pd.testing.assert_frame_equal(model.predict("new.3"), expected.predict("new.3"))


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
    for module in ("exact", "rotated"):
        monkeypatch.setattr(f"geoimages.search.{module}._BLOCK_BYTES", 1 << 20)


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
    ],
    ids=str,
)
def test_mapped_rows_take_no_memory(large, small_blocks, model, monkeypatch):
    def use():
        fitted = copy.deepcopy(model).fit(large)
        fitted.predict(large.keys[:2].tolist(), 3)

    n_bytes = large[:].nbytes
    assert peak(use) > n_bytes
    monkeypatch.setattr("geoimages.similarity.base._MOST_READ", 0)
    assert peak(use) < n_bytes / 2


def test_stored_rotations_take_no_memory(large, small_blocks, always, tmp_path):
    turns = [np.rot90(large[:150], k, axes=(1, 2)) for k in range(4)]
    turns = np.stack(turns, axis=1).reshape(-1, *large.image_shape)
    with Collection.from_arrays(tmp_path / "a.h5", turns) as collection:
        fitted = []

        def use():
            fitted.append(PairwiseModel().fit(collection))
            fitted[-1].predict(turns[7], 3)

        assert peak(use) < turns.nbytes / 2
        assert isinstance(fitted[-1].search_.rows, RotatedRows)


def test_reading_takes_no_more_than_what_is_read(large):
    n_bytes = large[:].nbytes
    assert peak(lambda: large[:]) < 2.2 * n_bytes
