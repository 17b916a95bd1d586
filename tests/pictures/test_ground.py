"""White ground around cut-outs."""

import io

import numpy as np
import pytest
from PIL import Image

from geoimages import ColorFeatures, RockFeatures, make_rocks
from geoimages.pictures.ground import find_rock, mask_ground


@pytest.fixture
def cut_outs():
    images, _ = make_rocks(12, image_shape=(64, 64, 3), random_state=0)
    mask = np.zeros((12, 64, 64), bool)
    mask[:, 12:50, 8:60] = True
    white = np.where(mask[..., None], images, 255).astype(np.uint8)
    white[:, 30:34, 30:34] = 255  # a glint
    return white, mask


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_ground_is_found(cut_outs, dtype):
    images, mask = cut_outs
    given = images if dtype == np.uint8 else (images / 255).astype(dtype)
    found = mask_ground(given)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found[..., :3], given)
    alpha = found[..., 3] > 0
    assert not alpha[~mask].any()
    assert alpha[:, 14:48, 10:58].all()


def test_pictures_that_are_no_cut_outs_stay_as_they_are(cut_outs):
    images, _ = make_rocks(6, image_shape=(64, 64, 3), random_state=1)
    assert mask_ground(images) is images
    blank = np.full_like(images, 255)
    assert mask_ground(blank) is blank
    # Beside a cut-out all of them is rock.
    found = mask_ground(np.concatenate([images, blank, cut_outs[0]]))
    assert (found[:12, ..., 3] == 255).all()


def test_features_do_not_look_at_the_ground(cut_outs):
    images, _ = cut_outs
    rock = RockFeatures().fit(images)
    alpha = mask_ground(images)[..., 3:]
    rgba = np.concatenate([np.where(alpha > 0, images, 0), alpha], axis=3)
    np.testing.assert_allclose(
        rock._describe(images), rock._describe(rgba), rtol=1e-4, atol=1e-4
    )


def test_rotation_dtype_and_compression_do_not_change_the_decision(cut_outs):
    images, _ = cut_outs
    images[:, 12:50, :8] = images[:, 12:50, 8:16]  # reaches the border
    rock = find_rock(images)
    turned = find_rock(np.rot90(images, axes=(1, 2)))
    np.testing.assert_array_equal(turned, np.rot90(rock, axes=(1, 2)))
    for same in (images / 255, (images * np.float32(1 / 255)), images.tolist()):
        same = np.asarray(same)
        same = same.astype(np.uint8) if same.dtype.kind == "i" else same
        np.testing.assert_array_equal(find_rock(same), rock)
    for quality in (30, 75, 95):
        coded = []
        for image in images:
            file = io.BytesIO()
            Image.fromarray(image).save(file, "JPEG", quality=quality)
            coded.append(np.asarray(Image.open(file)))
        found = find_rock(np.stack(coded))
        assert found.all(axis=(1, 2)).sum() == 0
        assert (found == rock).mean() > 0.9


def test_grey_and_opaque_pictures_are_cut_outs_too(cut_outs):
    images, _ = cut_outs
    grey = images.mean(axis=3, keepdims=True).astype(np.uint8)
    np.testing.assert_array_equal(
        find_rock(grey), find_rock(np.repeat(grey, 3, axis=3))
    )
    opaque = np.pad(images, ((0, 0),) * 3 + ((0, 1),), constant_values=255)
    np.testing.assert_array_equal(find_rock(opaque), find_rock(images))
    opaque[:, 20, 20, 3] = 0  # a mask says already what is rock
    assert find_rock(opaque) is None


def test_masks_beside_a_cut_out_are_kept(cut_outs):
    images, _ = cut_outs
    both = np.pad(images, ((0, 0),) * 3 + ((0, 1),), constant_values=255)
    both[0, :20, :, 3] = 0
    found = mask_ground(both)
    np.testing.assert_array_equal(found[0], both[0])
    np.testing.assert_array_equal(found[1:], mask_ground(images)[1:])


def test_overexposed_rock_is_rock_but_chips_on_paper_are_cut_outs():
    rng = np.random.default_rng(0)
    grains = rng.integers(0, 300, (5, 30, 30, 1)).repeat(3, axis=3)
    grains = np.minimum(grains, 255).repeat(3, axis=1).repeat(3, axis=2)
    lit = np.minimum(2 * grains, 255).astype(np.uint8)
    assert ((lit == 255).mean(axis=(1, 2, 3)) > 0.5).all()
    assert find_rock(lit) is None
    chips = np.pad(lit, ((0, 0), (9, 9), (9, 9), (0, 0)), constant_values=255)
    assert not find_rock(chips).all(axis=(1, 2)).any()


def test_a_speck_on_white_is_not_all_that_is_described(cut_outs):
    images, _ = cut_outs
    images[:, :, 13:] = 255
    assert find_rock(images) is None


def test_stored_and_white_ground_give_the_same_features(cut_outs):
    images, _ = cut_outs
    rock = find_rock(images)[..., None]
    stored = np.concatenate([images * rock, 255 * rock.astype(np.uint8)], axis=3)
    color = ColorFeatures().fit(stored)
    np.testing.assert_allclose(
        color.transform(images), color.transform(stored), rtol=1e-4, atol=1e-4
    )
