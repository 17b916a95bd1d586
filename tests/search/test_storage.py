"""Engines as files of plain arrays."""

import json
import pickle

import numpy as np
import pytest

from geoimages import KMeansModel, PairwiseModel, RockFeatures, load, make_rocks, save
from geoimages.search import ExactSearch, InvertedFile, load_index, save_index
from geoimages.search.rotated import RotatedRows
from geoimages.search.storage import _checksum_of


@pytest.fixture(scope="module")
def images():
    return make_rocks(200, random_state=0)[0]


@pytest.fixture(scope="module")
def engine(images):
    return PairwiseModel(algorithm="partitioned").fit(images).search_


@pytest.fixture
def path(engine, tmp_path):
    save_index(engine, tmp_path / "rocks.index")
    return tmp_path / "rocks.index"


MODELS = [
    PairwiseModel(),
    PairwiseModel(dist_metric="cityblock"),
    PairwiseModel(features=RockFeatures(), algorithm="partitioned"),
    PairwiseModel(algorithm="partitioned", dist_metric="cosine"),
    KMeansModel(5, random_state=0, dist_metric="minkowski", metric_params={"p": 3}),
]


def assert_same(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("memory_map", [True, False])
@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_the_same_answers(model, images, tmp_path, memory_map):
    engine = model.fit(images).search_
    queries, path = model._stored(np.arange(40)), tmp_path / "rocks.index"
    wanted = engine.search(queries, 7, model.dist_metric, n_orientations=2)
    save_index(engine, path)
    loaded = load_index(path, memory_map=memory_map, verify=True)
    save_index(loaded, path)  # over what it reads
    for other in (loaded, load_index(path), pickle.loads(pickle.dumps(engine))):
        assert type(other) is type(engine)
        found = other.search(queries, 7, model.dist_metric, n_orientations=2)
        assert_same(found, wanted)
        np.testing.assert_array_equal(other.take([5, 199, 0]), engine.take([5, 199, 0]))
    assert list(tmp_path.iterdir()) == [path]


def test_rows_stay_on_disk(path):
    rows = load_index(path).rows
    assert isinstance(rows.base, np.memmap) or isinstance(rows, np.memmap)
    assert not rows.flags.writeable


def test_what_was_learned_of_the_rows_is_not_learned_again(
    images, tmp_path, monkeypatch
):
    for metric, learned in (("correlation", "norms"), ("cityblock", "BlockMeans")):
        engine = PairwiseModel(dist_metric=metric).fit(images).search_
        save_index(engine, tmp_path / "rocks.index")
        with monkeypatch.context() as patch:
            patch.setattr("geoimages.search.prepared.norms", None)
            patch.setattr("geoimages.search.block_means.BlockMeans._averages", None)
            arrays = load_index(tmp_path / "rocks.index").arrays()[1]
        assert ("norms" in arrays) == (learned == "norms")
        assert ("block_means" in arrays) == (learned == "BlockMeans")


def test_rotations_are_stored_once(images, tmp_path):
    rotated = np.concatenate([np.rot90(images, k, axes=(1, 2)) for k in range(4)])
    engine = PairwiseModel().fit(rotated).search_
    save_index(engine, tmp_path / "rocks.index")
    assert (tmp_path / "rocks.index").stat().st_size < rotated.nbytes / 3
    loaded = load_index(tmp_path / "rocks.index")
    assert isinstance(loaded.rows, RotatedRows)
    queries = rotated[::90].reshape(9, -1)
    found = loaded.search(queries, 9, "correlation")
    assert_same(found, engine.search(queries, 9, "correlation"))


def test_parameters_that_are_arrays(images, tmp_path):
    rows = images.reshape(200, -1)[:, :6]
    engine = ExactSearch(rows, np.arange(200), {"w": np.arange(1, 7)})
    save_index(engine, tmp_path / "rocks.index")
    loaded = load_index(tmp_path / "rocks.index")
    np.testing.assert_array_equal(loaded.metric_params["w"], np.arange(1, 7))
    found = loaded.search(rows[:9], 5, "euclidean")
    assert_same(found, engine.search(rows[:9], 5, "euclidean"))


def read(path):
    """The header, and the bytes of the arrays."""
    content = path.read_bytes()
    begin = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:begin]), bytearray(content[begin:])


def write(path, header, arrays):
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(arrays))


def test_another_reader_sees_the_arrays(path, engine):
    header, content = read(path)
    start, stop = header["centers"]["data_offsets"]
    assert (header["centers"]["dtype"], start % 64) == ("F32", 0)
    centers = np.frombuffer(content[start:stop], np.float32)
    np.testing.assert_array_equal(centers, engine.centers.ravel())


@pytest.mark.parametrize(
    "name", ["labels", "centers", "order", "rank", "norms", "rows"]
)
def test_damage_is_found(path, name):
    header, content = read(path)
    content[header[name]["data_offsets"][1] - 1] ^= 1
    write(path, header, content)
    if name == "rows":
        load_index(path, verify=False)
    with pytest.raises(ValueError, match=f"not a valid index .*{name} has another"):
        load_index(path)


HEADERS = [
    ("version '1'", lambda h: h["__metadata__"].update(version="1")),
    ("another format", lambda h: h["__metadata__"].update(format="pt")),
    ("Surprise", lambda h: h["__metadata__"].update(engine="Surprise")),
    ("image_shape", lambda h: h["__metadata__"].update(values="{}")),
    ("labels", lambda h: h.pop("labels")),
    ("rows is not whole", lambda h: h["rows"].update(shape=[2**62, 2**62])),
    ("rows is not whole", lambda h: h["rows"].update(shape=[-200, -2352])),
    ("rows is not whole", lambda h: h["rows"].update(data_offsets=[-9, 470391])),
    (
        "rank is not whole",
        lambda h: h["rank"].update(shape=[2**60], data_offsets=[0, 2**63]),
    ),
    ("O", lambda h: h["rows"].update(dtype="O")),
    ("rows", lambda h: h["rows"].update(shape=[2352, 200])),
    ("sha256", lambda h: h["__metadata__"].pop("sha256")),
]


@pytest.mark.parametrize(("says", "change"), HEADERS)
def test_damaged_headers_are_one_line(path, says, change):
    header, content = read(path)
    change(header)
    write(path, header, content)
    if says != "another format" and "version" not in says:
        with pytest.raises(ValueError, match="its header has another checksum"):
            load_index(path)
        header["__metadata__"]["header"] = _checksum_of(header)
    write(path, header, content)
    with pytest.raises(ValueError, match=f"not a valid index .*{says}") as error:
        load_index(path)
    assert "\n" not in str(error.value)


def test_what_is_no_index(path, tmp_path):
    with pytest.raises(FileNotFoundError, match="No index at"):
        load_index(tmp_path / "missing")
    content = path.read_bytes()
    for other in (
        b"",
        content[:6],
        content[:200],
        content[:-1],
        b"\xff" * 99,
        b"[" * 9000,
    ):
        path.write_bytes(other)
        with pytest.raises(ValueError, match="not a valid index") as error:
            load_index(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("labels", 9999), ("labels", -1), ("order", 7), ("rank", 5), ("centers", np.nan)],
)
def test_arrays_that_contradict_each_other(engine, name, value):
    values, arrays = engine.arrays()
    arrays[name] = arrays[name].copy()
    arrays[name].flat[:2] = value
    with pytest.raises(ValueError, match="The index is damaged, it has"):
        InvertedFile.from_arrays(values, arrays)


@pytest.mark.parametrize("nprobe", [0, 10**6])
def test_more_clusters_to_search_than_there_are(engine, nprobe):
    values, arrays = engine.arrays()
    with pytest.raises(ValueError, match="centers that are not those of the clusters"):
        InvertedFile.from_arrays(values | {"nprobe": nprobe}, arrays)


def test_nothing_of_others_is_replaced(engine, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "notes.txt").write_text("granite")
    for name in ("photos", "notes.txt"):
        with pytest.raises(FileExistsError, match="exists and is not an index"):
            save_index(engine, tmp_path / name)
    with pytest.raises(FileNotFoundError, match="its folder does not exist"):
        save_index(engine, tmp_path / "missing" / "index")


def test_a_failed_save_leaves_the_old_index(path, images, monkeypatch):
    engine = PairwiseModel().fit(images[:9]).search_

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("geoimages.files.os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        save_index(engine, path)
    assert len(load_index(path, verify=True)) == 200
    assert list(path.parent.iterdir()) == [path]


def test_a_partitioned_model_is_saved(images, tmp_path):
    model = PairwiseModel(algorithm="partitioned").fit(images)
    save(model, tmp_path / "model.skops")
    loaded = load(tmp_path / "model.skops")
    np.testing.assert_array_equal(loaded.kneighbors()[1], model.kneighbors()[1])
    assert loaded.recall_ == model.recall_
    assert loaded.remove(7).add(images[7:8]).keys_[-1] == 200
