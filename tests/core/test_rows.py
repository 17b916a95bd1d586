"""Rows of trays: found, kept beside the photograph, straightened."""

import json

import numpy as np
import pytest
from PIL import Image
from skimage.draw import polygon2mask

from geoimages import find_rows, make_tray, tray_rows
from geoimages.core.finding import _on_photograph
from geoimages.core.rows import check_rows, path_of_rows
from geoimages.pictures.perspective import mapped, straighten, to_front


def overlap(a, b, shape):
    """Intersection over union of two quadrilaterals."""
    first, second = (polygon2mask(shape[:2], c[:, ::-1]) for c in (a, b))
    return (first & second).sum() / (first | second).sum()


def depth_error(found, true):
    """Largest error along a row, as a share of its length."""
    u, v = np.meshgrid(np.linspace(0.02, 0.98, 9), [0.1, 0.5, 0.9])
    places = np.stack([u, v], axis=-1).reshape(-1, 2)
    there = mapped(np.linalg.inv(to_front(true)), places)
    return np.abs(mapped(to_front(found), there)[:, 0] - places[:, 0]).max()


@pytest.mark.parametrize(
    ("kind", "vertical", "seed"),
    [
        ("light plastic", True, 1002),
        ("dark plastic", False, 1003),
        ("colored plastic", False, 1004),
    ],
)
def test_rows_of_drawn_trays_are_found(kind, vertical, seed):
    tray = make_tray(
        n_rows=3 + seed % 4, kind=kind, vertical=vertical, random_state=seed
    )
    rows = find_rows(tray.image)
    assert len(rows) == len(tray.rows)
    for found, true in zip(rows, tray.rows, strict=True):
        assert overlap(found, true, tray.image.shape) > 0.9
        assert depth_error(found, true) < 0.02


def test_trays_are_drawn_as_their_truth_says():
    strips = [np.full((90, 700, 3), tone, np.uint8) for tone in (60, 120, 180)]
    tray = make_tray(strips, kind="wood", random_state=5)
    assert tray.rows.shape == (3, 4, 2)
    tones = [np.median(straighten(tray.image, row)) for row in tray.rows]
    assert tones[0] < tones[1] < tones[2]
    with pytest.raises(ValueError, match="kind must be one of wood"):
        make_tray(kind="glass")


def test_a_plain_photograph_has_no_rows():
    noise = np.random.default_rng(0).integers(90, 160, (200, 300, 3), dtype=np.uint8)
    assert find_rows(noise).shape == (0, 4, 2)
    assert find_rows(noise[:20]).shape == (0, 4, 2)
    with pytest.raises(ValueError, match="must be uint8 of shape"):
        find_rows(noise / 255)


def test_what_lies_in_a_quadrilateral_is_seen_from_the_front():
    image = np.zeros((60, 80, 3), np.uint8)
    image[20:40, 10:70, 0] = np.linspace(50, 250, 60)
    corners = np.array([[10, 20], [70, 20], [70, 40], [10, 40]])
    part = straighten(image, corners)
    np.testing.assert_array_equal(part, image[20:40, 10:70])
    turned = straighten(image, np.roll(corners, -1, axis=0))
    np.testing.assert_array_equal(turned, np.rot90(part))


def test_ground_beside_the_tray_is_no_row():
    corners = np.array([[[20, -30], [180, -10], [180, 10], [20, -5]], ROW], float)
    assert _on_photograph(corners, (100, 200)).tolist() == [ROW]


def test_a_long_photograph_is_one_row():
    column = (np.arange(600) % 256).astype(np.uint8)[:, None, None]
    column = column.repeat(100, 1).repeat(3, 2)
    (row,) = find_rows(column)
    np.testing.assert_array_equal(straighten(column, row), np.rot90(column))
    (row,) = find_rows(column.transpose(1, 0, 2).copy())
    assert row.tolist() == [[0, 0], [600, 0], [600, 100], [0, 100]]


@pytest.fixture
def photo(tmp_path):
    """A photograph without a tray."""
    path = tmp_path / "TRAY.png"
    Image.fromarray(np.full((100, 200, 3), 90, np.uint8)).save(path)
    return path


def write(photo, content):
    text = content if isinstance(content, str) else json.dumps(content)
    path_of_rows(photo).write_text(text, encoding="utf-8")


ROW = [[10, 10], [190, 12], [190, 40], [10, 38]]


def test_rows_written_by_hand_are_taken(photo):
    write(photo, {"rows": [ROW]})
    np.testing.assert_array_equal(tray_rows(photo), [ROW])


def test_rows_are_written_once_and_then_read(tmp_path):
    tray = make_tray(n_rows=3, kind="wood", random_state=1001)
    photo = tmp_path / "TRAY.png"
    Image.fromarray(tray.image).save(photo)
    found = tray_rows(photo)
    path = path_of_rows(photo)
    about = json.loads(path.read_text(encoding="utf-8"))
    about["rows"] = about["rows"][1:]
    write(photo, about)
    np.testing.assert_allclose(tray_rows(photo), found[1:], atol=0.051)
    assert len(tray_rows(photo, again=True)) == 3
    Image.fromarray(tray.image[:-5]).save(photo)
    with pytest.raises(ValueError, match=r"TRAY.png has changed since its rows"):
        tray_rows(photo)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ([1], "must hold an object"),
        ({}, "holds no list of rows"),
        ({"rows": []}, "holds no list of rows"),
        ({"rows": [ROW] * 101}, "holds 101 rows"),
        ({"rows": [ROW, ROW[:3]]}, "row 2 that is not four corners"),
        ({"rows": [[[1, "a"], *ROW[1:]]]}, "row 1 that is not four corners"),
        ({"rows": [[[1, 2, 3], *ROW[1:]]]}, "row 1 that is not four corners"),
        ('{"rows": [[[NaN, 10], [190, 12], [190, 40], [10, 38]]]}', "is no number"),
        ({"rows": [[[10**400, 10], *ROW[1:]]]}, "is not four corners|not lie"),
        ({"rows": [[[1e300, 10], *ROW[1:]]]}, "does not lie on the photograph of 200"),
        ({"rows": [[ROW[0], ROW[2], ROW[1], ROW[3]]]}, "is no quadrilateral"),
        ({"rows": [[ROW[0], ROW[0], ROW[2], ROW[3]]]}, "is no quadrilateral"),
        ({"rows": [ROW[::-1]]}, "run counterclockwise"),
        ({"rows": [ROW], "version": 7}, "is of version 7"),
    ],
)
def test_rows_that_cannot_be_used_are_refused_in_one_line(photo, content, told):
    write(photo, content)
    with pytest.raises(ValueError, match=told) as error:
        tray_rows(photo)
    assert "TRAY.rows.json" in str(error.value)
    assert "\n" not in str(error.value)


def test_no_rows_are_told(photo):
    with pytest.raises(ValueError, match="No rows of core were found on TRAY.png"):
        tray_rows(photo)
    assert not path_of_rows(photo).exists()


def test_rows_are_checked_where_they_lie():
    shifted = np.array(ROW) + np.array([0, 200])
    with pytest.raises(ValueError, match="does not lie"):
        check_rows([shifted], 200, 100)
