"""Augmentation: seeded, bounded, and each change does what it says."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter
from sklearn.base import clone

from geoimages import Augmentation
from geoimages.pictures.augmentation import (
    _TRANSFORMATIONS,
    blur,
    compress,
    rotate_hue,
    soften,
)

OFF = dict.fromkeys((name for name, _ in _TRANSFORMATIONS), 0)


@pytest.fixture
def images(pictures):
    return pictures[0][:40]


def test_seeds_repeat_and_pictures_change(images):
    a, b, c = (Augmentation().apply(images, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()
    assert a.dtype == np.uint8
    assert a.shape == images.shape
    assert (a != images).any(axis=(1, 2, 3)).mean() > 0.8


def test_nothing_happens_without_odds(images):
    still = Augmentation(**OFF, turn=False).apply(images, 0)
    np.testing.assert_array_equal(still, images)
    never = Augmentation(several=(1,), turn=False).apply(images, 0)
    np.testing.assert_array_equal(never, images)


@pytest.mark.parametrize("name", OFF)
def test_each_transformation_alone_changes_pictures(images, name):
    only = Augmentation(**OFF | {name: 1}, turn=False, several=(0, 1))
    augmented = only.apply(images, 0)
    differs = (augmented != images).any(axis=(1, 2, 3))
    assert differs.mean() > 0.9
    # The picture is still there.
    for before, after in zip(images, augmented, strict=True):
        a, b = before.mean(axis=2).ravel(), after.mean(axis=2).ravel()
        if a.std() > 8 and b.std() > 8 and name != "field":
            assert np.corrcoef(a, b)[0, 1] > 0.2


def test_rotations_move_pixels_only(images):
    rotated = Augmentation(**OFF).apply(images, 0)
    for before, after in zip(images, rotated, strict=True):
        views = [np.rot90(x, k) for k in range(4) for x in (before, before[:, ::-1])]
        assert any(np.array_equal(after, view) for view in views)
    wide = images[:, :20]
    for before, after in zip(wide, Augmentation(**OFF).apply(wide, 0), strict=True):
        views = [before[::a, ::b] for a in (1, -1) for b in (1, -1)]
        assert any(np.array_equal(after, view) for view in views)


def test_masks_are_rotated_along_and_left_alone(images):
    mask = np.zeros((40, 28, 28, 1), np.uint8)
    mask[:, :9] = 255
    rgba = np.concatenate([images, mask], axis=3)
    augmented = Augmentation().apply(rgba, 0)
    assert (
        np.sort(augmented[..., 3].reshape(40, -1)) == np.sort(mask.reshape(40, -1))
    ).all()
    still = Augmentation(turn=False).apply(rgba, 0)
    np.testing.assert_array_equal(still[..., 3:], mask)


def test_jpeg_losses_are_those_of_a_jpeg(images):
    """Encoders differ in their transforms' rounding: by far less than what is lost."""
    for quality in (15, 40, 75):
        expected = []
        for image in images:
            file = BytesIO()
            Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling=2)
            expected.append(np.asarray(Image.open(file)).astype(float))
        ours = compress(images, np.full(40, quality))
        assert ours.dtype == np.uint8
        lost = np.abs(np.array(expected) - images).mean()
        assert np.abs(ours - expected).mean() < 0.2 * lost
    kept = compress(images, np.full(40, 100)).astype(int)
    assert np.abs(kept - images).mean() < np.abs(ours.astype(int) - images).mean()


def test_blur_is_a_gaussian(images):
    sigma = np.linspace(0.3, 1.0, 40)
    values = images.astype(np.float32)
    for image, out, s in zip(values, blur(values, sigma), sigma, strict=True):
        expected = gaussian_filter(image, (s, s, 0), mode="mirror", radius=3)
        np.testing.assert_allclose(out, expected, atol=0.05)


def test_soften_of_a_picture_without_detail_is_itself():
    flat = np.full((3, 9, 10, 3), 77, np.float32)
    np.testing.assert_allclose(soften(flat, np.array([0, 0.5, 1])), flat, rtol=1e-5)


def test_hue_rotations_leave_grey_alone(images):
    grey = np.repeat(images[..., :1], 3, axis=3).astype(np.float32)
    np.testing.assert_allclose(rotate_hue(grey, np.full(40, 0.4)), grey, atol=1e-2)
    color = images.astype(np.float32)
    back = rotate_hue(rotate_hue(color, np.full(40, 0.4)), np.full(40, -0.4))
    np.testing.assert_allclose(back, color, atol=1e-2)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (5, 1), (3, 2)])
def test_pictures_of_a_few_pixels_are_augmented_too(shape):
    images = np.full((40, *shape, 3), 99, np.uint8)
    for name in OFF:
        only = Augmentation(**OFF | {name: 1}, several=(0, 1))
        assert only.apply(images, 0).shape == images.shape


@pytest.mark.parametrize(
    "odds", [{"gain": -1}, {"several": (0, 0)}, {"several": (-1, 2)}]
)
def test_impossible_odds(images, odds):
    with pytest.raises(ValueError, match="odds of an Augmentation"):
        Augmentation(**odds).apply(images, 0)


def test_it_is_a_tunable_object():
    augment = Augmentation(noise=0)
    assert clone(augment).get_params()["noise"] == 0
    assert "noise=0" in repr(augment)
    assert Augmentation().apply(np.empty((0, 8, 8, 3), np.uint8), 0).shape == (
        0,
        8,
        8,
        3,
    )
