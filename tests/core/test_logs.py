"""Logs down the hole and their sums over intervals."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from geoimages import Plots, coverage, log_core, tile_core
from geoimages.cli import main
from geoimages.core.logs import Cumulated


class Brightness:
    """A classifier that calls a tile dark or light."""

    classes_ = np.array(["dark", "light"])

    def __init__(self, image_shape):
        self.image_shape_ = image_shape

    def predict_proba(self, images):
        light = (images.mean(axis=(1, 2, 3)) > 110).astype(float)
        light = 0.1 + 0.8 * light
        return np.stack([1 - light, light], axis=1)


@pytest.fixture(scope="module")
def tiles(tmp_path_factory):
    """Holes A and B, 10 to 12 m: dark to 10.5 m, then light; a gap in A."""
    folder = tmp_path_factory.mktemp("holes")
    rng = np.random.default_rng(0)
    for hole in "AB":
        row = rng.integers(60, 90, (64, 800, 1), np.uint8).repeat(3, axis=2)
        photo = np.zeros((160, 820, 3), np.uint8)
        photo[10:74, 10:810], photo[86:150, 10:810] = row, row + 80
        photo[10:74, 410:810] += 80
        if hole == "A":
            photo[86:150, 410:610] = 0
        name = folder / f"{hole}_1_10_12"
        Image.fromarray(photo).save(name.with_name(f"{name.name}.png"))
        boxes = [[[10, y], [810, y], [810, y + 64], [10, y + 64]] for y in (10, 86)]
        name.with_name(f"{name.name}.rows.json").write_text(f'{{"rows": {boxes}}}')
    with tile_core(folder / "t.h5", folder, size=32, scales=1) as collection:
        yield collection


def test_classes_are_logged_where_they_lie(tiles):
    log = log_core(tiles, model=Brightness(tiles.image_shape), window=0.02, step=0.01)
    assert log.columns[:5].tolist() == ["hole", "from", "to", "class", "probability"]
    for hole in "AB":
        part = log[log["hole"] == hole]
        assert (part.loc[part["to"] <= 10.45, "class"] == "dark").all()
        below = (part["from"] >= 10.55) & ~part["from"].between(11.4, 11.8)
        assert (part.loc[below, "class"] == "light").all()
        np.testing.assert_allclose(part[["p_dark", "p_light"]].sum(axis=1), 1)
    # Nothing is logged where the core is missing, from 11.5 to 11.75 m.
    gone = log[(log["from"] > 11.53) & (log["to"] < 11.72)]
    assert set(gone["hole"]) == {"B"}
    assert log.loc[log["hole"] == "B", "area"].min() > 0.99


def test_smoothing_is_the_mean_over_the_window():
    starts, stops = np.array([0.0, 1, 1.5]), np.array([1.0, 2, 2.5])
    values = np.array([[1.0], [3.0], [8.0]])
    sums = Cumulated(starts, stops, values)
    depth = np.array([0, 0.5, 1, 1.5, 2, 2.5, 9])
    fine = np.linspace(0, 2.5, 2501)
    density = sum(
        v * ((fine >= a) & (fine < b)) / (b - a)
        for a, b, v in zip(starts, stops, values[:, 0], strict=True)
    )
    slow = [density[fine < d - 1e-9].sum() / 1000 for d in depth]
    np.testing.assert_allclose(sums.up_to(depth)[:, 0], slow, atol=0.02)


def test_similarity_is_highest_where_the_picture_is_from(tiles):
    like = tiles[tiles.where(hole="B", depth="10.1..10.2")[0]]
    log = log_core(tiles, like=like, window=0.05, where={"hole": "B"})
    assert set(log["hole"]) == {"B"}
    near = log["to"] < 10.45
    assert log.loc[near, "similarity"].min() > log.loc[~near, "similarity"].max() - 0.2
    assert log.loc[near, "similarity"].mean() > log.loc[~near, "similarity"].mean()


def test_coverage_of_intervals(tiles):
    log = log_core(tiles, model=Brightness(tiles.image_shape), window=0.02, step=0.01)
    table = pd.DataFrame(
        [
            ("A", 10, 10.4, "x"),
            ("B", 10, 11, "y"),
            ("A", 11.5, 11.75, "z"),
            ("C", 0, 1, ""),
        ],
        columns=["hole", "from", "to", "note"],
    )
    found = coverage(log, table).set_index("note")
    assert found.loc["x", ["share_dark", "logged"]].tolist() == [1, 1]
    assert abs(found.loc["y", "share_dark"] - 0.5) < 0.05
    assert abs(found.loc["x", "probability"] - 0.9) < 1e-6
    assert found.loc["z", "area"] < 0.2
    assert found.loc["", "logged"] == 0
    assert np.isnan(found.loc["", "share_dark"])
    # Intervals without a hole are summed up for each.
    assert coverage(log, table[["from", "to"]][:1])["hole"].tolist() == ["A", "B"]
    with pytest.raises(
        ValueError, match=r"Line 2 of the table of intervals is no interv"
    ):
        coverage(log, table.assign(to=table["from"]))
    with pytest.raises(ValueError, match="lacks to"):
        coverage(log, table.drop(columns="to"))


def test_what_is_no_picture_and_no_log_is_refused(tiles):
    grey = np.zeros((40, 40), np.uint8)
    for picture, told in ((grey, "must have shape"), (tiles[0][:9], "too small")):
        with pytest.raises(ValueError, match=told):
            log_core(tiles, picture)
    with pytest.raises(ValueError, match="lacks the columns hole, area; give what"):
        coverage(pd.DataFrame({"from": [0], "to": [1]}), pd.DataFrame())


def test_strips_have_pages(tiles):
    log = log_core(tiles, like=tiles[0], window=0.1)
    pages = Plots.strip(tiles, log, page=0.75)
    assert len(pages) == 3
    assert [round(page.axes[0].get_ylim()[0], 2) for page in pages] == [
        10.75,
        11.5,
        12.25,
    ]
    assert len(pages[0].axes) == 4  # two holes, each the core and a curve
    whole = Plots.strip(tiles, [log], holes=["B"])
    assert [page.axes[0].get_title() for page in whole] == ["B"]
    with pytest.raises(ValueError, match="are not all there; t.h5 has A, B"):
        Plots.strip(tiles, holes=["X"])


def test_command_writes_log_and_pages(tiles, tmp_path, capsys):
    Image.fromarray(tiles[3]).save(tmp_path / "crop.png")
    (tmp_path / "units.csv").write_text("from,to\n10,11\n11,12\n")
    argv = ["log", str(tiles.path), "--like", str(tmp_path / "crop.png")]
    assert main([*argv, "-o", str(tmp_path / "log.csv"), "--where", "hole=A"]) == 0
    log = pd.read_csv(tmp_path / "log.csv")
    assert log.columns.tolist() == ["hole", "from", "to", "similarity", "area"]
    assert set(log["hole"]) == {"A"}
    capsys.readouterr()
    plot = str(tmp_path / "log.pdf")
    units = str(tmp_path / "units.csv")
    assert main([*argv, "--intervals", units, "--plot", plot, "--page", "1"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5
    assert (tmp_path / "log.pdf").read_bytes().count(b"/Type /Page ") == 2
    assert main(["log", str(tiles.path)]) == 2
    assert main([*argv, "--window", "nan"]) == 2
    wrong = capsys.readouterr().err
    assert "window nan must be meters" in wrong


def test_tiles_without_depth_are_refused(tiles, tmp_path):
    photo = tmp_path / "tray.png"
    grain = np.random.default_rng(0).integers(60, 160, (64, 96, 3), np.uint8)
    Image.fromarray(grain).save(photo)
    (tmp_path / "tray.rows.json").write_text(
        '{"rows": [[[0, 0], [96, 0], [96, 64], [0, 64]]]}'
    )
    with (
        tile_core(tmp_path / "t.h5", photo, size=32) as unknown,
        pytest.raises(ValueError, match="The tiles of t.h5 know no depth"),
    ):
        log_core(unknown, like=unknown[0])
