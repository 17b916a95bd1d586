"""Base class of the feature transformers: from pictures to columns, in chunks."""

from hashlib import blake2b

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn import get_config
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from ..files import progress
from ..pictures import averages, color
from ..pictures.ground import find_rock
from ..pictures.validation import check_describable, check_images, is_collection
from . import kernels
from .threads import one_blas_thread

_MOST_SAMPLED = 1000  # pictures that patches are drawn from


def spread(n, most):
    """Up to `most` evenly spaced positions of n."""
    return np.arange(n) if n <= most else np.linspace(0, n - 1, most).astype(int)


def by_content(images, most):
    """Positions of up to `most` pictures, in an order that depends on pixels alone.

    What is learned from them does not depend on the order of rows. The hash is that of
    some 1,000 pixels as uint8, so that the scale does not matter, either.
    """
    down, across = (max(1, side // 28) for side in images.shape[1:3])
    hashes = []
    for image in images:
        pixels = image[::down, ::across]
        if pixels.dtype != np.uint8:
            pixels = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
        if pixels.shape[2] == 4:  # rock alone counts
            pixels = pixels * (pixels[..., 3:] > 127)
        hashes.append(blake2b(pixels.tobytes(), digest_size=8).digest())
    return np.argsort(hashes, kind="stable")[:most]


def check_masks(images):
    """Raise a ValueError if no pixel of a picture is rock."""
    if images.shape[3] != 4:
        return
    limit = 127 if images.dtype == np.uint8 else 127 / 255
    empty = np.flatnonzero(images[..., 3].max(axis=(1, 2)) <= limit)
    if len(empty):
        raise ValueError(
            f"The mask of picture {empty[0]} is empty: every pixel is transparent, so "
            "no rock is left to describe; remove it."
        )


def split_mask(images):
    """Split pictures into color and mask: (n, h, w, 1, 3 or 4) -> (n, h, w, 3), mask.

    The mask is boolean, True on rock, or None if everything is rock. Masked pixels are
    set to black, so that they cannot affect a feature.
    """
    if images.shape[3] == 1:
        return np.repeat(images, 3, axis=3), None
    if images.shape[3] == 3:
        return images, None
    limit = 127 if images.dtype == np.uint8 else 127 / 255
    mask = images[..., 3] > limit
    if mask.all():
        return images[..., :3], None
    check_masks(images)
    return averages.blackened(images[..., :3], mask), mask


def split_ground(images):
    """Split pictures as `split_mask` does; white ground around cut-outs is a mask."""
    rgb, mask = split_mask(images)
    rock = find_rock(images)
    if rock is None:
        return rgb, mask
    return averages.blackened(rgb, rock), rock if mask is None else rock & mask


class PictureFeatures(TransformerMixin, BaseEstimator):
    """Base of the feature transformers.

    A subclass computes its columns in `_columns`, and fits parameters in `_learn`.
    """

    takes_pictures = True  # not only flat rows: see `pictures.validation.input_for`
    shares_tiles = False  # whether overlapping tiles are described at once

    def __init__(self, *, working_side=128, image_shape=None, n_jobs=None):
        self.working_side = working_side
        self.image_shape = image_shape
        self.n_jobs = n_jobs

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    @one_blas_thread()
    def fit(self, X, y=None):
        """Fit the transformer to pictures.

        Parameters
        ----------
        X : array-like of shape (n, n_features) or (n, height, width, c), or Collection
            Flat rows or pictures with 1 (grey), 3 (RGB) or 4 channels (RGB and mask);
            uint8 means 0–255 and float 0–1.
        y : ignored
            There for scikit-learn.

        Returns
        -------
        self : object
            The fitted transformer.
        """
        if self.working_side < kernels.MINIMUM_SIDE:
            raise ValueError(
                f"working_side must be {kernels.MINIMUM_SIDE} px or more, got "
                f"{self.working_side!r}."
            )
        if is_collection(X):
            X = X[spread(len(X), 10_000)]
        images = check_describable(check_images(self, X, dtype=None))
        self._learn(images)
        blank = np.zeros((1, kernels.MINIMUM_SIDE, kernels.MINIMUM_SIDE, 3), np.uint8)
        columns = self._chunk(blank)
        self.feature_names_ = np.array(
            [
                f"{name}_{i}"
                for name, part in columns.items()
                for i in range(part.shape[1])
            ]
        )
        return self

    def _learn(self, images):
        """Learn from pictures (n, h, w, c); nothing by default."""

    def transform(self, X):
        """Compute the features of pictures.

        Parameters
        ----------
        X : array-like of shape (n, n_features) or (n, height, width, c), or Collection
            Flat rows or pictures, as in `fit`. A collection is read in blocks, and the
            result is cached if it is open with mode "r+".

        Returns
        -------
        features : ndarray of shape (n, n_features_out), float32
            A DataFrame after ``set_output(transform="pandas")``; of a collection its
            index is the keys.
        """
        check_is_fitted(self)
        if is_collection(X):
            rows = X.features(self)
            # scikit-learn makes a frame of an array, but knows no keys.
            return pd.DataFrame(rows, index=X.keys) if self._gives_frames() else rows
        images = check_images(self, X, reset=False, dtype=None)
        return self._describe(check_describable(images))

    def _gives_frames(self):
        """Whether `set_output`, or the configuration, asks for pandas."""
        config = getattr(self, "_sklearn_output_config", {})
        return config.get("transform", get_config()["transform_output"]) == "pandas"

    def get_feature_names_out(self, input_features=None):
        """Return the names of the columns.

        Parameters
        ----------
        input_features : ignored
            There for scikit-learn.

        Returns
        -------
        names : ndarray of shape (n_features_out,), str
        """
        check_is_fitted(self)
        return self.feature_names_.astype(object)

    @property
    def _n_features_out(self):
        return len(self.feature_names_)

    @one_blas_thread()
    def _describe(self, images):
        """Describe checked pictures in chunks: (n, h, w, c) -> (n, n_features_out)."""
        check_masks(images)  # a chunk would count from its own first picture
        out = np.empty((len(images), self._n_features_out), np.float32)
        scale = min(1, self.working_side / max(images.shape[1:3]))
        step = kernels.chunk_length(*(round(scale * s) for s in images.shape[1:3]))

        def fill(start):
            chunk = images[start : start + step]
            out[start : start + step] = self._finish(self._chunk(chunk))

        starts = progress(range(0, len(images), step), desc="describing", unit="chunk")
        if self.n_jobs in (None, 1):
            for start in starts:
                fill(start)
        else:
            Parallel(self.n_jobs, prefer="threads")(delayed(fill)(s) for s in starts)
        return out

    def _prepare(self, images):
        """Downsample a chunk to the working size: (n, h, w, c) -> sRGB, CIELAB, mask."""
        rgb, mask = split_ground(images)
        rgb, mask = averages.at_most(rgb, self.working_side, mask)
        rgb, mask = kernels.at_least(rgb, mask=mask)
        return rgb, color.srgb_to_lab(rgb), mask

    def tile_step(self, side):
        """Return what steps between overlapping tiles must be multiples of.

        Features whose columns come from sums (``shares_tiles``) describe overlapping
        tiles of a photograph at once: what concerns single pixels or patches is
        computed once, and added up for each tile. Patches then lie on one grid.

        Parameters
        ----------
        side : int
            Side of the tiles, in pixels.

        Returns
        -------
        step : int or None
            In pixels; None if tiles of this side are described one by one.
        """
        if not self.shares_tiles or side < kernels.MINIMUM_SIDE:
            return None
        factor = max(1, side // self.working_side)
        if side > self.working_side and side != factor * self.working_side:
            return None
        return factor * self._grid()

    def _grid(self):
        """Pixels of the working size to whose multiples tiles are bound."""
        return 1

    @one_blas_thread()
    def describe_tiles(self, image, corners, side):
        """Describe overlapping tiles of one image, as `transform` does one by one.

        Parameters
        ----------
        image : ndarray of shape (height, width, 3), uint8
            What the tiles are cut from.
        corners : ndarray of shape (m, 2), int
            (y, x) of each tile, multiples of `tile_step`.
        side : int
            Of the tiles, in pixels.

        Returns
        -------
        features : ndarray of shape (m, n_features_out), float32
        """
        factor = max(1, side // self.working_side)
        if factor > 1:
            image = image[tuple(slice(n // factor * factor) for n in image.shape[:2])]
            high, wide = (n // factor for n in image.shape[:2])
            image = averages.average_to(image[None], high, wide)[0][0]
        lab = color.srgb_to_lab(image[None])[0]
        tops, lefts = np.asarray(corners).T // factor
        return self._finish(self._tile_columns(lab, tops, lefts, side // factor))

    def _tile_columns(self, lab, tops, lefts, side):
        """Columns of tiles of one image: (h, w, 3), (m,) twice -> {name: (m, k)}."""
        raise NotImplementedError

    def _sample_patches(self, images, n_patches, rng):
        """Draw about `n_patches` patches on rock, by `_patches`: -> (m, k)."""
        images = images[by_content(images, _MOST_SAMPLED)]
        step = kernels.chunk_length(*images.shape[1:3])
        each = -(-n_patches // len(images))
        found = []
        for start in range(0, len(images), step):
            _, lab, mask = self._prepare(images[start : start + step])
            patches, inside = self._patches(lab, mask)
            patches = patches.reshape(inside.size, -1)
            if inside.any():
                patches = patches[inside.ravel()]
            found.append(patches[rng.permutation(len(patches))[: each * len(lab)]])
        return np.concatenate(found)

    def _patches(self, lab, mask):
        """Patches (n, m, k), and whether they lie on rock, (n, m)."""
        raise NotImplementedError

    def _chunk(self, images):
        """Describe one chunk: (n, h, w, c) -> {name: (n, k)}."""
        return self._columns(*self._prepare(images))

    def _columns(self, rgb, lab, mask):
        """Columns of pictures, by name: (n, h, w, 3) twice -> {name: (n, k)}."""
        raise NotImplementedError

    def _finish(self, columns):
        """Join the columns of a chunk: {name: (n, k)} -> (n, n_features_out)."""
        return np.concatenate(list(columns.values()), axis=1)
