"""FisherFeatures: Fisher vectors of image patches."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.utils import check_random_state

from . import kernels
from .base import PictureFeatures

_TONE_WEIGHT = 0.5
_SCALES = 1, 2, 4  # pixels
_TONE = 4  # values per patch removed by normalization: mean color, contrast


class FisherFeatures(PictureFeatures):
    """Describe pictures by Fisher vectors of their patches.

    Patches of lightness, of several scales, are normalized in contrast and whitened by
    PCA; their mean color (CIELAB) and log contrast are appended, at half the deviation.
    A Gaussian mixture models the patches of all pictures. The columns are the gradients
    of its log-likelihood with respect to means and variances, averaged over the patches
    of one picture.

    Parameters
    ----------
    n_components : int, default=32
        Number of mixture components.
    n_dimensions : int, default=32
        Dimensions of a patch descriptor, including mean color and contrast.
    patch_size : int, default=8
        Side of a patch, in pixels.
    stride : int, default=3
        Step between patches, in pixels.
    n_patches : int, default=40000
        Number of patches to fit PCA and mixture.
    working_side : int, default=128
        Longer side, in pixels, that larger pictures are averaged down to.
    image_shape : tuple of int, optional
        (height, width, channels) of flat rows; pictures bring their own.
    random_state : int, RandomState or None, default=0
        Seed of the patches and of the mixture.
    n_jobs : int, optional
        Threads, as in joblib.

    Attributes
    ----------
    projection_ : ndarray of shape (patch_size * patch_size + 4, n_dimensions)
        Projection of normalized patches, mean color and log contrast.
    center_ : ndarray of shape (n_dimensions,)
        Mean of the projected patches, which is subtracted.
    weights_, means_, precisions_ : ndarray of shape (n_components, ...)
        Weights, means and inverse variances of the mixture.
    feature_names_ : ndarray of shape (n_features_out,)
        Names of the columns.
    image_shape_ : tuple of int
        Shape of the fitted pictures.
    n_features_in_ : int
        Values in a fitted row.

    Notes
    -----
    Scales are 1, 2 and 4 pixels, as far as a patch fits. A fourth channel
    is a mask, as is white ground around a cut-out: only patches that lie on rock count.
    Columns are signed square roots, and rows have length 1 (0 where no patch lies on
    rock). There are 2 · n_components · n_dimensions of them, whatever the size of the
    pictures.

    References
    ----------
    Perronnin, Sánchez and Mensink (2010). Improving the Fisher kernel for large-scale
    image classification. ECCV.

    Cimpoi, Maji, Kokkinos, Mohamed and Vedaldi (2014). Describing textures in the wild.
    CVPR.

    Examples
    --------
    >>> from geoimages import FisherFeatures, make_rocks
    >>> images, _ = make_rocks(60, random_state=0)
    >>> FisherFeatures(n_components=8).fit_transform(images).shape
    (60, 512)
    """

    shares_tiles = True

    def __init__(
        self,
        n_components=32,
        n_dimensions=32,
        *,
        patch_size=8,
        stride=3,
        n_patches=40_000,
        working_side=128,
        image_shape=None,
        random_state=0,
        n_jobs=None,
    ):
        super().__init__(
            working_side=working_side, image_shape=image_shape, n_jobs=n_jobs
        )
        self.n_components = n_components
        self.n_dimensions = n_dimensions
        self.patch_size = patch_size
        self.stride = stride
        self.n_patches = n_patches
        self.random_state = random_state

    def _learn(self, images):
        size, n_values = self.patch_size, self.patch_size**2
        if not 2 <= size <= kernels.MINIMUM_SIDE:
            raise ValueError(
                f"patch_size must be 2 to {kernels.MINIMUM_SIDE} px, got {size!r}."
            )
        if not _TONE < self.n_dimensions <= n_values - 1 + _TONE:
            raise ValueError(
                f"n_dimensions must be {_TONE + 1} to {n_values - 1 + _TONE}, got "
                f"{self.n_dimensions!r}."
            )
        if self.n_components < 1 or self.stride < 1:
            raise ValueError(
                f"n_components and stride must be 1 or more, got {self.n_components!r} "
                f"and {self.stride!r}."
            )
        rng = check_random_state(self.random_state)
        patches = self._sample_patches(images, self.n_patches, rng)
        normal, tone = patches[:, :n_values], patches[:, n_values:]
        covariance = np.cov(normal, rowvar=False, ddof=0)
        values, vectors = np.linalg.eigh(covariance)
        kept = slice(-1, -1 - (self.n_dimensions - _TONE), -1)
        # Whitened. With color and contrast as wide the mixture divides colors, not forms.
        scale = 1 / np.sqrt(np.maximum(values[kept], 1e-6))
        projection = np.zeros((n_values + _TONE, self.n_dimensions))
        projection[:n_values, :-_TONE] = vectors[:, kept] * scale
        tone_scale = _TONE_WEIGHT / np.maximum(tone.std(axis=0, dtype=np.float64), 1e-3)
        projection[n_values:, -_TONE:] = np.diag(tone_scale)
        self.projection_ = projection.astype(np.float32)
        rows = patches @ self.projection_
        self.center_ = rows.mean(axis=0)
        rows -= self.center_
        if len(rows) < 2:
            raise ValueError(
                "FisherFeatures learn how patches vary, but the pictures have one; fit "
                "more or larger pictures."
            )
        mixture = GaussianMixture(
            min(self.n_components, len(rows)),
            covariance_type="diag",
            tol=1e-2,
            reg_covar=1e-2,
            max_iter=50,
            random_state=rng,
        )
        with (
            warnings.catch_warnings()
        ):  # the last digits of the likelihood do not matter
            warnings.simplefilter("ignore", ConvergenceWarning)
            mixture.fit(rows)
        self.weights_ = mixture.weights_.astype(np.float32)
        self.means_ = mixture.means_.astype(np.float32)
        self.precisions_ = mixture.precisions_.astype(np.float32)

    def _patches(self, lab, mask):
        """Patches of all scales, (n, m, k), and whether they lie on rock, (n, m)."""
        patches, inside = [], []
        for scale in _SCALES:
            if scale > 1:
                lab, mask = kernels.halve_colors(lab, mask)
            if min(lab.shape[1:3]) < self.patch_size:
                break
            patches.append(kernels.normal_patches(lab, self.patch_size, self.stride))
            inside.append(
                kernels.patches_inside(mask, patches[-1], self.patch_size, self.stride)
            )
        return np.concatenate(patches, axis=1), np.concatenate(inside, axis=1)

    def _columns(self, rgb, lab, mask):
        patches, inside = self._patches(lab, mask)
        rows = patches @ self.projection_ - self.center_
        return {
            "fisher": kernels.fisher_vectors(
                rows, inside, self.weights_, self.means_, self.precisions_
            )
        }

    def _grid(self):
        return _SCALES[-1] * self.stride

    def _tile_columns(self, lab, tops, lefts, side):
        mixture = self.weights_, self.means_, self.precisions_
        size, stride, total, places = self.patch_size, self.stride, 0, 0
        images = lab[None]

        def strip(top, bottom):
            part = images[:, top * stride : (bottom - 1) * stride + size]
            rows = kernels.normal_patches(part, size, stride)[0]
            rows = rows @ self.projection_ - self.center_
            return rows.reshape(bottom - top, -1, rows.shape[1])

        for scale in _SCALES:
            if scale > 1:
                images, _ = kernels.halve_colors(images)
            if side // scale < size:
                break
            length = (side // scale - size) // stride + 1
            corners = (at // (scale * stride) for at in (tops, lefts))
            total = total + kernels.window_moments(strip, *corners, length, *mixture)
            places += length**2
        edges = [1, 1 + len(self.center_)]
        zeroth, first, second = np.split(total / places, edges, axis=2)
        return {"fisher": kernels.gradients_of_moments(zeroth, first, second, *mixture)}
