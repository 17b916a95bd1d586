"""Pictures are added by a new file, which replaces the old one whole."""

import csv
import json
import multiprocessing
import shutil
import zipfile

import h5py
import numpy as np
import pandas as pd
import pytest

from geoimages import Collection, PairwiseModel, RockFeatures, make_rocks, write_rocks
from geoimages.cli import main
from geoimages.files import locked


def unzip(path, folder):
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    """The same 60 pictures as two folders of 30 and as one."""
    folder = tmp_path_factory.mktemp("halves")
    every = unzip(write_rocks(folder / "a.zip", 60, random_state=0), folder / "every")
    for i, path in enumerate(sorted(every.rglob("*.jpg"))):
        half = folder / f"{'first' if i % 2 else 'second'}" / path.relative_to(every)
        half.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, half)
    return folder


@pytest.fixture
def path(halves, tmp_path):
    Collection.create(tmp_path / "rocks.h5", halves / "first").close()
    return tmp_path / "rocks.h5"


def content(rocks):
    """All that a collection says of its pictures, in the order of their keys."""
    order = np.argsort(rocks.keys)
    table = rocks.table.drop(columns="ledger_row")
    files = rocks.ledger.sort_values("path", ignore_index=True)
    sources = rocks.ledger["path"].to_numpy()[rocks.table["ledger_row"]]
    assert (sources == rocks.table["source"]).all()
    return rocks[order].tobytes(), table.sort_index().to_csv(), files.to_csv()


def test_first_and_second_half_are_the_whole(halves, path, tmp_path):
    with Collection.create(tmp_path / "every.h5", halves / "every") as every:
        with Collection(path) as rocks:
            before = rocks.keys.tolist(), rocks[:].tobytes(), rocks.ledger.to_csv()
            assert rocks.add(halves / "second") is rocks
            assert rocks.keys.tolist()[:30] == before[0]
            assert rocks[:30].tobytes() == before[1]
            assert rocks.ledger[:30].to_csv() == before[2]
            assert content(rocks) == content(every)
            assert rocks.verify() == []
        with Collection(path) as rocks:
            assert content(rocks) == content(every)
            assert rocks.mapped() is not None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["every.h5", "rocks.h5"]


def test_zips_folders_and_files_are_added_together(halves, draw, path):
    pictures = sorted((halves / "second").rglob("*.jpg"))
    notes = draw("new/marble/notes.png").with_suffix(".txt")
    notes.write_text("notes")
    with Collection(path) as rocks:
        rocks.add(*pictures[:2], notes.parents[1], pictures[2])
        assert len(rocks) == 34
        assert set(rocks.ledger["path"][30:]) == {
            "marble/notes.png",
            "marble/notes.txt",
            *(picture.as_posix() for picture in pictures[:3]),
        }
        assert rocks.ledger["status"].value_counts().to_dict() == {
            "kept": 34,
            "refused": 1,
        }
        assert set(rocks.labels) == set(rocks.labels[:30])


def test_a_key_that_is_there_is_refused_by_name(halves, path, tmp_path):
    first = sorted((halves / "first").rglob("*.jpg"))
    same, other = (p.relative_to(halves / "first") for p in first[:2])
    new = shutil.copytree(halves / "second", tmp_path / "new")
    shutil.copy(halves / "first" / same, new / same)
    shutil.copy(first[5], new / other)
    with Collection(path) as rocks:
        rocks.add(new)
        assert len(rocks) == 60
        refused = rocks.ledger.query("status == 'refused'")
        assert refused["reason"].tolist() == ["duplicate-key"] * 2
        details = dict(zip(refused["path"], refused["detail"], strict=True))
        key = f"{same.parent.name}.{same.stem}"
        said = "is in the collection already: the same file"
        assert details[same.as_posix()] == f"{key} {said}"
        assert details[other.as_posix()].endswith("already: another file")
        data = path.read_bytes()
        with pytest.raises(ValueError, match=r"None of the 32 .* \(32 duplicate-key\)"):
            rocks.add(new)
        assert len(rocks[:]) == 60
    assert path.read_bytes() == data


def test_new_pictures_are_brought_to_the_size_of_the_old(halves, draw, path, tmp_path):
    draw("new/marble/large.png", (50, 80))
    with Collection(path) as rocks:
        with pytest.raises(
            ValueError, match=r"1 other-size\); .*rocks.h5 is unchanged"
        ):
            rocks.add(tmp_path / "new")
        with pytest.raises(ValueError, match="adds a mask"):
            rocks.add(tmp_path / "new", fit="pad")
        assert rocks.add(tmp_path / "new", fit="stretch").fit == "stretch"
        draw("newer/marble/larger.png", (90, 60))
        rocks.add(tmp_path / "newer")
        assert rocks.ledger["fit"].tolist()[30:] == ["stretch"] * 2
        with pytest.raises(ValueError, match="fit='crop' is not how the pictures"):
            rocks.add(halves / "second", fit="crop")


def test_rotated_copies_are_added_where_there_are_some(halves, tmp_path):
    options = {"rotate": True}
    path = tmp_path / "rocks.h5"
    with (
        Collection.create(tmp_path / "e.h5", halves / "every", **options) as every,
        Collection.create(path, halves / "first", **options) as rocks,
    ):
        assert content(rocks.add(halves / "second")) == content(every)


def test_metadata_of_both_are_kept(halves, tmp_path):
    keys = {
        name: [
            f"{p.parent.name}.{p.stem}" for p in sorted((halves / name).rglob("*.jpg"))
        ]
        for name in ("first", "second")
    }
    first = pd.DataFrame({"file": keys["first"], "hole": "BH1", "depth": range(30)})
    second = pd.DataFrame({"file": keys["second"], "depth": 7.5, "site": "north"})
    second.loc[30] = "nowhere", 1, "south"
    path = tmp_path / "rocks.h5"
    with Collection.create(path, halves / "first", metadata=first) as rocks:
        rocks.add(halves / "second", metadata=second)
        table = rocks.table
        assert table["depth"].tolist()[30:] == [7.5] * 30
        assert table["depth"].tolist()[:30] == list(range(30))
        assert table["hole"].tolist() == ["BH1"] * 30 + [""] * 30
        assert table["site"].tolist() == [""] * 30 + ["north"] * 30
        assert rocks.unmatched == ["nowhere"]


def test_features_kept_before_are_not_used(halves, path):
    features = RockFeatures(n_filters=4)
    with Collection(path, "r+") as rocks:
        images = rocks[:]
        features.fit(images)
        kept = rocks.features(features)
        (file,) = rocks.cache.files()
        rocks.add(halves / "second")
        assert not file.exists()
        rows = rocks.features(features)
        assert rows.shape == (60, kept.shape[1])
        np.testing.assert_allclose(rows[:30], kept, rtol=1e-3, atol=1e-4)
        assert len(rocks.cache.files()) == 1


def test_the_layout_of_the_proof_of_concept_is_added_to(halves, tmp_path):
    images, _ = make_rocks(12, random_state=5)
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file["X_Train_Orig"], file["X_Dev_Orig"] = images[:8], images[8:]
        file["Y_Train_Orig"], file["Y_Dev_Orig"] = np.arange(8) % 2, np.arange(4) % 2
        file["classes"] = np.array([b"marble", b"schist"])
    with Collection(tmp_path / "old.h5") as rocks:
        rocks.add(halves / "second")
        assert np.array_equal(rocks[:12], images)
        assert rocks.labels.tolist()[:3] == ["marble", "schist", "marble"]
        assert rocks.table["split"].tolist() == ["train"] * 8 + ["dev"] * 4 + [""] * 30
        assert (rocks.ledger["status"] == "kept").sum() == len(rocks) == 42


def test_a_damaged_collection_is_not_copied(halves, path):
    with Collection(path) as rocks:
        start = rocks.images.id.get_offset()
    data = bytearray(path.read_bytes())
    data[start + 5000] ^= 1
    path.write_bytes(data)
    with Collection(path) as rocks, pytest.raises(ValueError, match="is damaged"):
        rocks.add(halves / "second")
    assert path.read_bytes() == data


def test_readers_go_on_reading(halves, path):
    with Collection(path) as reader, Collection(path) as rocks:
        mapped = reader.mapped()
        model = PairwiseModel(3).fit(reader)
        before = model.predict(str(reader.keys[0]))
        rocks.add(halves / "second")
        assert len(reader) == len(reader[:]) == 30
        assert np.array_equal(mapped, rocks[:30])
        pd.testing.assert_frame_equal(model.predict(str(reader.keys[0])), before)


def test_the_second_writer_leaves_at_once(halves, path, capsys):
    data = path.read_bytes()
    with locked(path), Collection(path) as rocks:
        for write in (
            lambda: rocks.add(halves / "second"),
            lambda: Collection.create(path, halves / "second"),
            lambda: Collection.from_arrays(path, *make_rocks(6, random_state=0)),
        ):
            with pytest.raises(BlockingIOError, match="is being written by process"):
                write()
        assert main(["add", str(path), str(halves / "second")]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"Error: {path} is being written by process")
        assert len(rocks[:]) == 30
    assert path.read_bytes() == data


def add_in_turn(path, source):
    """Add, and wait while another process does."""
    with Collection(path) as rocks:
        while True:
            try:
                rocks.add(source)
            except BlockingIOError:
                continue
            return


def test_what_two_processes_add_at_once_is_all_there(halves, path, tmp_path):
    """Each reads the file only once it holds it, not what it saw before."""
    pictures = sorted((halves / "second").rglob("*.jpg"))
    parts = [tmp_path / f"{i}" for i in range(2)]
    for i, picture in enumerate(pictures):
        to = parts[i % 2] / picture.parent.name / picture.name
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, to)
    with Collection(path) as rocks:  # opened before the others write
        context = multiprocessing.get_context("spawn")
        others = [context.Process(target=add_in_turn, args=(path, p)) for p in parts]
        for other in others:
            other.start()
        for other in others:
            other.join()
            assert other.exitcode == 0
        with pytest.raises(ValueError, match="30 duplicate-key"):
            rocks.add(halves / "second")
    with Collection(path) as rocks:
        assert len(rocks) == 60


def test_nothing_to_add(path):
    with Collection(path) as rocks:
        for sources, told in (
            ([], "Nothing to add"),
            ([path], "is the source itself"),
            (["no.jpg"], "No picture at no.jpg"),
            (["nowhere"], "No such folder or zip"),
        ):
            with pytest.raises((ValueError, FileNotFoundError), match=told):
                rocks.add(*sources)


class TestShell:
    def test_add_says_what_was_refused(self, halves, path, capsys):
        assert main(["add", str(path), str(halves / "every")]) == 0
        told = capsys.readouterr().out.splitlines()
        assert told[0] == f"Added 30 pictures to {path}, which has 60 now."
        assert told[1].startswith("  refused as duplicate-key: 30 (rocks/andesite/")

    def test_the_ledger_adds_up(self, rocks, capsys, tmp_path):
        assert main(["ledger", str(rocks.path)]) == 0
        told = capsys.readouterr().out.splitlines()
        assert len(told) == 5
        assert told[-1] == "63 files seen: 60 kept, 3 refused"
        assert main(["ledger", str(rocks.path), "--csv"]) == 0
        out, err = capsys.readouterr()
        assert err.strip() == told[-1]
        rows = list(csv.DictReader(out.splitlines()))
        assert [row["path"] for row in rows] == rocks.ledger["path"].tolist()
        statuses = [row["status"] for row in rows]
        assert statuses.count("kept") + statuses.count("refused") == len(rows) == 63
        assert statuses.count("kept") == len(rocks)
        assert main(["ledger", str(rocks.path), "--json"]) == 0
        assert len(json.loads(capsys.readouterr().out)) == 63

    @pytest.mark.parametrize("form", ["--csv", "--json"])
    def test_the_ledger_goes_to_a_file(self, rocks, capsys, tmp_path, form):
        file = tmp_path / "ledger"
        assert main(["ledger", str(rocks.path), form, str(file)]) == 0
        assert capsys.readouterr() == ("", f"63 rows in {file}\n")
        assert main(["ledger", str(rocks.path), form]) == 0
        assert file.read_text().strip() == capsys.readouterr().out.strip()
        assert main(["ledger", str(rocks.path), str(file)]) == 2
        assert "Add --csv or --json" in capsys.readouterr().err
