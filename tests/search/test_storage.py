"""Engines as folders of plain arrays."""

import json

import numpy as np
import pytest

from geoimages import KMeansModel, PairwiseModel, RockFeatures, load, make_rocks, save
from geoimages.search import ExactSearch, load_index, save_index


@pytest.fixture(scope="module")
def images():
    return make_rocks(200, random_state=0)[0]


MODELS = [
    PairwiseModel(),
    PairwiseModel(features=RockFeatures(), algorithm="partitioned"),
    PairwiseModel(algorithm="partitioned", dist_metric="cosine"),
    KMeansModel(5, random_state=0, dist_metric="minkowski", metric_params={"p": 3}),
]


def answers(engine, queries, metric):
    return engine.search(queries, 7, metric, n_orientations=2)


def assert_same(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("memory_map", [True, False])
@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_the_same_answers(model, images, tmp_path, memory_map):
    engine = model.fit(images).search_
    queries = model._stored(np.arange(40))
    save_index(engine, tmp_path / "index")
    loaded = load_index(tmp_path / "index", memory_map=memory_map, verify=True)
    assert type(loaded) is type(engine)
    wanted = answers(engine, queries, model.dist_metric)
    assert_same(answers(loaded, queries, model.dist_metric), wanted)
    np.testing.assert_array_equal(loaded.take([5, 199, 0]), engine.take([5, 199, 0]))
    save_index(loaded, tmp_path / "index")  # over what it reads
    again = load_index(tmp_path / "index")
    assert_same(answers(again, queries, model.dist_metric), wanted)
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_rows_stay_on_disk(images, tmp_path):
    engine = PairwiseModel(algorithm="partitioned").fit(images).search_
    save_index(engine, tmp_path / "index")
    rows = load_index(tmp_path / "index").rows
    assert isinstance(rows.base, np.memmap) or isinstance(rows, np.memmap)
    assert not rows.flags.writeable


def test_parameters_that_are_arrays(images, tmp_path):
    rows = images.reshape(200, -1)[:, :6]
    weights = np.arange(1.0, 7)
    engine = ExactSearch(rows, np.arange(200), {"w": weights})
    save_index(engine, tmp_path / "index")
    loaded = load_index(tmp_path / "index")
    np.testing.assert_array_equal(loaded.metric_params["w"], weights)
    assert_same(
        loaded.search(rows[:9], 5, "euclidean"), engine.search(rows[:9], 5, "euclidean")
    )


def _flip(path, at=-1):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("name", ["labels", "centers", "order", "rank", "centered"])
def test_damage_is_found(images, tmp_path, name):
    engine = PairwiseModel(algorithm="partitioned").fit(images).search_
    engine.search(images[:1].reshape(1, -1), 1, "correlation")  # measures the rows
    save_index(engine, tmp_path / "index")
    _flip(tmp_path / "index" / f"{name}.npy")
    with pytest.raises(ValueError, match=f"not a whole index .*{name} has another"):
        load_index(tmp_path / "index")


def test_other_damage(images, tmp_path):
    engine = PairwiseModel(algorithm="partitioned").fit(images).search_
    path = tmp_path / "index"
    with pytest.raises(FileNotFoundError, match="No index at"):
        load_index(path)
    save_index(engine, path)
    _flip(path / "rows.npy")
    load_index(path)
    with pytest.raises(ValueError, match="rows has another checksum"):
        load_index(path, verify=True)
    np.save(path / "rows.npy", np.zeros((3, 3)))
    with pytest.raises(ValueError, match="rows is <f8"):
        load_index(path)
    (path / "rows.npy").write_bytes(b"")
    with pytest.raises(ValueError, match="not a whole index"):
        load_index(path)
    (path / "rows.npy").unlink()
    with pytest.raises(ValueError, match="not a whole index"):
        load_index(path)
    about = json.loads((path / "index.json").read_text())
    (path / "index.json").write_text(json.dumps(about | {"version": 2}))
    with pytest.raises(ValueError, match="version 2 of geoimages.index"):
        load_index(path)


def test_an_array_outside_is_not_read(images, tmp_path):
    save_index(PairwiseModel().fit(images).search_, tmp_path / "index")
    path = tmp_path / "index" / "index.json"
    about = json.loads(path.read_text())
    about["arrays"]["../rows"] = about["arrays"]["rows"]
    path.write_text(json.dumps(about))
    with pytest.raises(ValueError, match="an array called '../rows'"):
        load_index(tmp_path / "index")


def test_nothing_of_others_is_replaced(images, tmp_path):
    engine = PairwiseModel().fit(images[:9]).search_
    (tmp_path / "photos").mkdir()
    with pytest.raises(FileExistsError, match="is there and is no index"):
        save_index(engine, tmp_path / "photos")
    with pytest.raises(FileNotFoundError, match="its folder does not exist"):
        save_index(engine, tmp_path / "missing" / "index")


def test_a_failed_save_leaves_the_old_index(images, tmp_path, monkeypatch):
    engine = PairwiseModel().fit(images[:9]).search_
    save_index(engine, tmp_path / "index")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("geoimages.search.storage._checksum", fail)
    with pytest.raises(OSError, match="disk full"):
        save_index(engine, tmp_path / "index")
    monkeypatch.undo()
    assert len(load_index(tmp_path / "index", verify=True)) == 9
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_a_partitioned_model_is_saved(images, tmp_path):
    model = PairwiseModel(algorithm="partitioned").fit(images)
    save(model, tmp_path / "model.skops")
    loaded = load(tmp_path / "model.skops")
    np.testing.assert_array_equal(loaded.kneighbors()[1], model.kneighbors()[1])
    assert loaded.recall_ == model.recall_
    assert loaded.remove(7).add(images[7:8]).keys_[-1] == 200
