"""Tiles of large photographs: windows, reading in parts, what is rock, lineage."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from geoimages import (
    Collection,
    ImageReadError,
    PairwiseModel,
    read_box,
    read_image,
    split,
)
from geoimages.cli import main
from geoimages.collection import ground, photographs
from geoimages.collection import tiles as tiles_module
from geoimages.collection.ground import rock_mask
from geoimages.collection.tiles import windows_of


def noise(height, width, seed=0):
    """A grainy picture that is taken for rock."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(90, 180, (height // 4 + 1, width // 4 + 1, 1))
    fine = coarse.repeat(4, 0).repeat(4, 1)[:height, :width]
    return np.repeat(fine, 3, axis=2).astype(np.uint8)


@pytest.fixture
def photo(tmp_path):
    """A photograph of 200 × 160 px, written as PNG."""
    path = tmp_path / "BH1.png"
    Image.fromarray(noise(160, 200)).save(path)
    return path


def test_tiles_are_windows_of_the_photograph(photo, tmp_path):
    with Collection.from_tiles(tmp_path / "t.h5", photo, size=32) as tiles:
        pixels, table = read_image(photo), tiles.table
        assert set(table["scale"]) == {1, 2}
        for key in tiles.keys[:: len(tiles) // 20]:
            x, y, side = (int(table.loc[key, n]) for n in ("x", "y", "width"))
            whole = pixels[y : y + side, x : x + side]
            if side > 32:  # as of the photograph at half its size
                small = Image.fromarray(pixels).resize(
                    (32, 32), Image.Resampling.BICUBIC, (x, y, x + side, y + side)
                )
                whole = np.asarray(small)
            np.testing.assert_array_equal(tiles[key], whole)
        assert tiles.keys[0] == "BH1@0,0,32"
        assert set(table["photo"]) == {"BH1.png"}
        assert set(table["photo_width"]) == {200}


@pytest.mark.parametrize(("height", "width"), [(96, 96), (97, 200), (130, 99)])
def test_windows_cover_every_pixel(height, width):
    windows = windows_of(height, width, 32, 0.5, [1, 2])
    for scale in (1, 2):
        seen = np.zeros((height, width), bool)
        for window in windows:
            if window.scale == scale:
                assert window.side == 32 * scale
                seen[window.top :, window.left :][: window.side, : window.side] = True
        assert seen.all()
    assert windows == sorted(windows, key=lambda w: w.top)


@pytest.mark.parametrize("compression", [None, "tiff_deflate", "tiff_lzw", "jpeg"])
def test_tiff_in_parts_is_the_tiff_as_a_whole(tmp_path, monkeypatch, compression):
    monkeypatch.setattr(photographs, "_WHOLE", 0)
    monkeypatch.setattr(photographs, "_LARGEST_SEGMENT", 100_000)
    path = tmp_path / "a.tif"
    Image.fromarray(noise(300, 170)).save(path, compression=compression)
    photograph = photographs.open_photograph(path)
    parts = [photograph.rows(t, min(t + 41, 300)) for t in range(0, 300, 29)]
    assert not hasattr(photograph, "pixels")
    photograph.close()
    whole = read_image(path)
    for top, part in zip(range(0, 300, 29), parts, strict=True):
        np.testing.assert_array_equal(part, whole[top : top + 41])


def tiled_tiff(path, pixels, side, byteorder):
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(
        path, pixels, tile=(side, side), photometric="rgb", byteorder=byteorder
    )


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiled_tiff_in_parts(tmp_path, monkeypatch, byteorder, dtype):
    monkeypatch.setattr(photographs, "_WHOLE", 0)
    pixels = noise(150, 170).astype(dtype) * (257 if dtype == np.uint16 else 1)
    tiled_tiff(tmp_path / "a.tif", pixels, 64, byteorder)
    photograph = photographs.open_photograph(tmp_path / "a.tif")
    assert not hasattr(photograph, "pixels")
    np.testing.assert_array_equal(photograph.rows(0, 150), noise(150, 170))
    photograph.close()


def test_memory_hardly_grows_with_a_tiff_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(photographs, "_WHOLE", 0)
    monkeypatch.setattr(ground, "_BAND", 1)
    monkeypatch.setattr(tiles_module, "_BAND", 1)
    heights, peaks = (1500, 4500), []
    for height in heights:
        path = tmp_path / f"{height}.tif"
        Image.fromarray(noise(height, 200)).save(
            path, compression="tiff_deflate", strip_size=38_400
        )
        tracemalloc.start()
        Collection.from_tiles(tmp_path / "t.h5", path, stride=1, scales=1).close()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 0.4 * (heights[1] - heights[0]) * 200 * 3


def test_damaged_part_refuses_the_photograph(tmp_path, monkeypatch, photo):
    monkeypatch.setattr(photographs, "_WHOLE", 0)
    monkeypatch.setattr(photographs, "_LARGEST_SEGMENT", 20_000)
    path = tmp_path / "a.tif"
    Image.fromarray(noise(300, 170)).save(path, compression="tiff_deflate")
    data = bytearray(path.read_bytes())
    with Image.open(path) as image:
        last = image.tag_v2[273][-1]
    data[last : last + 200] = bytes(200)
    path.write_bytes(data)
    made = Collection.from_tiles(tmp_path / "t.h5", [path, photo], size=32)
    with made as tiles:
        assert set(tiles.table["photo"]) == {"BH1.png"}
        assert tiles.ledger["status"].tolist() == ["refused", "kept"]


def test_gaps_and_paper_are_left_out(tmp_path):
    pixels = np.zeros((96, 288, 3), np.uint8)
    pixels[:, 96:192] = noise(96, 96)
    pixels[:, 192:] = 252
    Image.fromarray(pixels).save(tmp_path / "a.png")
    options = {"size": 32, "scales": 1, "stride": 1}
    with Collection.from_tiles(tmp_path / "a.h5", tmp_path / "a.png", **options) as t:
        assert set(t.table["x"]) == {96, 128, 160}
    options["keep_all"] = True
    with Collection.from_tiles(tmp_path / "a.h5", tmp_path / "a.png", **options) as t:
        assert len(t) == 27


@pytest.mark.parametrize("color", [(40, 38, 45), (120, 90, 80), (205, 200, 190)])
def test_rock_is_not_taken_for_ground(color):
    grain = np.random.default_rng(0).normal(0, 12, (96, 96, 1))
    assert rock_mask(np.clip(color + grain, 0, 255).astype(np.uint8)).mean() > 0.95


def test_sky_is_ground_and_blue_rock_is_not():
    grain = np.random.default_rng(0).normal(0, 1, (96, 96, 1))
    sky = np.clip((120, 160, 215) + 0.2 * grain, 0, 255).astype(np.uint8)
    rock = np.clip((110, 115, 130) + 12 * grain, 0, 255).astype(np.uint8)
    assert rock_mask(sky).mean() < 0.05
    assert rock_mask(rock).mean() > 0.95


def test_ground_in_bands_is_the_ground_as_a_whole(monkeypatch):
    rng = np.random.default_rng(0)
    patches = rng.choice([4, 120, 250], (60, 40), p=[0.2, 0.6, 0.2])
    image = patches.repeat(10, 0).repeat(10, 1)[..., None] + rng.integers(
        0, 3, (600, 400, 3)
    )
    image = image.astype(np.uint8)
    whole = rock_mask(image, 16)
    assert 0.1 < whole.mean() < 0.9
    monkeypatch.setattr(ground, "_BAND", 1)
    np.testing.assert_array_equal(rock_mask(image, 16), whole)


def test_sizes_in_centimeters(tmp_path, photo):
    table = pd.DataFrame({"file": ["BH1"], "hole": ["BH1"], "mm_per_px": [0.5]})
    made = Collection.from_tiles(
        tmp_path / "t.h5", photo, size="2cm", scales=1, metadata=table
    )
    with made as tiles:
        assert tiles.image_shape == (40, 40, 3)
        assert set(tiles.table["width"]) == {40}
        assert set(tiles.table["hole"]) == {"BH1"}
    with pytest.raises(ValueError, match="The scale of BH1.png is not known"):
        Collection.from_tiles(tmp_path / "u.h5", photo, size="2cm")
    assert not (tmp_path / "u.h5").exists()


def test_sizes_by_a_scale_bar(tmp_path, photo, capsys):
    out = str(tmp_path / "t.h5")
    asked = ["tile", str(photo), "-o", out, "--size", "2cm", "--scale-bar"]
    assert main([*asked, "5cm", "100"]) == 0
    with Collection(out) as tiles:
        assert tiles.image_shape == (40, 40, 3)
    capsys.readouterr()
    for wrong in (["100", "5cm"], ["5cm", "0"], ["5cm", "40", "--mm-per-px", "1"]):
        assert main([*asked, *wrong]) != 0
        assert len(capsys.readouterr().err.strip().splitlines()) <= 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "big"}, "neither a number of pixels nor a length"),
        ({"size": 4}, "a tile has 8 to 4,096 px"),
        ({"size": 500}, "None of the 1 photographs gave a tile"),
        ({"stride": 0}, "stride=0"),
        ({"scales": ()}, "scales="),
        ({"scales": (1, float("nan"))}, "scales="),
        ({"mm_per_px": -1}, "mm_per_px=-1"),
    ],
)
def test_bad_options_write_nothing(tmp_path, photo, options, message):
    with pytest.raises(ValueError, match=message):
        Collection.from_tiles(tmp_path / "t.h5", photo, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["BH1.png"]


def test_photographs_of_a_folder(tmp_path, photo):
    folder = tmp_path / "photos" / "BH1"
    folder.mkdir(parents=True)
    photo.rename(folder / "box1.png")
    (folder / "notes.txt").write_text("no photograph")
    (folder / "gone.png").symlink_to(folder / "nothing.png")
    with Collection.from_tiles(tmp_path / "t.h5", folder.parent, size=32) as tiles:
        assert set(tiles.table["photo"]) == {"box1.png"}
        assert set(tiles.labels) == {"BH1"}


def test_photographs_of_one_name_are_refused(tmp_path, photo):
    other = tmp_path / "other" / "BH1.png"
    other.parent.mkdir()
    other.write_bytes(photo.read_bytes())
    with pytest.raises(ValueError, match="share the key 'BH1'"):
        Collection.from_tiles(tmp_path / "t.h5", [photo, other])


def test_neighboring_tiles_are_one_lineage(tmp_path, photo):
    Image.fromarray(noise(160, 200, 1)).save(tmp_path / "BH2.png")
    photos = [photo, tmp_path / "BH2.png"]
    with Collection.from_tiles(tmp_path / "t.h5", photos, size=32, scales=1) as tiles:
        assert set(tiles.table["lineage"]) == {"BH1", "BH2"}
        parts = split(tiles, 0.5, random_state=0)
        for part in (parts.train, parts.test):
            assert len(set(tiles.table["lineage"].iloc[part])) == 1
        found = PairwiseModel(len(tiles)).fit(tiles).predict("BH1@64,64,32")
        boxes = tiles.table.loc[found.index]
        own = boxes["lineage"] == "BH1"
        near = ((boxes["x"] - 64).abs() < 32) & ((boxes["y"] - 64).abs() < 32)
        assert own.any()
        assert not (own & near).any()
        assert len(found) == len(tiles) - 9


def test_read_box(photo, tmp_path):
    image, (sha256, box) = read_box(photo, (10, 20, 30, 40))
    np.testing.assert_array_equal(image, read_image(photo)[20:60, 10:40])
    assert box == (10, 20, 30, 40)
    assert len(sha256) == 64
    with pytest.raises(ValueError, match="does not lie on BH1.png, which is 200 × 160"):
        read_box(photo, (180, 0, 30, 10))
    for box in ((0, 0, 10), ("a", 0, 1, 1), (0, 0, float("nan"), 5)):
        with pytest.raises(ValueError, match="A box is"):
            read_box(photo, box)
    with pytest.raises(ImageReadError, match="missing"):
        read_box(tmp_path / "none.png", (0, 0, 1, 1))


def test_parts_that_lie_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(photographs, "_WHOLE", 0)
    path = tmp_path / "a.tif"
    Image.fromarray(noise(300, 170)).save(
        path, compression="tiff_deflate", strip_size=9000
    )
    photograph = photographs.open_photograph(path)
    photograph.tags[258] = ("no", "bits", "here")
    with pytest.raises(ImageReadError, match="undecodable"):
        photograph.rows(0, 20)
    photograph.close()
    monkeypatch.setattr(photographs, "_LARGEST_ROW", 100)
    assert hasattr(photographs.open_photograph(path), "pixels")
