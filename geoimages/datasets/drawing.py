"""Kernels that draw rock textures: random numbers in, pictures out.

Coordinates are in units of the picture's long side, with the origin in the middle,
so the same random numbers give the same pattern at every size, only finer drawn.
Everything is vectorised over pictures and reads one row of uniform random numbers
per picture, so a picture does not depend on what is drawn beside it.
"""

import numpy as np

#: Uniform random numbers that one picture may use.
N_UNIFORMS = 9216

#: Classes that one texture is cut into where more than the textures are asked for.
N_VARIETIES = 5

#: Dark, middle and light tone of each color family, sRGB in 0-255.
PALETTES = {
    "grey": ((54, 54, 57), (126, 126, 127), (206, 205, 202)),
    "bluish": ((43, 49, 58), (105, 114, 125), (190, 198, 204)),
    "greenish": ((42, 54, 44), (103, 119, 98), (186, 198, 174)),
    "cream": ((116, 106, 92), (194, 185, 167), (241, 237, 227)),
    "buff": ((96, 74, 48), (172, 146, 106), (228, 212, 180)),
    "brownish": ((58, 42, 32), (124, 97, 76), (197, 175, 149)),
    "pinkish": ((96, 62, 58), (178, 134, 124), (231, 206, 196)),
    "reddish": ((76, 37, 30), (150, 88, 72), (212, 166, 147)),
}

#: How often a class takes each of the palettes, in their order above. Every class
#: takes every palette: color is a hint, never the answer.
PALETTE_WEIGHTS = {
    "andesite": (4, 15, 3, 1, 1, 2, 1, 1),
    "gneiss": (14, 4, 1, 1, 1, 2, 8, 1),
    "marble": (4, 2, 2, 17, 3, 1, 3, 1),
    "quartzite": (2, 1, 1, 4, 16, 3, 3, 1),
    "rhyolite": (1, 1, 1, 1, 3, 3, 7, 12),
    "schist": (3, 2, 15, 1, 1, 6, 1, 1),
}

#: Typical tone of a class, from dark (0) to light (1), before its own variation.
LEVELS = {
    "andesite": 0.44,
    "gneiss": 0.52,
    "marble": 0.62,
    "quartzite": 0.56,
    "rhyolite": 0.52,
    "schist": 0.46,
}


class Uniforms:
    """Hand out the columns of ``(b, n)`` uniform numbers in [0, 1), in order.

    `strata` is None, or an endless iterator of pairs (low, high): numbers that are
    asked for one at a time, which decide the style of a texture, then lie between the
    next pair.
    """

    def __init__(self, values, strata=None):
        self.values = values
        self.strata = strata
        self.used = 0

    def __call__(self, *shape, low=0.0, high=1.0):
        """Return the next numbers: (b, *shape) float32 in [low, high)."""
        start, self.used = self.used, self.used + int(np.prod(shape))
        block = self.values[:, start : self.used]
        if self.strata is not None and shape == (1,):
            least, most = next(self.strata)
            block = least + (most - least) * block
        block = block * (high - low) + low
        return block.reshape(-1, *shape).astype(np.float32)


def smoothstep(x, low, high):
    """Rise smoothly from 0 at `low` to 1 at `high`, elementwise."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _spline_weights(position, size):
    """Cubic B-spline weights: positions (b, m) on a ring -> (b, m, size)."""
    d = position[..., None] - np.arange(size, dtype=np.float32)
    d = np.abs(d - size * np.round(d / size))
    near = 2 / 3 - d * d * (1 - d / 2)
    tail = np.maximum(2 - d, 0)
    return np.where(d < 1, near, tail * tail * tail / 6)


def lattice_noise(values, y, x):
    """Smooth noise over a pixel grid: (b, g, g), (b, h), (b, w) -> (b, h, w).

    `y` and `x` are in lattice units and wrap around the lattice. Uniform values in
    [-1, 1] give unit variance. The cubic B-spline is separable: two small products.
    """
    size = values.shape[-1]
    rows, cols = _spline_weights(y, size), _spline_weights(x, size)
    # 3.61 = 1 / (0.577 * 0.479): spread of the values times loss to smoothing.
    return 3.61 * (rows @ values) @ cols.transpose(0, 2, 1)


def fractal_noise(uniforms, y, x, frequency, max_frequency, octaves=3, gain=0.5):
    """Sum octaves of `lattice_noise`: y (h,), x (w,), frequency (b,) -> (b, h, w).

    `frequency` is in cells per long side, at most `max_frequency`. Unit variance.
    """
    total, power, amplitude = 0.0, 0.0, 1.0
    for octave in range(octaves):
        # Fine grain may repeat: nobody sees it, and it keeps the lattice small.
        size = min(int(np.ceil(max_frequency * 2**octave)) + 4, 28)
        cells = frequency[:, None] * 2**octave
        values = uniforms(size, size, low=-1, high=1)
        shift = uniforms(2)
        total = total + amplitude * lattice_noise(
            values,
            (y + 0.5) * cells + shift[:, :1],
            (x + 0.5) * cells + shift[:, 1:],
        )
        power += amplitude**2
        amplitude *= gain
    return total / np.float32(np.sqrt(power))


def noise_at(values, p, q):
    """Value noise at any points: (b, g, k), (b, h, w), (b, h, w) -> (b, h, w).

    `p` and `q` are in lattice units and wrap around the lattice. Uniform values in
    [-1, 1] give about unit variance.
    """
    b, g, k = values.shape
    flat = values.ravel()
    row, col = np.floor(p), np.floor(q)
    s, t = smoothstep(p - row, 0, 1), smoothstep(q - col, 0, 1)
    row, col = row.astype(np.int32) % g, col.astype(np.int32) % k
    start = (np.arange(b, dtype=np.int32) * (g * k))[:, None, None]
    up, down = start + row * k, start + (row + 1) % g * k
    right = (col + 1) % k
    top = flat[up + col] * (1 - t) + flat[up + right] * t
    bottom = flat[down + col] * (1 - t) + flat[down + right] * t
    # 2.33 = 1 / (0.577 * 0.743): spread of the values times loss to smoothing.
    return 2.33 * (top * (1 - s) + bottom * s)


def profile_at(values, t, sharpness=0.0):
    """Read a profile: values (b, k) at t (b, h, w), which wraps -> (b, h, w).

    `sharpness` in [0, 1), a number or (b, 1, 1), narrows the passage between two
    neighboring values from the whole step (0) to a sharp contact (towards 1).
    """
    b, k = values.shape
    flat = values.ravel()
    cell = np.floor(t)
    low = np.float32(0.5) * sharpness
    s = smoothstep(t - cell, low, 1 - low)
    cell = cell.astype(np.int32) % k
    start = (np.arange(b, dtype=np.int32) * k)[:, None, None]
    return flat[start + cell] * (1 - s) + flat[start + (cell + 1) % k] * s


def mosaic(jitter, y, x):
    """Jittered-grid Voronoi cells: (b, g, g, 2), (b, h, w), (b, h, w) -> 4 arrays.

    `y` and `x` are in grid units in [1, g - 2]; `jitter` in [0, 1) places each
    cell's seed in its square. Returns, each (b, h, w): the flat index of the nearest
    seed's square, half of how much further the second nearest is (0 on a wall), and
    the offsets dy and dx from the nearest seed.
    """
    b, g = jitter.shape[:2]
    flat = jitter.reshape(-1, 2)
    seed_y, seed_x = flat[:, 0].copy(), flat[:, 1].copy()
    row, col = np.floor(y).astype(np.int32), np.floor(x).astype(np.int32)
    start = (np.arange(b, dtype=np.int32) * (g * g))[:, None, None]
    first = np.full(y.shape, np.inf, dtype=np.float32)
    second = first.copy()
    owner = np.zeros(y.shape, dtype=np.int32)
    offset_y, offset_x = np.zeros_like(first), np.zeros_like(first)
    for i in (-1, 0, 1):
        for j in (-1, 0, 1):
            r, c = np.clip(row + i, 0, g - 1), np.clip(col + j, 0, g - 1)
            square = start + r * g + c
            dy, dx = y - (r + seed_y[square]), x - (c + seed_x[square])
            d = dy * dy + dx * dx
            nearer = d < first
            second = np.where(nearer, first, np.minimum(second, d))
            first = np.where(nearer, d, first)
            owner = np.where(nearer, square, owner)
            offset_y = np.where(nearer, dy, offset_y)
            offset_x = np.where(nearer, dx, offset_x)
    wall = 0.5 * (np.sqrt(second) - np.sqrt(first))
    return owner, wall, offset_y, offset_x


def lath_depth(y, x, center, angle, length, width):
    """Depth inside one crystal a picture: y (h,), x (w,) -> (b, h, w).

    `center` (b, 2) is (y, x); `angle` (b,), in radians, turns the long axis from x
    towards y; `length` and `width` (b,) are whole axes. Inside, the distance to the
    outline, a rectangle with cut corners; outside, negative.
    """
    cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    dy = y[:, None] - center[:, 0, None, None]
    dx = x - center[:, 1, None, None]
    along, across = np.abs(dx * cos + dy * sin), np.abs(dy * cos - dx * sin)
    half_l, half_w = length[:, None, None] / 2, width[:, None, None] / 2
    sides = np.minimum(half_l - along, half_w - across)
    # Corners cut at 45 degrees, as the faces of a feldspar cut its ends.
    corners = (half_l + 0.6 * half_w - along - across) * np.float32(0.7071)
    return np.minimum(sides, corners)


def _rotated(y, x, angle):
    """Turn the axes: y (h,), x (w,), angle (b,) -> across, along (b, h, w)."""
    cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    return y[:, None] * cos - x * sin, x * cos + y[:, None] * sin


def _column(values):
    return values[:, None, None]


def _angle(uniforms):
    return uniforms(1, 1, high=np.pi)[:, 0, 0]


def draw_andesite(uniforms, y, x, n_crystals=26):
    """Draw light laths and a few dark crystals in a fine dark ground."""
    ground = fractal_noise(
        uniforms, y, x, uniforms(1, low=12, high=20)[:, 0], 20, 3, 0.8
    )
    cloud = fractal_noise(uniforms, y, x, uniforms(1, low=1.5, high=3)[:, 0], 3, 2)
    tone = 0.3 * ground + 0.2 * cloud
    mask = 0.25 + 0.1 * cloud
    size = uniforms(1, low=0.75, high=1.35)
    flow = _angle(uniforms)[:, None]
    align = uniforms(1, low=0.15, high=1)
    count = uniforms(1, low=0.5, high=1) / size**1.2
    center = uniforms(n_crystals, 2, low=-0.55, high=0.55)
    angle = flow + align * uniforms(n_crystals, low=-1.57, high=1.57)
    length = size * (0.09 + 0.17 * uniforms(n_crystals) ** 1.5)
    width = length * uniforms(n_crystals, low=0.25, high=0.62)
    kind = uniforms(n_crystals)
    bright = uniforms(n_crystals, low=1.3, high=2.3)
    soft = np.float32(0.004)
    for k in range(n_crystals):
        depth = lath_depth(y, x, center[:, k], angle[:, k], length[:, k], width[:, k])
        here = (k < count[:, 0] * n_crystals).astype(np.float32)
        cover = smoothstep(depth, -soft, soft) * _column(here)
        # Zoned: the rim is a little darker than the core.
        core = 0.8 + 0.2 * smoothstep(depth, 0, 0.2 * _column(width[:, k]))
        core = core + 0.1 * ground
        light = np.where(kind[:, k] < 0.2, -0.9, bright[:, k]).astype(np.float32)
        tone = tone + cover * (_column(light) * core - tone)
        mask = mask + cover * (0.75 - mask)
    return tone, mask


def draw_gneiss(uniforms, y, x, n_bands=16):
    """Draw light and dark bands, gently bent, granular inside."""
    across, along = _rotated(y, x, _angle(uniforms))
    bend = fractal_noise(uniforms, y, x, uniforms(1, low=1.2, high=2)[:, 0], 2, 2, 0.35)
    bands = _column(uniforms(1, low=4.5, high=8.5)[:, 0])
    t = bands * (across + _column(uniforms(1, low=0.015, high=0.05)[:, 0]) * bend)
    sign = np.where(np.arange(n_bands) % 2, 1, -1).astype(np.float32)
    values = sign * uniforms(n_bands, low=0.35, high=1.3)
    phase = _column(uniforms(1, high=n_bands)[:, 0])
    # Widths vary: the phase runs faster over some bands than over others.
    t = t + 0.3 * noise_at(uniforms(8, 1, low=-1, high=1), t + phase, 0 * t)
    band = profile_at(values, t + phase, _column(uniforms(1, low=0.3, high=0.85)[:, 0]))
    grain = fractal_noise(
        uniforms, y, x, uniforms(1, low=11, high=18)[:, 0], 18, 3, 0.8
    )
    streak = noise_at(uniforms(64, 16, low=-1, high=1), 30 * across + bend, 5 * along)
    tone = band + 0.32 * grain + 0.25 * streak
    return tone, 0.5 + 0.45 * np.tanh(1.5 * band)


def draw_marble(uniforms, y, x):
    """Draw branching veins, dark or light, over a cloudy ground."""
    across, _ = _rotated(y, x, _angle(uniforms))
    cloud = fractal_noise(uniforms, y, x, uniforms(1, low=1.5, high=3)[:, 0], 3, 4, 0.6)
    fade = fractal_noise(uniforms, y, x, uniforms(1, low=1.5, high=3)[:, 0], 3, 2)
    tone = 0.42 * cloud
    stain = np.zeros_like(tone)
    for strength, spacing, width in ((1.7, 1.5, 0.075), (1.1, 3.2, 0.085)):
        wander = fractal_noise(
            uniforms, y, x, uniforms(1, low=1.6, high=2.6)[:, 0], 2.6, 4, 0.5
        )
        shift = _column(uniforms(1)[:, 0])
        rate = _column(uniforms(1, low=0.7, high=1.3)[:, 0]) * spacing
        phase = shift + rate * across + 0.42 * wander
        # Distance, in turns, from the nearest whole turn: the vein's middle.
        off = np.abs(phase - np.round(phase))
        w = width * np.exp(0.45 * fade)
        vein = strength * w.clip(0.4 * width, 1.8 * width) / width
        vein = vein * np.exp(-((off / w) ** 2)) * smoothstep(fade, -1.6, 0.3)
        stain = np.maximum(stain, vein)
    sign = np.where(uniforms(1)[:, 0] < 0.65, -1, 1).astype(np.float32)
    return tone + _column(sign) * stain, 0.25 + 0.1 * cloud + 0.35 * stain


def draw_quartzite(uniforms, y, x, size=14):
    """Draw a mosaic of interlocking grains with sutured walls."""
    cells = _column(uniforms(1, low=5.5, high=9.5)[:, 0])
    wobble = _column(uniforms(1, low=0.05, high=0.13)[:, 0])
    rough = np.full(len(cells), 11, np.float32)
    p = (y[:, None] + 0.5) * cells + 2
    q = (x + 0.5) * cells + 2
    p = p + wobble * fractal_noise(uniforms, y, x, rough, 11, 3, 0.6)
    q = q + wobble * fractal_noise(uniforms, y, x, rough, 11, 3, 0.6)
    owner, wall, dy, dx = mosaic(uniforms(size, size, 2), p, q)
    grain = uniforms(size, size, low=-1, high=1).ravel()
    # Undulose extinction: each grain shades off to one side.
    slope = uniforms(size, size, 2, low=-0.8, high=0.8).reshape(-1, 2)
    tone = 1.25 * grain[owner] + slope[owner, 0] * dy + slope[owner, 1] * dx
    seam = 1 - smoothstep(wall, 0.0, 0.12)
    tone = tone - _column(uniforms(1, low=0.3, high=1.2)[:, 0]) * seam
    dust = fractal_noise(uniforms, y, x, uniforms(1, low=12, high=20)[:, 0], 20, 3, 0.9)
    hue = uniforms(size, size).ravel()
    return tone + 0.15 * dust, 0.15 + 0.7 * hue[owner] * (1 - 0.5 * seam)


def draw_rhyolite(uniforms, y, x, n_laminae=32):
    """Draw flow lines: folded, swirling laminae of uneven strength."""
    across, along = _rotated(y, x, _angle(uniforms))
    fold = fractal_noise(uniforms, y, x, uniforms(1, low=1.8, high=3)[:, 0], 3, 2, 0.35)
    strength = fractal_noise(uniforms, y, x, uniforms(1, low=2, high=3)[:, 0], 3, 1)
    amplitude = _column(uniforms(1, low=0.1, high=0.2)[:, 0])
    t = across + amplitude * fold
    laminae = _column(uniforms(1, low=7, high=11)[:, 0])
    phase = _column(uniforms(1, high=n_laminae)[:, 0])
    broad = profile_at(uniforms(n_laminae, low=-1, high=1), laminae * t + phase)
    fine = profile_at(uniforms(n_laminae, low=-1, high=1), 2.3 * laminae * t + phase)
    streak = noise_at(uniforms(32, 8, low=-1, high=1), 1.5 * laminae * t, 3 * along)
    dust = fractal_noise(uniforms, y, x, uniforms(1, low=12, high=20)[:, 0], 20, 3, 0.9)
    tone = (1.4 * broad + 0.7 * fine) * (1 + 0.3 * strength) + 0.2 * streak
    return tone + 0.15 * dust, 0.45 + 0.5 * broad


def draw_schist(uniforms, y, x):
    """Draw a fine wavy foliation of lenses, with mica glints along it."""
    across, along = _rotated(y, x, _angle(uniforms))
    bend = fractal_noise(uniforms, y, x, uniforms(1, low=1.2, high=2)[:, 0], 2, 1)
    waves = uniforms(3)
    crinkle = np.sin(
        _column(18 + 20 * waves[:, 0]) * (along + 0.5 * across)
        + _column(6.28 * waves[:, 1])
    )
    t = across + 0.035 * bend + _column(0.004 + 0.014 * waves[:, 2]) * crinkle
    sheets = _column(uniforms(1, low=13, high=20)[:, 0])
    lenses = _column(uniforms(1, low=2.5, high=5)[:, 0])
    broad = noise_at(uniforms(32, 16, low=-1, high=1), sheets * t, lenses * along)
    fine = noise_at(
        uniforms(64, 32, low=-1, high=1), 1.9 * sheets * t, 2.2 * lenses * along
    )
    glint = noise_at(
        uniforms(64, 32, low=-1, high=1), 1.7 * sheets * t, 3.5 * lenses * along
    )
    cloud = fractal_noise(uniforms, y, x, uniforms(1, low=1.5, high=3)[:, 0], 3, 2)
    mica = smoothstep(glint, 1.1, 1.8) * _column(uniforms(1, low=0.8, high=2.2)[:, 0])
    tone = 0.8 * broad + 0.5 * fine + 0.25 * cloud + mica
    return tone, 0.35 + 0.2 * cloud + 0.15 * broad


#: Class name -> function that draws its tone and mineral mask.
TEXTURES = {
    "andesite": draw_andesite,
    "gneiss": draw_gneiss,
    "marble": draw_marble,
    "quartzite": draw_quartzite,
    "rhyolite": draw_rhyolite,
    "schist": draw_schist,
}


def _ramp(uniforms, weights):
    """Draw one color ramp a picture: (b, 3 tones, 3 channels) in [0, 1]."""
    palettes = np.array(list(PALETTES.values()), dtype=np.float32) / 255
    edges = np.cumsum(weights, dtype=np.float64) / np.sum(weights)
    first = np.searchsorted(edges[:-1], uniforms(1)[:, 0], side="right")
    second = np.searchsorted(edges[:-1], uniforms(1)[:, 0], side="right")
    share = _column(uniforms(1, high=0.35)[:, 0])
    ramp = palettes[first] * (1 - share) + palettes[second] * share
    return ramp * (1 + uniforms(1, 3, low=-0.05, high=0.05))


def _ramp_at(ramp, tone):
    """Color of each tone: (b, 3, 3), (b, h, w) -> (b, h, w, 3)."""
    dark, middle, light = (ramp[:, None, None, i] for i in range(3))
    t = 2 * tone[..., None]
    return (
        dark + (middle - dark) * np.clip(t, 0, 1) + (light - middle) * (t - 1).clip(0)
    )


def _box_mean(values, factor):
    """Average square blocks: (b, h * factor, w * factor) -> (b, h, w)."""
    if factor == 1:
        return values
    b, h, w = values.shape
    return values.reshape(b, h // factor, factor, w // factor, factor).mean((2, 4))


def oversampling(height, width):
    """Points per pixel side that keep a picture of this size free of aliasing."""
    side = max(height, width)
    return max(int(np.ceil(84 / side)), 2 if side <= 256 else 1)


def _axes(height, width, factor=1):
    """Coordinates of rows (height * factor,) and columns (width * factor,)."""
    h, w = height * factor, width * factor
    y = (np.arange(h) + 0.5 - h / 2) / max(h, w)
    x = (np.arange(w) + 0.5 - w / 2) / max(h, w)
    return y.astype(np.float32), x.astype(np.float32)


def _strata(name, variety):
    """Yield the part of its range that each number of a variety's style lies in.

    The varieties of a texture take a fifth of each range each, in random order (a
    Latin hypercube), and overlap by half of it on either side.
    """
    order = np.random.RandomState([sorted(TEXTURES).index(name), N_VARIETIES])
    while True:
        rank = order.permutation(N_VARIETIES)[variety]
        low, high = (rank - 0.25) / N_VARIETIES, (rank + 1.25) / N_VARIETIES
        yield max(low, 0.0), min(high, 1.0)


def draw_rocks(name, uniforms, noise, variety=None):
    """Draw one class: (b, N_UNIFORMS), (b, h, w, 3) -> uint8 (b, h, w, 3).

    `noise` is standard normal, one number per channel of each pixel: the sensor's.
    `variety`, below `N_VARIETIES`, narrows the style of the texture.
    """
    strata = None if variety is None else _strata(name, variety)
    uniforms = Uniforms(uniforms, strata)
    h, w = noise.shape[1:3]
    factor = oversampling(h, w)
    y, x = _axes(h, w, factor)
    weights = PALETTE_WEIGHTS[name]
    ground, mineral = _ramp(uniforms, weights), _ramp(uniforms, weights)
    light = uniforms(8)
    tone, mask = TEXTURES[name](uniforms, y, x)
    relief = fractal_noise(uniforms, y, x, 5 + 9 * light[:, 7], 14, 3, 0.8)
    tone = _box_mean(tone, factor)
    mask = _column(0.25 + 0.75 * light[:, 0]) * _box_mean(mask, factor).clip(0, 1)
    relief = _box_mean(relief, factor)

    # Every class gets the same spread of brightness and contrast.
    tone = tone - tone.mean(axis=(1, 2), keepdims=True)
    tone = tone / (tone.std(axis=(1, 2), keepdims=True) + np.float32(1e-6))
    tone = (
        _column(LEVELS[name] - 0.12 + 0.24 * light[:, 1])
        + _column(0.08 + 0.08 * light[:, 2]) * tone
    )
    tone = (tone + _column(0.035 * light[:, 3]) * relief).clip(-0.2, 1.25)
    color = _ramp_at(ground, tone)
    color = color + mask[..., None] * (_ramp_at(mineral, tone) - color)

    across, _ = _rotated(*_axes(h, w), 2 * np.pi * light[:, 4])
    shade = _column(0.82 + 0.32 * light[:, 5])
    shade = shade * (1 + _column(0.3 * light[:, 6]) * across)
    color = color * shade[..., None]
    grit = uniforms(1, 1, 1, low=0.006, high=0.022)
    color = color + grit * noise
    return (color.clip(0, 1) * 255 + 0.5).astype(np.uint8)
