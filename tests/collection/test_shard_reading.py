"""Reading a source into shards: the bytes of one file, whatever their number."""

import shutil
import subprocess
import sys
import zipfile

import joblib
import numpy as np
import pandas as pd
import pytest

from geoimages import Collection, RockFeatures
from geoimages.cli import main
from geoimages.collection import reading
from geoimages.collection.maps import Parcel, workers
from geoimages.collection.sources import open_source, reopen


@pytest.fixture
def source(rock_zip, tmp_path):
    """The pictures as a folder, with a note and damaged files."""
    with zipfile.ZipFile(rock_zip) as archive:
        archive.extractall(tmp_path / "source")
    (tmp_path / "source/note.txt").write_text("seen in 1931")
    return tmp_path / "source"


@pytest.fixture
def table(rocks, tmp_path):
    names = [*rocks.keys[:50], "elsewhere"]
    about = {"file": names, "depth": np.arange(51) / 4, "hole": ["BH1", "BH2", ""] * 17}
    pd.DataFrame(about).to_csv(tmp_path / "table.csv", index=False)
    return tmp_path / "table.csv"


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("rows", "options"),
    [
        (7, {}),
        (30, {"rotate": True}),
        (9, {"sample": 0.5, "random_state": 0}),
        (1000, {"size": (20, 20), "fit": "pad"}),
    ],
)
def test_shards_hold_what_one_file_holds(rock_zip, table, tmp_path, options, rows):
    options = {"metadata": table} | options
    Collection.create(tmp_path / "a.h5", rock_zip, **options).close()
    with Collection.create(f"{tmp_path}/a/", rock_zip, rows=rows, **options) as many:
        assert max(np.diff(many.files.starts)) <= rows
        many.merge(tmp_path / "b.h5").close()
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


@pytest.mark.parametrize("kind", ["zip", "folder"])
def test_two_workers_write_the_bytes_of_one(source, rock_zip, tmp_path, kind):
    pictures = source if kind == "folder" else rock_zip
    for name, n_jobs in (("one", 1), ("two", 2)):
        with joblib.parallel_config("loky", n_jobs=n_jobs):
            Collection.create(f"{tmp_path}/{name}/", pictures, rows=20).close()
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two")


def test_what_reads_shards_is_imported_without_scikit_learn():
    # Which takes longer than all else, in each worker.
    code = "import sys, geoimages.collection.reading; print('sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


def test_a_second_run_reads_only_what_has_changed(source, tmp_path, monkeypatch):
    folder = tmp_path / "rocks"
    folder.mkdir()
    Collection.create(folder, source, rows=20).close()
    before, read = bytes_of(folder), []

    def counted(opened, entry, *args, **options):
        read.append(entry.path)
        return read_to_size(opened, entry, *args, **options)

    read_to_size = reading.read_to_size
    monkeypatch.setattr(reading, "read_to_size", counted)
    Collection.create(folder, source, size=(28, 28), rows=20).close()
    assert read  # a size that is given is told
    Collection.create(folder, source, rows=20).close()
    assert bytes_of(folder) == before
    read.clear()
    (folder / "shard-00001.h5").unlink()
    shutil.copy(folder / "shard-00000.h5", folder / "shard-00002.h5")
    Collection.create(folder, source, rows=20).close()
    assert bytes_of(folder) == before
    with Collection(folder) as rocks:
        starts, paths = rocks.files.starts, rocks.table["source"].to_numpy()
    assert set(paths[starts[1] : starts[3]]) <= set(read)
    assert not {*paths[: starts[1]], *paths[starts[3] :]} & set(read)
    read.clear()
    path = sorted(source.rglob("*.jpg"))[-1]
    path.write_bytes(path.read_bytes() + b"\0")
    Collection.create(folder, source, rows=20).close()
    assert 0 < len(read) <= 21
    assert bytes_of(folder)["shard-00000.h5"] == before["shard-00000.h5"]


def starved(path, *args):
    """Leave what a killed worker leaves, then find the disk full."""
    if path.name == "shard-00001.h5":
        path.with_name(f".{path.name}.0123abcd.part").touch()
        raise OSError(28, "No space left on device", str(path))
    return write_planned(path, *args)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_full_disk_ends_in_one_line_and_gets_its_room_back(
    source, tmp_path, monkeypatch, capfd, n_jobs
):
    folder = tmp_path / "rocks"
    argv = ["etl", str(source), "-o", f"{folder}/", "--rows", "20"]
    with monkeypatch.context() as patched:
        patched.setattr(reading, "_write_planned", starved)
        assert main([*argv, "--jobs", str(n_jobs)]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "No space left on device" in line
    assert not [path for path in folder.iterdir() if path.name[0] == "."]
    assert main(argv) == 0
    with Collection(folder) as rocks:
        assert (len(rocks), rocks.missing) == (60, {})


def failing(path, *args):
    if path.name == "shard-00001.h5":
        raise OSError("the share was away")
    return write_planned(path, *args)


write_planned = reading._write_planned


def test_a_shard_that_fails_is_named_and_the_rest_is_there(
    source, tmp_path, monkeypatch, capsys
):
    folder = f"{tmp_path}/rocks/"
    argv = ["etl", str(source), "-o", folder, "--rows", "20"]
    with monkeypatch.context() as patched:
        patched.setattr(reading, "_write_planned", failing)
        assert main(argv) == 2
    said = capsys.readouterr()
    assert "missing: shard-00001.h5 (the share was away)" in said.out
    assert "1 of the shards" in said.err.splitlines()[-1]
    with Collection(folder) as rocks:
        assert rocks.missing == {"shard-00001.h5": "the share was away"}
        assert len(rocks[:]) == len(rocks.table) == len(rocks) < 45
        rows = rocks.table["ledger_row"]
        assert rocks.ledger.loc[rows, "path"].tolist() == rocks.table["source"].tolist()
        with pytest.raises(ValueError, match="shards of .* are missing"):
            rocks.merge(tmp_path / "a.h5")
    assert main(argv) == 0
    with Collection(folder) as rocks:
        assert (len(rocks), rocks.missing) == (60, {})


def overtaken(path, plan, known, plan_path, holder):
    """Write a shard for a run that no longer holds the folder."""
    return write_planned(path, plan, known, plan_path, b"process 1, which was killed")


def test_a_worker_that_outlives_its_run_does_not_write_over_the_next(
    source, tmp_path, monkeypatch
):
    folder = tmp_path / "rocks"
    Collection.create(f"{folder}/", source, size=(28, 28), rows=20).close()
    before = bytes_of(folder)
    monkeypatch.setattr(reading, "_write_planned", overtaken)
    with pytest.raises(BlockingIOError, match="not written by the run any more"):
        Collection.create(f"{folder}/", source, size=(20, 20), rows=20)
    now = bytes_of(folder)
    assert {name for name in before if before[name] != now[name]} == {"manifest.json"}
    assert now.keys() == before.keys()


def test_a_text_file_lists_pictures_in_its_order(source, tmp_path):
    paths = sorted(source.rglob("*.jpg"))[::-3]
    lines = [str(paths[0]), *(str(path.relative_to(tmp_path)) for path in paths[1:])]
    listed = tmp_path / "some.txt"
    listed.write_text("\n".join(["# of 1931", *lines, "", "source/gone.jpg"]))
    with Collection.create(f"{tmp_path}/rocks/", listed, rows=7) as rocks:
        kept = [path.stem for path in paths if str(path.stem) in str(rocks.keys)]
        assert [key.split(".")[1] for key in rocks.keys.tolist()] == kept
        assert len(kept) > 15
        assert rocks.ledger["path"].tolist() == [*lines, "source/gone.jpg"]
        gone = rocks.ledger.iloc[-1]
        assert (gone["status"], gone["reason"]) == ("refused", "unreadable")
    (tmp_path / "none.txt").write_text("nothing")
    with pytest.raises(ValueError, match="lists no picture"):
        Collection.create(tmp_path / "a.h5", tmp_path / "none.txt")


def test_addresses_are_read_like_paths(source, rock_zip, rocks, tmp_path):
    fsspec = pytest.importorskip("fsspec")
    with Collection.create(f"{tmp_path}/a/", f"file://{source}", rows=20) as many:
        np.testing.assert_array_equal(many[:], rocks[:])
    with Collection.create(tmp_path / "a.h5", f"file://{rock_zip}") as one:
        np.testing.assert_array_equal(one[:], rocks[:])
    memory = fsspec.filesystem("memory")
    memory.put(str(rock_zip), "/rocks.zip")
    with Collection.create(f"{tmp_path}/b/", "memory://rocks.zip", rows=20) as many:
        np.testing.assert_array_equal(many[:], rocks[:])
    with pytest.raises(ValueError, match="no address that fsspec knows"):
        Collection.create(tmp_path / "b.h5", "nowhere://rocks")
    with pytest.raises(FileNotFoundError, match="Nothing at memory://none"):
        Collection.create(tmp_path / "b.h5", "memory://none")


def test_members_are_read_without_the_directory_of_the_zip(rock_zip, tmp_path):
    packed = tmp_path / "packed.zip"
    with (
        zipfile.ZipFile(rock_zip) as archive,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as other,
    ):
        for name in archive.namelist():
            other.writestr(name, archive.read(name))
    for path in (rock_zip, packed):
        with open_source(path) as whole:
            paths = [entry.path for entry in whole.entries]
            again = reopen(whole.address(), paths, whole.places(whole.entries))
            for entry in whole.entries:
                assert again.read(entry) == whole.read(entry)
            again.close()


def test_features_do_not_depend_on_shards_or_workers(rocks, tmp_path):
    features = RockFeatures().fit(rocks)
    expected = features.transform(rocks)
    for rows, n_jobs in ((7, 2), (25, 1)):
        rocks.shard(tmp_path / str(rows), rows=rows).close()
        with Collection(tmp_path / str(rows), "r+") as many, workers(n_jobs):
            np.testing.assert_array_equal(many.features(features), expected)
            kept = many.cache.files()
            assert len(kept) == len(many.files)
            assert {path.name.split(".h5")[0] for path in kept} == {
                path.stem for path in many.files.paths
            }
            stamps = [path.stat().st_mtime_ns for path in kept]
            np.testing.assert_array_equal(features.transform(many), expected)
            assert sorted(path.stat().st_size for path in many.cache.files())
            assert len(stamps) == many.cache.clear()
        with Collection(tmp_path / str(rows)) as many:
            np.testing.assert_array_equal(many.features(features), expected)
            assert not many.cache.files()


def test_what_is_large_goes_by_a_file_that_is_checked(tmp_path):
    small, large = Parcel([1], tmp_path), Parcel(np.arange(50_000), tmp_path)
    assert small.path is None
    assert large.data is None
    assert small.open() == [1]
    assert (large.open() == np.arange(50_000)).all()
    again = Parcel(np.arange(50_000), tmp_path)  # of another run, which is done first
    again.remove()
    assert (large.open() == np.arange(50_000)).all()
    large.path.write_bytes(b"another")
    with pytest.raises(ValueError, match="not what was sent"):
        large.open()
    large.remove()
    assert not list(tmp_path.iterdir())
