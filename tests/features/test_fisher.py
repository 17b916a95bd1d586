"""FisherFeatures: gradients of a mixture's likelihood, whatever the picture's size."""

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import norm
from sklearn.base import clone

from geoimages import FisherFeatures, make_rocks
from geoimages.features import kernels

SMALL = FisherFeatures(8, 12, n_patches=3000)


@pytest.fixture(scope="module")
def fitted():
    images, labels = make_rocks(90, random_state=0)
    return clone(SMALL).fit(images), images, labels


def test_fisher_vectors_are_gradients_of_the_likelihood():
    rng = np.random.default_rng(0)
    rows, weights = rng.normal(size=(2, 9, 3)), np.array([0.2, 0.8])
    means, deviations = rng.normal(size=(2, 3)), rng.uniform(0.5, 2, (2, 3))
    inside = np.ones((2, 9), bool)
    inside[1, 4:] = False
    found = kernels.fisher_vectors(rows, inside, weights, means, deviations**-2)
    for picture, seen, out in zip(rows, inside, found, strict=True):
        total = 0
        for x in picture[seen]:
            each = norm.logpdf(x, means, deviations).sum(axis=1)
            q = softmax(each + np.log(weights))[:, None]
            z = (x - means) / deviations
            root = np.sqrt(weights)[:, None]
            total += np.stack([q * z / root, q * (z**2 - 1) / root / np.sqrt(2)])
        wanted = np.sign(total) * np.sqrt(np.abs(total / seen.sum()))
        np.testing.assert_allclose(out, wanted.ravel() / np.linalg.norm(wanted))


def test_normal_patches_keep_color_and_contrast_beside():
    lab = np.random.default_rng(0).normal(50, 9, (1, 8, 8, 3)).astype(np.float32)
    (patch,) = kernels.normal_patches(lab, 8, 4)[0]
    mean = lab.mean(axis=(0, 1, 2))
    deviation = np.sqrt(lab[..., 0].var() + 10)
    normal = ((lab[..., 0] - mean[0]) / deviation).ravel()
    wanted = np.concatenate([normal, mean, [np.log(deviation)]])
    np.testing.assert_allclose(patch, wanted, rtol=1e-3, atol=1e-4)


def test_patch_means_are_those_of_the_patches():
    lab = np.random.default_rng(0).normal(50, 9, (2, 21, 26, 3)).astype(np.float32)
    patches = kernels.extract_patches(lab, 8, 3).reshape(2, -1, 64, 3)
    np.testing.assert_allclose(
        kernels.patch_means(lab, 8, 3), patches.mean(axis=2), rtol=1e-5
    )


def test_rows_have_length_one_and_tell_classes(fitted):
    features, images, labels = fitted
    rows = features.transform(images)
    assert rows.shape == (90, 2 * 8 * 12)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    alike = rows @ rows.T - 2 * np.eye(90)
    labels = np.asarray(labels)
    assert np.mean(labels[alike.argmax(axis=1)] == labels) > 0.4


def test_only_patches_on_rock_count(fitted):
    features, images, _ = fitted
    mask = np.zeros((20, 28, 28, 1), np.uint8)
    mask[:, 4:24, 4:24] = 255
    one, other = (
        np.concatenate([np.where(mask > 0, images[:20], np.uint8(g)), mask], axis=3)
        for g in (0, 220)
    )
    pattern = clone(features).fit(one)
    np.testing.assert_array_equal(pattern.transform(one), pattern.transform(other))
    mask[0, 10:] = 0
    one[..., 3:] = mask
    rows = pattern.transform(one)
    assert not rows[0].any()
    assert rows[1:].any(axis=1).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch_size": 1}, "patch_size must be 2 to 20 px"),
        ({"n_dimensions": 4}, "n_dimensions must be 5 to 67"),
        ({"n_components": 0}, "n_components and stride must be 1 or more"),
        ({"stride": 0}, "n_components and stride must be 1 or more"),
    ],
)
def test_impossible_settings(fitted, change, message):
    with pytest.raises(ValueError, match=message):
        clone(SMALL).set_params(**change).fit(fitted[1])
