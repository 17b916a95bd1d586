"""Rows and pictures, one shape and one scale."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator

from geoimages.pictures.validation import check_images, infer_image_shape


class Holder(BaseEstimator):
    def __init__(self, image_shape=None):
        self.image_shape = image_shape


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)


def test_pictures_and_their_rows_are_the_same(images):
    first, second = Holder(), Holder()
    a = check_images(first, images)
    b = check_images(second, images.reshape(5, -1))
    np.testing.assert_array_equal(a, b)
    assert first.image_shape_ == second.image_shape_ == (4, 4, 3)
    assert first.n_features_in_ == 48
    assert a.dtype == np.float32
    np.testing.assert_allclose(a, images / 255, rtol=1e-6)


def test_uint8_is_kept_on_request_and_other_numbers_as_they_are(images):
    assert check_images(Holder(), images, dtype=None).dtype == np.uint8
    whole = check_images(Holder(), np.array([[300, -2]]), dtype=None)
    assert whole.dtype == np.float64
    assert whole.ravel().tolist() == [300, -2]


@pytest.mark.parametrize(
    ("n", "stated", "shape"),
    [
        (2352, None, (28, 28, 3)),
        (10, None, (1, 10, 1)),
        (12, (2, 6), (2, 6, 1)),
        (64, (4, 4, 4), (4, 4, 4)),
    ],
)
def test_what_flat_rows_stand_for(n, stated, shape):
    assert infer_image_shape(n, stated) == shape


def test_a_shape_that_does_not_fit_is_said():
    with pytest.raises(ValueError, match=r"Rows hold 2352 values.*\(28, 28, 1\)"):
        check_images(Holder((28, 28, 1)), np.zeros((2, 2352)))
    with pytest.raises(ValueError, match="image_shape=\\(8, 2, 3\\)"):
        check_images(Holder((8, 2, 3)), np.zeros((2, 4, 4, 3)))
    with pytest.raises(ValueError, match="2 channels"):
        check_images(Holder(), np.zeros((2, 4, 4, 2)))


def test_other_pictures_than_fitted_are_said(images):
    holder = Holder()
    check_images(holder, images)
    with pytest.raises(ValueError, match="5 × 4 × 3, expected 4 × 4 × 3; resize"):
        check_images(holder, np.zeros((1, 5, 4, 3)), reset=False)
    with pytest.raises(ValueError, match="NaN"):
        check_images(holder, np.full((1, 4, 4, 3), np.nan), reset=False)


def test_masks_come_and_go_to_fit_what_was_fitted(images):
    rgb, rgba = Holder(), Holder()
    check_images(rgb, images)
    masked = np.concatenate([images, np.zeros((5, 4, 4, 1), np.uint8)], axis=3)
    check_images(rgba, masked)
    white = check_images(rgb, masked, reset=False, dtype=None)
    assert (white == 255).all()
    opaque = check_images(rgba, images, reset=False)
    assert (opaque[..., 3] == 1).all()
    opaque = check_images(rgba, images / 255, reset=False)
    assert (opaque[..., 3] == 1).all()


def test_lists_of_pictures(images):
    np.testing.assert_array_equal(
        check_images(Holder(), list(images)), check_images(Holder(), images)
    )
    with pytest.raises(ValueError, match="2 shapes, from 4 × 4 × 3 to 5 × 4 × 3"):
        check_images(Holder(), [images[0], np.zeros((5, 4, 3), np.uint8)])
