"""Kernels that photograph drawn rocks: a hand sample or a close-up, its light and lens.

As the textures of `drawing`, everything is vectorised over pictures, in units of the
picture's long side, and reads one row of uniform random numbers per picture.
"""

import numpy as np
from scipy.ndimage import gaussian_filter

from .drawing import Uniforms, _axes, _column, _rotated, fractal_noise, smoothstep

#: Uniform random numbers that the photograph of one rock may use.
N_UNIFORMS = 2560

_N_FACES = 8

#: What a sample lies on, sRGB in 0-255: paper, card, concrete, wood, soil, cloth, felt.
GROUNDS = np.array(
    [
        (238, 237, 233),
        (176, 176, 174),
        (132, 129, 122),
        (139, 104, 70),
        (92, 74, 56),
        (64, 84, 112),
        (34, 34, 36),
    ],
    dtype=np.float32,
)

# Share of close-ups, which show rock from edge to edge, among photographs.
_CLOSE_UPS = 0.35


def _faces(uniforms):
    """Draw the broken faces of a sample: their angle, distance, slope; and its top."""
    n = _N_FACES
    turn = (np.arange(n) + 0.7 * uniforms(n)) * np.float32(2 * np.pi / n)
    size = uniforms(1, low=0.85, high=1.15)
    distance = size * uniforms(n, low=0.27, high=0.43)
    slope = uniforms(n, low=0.4, high=1.8)
    return turn + uniforms(1, high=2 * np.pi), distance, slope


def _distances(faces, y, x):
    """Distance inside the outline's nearest side, and height: two of (b, h, w).

    `y` (b, h, 1) and `x` (b, 1, w).
    """
    inside, height = np.inf, np.float32(0.0)
    for turn, distance, slope in zip(*(part.T for part in faces), strict=True):
        off = _column(distance) - _column(np.sin(turn)) * y - _column(np.cos(turn)) * x
        inside = np.minimum(inside, off)
        # The lowest of all planes, with rounded edges.
        height = height + np.exp(np.float32(-40) * _column(slope) * off.clip(-0.5))
    top = 0.16 + 0.12 * y - 0.1 * x
    return inside, -np.log(height + np.exp(-40 * top)) / 40


def _shaded(height, azimuth, elevation, pixel):
    """Light that a surface reflects, 1 where it is level: (b, h, w)."""
    dy, dx = np.gradient(height, pixel, axis=(1, 2))
    flat = _column(np.tan(elevation))
    toward = 1 - (_column(np.sin(azimuth)) * dy + _column(np.cos(azimuth)) * dx) / flat
    return 0.4 + 0.6 * toward.clip(0, 1.6) / np.sqrt(1 + 0.5 * (dy**2 + dx**2))


def _scale_bar(uniforms, y, x):
    """Draw a striped bar on a card in a corner: its cover and tone (b, h, w)."""
    there = (uniforms(1)[:, 0] < 0.5).astype(np.float32)
    side = np.where(uniforms(2) < 0.5, -1, 1).astype(np.float32)
    length = uniforms(1, low=0.18, high=0.32)
    thick = uniforms(1, low=0.018, high=0.03)
    half = np.abs(np.array([y[-1], x[-1]])) - 0.03
    middle_y = side[:, 0] * (half[0] - thick[:, 0])
    middle_x = side[:, 1] * (half[1] - length[:, 0] / 2)
    along = (x - middle_x[:, None, None]) / _column(length[:, 0]) + 0.5
    across = (y[:, None] - middle_y[:, None, None]) / _column(thick[:, 0])
    card = (np.abs(along - 0.5) < 0.53) & (np.abs(across) < 0.95)
    bar = (along >= 0) & (along < 1) & (np.abs(across) < 0.5)
    dark = bar & (np.floor(5 * along) % 2 == 0)
    return card * _column(there), np.where(dark, 0.08, 0.92).astype(np.float32)


def photograph_rocks(images, uniforms, noise, view):
    """Photograph surfaces: (b, h, w, 3) uint8, (b, N_UNIFORMS), noise as `images`.

    Parameters
    ----------
    images : ndarray of shape (b, h, w, 3), uint8
        Surfaces that fill their pictures.
    uniforms : ndarray of shape (b, N_UNIFORMS)
        Uniform random numbers.
    noise : ndarray of shape (b, h, w, 3)
        Standard normal: the grain of the surface and the sensor's noise.
    view : {"photograph", "cut-out"}
        A hand sample on a ground or a close-up; or a sample alone, on white.

    Returns
    -------
    images : ndarray of shape (b, h, w, 4), uint8
        The photographs, with rock as the mask.
    """
    uniforms = Uniforms(uniforms)
    h, w = images.shape[1:3]
    y, x = _axes(h, w)
    pixel = np.float32(1 / max(h, w))
    faces = _faces(uniforms)
    shift = uniforms(2, low=-0.05, high=0.05)
    azimuth = uniforms(1, high=2 * np.pi)[:, 0]
    elevation = uniforms(1, low=0.6, high=1.15)[:, 0]
    close = uniforms(1) < (_CLOSE_UPS if view == "photograph" else 0)
    turn, distance, slope = faces
    # The faces of a close-up end beyond its corners, and it is flatter.
    faces = turn, np.where(close, 1.25 * distance + 0.08, distance), slope
    rows = (y - shift[:, :1])[:, :, None]
    columns = (x - shift[:, 1:])[:, None]
    rough = fractal_noise(uniforms, y, x, uniforms(1, low=4, high=9)[:, 0], 9, 2, 0.6)
    inside, height = _distances(faces, rows, columns)
    inside = inside + _column(uniforms(1, low=0.004, high=0.012)[:, 0]) * rough
    inside = np.where(close[:, :, None], 1, inside)
    cover = smoothstep(inside, -0.7 * pixel, 0.7 * pixel)

    # Fine relief, of about two pixels, and coarser bumps catch the light.
    grain = gaussian_filter(noise[..., 0], (0, 1, 1)) * np.float32(3.5)
    relief = 0.35 * _column(uniforms(1, low=0.2, high=1.2)[:, 0]) * pixel * grain
    relief += _column(uniforms(1, low=0.002, high=0.006)[:, 0]) * rough
    lit = _shaded(height + relief, azimuth, elevation, pixel)
    color = images.astype(np.float32) / 255 * lit[..., None]

    ground = GROUNDS[(uniforms(1)[:, 0] * len(GROUNDS)).astype(int)] / 255
    weave = fractal_noise(uniforms, y, x, uniforms(1, low=8, high=20)[:, 0], 20, 2, 0.8)
    weave = 1 + _column(uniforms(1, low=0.005, high=0.08)[:, 0]) * weave
    # The shadow lies away from the light, and is softer the farther it falls.
    reach = uniforms(1, low=0.02, high=0.07)[:, 0] / np.tan(elevation)
    shade, _ = _distances(
        faces,
        rows - _column(reach * np.sin(azimuth + np.pi)),
        columns - _column(reach * np.cos(azimuth + np.pi)),
    )
    soft = _column(uniforms(1, low=0.01, high=0.06)[:, 0])
    shade = 1 - _column(uniforms(1, low=0.3, high=0.7)[:, 0]) * smoothstep(
        shade, -soft, soft
    )
    scene = ground[:, None, None] * (weave * shade)[..., None]
    card, tone = _scale_bar(uniforms, y, x)
    band, _ = _rotated(y, x, uniforms(1, high=2 * np.pi)[:, 0])
    edge = _column(uniforms(1, low=-0.3, high=0.5)[:, 0])
    falls = _column((uniforms(1)[:, 0] < 0.25).astype(np.float32))
    band = falls * smoothstep(band + 0.02 * rough, edge - 0.05, edge + 0.05)
    uneven, _ = _rotated(y, x, uniforms(1, high=2 * np.pi)[:, 0])
    light = 1 + _column(uniforms(1, high=0.5)[:, 0]) * uneven
    light = light - _column(uniforms(1, high=0.6)[:, 0]) * (y[:, None] ** 2 + x**2)
    warm = uniforms(1, low=-0.1, high=0.1)[:, 0]
    green = uniforms(1, low=-0.03, high=0.03)[:, 0]
    white = np.stack([1 + warm, 1 + green, 1 - warm], axis=1)
    exposure = np.exp(uniforms(1, low=-0.3, high=0.2))
    focus = max(h, w) * 0.006 * uniforms(1)[:, 0] ** 2
    grit = uniforms(1, 1, 1, low=0.004, high=0.016)

    photo = scene + cover[..., None] * (color - scene)
    if view == "photograph":
        photo += card[..., None] * (tone[..., None] - photo)
        cover = cover * (1 - card)
        light = light * (1 - _column(uniforms(1, low=0.25, high=0.5)[:, 0]) * band)
    photo *= light[..., None] * (white * exposure)[:, None, None]
    if view == "cut-out":
        photo = 1 + cover[..., None] * (photo - 1)
    for picture, sigma in zip(photo, focus, strict=True):
        picture[:] = gaussian_filter(picture, (sigma, sigma, 0))
    grit = grit * (cover[..., None] if view == "cut-out" else 1)
    photo += grit * noise
    rock = np.where(cover > 0.5, 255, 0)
    photo = np.concatenate([photo.clip(0, 1) * 255, rock[..., None]], axis=-1)
    return (photo + 0.5).astype(np.uint8)
