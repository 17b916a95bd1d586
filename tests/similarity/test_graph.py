"""The graph of nearest neighbors, as a file."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import Binarizer

from geoimages import KMeansModel, PairwiseModel, make_rocks, write_neighbors
from geoimages.similarity.graph import write_vectors


@pytest.fixture(scope="module")
def images():
    return make_rocks(40, random_state=1)[0]


def test_the_file_is_the_table(images, tmp_path, monkeypatch):
    monkeypatch.setattr("geoimages.similarity.base._BLOCK_QUERIES", 7)
    model = PairwiseModel(5).fit(images)
    path = tmp_path / "index.json"
    assert write_neighbors(model, path, 3) == 40
    index = json.loads(path.read_text())
    assert list(index) == [str(key) for key in range(40)]
    table = model.neighbors_table(3)
    for key, pairs in index.items():
        group = table.loc[int(key)]
        assert [near for near, _ in pairs] == group.index.tolist()
        np.testing.assert_allclose(
            [s for _, s in pairs], group["similarity"], atol=1e-6
        )


def test_a_lone_family_has_no_neighbors(images, tmp_path):
    path = tmp_path / "index.json"
    write_neighbors(PairwiseModel().fit(images[:1]), path)
    assert json.loads(path.read_text()) == {"0": []}


@pytest.mark.parametrize("kind", [PairwiseModel, KMeansModel])
@pytest.mark.parametrize("suffix", [".npy", ".json"])
def test_vectors_lie_in_the_order_of_the_index(images, tmp_path, kind, suffix):
    model = kind().fit(images / 255 + 0.001)
    vectors = tmp_path / f"vectors{suffix}"
    write_neighbors(model, tmp_path / "index.json", 2, vectors_path=vectors)
    if suffix == ".npy":
        rows = np.load(vectors)
    else:
        rows = np.array(list(json.loads(vectors.read_text()).values()))
    np.testing.assert_allclose(rows, images.reshape(40, -1) / 255 + 0.001)


@pytest.mark.parametrize("suffix", [".npy", ".json"])
def test_vectors_are_what_the_features_gave(images, tmp_path, suffix):
    # Binary features are kept as uint8 by the search.
    model = PairwiseModel(features=Binarizer(threshold=0.5)).fit(images)
    path = tmp_path / f"vectors{suffix}"
    write_vectors(model, path)
    if suffix == ".npy":
        rows = np.load(path)
    else:
        rows = np.array(list(json.loads(path.read_text()).values()))
    np.testing.assert_array_equal(rows, images.reshape(40, -1) / 255 > 0.5)


def test_days_are_keys_too(images, tmp_path):
    days = pd.date_range("2020-01-01", periods=40)
    frame = pd.DataFrame(images.reshape(40, -1), index=days)
    path = tmp_path / "index.json"
    assert write_neighbors(PairwiseModel().fit(frame), path, 2) == 40
    index = json.loads(path.read_text())
    assert list(index) == [str(day) for day in days]
    assert {key for pairs in index.values() for key, _ in pairs} <= set(index)


def test_every_similarity_is_a_number(tmp_path):
    """Also between black pictures, whose distance cdist takes for 0 / 0."""
    rows = np.zeros((3, 12))
    rows[0] = 1
    path = tmp_path / "index.json"
    write_neighbors(PairwiseModel(2, "braycurtis").fit(rows), path)
    assert json.loads(path.read_text())["1"] == [[2, 1.0], [0, 0.5]]


def test_where_the_vectors_go_is_known_before_the_search(images, tmp_path):
    model = PairwiseModel().fit(images)
    model.neighbors_blocks = None  # must not be reached
    with pytest.raises(FileNotFoundError, match="folder does not exist"):
        write_neighbors(
            model, tmp_path / "i.json", vectors_path=tmp_path / "nowhere" / "v.npy"
        )


def test_mistakes_leave_nothing_behind(images, tmp_path):
    model = PairwiseModel().fit(images)
    with pytest.raises(ValueError, match=r"must end in .npy or .json"):
        write_neighbors(model, tmp_path / "i.json", vectors_path=tmp_path / "v.txt")
    with pytest.raises(ValueError, match="both the neighbors and the vectors"):
        write_neighbors(model, tmp_path / "i.json", vectors_path=tmp_path / "i.json")
    with pytest.raises(FileNotFoundError, match="folder does not exist"):
        write_vectors(model, tmp_path / "nowhere" / "v.npy")
    with pytest.raises(FileNotFoundError, match="folder does not exist"):
        write_neighbors(
            model, tmp_path / "i.json", vectors_path=tmp_path / "nowhere" / "v.npy"
        )
    assert not list(tmp_path.iterdir())
