"""Kernels against slow loops, against scikit-image, and by hand."""

import numpy as np
import pytest
from skimage.color import rgb2lab
from skimage.feature import local_binary_pattern
from skimage.transform import downscale_local_mean

from geoimages import make_rocks
from geoimages.features import kernels as K
from geoimages.pictures import averages, color


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 24, 28, 3), dtype=np.uint8)


@pytest.fixture
def plane():
    return np.random.default_rng(1).normal(50, 20, (5, 24, 28)).astype(np.float32)


@pytest.fixture
def mask():
    mask = np.zeros((5, 24, 28), bool)
    mask[:, 3:20, 5:25] = True
    mask[0, 7, 9] = False
    return mask


def test_lab_is_that_of_scikit_image(images):
    wanted = rgb2lab(images)
    np.testing.assert_allclose(color.srgb_to_lab(images), wanted, atol=5e-4)
    np.testing.assert_allclose(color.srgb_to_lab(images / 255), wanted, atol=5e-4)


def test_quantiles_are_those_of_numpy(plane, mask):
    rows = plane.reshape(5, -1)
    np.testing.assert_allclose(
        K.quantiles(rows, K.COLOR_LEVELS),
        np.quantile(rows, K.COLOR_LEVELS, axis=1).T,
        rtol=1e-5,
    )
    flat = mask.reshape(5, -1)
    found = K.quantiles(rows, K.COLOR_LEVELS, flat)
    for row, rock, values in zip(rows, flat, found, strict=True):
        np.testing.assert_allclose(
            values, np.quantile(row[rock], K.COLOR_LEVELS), rtol=1e-5
        )
    assert (K.quantiles(rows, K.COLOR_LEVELS, flat & False) == 0).all()


@pytest.mark.parametrize("circular", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_soft_histogram_against_a_loop(circular, weighted):
    rng = np.random.default_rng(0)
    bins, narrow = 6, 4
    # Values on the fine grid, where counting first and sharing later changes nothing.
    fine = bins * narrow if circular else (bins - 1) * narrow
    values = (rng.integers(-2, fine + 2, (3, 50)) / fine * 2 - 1).astype(np.float32)
    if circular:
        values = np.clip(values, -1, 1)
    weights = rng.random((3, 50)).astype(np.float32)
    given = weights if weighted else None
    found = K.soft_histogram(values, -1, 1, bins, given, circular, narrow)
    for row, weight, histogram in zip(values, weights, found, strict=True):
        wanted = np.zeros(bins)
        for v, w in zip(row, weight if weighted else np.ones(50), strict=True):
            spread = bins if circular else bins - 1
            place = min(max((v + 1) / 2 * spread, 0), spread)
            low, part = int(place), place - int(place)
            wanted[low % bins] += w * (1 - part)
            wanted[(low + 1) % bins] += w * part
        np.testing.assert_allclose(histogram, wanted / wanted.sum(), atol=1e-4)
    assert (K.soft_histogram(values, -1, 1, bins, weights * 0, circular) == 0).all()


def test_halve_is_a_block_mean(plane, mask):
    half, none = K.halve(plane)
    assert none is None
    wanted = np.stack([downscale_local_mean(p, (2, 2)) for p in plane])
    np.testing.assert_allclose(half, wanted, rtol=1e-5)
    half, rock = K.halve(plane, mask)
    block, inside = plane[0, 6:8, 8:10], mask[0, 6:8, 8:10]
    assert half[0, 3, 4] == pytest.approx(block[inside].mean(), rel=1e-5)
    assert rock[0, 3, 4]
    assert not rock[0, 0, 0]


def test_erode_box_gradient_and_laplacian_against_loops(plane, mask):
    eroded, boxes = K.erode(mask), K.box_sum(plane)
    gx, gy = K.gradients(plane)
    bend = K.laplacian(plane)
    for y in range(22):
        for x in range(26):
            window = plane[:, y : y + 3, x : x + 3]
            np.testing.assert_array_equal(
                eroded[:, y, x], mask[:, y : y + 3, x : x + 3].all(axis=(1, 2))
            )
            np.testing.assert_allclose(boxes[:, y, x], window.sum((1, 2)), rtol=1e-5)
            np.testing.assert_allclose(
                gx[:, y, x], (window[:, 1, 2] - window[:, 1, 0]) / 2, rtol=1e-5
            )
            np.testing.assert_allclose(
                gy[:, y, x], (window[:, 2, 1] - window[:, 0, 1]) / 2, rtol=1e-5
            )
            cross = (
                window[:, 0, 1] + window[:, 2, 1] + window[:, 1, 0] + window[:, 1, 2]
            )
            np.testing.assert_allclose(
                bend[:, y, x], cross - 4 * window[:, 1, 1], rtol=1e-4, atol=1e-3
            )
    assert K.erode(None) is None


def test_patterns_have_the_classes_of_scikit_image():
    rng = np.random.default_rng(0)
    plane = rng.integers(0, 9, (1, 40, 40)).astype(np.float32)
    codes = K.lbp_codes(plane)
    h, w = codes.shape[1:]
    around = [(0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0)]
    for y in range(0, h, 3):
        for x in range(0, w, 3):
            bits = [plane[0, y + a, x + b] >= plane[0, y + 1, x + 1] for a, b in around]
            assert codes[0, y, x] == sum(bit << i for i, bit in enumerate(bits))
    assert len(set(K.PATTERN_CLASS)) == K.N_PATTERNS == 30
    mirrored = K.lbp_codes(plane[:, ::-1])
    np.testing.assert_array_equal(
        K.PATTERN_CLASS[codes][:, ::-1], K.PATTERN_CLASS[mirrored]
    )
    turned = K.lbp_codes(np.rot90(plane, axes=(1, 2)).copy())
    np.testing.assert_array_equal(
        np.rot90(K.PATTERN_CLASS[codes], axes=(1, 2)), K.PATTERN_CLASS[turned]
    )
    # On a ring whose corners hold what lies on the circle, scikit-image sees the same.
    rings = np.full((256, 3, 3), 100, np.uint8)
    for code in range(256):
        for bit, (a, b) in enumerate(around):
            rings[code, a, b] = 200 if code >> bit & 1 else 50
    of_code = K.PATTERN_CLASS[K.lbp_codes(rings.astype(np.float32))].ravel()
    reference = [local_binary_pattern(ring, 8, 1, "ror")[1, 1] for ring in rings]
    even = [i for i in range(256) if _corners_decide(rings[i])]
    assert len(even) > 30
    # One class of scikit-image lies in one of ours, which may hold its mirror image.
    pairs = {(of_code[i], reference[i]) for i in even}
    assert len(pairs) == len({b for _, b in pairs})


def _corners_decide(ring):
    """Whether a point of the circle next to each corner is as bright as the corner."""
    for y, x in ((0, 0), (0, 2), (2, 0), (2, 2)):
        sides = [ring[y, 1], ring[1, x]]
        part = 1 - np.sqrt(0.5)
        value = (
            ring[y, x] * (1 - part) ** 2
            + (int(sides[0]) + int(sides[1])) * part * (1 - part)
            + 100 * part**2
        )
        if (value >= 100) != (ring[y, x] >= 100):
            return False
    return True


def test_pattern_histograms_count_the_rock(plane, mask):
    found = K.lbp_histogram(plane, 2.0, mask)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    kinds = K.PATTERN_CLASS[K.lbp_codes(plane, 2.0)]
    inside = K.erode(mask)
    for kind, rock, row in zip(kinds, inside, found, strict=True):
        wanted = np.bincount(kind[rock], minlength=30) / rock.sum()
        np.testing.assert_allclose(row, wanted, atol=1e-6)


def test_orientation_of_stripes_is_whole_and_of_noise_is_not():
    x = np.arange(40, dtype=np.float32)
    stripes = np.broadcast_to(10 * np.sin(x), (1, 40, 40)).astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 10, (1, 40, 40)).astype(np.float32)
    of_stripes = K.orientation_statistics(*K.gradients(stripes))[0]
    of_noise = K.orientation_statistics(*K.gradients(noise))[0]
    assert of_stripes[-2] > 0.95
    assert of_noise[-2] < 0.2
    assert (of_stripes[:6] > of_noise[:6]).all()


def test_hog_puts_edges_into_their_cell_and_direction():
    plane = np.zeros((1, 32, 32), np.float32)
    plane[0, :8, 12:] = 50  # an upright edge in the second cell of the first row,
    plane[0, 7] = 0  # which ends before its cell does
    out = K.hog(plane, cells=4, bins=8).reshape(4, 4, 8)
    across = out[0, :, 0]
    assert across.argmax() == 1
    assert across[1] > 10 * max(across[0], across[2], across[3], 1e-9)
    down = out[0, :, 4]
    assert (down[2:] > 0).all()
    assert down[0] == 0
    assert out[2:].max() == 0


def test_hog_against_a_loop(plane, mask):
    cells, bins = 3, 5
    for rock in (None, mask):
        found = K.hog(plane, cells, bins, rock)
        inner = K.erode(rock)
        gx, gy = K.gradients(plane)
        for i in range(len(plane)):
            total = np.zeros((cells, cells, bins))
            for y in range(gx.shape[1]):
                for x in range(gx.shape[2]):
                    if inner is not None and not inner[i, y, x]:
                        continue
                    size = np.hypot(gx[i, y, x], gy[i, y, x])
                    place = np.arctan2(gy[i, y, x], gx[i, y, x]) * bins / np.pi
                    place += bins * (place < 0)
                    low = int(place)
                    cell = total[(y + 1) * cells // 24, (x + 1) * cells // 28]
                    cell[low % bins] += size * (1 - (place - low))
                    cell[(low + 1) % bins] += size * (place - low)
            area = gx[i].size if inner is None else inner[i].sum()
            wanted = np.sqrt(total.ravel() / (total.sum() + area + 1e-6))
            np.testing.assert_allclose(found[i], wanted, atol=1e-4)


def test_patches_are_windows(images):
    patches = K.extract_patches(images, 5, 3)
    assert patches.shape == (5, 7 * 8, 75)
    np.testing.assert_array_equal(
        patches[2, 3 * 8 + 4].reshape(5, 5, 3), images[2, 9:14, 12:17]
    )


def test_whitening_whitens():
    rng = np.random.default_rng(0)
    patches = rng.normal(size=(4000, 12)) @ rng.normal(size=(12, 12)) + 3
    mean, zca = K.whitening(patches, epsilon=0)
    white = (patches - mean) @ zca
    np.testing.assert_allclose(np.cov(white, rowvar=False), np.eye(12), atol=1e-6)
    np.testing.assert_allclose(zca, zca.T, atol=1e-8)


def test_folded_filters_answer_as_the_steps_do(images):
    lab = color.srgb_to_lab(images)
    patches = K.extract_patches(lab, 6, 2).reshape(-1, 108)
    normal = K.normalize_patches(patches)
    mean, zca = K.whitening(normal)
    centers = np.random.default_rng(0).normal(size=(4, 108))
    step_by_step = (normal - mean) @ zca @ centers.T
    weights, offsets = K.fold_filters(centers, mean, zca)
    deviation = np.sqrt(patches.var(axis=1) + 10)[:, None]
    np.testing.assert_allclose(
        patches @ weights / deviation - offsets, step_by_step, atol=2e-2
    )


def test_large_pictures_are_averaged_by_area():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 120, 60, 3), dtype=np.uint8)
    small, none = averages.at_most(images, 40)
    assert none is None
    assert small.shape == (2, 40, 20, 3)
    wanted = images.reshape(2, 40, 3, 20, 3, 3).mean(axis=(2, 4)) / 255
    np.testing.assert_allclose(small, wanted, atol=1e-5)
    same, _ = averages.at_most(images, 120)
    assert same is images
    weights = averages.area_weights(7, 3)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(weights.sum(axis=0), 3 / 7, rtol=1e-6)


def test_averaging_down_takes_the_rock_only():
    images = np.full((1, 80, 80, 3), 200, np.uint8)
    mask = np.zeros((1, 80, 80), bool)
    mask[:, :, :40] = True
    images[~mask] = 7
    small, rock = averages.at_most(images, 20, mask)
    np.testing.assert_allclose(small[rock], 200 / 255, atol=1e-5)
    assert rock.mean() == 0.5
    thin = np.zeros_like(mask)
    thin[0, 40, 40] = True
    assert averages.at_most(images, 20, thin)[1].any()


def test_small_pictures_grow_by_their_border(images):
    small = images[:, :6, :7]
    grown, none = K.at_least(small)
    assert none is None
    assert grown.shape == (5, K.MINIMUM_SIDE, K.MINIMUM_SIDE, 3)
    np.testing.assert_array_equal(grown[:, 7:13, 6:13], small)
    assert (grown[:, 0, 6] == small[:, 0, 0]).all()


def test_large_pictures_are_sampled_evenly(plane):
    rocks, _ = make_rocks(6, image_shape=(128, 128, 3), random_state=0)
    large = np.ascontiguousarray(color.srgb_to_lab(rocks)[..., 0])
    levels = np.array([0.05, 0.5, 0.95])
    (found,) = K.plane_quantiles([large], levels)
    wanted = np.quantile(large, levels, axis=(1, 2)).T
    assert np.abs(found - wanted).max() < 0.05 * large.std()
    for turned in (np.rot90(large, axes=(1, 2)), large[:, ::-1]):
        (again,) = K.plane_quantiles([turned], levels)
        np.testing.assert_array_equal(again, found)
    (small,) = K.plane_quantiles([plane], levels)
    np.testing.assert_array_equal(small, K.quantiles(plane.reshape(5, -1), levels))


def test_little_rock_is_sampled_whole():
    rng = np.random.default_rng(0)
    large = rng.normal(size=(3, 128, 128)).astype(np.float32)
    mask = np.zeros((3, 128, 128), bool)
    mask[0], mask[1, 40:60, 30:50], mask[2, :2] = True, True, True
    levels = np.array([0.05, 0.5, 0.95])
    (found,) = K.plane_quantiles([large], levels, mask)
    np.testing.assert_array_equal(found[:1], K.plane_quantiles([large[:1]], levels)[0])
    for row, values, rock in zip(found[1:], large[1:], mask[1:], strict=True):
        np.testing.assert_allclose(row, np.quantile(values[rock], levels), rtol=1e-5)
