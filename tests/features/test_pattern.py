"""PatternFeatures: rows that no turn changes, and a second look in every pose."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from skimage.color import rgb2lab

from geoimages import PatternFeatures, RockFeatures, make_rocks
from geoimages.features.pattern import random_views

SHAPES = [(28, 28, 3), (19, 19, 3), (29, 29, 3), (33, 47, 3), (150, 110, 4)]


def rotated(image, degrees, side=None):
    """Rotate by any angle and crop the middle, in the picture's own size."""
    out = Image.fromarray(image).rotate(degrees, Image.Resampling.BICUBIC)
    if side is None:
        return np.asarray(out)
    edge = (len(image) - side) // 2
    box = (edge, edge, edge + side, edge + side)
    return np.asarray(out.resize(out.size, Image.Resampling.BICUBIC, box))


def compressed(image, quality=40):
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


CHANGES = {
    "quarter": lambda a: np.rot90(a),
    "mirror": lambda a: a[:, ::-1],
    "cut": lambda a: rotated(a, 0, 22),
    "corner": lambda a: np.asarray(Image.fromarray(a[7:, :21]).resize((28, 28))),
    "rotation": lambda a: rotated(a, 30, 20),
    "light": lambda a: np.clip(a * 1.15, 0, 255).astype(np.uint8),
    "code": compressed,
}


@pytest.fixture(scope="module")
def fitted():
    images, _ = make_rocks(150, random_state=1)
    return PatternFeatures().fit(images), images


def unit(rows):
    rows = rows - rows.mean(axis=1, keepdims=True)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_rows_are_the_same_in_every_orientation(shape):
    images, _ = make_rocks(12, image_shape=(*shape[:2], 3), random_state=0)
    if shape[2] == 4:
        mask = np.zeros((12, *shape[:2], 1), np.uint8)
        mask[:, 20:-9, 8:-30] = 255
        images = np.concatenate([images, mask], axis=3)
    pattern = PatternFeatures().fit(images)
    rows = pattern.transform(images)
    assert np.isfinite(rows).all()
    for out in (images[:, ::-1], images[:, :, ::-1], images[:, ::-1, ::-1]):
        agree = (unit(pattern.transform(out)) * unit(rows)).sum(axis=1)
        assert agree.min() > 0.99
    if shape[0] == shape[1]:
        other = pattern.transform(np.rot90(images, axes=(1, 2)))
        np.testing.assert_allclose(other, rows, atol=0.05 * rows.std())


def test_floats_and_bytes_give_the_same(fitted):
    pattern, images = fitted
    rows = pattern.transform(images)
    floats = PatternFeatures().fit(images / 255).transform(images / np.float32(255))
    agree = (unit(rows) * unit(floats)).sum(axis=1)
    assert agree.min() > 0.999
    small = pattern.thumbnails(images)
    np.testing.assert_array_equal(pattern.thumbnails(images / 255), small)


def test_blocks_have_the_say_that_their_weights_give():
    images, _ = make_rocks(100, random_state=0)
    pattern = PatternFeatures(color=2).fit(images)
    rows = pattern.transform(images)
    say = [
        rows[:, pattern.block_of_ == name].var(axis=0).sum()
        for name in ("color", "texture")
    ]
    assert say[0] / say[1] == pytest.approx(4, rel=0.01)
    assert set(PatternFeatures(color=0, tone=0).fit(images).block_of_) == {"texture"}
    assert len(pattern.get_feature_names_out()) == rows.shape[1]


def test_whitening_brings_views_together(fitted):
    pattern, images = fitted
    views, _ = random_views(images, None, np.random.RandomState(3))
    plain = RockFeatures(conv=0).fit(images)

    def ratio(features):
        """Of the distance between views to that between pictures."""
        a, b = features.transform(images), features.transform(views)
        return np.linalg.norm(a - b) / np.linalg.norm(a - np.roll(a, 1, axis=0))

    assert ratio(pattern) < 0.8 * ratio(plain)


def test_views_are_lit_by_four_fifths_to_five_fourths():
    grey = np.full((400, 20, 20, 3), 100, np.uint8)
    views, _ = random_views(grey, None, np.random.RandomState(0))
    levels = views.mean(axis=(1, 2, 3))
    assert levels.min() == pytest.approx(80, abs=1)
    assert levels.max() == pytest.approx(125, abs=1)


def test_the_same_seed_gives_the_same_rows():
    images, _ = make_rocks(60, random_state=0)
    a, b, c = (
        PatternFeatures(random_state=seed).fit(images).transform(images)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()


@pytest.mark.parametrize("name", CHANGES)
def test_verification_finds_a_changed_picture(fitted, name):
    pattern, images = fitted
    small = pattern.thumbnails(images)
    changed = np.stack([CHANGES[name](image) for image in images[:12]])
    for i, candidate in enumerate(pattern.thumbnails(changed)):
        distance, _, _ = pattern.verify(candidate, small)
        assert distance.argmin() == i
        assert distance[i] < 0.5


@pytest.mark.parametrize("quarters", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_orientation_brings_the_stored_picture_back(fitted, quarters, mirrored):
    pattern, images = fitted
    small = pattern.thumbnails(images[:8])
    candidate = np.rot90(small[5], -quarters)
    candidate = candidate[:, ::-1] if mirrored else candidate
    distance, degrees, flipped = pattern.verify(candidate, small)
    assert distance[5] == 0
    back = candidate[:, ::-1] if flipped[5] else candidate
    np.testing.assert_array_equal(np.rot90(back, degrees[5] // 90), small[5])
    by_quarters = pattern.verify(candidate, small, "rotations")
    upright = pattern.verify(candidate, small, "fixed")
    assert (by_quarters[0][5] < 1e-6) == (not mirrored)
    assert (upright[0][5] < 1e-6) == (quarters == 0 and not mirrored)
    assert not upright[1].any()
    assert not upright[2].any()
    assert not by_quarters[2].any()


def test_any_angle_is_named(fitted):
    pattern, images = fitted
    small = pattern.thumbnails(images)
    candidate = rotated(images[3], -60, 20)
    _, degrees, mirrored = pattern.verify(candidate, small[3:4])
    assert (degrees[0], mirrored[0]) == (60, False)


def test_the_probability_of_a_match_falls_with_the_distance(fitted):
    distance = np.array([0, 0.05, 0.1, 0.152, 0.2, 0.3, 2])
    found = fitted[0].match_probability(distance)
    wanted = [0.999, 0.974, 0.823, 0.502, 0.253, 0.057, 0]
    np.testing.assert_allclose(found, wanted, atol=2e-3)


def test_a_short_list_does_not_depend_on_its_members(fitted):
    pattern, images = fitted
    small = pattern.thumbnails(images)
    together, degrees, _ = pattern.verify(small[4], small)
    assert together.dtype == np.float64
    assert together.min() >= 0
    assert together.max() <= 2
    for i in range(0, 150, 10):
        alone, angle, _ = pattern.verify(small[4], small[i : i + 1])
        assert alone[0] == pytest.approx(together[i], abs=1e-6)
        assert angle[0] == degrees[i]


def test_the_distance_is_one_less_concordance(fitted):
    """In the pose that the two lie in, of means over 2 x 2 pixels, less the lightness."""
    pattern, images = fitted
    first = pattern.thumbnails(images)[0]
    noise = np.random.default_rng(0).integers(-20, 21, first.shape)
    other = np.clip(first + noise, 0, 255).astype(np.uint8)
    a, b = (
        rgb2lab(image).reshape(14, 2, 14, 2, 3).mean(axis=(1, 3)).reshape(-1, 3)
        for image in (first, other)
    )
    a[:, 0] -= a[:, 0].mean()
    b[:, 0] -= b[:, 0].mean()
    apart = ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum()
    variance = a.var(axis=0).sum() + b.var(axis=0).sum()
    wanted = ((a - b) ** 2).sum(axis=1).mean() / (variance + apart + 2 * 0.3)
    distance, degrees, mirrored = pattern.verify(first, other[None])
    assert (degrees[0], mirrored[0]) == (0, False)
    assert distance[0] == pytest.approx(wanted, rel=1e-3)


def test_flat_pictures_are_told_apart_by_color(fitted):
    pattern, images = fitted
    colors = np.array([[90, 90, 90], [80, 110, 60], [60, 80, 120], [120, 90, 60]])
    flat = np.broadcast_to(colors[:, None, None], (4, 28, 28, 3)).astype(np.uint8)
    small = pattern.thumbnails(np.concatenate([flat, images[:3]]))
    tint = rgb2lab(colors[:, None] / 255)[:, 0, 1:]
    for i in range(4):
        distance, _, _ = pattern.verify(small[i], small)
        apart = ((tint - tint[i]) ** 2).sum(axis=1)
        np.testing.assert_allclose(distance[:4], apart / (apart + 0.6), atol=2e-3)
        assert distance[4:].min() > 0.5


@pytest.mark.parametrize("degrees", [30, 100, 215])
def test_a_cut_out_sample_is_found_whatever_its_angle(degrees):
    images, _ = make_rocks(10, image_shape=(96, 96, 3), random_state=0)
    y, x = np.mgrid[:96, :96] - 47.5
    mask = 255 * ((x / 30) ** 2 + (y / 40) ** 2 < 1)
    mask = np.broadcast_to(mask[..., None], (10, 96, 96, 1)).astype(np.uint8)
    samples = np.concatenate([images, mask], axis=3)
    pattern = PatternFeatures().fit(samples)
    small = pattern.thumbnails(samples)
    assert small.shape == (10, 28, 28, 4)
    out = np.stack([rotated(sample, degrees) for sample in samples])
    for i, candidate in enumerate(pattern.thumbnails(out)):
        assert pattern.verify(candidate, small)[0].argmin() == i


def test_what_lies_off_the_rock_moves_nothing(fitted):
    images = fitted[1][:20]
    mask = np.full((20, 28, 28, 1), 255, np.uint8)
    mask[:, :6] = 0
    one, other = (
        np.concatenate([np.where(mask > 0, images, np.uint8(g)), mask], axis=3)
        for g in (0, 220)
    )
    pattern = PatternFeatures().fit(one)
    np.testing.assert_array_equal(pattern.transform(one), pattern.transform(other))
    np.testing.assert_array_equal(pattern.thumbnails(one), pattern.thumbnails(other))


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ((28, 28, 1), (28, 28, 3)),
        ((3, 3, 3), (8, 8, 3)),
        ((1, 30, 1), (28, 28, 4)),
        ((80, 40, 3), (28, 28, 4)),
        ((20, 20, 4), (20, 20, 4)),
    ],
)
def test_thumbnails_are_square_and_small(shape, wanted):
    images = np.random.default_rng(0).integers(0, 256, (5, *shape), dtype=np.uint8)
    images[..., 3:] = 255
    pattern = PatternFeatures().fit(images)
    small = pattern.thumbnails(images)
    assert small.shape == (5, *wanted)
    assert small.dtype == np.uint8
    distance, degrees, mirrored = pattern.verify(small[2], small)
    assert distance.argmin() == 2
    assert distance[2] == 0
    assert np.isfinite(distance).all()


@pytest.mark.parametrize(("start", "far"), [(10, False), (12, True), (22, True)])
def test_less_than_half_of_a_picture_is_no_match(start, far):
    mask = np.zeros((2, 28, 28, 1), np.uint8)
    mask[0, :, :6] = 255
    mask[1, :, start : start + 6] = 255
    images = np.concatenate([make_rocks(2, random_state=0)[0], mask], axis=3)
    pattern = PatternFeatures().fit(images)
    small = pattern.thumbnails(images)
    distance, _, _ = pattern.verify(small[0], small, "fixed")
    assert distance[0] == 0
    assert (distance[1] == 2) == far


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"color": -1}, "weights of the blocks"),
        ({"color": 0, "texture": 0, "tone": 0}, "weights of the blocks"),
        ({"shortlist": 0}, "shortlist must be 1 or more"),
    ],
)
def test_impossible_settings(fitted, change, message):
    with pytest.raises(ValueError, match=message):
        PatternFeatures(**change).fit(fitted[1])


def test_unknown_orientations_and_other_sizes(fitted):
    pattern, images = fitted
    small = pattern.thumbnails(images[:3])
    with pytest.raises(ValueError, match="orientation='up' is not known"):
        pattern.verify(small[0], small, "up")
    with pytest.raises(ValueError, match="make both by the same"):
        pattern.verify(small[0][:20, :20], small)


@pytest.mark.real
def test_real_tiles_are_found_again(real_rocks):
    images = real_rocks[np.arange(0, 3000, 10)]
    pattern = PatternFeatures().fit(images)
    stored, small = unit(pattern.transform(images)), pattern.thumbnails(images)
    for name in ("corner", "rotation", "code"):
        chosen = np.arange(0, 300, 20)
        changed = np.stack([CHANGES[name](images[i]) for i in chosen])
        near = unit(pattern.transform(changed)) @ stored.T
        found = []
        for i, candidate in enumerate(pattern.thumbnails(changed)):
            shortlist = np.argsort(-near[i], kind="stable")[:100]
            distance, _, _ = pattern.verify(candidate, small[shortlist])
            found.append(shortlist[distance.argmin()])
        assert np.mean(np.array(found) == chosen) >= 0.9
        assert np.mean(near.argmax(axis=1) == chosen) < np.mean(found == chosen)
