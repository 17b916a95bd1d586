"""Scores of classifiers, checked by hand and against scikit-learn."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from sklearn import metrics
from sklearn.calibration import calibration_curve
from sklearn.dummy import DummyClassifier

from geoimages import (
    classification_report,
    disturbance_table,
    disturbances,
    expected_calibration_error,
    reliability_curve,
)


@pytest.fixture
def images(pictures):
    return pictures[0][:12]


def test_the_eight_disturbances_are_what_they_say(images):
    changed = dict(disturbances(images))
    wide = images.astype(float)

    def rounded(values):
        return np.clip(np.rint(values), 0, 255).astype(np.uint8)

    assert len(changed) == 8
    np.testing.assert_array_equal(
        changed["quarter turn"], [np.rot90(image) for image in images]
    )
    np.testing.assert_array_equal(changed["brighter"], rounded(wide * 1.2))
    np.testing.assert_array_equal(changed["darker"], rounded(wide * 0.8))
    np.testing.assert_array_equal(
        changed["red up, blue down"], rounded(wide * [1.1, 1, 0.9])
    )
    grey = rounded(wide.mean(axis=3))
    np.testing.assert_array_equal(changed["grey"], np.stack([grey] * 3, axis=3))
    noise = changed["noise"].astype(float) - images
    inside = (images > 40) & (images < 215)
    assert noise[inside].std() == pytest.approx(10, rel=0.05)
    assert abs(noise[inside].mean()) < 0.5
    file = BytesIO()
    Image.fromarray(images[3]).save(file, "JPEG", quality=30)
    np.testing.assert_array_equal(changed["JPEG 30"][3], np.asarray(Image.open(file)))
    assert changed["blur"].std() < images.std()
    assert all(x.dtype == np.uint8 for x in changed.values())


def test_disturbances_are_seeded_and_carry_masks(images):
    a, b = dict(disturbances(images)), dict(disturbances(images))
    np.testing.assert_array_equal(a["noise"], b["noise"])
    mask = np.zeros((12, 28, 28, 1), np.uint8)
    mask[:, :5] = 255
    for name, x in disturbances(np.concatenate([images, mask], axis=3)):
        np.testing.assert_array_equal(x[..., :3], a[name])
        wanted = np.rot90(mask, axes=(1, 2)) if name == "quarter turn" else mask
        np.testing.assert_array_equal(x[..., 3:], wanted)


@pytest.mark.parametrize("shape", [(28, 28, 3), (2, 28, 28, 1)])
def test_disturbances_of_the_wrong_kind(shape):
    with pytest.raises(ValueError, match="takes uint8 pictures"):
        list(disturbances(np.zeros(shape, np.uint8)))
    with pytest.raises(ValueError, match="got float64"):
        list(disturbances(np.zeros((2, 28, 28, 3))))


class Brightness:
    """Calls bright pictures bright."""

    def predict(self, images):
        return np.where(images.mean(axis=(1, 2, 3)) > 128, "bright", "dark")


def test_the_table_scores_each_disturbance():
    images = np.full((4, 8, 8, 3), 130, np.uint8)
    table = disturbance_table(Brightness(), images, ["bright"] * 4)["accuracy"]
    assert table["none"] == 1
    assert table["darker"] == 0
    assert table["worst"] == 0
    assert table["mean"] == pytest.approx(7 / 8)
    wide = disturbance_table(Brightness(), images[:, :4], ["bright"] * 4)
    assert "quarter turn" not in wide.index


class SureOfBrightness(Brightness):
    """Says so with certainty, right or wrong."""

    classes_ = np.array(["bright", "dark"])

    def predict_proba(self, images):
        return (self.predict(images)[:, None] == self.classes_).astype(float)


def test_the_table_tells_how_far_probabilities_can_be_believed():
    images = np.full((4, 8, 8, 3), 130, np.uint8)
    table = disturbance_table(SureOfBrightness(), images, ["bright"] * 4)
    plain = disturbance_table(Brightness(), images, ["bright"] * 4)
    assert table["accuracy"].tolist() == plain["accuracy"].tolist()
    assert list(plain) == ["accuracy"]
    errors = table["calibration_error"]
    assert (errors["none"], errors["darker"], errors["worst"]) == (0, 1, 1)
    assert errors["mean"] == pytest.approx(1 / 8)


def test_classification_report_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    y, predicted = rng.choice(["a", "b", "c"], (2, 50))
    table = classification_report(y, predicted)
    report = metrics.classification_report(y, predicted, output_dict=True)
    for name, row in table.iterrows():
        assert row["precision"] == pytest.approx(report[name]["precision"])
        assert row["f1"] == pytest.approx(report[name]["f1-score"])
        assert row["pictures"] == report[name]["support"]


def test_reliability_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    p = rng.uniform(0.5, 1, 400)
    proba = np.column_stack([1 - p, p])
    y = (rng.uniform(size=400) < p).astype(int)
    curve = reliability_curve(y, proba, [0, 1], n_bins=10)
    accuracy, confidence = calibration_curve(y, p, n_bins=10)
    np.testing.assert_allclose(curve["accuracy"], accuracy)
    np.testing.assert_allclose(curve["confidence"], confidence)
    assert curve["pictures"].sum() == 400


def test_calibration_error_by_hand():
    proba = np.array([[0.9, 0.1]] * 10 + [[0.62, 0.38]] * 10)
    y = ["a"] * 9 + ["b"] + ["a"] * 5 + ["b"] * 5
    assert expected_calibration_error(y, proba, ["a", "b"]) == pytest.approx(0.06)
    assert expected_calibration_error(["a"], np.array([[1.0, 0.0]]), ["a", "b"]) == 0


def test_calibration_error_is_small_where_probabilities_are_true():
    rng = np.random.default_rng(0)
    proba = rng.dirichlet(np.ones(4), 20_000)
    y = np.array([rng.choice(4, p=p) for p in proba])
    assert expected_calibration_error(y, proba, range(4)) < 0.012


def test_lengths_must_agree(images):
    with pytest.raises(ValueError, match="inconsistent"):
        disturbance_table(DummyClassifier(), images, ["a"])
    with pytest.raises(ValueError, match="inconsistent"):
        reliability_curve(["a"], np.ones((2, 1)), ["a"])
