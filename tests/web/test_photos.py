"""Answers on large photographs: places as boxes, and parts at the size they are shown."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from geoimages import Collection, make_rocks


@pytest.fixture(scope="module")
def photo():
    """A drawn photograph."""
    return make_rocks(6, image_shape=(320, 240, 3), random_state=4)[0][1]


@pytest.fixture
def trays(photo, serve, tmp_path):
    """A page of the photograph's tiles."""
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(photo).save(folder / "tray.png")
    path = tmp_path / "tiles.h5"
    Collection.from_tiles(path, folder / "tray.png", size=64, keep_all=True).close()
    served = serve("tiles.h5")
    served.wait()
    return served


@pytest.fixture
def part(photo, tmp_path):
    """A part of it, rotated, as a file."""
    path = tmp_path / "part.png"
    Image.fromarray(np.rot90(photo[150:230, 90:170])).save(path)
    return path


def test_a_part_is_found_in_its_photograph(trays, part, photo):
    got = trays.get("/api/locate", body=part.read_bytes())
    best = got["places"][0]
    assert best["found"]
    assert best["orientation"] % 360 == pytest.approx(270, abs=2)
    assert [best[name] for name in ("x", "y", "width", "height")] == pytest.approx(
        [90, 150, 80, 80], abs=3
    )
    assert got["photos"] == [{"name": best["name"], "width": 240, "height": 320}]
    whole = trays.ask(f"/photo/{got['version']}/1024/0", box="0,0,240,320")
    assert "immutable" in whole[1]["Cache-Control"]
    image = np.asarray(Image.open(BytesIO(whole[2]))).astype(int)
    assert image.shape == photo.shape
    assert abs(image - photo).mean() < 6
    small = trays.ask(f"/photo/{got['version']}/64/0", box="0,160,240,320")[2]
    assert max(Image.open(BytesIO(small)).size) <= 64
    for wrong in (f"{got['version']}/1024/1", f"{'0' * 16}/1024/0"):
        assert trays.ask(f"/photo/{wrong}", box="0,0,9,9")[0] == 404
    for box in ("a", f"{'9' * 400},0,1,1"):
        assert trays.ask(f"/photo/{got['version']}/1024/0", box=box)[0] == 404


def test_a_tile_is_not_found_where_it_was_cut(trays):
    shelf = trays.desk.shelf()
    key = str(shelf.rocks.keys[0])
    row = shelf.table.loc[key]
    for place in trays.get("/api/locate", key=key)["places"]:
        assert abs(place["x"] - row["x"]) + abs(place["y"] - row["y"]) > 10


def test_other_collections_have_no_photographs(serve):
    served = serve()
    status, _, content = served.ask("/api/locate", key="x")
    while status == 202:
        status, _, content = served.ask("/api/locate", key="x")
    assert (status, b"holds no large photographs" in content) == (400, True)
    assert served.get("/api/about")["photos"] == 0


def test_places_are_shown_on_the_photograph(open_tab, faults, trays, part):
    tab = open_tab(trays.url, viewport={"width": 360, "height": 740})
    tab.wait_for_selector("#samples img")
    tab.set_input_files("#file", part)
    tab.wait_for_selector("#locate:visible")
    tab.click("#locate")
    tab.wait_for_selector("#places canvas", timeout=120_000)
    assert "found in a photograph" in tab.inner_text("#places .verdict")
    tab.click("#places button:text-is('+')")
    tab.click("text=Whole photograph")
    tab.wait_for_timeout(600)
    drawn = """() => {
      const canvas = document.querySelector("#places canvas");
      const { width, height } = canvas;
      const data = canvas.getContext("2d").getImageData(0, 0, width, height).data;
      let frame = 0;
      for (let i = 0; i < data.length; i += 4) {
        frame += data[i] === 255 && data[i + 1] === 169 && data[i + 2] === 14;
      }
      return frame;
    }"""
    assert tab.evaluate(drawn) > 50
    assert not faults(tab)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    tab.focus("#places .photo")
    for _ in range(9):
        tab.keyboard.press("ArrowRight")
    tab.wait_for_timeout(300)
    assert not tab.evaluate(drawn)  # it was moved out of sight
    tab.keyboard.press("0")
    tab.wait_for_timeout(300)
    assert tab.evaluate(drawn) > 50
