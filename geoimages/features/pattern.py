"""PatternFeatures: find the same pattern again, rotated, mirrored, cropped or relit."""

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ..pictures import averages, color
from ..pictures.augmentation import compress
from ..pictures.orientation import check_orientation
from . import kernels, verification
from .base import by_content, split_mask
from .blocks import ColorFeatures, TextureFeatures
from .weighted import WeightedFeatures, tone_scale

_MOST_VIEWED = 1500  # pictures with random views, and limit of their total size
_MOST_PIXELS = 4_000_000
_VIEWS = 3  # of each
_SHRINKAGE = 0.1  # of a column's variance
_FOLD = 4  # px: sides that texture scales and quarter rotations divide evenly


def _fold(rgb, mask):
    """Resize to multiples of 4 px, so that rotations give the same statistics:
    (n, h, w, 3), mask.
    """
    grow = [max(0, kernels.MINIMUM_SIDE - side + 1) // 2 for side in rgb.shape[1:3]]
    if any(grow):
        margin = [(0, 0)] + [(g, g) for g in grow]
        rgb = np.pad(rgb, [*margin, (0, 0)], mode="edge")
        mask = None if mask is None else np.pad(mask, margin, mode="edge")
    height, width = (side // _FOLD * _FOLD for side in rgb.shape[1:3])
    if (height, width) == rgb.shape[1:3]:
        return rgb, mask
    return averages.average_to(rgb, height, width, mask)


def _bilinear(image, rows, columns):
    """Bilinear interpolation: (h, w, 3) at (h, w) positions -> (h, w, 3) float32."""
    top, left = rows.astype(int), columns.astype(int)
    below = np.minimum(top + 1, image.shape[0] - 1)
    right = np.minimum(left + 1, image.shape[1] - 1)
    down = (rows - top).astype(np.float32)[..., None]
    across = (columns - left).astype(np.float32)[..., None]
    upper = image[top, left] * (1 - across) + image[top, right] * across
    lower = image[below, left] * (1 - across) + image[below, right] * across
    return upper * (1 - down) + lower * down


def random_views(rgb, mask, rng):
    """Draw random views of pictures: (n, h, w, 3) uint8, mask -> the same shapes.

    Each view is rotated by any angle, randomly mirrored, zoomed to lie within the
    picture and by up to a third more, relit by 0.8 to 1.25 and, half of the time,
    compressed at quality 30 to 90.
    """
    n, h, w, _ = rgb.shape
    angle = rng.uniform(0, 2 * np.pi, n)
    cosine, sine = np.cos(angle), np.sin(angle)
    aspect = max(h, w) / min(h, w)
    fits = np.minimum(abs(cosine) + abs(sine) * aspect, 1.6)
    zoom = fits * np.exp(rng.uniform(0, 0.3, n))
    room = rng.uniform(-0.5, 0.5, (n, 2)) * (1 - fits / zoom)[:, None]
    mirror = rng.choice([-1, 1], n)
    gain = np.exp(rng.uniform(-0.22, 0.22, n))
    quality, coded = rng.uniform(30, 90, n), rng.uniform(size=n) < 0.5
    y, x = np.mgrid[:h, :w] - np.array([(h - 1) / 2, (w - 1) / 2])[:, None, None]
    out, inside = rgb.copy(), None if mask is None else mask.copy()
    for i in range(n):
        c, s = cosine[i] / zoom[i], sine[i] / zoom[i]
        rows = c * y + s * mirror[i] * x + room[i, 0] * h + (h - 1) / 2
        columns = c * mirror[i] * x - s * y + room[i, 1] * w + (w - 1) / 2
        rows, columns = np.clip(rows, 0, h - 1), np.clip(columns, 0, w - 1)
        if mask is not None:
            shown = mask[i][np.rint(rows).astype(int), np.rint(columns).astype(int)]
            if not shown.any():  # the view contains no rock
                continue
            inside[i] = shown
        out[i] = np.rint(np.clip(_bilinear(rgb[i], rows, columns) * gain[i], 0, 255))
    if coded.any():
        out[coded] = compress(out[coded], quality[coded])
    return (out, None) if mask is None else (out * inside[..., None], inside)


class PatternFeatures(WeightedFeatures):
    """Find the same pattern again: rotated, mirrored, cropped, relit or compressed.

    The first stage is rows that tell pictures apart but hardly views of one picture:
    color and texture statistics, standardized and whitened by how they vary among random
    views of the same picture, and the tone (quantiles of CIELAB, in its units); blocks
    of equal weight contribute equally. The second is `verify`, by which a similarity
    model re-ranks the short list that the rows give: the candidate is laid over each
    stored picture in every pose. No labels are used.

    Parameters
    ----------
    color, texture, tone : float, default=1.0
        Weight of each block; 0 omits it.
    shortlist : int, default=200
        Number of pictures that a model verifies per candidate, at least `k_candidates`.
    working_side : int, default=128
        Longer side, in pixels, that larger pictures are averaged down to.
    image_shape : tuple of int, optional
        (height, width, channels) of flat rows; pictures bring their own.
    random_state : int, RandomState or None, default=0
        Seed of the views.
    n_jobs : int, optional
        Threads, as in joblib.

    Attributes
    ----------
    blocks_ : dict
        The fitted transformer of each block in use, by name; `tone` needs none.
    mean_, inverse_deviation_ : ndarray of shape (n_features_out,)
        What each column is centered and standardized by.
    whitening_ : dict of ndarray
        For each block the symmetric matrix that whitens its columns, or brings those
        of the tone back to one unit.
    feature_names_ : ndarray of shape (n_features_out,)
        Names of the columns, each beginning with its block's. Whitening is symmetric,
        so that a column stays as near as can be to the statistic it is named after.
    block_of_ : ndarray of shape (n_features_out,), str
        The block of each column.
    image_shape_ : tuple of int
        Shape of the fitted pictures.
    n_features_in_ : int
        Values in a fitted row.

    See Also
    --------
    RockFeatures : Features for the same kind of rock, not the same picture.

    Notes
    -----
    A picture rotated by quarters or mirrored has the same row up to rounding
    (``rotation_invariant``). Standardized values are clipped to ±5. A fourth channel is
    a mask: features are those of the rock only. The number of columns does not depend on
    the size of the pictures.

    References
    ----------
    Hatch, Kajarekar and Stolcke (2006). Within-class covariance normalization for
    SVM-based speaker recognition. Interspeech. (Here a class is the views of a picture.)

    Kessy, Lewin and Strimmer (2018). Optimal whitening and decorrelation. The American
    Statistician 72(4).

    Philbin, Chum, Isard, Sivic and Zisserman (2007). Object retrieval with large
    vocabularies and fast spatial matching. CVPR.

    Lin (1989). A concordance correlation coefficient to evaluate reproducibility.
    Biometrics 45(1).

    Examples
    --------
    >>> import numpy as np
    >>> from geoimages import PatternFeatures, make_rocks
    >>> images, _ = make_rocks(60, random_state=0)
    >>> pattern = PatternFeatures().fit(images)
    >>> small = pattern.thumbnails(images)
    >>> candidate = pattern.thumbnails(np.rot90(images[7:8], -1, axes=(1, 2)))[0]
    >>> distance, degrees, mirrored = pattern.verify(candidate, small)
    >>> int(distance.argmin()), float(degrees[7]), bool(mirrored[7])
    (7, 90.0, False)
    """

    rotation_invariant = True
    _weighted = ("color", "texture", "tone")

    def __init__(
        self,
        color=1.0,
        texture=1.0,
        *,
        tone=1.0,
        shortlist=200,
        working_side=128,
        image_shape=None,
        random_state=0,
        n_jobs=None,
    ):
        super().__init__(
            working_side=working_side, image_shape=image_shape, n_jobs=n_jobs
        )
        self.color = color
        self.texture = texture
        self.tone = tone
        self.shortlist = shortlist
        self.random_state = random_state

    def _make_blocks(self):
        return {"color": ColorFeatures(), "texture": TextureFeatures()}

    def _learn(self, images):
        if self.shortlist < 1:
            raise ValueError(f"shortlist must be 1 or more, got {self.shortlist!r}.")
        super()._learn(images)

    def _weigh(self, weights, rows, deviation, images):
        change = self._changes(images)
        self.whitening_ = {}
        for name in self.blocks_:
            own = self.block_of_ == name
            within = change[:, own].T @ change[:, own] / (2 * len(change))
            values, vectors = np.linalg.eigh(within.astype(np.float64))
            values = np.maximum(values, 0) + _SHRINKAGE
            matrix = (vectors / np.sqrt(values)) @ vectors.T
            variance = (rows[:, own] @ matrix).var(axis=0).sum()
            matrix *= weights[name] / np.sqrt(max(variance, 1e-6))
            self.whitening_[name] = matrix.astype(np.float32)
        if self.tone > 0:
            scale = tone_scale(deviation[self.block_of_ == "tone"]) * weights["tone"]
            self.whitening_["tone"] = np.diag(scale).astype(np.float32)

    def _apply_weights(self, rows):
        n = len(rows)
        if n == 1:  # rounded as one of many: BLAS multiplies a single row otherwise
            rows = np.repeat(rows, 2, axis=0)
        for name, matrix in self.whitening_.items():
            own = self.block_of_ == name
            rows[:, own] = rows[:, own] @ matrix
        return rows[:n]

    def _changes(self, images):
        """Differences of standardized columns between views and their picture."""
        rng = check_random_state(self.random_state)
        scale = min(1, self.working_side / max(images.shape[1:3]))
        pixels = max(1, images.shape[1] * images.shape[2] * scale**2)
        most = int(np.clip(_MOST_PIXELS / pixels, 100, _MOST_VIEWED))
        images = images[by_content(images, most)]
        step = kernels.chunk_length(*images.shape[1:3])
        changes = []
        for start in range(0, len(images), step):
            rgb, mask = split_mask(images[start : start + step])
            rgb, mask = averages.at_most(rgb, self.working_side, mask)
            if rgb.dtype != np.uint8:
                rgb = np.rint(np.clip(rgb, 0, 1) * 255).astype(np.uint8)
            own = self._standardize(self._described(rgb, mask))
            for _ in range(_VIEWS):
                views = self._described(*random_views(rgb, mask, rng))
                changes.append(self._standardize(views) - own)
        return np.concatenate(changes)

    def _described(self, rgb, mask):
        """Statistics of pictures of at most the working side: -> (n, k)."""
        rgb, mask = _fold(rgb, mask)
        columns = self._columns(rgb, color.srgb_to_lab(rgb), mask)
        return np.hstack(list(columns.values()))

    def _chunk(self, images):
        rgb, mask = split_mask(images)
        rgb, mask = _fold(*averages.at_most(rgb, self.working_side, mask))
        return self._columns(rgb, color.srgb_to_lab(rgb), mask)

    def thumbnails(self, images):
        """Make the thumbnails for `verify`.

        Parameters
        ----------
        images : ndarray of shape (n, height, width, channels)
            Pictures of the shape fitted; uint8 means 0–255 and float 0–1.

        Returns
        -------
        thumbnails : ndarray of shape (n, s, s, 3 or 4), uint8
            Downsampled to a longer side of at most 28 px. The fourth channel, for
            pictures with a mask or not square, is 255 on rock.
        """
        check_is_fitted(self)
        step = kernels.chunk_length(*images.shape[1:3])
        parts = []
        for start in range(0, max(1, len(images)), step):
            chunk = images[start : start + step]
            rgb, mask = split_mask(chunk)
            if mask is None and chunk.shape[3] == 4:
                mask = np.ones(chunk.shape[:3], bool)
            parts.append(verification.thumbnails(rgb, mask))
        return np.concatenate(parts)

    def verify(self, candidate, shortlist, orientation="any"):
        """Align a candidate with each picture of a short list.

        Rotations, mirror images, zooms from 1/1.5 to 1.5 and shifts are tried; where
        the two overlap, their CIELAB colors are compared by Lin's concordance
        correlation, less the mean lightness.

        Parameters
        ----------
        candidate : ndarray of shape (s, s, 3 or 4), uint8
            A thumbnail from `thumbnails`.
        shortlist : ndarray of shape (m, s, s, 3 or 4), uint8
            Thumbnails to compare with.
        orientation : {"fixed", "rotations", "any"}, default="any"
            Rotations of the candidate to try: none, multiples of 90°, or any angle and
            mirroring.

        Returns
        -------
        distance : ndarray of shape (m,), float64
            1 − concordance, from 0 (the same) to 2.
        degrees : ndarray of shape (m,), float64
            Rotation of the candidate, counter-clockwise as in `numpy.rot90`, in steps
            of 15 degrees, after mirroring left-right.
        mirrored : ndarray of shape (m,), bool
            Whether the candidate is mirrored.

        Raises
        ------
        ValueError
            If the orientation is unknown, or the thumbnails have several sizes.
        """
        check_orientation(orientation)
        if candidate.shape != shortlist.shape[1:]:
            raise ValueError(
                f"The candidate's thumbnail is {candidate.shape}, those of the short "
                f"list are {shortlist.shape[1:]}; make both by the same `thumbnails`."
            )
        return verification.verify(candidate, shortlist, orientation)

    def match_probability(self, distance):
        """Return the probability that a candidate and its match are the same picture.

        Parameters
        ----------
        distance : ndarray of shape (n,)
            From `verify`, in any orientation.

        Returns
        -------
        probability : ndarray of shape (n,), float64
            Calibrated for the best match of a candidate, with a prior probability of
            0.5 that it is in the collection: a logistic regression on the logarithm of
            the distance, trained on drawn rocks.
        """
        return verification.match_probability(distance)
