"""Augmentation: the changes of light, color, focus and coding that pictures suffer.

Every kernel takes pictures (n, h, w, 3) as float32 in 0–255 and one strength for each of
them, so that a batch is changed in a few array operations.
"""

import numpy as np
from scipy.fft import dct
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

# CIE luma and the JFIF color transform.
_YCC = np.array(
    [
        [0.299, 0.587, 0.114],
        [-0.168736, -0.331264, 0.5],
        [0.5, -0.418688, -0.081312],
    ],
    np.float32,
).T
_YCC_BACK = np.linalg.inv(_YCC).astype(np.float32)
_DCT = dct(np.eye(8), axis=0, norm="ortho")
_DCT_OF_BLOCK = np.kron(_DCT, _DCT).astype(np.float32)
# Quantisation tables K.1 and K.2 of ITU-T T.81, row by row.
_LUMA_TABLE = np.array(
    [
        "16",
        "11",
        "10",
        "16",
        "24",
        "40",
        "51",
        "61",
        "12",
        "12",
        "14",
        "19",
        "26",
        "58",
        "60",
        "55",
        "14",
        "13",
        "16",
        "24",
        "40",
        "57",
        "69",
        "56",
        "14",
        "17",
        "22",
        "29",
        "51",
        "87",
        "80",
        "62",
        "18",
        "22",
        "37",
        "56",
        "68",
        "109",
        "103",
        "77",
        "24",
        "35",
        "55",
        "64",
        "81",
        "104",
        "113",
        "92",
        "49",
        "64",
        "78",
        "87",
        "103",
        "121",
        "120",
        "101",
        "72",
        "92",
        "95",
        "98",
        "112",
        "100",
        "103",
        "99",
    ],
    np.float32,
)
_CHROMA_TABLE = np.full((8, 8), 99, np.float32)
_CHROMA_TABLE[:4, :4] = [
    [17, 18, 24, 47],
    [18, 21, 26, 66],
    [24, 26, 56, 99],
    [47, 66, 99, 99],
]
_CHROMA_TABLE = _CHROMA_TABLE.ravel()


def _each(values):
    """One value a picture, ready to multiply (n, h, w, c)."""
    return np.asarray(values, np.float32)[:, None, None, None]


def _code_blocks(plane, table):
    """Quantise the 8 × 8 blocks of planes: (n, h, w), (n, 64) -> (n, h, w)."""
    n, h, w = plane.shape
    blocks = plane.reshape(n, h // 8, 8, w // 8, 8).transpose(0, 1, 3, 2, 4)
    coefficients = blocks.reshape(n, -1, 64) @ _DCT_OF_BLOCK.T
    step = table[:, None, :]
    blocks = np.rint(coefficients / step) * step @ _DCT_OF_BLOCK
    blocks = blocks.reshape(n, h // 8, w // 8, 8, 8).transpose(0, 1, 3, 2, 4)
    return blocks.reshape(n, h, w)


def compress(images, quality):
    """Lose what JPEG loses at a quality of 1 to 100, with 4:2:0 chroma.

    References
    ----------
    ITU-T Recommendation T.81 (1992); the quality scale is that of libjpeg.
    """
    n, h, w, _ = images.shape
    high, wide = -(-h // 16) * 16, -(-w // 16) * 16
    padded = np.pad(images, ((0, 0), (0, high - h), (0, wide - w), (0, 0)), "edge")
    ycc = (padded.reshape(-1, 3) @ _YCC).reshape(n, high, wide, 3)
    quality = np.asarray(quality, np.float32)[:, None]
    scale = np.where(quality < 50, 5000 / quality, 200 - 2 * quality)
    luma, chroma = (
        np.clip(np.floor((table * scale + 50) / 100), 1, 255).astype(np.float32)
        for table in (_LUMA_TABLE, _CHROMA_TABLE)
    )
    ycc[..., 0] = _code_blocks(ycc[..., 0] - 128, luma) + 128
    for channel in (1, 2):
        half = ycc[..., channel].reshape(n, high // 2, 2, wide // 2, 2).mean((2, 4))
        half = _code_blocks(half, chroma)
        ycc[..., channel] = half.repeat(2, axis=1).repeat(2, axis=2)
    return (ycc.reshape(-1, 3) @ _YCC_BACK).reshape(n, high, wide, 3)[:, :h, :w]


def blur(images, sigma):
    """Blur by a Gaussian of a standard deviation of up to 2 px, cut at 3 px."""
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
    even = images[:, : h // 2 * 2, : w // 2 * 2]
    half = even.reshape(n, h // 2, 2, w // 2, 2, 3).mean(axis=(2, 4))
    blocky = half.repeat(2, axis=1).repeat(2, axis=2)
    blocky = np.pad(blocky, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)), "edge")
    smooth = blur(blocky, np.full(n, 0.9))
    coarse = np.where(_each(share) < 0.5, blocky, smooth)
    weight = _each(np.minimum(1, 0.4 + share))
    return coarse * weight + images * (1 - weight)


def rotate_hue(images, angle):
    """Turn colors about the grey axis of the RGB cube, by radians."""
    u = 1 / np.sqrt(3)
    cross = u * np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    angle = np.asarray(angle)[:, None, None]
    turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)
    return np.einsum("nhwc,ndc->nhwd", images, turn.astype(np.float32))


class Augmentation(BaseEstimator):
    """Change pictures as cameras, weather and files do, each in its own way.

    A picture suffers none to three of the changes below, chosen with the odds given;
    how strong each is is drawn anew for every picture. A change with odds 0 never
    happens.

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
        Odds of turned hues, by up to 0.45 radians.
    field : float, default=0.6
        Odds of uneven light: a slope of up to 25 % each way, or dark corners.
    blur : float, default=1.0
        Odds of a Gaussian blur of 0.3 to 1.7 px.
    soften : float, default=0.6
        Odds of a lost octave: the picture as half its size would show it.
    noise : float, default=1.2
        Odds of Gaussian noise of 2 to 22 levels of 255.
    pepper : float, default=0.3
        Odds of black and white pixels, up to 2 % each.
    compression : float, default=1.6
        Odds of JPEG losses at quality 10 to 85.
    turn : bool, default=True
        Whether pictures are turned by quarters and mirrored; those that are not
        square by halves.
    several : tuple of float, default=(0.1, 0.45, 0.3, 0.15)
        Odds of no, one, two, three, … changes.

    Notes
    -----
    The ranges are broad on purpose: they cover what pictures suffer in general, and
    are not fitted to the disturbances of `geoimages.disturbances`. A fourth channel,
    the mask, is turned along and left alone otherwise.

    Examples
    --------
    >>> from geoimages import Augmentation, make_rocks
    >>> images, _ = make_rocks(12, random_state=0)
    >>> changed = Augmentation().apply(images, random_state=0)
    >>> changed.shape, changed.dtype
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
        """Return changed pictures.

        Parameters
        ----------
        images : ndarray of shape (n, height, width, 3 or 4), uint8
            Pictures.
        random_state : int, RandomState or None, default=None
            Seed.

        Returns
        -------
        changed : ndarray, uint8
            Of the same shape.

        Raises
        ------
        ValueError
            If odds are negative, or `several` holds none above 0.
        """
        rng = check_random_state(random_state)
        changed = images.copy()
        step = max(1, (1 << 20) // max(1, images[0].size)) if len(images) else 1
        for start in range(0, len(images), step):
            block = images[start : start + step]
            out = changed[start : start + step]
            out[..., :3] = self._change(block[..., :3], rng)
            if self.turn:
                out[:] = _turn(out, rng)
        return changed

    def _choose(self, n, rng):
        """Which pictures suffer which change: {name: positions}, in order of names."""
        odds = np.array([getattr(self, name) for name, _ in _CHANGES], float)
        several = np.asarray(self.several, float)
        if (odds < 0).any() or (several < 0).any() or not several.sum() > 0:
            raise ValueError(
                "The odds of an Augmentation are 0 or more, and some of several above "
                f"0; got {self!r}."
            )
        count = rng.choice(len(several), n, p=several / several.sum())
        # The first arrivals of exponential clocks are a draw without replacement.
        with np.errstate(divide="ignore"):
            arrival = rng.exponential(size=(n, len(odds))) / odds
        rank = np.argsort(np.argsort(arrival, axis=1), axis=1)
        chosen = (rank < count[:, None]) & (odds > 0)
        return {
            name: np.flatnonzero(chosen[:, i]) for i, (name, _) in enumerate(_CHANGES)
        }

    def _change(self, images, rng):
        """Apply the changes chosen: (n, h, w, 3) uint8 -> uint8."""
        values = images.astype(np.float32)
        chosen = self._choose(len(images), rng)
        for name, change in _CHANGES:
            here = chosen[name]
            if len(here):
                values[here] = np.clip(change(values[here], rng), 0, 255)
        return np.rint(values).astype(np.uint8)


def _uniform(rng, low, high, n):
    return rng.uniform(low, high, n).astype(np.float32)


def _change_saturation(images, rng):
    n = len(images)
    keep = np.where(rng.uniform(size=n) < 0.5, 0, _uniform(rng, 0, 1.7, n))
    # What a camera calls grey: the mean, the luma, or a filter of its own.
    weights = np.where(rng.uniform(size=(n, 1)) < 0.5, 1 / 3, _YCC[:, 0])
    own = rng.dirichlet((2, 2, 2), n) * (rng.uniform(size=(n, 1)) < 0.5)
    weights = weights + 0.4 * own
    weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    grey = np.einsum("nhwc,nc->nhw", images, weights)[..., None]
    return grey + (images - grey) * _each(keep)


def _change_hue(images, rng):
    return rotate_hue(images, rng.uniform(-0.45, 0.45, len(images)))


def _change_cast(images, rng):
    gains = np.exp(rng.normal(0, 0.1, (len(images), 3))).astype(np.float32)
    return images * gains[:, None, None]


def _change_gain(images, rng):
    return images * _each(np.exp(_uniform(rng, -0.5, 0.4, len(images))))


def _change_gamma(images, rng):
    exponent = _each(np.exp(_uniform(rng, -0.45, 0.45, len(images))))
    return 255 * (images / np.float32(255)) ** exponent


def _change_contrast(images, rng):
    mean = images.mean(axis=(1, 2, 3), keepdims=True)
    return mean + (images - mean) * _each(_uniform(rng, 0.55, 1.45, len(images)))


def _change_field(images, rng):
    n, h, w, _ = images.shape
    y = np.linspace(-1, 1, h, dtype=np.float32)[None, :, None]
    x = np.linspace(-1, 1, w, dtype=np.float32)[None, None, :]
    down, across, corner = (
        _uniform(rng, low, high, n)[:, None, None]
        for low, high in ((-0.25, 0.25), (-0.25, 0.25), (-0.25, 0.05))
    )
    return images * (1 + down * y + across * x + corner * (y * y + x * x))[..., None]


def _change_blur(images, rng):
    return blur(images, _uniform(rng, 0.3, 1.7, len(images)))


def _change_soften(images, rng):
    return soften(images, _uniform(rng, 0, 1, len(images)))


def _change_noise(images, rng):
    level = _each(_uniform(rng, 2, 22, len(images)))
    # Twenty times faster than RandomState's own normal numbers.
    noise = np.random.Generator(np.random.SFC64(rng.randint(1 << 31)))
    return images + level * noise.standard_normal(images.shape, np.float32)


def _change_pepper(images, rng):
    share = _uniform(rng, 0, 0.02, len(images))[:, None, None]
    draw = rng.uniform(size=images.shape[:3])
    images = np.where((draw < share)[..., None], 0, images)
    return np.where((draw > 1 - share)[..., None], 255, images)


def _change_compression(images, rng):
    return compress(images, _uniform(rng, 10, 85, len(images)))


# In the order in which they happen: the scene, its light, the lens, the sensor, the file.
_CHANGES = (
    ("saturation", _change_saturation),
    ("hue", _change_hue),
    ("cast", _change_cast),
    ("gain", _change_gain),
    ("gamma", _change_gamma),
    ("contrast", _change_contrast),
    ("field", _change_field),
    ("blur", _change_blur),
    ("soften", _change_soften),
    ("noise", _change_noise),
    ("pepper", _change_pepper),
    ("compression", _change_compression),
)


def _turn(images, rng):
    """Turn and mirror each picture at random; where not square, by halves only."""
    step = 1 if images.shape[1] == images.shape[2] else 2
    turns = step * rng.randint(4 // step, size=len(images))
    mirrored = rng.randint(2, size=len(images)).astype(bool)
    out = np.empty_like(images)
    for turn in np.unique(turns):
        here = turns == turn
        out[here] = np.rot90(images[here], turn, axes=(1, 2))
    out[mirrored] = out[mirrored, :, ::-1]
    return out
