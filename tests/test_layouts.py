"""Every layout that was ever written is read, and ranks the same; newer ones are refused.

``tests/layouts`` holds files as the versions wrote them, of 18 drawn pictures.
"""

import gzip
import hashlib
import json
import os
import sqlite3
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from geoimages import Collection, PairwiseModel, Votes, load, preference, save
from geoimages.collection.cache import FeatureCache
from geoimages.collection.sealing import seal
from geoimages.collection.writer import FORMAT_VERSION
from geoimages.search import load_index, save_index

LAYOUTS = Path(__file__).parent / "layouts"
EXPECTED = json.loads((LAYOUTS / "expected.json").read_text())
NEWER = "was written by a newer geoimages"


def names(pattern):
    return sorted(path.name.removesuffix(".gz") for path in LAYOUTS.glob(pattern))


@pytest.fixture
def unpack(tmp_path):
    def unpack(name):
        path = tmp_path / name
        path.write_bytes(gzip.decompress((LAYOUTS / f"{name}.gz").read_bytes()))
        return path

    return unpack


@pytest.fixture
def images(unpack):
    with Collection(unpack("collection-3.h5")) as rocks:
        return rocks[:]


def assert_ranked(table, wanted):
    assert list(map(str, table.index)) == list(wanted)
    assert np.allclose(table["correlation"], [*wanted.values()], atol=1e-12)


@pytest.mark.parametrize("name", names("collection-*.gz"))
def test_collections(unpack, name):
    with Collection(unpack(name)) as rocks:
        assert rocks.attributes["format_version"] == int(name[11])
        assert rocks.keys.tolist() == EXPECTED["keys"]
        assert rocks.labels.tolist() == EXPECTED["labels"]
        assert hashlib.sha256(rocks[:]).hexdigest() == EXPECTED["images"]
        for column, values in EXPECTED["table"].items():
            assert rocks.table[column].tolist() == values, column
        for column, values in EXPECTED["ledger"].items():
            assert rocks.ledger[column].tolist() == values, column
        assert rocks.verify() == []
        model = PairwiseModel(5).fit(rocks)
        assert_ranked(model.predict(EXPECTED["key"]), EXPECTED["ranked"])


def test_the_newest_layout_of_each_kind_has_its_file(unpack, images, tmp_path):
    """Whoever writes another layout has to add a file of it here."""
    with Collection.from_arrays(tmp_path / "a.h5", images) as rocks:
        newest = rocks.attributes["format_version"]
    assert f"collection-{newest}.h5" in names("collection-*.gz")
    model = PairwiseModel().fit(images)
    save(model, tmp_path / "a.skops")
    newest = load(tmp_path / "a.skops").about_["format_version"]
    assert f"model-{newest}-pairwise.skops" in names("model-*.gz")
    save_index(model.search_, tmp_path / "a.index")
    newest = header_of(tmp_path / "a.index")[0]["__metadata__"]["version"]
    assert f"index-{newest}-pairwise.index" in names("index-*.gz")


def test_the_layout_of_the_proof_of_concept(unpack):
    with Collection(unpack("original.h5")) as rocks:
        assert hashlib.sha256(rocks[:]).hexdigest() == EXPECTED["images"]
        assert rocks.labels.tolist() == EXPECTED["labels"]
        assert rocks.table["split"].value_counts().to_dict() == {"train": 12, "dev": 6}
        table = PairwiseModel(5).fit(rocks).predict("train.3")
        wanted = [*EXPECTED["ranked"].values()]
        assert np.allclose(table["correlation"], wanted, atol=1e-12)


@pytest.mark.parametrize(
    "name", [name for name in names("model-*.gz") if "classifier" not in name]
)
def test_models(unpack, images, name):
    model, kind = load(unpack(name)), name.split("-")[-1].removesuffix(".skops")
    candidate = EXPECTED["key"] if kind == "pairwise" else images[3]
    assert_ranked(model.predict(candidate), EXPECTED[kind])


def test_a_classifier_that_answered_otherwise_is_refused(unpack):
    with pytest.raises(ValueError, match="trained by an earlier geoimages"):
        load(unpack("model-0-classifier.skops"))


@pytest.mark.parametrize("name", names("index-*.gz"))
def test_indexes(unpack, images, name):
    kind = name.split("-")[-1].removesuffix(".index")
    engine, model = load_index(unpack(name)), load(unpack(f"model-1-{kind}.skops"))
    queries = images.reshape(18, -1)
    for found, wanted in zip(
        engine.search(queries, 5, "correlation"),
        model.search_.search(queries, 5, "correlation"),
        strict=True,
    ):
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(one, other)


def test_an_index_of_version_1_is_a_folder_and_refused(tmp_path):
    (tmp_path / "a.index").mkdir()
    (tmp_path / "a.index/index.json").write_text("{}")
    with pytest.raises(ValueError, match="is an index of version 1, a folder"):
        load_index(tmp_path / "a.index")


@pytest.mark.parametrize("name", names("votes-*.gz"))
def test_votes(unpack, name):
    votes = Votes(unpack(name))
    assert votes.table["choice"].tolist() == ["left"]
    assert len(votes.trials) == 3
    assert preference(votes).as_dict()


@pytest.mark.parametrize("name", names("cache-*.gz"))
def test_kept_features(unpack, name):
    path = unpack(name)
    key = json.loads(path.read_bytes().partition(b"\n")[0])["key"]
    cache = FeatureCache(path.with_name("rocks.h5"), 1 << 30)
    path.rename(cache.path_of(key))
    rows = cache.read(key, 18)
    if name == "cache-0.cache" and rows is None:
        return  # its checksum was of the rows only: computed again
    assert rows.shape[0] == 18


def header_of(path):
    data = path.read_bytes()
    n_bytes = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + n_bytes]), data[8 + n_bytes :]


class TestNewer:
    """A file of a later version is refused in a line that says to update."""

    def test_collection(self, unpack):
        path = unpack("collection-3.h5")
        data = path.read_bytes()
        stop = len(data) - 16 - int.from_bytes(data[-16:-8], "little")
        path.write_bytes(data[:stop])
        with h5py.File(path, "r+") as file:
            file.attrs["format_version"] = FORMAT_VERSION + 1
        with open(path, "r+b") as file:
            seal(file, [])
        with pytest.raises(ValueError, match=NEWER) as caught:
            Collection(path)
        assert "etl" not in str(caught.value)

    def test_model(self, unpack):
        path = unpack("model-1-pairwise.skops")
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        about = json.loads(members["geoimages.json"]) | {"format_version": 2}
        # A later version may keep more than this one knows.
        members |= {"geoimages.json": json.dumps(about), "more.json": "{}"}
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, data)
        with pytest.raises(ValueError, match=NEWER):
            load(path)

    def test_index(self, unpack):
        path = unpack("index-3-kmeans.index")
        header, arrays = header_of(path)
        header["__metadata__"]["version"] = "4"
        del header["__metadata__"]["header"]  # who knows
        text = json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + arrays)
        with pytest.raises(ValueError, match=NEWER):
            load_index(path)

    def test_votes(self, unpack):
        path = unpack("votes-2.votes")
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA user_version = 3")
        db.close()
        with pytest.raises(ValueError, match=NEWER):
            Votes(path)

    def test_kept_features(self, unpack):
        path = unpack("cache-1.cache")
        line, _, rows = path.read_bytes().partition(b"\n")
        about = json.loads(line)
        cache = FeatureCache(path.with_name("rocks.h5"), 1 << 30)
        file = cache.path_of(about["key"])
        os.rename(path, file)
        assert cache.read(about["key"], 18) is not None
        file.write_bytes(json.dumps(about | {"version": 2}).encode() + b"\n" + rows)
        assert cache.read(about["key"], 18) is None
        assert NEWER in cache.notes[0]
