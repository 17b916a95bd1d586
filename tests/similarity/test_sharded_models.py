"""Models of a folder of shards: the answers of one file, and what is missing is told."""

import errno
import io
import json
import shutil
import tracemalloc
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from joblib.externals.loky.cloudpickle_wrapper import dumps
from sklearn.base import clone
from sklearn.preprocessing import FunctionTransformer

from geoimages import (
    Collection,
    KMeansModel,
    PairwiseModel,
    PatternFeatures,
    RockFeatures,
    cluster,
    compare,
    find_duplicates,
    load,
    save,
    write_neighbors,
)
from geoimages.cli import main
from geoimages.collection import describing
from geoimages.pictures.validation import input_for
from geoimages.search import load_index
from geoimages.similarity import sharded, sharded_ranges, sharding
from geoimages.similarity.sharded_lists import partition_files

FEW = RockFeatures(n_filters=4)
MODELS = {
    "pixels": PairwiseModel(4, orientation="rotations"),
    "features": PairwiseModel(4, "cosine", FEW),
    "verified": PairwiseModel(4, "cosine", PatternFeatures()),
    "partitioned": PairwiseModel(4, algorithm="partitioned"),
    "clusters": KMeansModel(3, 4, features=FEW),
}


@pytest.fixture(autouse=True)
def shared(monkeypatch):
    """Let workers search however few rows."""
    monkeypatch.setattr(sharded, "_LEAST_SHARED", 0)


@pytest.fixture(scope="module")
def many(rocks, tmp_path_factory):
    """The collection in eight shards, the last of one picture."""
    folder = tmp_path_factory.mktemp("many") / "rocks"
    with rocks.shard(folder, rows=8):
        pass
    with Collection(folder) as opened:
        yield opened


def copied(many, folder, mode="r+"):
    shutil.copytree(many.path, folder)
    return Collection(folder, mode)


@pytest.mark.parametrize("name", MODELS)
def test_a_folder_answers_as_the_file(name, rocks, many, pictures, tmp_path):
    one = clone(MODELS[name]).fit(rocks)
    keys, asked = rocks.keys[[3, 41]].tolist(), pictures[0][100:104]
    # The OpenBLAS of NumPy 2.0 rounds products of fewer than 16 rows otherwise.
    exact = name != "verified" or np.lib.NumpyVersion(np.__version__) >= "2.4.0"
    for n_jobs in (1, 2) if name in ("pixels", "partitioned") else (1,):
        with joblib.parallel_config(n_jobs=n_jobs, backend="loky"):
            model = clone(MODELS[name]).fit(many)
            for X in (keys, asked):
                pd.testing.assert_frame_equal(
                    model.predict(X), one.predict(X), check_exact=exact, rtol=1e-6
                )
            assert (model.recall_, model.clusters_searched_) == (
                one.recall_,
                one.clusters_searched_,
            )
            a, b = (model.neighbors_table(3), one.neighbors_table(3))
            pd.testing.assert_frame_equal(a, b, check_exact=exact, rtol=1e-6)
    save(model, tmp_path / "model.skops")
    pd.testing.assert_frame_equal(
        load(tmp_path / "model.skops").predict(asked), model.predict(asked)
    )
    model.remove(keys)
    again = clone(MODELS[name]).fit(rocks).remove(keys)
    pd.testing.assert_frame_equal(model.predict(asked), again.predict(asked))


def test_what_reads_models_and_collections_reads_folders(rocks, many, tmp_path):
    models = {"a": PairwiseModel(4), "b": PairwiseModel(4, "cosine", FEW)}
    tables, texts = [], []
    for collection in (rocks, many):
        fitted = {name: clone(model).fit(collection) for name, model in models.items()}
        options = {"n_resamples": 20, "n_permutations": 20, "full": False}
        tables.append(compare(fitted, collection.keys[:20].tolist(), **options).scores)
        path = tmp_path / f"{len(tables)}.json"
        write_neighbors(fitted["b"], path, k=3)
        texts.append((path.read_text(), repr(find_duplicates(collection).pairs)))
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    assert texts[0] == texts[1]


def test_a_large_folder_is_clustered_where_it_lies(rocks, many, monkeypatch):
    one = KMeansModel(3, 4, pooling=None).fit(rocks)
    monkeypatch.setattr(cluster, "_MOST_GATHERED", 0)
    model = KMeansModel(3, 4).fit(many)
    assert model.inertia_ == pytest.approx(one.inertia_, rel=0.02)
    assert model.model_inertias([3]) == pytest.approx([model.inertia_])
    everything = model.predict(rocks.keys[5], clusters_searched=3)
    pd.testing.assert_frame_equal(
        everything, one.predict(rocks.keys[5], clusters_searched=3)
    )


def test_features_of_a_large_folder_learn_from_some_keys(many, rocks, monkeypatch):
    monkeypatch.setattr(sharding, "_MOST_SAMPLED", 20 * 28 * 28 * 3)
    some = sharding.to_learn_from(many)
    assert some.tolist() == sharding.to_learn_from(rocks).tolist()
    assert len(some) == 20
    assert PairwiseModel(4, "cosine", FEW).fit(many).predict(rocks.keys[0]).shape == (
        4,
        2,
    )


def test_rows_are_kept_beside_the_shards_and_made_again(many, tmp_path):
    with copied(many, tmp_path / "rocks") as rocks:
        expected = PairwiseModel(4).fit(rocks).predict(rocks.keys[0])
        files = sorted(rocks.path.glob("*.index"))
        assert len(files) == 8
        stamps = [file.stat().st_mtime_ns for file in files]
        files[3].write_bytes(files[3].read_bytes()[:-5])
        files[4].unlink()
        shutil.copy(files[7], files[2])  # of 4 pictures instead of 8
        shutil.copy(files[0], files[6])  # of as many, whole, but of others
        found = PairwiseModel(4).fit(rocks).predict(rocks.keys[0])
        pd.testing.assert_frame_equal(found, expected)
        changed = [file.stat().st_mtime_ns for file in files]
        assert [a != b for a, b in zip(stamps, changed, strict=True)] == [
            i in (2, 3, 4, 6) for i in range(8)
        ]
        assert not list(rocks.path.glob(".features*"))


def test_kept_rows_are_told_listed_and_deleted(many, tmp_path, capsys):
    with copied(many, tmp_path / "rocks") as rocks:
        folder, key = str(rocks.path), str(rocks.keys[0])
    assert main(["similar", folder, key, "--features", "color"]) == 0
    assert "Kept the rows of 8 shards (" in capsys.readouterr().err
    assert main(["similar", folder, key, "--features", "color"]) == 0
    assert "Kept" not in capsys.readouterr().err
    with Collection(folder, "r+") as rocks:
        PairwiseModel(3, "cosine", algorithm="partitioned").fit(rocks)
    main(["cache", folder, "--csv"])
    kept = pd.read_csv(io.StringIO(capsys.readouterr().out))
    beside = {path.name for path in Path(folder).iterdir()}
    assert set(kept["file"]) == {
        name for name in beside if not name.endswith((".h5", ".json"))
    }
    assert kept["features"].value_counts().to_dict() == {
        "rows: RockFeatures(conv=0, texture=0)": 8,
        "rows: pixels": 8,
        "rows by cluster": 1,
        "clusters of rows": 1,
    }
    assert main(["cache", folder, "--clear"]) == 0
    assert capsys.readouterr().out == "Deleted 18 files.\n"
    assert {path.suffix for path in Path(folder).iterdir()} == {".h5", ".json"}


def test_a_shard_that_was_swapped_is_found_before_it_is_used(many, tmp_path):
    with copied(many, tmp_path / "rocks") as rocks:
        rocks.keys, rocks.labels  # noqa: B018 (read before)
        rocks.files.paths[5].unlink()
        shutil.copy(rocks.files.paths[2], rocks.files.paths[5])
        with pytest.raises(ValueError, match=r"shard-00005\.h5 is not the shard"):
            PairwiseModel(4).fit(rocks)
        assert len(list(rocks.path.glob("*.index"))) == 7  # the others are kept


def test_a_worker_does_not_hold_the_rows_of_a_shard(many, tmp_path, monkeypatch):
    def widen(rows):
        return np.tile(rows.reshape(len(rows), -1) - np.float32(0.5), 40)

    monkeypatch.setattr(describing, "block_length", lambda image_shape: 8)
    features = FunctionTransformer(widen).fit(many[:1])
    with many.merge(tmp_path / "one.h5") as one:
        one.shard(tmp_path / "one").close()
    with Collection(tmp_path / "one") as one:
        tracemalloc.start()
        paths, held = sharding.write_index(one, features, "euclidean")
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    rows = load_index(paths[0]).rows
    np.testing.assert_array_equal(rows, widen(input_for(features, many[:])))
    assert most < 0.5 * rows.nbytes
    assert len(list(held.path.iterdir())) == 1


def test_features_may_be_whole_numbers(many, rocks):
    def whole(images):
        return np.rint(255 * images).reshape(len(images), -1).astype(np.int32)

    model = PairwiseModel(4, "euclidean", FunctionTransformer(whole)).fit(many)
    assert model.search_.rows.dtype == np.float64
    expected = clone(model).fit(rocks).predict(rocks.keys[0])
    pd.testing.assert_frame_equal(model.predict(rocks.keys[0]), expected)


def test_a_full_disk_is_one_line(many, tmp_path, monkeypatch):
    def full(engine, path, **made):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(sharding, "write_engine", full)
    with copied(many, tmp_path / "rocks") as rocks:
        with pytest.raises(OSError, match="No space left") as caught:
            PairwiseModel(4).fit(rocks)
        assert caught.value.errno == errno.ENOSPC
        left = {path.suffix for path in rocks.path.iterdir()}
        assert left == {".h5", ".json"}


def test_an_incomplete_collection_says_so_in_its_answer(many, tmp_path):
    copied(many, tmp_path / "rocks").close()
    path = tmp_path / "rocks/manifest.json"
    about = json.loads(path.read_text())
    (tmp_path / "rocks/shard-00002.h5").unlink()
    about["shards"][2]["missing"] = "out of memory"
    path.write_text(json.dumps(about))
    with Collection(tmp_path / "rocks") as rocks:
        assert len(rocks) == len(many) - 8
        model = PairwiseModel(4).fit(rocks)
        with pytest.warns(UserWarning, match=r"incomplete: 1 shards .*out of memory"):
            table = model.predict(rocks.keys[0])
    assert table.attrs["missing"] == {"shard-00002.h5": "out of memory"}
    assert "missing" not in PairwiseModel(4).fit(many).predict(many.keys[0]).attrs


def test_no_task_carries_rows(many, monkeypatch):
    sent = []

    def spy(function, tasks, **options):
        sent.extend(len(dumps(task)) for task in tasks)
        return map_shards(function, tasks, **options)

    map_shards = sharded.map_shards
    monkeypatch.setattr(sharded, "map_shards", spy)
    monkeypatch.setattr(sharded_ranges, "map_shards", spy)
    with joblib.parallel_config(n_jobs=2, backend="loky"):
        model = PairwiseModel(2, "cosine", FEW).fit(many)
        partition_files(model.search_.paths, "cosine")
        model.search_.search(np.zeros((3000, model.search_.rows.shape[1])), 2, "cosine")
    assert len(sent) > 20
    assert max(sent) <= 1_000_000
