"""Images and Labels: the steps of the proof of concept, inside their own paths."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from geoimages import (
    Collection,
    ImageReadError,
    Images,
    Labels,
    PairwiseModel,
    Plots,
    read_image,
)
from geoimages.collection.lineage import lineage_of
from geoimages.etl import save_image


@pytest.fixture
def images(tmp_path, rock_zip):
    images = Images(tmp_path / "images", tmp_path / "data", tmp_path / "dev")
    images.unzip_images(rock_zip)
    return images


def files_below(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_unzip_writes_the_members_and_nothing_else(images, rock_zip, tmp_path):
    with zipfile.ZipFile(rock_zip) as archive:
        members = {i.filename for i in archive.infolist() if not i.is_dir()}
    assert files_below(tmp_path / "images") == members


def test_unzip_refuses_what_climbs_out_or_is_damaged(tmp_path, rock_zip):
    images = Images(tmp_path / "images")
    evil = tmp_path / "evil.zip"
    with zipfile.ZipFile(evil, "w") as archive:
        archive.writestr("marble/a.jpg", "a")
        archive.writestr("../../evil.jpg", "b")
    with pytest.raises(ValueError, match="climbs out"):
        images.unzip_images(evil)
    data = bytearray(rock_zip.read_bytes())
    data[300:330] = bytes(30)
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(bytes(data))
    with pytest.raises(ValueError, match="nothing was unpacked"):
        images.unzip_images(damaged)
    assert not (tmp_path / "images").exists()


def test_rename_prefixes_the_folder_once(images):
    renamed = images.rename_images()
    assert len(renamed) > 60
    for old, new in renamed.items():
        assert new.name == f"{old.parent.name}.{old.name}"
        assert new.exists()
        assert not old.exists()
    assert images.rename_images() == {}


def test_rename_touches_nothing_where_a_name_is_taken(images):
    path, _ = images._pictures()[0]
    taken = path.with_name(f"{path.parent.name}.{path.name}")
    taken.write_bytes(b"precious")
    before = files_below(images.images_path)
    with pytest.raises(FileExistsError, match="cannot be renamed"):
        images.rename_images()
    assert files_below(images.images_path) == before
    assert taken.read_bytes() == b"precious"


@pytest.mark.parametrize("move", [True, False])
def test_sample_moves_or_copies_a_seeded_share_of_each_class(images, move, tmp_path):
    before = files_below(images.images_path)
    taken = images.sample_images(0.2, random_state=0, move=move)
    assert all(path.is_file() for path in taken)
    assert files_below(tmp_path / "dev") == {
        path.relative_to(tmp_path / "dev").as_posix() for path in taken
    }
    counts = np.unique([path.parent.name for path in taken], return_counts=True)[1]
    assert counts.tolist() == [2] * 6
    after = files_below(images.images_path)
    assert len(after) == len(before) - (len(taken) if move else 0)
    if move:
        assert not {path.name for path in taken} & {Path(name).name for name in after}


def test_samples_repeat_and_differ_by_seed(images, tmp_path):
    taken = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        images.dev_path = tmp_path / name
        paths = images.sample_images(0.3, random_state=seed, move=False)
        taken.append([path.name for path in paths])
    assert taken[0] == taken[1] != taken[2]


def test_turned_copies_are_sampled_with_their_original(images):
    images.rename_images()
    images.rotate_images()
    taken = images.sample_images(0.25, random_state=0)
    names = {path.name.split(".")[1] for path in taken}
    left = {path.name.split(".")[1] for path, _ in images._pictures()}
    assert not names & left
    whole = [path for path in taken if len(path.name.split(".")) == 3]
    assert len(taken) >= 4 * (len(whole) - 3)  # three are damaged and have no copies


def test_sampling_overwrites_nothing(images):
    taken = images.sample_images(0.2, random_state=0, move=False)
    taken[0].write_bytes(b"precious")
    with pytest.raises(FileExistsError, match="before sampling again"):
        images.sample_images(0.2, random_state=0)
    assert taken[0].read_bytes() == b"precious"


@pytest.mark.parametrize("move", [True, False])
def test_sampling_keeps_pictures_that_share_a_name(tmp_path, draw, move):
    names = ["BH1/core/0.jpg", "BH2/core/0.jpg", "BH2/core/1.jpg"]
    for seed, name in enumerate(names):
        draw(f"images/{name}", seed=seed)
    images = Images(tmp_path / "images", dev_path=tmp_path / "dev")
    taken = images.sample_images(1.0, random_state=0, move=move)
    assert sorted(taken) == [tmp_path / "dev" / name for name in names]
    assert files_below(tmp_path / "dev") == set(names)


def test_lossless_turns_are_exact_and_counter_clockwise(images):
    images.rename_images()
    written = images.rotate_images(suffix=".png")
    assert len(written) == 3 * 60
    for path in written[:9]:
        stem, turn = path.stem.rsplit(".", 1)
        (original,) = [
            p for p in path.parent.iterdir() if p.stem == stem and p.suffix == ".jpg"
        ]
        np.testing.assert_array_equal(
            images.read_image(path),
            np.rot90(images.read_image(original), int(turn) // 90),
        )
    assert images.rotate_images(suffix=".png") == []


def test_no_copies_of_copies_where_folders_share_names(tmp_path, draw):
    for i, hole in enumerate(("BH1", "BH2")):
        draw(f"images/{hole}/core/0.jpg", seed=i)
    images = Images(tmp_path / "images")
    images.rename_images()
    assert len(images.rotate_images()) == 6
    assert images.rotate_images() == []
    assert images.rotate_images(suffix=".png") == []
    keys = list(images.generate_image_metadata()["images"])
    assert len(keys) == 8
    assert sorted(set(lineage_of(keys))) == ["BH1.core.0", "BH2.core.0"]


@pytest.mark.parametrize("suffix", [None, ".png", ".tif"])
def test_turned_copies_keep_their_mask(tmp_path, draw, suffix):
    original = draw("images/a/a.masked.png", channels=4)
    draw("images/a/a.plain.png")
    for path in Images(tmp_path / "images").rotate_images(suffix):
        with Image.open(path) as image:
            assert image.mode == ("RGBA" if "masked" in path.name else "RGB")
    turned = original.with_name(f"a.masked.90{suffix or '.png'}")
    np.testing.assert_array_equal(
        read_image(turned, alpha=True), np.rot90(read_image(original, alpha=True))
    )


def test_jpeg_turns_cost_what_the_docstring_says(images):
    images.rename_images()
    worst, mean = 0, []
    for path in images.rotate_images():
        stem, turn = path.stem.rsplit(".", 1)
        original = images.read_image(path.with_name(f"{stem}.jpg"))
        copy = images.read_image(path)
        off = np.abs(np.rot90(original, int(turn) // 90).astype(int) - copy)
        worst, mean = max(worst, off.max()), [*mean, off.mean()]
    assert 1 < np.mean(mean) < 2
    assert 5 < worst <= 15


def test_metadata_lists_pictures_and_errata(images):
    images.rename_images()
    metadata = images.generate_image_metadata()
    assert metadata["root"] == str(images.images_path)
    names = ["andesite", "gneiss", "marble", "quartzite", "rhyolite", "schist"]
    assert metadata["dirs"] == {name: {"label": i} for i, name in enumerate(names)}
    assert len(metadata["images"]) == 60
    for key, about in metadata["images"].items():
        path = Path(about["file_path"])
        assert key == path.stem
        assert about["file_name"] == path.name
        assert about["root"] == str(path.parent)
        assert about["size"] == [28, 28, 3]
        assert about["label"] == names.index(path.parent.name)
    assert len(metadata["errata"]) == 3
    for entry in metadata["errata"]:
        with pytest.raises(ImageReadError) as caught:
            images.read_image(entry["file_path"])
        assert caught.value.reason == entry["reason"]


def test_other_sizes_are_errata_or_resized(images, draw):
    path = draw("images/rocks/marble/marble.WIDE.png", size=(40, 60))
    metadata = images.generate_image_metadata()
    assert {"file_path": str(path), "reason": "other-size"} in metadata["errata"]
    metadata = images.generate_image_metadata(resize=True)
    assert metadata["images"]["marble.WIDE"]["size"] == [40, 60, 3]
    frame = images.images_to_vectors_df()
    assert frame.shape == (61, 2352)
    metadata = images.generate_image_metadata(exp_size=(40, 60, 3))
    assert list(metadata["images"]) == ["marble.WIDE"]
    assert images.images_to_x_y()[0].shape == (1, 40, 60, 3)
    for exp_size in ((28, 28), 28, (28, 28, 4)):
        with pytest.raises(ValueError, match="exp_size is"):
            images.generate_image_metadata(exp_size=exp_size)


def test_no_pictures_of_that_size(images):
    images.generate_image_metadata(exp_size=(50, 50, 3))
    with pytest.raises(ValueError, match=r"no pictures of \(50, 50, 3\).*errata"):
        images.images_to_vectors_df()


def test_loose_pictures_are_errata(images, draw):
    loose = draw("images/loose.png")
    note = images.images_path / "note.txt"
    note.write_text("seen in 1931")
    errata = images.generate_image_metadata()["errata"]
    assert {"file_path": str(loose), "reason": "no-class"} in errata
    assert {"file_path": str(note), "reason": "not-a-picture"} in errata
    assert "loose" not in images.metadata["images"]
    assert loose not in images.rename_images()


def test_metadata_is_forgotten_when_the_pictures_change(images, rock_zip):
    def listed():
        return len(images.images_to_vectors_df())

    images.generate_image_metadata(exp_size=(20, 20, 3), resize=True)
    images.rename_images()
    assert images.metadata is None
    assert listed() == 60
    assert images.images_to_x_y()[0].shape[1:] == (20, 20, 3)  # as asked for before
    taken = images.sample_images(0.2, random_state=0)
    kept = listed()
    assert 60 - len(taken) <= kept < 60
    images.rotate_images()
    assert listed() == 4 * kept
    images.sample_images(0.2, move=False)
    assert images.metadata is not None
    images.unzip_images(rock_zip)
    assert images.metadata is None


def test_sub_dirs_choose_and_number_the_classes(images, rock_zip):
    images.sub_dirs = {"schist": {"label": 7}, "gneiss": {"label": 2}}
    metadata = images.generate_image_metadata()
    assert metadata["dirs"] == images.sub_dirs
    assert {about["label"] for about in metadata["images"].values()} == {2, 7}
    _, y = images.images_to_x_y()
    assert set(y) == {"schist", "gneiss"}
    images.sub_dirs = {"basalt": {"label": 0}}
    with pytest.raises(FileNotFoundError, match="'basalt'"):
        images.generate_image_metadata()


def test_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="No such folder"):
        Images(tmp_path / "nowhere").generate_image_metadata()


def test_rows_and_arrays_hold_the_same_pictures(images):
    frame = images.images_to_vectors_df()
    assert images.metadata is not None
    small = images.images_to_vectors_df(dtype="uint8")
    x, y = images.images_to_x_y()
    assert frame.index.name == "key"
    assert list(frame.index) == list(images.metadata["images"])
    assert set(frame.dtypes) == {np.dtype(np.float32)}
    assert frame.to_numpy().min() >= 0
    assert frame.to_numpy().max() <= 1
    assert x.dtype == np.uint8
    assert x.shape == (60, 28, 28, 3)
    np.testing.assert_array_equal(small.to_numpy(), x.reshape(60, -1))
    np.testing.assert_array_equal(frame.to_numpy(), small.to_numpy() / np.float32(255))
    assert y[0] == frame.index[0].split(".")[0]


def test_the_folder_and_the_collection_agree(images, rock_zip, tmp_path):
    images.rename_images()
    frame = images.images_to_vectors_df(dtype="uint8")
    with Collection.create(tmp_path / "a.h5", rock_zip) as rocks:
        other = rocks.to_frame("uint8")
    assert frame.equals(other)
    table = PairwiseModel().fit(frame).predict(frame.index[0])
    assert table.equals(PairwiseModel().fit(other).predict(frame.index[0]))


def test_read_and_flatten(draw):
    path = draw("a.png")
    image = Images.read_image(path)
    assert image.shape == (28, 28, 3)
    grey = Images.read_image(path, to_grey_scale=1)
    assert grey.shape == (28, 28)
    np.testing.assert_allclose(grey, image.mean(axis=2), atol=0.5)
    row = Images.flatten_image(image)
    assert row.dtype == np.float32
    np.testing.assert_array_equal(row, image.ravel() / np.float32(255))
    np.testing.assert_array_equal(Images.flatten_image(image, 0), image.ravel())
    np.testing.assert_array_equal(
        Images.flatten_image(image / 255), image.ravel() / 255
    )
    np.testing.assert_array_equal(Images.flatten_image(image.astype(int)), row)
    with pytest.raises(ValueError, match="divide those in 0–255 by 255"):
        Images.flatten_image(image.astype(float))


def test_json_lies_in_the_data_path(images, tmp_path, monkeypatch):
    metadata = images.generate_image_metadata()
    path = images.write_json(metadata, "metadata.json")
    assert path == tmp_path / "data" / "metadata.json"
    again = images.read_json("metadata.json")
    assert again == metadata
    assert images.write_json([1], tmp_path / "b.json") == tmp_path / "b.json"
    monkeypatch.chdir(tmp_path)
    assert Images("images", "data").read_json("data/metadata.json") == again
    path.write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        images.read_json(path)
    with pytest.raises(FileNotFoundError, match=r"nothing\.json; write_json writes"):
        images.read_json("nothing.json")
    for name in ("../outside.json", "a/../../outside.json"):
        with pytest.raises(ValueError, match="is outside"):
            images.write_json([1], name)
        with pytest.raises(ValueError, match="is outside"):
            images.read_json(name)
    assert not (tmp_path / "outside.json").exists()


def test_json_takes_numpy_and_paths(images):
    data = {"n": np.int64(3), "x": np.arange(2), "path": Path("a/b")}
    path = images.write_json(data, "a.json")
    assert images.read_json(path) == {"n": 3, "x": [0, 1], "path": "a/b"}
    with pytest.raises(TypeError, match="JSON holds no set"):
        images.write_json({1}, "b.json")


def test_own_folders_below_the_pictures_are_never_listed(tmp_path, rock_zip):
    root = tmp_path / "images"
    images = Images(root, data_path=root / "data", dev_path=root / "dev")
    images.unzip_images(rock_zip)
    (root / "data").mkdir()
    (root / "data/sheet.png").write_bytes(b"")
    taken = images.sample_images(0.2, random_state=0)
    metadata = images.generate_image_metadata()
    assert len(metadata["images"]) + len(taken) in range(60, 64)
    assert not {"dev", "data"} & set(metadata["dirs"])
    listed = [*metadata["images"].values(), *metadata["errata"]]
    assert not [e for e in listed if "/dev/" in e["file_path"]]
    assert not [e for e in listed if "/data/" in e["file_path"]]
    assert not [path for path in images.rename_images() if "dev" in path.parts]
    images.dev_path = root  # to look at what was sampled, its own folder is listed
    assert images.generate_image_metadata()["images"]


def test_paths_are_those_of_the_proof_of_concept(tmp_path, monkeypatch):
    images = Images()
    assert images.images_path == Path("../images/geological_similarity")
    assert images.data_path == Path("../datasets")
    assert images.dev_path == Path("../images/dev")
    for name in ("images_path", "data_path", "dev_path"):
        setattr(images, name, "elsewhere")
        assert getattr(images, name) == Path("elsewhere")


def test_a_zip_of_one_folder_does_not_double_it(tmp_path, rock_zip):
    for name, first in (("rocks", "andesite"), ("other", "rocks")):
        images = Images(tmp_path / name)
        written = images.unzip_images(rock_zip)
        assert {path.relative_to(tmp_path).parts[1] for path in written} >= {first}
        assert all(path.is_file() for path in written)
        assert len(images.generate_image_metadata()["images"]) == 60


def test_flat_pictures_have_the_class_of_their_names(tmp_path, draw):
    for i, name in enumerate(("marble.MGN0Z", "marble.MGN0Z.90", "schist.A1")):
        draw(f"dev/{name}.jpg", seed=i)
    images = Images(tmp_path / "dev")
    with pytest.warns(UserWarning, match="3 pictures lie in no .*'marble'"):
        metadata = images.generate_image_metadata()
    assert metadata["dirs"] == {"marble": {"label": 0}, "schist": {"label": 1}}
    assert images.images_to_x_y()[1].tolist() == ["marble", "marble", "schist"]
    assert images.rename_images() == {}
    with Collection.create(tmp_path / "a.h5", tmp_path / "dev") as rocks:
        assert rocks.labels.tolist() == ["marble", "marble", "schist"]
        assert "named: marble.MGN0Z.90.jpg is marble" in rocks.summary()
    draw("dev/BH12.5m.jpg")
    with Collection.create(tmp_path / "b.h5", tmp_path / "dev") as rocks:
        assert set(rocks.labels) == {""}
        assert "named" not in rocks.summary()


def old_metadata(images):
    """What the proof of concept wrote of the same files."""
    about = images.generate_image_metadata()
    return about | {
        "dirs": [[]],
        "images": {
            key: {name: of[name] for name in ("file_name", "root", "file_path", "size")}
            for key, of in about["images"].items()
        },
    }


def test_metadata_set_or_read_are_those_used(images, rocks):
    images.rename_images()
    old = old_metadata(images)
    del old["exp_size"]
    expected = images.images_to_vectors_df()
    some = old | {"images": dict(list(old["images"].items())[:7])}
    for use in (
        lambda: setattr(images, "images_meta_data", some),
        lambda: images.read_json(images.write_json(some, "old.json")),
    ):
        images.images_meta_data = None
        use()
        assert len(images.images_meta_data["images"]) == 7
        assert images.images_to_vectors_df().equals(expected.iloc[:7])
        x, y = images.images_to_x_y()
        assert x.shape == (7, 28, 28, 3)
        assert y.tolist() == [key.split(".")[0] for key in some["images"]]
    matches = PairwiseModel(3).fit(expected.iloc[:7]).predict(expected.iloc[0])
    assert len(Plots.plot_matches(matches, images.images_meta_data).axes) == 3
    images.read_json(images.write_json({"images": 7}, "else.json"))
    assert len(images.metadata["images"]) == 7


def test_rows_of_another_size_and_in_grey(images):
    grey = images.images_to_vectors_df([28, 28, 3], 1)
    assert grey.shape == (60, 784)
    x, _ = images.images_to_x_y()
    np.testing.assert_allclose(
        grey, x.mean(axis=3).reshape(60, -1) / 255, atol=0.51 / 255
    )
    assert images.images_to_vectors_df(image_size=(14, 14, 3)).shape == (
        60,
        14 * 14 * 3,
    )
    with pytest.raises(TypeError, match="dtype='uint8'"):
        images.images_to_vectors_df("uint8")


def test_onehot_of_what_an_h5_file_holds():
    for y in (np.array([b"b", b"a"]), np.array([[b"b"], [b"a"]], object)):
        onehot, classes = Labels().categorical_to_onehot(y)
        assert classes.tolist() == ["a", "b"]
        assert onehot.tolist() == [[0, 1], [1, 0]]


def test_onehot():
    onehot, classes = Labels.categorical_to_onehot(["b", "a", "c", "a"])
    assert classes.tolist() == ["a", "b", "c"]
    assert onehot.dtype == np.float32
    assert (onehot.sum(axis=1) == 1).all()
    assert classes[onehot.argmax(axis=1)].tolist() == ["b", "a", "c", "a"]
    with pytest.raises(ValueError, match="one label per picture"):
        Labels.categorical_to_onehot([["a", "b"], ["a", "b"]])


def test_save_image(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (9, 8, 3), dtype=np.uint8)
    save_image(image, tmp_path / "a.png")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), image)
    with pytest.raises(ValueError, match="Unknown picture format"):
        save_image(image, tmp_path / "a.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_repr(images):
    assert "images" in repr(images)


@pytest.mark.real
def test_jpeg_turns_of_the_real_archive(real_data, tmp_path):
    images = Images(tmp_path / "images")
    images.unzip_images(real_data / "geological_similarity.zip")
    images.sub_dirs = {"schist": {"label": 0}}
    images.dev_path = tmp_path / "dev"
    images.sample_images(0.02, random_state=0)
    images = Images(tmp_path / "dev")
    images.rename_images()
    off = []
    for path in images.rotate_images():
        stem, turn = path.stem.rsplit(".", 1)
        original = images.read_image(path.with_name(f"{stem}.jpg")).astype(int)
        copy = images.read_image(path)
        off.append(np.abs(np.rot90(original, int(turn) // 90) - copy))
    assert 1 < np.mean(off) < 2
    assert 5 < np.max(off) <= 20
