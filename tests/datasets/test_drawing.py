import numpy as np
import pytest

from geoimages.datasets import drawing
from geoimages.datasets.drawing import (
    N_UNIFORMS,
    PALETTE_WEIGHTS,
    PALETTES,
    TEXTURES,
    Uniforms,
    draw_rocks,
    fractal_noise,
    lath_depth,
    lattice_noise,
    mosaic,
    noise_at,
    oversampling,
    profile_at,
    smoothstep,
)


@pytest.fixture
def rng():
    return np.random.RandomState(0)


def draw(name, shape, seed=0, n=2, grit=0.0):
    rng = np.random.RandomState(seed)
    uniforms = rng.random_sample((n, N_UNIFORMS))
    noise = grit * rng.standard_normal((n, *shape, 3)).astype(np.float32)
    return draw_rocks(name, uniforms, noise)


def test_uniforms_hand_out_each_number_once_and_in_range(rng):
    values = rng.random_sample((3, 20))
    uniforms = Uniforms(values)
    first, second = uniforms(2, 3), uniforms(4, low=-1, high=3)
    np.testing.assert_allclose(first, values[:, :6].reshape(3, 2, 3), rtol=1e-6)
    np.testing.assert_allclose(second, values[:, 6:10] * 4 - 1, rtol=1e-5)
    assert first.dtype == np.float32


def test_smoothstep_by_hand():
    x = np.array([-1, 0, 0.5, 1, 2.0])
    np.testing.assert_allclose(smoothstep(2 * x, 0, 2), [0, 0, 0.5, 1, 1])


def test_lattice_noise_agrees_with_a_slow_loop(rng):
    values = rng.uniform(-1, 1, (2, 7, 7)).astype(np.float32)
    y = rng.uniform(0, 7, (2, 3)).astype(np.float32)
    x = rng.uniform(0, 7, (2, 4)).astype(np.float32)

    def weight(d):
        d = abs(d)
        if d < 1:
            return (4 - 6 * d**2 + 3 * d**3) / 6
        return (2 - d) ** 3 / 6 if d < 2 else 0

    noise = lattice_noise(values, y, x)
    assert noise.shape == (2, 3, 4)
    for i in range(2):
        for j in range(3):
            for k in range(4):
                expected = sum(
                    values[i, r % 7, c % 7] * weight(y[i, j] - r) * weight(x[i, k] - c)
                    for r in range(-3, 11)
                    for c in range(-3, 11)
                )
                assert noise[i, j, k] == pytest.approx(3.61 * expected, abs=1e-4)


def test_noises_have_unit_variance(rng):
    axis = np.linspace(-0.5, 0.5, 64, dtype=np.float32)
    frequency = np.full(50, 12, np.float32)
    uniforms = Uniforms(rng.random_sample((50, N_UNIFORMS)))
    assert fractal_noise(uniforms, axis, axis, frequency, 12).std() == pytest.approx(
        1, abs=0.1
    )
    points = rng.uniform(0, 30, (2, 50, 64, 64)).astype(np.float32)
    values = rng.uniform(-1, 1, (50, 30, 30)).astype(np.float32)
    assert noise_at(values, *points).std() == pytest.approx(1, abs=0.1)


def test_noise_at_meets_its_lattice_and_wraps(rng):
    values = rng.uniform(-1, 1, (2, 4, 5)).astype(np.float32)
    p, q = np.meshgrid(np.arange(-4, 8.0), np.arange(-5, 10.0), indexing="ij")
    p, q = (np.stack([v, v]).astype(np.float32) for v in (p, q))
    np.testing.assert_allclose(
        noise_at(values, p, q), 2.33 * np.tile(values, (1, 3, 3)), rtol=1e-5
    )


@pytest.mark.parametrize("sharpness", [0.0, 0.5, 0.9])
def test_profile_meets_its_values_wraps_and_sharpens(sharpness):
    values = np.array([[0.0, 1.0, 3.0]], np.float32)
    t = np.array([[[0, 1, 2, 3, 4, -1, 1.5, 0.1]]], np.float32)
    got = profile_at(values, t, np.float32(sharpness))[0, 0]
    np.testing.assert_allclose(got[:7], [0, 1, 3, 0, 1, 3, 2], atol=1e-6)
    assert (got[7] == 0) == (sharpness > 0.2)


def test_mosaic_agrees_with_brute_force(rng):
    """Jitter of less than half a square: the two nearest seeds are then close by."""
    jitter = (0.25 + 0.5 * rng.random_sample((2, 8, 8, 2))).astype(np.float32)
    y, x = rng.uniform(1, 6, (2, 2, 5, 5)).astype(np.float32)
    owner, wall, dy, dx = mosaic(jitter, y, x)
    seeds = jitter + np.stack(np.mgrid[:8, :8], axis=-1)
    for i in range(2):
        points = np.stack([y[i], x[i]], axis=-1)[:, :, None]
        apart = np.linalg.norm(points - seeds[i].reshape(1, 1, 64, 2), axis=-1)
        nearest = np.sort(apart, axis=-1)
        np.testing.assert_array_equal(owner[i], 64 * i + apart.argmin(axis=-1))
        np.testing.assert_allclose(
            wall[i], (nearest[..., 1] - nearest[..., 0]) / 2, atol=1e-5
        )
        np.testing.assert_allclose(np.hypot(dy, dx)[i], nearest[..., 0], atol=1e-5)


def test_lath_depth_by_hand():
    y = x = np.array([-0.2, 0, 0.05, 0.2], np.float32)
    flat = {"length": np.array([0.3]), "width": np.array([0.2])}
    center = np.zeros((1, 2))
    depth = lath_depth(y, x, center, np.array([0.0]), **flat)[0]
    assert depth[1, 1] == pytest.approx(0.1)  # the middle, half the width inside
    assert depth[1, 2] == pytest.approx(0.1)
    assert depth[2, 1] == pytest.approx(0.05)
    assert depth[1, 3] == pytest.approx(-0.05)
    assert depth[3, 3] < -0.1
    upright = lath_depth(y, x, center, np.array([np.pi / 2]), **flat)[0]
    np.testing.assert_allclose(upright, depth.T, atol=1e-6)
    # The corner of the rectangle is cut off.
    corner = np.array([0.1499, 0.0999])
    assert lath_depth(corner[1:], corner[:1], center, np.array([0.0]), **flat) < 0


@pytest.mark.parametrize("name", TEXTURES)
def test_texture_uses_no_more_numbers_than_there_are(name, monkeypatch):
    used = []

    class Counted(Uniforms):
        def __call__(self, *shape, **kwargs):
            block = super().__call__(*shape, **kwargs)
            used.append(self.used)
            return block

    monkeypatch.setattr(drawing, "Uniforms", Counted)
    draw(name, (16, 16))
    assert max(used) <= N_UNIFORMS


@pytest.mark.parametrize("name", TEXTURES)
def test_larger_picture_shows_the_same_pattern(name):
    """Averaged down again, a larger picture of the same numbers is the smaller."""
    small, large = draw(name, (28, 28), n=6), draw(name, (84, 84), n=6)
    coarse = large.reshape(6, 28, 3, 28, 3, 3).mean((2, 4))
    for a, b in zip(small, coarse, strict=True):
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.9
    assert np.abs(small - coarse).mean() < 6


@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (16, 16), (20, 300)])
@pytest.mark.parametrize("name", TEXTURES)
def test_any_shape_is_drawn(name, shape):
    images = draw(name, shape)
    assert images.shape == (2, *shape, 3)
    assert images.dtype == np.uint8
    assert images.std(axis=(1, 2)).min() > 3
    assert not np.array_equal(images[0], images[1])


@pytest.mark.parametrize("name", TEXTURES)
def test_picture_does_not_depend_on_its_neighbors(name):
    rng = np.random.RandomState(3)
    uniforms = rng.random_sample((5, N_UNIFORMS))
    noise = rng.standard_normal((5, 28, 28, 3)).astype(np.float32)
    together = draw_rocks(name, uniforms, noise)
    for i in range(5):
        alone = draw_rocks(name, uniforms[i : i + 1], noise[i : i + 1])
        np.testing.assert_array_equal(alone[0], together[i])


def test_noise_is_the_sensors_and_small():
    quiet, noisy = draw("marble", (28, 28)), draw("marble", (28, 28), grit=1.0)
    change = quiet.astype(int) - noisy
    assert 1 < change.std() < 8


def test_orientation_is_random():
    """The main direction of foliation spreads over the half circle."""
    grey = draw("schist", (48, 48), n=60).mean(-1)
    gy, gx = np.gradient(grey, axis=(1, 2))
    double = np.arctan2((2 * gx * gy).sum((1, 2)), (gx**2 - gy**2).sum((1, 2)))
    counts, _ = np.histogram(double, 4, (-np.pi, np.pi))
    assert counts.min() >= 5


def test_palettes_overlap_between_classes():
    assert PALETTE_WEIGHTS.keys() == TEXTURES.keys() == drawing.LEVELS.keys()
    for weights in PALETTE_WEIGHTS.values():
        assert len(weights) == len(PALETTES)
        assert min(weights) > 0


@pytest.mark.parametrize("side", [16, 28, 48, 84, 128, 256, 257, 2000])
def test_oversampling_draws_enough_points(side):
    factor = oversampling(side, side // 2)
    assert factor * side >= 84
    assert factor >= (2 if side <= 256 else 1)
    assert factor * side <= max(2 * side, 84 + side)
