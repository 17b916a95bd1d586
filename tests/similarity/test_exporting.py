"""Vectors written for other stores."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist

from geoimages import Collection, RockFeatures, make_rocks, write_faiss, write_parquet
from geoimages.cli import main

faiss = pytest.importorskip("faiss")
parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def rocks(tmp_path):
    images, labels = make_rocks(30, random_state=0)
    keys = [f"{label}.{i}" for i, label in enumerate(labels)]
    keys[3] = "=1+1"
    with Collection.from_arrays(
        tmp_path / "rocks.h5", images, labels=labels, keys=keys
    ) as made:
        yield made


@pytest.mark.parametrize("block", [7, 4096])
def test_parquet_holds_the_table_and_the_vectors(rocks, tmp_path, monkeypatch, block):
    monkeypatch.setattr("geoimages.similarity.exporting._BLOCK_ROWS", block)
    features = RockFeatures().fit(rocks)
    path = tmp_path / "rocks.parquet"
    length = write_parquet(rocks, path, features)
    table = pd.read_parquet(path)
    assert table["key"].tolist() == rocks.keys.tolist()
    assert table["label"].tolist() == rocks.labels.tolist()
    assert table["sha256"].tolist() == rocks.table["sha256"].tolist()
    vectors = np.stack(table["vector"])
    assert vectors.shape == (30, length)
    np.testing.assert_array_equal(vectors, rocks.features(features))
    about = json.loads(parquet.read_schema(path).metadata[b"geoimages"])
    assert about["features"] == "RockFeatures()"


def test_a_masked_pixel_is_white(tmp_path):
    images = np.zeros((3, 8, 8, 4), np.uint8)
    images[:, 4:, :, 3] = 255
    with Collection.from_arrays(tmp_path / "a.h5", images) as made:
        write_parquet(made, tmp_path / "a.parquet")
    vector = pd.read_parquet(tmp_path / "a.parquet")["vector"][0]
    assert vector.tolist() == [1.0] * 96 + [0.0] * 96


@pytest.mark.parametrize("factory", ["Flat", "IVF4,Flat", "HNSW8"])
@pytest.mark.parametrize("metric", ["cosine", "correlation", "euclidean"])
def test_the_index_answers_with_the_distances(rocks, tmp_path, metric, factory):
    path = tmp_path / "rocks.faiss"
    assert write_faiss(rocks, path, metric=metric, factory=factory) == 2352
    index = faiss.read_index(str(path))
    rows = rocks.to_frame().to_numpy()
    queries = rows - rows.mean(axis=1, keepdims=True) * (metric == "correlation")
    if metric != "euclidean":
        queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    squares, found = index.search(queries, 2)
    assert (found[:, 0] == np.arange(30)).mean() > 0.9  # a graph may miss one
    expected = cdist(rows, rows, metric)
    expected = expected**2 if metric == "euclidean" else 2 * expected
    near = found[:, 1] >= 0  # of a list with one row there is no second
    np.testing.assert_allclose(
        squares[near, 1], expected[np.flatnonzero(near), found[near, 1]], rtol=1e-3
    )


def test_keys_lie_beside_the_index(rocks, tmp_path):
    write_faiss(rocks, tmp_path / "rocks.faiss")
    keys = pd.read_csv(tmp_path / "rocks.faiss.csv", index_col="id")
    assert keys.index.tolist() == list(range(30))
    assert keys["key"][4] == rocks.keys[4]
    assert keys["key"][3] == "'=1+1"  # no formula
    assert keys["label"].tolist() == rocks.labels.tolist()


def test_the_same_index_twice(rocks, tmp_path):
    written = []
    for name in ("a", "b"):
        write_faiss(rocks, tmp_path / name, factory="IVF4,PQ8x4")
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1]


@pytest.mark.parametrize("options", [{"factory": "IVFx"}, {"factory": "IVF4,PQ7"}])
def test_what_faiss_refuses_leaves_nothing(rocks, tmp_path, options):
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ValueError, match="is no index for 30 rows of 2352"):
        write_faiss(rocks, tmp_path / "rocks.faiss", **options)
    with pytest.raises(ValueError, match="got cityblock"):
        write_faiss(rocks, tmp_path / "rocks.faiss", metric="cityblock")
    assert sorted(tmp_path.iterdir()) == before


def test_in_the_shell(rocks, tmp_path, capsys):
    path = tmp_path / "rocks.parquet"
    command = ["export", str(rocks.path), "-o", str(path), "--features", "color"]
    assert main(command) == 2
    assert "--parquet or --faiss" in capsys.readouterr().err
    assert main([*command, "--parquet"]) == 0
    assert "30 vectors of" in capsys.readouterr().out
    assert len(pd.read_parquet(path)) == 30
    assert main([*command, "--faiss", "--factory", "XX"]) == 2
    assert "--factory 'XX' is no index" in capsys.readouterr().err
    assert main([*command, "--faiss"]) == 0
    assert f"Their keys in {path}.csv" in capsys.readouterr().out
