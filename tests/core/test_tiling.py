"""Tiles of core: places on the photograph, hole and depth."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from geoimages import PairwiseModel, Plots, locate, make_tray, read_image, tile_core
from geoimages.cli import main
from geoimages.core.depth import (
    depth_of,
    depth_of_name,
    gaps_and_overlaps,
    read_depths,
)
from geoimages.core.tiling import boxes_of
from geoimages.pictures.perspective import mapped, to_front

NAMES = ("BH1_1_0_3.png", "BH1_2_3.5_6.5.png")


@pytest.fixture(scope="module")
def trays(tmp_path_factory):
    """Two drawn trays of a hole, their rows written by hand."""
    folder = tmp_path_factory.mktemp("trays")
    drawn = {}
    for seed, name in enumerate(NAMES):
        tray = make_tray(n_rows=3, vertical=seed == 1, random_state=20 + seed)
        Image.fromarray(tray.image).save(folder / name)
        text = f'{{"rows": {tray.rows.tolist()}}}'
        (folder / name).with_suffix(".rows.json").write_text(text)
        drawn[name] = tray
    return folder, drawn


@pytest.fixture(scope="module")
def tiles(trays):
    """Their tiles."""
    folder, _ = trays
    with tile_core(
        folder / "t.h5", [folder / name for name in NAMES], size=48
    ) as collection:
        yield collection


def test_tiles_know_hole_and_depth(tiles, trays):
    table = tiles.table
    assert set(table["hole"]) == {"BH1"}
    assert set(table["box"]) == {"1", "2"}
    assert set(table["row"]) == {1, 2, 3}
    for name, start in zip(NAMES, (0, 3.5), strict=True):
        part = table[table["photo"] == name]
        true = trays[1][name].rows
        middle = (part["depth_from"] + part["depth_to"]) / 2
        place = part[["x", "y"]].to_numpy() + part[["width"]].to_numpy() / 2
        for row in (1, 2, 3):
            here = (part["row"] == row).to_numpy()
            along = mapped(to_front(true[row - 1]), place[here])[:, 0]
            lengths = np.ptp(part.drop_duplicates("row")["row_width"])
            assert lengths <= 40
            expected = start + row - 1 + along
            assert np.abs(middle[here] - expected).max() < 0.05
    found = tiles.where(hole="BH1", depth="2.0..3.0")
    assert set(table.iloc[found]["photo"]) == {NAMES[0]}
    assert (table.iloc[found]["depth_to"] >= 2).all()


def test_tiles_show_what_lies_at_their_place(tiles, trays):
    folder, _ = trays
    image = read_image(folder / NAMES[0]).astype(float)
    table = tiles.table
    for key in tiles.keys[(table["photo"] == NAMES[0]) & (table["scale"] == 1)][::40]:
        x, y, side = table.loc[key, ["x", "y", "width"]]
        part = image[int(y) : int(y + side), int(x) : int(x + side)]
        assert np.abs(part.mean(axis=(0, 1)) - tiles[key].mean(axis=(0, 1))).max() < 12


@pytest.mark.parametrize("name", NAMES)
def test_a_part_is_located_on_the_photograph_and_in_depth(tiles, trays, name):
    folder, drawn = trays
    corners = drawn[name].rows[1]
    x, y = mapped(np.linalg.inv(to_front(corners)), [0.4, 0.5]).astype(int) - 40
    crop = read_image(folder / name)[y : y + 80, x : x + 80]
    matches = locate(PairwiseModel(), tiles, crop, k=2)
    best = matches.iloc[0]
    assert best["photo"] == name
    assert best["found"]
    assert abs(best["x"] - x) < 6
    assert abs(best["y"] - y) < 6
    assert min(best["orientation"], 360 - best["orientation"]) < 3
    start = 0 if name == NAMES[0] else 3.5
    assert best["depth_from"] < start + 1.4 < best["depth_to"]
    figure = Plots.boxes(matches, tiles, crop)
    shown = figure.axes[0] if figure.axes else figure.subfigs[0].axes[0]
    assert shown.get_xlim()[1] == drawn[name].image.shape[1]


def test_gaps_and_overlaps_between_boxes_are_told(tiles):
    found = gaps_and_overlaps(boxes_of(tiles))
    assert found.loc[0, ["what", "from", "to", "meters"]].tolist() == [
        "gap",
        3,
        3.5,
        0.5,
    ]
    lines = pd.DataFrame(
        [("A", "1", 0, 4), ("A", "2", 3.8, 8), ("B", "3", 0, 1), ("A", "4", 8.002, 9)],
        columns=["hole", "photo", "depth_from", "depth_to"],
    )
    found = gaps_and_overlaps(lines)
    assert found[["what", "after", "before", "meters"]].to_numpy().tolist() == [
        ["overlap", "1", "2", 0.2]
    ]


def test_depths_of_names_and_tables():
    assert depth_of_name("A_B_7_10_12.25") == ("A_B", "7", 10, 12.25)
    assert depth_of_name("BH1_1_3") is None
    rows = np.array(
        [[[0, 0], [30, 0], [30, 5], [0, 5]], [[0, 9], [10, 9], [10, 14], [0, 14]]]
    )
    depth = depth_of("BH1_1_10_14.png", rows)
    assert depth.starts.tolist() == [10, 13]
    assert depth.stops.tolist() == [13, 14]
    with pytest.raises(ValueError, match=r"BH1_1_4_3.png runs backward, from 4 to 3 m"):
        depth_of("BH1_1_4_3.png", rows)


def test_a_hole_may_have_any_name():
    depths = {"photo": ["a", "b"], "hole": [np.inf, 12.0], "from": [0, 0], "to": [1, 1]}
    known = read_depths(pd.DataFrame(depths))
    assert [part["hole"].item() for part in known.values()] == ["inf", "12"]


TABLE = "photo,hole,from,to\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("photo,hole,from\na,b,1", "it needs photo, hole, from and to"),
        (f"{TABLE}{NAMES[0]},BH7,5,4", "runs backward, from 5 to 4 m"),
        (f"{TABLE}{NAMES[0]},BH7,five,6", "has no depth from nan to 6"),
        (f"{TABLE}{NAMES[0]},BH7,5,1e12", "has no depth from 5.0 to 1000000000000.0"),
        (f"{TABLE}{NAMES[0]},,5,6", "names no hole"),
        (f"{TABLE}{NAMES[0]},BH7,5,6\n{NAMES[0]},BH7,6,7", "BH1_1_0_3.png twice"),
        ("photo,hole,from,to,row\nBH1_1_0_3,A,0,1,1", "has 3 rows, and the table"),
        ("photo,hole,from,to,row\nBH1_1_0_3,A,0,1,0", "no whole number from 1"),
        (f"{TABLE}BH9_1,BH9,5,6", "names BH9_1, and none of the photographs (BH1_1"),
        (TABLE, "is empty, and none of the photographs"),
        ("", "cannot be read"),
    ],
)
def test_tables_that_cannot_be_used_are_refused(trays, tmp_path, capsys, text, told):
    (tmp_path / "depths.csv").write_text(text)
    photo, out = str(trays[0] / NAMES[0]), str(tmp_path / "t.h5")
    depths = str(tmp_path / "depths.csv")
    assert main(["tile", "--core", photo, "--depths", depths, "-o", out]) != 0
    wrong = capsys.readouterr().err.strip()
    assert told in wrong
    assert "\n" not in wrong
    assert [path.name for path in tmp_path.iterdir()] == ["depths.csv"]


def test_depths_of_a_table_line_by_line(trays, tmp_path):
    lines = [(NAMES[0], "BH7", 10 + i, 10.5 + i, i + 1) for i in range(3)]
    table = pd.DataFrame(lines, columns=["photo", "hole", "from", "to", "row"])
    photo = trays[0] / NAMES[0]
    with tile_core(tmp_path / "t.h5", photo, table, size="5cm", scales=1) as tiles:
        assert tiles.table.groupby("row")["depth_to"].max().round(2).tolist() == [
            10.5,
            11.5,
            12.5,
        ]
        assert (tiles.table["depth_to"] - tiles.table["depth_from"]).std() < 0.002
        assert (
            abs((tiles.table["depth_to"] - tiles.table["depth_from"]).mean() - 0.05)
            < 0.005
        )


def test_commands_tell_rows_and_depths(trays, tmp_path, capsys):
    folder, _ = trays
    photos = [str(folder / name) for name in NAMES]
    assert main(["rows", *photos, "--plot", str(tmp_path / "rows.png"), "--csv"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 7
    assert (tmp_path / "rows.png").stat().st_size > 10_000
    out = str(tmp_path / "t.h5")
    assert main(["tile", "--core", *photos, "--size", "64", "-o", out]) == 0
    assert "BH1: gap of 0.5 m from 3 to 3.5 m" in capsys.readouterr().out
    assert main(["tile", *photos, "--depths", "x.csv", "-o", out]) == 2


def test_a_photograph_without_rows_is_left_out(trays, tmp_path):
    blank = tmp_path / "BH1_3_7_8.png"
    Image.fromarray(np.full((200, 300, 3), 90, np.uint8)).save(blank)
    photos = [trays[0] / NAMES[0], blank]
    with tile_core(tmp_path / "t.h5", photos, size=64) as tiles:
        assert tiles.ledger["reason"].tolist() == ["", "no-rows"]
    with pytest.raises(ValueError, match=r"no-rows no rows of core were found"):
        tile_core(tmp_path / "u.h5", blank)
