"""Augmentation: random changes of light, color, focus and compression.

A kernel takes pictures (n, h, w, 3) as float32 in 0–255 and one strength for each of
them, so that a batch takes a few array operations.
"""

import numpy as np
import simplejpeg
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

_LUMA = np.array([0.299, 0.587, 0.114])  # of ITU-R BT.601, as in JPEG


def _each(values):
    """Reshape one value per picture for broadcasting with (n, h, w, c)."""
    return np.asarray(values, np.float32)[:, None, None, None]


def compress(images, quality):
    """Compress by JPEG: (n, h, w, 3) uint8, qualities of 1 to 100 -> uint8.

    Chroma is subsampled (4:2:0), as in most cameras.
    """
    out = np.empty_like(images)
    for i, image in enumerate(np.ascontiguousarray(images)):
        level = round(quality[i])
        data = simplejpeg.encode_jpeg(image, level, colorsubsampling="420")
        out[i] = simplejpeg.decode_jpeg(data)
    return out


def blur(images, sigma):
    """Blur by a Gaussian of a standard deviation of up to 2 px, cut at 3 px."""
    # At 2 px, 8 % of the kernel lie beyond 3 px; it is renormalized.
    offsets = np.arange(-3, 4)
    sigma = np.maximum(np.asarray(sigma, np.float32), 0.05)[:, None]
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = (kernel / kernel.sum(axis=1, keepdims=True)).astype(np.float32)
    for axis in (1, 2):
        margin = [(0, 0)] * 4
        margin[axis] = (3, 3)
        padded = np.pad(images, margin, "reflect" if images.shape[axis] > 3 else "edge")
        out = np.zeros_like(images)
        for i in range(7):
            shifted = np.take(padded, range(i, i + images.shape[axis]), axis)
            out += shifted * _each(kernel[:, i])
        images = out
    return images


def soften(images, share):
    """Mix in the picture as half its size would show it, blocky or smoothed."""
    n, h, w, _ = images.shape
    if min(h, w) < 2:  # there is no half of it
        return images
    even = images[:, : h // 2 * 2, : w // 2 * 2]
    half = even.reshape(n, h // 2, 2, w // 2, 2, 3).mean(axis=(2, 4))
    blocky = half.repeat(2, axis=1).repeat(2, axis=2)
    blocky = np.pad(blocky, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)), "edge")
    smooth = blur(blocky, np.full(n, 0.9))
    coarse = np.where(_each(share) < 0.5, blocky, smooth)
    weight = _each(np.minimum(1, 0.4 + share))
    return coarse * weight + images * (1 - weight)


def rotate_hue(images, angle):
    """Rotate colors about the grey axis of the RGB cube, by radians."""
    # Rodrigues' formula: R = I + sin(a) K + (1 - cos(a)) K², K the cross product with
    # the unit vector of the axis.
    u = 1 / np.sqrt(3)
    cross = u * np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    angle = np.asarray(angle)[:, None, None]
    rotation = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)
    return np.einsum("nhwc,ndc->nhwd", images, rotation.astype(np.float32))


class Augmentation(BaseEstimator):
    """Augment pictures with variations of cameras, weather and file formats.

    Each picture gets none to three of the transformations below, drawn with the given
    odds and of random strength. Odds of 0 disable a transformation.

    Parameters
    ----------
    gain : float, default=1.2
        Odds of another exposure, × 0.6 to × 1.5.
    gamma : float, default=0.6
        Odds of another tone curve, exponent 0.64 to 1.57.
    contrast : float, default=0.8
        Odds of another contrast, × 0.55 to × 1.45 about the mean.
    cast : float, default=2.5
        Odds of a color cast: each channel × exp(N(0, 0.1)).
    saturation : float, default=2.5
        Odds of other colors: half of the time none at all (grey), else × 0 to × 1.7.
    hue : float, default=0.5
        Odds of rotated hues, by up to 0.45 radians.
    field : float, default=0.6
        Odds of uneven light: a gradient of up to ±25 %, or vignetting.
    blur : float, default=1.0
        Odds of a Gaussian blur of 0.3 to 1.7 px.
    soften : float, default=0.6
        Odds of lower resolution: a blend with the picture at half its size.
    noise : float, default=1.2
        Odds of Gaussian noise of 2 to 22 levels of 255.
    pepper : float, default=0.3
        Odds of black and white pixels, up to 2 % each.
    compression : float, default=1.6
        Odds of JPEG losses at quality 10 to 85.
    turn : bool, default=True
        Whether pictures are rotated by multiples of 90° and mirrored; those that are
        not square by 180° only.
    several : tuple of float, default=(0.1, 0.45, 0.3, 0.15)
        Odds of no, one, two, three, … transformations.

    Notes
    -----
    The ranges are broad on purpose: they cover common variations and are not tuned to
    the corruptions of `geoimages.disturbances`. A fourth channel, the mask, is rotated
    with the picture and otherwise unchanged.

    Examples
    --------
    >>> from geoimages import Augmentation, make_rocks
    >>> images, _ = make_rocks(12, random_state=0)
    >>> augmented = Augmentation().apply(images, random_state=0)
    >>> augmented.shape, augmented.dtype
    ((12, 28, 28, 3), dtype('uint8'))
    """

    def __init__(
        self,
        *,
        gain=1.2,
        gamma=0.6,
        contrast=0.8,
        cast=2.5,
        saturation=2.5,
        hue=0.5,
        field=0.6,
        blur=1.0,
        soften=0.6,
        noise=1.2,
        pepper=0.3,
        compression=1.6,
        turn=True,
        several=(0.1, 0.45, 0.3, 0.15),
    ):
        self.gain = gain
        self.gamma = gamma
        self.contrast = contrast
        self.cast = cast
        self.saturation = saturation
        self.hue = hue
        self.field = field
        self.blur = blur
        self.soften = soften
        self.noise = noise
        self.pepper = pepper
        self.compression = compression
        self.turn = turn
        self.several = several

    def apply(self, images, random_state=None):
        """Return augmented pictures.

        Parameters
        ----------
        images : ndarray of shape (n, height, width, 3 or 4), uint8
            Pictures.
        random_state : int, RandomState or None, default=None
            Seed.

        Returns
        -------
        augmented : ndarray, uint8
            Of the same shape.

        Raises
        ------
        ValueError
            If odds are negative, or `several` holds none above 0.
        """
        rng = check_random_state(random_state)
        augmented = images.copy()
        step = max(1, (1 << 20) // max(1, images[0].size)) if len(images) else 1
        for start in range(0, len(images), step):
            block = images[start : start + step]
            out = augmented[start : start + step]
            out[..., :3] = self._augment(block[..., :3], rng)
            if self.turn:
                out[:] = _rotate(out, rng)
        return augmented

    def _choose(self, n, rng):
        """Draw the pictures that each transformation applies to: {name: positions}."""
        odds = np.array([getattr(self, name) for name, _ in _TRANSFORMATIONS], float)
        several = np.asarray(self.several, float)
        if (odds < 0).any() or (several < 0).any() or not several.sum() > 0:
            raise ValueError(
                "The odds of an Augmentation must be 0 or more, and some of several "
                f"above 0; got {self!r}."
            )
        count = rng.choice(len(several), n, p=several / several.sum())
        # Exponential clocks with the odds as their rates: the order in which they ring
        # is a weighted draw without replacement (Efraimidis and Spirakis, 2006).
        with np.errstate(divide="ignore"):
            arrival = rng.exponential(size=(n, len(odds))) / odds
        rank = np.argsort(np.argsort(arrival, axis=1), axis=1)
        chosen = (rank < count[:, None]) & (odds > 0)
        return {
            name: np.flatnonzero(chosen[:, i])
            for i, (name, _) in enumerate(_TRANSFORMATIONS)
        }

    def _augment(self, images, rng):
        """Apply what was drawn: (n, h, w, 3) uint8 -> uint8."""
        values = images.astype(np.float32)
        chosen = self._choose(len(images), rng)
        for name, transform in _TRANSFORMATIONS:
            here = chosen[name]
            if len(here):
                values[here] = np.clip(transform(values[here], rng), 0, 255)
        return np.rint(values).astype(np.uint8)


def _uniform(rng, low, high, n):
    return rng.uniform(low, high, n).astype(np.float32)


def _random_saturation(images, rng):
    n = len(images)
    keep = np.where(rng.uniform(size=n) < 0.5, 0, _uniform(rng, 0, 1.7, n))
    # Grey by different cameras: the mean, the luma, or random weights.
    weights = np.where(rng.uniform(size=(n, 1)) < 0.5, 1 / 3, _LUMA)
    own = rng.dirichlet((2, 2, 2), n) * (rng.uniform(size=(n, 1)) < 0.5)
    weights = weights + 0.4 * own
    weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    grey = np.einsum("nhwc,nc->nhw", images, weights)[..., None]
    return grey + (images - grey) * _each(keep)


def _random_hue(images, rng):
    return rotate_hue(images, rng.uniform(-0.45, 0.45, len(images)))


def _random_cast(images, rng):
    # Log-normal, so that × 1.1 is as likely as / 1.1.
    gains = np.exp(rng.normal(0, 0.1, (len(images), 3))).astype(np.float32)
    return images * gains[:, None, None]


def _random_gain(images, rng):
    return images * _each(np.exp(_uniform(rng, -0.5, 0.4, len(images))))


def _random_gamma(images, rng):
    exponent = _each(np.exp(_uniform(rng, -0.45, 0.45, len(images))))
    return 255 * (images / np.float32(255)) ** exponent


def _random_contrast(images, rng):
    mean = images.mean(axis=(1, 2, 3), keepdims=True)
    return mean + (images - mean) * _each(_uniform(rng, 0.55, 1.45, len(images)))


def _random_field(images, rng):
    n, h, w, _ = images.shape
    y = np.linspace(-1, 1, h, dtype=np.float32)[None, :, None]
    x = np.linspace(-1, 1, w, dtype=np.float32)[None, None, :]
    down, across, corner = (
        _uniform(rng, low, high, n)[:, None, None]
        for low, high in ((-0.25, 0.25), (-0.25, 0.25), (-0.25, 0.05))
    )
    return images * (1 + down * y + across * x + corner * (y * y + x * x))[..., None]


def _random_blur(images, rng):
    return blur(images, _uniform(rng, 0.3, 1.7, len(images)))


def _random_soften(images, rng):
    return soften(images, _uniform(rng, 0, 1, len(images)))


def _random_noise(images, rng):
    level = _each(_uniform(rng, 2, 22, len(images)))
    # Twenty times faster than RandomState's own normal numbers.
    noise = np.random.Generator(np.random.SFC64(rng.randint(1 << 31)))
    return images + level * noise.standard_normal(images.shape, np.float32)


def _random_pepper(images, rng):
    share = _uniform(rng, 0, 0.02, len(images))[:, None, None]
    draw = rng.uniform(size=images.shape[:3])
    images = np.where((draw < share)[..., None], 0, images)
    return np.where((draw > 1 - share)[..., None], 255, images)


def _random_compression(images, rng):
    levels = np.rint(images).astype(np.uint8)  # the levels of a file
    return compress(levels, _uniform(rng, 10, 85, len(images)))


# In physical order: the scene, its light, the lens, the sensor, the file.
_TRANSFORMATIONS = (
    ("saturation", _random_saturation),
    ("hue", _random_hue),
    ("cast", _random_cast),
    ("gain", _random_gain),
    ("gamma", _random_gamma),
    ("contrast", _random_contrast),
    ("field", _random_field),
    ("blur", _random_blur),
    ("soften", _random_soften),
    ("noise", _random_noise),
    ("pepper", _random_pepper),
    ("compression", _random_compression),
)


def _rotate(images, rng):
    """Rotate and mirror each picture at random; by 180° only if not square."""
    step = 1 if images.shape[1] == images.shape[2] else 2
    quarters = step * rng.randint(4 // step, size=len(images))
    mirrored = rng.randint(2, size=len(images)).astype(bool)
    out = np.empty_like(images)
    for quarter in np.unique(quarters):
        here = quarters == quarter
        out[here] = np.rot90(images[here], quarter, axes=(1, 2))
    out[mirrored] = out[mirrored, :, ::-1]
    return out
