"""White ground around cut-outs."""

import numpy as np
import pytest

from geoimages import RockFeatures, make_rocks
from geoimages.pictures.ground import mask_ground


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
