"""Pictures of many sizes come to one."""

import numpy as np
import pytest

from geoimages import resize_image


@pytest.fixture
def wide():
    """20 × 60: red left, green middle, blue right."""
    image = np.zeros((20, 60, 3), np.uint8)
    for i in range(3):
        image[:, 20 * i : 20 * (i + 1), i] = 255
    return image


def test_crop_keeps_the_middle(wide):
    out = resize_image(wide, (10, 10))
    assert out.shape == (10, 10, 3)
    assert (out[:, 2:8] == [0, 255, 0]).all()


def test_stretch_keeps_everything(wide):
    out = resize_image(wide, (30, 30), fit="stretch")
    assert out[15, 3].argmax() == 0
    assert out[15, 27].argmax() == 2


def test_pad_masks_what_it_adds(wide):
    out = resize_image(wide, (30, 30), fit="pad")
    assert out.shape == (30, 30, 4)
    rock = out[..., 3] > 127
    assert rock[10:20].all()
    assert not rock[:10].any()
    assert not rock[20:].any()
    assert (out[~rock][:, :3] == 255).all()


def test_the_same_size_is_left_as_it_is(wide):
    np.testing.assert_array_equal(resize_image(wide, (20, 60)), wide)


def test_shrinking_averages_all_pixels():
    checks = np.indices((64, 64)).sum(axis=0) % 2 * 255
    image = np.dstack([checks] * 3).astype(np.uint8)
    np.testing.assert_allclose(resize_image(image, (8, 8)), 127.5, atol=3)


def test_color_under_the_mask_does_not_bleed():
    image = np.zeros((40, 40, 4), np.uint8)
    image[:, :20] = [255, 0, 0, 255]
    image[:, 20:] = [0, 255, 0, 0]
    out = resize_image(image, (10, 10))
    assert (out[..., 1][out[..., 3] > 127] < 10).all()


@pytest.mark.parametrize("shape", [(1, 300, 3), (300, 1, 3), (31, 29, 3)])
@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_any_shape_comes_to_the_size(shape, fit):
    assert resize_image(np.ones(shape, np.uint8), (28, 17), fit).shape[:2] == (28, 17)


@pytest.mark.parametrize("size", [(0, 5), 28, ("a", "b"), (5,)])
def test_a_bad_size_is_named(wide, size):
    with pytest.raises(ValueError, match=r"\(height, width\) in pixels"):
        resize_image(wide, size)


def test_an_unknown_fit_is_named(wide):
    with pytest.raises(ValueError, match="fit='zoom'"):
        resize_image(wide, (5, 5), fit="zoom")
