"""Locate a picture inside photographs: turned, scaled, mirrored, relit, or not there."""

import functools
import io
import json

import numpy as np
import pytest
from PIL import Image

from geoimages import (
    Collection,
    ColorFeatures,
    PairwiseModel,
    Plots,
    locate,
    make_rocks,
)
from geoimages.cli import main

MODEL = PairwiseModel(5, features=ColorFeatures())
COLUMNS = [
    *("photo", "x", "y", "width", "height", "scale", "orientation", "mirrored"),
    *("depth_from", "depth_to", "verification", "similarity", "found"),
]


@functools.cache
def photograph(seed):
    """A drawn rock with grains of several sizes, 384 × 384 px."""
    images, _ = make_rocks(1, image_shape=(96, 96, 3), random_state=seed)
    rock = Image.fromarray(images[0]).resize((384, 384), Image.Resampling.BICUBIC)
    whole, rng = np.asarray(rock, float), np.random.default_rng(seed)
    for size in (2, 4, 8, 16):
        grain = Image.fromarray(
            rng.normal(0, 16, (384 // size,) * 2).astype(np.float32)
        )
        grain = grain.resize((384, 384), Image.Resampling.BICUBIC)
        whole = whole + np.asarray(grain)[..., None]
    return np.clip(whole, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for seed in (1, 2):
        Image.fromarray(photograph(seed)).save(folder / f"tray{seed}.png")
    photos = [folder / "tray1.png", folder / "tray2.png"]
    Collection.from_tiles(folder / "tiles.h5", photos, size=64, keep_all=True).close()
    return folder


@pytest.fixture(scope="module")
def tiles(folder):
    with Collection(folder / "tiles.h5", "r+") as tiles:
        yield tiles


def cut(seed, x, y, side, angle=0, scale=1.0, mirrored=False, light=1.0, quality=None):
    """A square of a photograph, its center at (x, y), turned and scaled."""
    image = Image.fromarray(photograph(seed))
    reach = round(side * 1.5)
    image = image.crop((x - reach, y - reach, x + reach, y + reach))
    image = image.rotate(angle, Image.Resampling.BICUBIC)
    middle, half = reach, side / 2
    image = image.crop((middle - half, middle - half, middle + half, middle + half))
    size = round(side * scale)
    pixels = np.asarray(image.resize((size, size), Image.Resampling.BICUBIC)) * light
    pixels = np.clip(pixels, 0, 255).astype(np.uint8)
    pixels = pixels[:, ::-1] if mirrored else pixels
    if quality:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=quality)
        pixels = np.asarray(Image.open(file))
    return pixels


def overlap(row, x, y, side):
    wide = min(row.x + row.width, x + side / 2) - max(row.x, x - side / 2)
    high = min(row.y + row.height, y + side / 2) - max(row.y, y - side / 2)
    inside = max(0, wide) * max(0, high)
    return inside / (row.width * row.height + side**2 - inside)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"angle": 25},
        {"angle": 200, "scale": 1.4, "light": 0.85},
        {"mirrored": True, "quality": 40},
        {"angle": 110, "scale": 0.7, "light": 1.15, "quality": 40},
    ],
    ids=str,
)
def test_a_part_is_found_again(tiles, change):
    found = locate(MODEL, tiles, cut(2, 200, 180, 120, **change), k=3)
    first = found.iloc[0]
    assert first["photo"] == "tray2.png"
    assert first["found"]
    assert overlap(first, 200, 180, 120) > 0.9
    assert first["scale"] == pytest.approx(change.get("scale", 1), rel=0.03)
    assert first["mirrored"] == change.get("mirrored", False)
    # A picture turned counter-clockwise is turned back clockwise.
    turn = (first["orientation"] + change.get("angle", 0)) % 360
    assert min(turn, 360 - turn) < 1
    assert list(found.columns) == COLUMNS
    assert len(found) == 3
    assert found["verification"].is_monotonic_increasing
    assert not found["found"].iloc[1:].any()


def test_what_is_not_there_is_not_found(tiles):
    found = locate(MODEL, tiles, cut(3, 200, 180, 120), k=4)
    assert len(found) == 4
    assert not found["found"].any()


def test_a_box_leaves_itself_out(folder, tiles, capsys):
    box = ["140", "120", "120", "120"]
    asked = ["--from", str(folder / "tray2.png"), "--box", *box]
    assert main(["locate", str(folder / "tiles.h5"), *asked, "--json", "-k", "2"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [list(row) for row in rows] == [COLUMNS] * 2
    assert not any(row["found"] for row in rows)
    Image.fromarray(cut(2, 200, 180, 120)).save(folder / "crop.png")
    crop, plot = str(folder / "crop.png"), str(folder / "found.png")
    command = ["locate", str(folder / "tiles.h5"), crop, "--json", "--plot", plot]
    assert main(command) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[0]["found"]
    assert abs(rows[0]["x"] - 140) < 2
    assert rows[0]["depth_from"] is None
    assert (folder / "found.png").stat().st_size > 10_000


def test_depth_of_an_answer(tmp_path, folder):
    import pandas as pd

    table = pd.DataFrame(
        {"file": ["tray1", "tray2"], "depth_from": [10.0, 20], "depth_to": [11.0, 21]}
    )
    photos = [folder / "tray1.png", folder / "tray2.png"]
    made = Collection.from_tiles(tmp_path / "t.h5", photos, metadata=table, scales=1)
    with made as deep:
        first = locate(MODEL, deep, cut(1, 200, 180, 120), k=1).iloc[0]
    assert (first["depth_from"], first["depth_to"]) == (10, 11)


def test_keypoints_are_kept_beside_the_tiles(tiles):
    locate(MODEL, tiles, cut(1, 200, 180, 100), k=1)
    about = [row["features"] for row in tiles.cache.describe()]
    assert "keypoints of the photographs" in about


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (np.zeros((8, 40, 3), np.uint8), "40 × 8 px is too small"),
        (np.zeros((40, 40), np.uint8), "shape"),
        (np.full((40, 40, 3), np.nan), "NaN"),
    ],
)
def test_bad_pictures(tiles, picture, message):
    with pytest.raises(ValueError, match=message):
        locate(MODEL, tiles, picture)


def test_features_learn_from_a_part_of_many_tiles(tiles, monkeypatch):
    from geoimages.similarity import locating

    learned = []

    class Counted(ColorFeatures):
        def fit(self, X, y=None):
            learned.append(len(X))
            return super().fit(X, y)

    monkeypatch.setattr(locating, "_LEARNED", 30)
    model = PairwiseModel(features=Counted())
    assert not locate(model, tiles, cut(3, 200, 180, 120), k=1)["found"].any()
    assert learned == [30]


@pytest.mark.parametrize("fill", [0, 255, None])
def test_corners_of_a_turned_picture_do_not_count(tiles, fill):
    turned = Image.fromarray(cut(1, 200, 180, 130)).convert("RGBA").rotate(35)
    if fill is not None:
        ground = Image.new("RGB", turned.size, (fill,) * 3)
        ground.paste(turned, mask=turned.getchannel("A"))
        turned = ground
    first = locate(MODEL, tiles, np.asarray(turned), k=1).iloc[0]
    assert first["found"]
    assert first["verification"] < 0.15
    assert overlap(first, 200, 180, 130) > 0.9


def test_a_flat_picture_is_not_found(tiles):
    found = locate(MODEL, tiles, np.full((60, 60, 3), 120, np.uint8), k=2)
    assert not found["found"].any()


def test_a_collection_without_tiles_says_so(rocks):
    with pytest.raises(ValueError, match="holds no tiles of photographs"):
        locate(MODEL, rocks, np.zeros((40, 40, 3), np.uint8))


def test_command_needs_one_thing_to_look_for(folder, capsys):
    assert main(["locate", str(folder / "tiles.h5")]) == 2
    assert "give a picture, or a part" in capsys.readouterr().err


def test_figures_of_photographs(tiles):
    asked = cut(2, 200, 180, 120, angle=25)
    matches = locate(MODEL, tiles, asked, k=3)
    figure = Plots.boxes(matches, tiles, asked)
    told = [ax.get_xlabel() for ax in figure.axes]
    assert any("tray2.png\nfound" in text for text in told)
    assert len(Plots.tiles(photograph(1), 64).axes) == 2
    with pytest.raises(ValueError, match="no rows"):
        Plots.boxes(matches.iloc[:0], tiles)
