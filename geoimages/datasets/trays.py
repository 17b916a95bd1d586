"""Drawn core trays: photographs of rows of core, and where on them the rows are."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image
from scipy import ndimage
from skimage import transform
from sklearn.utils import check_random_state

from ..files import atomic_path, progress
from ..pictures.perspective import mapped, to_front
from .drawing import N_UNIFORMS, TEXTURES, draw_rocks
from .rocks import _check_count

#: Kinds of trays, with the range of their color, sRGB in 0-255.
TRAYS = {
    "wood": ((120, 85, 50), (205, 165, 120)),
    "cardboard": ((150, 125, 95), (190, 165, 135)),
    "light plastic": ((175, 175, 170), (235, 235, 230)),
    "dark plastic": ((15, 15, 18), (70, 72, 75)),
    "colored plastic": ((20, 60, 40), (200, 160, 190)),
    "metal": ((120, 122, 125), (180, 182, 185)),
}
_GROUNDS = ((8, 8, 8), (60, 58, 55), (120, 115, 108), (95, 110, 60), (235, 235, 232))
_LENGTH = 1300  # pixels of a row, unless strips say otherwise
_MARGIN = 0.03  # of a row's width, of floor at most on each side of the core


class Tray(NamedTuple):
    """A drawn photograph of a core tray, and the truth.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3), uint8
        The photograph.
    rows : ndarray of shape (n_rows, 4, 2), float
        Corners (x, y) of each row in reading order: the first two run down the hole
        along its upper side (its right side, where rows stand upright).
    kind : str
        Kind of tray.
    """

    image: np.ndarray
    rows: np.ndarray
    kind: str


def _noise(rng, shape, size):
    """Smooth noise with a deviation of 1 and spots of some size (pixels, per axis)."""
    sizes = np.broadcast_to(size, 2)
    coarse = [max(2, int(n / s) + 2) for n, s in zip(shape, sizes, strict=True)]
    field = rng.standard_normal(coarse).astype(np.float32)
    zoomed = Image.fromarray(field).resize(shape[::-1], Image.Resampling.BICUBIC)
    return np.asarray(zoomed)


def _bed(rng, texture, height, length):
    """Draw core of one rock that lies horizontally: (height, length, 3) uint8.

    Its pieces are of one color, and about two and a half times as long as wide.
    """
    n = max(1, round(length / (2.5 * height)))
    ends = np.linspace(0, length, n + 1).round().astype(int)
    wide = max(16, int(np.diff(ends).max()))
    uniforms = rng.random_sample((n, N_UNIFORMS))
    noise = rng.standard_normal((n, height, wide, 3)).astype(np.float32)
    pieces = draw_rocks(texture, uniforms, noise).astype(np.float32)
    mean = pieces.mean(axis=(1, 2), keepdims=True)
    pieces += mean[:1] - mean
    bed = np.concatenate(
        [piece[:, :n] for piece, n in zip(pieces, np.diff(ends), strict=True)], axis=1
    )
    grain = 3 * _noise(rng, bed.shape[:2], 2) + 4 * _noise(rng, bed.shape[:2], 6)
    return np.clip(bed + grain[..., None], 0, 255).astype(np.uint8)


def _material(rng, kind, shape, color):
    """Draw the stuff of a tray: (h, w, 3) float."""
    grain = rng.normal(0, 1.5, shape)
    if kind == "wood":
        grain = grain + 7 * _noise(rng, shape, (3, 220)) + 5 * _noise(rng, shape, 90)
    else:
        grain = grain + 2 * _noise(rng, shape, 60)
    return color + grain[..., None].astype(np.float32)


def _outline(rng, shape, rough):
    """Which pixels of a strip the core covers: pieces with ragged sides, (h, w)."""
    height, width = shape
    y = np.arange(height)[:, None]
    breaks = np.sort(rng.choice(width, rng.randint(1, 7), replace=False))
    tilt = np.zeros(width)
    for part in np.split(np.arange(width), breaks):
        if len(part):
            tilt[part] = rng.uniform(-1, 1) + rng.uniform(-1, 1) * (
                part - part.mean()
            ) / max(len(part), 1)
    sides = [
        rough * np.abs(0.6 * tilt + 0.5 * _noise(rng, (1, width), 25)[0])
        for _ in range(2)
    ]
    cover = (y >= sides[0]) & (y < height - sides[1])
    for at in breaks:
        wander = (
            np.cumsum(rng.normal(0, 0.5, height)) + rng.uniform(-0.2, 0.2) * y[:, 0]
        )
        x = np.clip(at + wander - wander.mean(), 1, width - 2).astype(int)
        thick = rng.randint(1, 4)
        for step in range(thick):
            cover[np.arange(height), np.minimum(x + step, width - 1)] = False
    return cover


def _row(rng, strip, kind, color, n_gaps, n_blocks, full):
    """Draw one compartment with its core: (h, w, 3) float."""
    height, width = strip.shape[:2]
    floor = _material(rng, kind, (height, width), np.asarray(color) * 0.72)
    core = strip.astype(np.float32)
    if rng.uniform() < 0.5:  # whole core is round
        across = np.linspace(-1, 1, height)[:, None, None]
        core = core * (0.55 + 0.45 * np.sqrt(1 - 0.9 * across**2))
    cover = _outline(rng, (height, width), _MARGIN * height * rng.uniform(0.1, 1))
    for _ in range(n_gaps):
        long = int(width * rng.uniform(0.01, 0.06))
        at = rng.randint(0, width - long)
        cover[:, at : at + long] = False
    cover[:, int(width * full) :] = False
    shade = ndimage.gaussian_filter(
        np.roll(cover, (height // 30 + 1, 2), (0, 1)).astype(np.float32), height / 40
    )
    row = floor * (1 - 0.5 * shade[..., None])
    row[cover] = core[cover]
    for _ in range(n_blocks):
        long = max(6, int(min(0.35 * height, 0.04 * width)))
        at = rng.choice([0, width - long, rng.randint(0, width - long)])
        inset = int(height * rng.uniform(0, 0.1))
        pale = rng.uniform(150, 225) * np.array([1.0, 0.86, 0.62], np.float32)
        wood = _material(rng, "wood", (height - 2 * inset, long), pale)
        high = len(wood)
        for line in range(rng.randint(1, 4)):  # something written on it
            top = high * (line + 1) // 5
            wood[top : top + max(1, high // 30), long // 5 : -long // 5 or None] = 40
        row[inset : inset + high, at : at + long] = wood
    return row


def _lit(rng, image):
    """Uneven light: a slope, darker corners, and now and then a shadow's edge."""
    height, width = image.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    angle = rng.uniform(0, 2 * np.pi)
    along = np.cos(angle) * x + np.sin(angle) * y
    light = 1 + rng.uniform(0, 0.25) * along - rng.uniform(0, 0.12) * (x**2 + y**2)
    if rng.uniform() < 0.3:
        edge = np.cos(angle + 1) * x + np.sin(angle + 1) * y - rng.uniform(-0.7, 0.7)
        light = light * (1 - rng.uniform(0.1, 0.35) / (1 + np.exp(-edge * 60)))
    warm = 1 + rng.uniform(-0.06, 0.06)
    return image * light[..., None] * np.array([warm, 1, 2 - warm])


def make_tray(
    strips=None,
    n_rows=4,
    *,
    kind=None,
    max_rotation=5.0,
    max_perspective=0.06,
    vertical=False,
    random_state=None,
):
    """Draw the photograph of a core tray, with rows of core, and where they are.

    The tray lies on some ground, turned and seen from an angle, in uneven light. Rows
    have pieces of core with ragged sides, fractures, gaps and wooden blocks.

    Parameters
    ----------
    strips : sequence of ndarray of shape (height, width, 3), uint8, optional
        Pictures of core that lies horizontally, one per row, in reading order; they are
        brought to the first one's size. Without them they are drawn, with the textures
        of `make_rocks`.
    n_rows : int, default=4
        Number of rows; with `strips`, there are as many as these.
    kind : str, optional
        ``"wood"``, ``"cardboard"``, ``"light plastic"``, ``"dark plastic"``,
        ``"colored plastic"`` or ``"metal"``; by default random.
    max_rotation : float, default=5.0
        The tray is turned by at most this, in degrees.
    max_perspective : float, default=0.06
        By how much of the side each corner is moved at most.
    vertical : bool, default=False
        Whether the rows stand upright, from left to right.
    random_state : int, RandomState or None, default=None
        Seed.

    Returns
    -------
    tray : Tray
        ``image``, ``rows`` and ``kind``.

    Raises
    ------
    ValueError
        If `kind` is none of these, or there is no strip.

    Examples
    --------
    >>> from geoimages import make_tray
    >>> tray = make_tray(n_rows=3, random_state=0)
    >>> tray.rows.shape
    (3, 4, 2)
    """
    rng = check_random_state(random_state)
    if kind is not None and kind not in TRAYS:
        raise ValueError(f"kind must be one of {', '.join(TRAYS)}, got {kind!r}.")
    if strips is None:
        n_rows = _check_count("n_rows", n_rows, 1)
        height = int(_LENGTH * rng.uniform(0.075, 0.16))
        names = list(TEXTURES)
        strips = [
            _bed(rng, names[rng.randint(len(names))], height, _LENGTH)
            for _ in range(n_rows)
        ]
    strips = [np.asarray(strip) for strip in strips]
    if not strips:
        raise ValueError("There must be at least one strip of core.")
    names = list(TRAYS)
    kind = kind or names[rng.randint(len(names))]
    color = rng.uniform(*TRAYS[kind]).astype(np.float32)
    height, width = strips[0].shape[:2]
    wall = max(3, int(height * rng.uniform(0.04, 0.3)))
    frame = max(wall, int(height * rng.uniform(0.1, 0.5)))
    size = (
        2 * frame + len(strips) * height + (len(strips) - 1) * wall,
        2 * frame + width,
    )
    tray = _material(rng, kind, size, color)
    corners = []
    for i, strip in enumerate(strips):
        strip = np.asarray(Image.fromarray(strip).resize((width, height)))
        last = i == len(strips) - 1
        full = rng.uniform(0.3, 1) if last and rng.uniform() < 0.25 else 1.0
        gaps, blocks = rng.randint(0, 3), rng.choice([0, 0, 1, 1, 2])
        top = frame + i * (height + wall)
        row = _row(rng, strip, kind, color, gaps, blocks, full)
        tray[top : top + height, frame : frame + width] = row
        if rng.uniform() < 0.5 and i < len(strips) - 1:  # the wall's upper edge
            tray[top + height : top + height + max(1, wall // 4), frame:-frame] *= 0.7
        box = np.array([[0, 0], [width, 0], [width, height], [0, height]])
        corners.append(box + np.array([frame, top]))
    if rng.uniform() < 0.5:  # a label on the frame
        high, wide = int(0.6 * frame), int(0.15 * width)
        left = frame + rng.randint(0, width - wide)
        tray[frame // 6 : frame // 6 + high, left : left + wide] = 238
        tray[
            frame // 6 + high // 3 : frame // 6 + high // 2, left + 9 : left + wide // 2
        ] = 30
    image, corners = _photographed(
        rng, tray, np.array(corners, float), max_rotation, max_perspective, vertical
    )
    return Tray(image, corners, kind)


def _photographed(rng, tray, corners, max_rotation, max_perspective, vertical):
    """Photograph a tray on a ground: image, corners on it."""
    if vertical:
        tray = np.rot90(tray, -1)
        corners = np.stack([tray.shape[1] - corners[..., 1], corners[..., 0]], axis=-1)
        corners = corners[::-1]  # the first row is the left one
    size = np.array(tray.shape[1::-1])
    border = size * rng.uniform(0.02, 0.12, 2)
    angle = np.deg2rad(rng.uniform(-max_rotation, max_rotation))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    ends = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    aim = (
        (ends - 0.5) * (1 + rng.uniform(-1, 1, (4, 2)) * max_perspective) * size @ turn
    )
    aim = aim - aim.min(axis=0) + border
    shape = tuple(np.ceil(aim.max(axis=0) + border).astype(int)[::-1])
    onto_tray = np.diag([*size, 1]) @ to_front(aim)
    back = transform.ProjectiveTransform(onto_tray)
    ground = np.array(_GROUNDS[rng.randint(len(_GROUNDS))], np.float32)
    rough = rng.choice([0.5, 3, 9])
    scene = ground + rough * _noise(rng, shape, 4)[..., None]
    scene = scene + rough * _noise(rng, shape, 60)[..., None]
    cover = transform.warp(np.ones(tray.shape[:2]), back, output_shape=shape)
    seen = transform.warp(tray, back, output_shape=shape, mode="edge")
    image = scene + cover[..., None] * (seen - scene)
    image = _lit(rng, image)
    image = ndimage.gaussian_filter(image, (*[rng.uniform(0, 0.8)] * 2, 0))
    image = image + rng.normal(0, rng.uniform(0.5, 4), image.shape)
    corners = mapped(np.linalg.inv(onto_tray), corners)
    return np.clip(image + 0.5, 0, 255).astype(np.uint8), corners


def write_core(
    folder,
    n_holes=2,
    n_boxes=2,
    *,
    n_rows=4,
    n_classes=4,
    row_shape=(110, 1000),
    random_state=None,
):
    """Write photographs of drawn core: boxes of several holes that cut the same rocks.

    Rows are a meter long, and holes begin at a depth of 100 m. Files are named
    ``HOLE_BOX_FROM_TO.jpg``.

    Parameters
    ----------
    folder : str or path-like
        Where to write them; it is made if it does not exist.
    n_holes, n_boxes : int, default=2
        Numbers of holes, and of boxes of each.
    n_rows : int, default=4
        Rows of a box.
    n_classes : int, default=4
        Rocks, 1 to 6: the first textures of `make_rocks`.
    row_shape : (int, int), default=(110, 1000)
        Height and length of a row, in pixels.
    random_state : int, RandomState or None, default=None
        Seed.

    Returns
    -------
    beds : DataFrame
        ``hole``, ``from``, ``to`` (meters) and ``label``: the rock of each bed, 0.3 to
        1.5 m thick.

    Raises
    ------
    ValueError
        If a number is out of range.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from geoimages import write_core
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> beds = write_core(folder, 1, 1, n_rows=3, row_shape=(40, 300), random_state=0)
    >>> [path.name for path in folder.iterdir()], float(beds["to"].max())
    (['BH1_1_100_103.jpg'], 103.0)
    """
    rng = check_random_state(random_state)
    n_holes, n_boxes = (
        _check_count("n_holes", n_holes, 1),
        _check_count("n_boxes", n_boxes, 1),
    )
    n_rows, n_classes = (
        _check_count("n_rows", n_rows, 1),
        _check_count("n_classes", n_classes, 1),
    )
    if n_classes > len(TEXTURES):
        raise ValueError(f"n_classes must be at most {len(TEXTURES)}, got {n_classes}.")
    height, length = (_check_count("row_shape", side, 32) for side in row_shape)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    names, beds = sorted(TEXTURES)[:n_classes], []
    jobs = [(hole, box) for hole in range(n_holes) for box in range(n_boxes)]
    for hole, box in progress(jobs, desc="drawing boxes", unit="box"):
        name = f"BH{hole + 1}"
        if box == 0:
            core, last = [], None
            while sum(part.shape[1] for part in core) < n_boxes * n_rows * length:
                others = [label for label in names if label != last] or names
                last = others[rng.randint(len(others))]
                thick = int(rng.uniform(0.3, 1.5) * length)
                start = 100 + sum(part.shape[1] for part in core) / length
                core.append(_bed(rng, last, height, thick))
                beds.append((name, start, start + thick / length, last))
            core = np.concatenate(core, axis=1)
        first = box * n_rows
        strips = [
            core[:, row * length : (row + 1) * length]
            for row in range(first, first + n_rows)
        ]
        tray = make_tray(strips, random_state=rng)
        file = f"{name}_{box + 1}_{100 + first}_{100 + first + n_rows}.jpg"
        with atomic_path(folder / file) as temporary:
            Image.fromarray(tray.image).save(temporary, "JPEG", quality=92)
    table = pd.DataFrame(beds, columns=["hole", "from", "to", "label"])
    table["to"] = table["to"].clip(upper=100.0 + n_boxes * n_rows)
    return table.round(3)
