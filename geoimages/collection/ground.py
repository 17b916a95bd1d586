"""What on a photograph is rock, and what gap, tray, paper or label: a stated rule."""

import numpy as np
from scipy import ndimage
from skimage import morphology

from ..pictures.color import srgb_to_lab

BLACK = 12.0  # L* below which smooth ground is a gap or background
WHITE = 92.0  # L* above which smooth, colorless ground is paper, label or background
PALE = 6.0  # CIELAB chroma up to which it is colorless
TRAY = 22.0  # chroma from which smooth ground is wood, cardboard or plastic
SKY = -6.0  # b* below which smooth, light ground is sky
PLASTIC = 55.0  # chroma that no rock has
SMOOTH = 2.5  # standard deviation of L* among neighbors up to which ground is smooth
FLAT = 0.8  # the same, of the sky; hazy mountains are as blue
NEAR = 8.0  # distance in a* and b* up to which ground is of the color of a known tray
SHADES = (1.2, 1.0, 0.8, 0.6)  # of the tray's color, in light and shadow
_BAND = 1 << 20  # pixels looked at together
_SIDE = 5  # pixels of the overview, of a neighborhood


def rock_mask(image, detail=24, tray=None):
    """Tell rock from gaps, trays, paper, labels and sky by their color and texture.

    The rule: a neighborhood is *not* rock if it is smooth (its L* deviates by less than
    2.5) and black (L* < 12), white without color (L* > 92, chroma < 6) or of the color
    of a tray (chroma > 22); if it is sky, which deviates by less than 0.8 and is blue
    (L* > 40, b* < −6); or if its chroma is over 55, smooth or not. Specks and holes
    smaller than a quarter of `detail` squared take what surrounds them.

    The rule is of color and grain alone, and rather keeps ground than loses rock: gray
    plastic, clouds, plants and what is out of focus stay. A dark opaque mineral that
    fills a tile of a thin section is taken for a gap.

    Parameters
    ----------
    image : ndarray of shape (height, width, 3), uint8
        An overview of the photograph; `detail` of its pixels are the side of a tile.
    detail : int, default=24
        Side of a tile on it, in pixels.
    tray : ndarray of shape (2,), optional
        The tray's a* and b*, where they are known: then ground is of the color of the
        tray only if it is of this one, in whatever shade.

    Returns
    -------
    mask : ndarray of shape (height, width), bool
        True on rock.

    Examples
    --------
    >>> import numpy as np
    >>> from geoimages.collection.ground import rock_mask
    >>> photograph = np.zeros((48, 96, 3), np.uint8)
    >>> photograph[:, 48:] = np.random.default_rng(0).integers(90, 160, (48, 48, 1))
    >>> rock_mask(photograph)[:, ::24].mean(axis=0).tolist()
    [0.0, 0.0, 1.0, 1.0]
    """
    reach = 2 * _SIDE  # pixels that a pixel's own color and texture depend on
    mask = _in_bands(lambda part: ~_ground(part, tray), image, reach)
    # What is smaller than a quarter of a tile reaches no farther than its area.
    reach = detail**2 // 4 + 1
    mask = _in_bands(lambda part: _fill(part, detail), mask, reach)
    return _in_bands(lambda part: ~_fill(~part, detail), mask, reach)


def _in_bands(function, image, reach):
    """Apply a function that looks `reach` rows far to bands of rows: (h, w) bool."""
    mask = np.empty(image.shape[:2], bool)
    rows = max(64, reach, _BAND // max(1, image.shape[1]))
    for top in range(0, len(image), rows):
        first = max(0, top - reach)
        part = function(image[first : top + rows + reach])
        mask[top : top + rows] = part[top - first :][:rows]
    return mask


def _ground(image, tray=None):
    """What is not rock by its color and texture: (h, w, 3) uint8 -> (h, w) bool."""
    lab = srgb_to_lab(image[None])[0]
    lightness = ndimage.uniform_filter(lab[..., 0], _SIDE)
    energy = ndimage.uniform_filter(lab[..., 0] ** 2, _SIDE) - lightness**2
    a, b = (ndimage.uniform_filter(lab[..., i], _SIDE) for i in (1, 2))
    chroma = np.hypot(a, b)
    colored = chroma > TRAY
    if tray is not None:
        shades = [np.hypot(a - s * tray[0], b - s * tray[1]) for s in SHADES]
        colored &= np.minimum.reduce(shades) < NEAR
    other = (lightness < BLACK) | ((lightness > WHITE) & (chroma < PALE)) | colored
    other &= energy < SMOOTH**2
    other |= (energy < FLAT**2) & (b < SKY) & (lightness > 40)
    other |= chroma > PLASTIC
    # Neighborhoods that straddle an edge are not smooth, so what is not rock is thinner
    # than it looks by half of one.
    other = morphology.opening(other, morphology.disk(2))
    return morphology.dilation(other, morphology.disk(_SIDE // 2))


def _fill(mask, detail):
    """Take away areas smaller than a quarter of a tile: (h, w) bool."""
    parts, _ = ndimage.label(mask)
    small = np.bincount(parts.ravel()) < detail**2 / 4
    small[0] = False
    return mask & ~small[parts]
