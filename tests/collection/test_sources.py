"""Folders and zips of pictures, listed and named."""

import os
import zipfile
from pathlib import PurePosixPath

import numpy as np
import pytest
from PIL import Image

from geoimages import Collection, Images, read_image
from geoimages.collection.lineage import lineage_of
from geoimages.collection.sampling import sample_groups
from geoimages.collection.sources import (
    is_picture_name,
    open_source,
    open_zip,
    picture_key,
)
from geoimages.pictures.reading import PICTURE_SUFFIXES


def make_zip(path, names):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, name)
    return path


def keys_of(folder, names):
    with open_source(make_zip(folder / "a.zip", names)) as source:
        return [entry.key for entry in source.entries]


NAMES = ["rocks/marble/A.jpg", "rocks/marble/B.png", "rocks/schist/A.jpg", "notes.txt"]


def test_zip_and_folder_list_the_same(tmp_path):
    archive = make_zip(tmp_path / "a.zip", NAMES)
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(tmp_path / "folder")
    with open_source(archive) as a, open_source(tmp_path / "folder") as b:
        assert a.entries == b.entries
        assert [entry.key for entry in a.entries] == [
            "notes",
            "marble.A",
            "marble.B",
            "schist.A",
        ]
        assert [entry.label for entry in a.entries] == [
            "",
            "marble",
            "marble",
            "schist",
        ]
        for source in (a, b):
            assert source.read(source.entries[1]) == b"rocks/marble/A.jpg"


def test_links_to_files_are_listed_and_to_folders_are_not(tmp_path):
    (tmp_path / "rocks/a/b").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    for name in ("rocks/a/b/x.jpg", "rocks/y.jpg", "elsewhere/z.jpg"):
        (tmp_path / name).write_text(name)
    links = {
        "rocks/a/z.jpg": "elsewhere/z.jpg",
        "rocks/more": "elsewhere",
        "rocks/a/all": "rocks",
        "rocks/gone.jpg": "nowhere.jpg",
        "rocks/itself.jpg": "rocks/itself.jpg",
    }
    for link, target in links.items():
        try:
            (tmp_path / link).symlink_to(tmp_path / target)
        except OSError:
            pytest.skip("this system lets nobody link")
    with open_source(tmp_path / "rocks") as source:
        paths = [entry.path for entry in source.entries]
        assert paths == ["a/b/x.jpg", "a/z.jpg", "y.jpg"]
        assert source.read(source.entries[1]) == b"elsewhere/z.jpg"


def test_pictures_of_one_key_are_told_apart_by_more_of_their_path(tmp_path):
    assert keys_of(
        tmp_path,
        ["a/marble/x.jpg", "b/marble/x.jpg", "b/marble/x.png", "b/marble/y.png"],
    ) == ["a.marble.x", "b.marble.x.jpg", "b.marble.x.png", "marble.y"]
    # What is no picture takes no name away, and unlike paths never share a key.
    assert keys_of(tmp_path, ["m/A.jpg", "m/A.json"]) == ["m.A", "m.A"]
    assert keys_of(tmp_path, ["a.b/c.jpg", "a/b.c.jpg"]) == ["a.b/c.jpg", "a/b.c.jpg"]


@pytest.mark.parametrize("prefix", ["", "core."])
def test_turned_copies_of_colliding_pictures_know_their_original(tmp_path, prefix):
    """Only the first hole has copies, and it needs more of its path all the same."""
    names = [f"BH{hole}/core/{prefix}0.jpg" for hole in (1, 2)]
    names += [f"BH1/core/{prefix}0.{turn}.jpg" for turn in (90, 180, 270)]
    keys = keys_of(tmp_path, names)
    assert "BH2.core.0" in keys
    assert len(set(keys)) == 5
    assert sorted(lineage_of(keys)) == ["BH1.core.0"] * 4 + ["BH2.core.0"]


def test_a_copy_of_another_folder_is_no_copy_of_a_namesake(tmp_path):
    keys = keys_of(tmp_path, ["marble/A.jpg", "x/marble/A.90.jpg", "x/marble/B.jpg"])
    assert sorted(keys) == ["marble.A", "marble.B", "x.marble.A.90"]


def test_copies_in_two_formats_know_their_original(tmp_path):
    names = ["m/m.A.jpg", *(f"m/m.A.90.{end}" for end in ("jpg", "PNG"))]
    keys = keys_of(tmp_path, names)
    assert sorted(keys) == ["m.A", "m.A.PNG.90", "m.A.jpg.90"]
    assert set(lineage_of(keys)) == {"m.A"}
    names = [f"m/A{turn}.{end}" for turn in ("", ".90") for end in ("jpg", "png")]
    keys = keys_of(tmp_path, names)
    assert sorted(lineage_of(keys)) == ["m.A.jpg"] * 2 + ["m.A.png"] * 2


def test_renamed_pictures_keep_their_key():
    assert picture_key("m/marble/marble.A.jpg") == picture_key("marble/A.jpg")
    assert picture_key("A.jpg") == ("A", "")
    assert picture_key("marble//./A.jpg/.") == ("marble.A", "marble")


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_are_read_whatever_their_names_and_packing(tmp_path, compression):
    names = ["a/é.jpg", "a/plain.jpg", "岩/x.jpg"]
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name in names:
            archive.writestr(name, name * 20)
    path.write_bytes(b"something before" + path.read_bytes())
    with open_source(path) as source:
        assert [entry.path for entry in source.entries] == sorted(names)
        for entry in source.entries:
            assert source.read(entry).decode() == entry.path * 20


def content_or_error(read, member):
    try:
        return read(member)
    except (zipfile.BadZipFile, RuntimeError, OSError) as error:
        return str(error.__cause__ or error)


@pytest.mark.parametrize("at", [0, 6, 26, 30, 42])
def test_a_damaged_member_is_read_as_zipfile_does(tmp_path, at):
    """The mark, flags, length of the name, name or content of a stored member."""
    path = make_zip(tmp_path / "a.zip", ["marble/a.jpg", "marble/b.jpg"])
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))
    with open_source(path) as source:
        first, second = source.entries
        with zipfile.ZipFile(path) as archive:
            expected = content_or_error(archive.read, first.path)
        assert content_or_error(source.read, first) == expected
        assert source.read(second) == b"marble/b.jpg"


@pytest.mark.parametrize(
    "path",
    [
        "a/b.jpg",
        "./a//b.JPG",
        "b.jpg",
        ".b.jpg",
        "a/.png",
        "a./b.",
        "a.b/c",
        "a/b..png",
    ],
)
def test_names_are_taken_apart_as_pathlib_does(path):
    expected = PurePosixPath(path)
    assert is_picture_name(path) == (
        expected.suffix.lower() in PICTURE_SUFFIXES and expected.name[0] != "."
    )
    key, label = picture_key(path)
    assert label == expected.parent.name
    assert key.removeprefix(f"{label}.") == expected.stem.removeprefix(f"{label}.")


@pytest.mark.parametrize(
    "name",
    [
        "../out.jpg",
        "a/../../out.jpg",
        "a\\..\\out.jpg",
        "a/..",
        "/etc/out.jpg",
        "\\out.jpg",
        "C:/x",
        "./C:x",
    ],
)
def test_a_zip_that_climbs_out_is_refused(tmp_path, name):
    path = make_zip(tmp_path / "a.zip", ["marble/a.jpg", name])
    with pytest.raises(ValueError, match="climbs out"):
        open_zip(path)


def test_dots_and_colons_within_a_name_do_not_climb(tmp_path):
    names = ["a..b/c...jpg", "a/12:30.jpg"]
    with open_zip(make_zip(tmp_path / "a.zip", names)) as archive:
        assert archive.namelist() == names


def test_no_zip_at_all(tmp_path):
    path = tmp_path / "a.zip"
    with pytest.raises(FileNotFoundError, match="No zip at"):
        open_zip(path)
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match="not a valid zip.*give a folder or a valid"):
        open_zip(path)
    with (
        pytest.raises(FileNotFoundError, match="No such folder or zip"),
        open_source(tmp_path / "nowhere"),
    ):
        pass


def test_samples_take_a_share_of_each_class_and_whole_groups():
    labels = ["a"] * 40 + ["b"] * 20 + ["c"]
    groups = [i // 4 for i in range(40)] + list(range(100, 121))
    chosen = sample_groups(labels, groups, 0.2, random_state=0)
    taken = [(labels[i], groups[i]) for i in np.flatnonzero(chosen)]
    assert len({g for label, g in taken if label == "a"}) == 2
    assert sum(label == "a" for label, _ in taken) == 8
    assert sum(label == "b" for label, _ in taken) == 4
    assert sum(label == "c" for label, _ in taken) == 1
    again = sample_groups(labels, groups, 0.2, random_state=0)
    np.testing.assert_array_equal(chosen, again)
    other = sample_groups(labels, groups, 0.2, random_state=1)
    assert (chosen != other).any()
    assert sample_groups(labels, groups, 1).all()


@pytest.mark.parametrize("share", [0, -0.1, 10])
def test_a_share_is_above_0_and_up_to_1(share):
    with pytest.raises(ValueError, match=r"share above 0 and up to 1, got"):
        sample_groups(["a"], [0], share)


def write_zip(path, data, compression=zipfile.ZIP_STORED, names="rocks/marble/{}.png"):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for i in range(4):
            archive.writestr(names.format(i), data)
    return path


def patch(path, mark, offset, value):
    """Overwrite bytes behind the first occurrence of a mark."""
    data = bytearray(path.read_bytes())
    at = data.find(mark) + offset
    data[at : at + len(value)] = value
    path.write_bytes(data)


@pytest.mark.parametrize(
    "compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_a_damaged_packed_member_costs_only_itself(draw, tmp_path, compression):
    data = draw("a.png").read_bytes()
    path = write_zip(tmp_path / "a.zip", data, compression)
    patch(path, b"PK\3\4", 70, bytes(range(60, 120)))
    with Collection.create(tmp_path / "a.h5", path) as rocks:
        assert len(rocks) == 3
        assert rocks.ledger["reason"].tolist() == ["damaged", "", "", ""]


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_size_that_lies_costs_only_its_member(draw, tmp_path, compression):
    data = draw("a.png").read_bytes()
    path = write_zip(tmp_path / "a.zip", data, compression)
    patch(path, b"PK\1\2", 24, b"\xf0\xff\xff\xff")
    with Collection.create(tmp_path / "a.h5", path) as rocks:
        assert rocks.ledger["reason"].tolist() == ["too-large", "", "", ""]
        assert "4,294,967,280 bytes are more than" in rocks.ledger["detail"][0]


def append(path, members):
    with zipfile.ZipFile(path, "a") as archive:
        for name, data in members:
            archive.writestr(name, data)


def test_names_of_members(draw, tmp_path):
    data = draw("a.png").read_bytes()
    path = write_zip(tmp_path / "a.zip", data, names="site:3\\marble\\{}.png")
    again = [draw(f"{i}.png", seed=i).read_bytes() for i in (1, 2)]
    name = "site:3/marble/3.png"
    with pytest.warns(UserWarning, match="Duplicate name"):
        append(path, [("NO NAME AT ALL", b""), *((name, data) for data in again)])
    # zipfile cuts a name at its NUL.
    path.write_bytes(path.read_bytes().replace(b"NO NAME", b"\0O NAME"))
    with Collection.create(tmp_path / "a.h5", path) as rocks:
        assert set(rocks.labels) == {"marble"}
        assert len(rocks) == 4
        np.testing.assert_array_equal(rocks["marble.3"], read_image(again[1]))
        hidden = rocks.ledger.query("reason == 'duplicate-name'")
        assert hidden["path"].tolist() == ["site:3/marble/3.png"] * 2
        assert len(rocks.ledger) == 7
    images = Images(tmp_path / "images")
    images.unzip_images(path)
    assert (tmp_path / "images/site:3/marble/0.png").is_file()


def test_an_encrypted_zip_is_called_so(draw, tmp_path):
    path = write_zip(tmp_path / "a.zip", draw("a.png").read_bytes())
    data = path.read_bytes()
    for mark, offset in ((b"PK\1\2", 8), (b"PK\3\4", 6)):
        parts = data.split(mark)
        data = mark.join(
            [parts[0], *(p[: offset - 4] + b"\1" + p[offset - 3 :] for p in parts[1:])]
        )
    path.write_bytes(data)
    with pytest.raises(ValueError, match="4 encrypted; the last: the zip asks"):
        Collection.create(tmp_path / "a.h5", path)


def rows_of(rocks):
    """The ledger as {path: reason}, one row for each file that is there."""
    ledger = rocks.ledger
    assert set(ledger["status"]) <= {"kept", "refused"}
    assert (ledger["status"] == "kept").sum() == len(rocks)
    return sorted(zip(ledger["path"], ledger["reason"], strict=True))


def test_every_member_of_a_zip_has_its_row(draw, tmp_path):
    data = draw("a.png").read_bytes()
    inner = write_zip(tmp_path / "inner.zip", data).read_bytes()
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("a/1.png", "a/torn.png", "a/locked.png", "a/huge.png"):
            archive.writestr(name, data)
        archive.writestr("inner.zip", inner)
        archive.writestr("a/notes.txt", "notes")
    with zipfile.ZipFile(path) as archive:
        at = {m.filename: m.header_offset for m in archive.infolist()}
    patch(path, b"a/torn.png", 30, bytes(20))
    content = path.read_bytes()
    locked = content.rindex(b"a/locked.png") - 46  # in the directory
    huge = content.rindex(b"a/huge.png") - 46
    content = bytearray(content)
    content[locked + 8] |= 1
    content[huge + 24 : huge + 28] = b"\xf0\xff\xff\xff"
    path.write_bytes(content)
    with Collection.create(tmp_path / "a.h5", path) as rocks:
        assert rows_of(rocks) == [
            ("a/1.png", ""),
            ("a/huge.png", "too-large"),
            ("a/locked.png", "encrypted"),
            ("a/notes.txt", "not-a-picture"),
            ("a/torn.png", "damaged"),
            ("inner.zip", "nested-archive"),
        ]
    assert len(at) == 6


def test_every_file_of_a_folder_has_its_row(draw, tmp_path, monkeypatch):
    draw("rocks/a/1.png")
    draw("elsewhere/2.png")
    (tmp_path / "rocks/closed").mkdir()
    (tmp_path / "rocks/gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "rocks/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "rocks/file.png").symlink_to(tmp_path / "elsewhere/2.png")
    scan = os.scandir

    def scandir(folder):
        if str(folder).endswith("closed"):
            raise PermissionError(13, "Permission denied", folder)
        return scan(folder)

    monkeypatch.setattr("geoimages.collection.sources.os.scandir", scandir)
    with Collection.create(tmp_path / "a.h5", tmp_path / "rocks") as rocks:
        assert rows_of(rocks) == [
            ("a/1.png", ""),
            ("closed/", "unreadable"),
            ("file.png", ""),
            ("gone.png", "missing"),
            ("link", "linked-folder"),
        ]


@pytest.mark.parametrize(
    ("mode", "dtype", "most", "scaling"),
    [
        ("I;16", np.uint16, 65535, "0-65535 to 0-255"),
        ("I", np.int32, 65535, "0-65535 to 0-255"),
        ("F", np.float32, 1, "0-1 to 0-255"),
        ("L", np.uint8, 255, ""),
    ],
)
def test_the_ledger_says_how_values_become_8_bits(tmp_path, mode, dtype, most, scaling):
    (tmp_path / "a").mkdir()
    values = np.linspace(0, most, 256).reshape(16, 16).astype(dtype)
    Image.fromarray(values).save(tmp_path / "a/1.tif")
    with Collection.create(tmp_path / "a.h5", tmp_path / "a") as rocks:
        assert rocks.ledger["mode"].tolist() == [mode]
        assert rocks.ledger["scaling"].tolist() == [scaling]
        assert np.array_equal(rocks[0][..., 0].ravel(), np.arange(256))
