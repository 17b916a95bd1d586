"""What on a photograph is rock, and what gap, tray, paper or label: a stated rule."""

import numpy as np
from scipy import ndimage
from skimage import measure, morphology

from ..pictures.color import srgb_to_lab

BLACK = 12.0  # L* below which smooth ground is a gap or background
WHITE = 92.0  # L* above which smooth, colorless ground is paper, label or background
PALE = 6.0  # CIELAB chroma up to which it is colorless
TRAY = 22.0  # chroma from which smooth ground is wood, cardboard or plastic
PLASTIC = 55.0  # chroma that no rock has
SMOOTH = 2.5  # standard deviation of L* among neighbors up to which ground is smooth
NEAR = 8.0  # distance in a* and b* up to which ground is of the color of a known tray
SHADES = (1.2, 1.0, 0.8, 0.6)  # of the tray's color, in light and shadow
_SIDE = 5  # pixels of the overview, of a neighborhood


def rock_mask(image, detail=24, tray=None):
    """Tell rock from gaps, trays, paper and labels by their color and texture.

    The rule: a neighborhood is *not* rock if it is smooth (its L* deviates by less than
    2.5) and black (L* < 12), white without color (L* > 92, chroma < 6) or of the color
    of a tray (chroma > 22), or if its chroma is over 55, smooth or not. Specks and
    holes smaller than a quarter of `detail` squared take what surrounds them.

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
    lab = srgb_to_lab(image[None])[0]
    lightness = ndimage.uniform_filter(lab[..., 0], _SIDE)
    energy = ndimage.uniform_filter(lab[..., 0] ** 2, _SIDE) - lightness**2
    smooth = energy < SMOOTH**2
    a, b = (ndimage.uniform_filter(lab[..., i], _SIDE) for i in (1, 2))
    chroma = np.hypot(a, b)
    colored = chroma > TRAY
    if tray is not None:
        shades = [np.hypot(a - s * tray[0], b - s * tray[1]) for s in SHADES]
        colored &= np.minimum.reduce(shades) < NEAR
    other = smooth & (
        (lightness < BLACK) | ((lightness > WHITE) & (chroma < PALE)) | colored
    )
    other |= chroma > PLASTIC
    # Neighborhoods that straddle an edge are not smooth, so what is not rock is thinner
    # than it looks by half of one.
    other = morphology.dilation(
        morphology.opening(other, morphology.disk(2)), morphology.disk(_SIDE // 2)
    )
    return _fill(_fill(~other, detail), detail, holes=True)


def _fill(mask, detail, holes=False):
    """Give areas smaller than a quarter of a tile to their surroundings."""
    parts = measure.label(~mask if holes else mask, connectivity=1)
    small = np.bincount(parts.ravel()) < detail**2 / 4
    small[0] = False
    return mask ^ small[parts]
