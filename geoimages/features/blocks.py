"""Color, texture and oriented gradients: features without learned parameters."""

import numpy as np

from . import kernels
from .base import PictureFeatures


class ColorFeatures(PictureFeatures):
    """Describe the colors of pictures: histograms and quantiles on several axes.

    Quantiles and histograms of CIELAB lightness, a*, b*, chroma, hue and saturation,
    and quantiles of log RGB and of its opponent axes. A gain on a channel only shifts
    its logarithm, so a linear layer can learn to compensate changes of light.

    Parameters
    ----------
    working_side : int, default=128
        Longer side, in pixels, that larger pictures are averaged down to.
    image_shape : tuple of int, optional
        (height, width, channels) of flat rows; pictures bring their own.
    n_jobs : int, optional
        Threads, as in joblib.

    Attributes
    ----------
    feature_names_ : ndarray of shape (n_features_out,)
        Names of the columns.
    image_shape_ : tuple of int
        Shape of the fitted pictures.
    n_features_in_ : int
        Values in a fitted row.

    Notes
    -----
    A fourth channel is a mask, as is white ground around a cut-out:
    statistics are taken over the rock only. The columns do not depend on the size of
    the pictures. They have units of their own: compare them by
    ``RockFeatures(texture=0, conv=0)``, which standardizes them.

    References
    ----------
    CIE 15:2004, Colorimetry (CIELAB under D65).

    Examples
    --------
    >>> from geoimages import ColorFeatures, make_rocks
    >>> images, _ = make_rocks(6, random_state=0)
    >>> features = ColorFeatures().fit_transform(images)
    >>> len(features), features.dtype
    (6, dtype('float32'))
    """

    def _columns(self, rgb, lab, mask):
        return kernels.color_statistics(rgb, lab, mask)


class TextureFeatures(PictureFeatures):
    """Describe the texture of pictures, invariant to rotation.

    Local binary patterns (rotation-invariant), quantiles of gradient magnitude and
    Laplacian, and the coherence of the structure tensor, at three scales of 1, 2 and 4
    pixels, in CIELAB.

    Parameters
    ----------
    working_side : int, default=128
        Longer side, in pixels, that larger pictures are averaged down to.
    image_shape : tuple of int, optional
        (height, width, channels) of flat rows; pictures bring their own.
    n_jobs : int, optional
        Threads, as in joblib.

    Attributes
    ----------
    feature_names_ : ndarray of shape (n_features_out,)
        Names of the columns.
    image_shape_ : tuple of int
        Shape of the fitted pictures.
    n_features_in_ : int
        Values in a fitted row.

    Notes
    -----
    A fourth channel is a mask, as is white ground around a cut-out:
    statistics are taken over the rock only. The columns are invariant to mirroring and
    rotation by multiples of 90° if the sides of the picture are multiples of 4. They
    have units of their own: compare them by ``RockFeatures(color=0, tone=0)``, which
    standardizes them.

    References
    ----------
    Ojala, Pietikäinen and Mäenpää (2002). Multiresolution gray-scale and rotation
    invariant texture classification with local binary patterns. PAMI 24(7).

    Bigün and Granlund (1987). Optimal orientation detection of linear symmetry. ICCV.

    Examples
    --------
    >>> import numpy as np
    >>> from geoimages import TextureFeatures, make_rocks
    >>> images, _ = make_rocks(6, random_state=0)
    >>> texture = TextureFeatures().fit(images)
    >>> rotated = texture.transform(np.rot90(images, axes=(1, 2)))
    >>> bool(np.allclose(rotated, texture.transform(images), atol=1e-3))
    True
    """

    def _columns(self, rgb, lab, mask):
        return kernels.texture_statistics(lab, mask)


class HOGFeatures(PictureFeatures):
    """Describe the orientation of edges by position in the picture.

    Histograms of oriented gradients (HOG) of the lightness, on a grid of cells that
    does not depend on the size of the picture.

    Parameters
    ----------
    cells : int, default=4
        Cells along each side.
    bins : int, default=8
        Orientation bins over 180 degrees.
    working_side : int, default=128
        Longer side, in pixels, that larger pictures are averaged down to.
    image_shape : tuple of int, optional
        (height, width, channels) of flat rows; pictures bring their own.
    n_jobs : int, optional
        Threads, as in joblib.

    Attributes
    ----------
    feature_names_ : ndarray of shape (n_features_out,)
        Names of the columns.
    image_shape_ : tuple of int
        Shape of the fitted pictures.
    n_features_in_ : int
        Values in a fitted row.

    Notes
    -----
    A fourth channel is a mask, as is white ground around a cut-out:
    gradients are taken over the rock only.

    References
    ----------
    Dalal and Triggs (2005). Histograms of oriented gradients for human detection. CVPR.

    Examples
    --------
    >>> from geoimages import HOGFeatures, make_rocks
    >>> images, _ = make_rocks(6, random_state=0)
    >>> HOGFeatures(cells=3, bins=6).fit_transform(images).shape
    (6, 54)
    """

    shares_tiles = True

    def __init__(
        self, cells=4, bins=8, *, working_side=128, image_shape=None, n_jobs=None
    ):
        super().__init__(
            working_side=working_side, image_shape=image_shape, n_jobs=n_jobs
        )
        self.cells = cells
        self.bins = bins

    def _learn(self, images):
        if not 1 <= self.cells <= kernels.MINIMUM_SIDE // 2 or self.bins < 2:
            raise ValueError(
                f"cells must be 1 to {kernels.MINIMUM_SIDE // 2} and bins 2 or more, "
                f"got {self.cells!r} and {self.bins!r}."
            )

    def _columns(self, rgb, lab, mask):
        lightness = np.ascontiguousarray(lab[..., 0])
        return {"hog": kernels.hog(lightness, self.cells, self.bins, mask)}

    def _tile_columns(self, lab, tops, lefts, side):
        lightness = np.ascontiguousarray(lab[..., 0])
        return {
            "hog": kernels.window_hog(
                lightness, self.cells, self.bins, tops, lefts, side
            )
        }
