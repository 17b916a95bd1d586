"""A collection as a folder of shards: the same as one file, whole or refused."""

import json
import os
import shutil
import zipfile

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

from geoimages import (
    Collection,
    ConvNetClassifier,
    HOGFeatures,
    PairwiseModel,
    classify_files,
    find_duplicates,
    write_rocks,
)
from geoimages.cli import main
from geoimages.collection import shards as shards_module
from geoimages.collection.manifest import Manifest
from geoimages.collection.maps import workers
from geoimages.files import locked


@pytest.fixture
def table(rocks, tmp_path):
    """Metadata of most pictures, and of one that is not there."""
    names = [*rocks.keys[:50], "elsewhere"]
    about = {"file": names, "depth": np.arange(51) / 4, "hole": ["BH1", "BH2", ""] * 17}
    path = tmp_path / "table.csv"
    pd.DataFrame(about).to_csv(path, index=False)
    return path


@pytest.mark.parametrize("options", [{}, {"rotate": True}, {"sample": 0.5}])
@pytest.mark.parametrize("rows", [7, 30, 1000])
def test_a_folder_is_what_the_file_is(rock_zip, table, tmp_path, options, rows):
    options = options | {"metadata": table, "random_state": 0}
    with (
        Collection.create(tmp_path / "a.h5", rock_zip, **options) as one,
        one.shard(tmp_path / "a", rows=rows) as many,
    ):
        assert len(many.files) == -(-len(one) // rows)
        assert (many.keys == one.keys).all()
        assert (many.labels == one.labels).all()
        pd.testing.assert_frame_equal(many.table, one.table)
        pd.testing.assert_frame_equal(many.ledger, one.ledger)
        pd.testing.assert_frame_equal(many.to_frame(), one.to_frame())
        assert many.unmatched == one.unmatched == ["elsewhere"]
        assert many.where(depth="2..5").tolist() == one.where(depth="2..5").tolist()
        assert many.digest() == one.digest()
        assert (many.attributes, many.fit) == (one.attributes, one.fit)
        assert many.verify() == []
        told, same = many.summary(as_dict=True), one.summary(as_dict=True)
        for name in set(same) - {"path", "bytes"}:
            assert told[name] == same[name]
        assert many.summary().split("\n")[1:] == one.summary().split("\n")[1:]
        assert "pictures" in many._repr_html_()
        for path in many.files.paths:  # each a collection of its own
            with Collection(path) as shard:
                of_file = shard.ledger["path"].to_numpy()[shard.table["ledger_row"]]
                assert of_file.tolist() == shard.table["source"].tolist()
        with many.merge(tmp_path / "b.h5") as merged:
            assert len(merged) == len(one)
        with many.shard(tmp_path / "b", rows=11) as again:
            assert (again[:] == one[:]).all()
    assert (tmp_path / "b.h5").read_bytes() == (tmp_path / "a.h5").read_bytes()


@pytest.fixture
def folder(rocks, tmp_path):
    """Seven shards of nine pictures."""
    rocks.shard(tmp_path / "rocks", rows=9).close()
    return tmp_path / "rocks"


def test_reading_crosses_shards_and_opens_what_it_needs(rocks, folder):
    with Collection(folder) as many:
        every = rocks[:]
        many[10]
        assert sorted(many.files._open) == [0, 1]  # the first says what all share
        mask = rocks.labels == "marble"
        keys = [str(key) for key in rocks.keys[[44, 1]]]
        for item in (7, -1, slice(5, 50, 9), slice(None, None, -1), mask, keys, []):
            np.testing.assert_array_equal(many[item], rocks[item])
        np.testing.assert_array_equal(many[[9, 2, 59]], every[[9, 2, 59]])
        np.testing.assert_array_equal(list(many), every)
        assert many.mapped() is None
        assert many.images is many
        for beyond in (60, -61, [3, 60]):
            with pytest.raises(IndexError):
                many[beyond]
        with many.with_labels({rocks.keys[30]: "granite"}) as other:
            assert other.labels[30] == "granite"
    with pytest.raises(ValueError, match="is closed"):
        many[3]


def test_few_files_are_open_at_a_time(rocks, folder, monkeypatch):
    monkeypatch.setattr(shards_module, "_MOST_OPEN", 2)
    with Collection(folder) as many:
        np.testing.assert_array_equal(many[:], rocks[:])
        assert len(many.files._open) == 2


def test_a_finished_shard_is_not_written_again(rocks, folder):
    def stamps():
        return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.h5")}

    before = stamps()
    everything = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "shard-00003.h5").unlink()
    (folder / "manifest.json").unlink()  # as a killed run leaves it
    rocks.shard(folder, rows=9).close()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == everything
    after = stamps()
    assert {name for name in after if after[name] != before[name]} == {"shard-00003.h5"}
    with rocks.shard(folder, rows=20) as fewer:  # other shards than before
        assert len(fewer.files) == len(list(folder.glob("*.h5"))) == 3


def truncated(path, other):
    path.write_bytes(path.read_bytes()[:-100])


def swapped(path, other):
    shutil.copy(other, path)


def edited(path, other):
    data = bytearray(path.read_bytes())
    data[data.index(b"marble")] ^= 1
    path.write_bytes(data)


def removed(path, other):
    path.unlink()


@pytest.mark.parametrize("damage", [truncated, swapped, edited, removed])
def test_a_shard_that_is_another_is_found_before_it_is_used(folder, damage):
    damage(folder / "shard-00003.h5", folder / "shard-00001.h5")
    with pytest.raises(
        ValueError, match=r"shard-00003\.h5 is not the shard that rocks"
    ):
        Collection(folder)[28]


def test_pixels_are_held_against_their_checksums_and_all_against_the_hash(folder):
    path = folder / "shard-00003.h5"
    with Collection(path) as shard:
        start = shard.images.id.get_offset()
    data = bytearray(path.read_bytes())
    data[start + 5] ^= 1
    path.write_bytes(data)
    with Collection(folder) as many:
        assert many[:27].any()
        with pytest.raises(ValueError, match="has another checksum"):
            many[27]
        problems = many.verify()
        with workers(2):
            assert many.verify() == problems
    assert any("another SHA-256" in problem for problem in problems)
    assert all("shard-00003" in problem for problem in problems)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda about: about["shards"][2].update(name="../a.h5"), "names"),
        (lambda about: about["shards"][2].update(name="shard-00001.h5"), "twice"),
        (lambda about: about["shards"][2].update(count=-1), "impossible counts"),
        (lambda about: about["shards"][2].update(seal="0"), "no hashes"),
        (lambda about: about["shards"][2].update(more=1), "unexpected keyword"),
        (lambda about: about.update(image_shape=[1, 2]), "image_shape"),
        (lambda about: about.update(format="x"), "another format"),
        (lambda about: about.pop("shards"), "'shards'"),
        (lambda about: about.update(version=99), "newer geoimages"),
        (lambda about: about.update(version=float("nan")), "version"),
        (lambda about: about.update(version="1"), "version"),
        (lambda about: about["shards"][2].update(name="/etc/hosts"), "names"),
        (lambda about: about["shards"][2].update(count=10**30), "impossible counts"),
        (lambda about: about["shards"][2].update(count=1000), "1,000 pictures in"),
        (lambda about: about["shards"][2].update(count=8), "9 pictures of"),
        (
            lambda about: about["shards"].append(
                about["shards"][1] | {"name": "shard-00007.h5"}
            ),
            r"shard-00007\.h5 is shard-00001\.h5 again",
        ),
    ],
)
def test_a_manifest_that_makes_no_sense_is_one_line(folder, change, why):
    path = folder / "manifest.json"
    about = json.loads(path.read_text())
    change(about)
    path.write_text(json.dumps(about))
    with pytest.raises(ValueError, match=why) as caught, Collection(folder) as rocks:
        rocks[:]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b"1" * 5000]
)
def test_what_is_no_manifest_is_one_line(folder, text):
    (folder / "manifest.json").write_bytes(text)
    with pytest.raises(ValueError, match="is not a valid manifest") as caught:
        Collection(folder)
    assert "\n" not in str(caught.value)


def test_a_link_or_a_pipe_is_no_way_to_other_files(folder, tmp_path):
    path, manifest = folder / "shard-00002.h5", folder / "manifest.json"
    kept, about = path.rename(tmp_path / "a.h5"), json.loads(manifest.read_text())
    path.symlink_to(kept)  # to another disk, say
    with Collection(folder) as rocks:
        assert len(rocks[:]) == 60
    path.unlink()
    path.symlink_to(folder / "shard-00001.h5")
    with pytest.raises(ValueError, match="is not the shard"):
        Collection(folder)[20]
    path.unlink()
    os.mkfifo(path)
    about["shards"][2] |= {"count": 0, "n_bytes": 0}
    manifest.write_text(json.dumps(about))
    with pytest.raises(ValueError, match=r"shard-00002\.h5 .* is no file"):
        Collection(folder)


def test_reasons_in_a_manifest_steer_no_terminal(folder):
    path = folder / "manifest.json"
    about = json.loads(path.read_text())
    about["shards"][2]["missing"] = "\x1b[31mred\nand more"
    path.write_text(json.dumps(about))
    with Collection(folder) as rocks:
        assert rocks.missing == {"shard-00002.h5": r"\u001b[31mred and more"}


def test_keys_of_two_shards_that_are_the_same_are_told(folder, pictures):
    images, labels = pictures
    again = [str(key) for key in Collection(folder).keys[3:12]]
    with Collection.from_arrays(folder.parent / "b.h5", images[:9], None, again) as few:
        few.shard(folder.parent / "b", rows=9).close()
    shutil.copy(folder.parent / "b/shard-00000.h5", folder / "shard-00007.h5")
    manifest, other = (
        json.loads((path / "manifest.json").read_text())
        for path in (folder, folder.parent / "b")
    )
    manifest["shards"] += [other["shards"][0] | {"name": "shard-00007.h5"}]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with (
        Collection(folder) as rocks,
        pytest.raises(ValueError, match=f"{again[0]!r} stands in two shards"),
    ):
        rocks.position(again[0])


def test_workers_use_no_shard_that_was_swapped_meanwhile(rocks, folder):
    features = HOGFeatures().fit(rocks)
    with Collection(folder) as rocks:
        rocks.keys, rocks.labels  # noqa: B018
        shutil.copy(folder / "shard-00001.h5", folder / "shard-00003.h5")
        for use in (find_duplicates, lambda rocks: rocks.features(features)):
            with pytest.raises(ValueError, match=r"shard-00003\.h5.* is not the shard"):
                use(rocks)


def test_what_is_kept_of_a_shard_goes_with_it(rocks, folder):
    with Collection(folder, "r+") as many:
        many.features(HOGFeatures().fit(many))
        PairwiseModel(3, "cosine", HOGFeatures()).fit(many)
    own = folder / "shard-00009.h5.of.index"
    own.write_text("mine")
    kept = {path.name for path in folder.glob("*.h5.*")}
    assert len(kept) == 1 + 2 * 7
    (folder / "shard-00003.h5").unlink()
    rocks.shard(folder, rows=9).close()  # the same again
    assert {path.name for path in folder.glob("*.h5.*")} == kept
    rocks.shard(folder, rows=20).close()
    assert [path.name for path in folder.glob("*.h5.*")] == [own.name]


def test_a_second_writer_is_told_who_holds_the_folder(rocks, folder):
    with (
        locked(folder / "manifest.json"),
        pytest.raises(BlockingIOError, match="process"),
    ):
        rocks.shard(folder, rows=9)


def test_nothing_else_is_overwritten(rocks, tmp_path, capsys):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/a.txt").write_text("seen in 1931")
    with pytest.raises(ValueError, match=r"holds other files, such as 'a\.txt'"):
        rocks.shard(tmp_path / "notes")
    with pytest.raises(ValueError, match="is a file"):
        rocks.shard(tmp_path / "notes/a.txt")
    with pytest.raises(FileNotFoundError, match="has no manifest"):
        Collection(tmp_path / "notes")
    with pytest.raises(ValueError, match="is the collection itself"):
        rocks.merge(rocks.path)
    for write in (
        lambda: Collection.from_arrays(f"{tmp_path}/new/", rocks[:]),
        lambda: Collection.from_tiles(f"{tmp_path}/new/", tmp_path),
    ):
        with pytest.raises(ValueError, match=r"geoimages shard .*new\.h5 -o .*new/"):
            write()
    with pytest.raises(ValueError, match="rows=0"):
        rocks.shard(tmp_path / "new", rows=0)
    assert not (tmp_path / "new").exists()


def test_pictures_are_added_as_a_shard_of_their_own(rocks, rock_zip, tmp_path):
    new = write_rocks(tmp_path / "new.zip", 12, random_state=5)
    table = pd.DataFrame({"file": ["none"], "hole": ["BH3"], "m": [3.0]})
    with (
        rocks.merge(tmp_path / "a.h5") as one,
        rocks.shard(tmp_path / "a", rows=25) as many,
    ):
        first = many.files.paths[0].stat().st_mtime_ns
        for collection in (one, many):
            collection.add(new, rock_zip, metadata=table)
        assert np.diff(many.files.starts).tolist() == [25, 25, 10, 12]
        assert many.files.paths[0].stat().st_mtime_ns == first
        assert many.verify() == []
        pd.testing.assert_frame_equal(many.table, one.table)
        pd.testing.assert_frame_equal(many.ledger, one.ledger)
        assert (many.ledger["reason"] == "duplicate-key").sum() == 60
        np.testing.assert_array_equal(many[:], one[:])
        with pytest.raises(ValueError, match="is a new picture"):
            many.add(new)
        for collection in (one, many):
            collection.add(write_rocks(tmp_path / "more.zip", 60, random_state=6))
        assert np.diff(many.files.starts).tolist() == [25, 25, 10, 12, 25, 25, 10]
        pd.testing.assert_frame_equal(many.table, one.table)
        pd.testing.assert_frame_equal(many.ledger, one.ledger)
        assert not [path for path in many.path.iterdir() if path.name[0] == "."]


def test_workers_add_what_one_process_adds(rocks, draw, tmp_path):
    """Of several sources, with names that stand in two of them, damaged and too large."""
    sources = [tmp_path / "a", write_rocks(tmp_path / "b.zip", 12, random_state=5)]
    with zipfile.ZipFile(sources[1]) as archive:
        names = archive.namelist()
        for name in names[:2]:  # of other bytes, and not read
            target = tmp_path / "a" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(
                b"no picture" if name == names[0] else archive.read(name)
            )
    draw("a/marble/large.png", (50, 80))
    single = [draw("marble.one.png"), draw("c/schist/two.png")]
    sources += [shutil.copy(sources[1], tmp_path / "c.zip"), *single]
    table = pd.DataFrame({"file": names[:3], "hole": ["BH1", "BH2", "BH3"]})
    with rocks.merge(tmp_path / "rocks.h5") as one:
        one.add(*sources, metadata=table)
        refused = one.ledger[63:].query("status == 'refused'")["reason"]
        for n_jobs in (1, 2):
            with rocks.shard(tmp_path / f"{n_jobs}", rows=9) as many, workers(n_jobs):
                many.add(*sources, metadata=table)
                pd.testing.assert_frame_equal(many.table, one.table)
                pd.testing.assert_frame_equal(many.ledger, one.ledger)
                np.testing.assert_array_equal(many[:], one[:])
                assert many.verify() == []
    assert refused.value_counts().to_dict() == {
        "duplicate-key": 13,
        "not-a-picture": 1,
        "other-size": 1,
    }
    one, two = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in "12"
    )
    assert one == two


def test_an_addition_that_fails_leaves_the_folder_as_it_was(
    folder, tmp_path, monkeypatch
):
    def full(self, folder):
        raise OSError(28, "No space left on device")

    new = write_rocks(tmp_path / "new.zip", 12, random_state=5)
    with Collection(folder) as rocks:
        with monkeypatch.context() as patched:
            patched.setattr(Manifest, "write", full)
            with pytest.raises(OSError, match="No space left"):
                rocks.add(new)
        assert len(rocks) == len(rocks[:]) == 60
    (folder / ".shard-00007.h5.0123abcd.part").touch()  # of one that was killed
    with Collection(folder) as rocks:
        assert len(rocks) == 60
        rocks.add(new)
        assert not list(folder.glob(".*"))
        assert np.diff(rocks.files.starts).tolist() == [9] * 6 + [6, 9, 3]
        assert rocks.verify() == []
    assert len(list(folder.glob("*.h5"))) == 9


def test_duplicates_and_classes_do_not_depend_on_shards(pictures, tmp_path):
    images, labels = pictures
    images = np.concatenate([images, np.rot90(images[3:9], axes=(1, 2))])
    labels = [*labels, *labels[3:9]]
    model = ConvNetClassifier(max_epochs=2, random_state=0).fit(images, labels)
    with (
        Collection.from_arrays(tmp_path / "a.h5", images, labels) as one,
        threadpool_limits(1),  # as shards have; more sum in another order
    ):
        pairs = find_duplicates(one).pairs
        classes = classify_files(model, [one])
        assert len(pairs) >= 6
        for rows, n_jobs in ((50, 2), (17, 1)):
            with one.shard(tmp_path / "a", rows=rows) as many, workers(n_jobs):
                pd.testing.assert_frame_equal(
                    find_duplicates(many).pairs, pairs, check_exact=True
                )
                found = classify_files(model, [many.path])
                pd.testing.assert_frame_equal(found, classes, check_exact=True)
                assert found.attrs["missing"] == {}
        with Collection(tmp_path / "a") as many:
            shutil.copy(many.files.paths[1], many.files.paths[2])
            found = classify_files(model, [many])
            assert "is not the shard" in found.attrs["missing"]["shard-00002.h5"]
            assert len(found) == len(many) - many.files.shards[2].count


def test_there_and_back_in_the_shell(rocks, tmp_path, capsys):
    folder, file = str(tmp_path / "a"), str(tmp_path / "a.h5")
    assert main(["shard", str(rocks.path), "-o", folder, "--rows", "25"]) == 0
    assert main(["info", folder]) == main(["verify", folder]) == 0
    assert main(["shard", folder, "-o", file]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == f"60 pictures in {folder}, 3 shards"
    assert printed[-2:] == [f"{folder} is whole.", f"60 pictures in {file}"]
    with Collection(file) as again:
        np.testing.assert_array_equal(again[:], rocks[:])
