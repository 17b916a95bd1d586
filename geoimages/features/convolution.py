"""ConvFeatures: one convolution layer whose filters are learned without labels."""

import numpy as np
from sklearn.cluster import MiniBatchKMeans
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ..pictures.validation import check_describable, check_images
from . import kernels
from .base import PictureFeatures


class ConvFeatures(PictureFeatures):
    """Describe pictures by their responses to filters learned from patches.

    Patches are normalized, whitened (ZCA) and clustered by k-means; the centers are the
    filters. Their responses, soft-thresholded in both signs, are pooled over the
    picture to a mean and a standard deviation.

    Parameters
    ----------
    n_filters : int, default=48
        Number of filters.
    patch_size : int, default=6
        Side of a patch, in pixels.
    stride : int, default=2
        Step between patches, in pixels.
    threshold : float, default=0.5
        Soft threshold of the responses.
    n_patches : int, default=40000
        Number of patches to learn the filters from.
    working_side : int, default=128
        Longer side, in pixels, that larger pictures are averaged down to.
    image_shape : tuple of int, optional
        (height, width, channels) of flat rows; pictures bring their own.
    random_state : int, RandomState or None, default=None
        Seed of the patches and of k-means.
    n_jobs : int, optional
        Threads, as in joblib.

    Attributes
    ----------
    filters_ : ndarray of shape (n_filters, patch_size, patch_size, 3), float32
        The filters, in CIELAB; `Plots.filters` draws them.
    offsets_ : ndarray of shape (n_filters,), float32
        Offset of each response, from whitening.
    feature_names_ : ndarray of shape (n_features_out,)
        Names of the columns.
    image_shape_ : tuple of int
        Shape of the fitted pictures.
    n_features_in_ : int
        Values in a fitted row.

    Notes
    -----
    A fourth channel is a mask, as is white ground around a cut-out: only
    patches on rock are used. Patches are rotated by random multiples of 90°, so that
    filters prefer no orientation.

    References
    ----------
    Coates, Ng and Lee (2011). An analysis of single-layer networks in unsupervised
    feature learning. AISTATS.

    Coates and Ng (2011). The importance of encoding versus training with sparse coding
    and vector quantization. ICML.

    Examples
    --------
    >>> from geoimages import ConvFeatures, make_rocks
    >>> images, _ = make_rocks(60, random_state=0)
    >>> conv = ConvFeatures(n_filters=8, random_state=0).fit(images)
    >>> conv.filters_.shape
    (8, 6, 6, 3)
    >>> conv.transform(images).shape
    (60, 24)
    """

    shares_tiles = True

    def __init__(
        self,
        n_filters=48,
        *,
        patch_size=6,
        stride=2,
        threshold=0.5,
        n_patches=40_000,
        working_side=128,
        image_shape=None,
        random_state=None,
        n_jobs=None,
    ):
        super().__init__(
            working_side=working_side, image_shape=image_shape, n_jobs=n_jobs
        )
        self.n_filters = n_filters
        self.patch_size = patch_size
        self.stride = stride
        self.threshold = threshold
        self.n_patches = n_patches
        self.random_state = random_state

    def _learn(self, images):
        if not 2 <= self.patch_size <= kernels.MINIMUM_SIDE:
            raise ValueError(
                f"patch_size must be 2 to {kernels.MINIMUM_SIDE} px, got "
                f"{self.patch_size!r}."
            )
        if self.n_filters < 1 or self.stride < 1:
            raise ValueError(
                f"n_filters and stride must be 1 or more, got {self.n_filters!r} and "
                f"{self.stride!r}."
            )
        rng = check_random_state(self.random_state)
        patches = kernels.normalize_patches(self._rotated_patches(images, rng))
        mean, zca = kernels.whitening(patches)
        whitened = (patches - mean) @ zca
        centers = whitened[rng.permutation(len(whitened))[: self.n_filters]]
        if len(whitened) > self.n_filters:
            kmeans = MiniBatchKMeans(
                self.n_filters,
                n_init=1,
                max_iter=15,
                batch_size=4096,
                random_state=rng,
            )
            centers = kmeans.fit(whitened).cluster_centers_
        length = np.linalg.norm(centers, axis=1, keepdims=True)
        weights, self.offsets_ = kernels.fold_filters(
            centers / np.maximum(length, 1e-6), mean, zca
        )
        side = self.patch_size
        self.filters_ = np.ascontiguousarray(weights.T).reshape(-1, side, side, 3)

    def _patches(self, lab, mask):
        side, stride = self.patch_size, self.stride
        patches = kernels.extract_patches(lab, side, stride)
        return patches, kernels.patches_inside(mask, patches, side, stride)

    def _rotated_patches(self, images, rng):
        """Patches, rotated by multiples of 90°: (m, size * size * 3)."""
        patches = self._sample_patches(images, self.n_patches, rng)
        side = self.patch_size
        patches = patches[rng.permutation(len(patches))].reshape(-1, side, side, 3)
        quarters = np.array_split(patches, 4)
        rotated = [np.rot90(part, k, axes=(1, 2)) for k, part in enumerate(quarters)]
        return np.concatenate(rotated).reshape(len(patches), -1)

    def feature_maps(self, X):
        """Return the feature map of each filter, before pooling.

        Parameters
        ----------
        X : array-like of shape (n, n_features) or (n, height, width, c)
            Flat rows or pictures, as in `fit`.

        Returns
        -------
        maps : ndarray of shape (n, rows, columns, n_filters), float32
            Soft-thresholded: 0 for weak responses and outside the rock.
        """
        check_is_fitted(self)
        images = check_describable(check_images(self, X, reset=False, dtype=None))
        _, lab, mask = self._prepare(images)
        side, stride = self.patch_size, self.stride
        patches, inside = self._patches(lab, mask)
        n, rows = len(lab), (lab.shape[1] - side) // stride + 1
        patches = kernels.normalize_patches(patches.reshape(-1, side * side * 3))
        weights = self.filters_.reshape(len(self.filters_), -1).T
        maps = patches @ weights - self.offsets_
        maps -= np.clip(maps, -self.threshold, self.threshold)
        maps = maps.reshape(n, rows, -1, len(self.filters_))
        maps *= inside.reshape(*maps.shape[:3], 1)
        return maps.astype(np.float32, copy=False)

    def _columns(self, rgb, lab, mask):
        weights = self.filters_.reshape(len(self.filters_), -1).T
        return {
            "conv": kernels.pooled_responses(
                lab,
                np.ascontiguousarray(weights),
                self.offsets_,
                self.patch_size,
                self.stride,
                self.threshold,
                mask=mask,
            )
        }

    def _grid(self):
        return self.stride

    def _tile_columns(self, lab, tops, lefts, side):
        weights = self.filters_.reshape(len(self.filters_), -1).T
        return {
            "conv": kernels.window_responses(
                lab,
                np.ascontiguousarray(weights),
                self.offsets_,
                self.patch_size,
                self.stride,
                self.threshold,
                tops,
                lefts,
                side,
            )
        }
