"""Rows of core on the photograph of a tray, found by straight edges that repeat."""

import itertools

import numpy as np
from scipy import ndimage, optimize
from skimage import feature

from ..pictures.color import srgb_to_lab
from ..pictures.perspective import straight_size
from ..pictures.resizing import resize_image

_LONG = 800  # pixels of the longer side, at which rows are looked for
_SMALLEST = 48  # pixels of a photograph's shorter side
_LONE = 5.0  # a photograph as many times as long as wide is one row
_LEAST = 1.5  # times as long as wide are rows
_BLOCKS = 48  # parts of a line, each averaged before lines are tried
_EDGE = 1.0  # L* per pixel: what weaker edges are divided by
_SLOPES = np.linspace(-0.14, 0.14, 21)  # of the middle line: up to 8 degrees
_FANS = np.linspace(-0.25, 0.25, 11)  # slope of the lowest line less the highest's
_COARSE = 3  # pixels that are averaged before all slopes are tried
_PEAKS = 36  # lines that are tried as sides of rows
_NARROW, _WIDE = 0.03, 0.6  # of the photograph: width of a row
_WALL = 0.8  # of a row's width: thickest wall between two rows
_SEEN, _CLEAR = 0.4, 0.7  # contrast of an end beyond blocks: of each row, above walls
_BEYOND = 0.02  # of the photograph's side, by which a corner may lie outside
_COST = 0.35  # evidence that a row must exceed


def _edges(lab, axis):
    """Local contrast across an axis, about -2 to 2 whatever the light: (3, h, w)."""
    smooth = ndimage.gaussian_filter(lab, (1, 1, 0))
    slope = np.moveaxis(np.gradient(smooth, axis=axis), -1, 0)
    energy = (slope**2).sum(axis=0)
    local = ndimage.gaussian_filter(energy, 15)
    return np.clip(slope / np.sqrt(local + _EDGE**2), -2, 2)


def _parts(values, n):
    """Means of n parts along the last axis, and their centers, -1 to 1."""
    ends = np.linspace(0, values.shape[-1], n + 1).round().astype(int)
    sums = np.concatenate(
        [np.zeros((*values.shape[:-1], 1)), values.cumsum(axis=-1)], axis=-1
    )
    means = np.diff(sums[..., ends], axis=-1) / np.diff(ends)
    return means, (ends[1:] + ends[:-1]) / values.shape[-1] - 1


def _along(parts, centers, slope, fan, half):
    """Mean contrast of lines by their height at the middle: (3, h, n) -> (3, h)."""
    height = parts.shape[1]
    y = np.arange(height)
    tilt = (slope + fan * (y / height - 0.5)) * half
    out = np.zeros(parts.shape[:2])
    for i, center in enumerate(centers):
        at = y + tilt * center
        low = np.floor(at).astype(int)
        share = at - low
        inside = (low >= 0) & (low < height - 1)
        low = np.where(inside, low, 0)
        value = parts[:, low, i] * (1 - share) + parts[:, low + 1, i] * share
        out += value * inside
    return out / len(centers)


def _sharpness(profile):
    """How much of the contrast lies in few lines."""
    return ((profile**2).sum(axis=0) ** 1.5).sum()


def _focus(parts, centers, half):
    """Slope and fan of the lines that show the most contrast."""
    coarse, middle = _parts(parts, len(centers) // 3)
    coarse = _parts(np.moveaxis(coarse, 1, 2), max(8, parts.shape[1] // _COARSE))[0]
    coarse, middle = np.moveaxis(coarse, 1, 2), _parts(centers, len(middle))[0]
    _, slope, fan = max(
        (_sharpness(_along(coarse, middle, slope, fan, half / _COARSE)), slope, fan)
        for slope in _SLOPES
        for fan in _FANS
    )
    found = optimize.minimize(
        lambda v: -_sharpness(_along(parts, centers, v[0], v[1], half)),
        (slope, fan),
        method="Nelder-Mead",
        options={
            "initial_simplex": [
                (slope, fan),
                (slope + 0.007, fan),
                (slope, fan + 0.025),
            ],
            "maxfev": 60,
        },
    )
    return found.x


def _texture(lab, slope, fan):
    """How much the picture changes along each line: (h,), 1 on average."""
    smooth = ndimage.gaussian_filter(lab, (1, 1.5, 0))
    change = np.sqrt((np.gradient(smooth, axis=1) ** 2).sum(axis=-1))
    change = np.minimum(change, 4 * np.median(change) + 2)
    parts, centers = _parts(change[None], _BLOCKS)
    profile = _along(parts, centers, slope, fan, lab.shape[1] / 2)[0]
    return profile / (profile.mean() + 1e-9)


def _pairs(strength, peaks, texture, height):
    """Rows that two lines may bound: tops, bottoms (px) and evidence, (n,) each."""
    sums = np.concatenate([[0], texture.cumsum()])

    def mean(start, stop):
        start, stop = np.clip([start, stop], 0, height).astype(int)
        return (sums[stop] - sums[start]) / max(1, stop - start)

    found = []
    for top, bottom in itertools.combinations(peaks, 2):
        wide = bottom - top
        if not _NARROW * height <= wide <= _WIDE * height:
            continue
        reach = max(3, 0.12 * wide)
        inside = mean(top + 0.1 * wide, bottom - 0.1 * wide + 1)
        outside = max(
            texture[max(0, int(top - reach)) : top + 1].min(),
            texture[bottom : int(bottom + reach) + 1].min(),
        )
        core = np.clip((inside - outside) / (inside + outside + 0.2), -0.1, 0.6)
        within = peaks[(peaks > top + 0.07 * wide) & (peaks < bottom - 0.07 * wide)]
        crossed = strength[within].max(initial=0)
        sides = strength[top], strength[bottom]
        evidence = min(sides) + 0.3 * max(sides) + core - 0.7 * crossed - _COST
        if evidence > 0:
            found.append((top, bottom, evidence))
    found.sort(key=lambda row: -row[2])
    return np.array(sorted(found[:250])).reshape(-1, 3)


def _chain(rows):
    """The best sequence of rows of like widths and walls: list of (top, bottom)."""
    if not len(rows):
        return [], 0.0
    top, bottom, evidence = rows.T
    wide = bottom - top
    n = len(rows)
    gap = top[None] - bottom[:, None]
    alike = np.abs(np.log(wide[None] / wide[:, None]))
    allowed = (gap >= 0) & (gap < _WALL * np.minimum(wide[None], wide[:, None]))
    allowed &= alike < 0.3
    links = [np.flatnonzero(allowed[:, j]) for j in range(n)]
    # best[j][i]: the best chain that ends with rows i, j (i = j: one row alone).
    best = [{} for _ in range(n)]
    for j in np.argsort(top, kind="stable"):
        best[j][j] = (evidence[j], None)
        for i in links[j]:
            cost = 6 * alike[i, j] + (0.4 if gap[i, j] == 0 else 0)
            total, before = evidence[i], i
            for h, (value, _) in best[i].items():
                if h == i:
                    continue
                uneven = abs(gap[i, j] - gap[h, i]) / min(wide[i], wide[h])
                value = value - 4 * uneven
                if value > total:
                    total, before = value, h
            best[j][i] = (total + evidence[j] - cost, before)
    score, j, i = max((v[0], j, i) for j in range(n) for i, v in best[j].items())
    chain = [j]
    while i != j:
        before = best[j][i][1]
        chain.append(i)
        j, i = i, before
    return [tuple(rows[k, :2]) for k in reversed(chain)], score


def _lie(lab):
    """Rows of a picture in which they lie: slope, fan, [(top, bottom)] and evidence."""
    half = lab.shape[1] / 2
    parts, centers = _parts(_edges(lab, 0), _BLOCKS)
    slope, fan = _focus(parts, centers, half)
    profile = _along(parts, centers, slope, fan, half)
    strength = np.sqrt((profile**2).sum(axis=0))
    peaks = feature.peak_local_max(strength, min_distance=2, num_peaks=_PEAKS)
    peaks = np.sort(peaks[:, 0])
    texture = _texture(lab, slope, fan)
    rows, score = _chain(_pairs(strength, peaks, texture, lab.shape[0]))
    return slope, fan, rows, score


class _Lines:
    """Nearly parallel lines: y at the middle and slope give y at any x."""

    def __init__(self, shape, slope, fan):
        self.height, self.width = shape
        self.slope, self.fan = slope, fan

    def slopes(self, y):
        return self.slope + self.fan * (y / self.height - 0.5)

    def crossing(self, y, x0, lean):
        """Where lines meet x = x0 + lean * (y - height / 2): x, y."""
        slope = self.slopes(y)
        start = y - slope * self.width / 2  # at x = 0
        x = (x0 + lean * (start - self.height / 2)) / (1 - lean * slope)
        return x, start + slope * x


def _sampled(values, x, y):
    """Values of (c, h, w) at x, y; the nearest ones beyond the edge."""
    at = [y.ravel(), x.ravel()]
    return np.stack(
        [ndimage.map_coordinates(v, at, order=1, mode="nearest") for v in values]
    ).reshape(len(values), *x.shape)


_IN_ROW = np.linspace(0.08, 0.92, 8)
_IN_WALL = np.linspace(0.25, 0.75, 3)
_LEANS = np.linspace(-0.2, 0.2, 21)


def _bands(rows):
    """Lines within rows (n, 8) and within walls (n + 1, 3), the outer two included."""
    rows = np.array(rows)
    inner = rows[:, :1] + _IN_ROW * np.diff(rows)
    gaps = rows[1:, 0] - rows[:-1, 1]
    wall = max(3.0, np.median(gaps) if len(gaps) else 0.1 * np.diff(rows)[0, 0])
    wall = min(wall, 0.3 * np.diff(rows).mean())
    starts = np.r_[rows[0, 0] - wall, rows[:, 1]]
    stops = np.r_[rows[:, 0], rows[-1, 1] + wall]
    return inner, starts[:, None] + _IN_WALL * (stops - starts)[:, None]


def _ends(lab, lines, rows):
    """Left and right ends of rows: two of (x at half height, lean), and evidence."""
    width = lab.shape[1]
    contrast = _edges(lab, 1)
    color = np.moveaxis(ndimage.gaussian_filter(lab, (1, 1, 0)), -1, 0)
    inner, walls = _bands(rows)
    stacked = np.concatenate([contrast, color])
    near = 0.04 * width
    parts = (0, 0.65 * width), (0.35 * width, width)
    best = []
    for side in (0, 1):
        x0 = np.arange(*parts[side], 2.0)
        tried = [
            _end(stacked, lines, (inner, walls), x0, lean, near)[side]
            for lean in _LEANS
        ]
        at = np.unravel_index(np.argmax(tried), (len(_LEANS), len(x0)))
        lean, x = _LEANS[at[0]], x0[at[1]]
        x0 = x + np.arange(-2 * near, 2 * near)
        leans = lean + (_LEANS[1] - _LEANS[0]) * np.linspace(-0.8, 0.8, 5)
        tried = [
            _end(stacked, lines, (inner, walls), x0, lean, near)[side] for lean in leans
        ]
        middle = np.abs(x0 - x) < near
        tried = np.where(middle, tried, -np.inf)
        at = np.unravel_index(np.argmax(tried), tried.shape)
        best.append((tried[at], x0[at[1]], leans[at[0]]))
        # Blocks like the tray at the ends of all rows: the edge beyond them.
        reach = (-1, 1)[side] * np.arange(0.012 * width, 0.08 * width)
        x, lean = x0[at[1]], leans[at[0]]
        beyond = (_CLEAR, x, lean)
        for step in (-0.01, -0.005, 0, 0.005, 0.01):
            (of_rows, of_walls), _ = _profiles(
                contrast, lines, (inner, walls), x + reach, lean + step
            )
            clear = of_rows.mean(axis=0) - of_walls.max(axis=0)
            clear = np.where(of_rows.min(axis=0) > _SEEN, clear, 0)
            far = int(clear.argmax())
            beyond = max(beyond, (clear[far], x + reach[far], lean + step))
        best[side] = (best[side][0], *beyond[1:])
    return best


def _profiles(stacked, lines, bands, x0, lean):
    """Contrast (n, m) and color (3, n, m) of each band along lines of some lean."""
    sides, means = [], []
    for band in bands:
        x, y = lines.crossing(band[..., None], x0, lean)
        at = _sampled(stacked, x, y).mean(axis=2)
        sides.append(np.sqrt((at[:3] ** 2).sum(axis=0)))
        means.append(at[3:])
    return sides, means


def _end(stacked, lines, bands, x0, lean, near):
    """Evidence that rows begin, and end, at x0 on lines of some lean: two of (n,).

    There is an edge on rows that is none on walls, and beyond it no row differs in color
    from the walls.
    """
    sides, means = _profiles(stacked, lines, bands, x0, lean)
    apart = [
        np.sqrt(((means[0] - means[1][:, part]) ** 2).sum(axis=0))
        for part in (slice(None, -1), slice(1, None))
    ]
    apart = np.minimum(*apart)
    apart = np.minimum(apart / (np.quantile(apart.mean(axis=0), 0.9) + 3), 1)
    sums = np.pad(apart.cumsum(axis=1), ((0, 0), (1, 0)))
    at, step = np.arange(len(x0)), max(2, round(near / (x0[1] - x0[0])))
    after = (sums[:, np.minimum(at + step, len(x0))] - sums[:, :-1]) / step
    before = (sums[:, :-1] - sums[:, np.maximum(at - step, 0)]) / step
    edge = ndimage.gaussian_filter1d(
        sides[0].mean(axis=0) - 0.4 * sides[1].mean(axis=0), 1
    )
    return (
        edge + 1.5 * (after.mean(axis=0) - before.max(axis=0)),
        edge + 1.5 * (before.mean(axis=0) - after.max(axis=0)),
    )


def _corners(lines, rows, ends):
    """Corners (x, y) of rows in reading order: (n, 4, 2)."""
    (_, left, left_lean), (_, right, right_lean) = ends
    top, bottom = np.array(rows, float).T
    return np.stack(
        [
            np.stack(lines.crossing(y, x0, lean), axis=-1)
            for y, x0, lean in (
                (top, left, left_lean),
                (top, right, right_lean),
                (bottom, right, right_lean),
                (bottom, left, left_lean),
            )
        ],
        axis=1,
    )


def _reduced(image):
    """The photograph in CIELAB at working size, and its pixels per pixel of that."""
    height, width = image.shape[:2]
    shrink = min(1.0, _LONG / max(height, width))
    size = max(1, round(height * shrink)), max(1, round(width * shrink))
    small = resize_image(image, size, "stretch")
    return srgb_to_lab(small[None])[0].astype(float), np.array(
        [width / size[1], height / size[0]]
    )


def _on_photograph(corners, shape):
    """Rows of which nothing lies beyond the photograph, as ground beside a tray does."""
    size = np.array(shape[1::-1])
    beyond = np.maximum(-corners, corners - size).max(axis=1) > _BEYOND * size
    return corners[~beyond.any(axis=1)]


def find_rows(image):
    """Find the rows of core on the photograph of a tray.

    Rows are bounded by straight edges that are nearly parallel and repeat: the slopes
    are those at which the fewest lines hold the most contrast, and the lines are chosen
    so that rows are of like widths, divided by walls of like widths, and change more
    along themselves than the walls do. A row ends where it stops to differ from the
    walls beside it. Rows may lie or stand, turned by up to 8 degrees, seen from an angle,
    in uneven light, with gaps and blocks. A photograph five times as long as wide or
    more is one row.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3), uint8
        The photograph, upright.

    Returns
    -------
    rows : ndarray of shape (n, 4, 2), float
        Corners (x, y) in pixels, in reading order: rows that lie from the uppermost,
        each from left to right; rows that stand from the leftmost, each from top to
        bottom. The first two corners of a row lead down the hole along one side, the
        others back along the other. None where no rows are found.

    Examples
    --------
    >>> from geoimages import find_rows, make_tray
    >>> tray = make_tray(n_rows=4, random_state=0)
    >>> rows = find_rows(tray.image)
    >>> rows.shape, bool(abs(rows - tray.rows).max() < 15)
    ((4, 4, 2), True)
    """
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(
            "A photograph must be uint8 of shape (height, width, 3), got "
            f"{image.dtype} of shape {image.shape}."
        )
    if min(image.shape[:2]) < _SMALLEST:
        return np.empty((0, 4, 2))
    height, width = image.shape[:2]
    if max(height, width) >= _LONE * min(height, width):
        upper = np.array([[0, 0], [width, 0], [width, height], [0, height]], float)
        return np.roll(upper, -1, axis=0)[None] if height > width else upper[None]
    lab, factor = _reduced(image)
    fits = [_lie(part) for part in (lab, np.rot90(lab))]
    upright = int(fits[1][3] > fits[0][3])
    slope, fan, rows, _ = fits[upright]
    if not rows:
        return np.empty((0, 4, 2))
    seen = np.ascontiguousarray(np.rot90(lab)) if upright else lab
    lines = _Lines(seen.shape[:2], slope, fan)
    corners = _corners(lines, rows, _ends(seen, lines, rows)) + 0.5
    corners = _on_photograph(corners, seen.shape)
    if not len(corners):
        return np.empty((0, 4, 2))
    high, wide = np.mean([straight_size(row) for row in corners], axis=0)
    if wide < _LEAST * high:
        return np.empty((0, 4, 2))
    if upright:  # turn back; the first row is the left one
        corners = np.stack([lab.shape[1] - corners[..., 1], corners[..., 0]], axis=-1)
        corners = corners[::-1]
    return corners * factor
