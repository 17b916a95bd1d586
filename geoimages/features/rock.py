"""RockFeatures: tone, color, texture, gradients and learned filters, balanced."""

import numpy as np

from .blocks import ColorFeatures, HOGFeatures, TextureFeatures
from .convolution import ConvFeatures
from .fisher import FisherFeatures
from .weighted import VARIES, WeightedFeatures, tone_scale


class RockFeatures(WeightedFeatures):
    """Describe pictures by color, texture, oriented gradients and learned filters.

    Every column is standardized, and each block is scaled by the number of its columns
    that vary, so that blocks of equal weight contribute equally to a distance. Only the
    block `tone`, quantiles of CIELAB, keeps its units, in which equal differences look
    about equal; lightness, which varies most, counts most.

    Parameters
    ----------
    color, texture, hog, conv : float
        Weight of each block (1, 1, 0 and 0.7 by default); 0 omits it.
    tone : float, default=1.0
        Weight of the tone. Lower it where the light differs from picture to picture.
    fisher : float, default=0.0
        Weight of the Fisher vectors, for photographs of 64 pixels and more.
    n_filters : int, default=48
        Filters of the `conv` block.
    working_side : int, default=128
        Longer side, in pixels, that larger pictures are averaged down to.
    image_shape : tuple of int, optional
        (height, width, channels) of flat rows; pictures bring their own.
    random_state : int, RandomState or None, default=0
        Seed of the learned filters.
    n_jobs : int, optional
        Threads, as in joblib.

    Attributes
    ----------
    blocks_ : dict
        The fitted transformer of each block in use, by name; `tone` needs none.
    mean_, inverse_deviation_, scale_ : ndarray of shape (n_features_out,)
        Mean, inverse standard deviation and weight of each column.
    feature_names_ : ndarray of shape (n_features_out,)
        Names of the columns, each beginning with its block's.
    block_of_ : ndarray of shape (n_features_out,), str
        The block of each column.
    image_shape_ : tuple of int
        Shape of the fitted pictures.
    n_features_in_ : int
        Values in a fitted row.

    See Also
    --------
    ColorFeatures, TextureFeatures, HOGFeatures, ConvFeatures, FisherFeatures :
        The blocks.

    Notes
    -----
    Standardized values are clipped to ±5. A fourth channel is a mask: features are those
    of the rock only. The columns do not depend on the size of the pictures.

    Correlation ignores how unusual a picture is; euclidean distances keep this, and
    measure perceived similarity better.

    References
    ----------
    Nosofsky, Sanders, Meagher and Douglas (2018). Toward the development of a
    feature-space representation for a complex natural category domain. Behavior
    Research Methods 50. (Of what people compare in rocks, lightness comes first.)

    Examples
    --------
    >>> from geoimages import RockFeatures, make_rocks
    >>> images, _ = make_rocks(60, random_state=0)
    >>> rock = RockFeatures().fit(images)
    >>> list(rock.blocks_)
    ['color', 'texture', 'conv']
    >>> plain = RockFeatures(color=0).fit(images)
    >>> len(plain.feature_names_) < len(rock.feature_names_)
    True
    """

    _weighted = ("tone", "color", "texture", "hog", "conv", "fisher")

    def __init__(
        self,
        color=1.0,
        texture=1.0,
        hog=0.0,
        conv=0.7,
        *,
        tone=1.0,
        fisher=0.0,
        n_filters=48,
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
        self.hog = hog
        self.conv = conv
        self.tone = tone
        self.fisher = fisher
        self.n_filters = n_filters
        self.random_state = random_state

    def _make_blocks(self):
        return {
            "color": ColorFeatures(),
            "texture": TextureFeatures(),
            "hog": HOGFeatures(),
            "conv": ConvFeatures(
                self.n_filters, stride=3, random_state=self.random_state
            ),
            "fisher": FisherFeatures(random_state=self.random_state),
        }

    def _weigh(self, weights, rows, deviation, images):
        varies = deviation > VARIES
        scale = np.empty(len(deviation))
        for name in dict.fromkeys(self.block_of_):
            block = self.block_of_ == name
            if name == "tone":
                scale[block] = weights[name] * tone_scale(deviation[block])
            else:
                scale[block] = weights[name] / np.sqrt(max(1, varies[block].sum()))
        scale *= np.sqrt(max(1, varies.sum()) / sum(w**2 for w in weights.values()))
        self.scale_ = scale.astype(np.float32)

    def _apply_weights(self, rows):
        rows *= self.scale_
        return rows
