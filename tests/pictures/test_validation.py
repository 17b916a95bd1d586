"""Rows and pictures, one shape and one scale."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator

from geoimages import (
    Collection,
    ColorFeatures,
    ConvNetClassifier,
    Images,
    KMeansModel,
    PairwiseModel,
    RockFeatures,
    find_duplicates,
    make_rocks,
    resize_image,
)
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


@pytest.mark.parametrize("kind", [np.uint16, np.int64])
def test_masks_of_wide_integers_are_in_0_to_255(images, kind):
    rgba = np.concatenate([images, np.full((5, 4, 4, 1), 200, np.uint8)], axis=3)
    for fitted, given in ((images, rgba), (rgba, images)):
        holder = Holder()
        check_images(holder, fitted)
        expected = check_images(holder, given, reset=False, dtype=None)
        found = check_images(holder, given.astype(kind), reset=False, dtype=None)
        np.testing.assert_array_equal(found, expected)


def test_rows_too_large_for_features_are_said(images):
    rows = images.reshape(5, -1).astype(float)
    with pytest.raises(
        ValueError, match=r"up to 2\.55e\+08, too large for the features"
    ):
        ColorFeatures().fit(rows * 1e6)
    features = ColorFeatures().fit(rows)
    with pytest.raises(ValueError, match="too large for the features"):
        features.transform(rows * 1e6)
    assert np.isfinite(features.transform(rows * 1e3)).all()


def test_lists_of_pictures(images):
    np.testing.assert_array_equal(
        check_images(Holder(), list(images)), check_images(Holder(), images)
    )
    with pytest.raises(ValueError, match="2 shapes, from 4 × 4 × 3 to 5 × 4 × 3"):
        check_images(Holder(), [images[0], np.zeros((5, 4, 3), np.uint8)])


UNSCALED = "from .* to 255, expected 0 to 1; divide those in 0–255 by 255"


@pytest.fixture(scope="module")
def rocks():
    return make_rocks(24, random_state=0)


def unscaled(images):
    """Float pictures in 0–255, as many files hold them."""
    images = images.astype(np.float32)
    images[0, 0, 0] = [0, 255, 255]
    return images


@pytest.mark.parametrize(
    "estimator",
    [
        PairwiseModel(),
        KMeansModel(3),
        PairwiseModel(features=RockFeatures(n_filters=4)),
        ColorFeatures(),
        RockFeatures(n_filters=4),
        ConvNetClassifier(ColorFeatures(), max_epochs=2, random_state=0),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_float_pictures_beyond_1_are_refused(rocks, estimator):
    images, labels = rocks
    wrong, use = unscaled(images), "predict"
    if not hasattr(estimator, use):
        use = "transform"
    with pytest.raises(ValueError, match=UNSCALED):
        estimator.fit(wrong, labels)
    estimator.fit(images, labels)
    for given in (wrong, wrong.reshape(len(wrong), -1)):  # rows: pictures were fitted
        with pytest.raises(ValueError, match=UNSCALED):
            getattr(estimator, use)(given)
    expected = getattr(estimator, use)(images)
    for kind in (np.int64, np.uint16):
        for given in (images.astype(kind), images.astype(kind).reshape(24, -1)):
            np.testing.assert_array_equal(getattr(estimator, use)(given), expected)
    with pytest.raises(ValueError, match="integers from .* to 256, expected 0 to 255"):
        getattr(estimator, use)(np.where(wrong == 255, 256, 0))


def test_rows_are_pictures_where_their_shape_is_stated(images):
    rows = images.reshape(5, -1)
    wrong = unscaled(images).reshape(5, -1)
    with pytest.raises(ValueError, match=UNSCALED):
        check_images(Holder((4, 4, 3)), wrong)
    taken = check_images(Holder(), wrong)
    assert taken.max() == 255  # of unknown meaning
    for given in (
        rows.astype(np.int64),
        pd.DataFrame(rows).astype("UInt8"),
        pd.DataFrame(rows).astype("Int64"),
    ):
        taken = check_images(Holder((4, 4, 3)), given, dtype=None)
        np.testing.assert_array_equal(taken, images)
        assert taken.dtype == np.uint8


def test_a_collection_was_pictures(rocks, tmp_path):
    images, _ = rocks
    with Collection.from_arrays(tmp_path / "a.h5", images) as collection:
        model = PairwiseModel().fit(collection)
    with pytest.raises(ValueError, match=UNSCALED):
        model.predict(unscaled(images)[0].ravel())


def test_what_interpolation_adds_is_no_error(images):
    values = images / 255
    values[0, 0] = [-1e-4, 0, 1 + 1e-4]
    assert check_images(Holder(), values).max() > 1
    scaled = resize_image(values[0], (4, 4))
    assert scaled[0, 0].tolist() == [0, 0, 255]


def test_single_pictures_are_held_to_the_same_scale(images):
    wrong = unscaled(images)
    for take in (
        Images.flatten_image,
        lambda picture: resize_image(picture, (2, 2)),
        lambda picture: find_duplicates(picture[None]),
    ):
        with pytest.raises(ValueError, match=UNSCALED):
            take(wrong[0])
        with pytest.raises(ValueError, match="integers from .* to 1000"):
            take(np.where(wrong[0] == 255, 1000, 0))
    flat = Images.flatten_image(images[0])
    for kind in (np.int64, np.int32, np.uint16):
        np.testing.assert_array_equal(
            Images.flatten_image(images[0].astype(kind)), flat
        )
    small = resize_image(images[0], (2, 2))
    np.testing.assert_array_equal(resize_image(images[0] / 255, (2, 2)), small)
    np.testing.assert_array_equal(resize_image(images[0].astype(int), (2, 2)), small)
    with pytest.raises(ValueError, match=r"array of shape \(4, 4\)"):
        resize_image(images[0, ..., 0], (2, 2))


@pytest.mark.parametrize("scale", [1, 255])
def test_the_order_in_memory_changes_nothing(scale):
    rows = make_rocks(20, random_state=0)[0].reshape(20, -1)
    rows = rows if scale == 1 else rows / scale
    features = ColorFeatures()
    wanted = features.fit(rows).transform(rows)
    for other in (np.asfortranarray(rows), pd.DataFrame(np.asfortranarray(rows))):
        np.testing.assert_array_equal(features.fit(other).transform(other), wanted)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_one_line(images, bad):
    rows = images.reshape(len(images), -1) / 255
    rows[1, 7] = bad
    with pytest.raises(
        ValueError, match=r"Input X contains (NaN|inf).*leave those"
    ) as e:
        PairwiseModel().fit(rows)
    assert "\n" not in str(e.value)


def test_one_row_in_place_of_many_is_one_line(images):
    with pytest.raises(ValueError, match="Reshape your data") as error:
        PairwiseModel().fit(images[0].ravel())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("query", ["rows", "pictures"])
def test_pictures_after_rows_of_another_scale_are_an_error(query):
    """Floats in 0–255 as flat rows, and then uint8: once compared at 1/255 of them."""
    images, _ = make_rocks(12, random_state=0)
    model = PairwiseModel(3, "euclidean").fit(images.reshape(12, -1).astype(float))
    asked = images if query == "pictures" else images.reshape(12, -1)
    with pytest.raises(ValueError, match="divide float rows in 0–255 by 255"):
        model.predict(asked)
    assert len(model.predict(asked.reshape(12, -1).astype(float))) == 36
