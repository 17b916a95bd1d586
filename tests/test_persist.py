"""Models are kept as data: whole, versioned, and never trusted further than named."""

import contextlib
import io
import json
import zipfile

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from geoimages import (
    Augmentation,
    ConvNetClassifier,
    KMeansModel,
    MLPEmbedding,
    PairwiseModel,
    RockFeatures,
    TripletEmbedding,
    load,
    save,
)
from geoimages.persist import TRUSTED

QUICK = {"hidden_layer_sizes": (8,), "n_copies": 1, "max_epochs": 2, "random_state": 0}
MODELS = [
    PairwiseModel(5),
    PairwiseModel(5, "euclidean", RockFeatures(hog=1, n_filters=4)),
    PairwiseModel(5, features=RockFeatures(n_filters=4), orientation="any"),
    PairwiseModel(5, features=RockFeatures(n_filters=4), algorithm="partitioned"),
    KMeansModel(k_candidates=5, random_state=0),
    TripletEmbedding(4, max_epochs=2, random_state=0),
    ConvNetClassifier(**QUICK),
    ConvNetClassifier(augment=Augmentation(hue=0), **QUICK),
    ConvNetClassifier(PCA(5, random_state=0), **QUICK),
    MLPEmbedding((4,), max_epochs=2, random_state=0),
    make_pipeline(StandardScaler(), LogisticRegression(tol=0.1)),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_a_loaded_model_answers_the_same(model, pictures, tmp_path):
    images, labels = pictures
    rows = images.reshape(120, -1)
    model.fit(rows, labels)
    path = tmp_path / "model.skops"
    save(model, path, {"accuracy": 0.5}, ["marble.A"])
    loaded = load(path)
    asked = "predict" if hasattr(model, "predict") else "transform"
    a, b = getattr(model, asked)(rows[:7]), getattr(loaded, asked)(rows[:7])
    if isinstance(a, pd.DataFrame):
        pd.testing.assert_frame_equal(a, b)
    else:
        np.testing.assert_array_equal(a, b)
    if hasattr(model, "predict_proba"):
        # An array that comes back in another order of memory is summed in another.
        np.testing.assert_allclose(
            model.predict_proba(rows), loaded.predict_proba(rows), atol=1e-5
        )
    assert loaded.about_["scores"] == {"accuracy": 0.5}
    assert loaded.about_["test_keys"] == ["marble.A"]
    assert loaded.about_["class"] == type(model).__name__
    if hasattr(model, "image_shape_"):
        assert loaded.about_["image_shape"] == [28, 28, 3]
    if hasattr(model, "classes_"):
        assert loaded.about_["classes"] == sorted(set(labels))
    assert [p.name for p in tmp_path.iterdir()] == ["model.skops"]


def test_a_model_of_a_collection_is_saved_without_it(rocks, tmp_path):
    path = tmp_path / "model.skops"
    fixed = PairwiseModel(3, features=RockFeatures(n_filters=4)).fit(rocks)
    save(fixed, path)
    key = str(rocks.keys[0])
    pd.testing.assert_frame_equal(load(path).predict(key), fixed.predict(key))
    with pytest.raises(ValueError, match="saved without its pictures"):
        load(path).predict(key, orientation="any")
    turning = PairwiseModel(3, features=RockFeatures(n_filters=4), orientation="any")
    save(turning.fit(rocks), path)
    pd.testing.assert_frame_equal(load(path).predict(key), turning.predict(key))


class Stranger(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        return X[:, :3]


def test_strangers_are_named_and_refused(pictures, tmp_path):
    rows = pictures[0].reshape(120, -1)
    path = tmp_path / "model.skops"
    model = PairwiseModel(features=Stranger()).fit(rows)
    with pytest.raises(TypeError, match=r"holds test_persist\.Stranger"):
        save(model, path)
    assert not path.exists()
    skops.io.dump(model, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("geoimages.json", json.dumps({"format": "geoimages.model"}))
    with pytest.raises(ValueError, match=r"not trusted: test_persist\.Stranger"):
        load(path)


def test_no_pickle_is_in_a_file(pictures, tmp_path):
    path = tmp_path / "model.skops"
    save(PairwiseModel().fit(pictures[0]), path)
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        assert all(name.endswith((".json", ".npy")) for name in names)
        for name in names:
            if name.endswith(".npy"):
                with archive.open(name) as file:
                    np.lib.format.read_magic(file)
                    _, _, dtype = np.lib.format.read_array_header_1_0(file)
                    assert not dtype.hasobject


def test_every_trusted_type_exists():
    import importlib

    for name in TRUSTED:
        module, _, cls = name.rpartition(".")
        assert getattr(importlib.import_module(module), cls).__module__ == module


def test_what_cannot_be_saved(pictures, tmp_path):
    with pytest.raises(NotFittedError):
        save(PairwiseModel(), tmp_path / "a.skops")
    with pytest.raises(TypeError, match="fitted estimator, got list"):
        save([1], tmp_path / "a.skops")
    assert not list(tmp_path.iterdir())


def test_what_is_no_model(pictures, tmp_path):
    path = tmp_path / "a.skops"
    with pytest.raises(FileNotFoundError, match="geoimages train"):
        load(path)
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match="not a valid model"):
        load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "a")
    with pytest.raises(ValueError, match="not a valid model"):
        load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("geoimages.json", json.dumps({"format": "other"}))
    with pytest.raises(ValueError, match="another format"):
        load(path)
    save(PairwiseModel().fit(pictures[0]), path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(bytes(data))
    with pytest.raises(ValueError, match="not a valid model"):
        load(path)
    path.write_bytes(bytes(data[: len(data) // 2]))
    with pytest.raises(ValueError, match="not a valid model"):
        load(path)


def forge(path, change):
    """Write a model file again with other members: change({name: bytes}) -> members."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def nodes(schema):
    """Every described object of a schema."""
    if isinstance(schema, dict):
        if "__loader__" in schema:
            yield schema
        for part in schema.values():
            yield from nodes(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from nodes(part)


def forge_schema(path, change):
    """Change the described objects of a model file."""

    def change_members(members):
        schema = json.loads(members["schema.json"])
        for node in nodes(schema):
            change(node)
        members["schema.json"] = json.dumps(schema).encode()

    forge(path, change_members)


def as_npy(array):
    file = io.BytesIO()
    np.lib.format.write_array(file, array)
    return file.getvalue()


@pytest.fixture
def saved(pictures, tmp_path):
    path = tmp_path / "model.skops"
    save(PairwiseModel(3).fit(pictures[0][:20]), path)
    return path


@pytest.mark.parametrize(
    ("loader", "module", "name"),
    [
        ("ObjectNode", "sklearn.tree._classes", "DecisionTreeClassifier"),
        ("ObjectNode", "sklearn.cluster._kmeans", "KMeans"),
        ("ObjectNode", "geoimages.search.rotated", "RotatedRows"),
        ("ObjectNode", "subprocess", "Popen"),
        ("FunctionNode", "scipy.special", "expit"),
        ("MethodNode", "builtins", "dict"),
        ("TypeNode", "geoimages.distance", "PairwiseModel"),
        ("NdArrayNode", "numpy", "memmap"),
        ("NdArrayNode", "numpy", "object_"),
        ("SparseMatrixNode", "scipy.sparse", "csr_matrix"),
    ],
)
def test_what_save_does_not_write_is_refused(saved, loader, module, name):
    def change(node):
        if node["__loader__"] == "TupleNode":
            node |= {"__loader__": loader, "__module__": module, "__class__": name}

    forge_schema(saved, change)
    with pytest.raises(ValueError, match=rf"not trusted: {module}\.{name}"):
        load(saved)


def test_arrays_of_objects_are_refused(saved):
    def describe(node):
        if node["__loader__"] == "NdArrayNode":
            node |= {"type": "json", "content": [], "shape": {}}

    forge_schema(saved, describe)
    with pytest.raises(ValueError, match=r"not trusted: numpy\.ndarray of objects"):
        load(saved)


@pytest.mark.parametrize(
    "data",
    [
        as_npy(np.array([(1, 2)], dtype=[("a", int), ("b", int)])),
        as_npy(np.zeros(3, complex)),
        as_npy(np.zeros(3))[:-1],
        as_npy(np.zeros(3)).replace(b"(3,)", b"(9,)"),
        as_npy(np.zeros(3)).replace(b"<f8", b"|O8"),
        as_npy(np.zeros(30)).replace(b"(30,)", b"(-3,)"),
        b"\x93NUMPY\x09\x00",
        b"",
    ],
)
def test_an_array_that_is_not_plain_or_not_whole_is_refused(saved, data):
    def change(members):
        members[next(name for name in members if name.endswith(".npy"))] = data

    forge(saved, change)
    with pytest.raises(ValueError, match="not a valid model"):
        load(saved)


def test_other_members_are_refused(saved):
    forge(saved, lambda members: members.update({"a.pkl": b"cos\nsystem\n"}))
    with pytest.raises(ValueError, match=r"'a\.pkl' has no place in it"):
        load(saved)


def changed(model, **state):
    """A fitted model in a state that no fit makes."""
    vars(model).update(state)
    return model


@pytest.mark.parametrize(
    "state",
    [
        {"keys_": np.arange(19)},
        {"keys_": np.zeros(20, int)},
        {"n_features_in_": 9},
        {"image_shape_": (28, 28, 4)},
        {"image_shape_": (28, -28, -3)},
        {"image_shape_": "28"},
        {"search_rank_": np.full(20, 10**9)},
        {"lineage_": np.arange(3)},
        {"search_": None},
        {"search_": PCA()},
        {"y_": np.full(20, np.nan)},
    ],
    ids=lambda state: next(iter(state)),
)
def test_a_state_that_no_fit_makes_is_refused(pictures, tmp_path, state):
    path = tmp_path / "model.skops"
    model = changed(PairwiseModel(3).fit(pictures[0][:20]), **state)
    save(model, path)
    with pytest.raises(ValueError, match="not a valid model"):
        load(path)


def test_an_engine_checks_its_arrays(saved):
    """Arrays of an engine are exchanged; it must say so, and nothing may be read."""
    with zipfile.ZipFile(saved) as archive:
        names = [name for name in archive.namelist() if name.endswith(".npy")]
        arrays = {name: np.load(io.BytesIO(archive.read(name))) for name in names}
    original = saved.read_bytes()
    refused = 0
    for name, array in arrays.items():
        for wrong in (array[:-1], np.full(array.shape, np.inf), array - 7):
            forge(saved, lambda m, n=name, w=wrong: m.update({n: as_npy(w)}))
            try:
                load(saved).predict(np.zeros((28, 28, 3), np.uint8))
            except ValueError:
                refused += 1
            saved.write_bytes(original)
    assert refused >= 2 * len(arrays)


def test_flipped_bytes_never_raise_anything_but_our_error(saved):
    original = saved.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(original), 60):
        data = bytearray(original)
        data[place] ^= 1 << rng.integers(8)
        saved.write_bytes(bytes(data))
        with contextlib.suppress(ValueError):
            load(saved)


def add(path, name, data, times=1):
    """Append a member of many bytes, which deflate to few."""
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open(name, "w", force_zip64=True) as member,
    ):
        for _ in range(times):
            member.write(data)


@pytest.mark.parametrize(
    ("name", "megabytes", "message"),
    [
        ("bomb.npy", 700, "bytes unpacked, at most"),
        ("geoimages.json", 40, "bytes unpacked, at most|geoimages.json of"),
    ],
)
def test_a_file_that_unpacks_to_far_more_is_not_unpacked(
    saved, monkeypatch, name, megabytes, message
):
    if name == "geoimages.json":
        with zipfile.ZipFile(saved) as archive:
            kept = {n: archive.read(n) for n in archive.namelist() if n != name}
        with zipfile.ZipFile(saved, "w") as archive:
            for other, data in kept.items():
                archive.writestr(other, data)
    add(saved, name, bytes(1 << 20), megabytes)
    assert saved.stat().st_size < 5_000_000
    monkeypatch.setattr(zipfile.ZipFile, "testzip", None)
    monkeypatch.setattr(skops.io, "load", None)
    with pytest.raises(ValueError, match=f"not a valid model.*({message})"):
        load(saved)
