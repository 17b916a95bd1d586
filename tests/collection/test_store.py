"""Collection: one pass from files to an .h5 file that accounts for every one."""

import hashlib
import os
import signal
import struct
import subprocess
import sys
import zipfile

import h5py
import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import FunctionTransformer

from geoimages import (
    Collection,
    ImageReadError,
    Labels,
    read_image,
    write_rocks,
)
from geoimages.collection.selection import Range, parse_condition
from geoimages.collection.tables import Metadata
from geoimages.collection.writing import Writer
from geoimages.files import QuietFile
from geoimages.pictures.resizing import resize_image


def test_the_zip_becomes_a_collection(rocks, rock_zip):
    assert len(rocks) == 60
    assert rocks.image_shape == (28, 28, 3)
    assert rocks.images.dtype == np.uint8
    assert rocks.images.chunks is None  # in one piece
    assert sorted(rocks.classes) == list(rocks.classes)
    assert len(rocks.classes) == 6
    with zipfile.ZipFile(rock_zip) as archive:
        for key in rocks.keys[::7]:
            source = rocks.table.loc[key, "source"]
            data = archive.read(source)
            np.testing.assert_array_equal(rocks[key], read_image(data))
            assert rocks.table.loc[key, "sha256"] == hashlib.sha256(data).hexdigest()


def test_the_ledger_has_a_row_for_every_file(rocks, rock_zip):
    ledger = rocks.ledger
    with zipfile.ZipFile(rock_zip) as archive:
        files = sorted(i.filename for i in archive.infolist() if not i.is_dir())
    assert ledger["path"].tolist() == files
    assert ledger["status"].value_counts().to_dict() == {"kept": 60, "refused": 3}
    assert (ledger["reason"][ledger["status"] == "refused"] != "").all()
    assert (ledger["reason"][ledger["status"] == "kept"] == "").all()
    rows = rocks.table["ledger_row"]
    assert ledger.loc[rows, "path"].tolist() == rocks.table["source"].tolist()
    kept = ledger[ledger["status"] == "kept"]
    assert set(kept["mode"]) == {"RGB"}
    assert set(kept["bit_depth"]) == {8}
    assert set(kept["width"]) == {28}


@pytest.fixture
def everything(draw):
    """A folder with pictures of many kinds, damaged ones and other files."""
    path = write_rocks(draw("rocks/x.png").parent / "a.zip", 60, n_damaged=9)
    with zipfile.ZipFile(path) as archive:
        archive.extractall(path.parent)
    path.unlink()
    for i in range(20):
        draw(f"rocks/other/{i}.jpg", quality=30, seed=i)
    for i in range(3):
        draw(f"rocks/other/{i}.png", channels=3 + i % 2, seed=i)
        draw(f"rocks/other/wide{i}.jpg", size=(28, 40), seed=i)
    (path.parent / "other/note.txt").write_text("seen in 1931")
    (path.parent / "other/empty.jpg").write_text("")
    return path.parent


def read_or_reason(data):
    try:
        return read_image(data), ""
    except ImageReadError as error:
        return None, error.reason


@pytest.mark.parametrize("options", [{}, {"size": (28, 28)}, {"sample": 0.7}])
def test_each_file_is_accounted_for_as_if_read_alone(everything, tmp_path, options):
    sized = "size" in options
    with Collection.create(
        tmp_path / "a.h5", everything, random_state=0, **options
    ) as rocks:
        ledger = rocks.ledger
        images = dict(zip(rocks.table["source"], rocks, strict=True))
    assert sorted(ledger["path"]) == list(ledger["path"])
    assert len(ledger) == sum(path.is_file() for path in everything.rglob("*"))
    for row in ledger.itertuples():
        path = everything / row.path
        if row.status == "skipped":
            assert "sample" in options
            assert row.reason == "not-sampled"
            continue
        if row.reason == "not-a-picture" and row.detail == "by its name":
            assert path.suffix == ".txt"
            continue
        data = path.read_bytes()
        assert row.sha256 == hashlib.sha256(data).hexdigest()
        assert row.size == len(data)
        image, reason = read_or_reason(data)
        if image is None:
            assert (row.status, row.reason) == ("refused", reason)
            continue
        if image.shape != (28, 28, 3) and not sized:
            assert (row.status, row.reason) == ("refused", "other-size")
            continue
        assert (row.status, row.reason) == ("kept", "")
        image = resize_image(image, (28, 28), "crop")
        np.testing.assert_array_equal(images[row.path], image)
    kept = ledger["status"] == "kept"
    assert list(images) == ledger["path"][kept].tolist()
    assert kept.sum() == len(images) > 50


def test_file_names_that_are_no_text_are_spelled_out(draw, tmp_path):
    path = draw("rocks/a/x.png")
    name = os.fsdecode(b"\xe9.png")  # é, in the code page of old
    try:
        path.rename(path.with_name(name))
    except OSError:
        pytest.skip("this system knows no such names")
    draw("rocks/a/é.png")
    with Collection.create(tmp_path / "a.h5", tmp_path / "rocks") as rocks:
        assert sorted(rocks.keys) == ["a.\\udce9", "a.é"]
        assert rocks.ledger["path"].tolist() == ["a/é.png", "a/\\udce9.png"]


@pytest.mark.parametrize("length", [20, 1_000])
def test_texts_of_any_length_are_kept(tmp_path, length):
    keys = [str(i) for i in range(100)]
    keys[50] = "é" * length
    images = np.zeros((100, 2, 2, 3), np.uint8)
    path = tmp_path / "a.h5"
    with Collection.from_arrays(path, images, labels=keys, keys=keys) as rocks:
        assert rocks.keys.tolist() == rocks.labels.tolist() == keys
    assert path.stat().st_size < 1_000_000  # one long text makes no other long


def test_reading_by_position_slice_mask_and_key(rocks):
    every = rocks[:]
    assert every.shape == (60, 28, 28, 3)
    mask = rocks.labels == "marble"
    np.testing.assert_array_equal(rocks[7], every[7])
    np.testing.assert_array_equal(rocks[-1], every[-1])
    np.testing.assert_array_equal(rocks[5:50:9], every[5:50:9])
    np.testing.assert_array_equal(rocks[::-1], every[::-1])
    np.testing.assert_array_equal(rocks[[9, 2, 2, 59]], every[[9, 2, 2, 59]])
    np.testing.assert_array_equal(rocks[mask], every[mask])
    np.testing.assert_array_equal(rocks[[]], every[:0])
    np.testing.assert_array_equal(rocks[rocks.keys[4]], every[4])
    np.testing.assert_array_equal(rocks[list(rocks.keys[[4, 1]])], every[[4, 1]])
    np.testing.assert_array_equal(list(rocks), every)
    with pytest.raises(KeyError, match=r"'granite\.1' is not a key of rocks\.h5"):
        rocks["granite.1"]
    with pytest.raises(IndexError):
        rocks[60]


def test_frames_and_arrays(rocks):
    frame = rocks.to_frame()
    assert frame.shape == (60, 2352)
    assert frame.index.name == "key"
    assert set(frame.dtypes) == {np.dtype(np.float32)}
    small = rocks.to_frame("uint8", [3, 1])
    assert list(small.index) == list(rocks.keys[[3, 1]])
    np.testing.assert_allclose(small / 255, frame.iloc[[3, 1]], rtol=1e-6)
    x, y = rocks.x_y()
    np.testing.assert_array_equal(x.reshape(60, -1) / np.float32(255), frame)
    np.testing.assert_array_equal(y, rocks.labels)
    with pytest.raises(ValueError, match="'float32' or 'uint8'"):
        rocks.to_frame("float64")


def test_turned_copies_know_their_original(rock_zip, tmp_path):
    with Collection.create(tmp_path / "a.h5", rock_zip, rotate=True) as rocks:
        assert len(rocks) == 240
        key = rocks.keys[0]
        for turn in (90, 180, 270):
            np.testing.assert_array_equal(
                rocks[f"{key}.{turn}"], np.rot90(rocks[key], turn // 90)
            )
            assert rocks.table.loc[f"{key}.{turn}", "turn"] == turn
        assert (rocks.table["lineage"].value_counts() == 4).all()
        assert len(rocks.ledger) == 63
    with pytest.raises(ValueError, match="give a square size"):
        Collection.create(tmp_path / "b.h5", rock_zip, rotate=True, size=(20, 30))


def test_samples_are_seeded_and_accounted_for(rock_zip, tmp_path):
    keys = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        path = tmp_path / f"{name}.h5"
        with Collection.create(path, rock_zip, sample=0.3, random_state=seed) as rocks:
            keys.append(rocks.keys.tolist())
            counts = pd.Series(rocks.labels).value_counts()
            assert counts.between(2, 4).all()
            status = rocks.ledger["status"].value_counts()
            assert status["kept"] == len(rocks)
            assert status.sum() == 63
            skipped = rocks.ledger[rocks.ledger["status"] == "skipped"]
            assert set(skipped["reason"]) == {"not-sampled"}
    assert keys[0] == keys[1] != keys[2]


def test_only_pictures_are_sampled(draw, tmp_path):
    for i in range(10):
        draw(f"rocks/a/{i}.png", seed=i)
        (tmp_path / f"rocks/a/{i}.txt").write_text("note")
    for seed in range(5):
        with Collection.create(
            tmp_path / "a.h5", tmp_path / "rocks", sample=0.5, random_state=seed
        ) as rocks:
            assert len(rocks) == 5
            counts = rocks.ledger["reason"].value_counts().to_dict()
            assert counts == {"": 5, "not-sampled": 5, "not-a-picture": 10}


def test_copies_that_the_source_holds_are_not_made_again(draw, tmp_path):
    for name in ("a.X", "a.X.90", "a.Y"):
        draw(f"rocks/a/{name}.png")
    with Collection.create(tmp_path / "a.h5", tmp_path / "rocks", rotate=True) as rocks:
        assert len(rocks) == len(set(rocks.keys)) == 8
        assert set(rocks.table["lineage"]) == {"a.X", "a.Y"}


def test_drill_holes_that_share_file_names_keep_their_lineage(draw, tmp_path):
    for i, hole in enumerate(("BH1", "BH2")):
        draw(f"rocks/{hole}/core/0.jpg", seed=i)
    with Collection.create(tmp_path / "a.h5", tmp_path / "rocks", rotate=True) as rocks:
        lineage = rocks.table["lineage"].value_counts().to_dict()
        assert lineage == {"BH1.core.0": 4, "BH2.core.0": 4}


@pytest.fixture
def mixed(draw):
    """Five squares, two wide pictures and a note, in one class folder."""
    for i in range(5):
        draw(f"rocks/marble/s{i}.png", seed=i)
    for i in range(2):
        draw(f"rocks/marble/w{i}.png", size=(28, 90), seed=i)
    path = draw("rocks/marble/s0.png")
    (path.parent / "note.txt").write_text("seen in 1931")
    (path.parent / ".DS_Store.png").write_text("")
    return path.parent.parent


def test_without_a_size_the_most_common_is_kept(mixed, tmp_path):
    with Collection.create(tmp_path / "a.h5", mixed) as rocks:
        assert len(rocks) == 5
        reasons = rocks.ledger.set_index("path")["reason"]
        assert reasons["marble/w0.png"] == "other-size"
        assert reasons["marble/note.txt"] == "not-a-picture"
        assert reasons["marble/.DS_Store.png"] == "not-a-picture"
        assert len(reasons) == 9
        hint = "refused as other-size: 2 (--size H W brings all to one size)"
        assert hint in rocks.summary()


@pytest.mark.parametrize("alpha", [False, True])
def test_sizes_that_all_differ_are_brought_to_one(draw, tmp_path, alpha):
    for i in range(25):
        draw(f"rocks/marble/{i}.jpg", size=(300 + 7 * i, 400 + i), seed=i)
    with Collection.create(tmp_path / "a.h5", tmp_path / "rocks", alpha=alpha) as rocks:
        assert len(rocks) == 25
        assert rocks.image_shape == (224, 224, 3 + alpha)
        said = rocks.summary()
        assert "25 brought to this size by crop: 25 sizes among 25 looked at" in said
        assert "--size H W takes another" in said
        assert ("--fit pad keeps the whole" in said) == alpha
        picture = rocks.read(tmp_path / "rocks/marble/3.jpg")
        np.testing.assert_array_equal(picture, rocks["marble.3"])
    for width in (30, 34, 60):
        draw(f"small/marble/{width}.png", size=(40, width))
    with Collection.create(tmp_path / "b.h5", tmp_path / "small") as rocks:
        assert rocks.image_shape == (34, 34, 3)


@pytest.mark.parametrize(
    ("n_shale", "n_sand", "side", "why"),
    [
        (5, 5, 70, "2 sizes among 10 looked at"),
        (3, 5, 80, "no picture looked at of shale is 80 × 80"),
        (1, 249, 80, "no picture looked at of shale is 80 × 80"),
    ],
)
def test_no_class_is_lost_to_the_size_of_others(
    draw, tmp_path, n_shale, n_sand, side, why
):
    for name, n, size in (("sand", n_sand, 80), ("shale", n_shale, 60)):
        for i in range(n):
            draw(f"rocks/{name}/{i:03}.png", size=(size, size), seed=i)
    with Collection.create(tmp_path / "a.h5", tmp_path / "rocks") as rocks:
        assert len(rocks) == n_shale + n_sand
        assert rocks.image_shape == (side, side, 3)
        assert why in rocks.summary()
        assert "--size H W takes another" in rocks.summary()
    draw("rocks/shale/0.png", size=(80, 80))
    if n_shale < n_sand:  # now only some of a class are exceptions
        with Collection.create(tmp_path / "b.h5", tmp_path / "rocks") as rocks:
            assert len(rocks) == n_sand + 1
            assert f"refused as other-size: {n_shale}" in rocks.summary()


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_with_a_size_all_are_brought_to_it(mixed, tmp_path, fit):
    with Collection.create(tmp_path / "a.h5", mixed, size=(28, 28), fit=fit) as rocks:
        assert len(rocks) == 7
        assert rocks.image_shape == (28, 28, 4 if fit == "pad" else 3)
        fits = rocks.ledger.set_index("path")["fit"]
        assert fits["marble/w0.png"] == fit
        assert fits["marble/s0.png"] == ""
        if fit == "pad":
            assert (rocks["marble.s0"][..., 3] == 255).all()
            assert 0 < (rocks["marble.w0"][..., 3] > 127).mean() < 0.5
        assert rocks.read(mixed / "marble/w1.png").shape == rocks.image_shape
        assert f"brought to this size by {fit}" in rocks.summary()


@pytest.mark.parametrize("sized", [False, True])
def test_the_cap_on_pixels_can_be_set(draw, tmp_path, sized):
    draw("rocks/a/small.jpg")
    folder = draw("rocks/a/large.jpg", size=(100, 100)).parent.parent
    size = (28, 28) if sized else None
    with Collection.create(
        tmp_path / "a.h5", folder, size=size, max_pixels=9_999
    ) as rocks:
        assert rocks.keys.tolist() == ["a.small"]
        refused = rocks.ledger.query("status == 'refused'").iloc[0]
    assert (refused["path"], refused["reason"]) == ("a/large.jpg", "too-large")
    assert refused["width"] == 100


def test_masks_are_kept_and_empty_ones_refused(draw, tmp_path):
    draw("rocks/a/plain.png")
    draw("rocks/a/masked.png", channels=4)
    from PIL import Image

    Image.new("RGBA", (28, 28)).save(tmp_path / "rocks/a/empty.png")
    with Collection.create(tmp_path / "a.h5", tmp_path / "rocks", alpha=True) as rocks:
        assert rocks.image_shape == (28, 28, 4)
        assert (rocks["a.plain"][..., 3] == 255).all()
        assert rocks["a.masked"][..., 3].std() > 0
        reasons = rocks.ledger.set_index("path")["reason"]
        assert reasons["a/empty.png"] == "empty-mask"


def test_metadata_is_joined_by_path_name_or_key(draw, tmp_path):
    for name in ("rocks/a/x.png", "rocks/a/y.png", "rocks/b/z.png", "rocks/b/x.png"):
        draw(name)
    table = tmp_path / "table.csv"
    table.write_text(
        "file,label,hole,depth_from,note/2\n"
        "a/x.png,slate,BH12,1.5,ok\n"
        "y,,BH12,2.5,\n"
        "b.z,,BH13,,fine\n"
        "x.png,,BH99,9,two of them\n"
        "gone.png,,BH99,9,\n"
    )
    with Collection.create(
        tmp_path / "a.h5", tmp_path / "rocks", metadata=table
    ) as rocks:
        about = rocks.table
        assert about.loc["a.x", "label"] == "slate"
        assert about.loc["a.y", "label"] == "a"
        assert about.loc["a.y", ["hole", "depth_from"]].tolist() == ["BH12", 2.5]
        assert about.loc["b.z", "hole"] == "BH13"
        assert np.isnan(about.loc["b.z", "depth_from"])
        assert about.loc["b.z", "note/2"] == "fine"
        assert about.loc["b.x", "hole"] == ""
        assert rocks.unmatched == ["x.png", "gone.png"]
        assert (
            "2 rows of the metadata fit no picture: x.png, gone.png" in rocks.summary()
        )
        assert rocks.keys[rocks.where(hole="BH12")].tolist() == ["a.x", "a.y"]
        assert rocks.keys[rocks.where(depth_from="2.5")].tolist() == ["a.y"]
        with pytest.raises(KeyError, match="No column 'bore'; there are label"):
            rocks.where(bore="BH12")
        with pytest.raises(ValueError, match="holds numbers, got 'deep'"):
            rocks.where(depth_from="deep")
    frame = pd.read_csv(table)
    with Collection.create(
        tmp_path / "b.h5", tmp_path / "rocks", metadata=frame
    ) as rocks:
        pd.testing.assert_frame_equal(rocks.table, about)
    table.write_text("hole,depth\nBH12,3\n")
    with pytest.raises(ValueError, match="columns hole, depth; one named 'file'"):
        Collection.create(tmp_path / "c.h5", tmp_path / "rocks", metadata=table)


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
def test_separators_of_a_table_are_found_and_a_column_gives_the_labels(
    draw, tmp_path, mark
):
    for name in "xyz":
        draw(f"rocks/a/{name}.png")
    depth = "1,5" if mark == ";" else "1.5"
    table = tmp_path / "table.csv"
    lines = ["file|sub_category|depth", f"x|slate|{depth}", "y|schist|2", "z||"]
    text = "\n".join(lines).replace("|", mark)
    table.write_text(text, encoding="utf-8-sig")
    with Collection.create(
        tmp_path / "a.h5", tmp_path / "rocks", metadata=table, label="sub_category"
    ) as rocks:
        assert rocks.labels.tolist() == ["slate", "schist", "a"]
        assert "sub_category" not in rocks.table
        assert rocks.table["depth"].tolist()[:2] == [1.5, 2]
        said = rocks.summary()
        assert "classes by the column 'sub_category' of the metadata; of " in said
        assert "pictures without a value there, 1 keep the name of their folder" in said
        assert "depth: numbers, 1.5 to 2" in said
        assert "file: 3 values" in said
    with Collection.create(
        tmp_path / "b.h5", tmp_path / "rocks", metadata=table
    ) as rocks:
        assert "hold no column 'label' (--label names another)" in rocks.summary()
    with pytest.raises(ValueError, match="'kind' is no column .* file, sub_category"):
        Collection.create(
            tmp_path / "c.h5", tmp_path / "rocks", metadata=table, label="kind"
        )
    with pytest.raises(ValueError, match="names a column .* table .--metadata CSV"):
        Collection.create(tmp_path / "c.h5", tmp_path / "rocks", label="kind")


def test_a_table_of_classes_names_pictures(draw, tmp_path):
    for name in ("a/x.png", "a/y.png", "z.png"):
        draw(f"rocks/{name}")
    frame = pd.DataFrame({"file": ["IMG 1", "IMG 2"], "rock": ["shale", "sand"]})
    path = tmp_path / "a.h5"
    message = "None of the 2 rows .* 'file', such as 'IMG 1'; expected .* 'a/x.png' or"
    with pytest.raises(ValueError, match=message):
        Collection.create(path, tmp_path / "rocks", metadata=frame, label="rock")
    assert not path.exists()
    with Collection.create(path, tmp_path / "rocks", metadata=frame) as rocks:
        assert rocks.unmatched == ["IMG 1", "IMG 2"]
    frame.loc[0, "file"] = "y"
    with Collection.create(
        path, tmp_path / "rocks", metadata=frame, label="rock"
    ) as rocks:
        assert rocks.labels.tolist() == ["a", "shale", ""]
        kept = "1 keep the name of their folder, 1 have no class"
        assert kept in rocks.summary()
    frame["file"] = ["x", "y"]
    frame.loc[2] = "z", "marl"
    with Collection.create(
        path, tmp_path / "rocks", metadata=frame, label="rock"
    ) as rocks:
        assert rocks.labels.tolist() == ["shale", "sand", "marl"]
        assert "keep the name" not in rocks.summary()


@pytest.mark.parametrize(
    "pattern", ["{kind}_{number}", "{hole}-{kind}_{number}", r"^(?:BH\d-)?(\w+?)_\d+$"]
)
def test_labels_are_read_from_the_names_of_files(draw, tmp_path, pattern):
    first = "BH1-" if "hole" in pattern else ""
    for name in ("granite_1", "granite_22", "gneiss_3", "gneiss_3.90"):
        draw(f"rocks/photos/{first}{name}.png")
    draw("rocks/photos/other.png")
    with Collection.create(
        tmp_path / "a.h5", tmp_path / "rocks", label_from=pattern
    ) as rocks:
        assert {"granite", "gneiss"} <= set(rocks.labels) <= {"granite", "gneiss", ""}
        assert rocks.labels[rocks.position(f"photos.{first}granite_22")] == "granite"
        assert rocks.labels[rocks.position("photos.other")] == ""
        assert "classes as the files are named" in rocks.summary()
        assert "1 of 5 names do not fit" in rocks.summary()
    for wrong, message in (
        ("{kind}#{number}", "fits no name, such as"),
        ("(", "neither a template"),
        ("rock", "no field such as"),
        ("granite_{number}", "which part is the class; name that part {kind} "),
    ):
        with pytest.raises(ValueError, match=message):
            Collection.create(tmp_path / "b.h5", tmp_path / "rocks", label_from=wrong)


def test_where_takes_ranges_and_intervals(draw, tmp_path):
    frame = pd.DataFrame(
        {
            "file": list("wxyz"),
            "mm": [1, 2.5, 4, None],
            "depth_from": [0, 10, 14, 20.0],
            "depth_to": [10, 14, 20, 30.0],
            "hole": ["1", "2", "3", "10..14"],
        }
    )
    for name in frame["file"]:
        draw(f"rocks/a/{name}.png")
    with Collection.create(
        tmp_path / "a.h5", tmp_path / "rocks", metadata=frame
    ) as rocks:
        for where, expected in (
            ({"mm": "2..4"}, "xy"),
            ({"mm": ">2.5"}, "y"),
            ({"mm": ">=2.5"}, "xy"),
            ({"mm": "..2.5"}, "wx"),
            ({"mm": ["<2", "4"]}, "wy"),
            ({"mm": 2.5}, "x"),
            ({"depth": "11..12"}, "x"),
            ({"depth": "14"}, "xy"),
            ({"depth": ">14"}, "yz"),
            ({"depth": "<10"}, "w"),
            ({"hole": "10..14"}, "z"),
            ({"hole": ["1", 2]}, "wx"),
        ):
            found = rocks.keys[rocks.where(**where)]
            assert [key[-1] for key in found] == list(expected), where
        with pytest.raises(ValueError, match="'depth' holds numbers, got 'deep'"):
            rocks.where(depth="deep")
        with pytest.raises(ValueError, match="14..10 is reversed.* write 10..14"):
            rocks.where(depth="14..10")
        with pytest.raises(ValueError, match="holds text, which has no range >3"):
            rocks.where(hole=Range(">3"))
    assert parse_condition("depth>12")[1].low == 12
    assert parse_condition("hole=a=b") == ("hole", "a=b")
    both = Range(">12") & Range("<=20")
    assert str(both) == ">12 and <=20"
    assert both.overlap(np.array([12, 13, 21]), np.array([12, 13, 21])).tolist() == [
        False,
        True,
        False,
    ]
    for text in ("depth", "=3", "depth>deep"):
        with pytest.raises(ValueError, match="is n"):
            parse_condition(text)


def test_names_and_truth_values_of_a_table_stay_text(draw, tmp_path):
    for name in ("000", "001", "1"):
        draw(f"rocks/a/{name}.png")
    path = tmp_path / "table.csv"
    path.write_text(
        "file,hole,ok,depth,box,id\n"
        "000,007,True,1.5,1,12345678901234567890\n"
        "001,012,False,,2,12345678901234567891\n"
    )
    bools = pd.DataFrame({"file": ["000", "001"], "ok": [True, False]})
    with Collection.create(
        tmp_path / "a.h5", tmp_path / "rocks", metadata=path
    ) as rocks:
        assert rocks.unmatched == []
        table = rocks.table.loc[["a.000", "a.001", "a.1"]]
        assert table["hole"].tolist() == ["007", "012", ""]
        assert table["ok"].tolist() == ["True", "False", ""]
        assert table["id"].tolist()[0] == "12345678901234567890"
        assert table["depth"].dtype == table["box"].dtype == np.float64
        assert rocks.keys[rocks.where(hole="007", ok="True")].tolist() == ["a.000"]
        assert len(rocks.where(hole=["007", "012"])) == 2
        assert len(rocks.where(box=["1", 2], ok="False")) == 1
    with Collection.create(
        tmp_path / "b.h5", tmp_path / "rocks", metadata=bools
    ) as rocks:
        assert rocks.keys[rocks.where(ok="True")].tolist() == ["a.000"]


def test_columns_of_a_table_hide_none_of_the_collection(draw, tmp_path):
    draw("rocks/a/x.png")
    names = ["source", "sha256", "ledger_row", "turn", "lineage", "similarity"]
    frame = pd.DataFrame({"key": ["a.x"]} | {name: ["mine"] for name in names})
    frame["source_metadata"] = "theirs"
    with Collection.create(
        tmp_path / "a.h5", tmp_path / "rocks", metadata=frame
    ) as rocks:
        row = rocks.table.loc["a.x"]
        assert row["source"] == "a/x.png"
        assert row["lineage"] == "a.x"
        assert [row[f"{name}_metadata"] for name in names] == ["mine"] * 6
        assert row["source_metadata_metadata"] == "theirs"
        assert "key" not in row


def test_of_several_rows_for_one_picture_the_first_counts(draw, tmp_path):
    draw("rocks/a/x.png")
    frame = pd.DataFrame({"file": ["x.png", "a.x", "x"], "hole": ["A", "B", "C"]})
    with Collection.create(
        tmp_path / "a.h5", tmp_path / "rocks", metadata=frame
    ) as rocks:
        assert rocks.table.loc["a.x", "hole"] == "A"
        assert rocks.unmatched == ["a.x", "x"]


def test_from_arrays(pictures, tmp_path):
    images, labels = pictures
    rocks = Collection.from_arrays(tmp_path / "a.h5", images, labels)
    np.testing.assert_array_equal(rocks[:], images)
    np.testing.assert_array_equal(rocks.labels, labels)
    assert rocks.keys[3] == f"{labels[3]}.3"
    named = Collection.from_arrays(
        tmp_path / "b.h5", images[:2], keys=["a.B", "a.B.90"]
    )
    assert named.keys.tolist() == ["a.B", "a.B.90"]
    assert named.table["turn"].tolist() == [0, 90]
    assert len(named.classes) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((2, 4, 4, 3))}, "must be uint8"),
        ({"images": np.zeros((4, 4, 3), np.uint8)}, "must be uint8"),
        ({"labels": ["a"]}, "2 pictures need as many labels and keys, got 1 and 1"),
        ({"keys": ["a", "a"]}, "keys must be unique"),
        ({"images": np.zeros((0, 4, 4, 3), np.uint8)}, "holds no pictures"),
        ({"images": np.zeros((2, 4, 4, 4), np.uint8)}, "mask of '0' is empty"),
    ],
)
def test_from_arrays_of_the_wrong_kind(tmp_path, change, message):
    given = {"images": np.zeros((2, 4, 4, 3), np.uint8)} | change
    with pytest.raises(ValueError, match=message):
        Collection.from_arrays(tmp_path / "a.h5", **given)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("encoding", ["one-hot", "numbers", "text", "one row"])
@pytest.mark.parametrize("scale", ["uint8", "0-255", "0-1"])
def test_the_layout_of_the_proof_of_concept_opens(pictures, tmp_path, encoding, scale):
    images, labels = pictures
    onehot, classes = Labels.categorical_to_onehot(labels)
    y = {
        "one-hot": onehot,
        "numbers": onehot.argmax(axis=1)[:, None],
        "text": labels.astype("S"),
        "one row": onehot.argmax(axis=1)[:, None],
    }[encoding]
    rows = (lambda y: y.T) if encoding == "one row" else (lambda y: y)
    x = {"uint8": images, "0-255": images.astype(float), "0-1": images / 255}[scale]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for part, where in (
            ("Train", slice(0, 80)),
            ("Dev", slice(80, 100)),
            ("Test", slice(100, 120)),
        ):
            file[f"X_{part}_Orig"] = x[where]
            file[f"Y_{part}_Orig"] = rows(y[where])
        file["classes"] = classes.astype("S")
    rocks = Collection(tmp_path / "a.h5")
    np.testing.assert_array_equal(rocks[:], images)
    np.testing.assert_array_equal(rocks[[119, 5, 90]], images[[119, 5, 90]])
    np.testing.assert_array_equal(rocks.images[70:110], images[70:110])
    np.testing.assert_array_equal(rocks.labels, labels)
    assert rocks.keys[80] == "dev.0"
    assert rocks.where(split="test").tolist() == list(range(100, 120))
    assert rocks.to_frame().shape == (120, 2352)
    assert len(rocks.ledger) == 0
    assert rocks.features(PCA(2).fit(rocks.to_frame().to_numpy())).shape == (120, 2)


def test_blocks_do_not_change_the_features(pictures, tmp_path, monkeypatch):
    images, labels = pictures
    rocks = Collection.from_arrays(tmp_path / "a.h5", images, labels)
    pca = PCA(3, random_state=0).fit(rocks.to_frame().to_numpy())
    whole = rocks.features(pca)
    monkeypatch.setattr("geoimages.collection.file._BLOCK_BYTES", 7 * 2352)
    np.testing.assert_allclose(rocks.features(pca), whole, atol=1e-3)


def test_features_of_two_dtypes_are_not_rounded(pictures, tmp_path, monkeypatch):
    rocks = Collection.from_arrays(tmp_path / "a.h5", *pictures)
    dtypes = iter([int, *[float] * 99])
    halved = FunctionTransformer(lambda rows: (rows[:, :3] / 2).astype(next(dtypes)))
    monkeypatch.setattr("geoimages.collection.file._BLOCK_BYTES", 7 * 2352)
    with pytest.raises(
        ValueError, match="some pictures are float64, those of others i"
    ):
        rocks.features(halved)


class TestMistakes:
    def test_no_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="geoimages etl SOURCE -o a.h5"):
            Collection(tmp_path / "a.h5")

    def test_no_h5_file(self, tmp_path):
        path = tmp_path / "a.h5"
        path.write_text("text")
        with pytest.raises(ValueError, match="cannot be opened as an .h5 file"):
            Collection(path)

    def test_a_foreign_h5_file(self, tmp_path):
        path = tmp_path / "a.h5"
        with h5py.File(path, "w") as file:
            file["weights"] = [1, 2]
        with pytest.raises(ValueError, match="neither its mark nor X_Train_Orig"):
            Collection(path)
        with h5py.File(path, "w") as file:
            file["X_Train_Orig"] = [1, 2]
        with pytest.raises(ValueError, match="1 axes instead of 4"):
            Collection(path)
        with h5py.File(path, "w") as file:
            file["X_Train_Orig"] = np.zeros((3, 4, 4, 3))
            file["Y_Train_Orig"] = [0, 1]
        with pytest.raises(ValueError, match="2 labels stand beside 3 pictures"):
            Collection(path)

    def test_a_newer_file(self, pictures, tmp_path):
        path = tmp_path / "a.h5"
        Collection.from_arrays(path, pictures[0]).close()
        with h5py.File(path, "r+") as file:
            file.attrs["format_version"] = 99
        with pytest.raises(ValueError, match="newer geoimages"):
            Collection(path)

    def test_an_unknown_mode(self, rocks):
        with pytest.raises(ValueError, match="'r' or 'r\\+', got 'w'"):
            Collection(rocks.path, "w")

    def test_an_unknown_fit(self, rock_zip, tmp_path):
        with pytest.raises(ValueError, match="fit='zoom'"):
            Collection.create(tmp_path / "a.h5", rock_zip, fit="zoom")

    def test_no_source(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="No such folder or zip"):
            Collection.create(tmp_path / "a.h5", tmp_path / "nowhere.zip")

    def test_what_is_read_is_not_overwritten(self, rock_zip, tmp_path):
        archive, table = tmp_path / "r.zip", tmp_path / "table.csv"
        archive.write_bytes(rock_zip.read_bytes())
        table.write_text("file,hole\nx.jpg,BH1\n")
        (tmp_path / "link.h5").symlink_to(archive)
        for path in (archive, str(archive), tmp_path / "link.h5"):
            with pytest.raises(ValueError, match="is the source itself"):
                Collection.create(path, archive)
        with pytest.raises(ValueError, match="is the metadata itself"):
            Collection.create(table, archive, metadata=str(table))
        assert archive.read_bytes() == rock_zip.read_bytes()
        assert table.read_text().startswith("file")

    @pytest.mark.parametrize(
        ("text", "error", "message"),
        [
            (None, FileNotFoundError, "No metadata at .*; give a CSV file"),
            (b"", ValueError, "metadata .* cannot be read"),
            (b'file\na,b\n"', ValueError, "metadata .* cannot be read"),
            (b"file\n\xff\xfe\n", ValueError, "metadata .* cannot be read"),
        ],
    )
    def test_no_table(self, rock_zip, tmp_path, text, error, message):
        path = tmp_path / "table.csv"
        if text is not None:
            path.write_bytes(text)
        with pytest.raises(error, match=message):
            Collection.create(tmp_path / "a.h5", rock_zip, metadata=path)

    def test_no_picture_in_it(self, tmp_path):
        (tmp_path / "rocks").mkdir()
        (tmp_path / "rocks/a.txt").write_text("text")
        (tmp_path / "rocks/a.jpg").write_text("text")
        for size in (None, (28, 28)):
            with pytest.raises(ValueError, match="None of the 2 files"):
                Collection.create(tmp_path / "a.h5", tmp_path / "rocks", size=size)
        assert [path.name for path in tmp_path.iterdir()] == ["rocks"]

    def test_a_damaged_member_costs_only_itself(self, tmp_path):
        path = write_rocks(tmp_path / "a.zip", 12, random_state=0)
        data = bytearray(path.read_bytes())
        with zipfile.ZipFile(path) as archive:
            member = archive.infolist()[3]
        at = member.header_offset + 30 + len(member.filename)
        data[at + 100 : at + 140] = bytes(40)
        path.write_bytes(bytes(data))
        with Collection.create(tmp_path / "a.h5", path) as rocks:
            assert len(rocks) == 11
            refused = rocks.ledger[rocks.ledger["status"] == "refused"]
            assert refused["reason"].tolist() == ["damaged"]
            assert refused["path"].tolist() == [member.filename]


def test_a_killed_run_leaves_the_old_file(rock_zip, tmp_path):
    path = tmp_path / "a.h5"
    path.write_text("old")
    script = (
        "import sys, time\n"
        "import geoimages.collection.writing as writing\n"
        "read = writing.read_image\n"
        "def slow(*args, **options):\n"
        "    print('reading', flush=True)\n"
        "    time.sleep(1)\n"
        "    return read(*args, **options)\n"
        "writing.read_image = slow\n"
        "from geoimages import Collection\nCollection.create(sys.argv[1], sys.argv[2])\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, path, rock_zip], stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"reading\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert path.read_text() == "old"


def test_memory_does_not_grow_with_the_number_of_pictures(tmp_path):
    with QuietFile(tmp_path / "a.h5") as disk:
        writer, held = Writer(disk, (200, 200, 3)), []
        for i in range(500):
            image = np.full((200, 200, 3), i % 256, np.uint8)
            writer.add(image, keys=f"a.{i}", labels="a", sha256=f"{i}")
            held.append(writer.block.nbytes)
        writer.finish()
        assert max(held) <= 1 << 21
    with Collection(tmp_path / "a.h5") as rocks:
        assert len(rocks) == 500
        assert rocks[300][0, 0, 0] == 300 % 256


def test_repr_counts_the_classes(rocks):
    assert "60 pictures, 28 × 28 × 3; andesite 10" in repr(rocks)


def test_summary_as_figures(rocks):
    about = rocks.summary(as_dict=True)
    assert about["pictures"] == 60
    assert about["files"] == {"kept": 60, "refused": 3}
    assert sum(about["refused"].values()) == 3
    assert sum(about["classes"].values()) == 60


@pytest.mark.real
def test_the_real_archive(real_rocks, real_data):
    assert len(real_rocks) == 26_434
    assert os.path.getsize(real_rocks.path) < 90e6
    assert real_rocks.ledger["status"].eq("kept").all()
    split = pd.read_csv(real_data / "geological_similarity_split.csv")
    assert set(split["key"]) == set(real_rocks.keys)
    assert real_rocks.image_shape == (28, 28, 3)


@pytest.mark.real
def test_pictures_of_many_sizes_and_modes_come_to_one(real_data, tmp_path):
    folder = real_data / "thin_sections"
    with Collection.create(tmp_path / "a.h5", folder, size=(64, 64)) as rocks:
        assert len(rocks) == 360
        assert len(set(rocks.ledger["mode"])) > 1
        assert list(rocks.classes) == ["class0", "class1", "class2"]
    with Collection.create(
        tmp_path / "b.h5", real_data / "core", size=(300, 60), fit="pad"
    ) as core:
        assert core.image_shape == (300, 60, 4)


def test_a_ragged_table_is_said_in_one_line(tmp_path, draw):
    draw("rocks/a/1.png")
    (tmp_path / "a.csv").write_text("file,hole\n1.png,B\n2.png,B,C\n")
    with pytest.raises(
        ValueError, match="cannot be read .*Expected 2 fields"
    ) as caught:
        Collection.create(
            tmp_path / "a.h5", tmp_path / "rocks", metadata=tmp_path / "a.csv"
        )
    assert "\n" not in str(caught.value)


def test_a_header_beyond_all_bounds_costs_only_its_file(tmp_path, draw):
    """Its size and depth do not fit the ledger's columns."""
    draw("rocks/a/1.png")
    sizes = [0, 0, 0, 54, 40, 28, -(2**31), 1, 24, *[0] * 6]
    header = b"BM" + struct.pack("<IHHIIiiHHIIIIII", *sizes)
    (tmp_path / "rocks/a/2.bmp").write_bytes(header + bytes(100))
    tags = [(256, 4), (257, 4), (258, 2**32 - 1), (262, 1), (273, 8), (279, 16)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    tiff = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(40)
    (tmp_path / "rocks/a/3.tif").write_bytes(tiff)
    with Collection.create(tmp_path / "a.h5", tmp_path / "rocks") as rocks:
        assert rocks.ledger["status"].tolist() == ["kept", "refused", "refused"]
        assert rocks.ledger["height"][1] == 2**31 - 1


@pytest.mark.parametrize("header", ["file" + ",x" * 1500, "file," + "h" * 70_000])
def test_a_table_of_too_many_columns_or_too_long_names_is_refused(tmp_path, header):
    path = tmp_path / "a.csv"
    path.write_text(f"{header}\n1.png{',1' * header.count(',')}\n")
    with pytest.raises(ValueError, match="at most 1,000 columns and 1,024 characters"):
        Metadata(path)
